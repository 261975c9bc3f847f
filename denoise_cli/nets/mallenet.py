"""MalleNet: a four-level pyramid in which a small network chooses the kernels that a large image is filtered with.

Source: Jiang et al., "Fast and High-quality Image Denoising via Malleable Convolutions" (2022), sections 3 and 4.

Legend: B batch, C channels, H x W image, K kernel size (odd), f the width of the finest level.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoise_cli.ops.malleable import malleable_conv2d

LEVELS = 4
WIDTHS = (1, 1, 2, 4)  # times f, finest level first
GRID = 8  # a level's pixels per kernel cell: 4x4 average pool, then 2x2 max pool
MULTIPLE = GRID * 2 ** (LEVELS - 1)  # 64: the side of the coarsest kernel cell, in pixels of the image

Padding = Literal["zeros", "replicate"]
# A grid may be one cell wide: repeating the border trains every tap there, zeros would leave eight of nine unused.
GRID_PADDING: Padding = "replicate"


@dataclass(frozen=True)
class MalleNetConfig:
    """One variant.

    The paper's S, M, L and XL are widths 16, 32, 64 and 144 of "inverted" blocks with K = 1, its R is of "residual"
    blocks with K = 3.

    Attributes:
        width: f, the channels of the finest level.
        block: what each level is made of: inverted bottlenecks or pairs of dense 3x3 convolutions.
        kernel: K of the malleable convolutions.
        expansion: of the inverted bottlenecks.
    """

    width: int
    block: Literal["inverted", "residual"] = "inverted"
    kernel: int = 1
    expansion: int = 3

    def build(self) -> "MalleNet":
        """A network with fresh weights."""
        return MalleNet(self)


class MalleNet(nn.Module):
    """Predicts the noise and takes it away.

    Every residual branch starts at zero, so an untrained network returns its input and training starts stable
    without normalisation.
    """

    def __init__(self, config: MalleNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * factor for factor in WIDTHS]
        self.encoders = nn.ModuleList(
            nn.Sequential(_conv(3 * 4**level + 1, width), _block(config, width)) for level, width in enumerate(widths)
        )
        self.mergers = nn.ModuleList(
            _conv(widths[level] + widths[level + 1], widths[level], kernel=1 if level == 0 else 3)
            for level in range(LEVELS - 1)
        )
        self.decoders = nn.ModuleList(_decoder(config, level, width) for level, width in enumerate(widths))
        self.to_noise = _zeroed(_conv(widths[0], 3))

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """Denoise.

        Args:
            image: (B, 3, H, W) noisy RGB, nominally [0, 1], not clipped; H and W multiples of 64.
            sigma: (B, 1, H, W), the noise's standard deviation at each pixel in the image's unit.

        Returns:
            (B, 3, H, W), not clipped.

        Raises:
            ValueError: the shapes do not fit.
        """
        B, C, H, W = image.shape
        if C != 3 or H % MULTIPLE or W % MULTIPLE:
            sides = f"sides that are multiples of {MULTIPLE}"
            raise ValueError(f"image: expected (B, 3, H, W), {sides}, got {tuple(image.shape)}")
        if sigma.shape != (B, 1, H, W):
            raise ValueError(f"sigma: expected {(B, 1, H, W)}, got {tuple(sigma.shape)}")

        features = self.decoders[-1](self._encode(image, sigma, LEVELS - 1))
        for level in reversed(range(LEVELS - 1)):
            encoded = self._encode(image, sigma, level)
            coarse = F.interpolate(features.to(encoded.dtype), scale_factor=2, mode="bilinear", align_corners=False)
            merged = self.mergers[level](torch.cat([encoded, coarse], dim=1))
            del encoded, coarse, features
            # Under autocast the convolutions compute in 16 bits, but what the skips carry is not rounded.
            features = self.decoders[level](merged.to(image.dtype))
        # In bfloat16, strong noise would come in steps as coarse as those of 8 bits.
        with torch.autocast(image.device.type, enabled=False):
            noise: Tensor = self.to_noise(features.to(image.dtype))
        return image - noise

    def _encode(self, image: Tensor, sigma: Tensor, level: int) -> Tensor:
        scale = 2**level
        # The level map is smooth: its mean stands for its 4^level values.
        inputs = [F.pixel_unshuffle(image, scale), F.avg_pool2d(sigma, scale)]
        encoded: Tensor = self.encoders[level](torch.cat(inputs, dim=1))
        return encoded


class MalleConv(nn.Module):
    """Adds to the features their malleable convolution, with kernels predicted at an eighth of their size."""

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.channels = channels
        self.taps = kernel * kernel
        self.predictor = nn.Sequential(
            nn.AvgPool2d(4),
            _conv(channels, hidden, padding_mode=GRID_PADDING),
            ResidualBlock(hidden, GRID_PADDING),
            ResidualBlock(hidden, GRID_PADDING),
            nn.MaxPool2d(2),
            ResidualBlock(hidden, GRID_PADDING),
            ResidualBlock(hidden, GRID_PADDING),
            _zeroed(nn.Conv2d(hidden, channels * (self.taps + 1), 1)),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same; H and W multiples of 8."""
        grid = self.predictor(features)
        weights, bias = grid.split([self.channels * self.taps, self.channels], dim=1)
        # Kernel times feature is unbounded and a run at a high learning rate can explode; a bounded kernel can not.
        B, _, h, w = grid.shape
        kernels = torch.tanh(weights).view(B, self.channels, self.taps, h, w)
        return features + malleable_conv2d(features, kernels, torch.tanh(bias))


class InvertedBottleneck(nn.Module):
    """1x1 expansion, 3x3 depthwise, 1x1 projection, skip."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.body = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.ReLU(inplace=True),
            _zeroed(nn.Conv2d(hidden, channels, 1)),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        refined: Tensor = features + self.body(features)
        return refined


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a skip."""

    def __init__(self, channels: int, padding_mode: Padding = "zeros") -> None:
        super().__init__()
        first, second = (_conv(channels, channels, padding_mode=padding_mode) for _ in range(2))
        self.body = nn.Sequential(first, nn.ReLU(inplace=True), _zeroed(second))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        refined: Tensor = features + self.body(features)
        return refined


def _decoder(config: MalleNetConfig, level: int, width: int) -> nn.Sequential:
    malleable = MalleConv(width, config.width, config.kernel)
    if level == 0:
        return nn.Sequential(malleable, _block(config, width))
    before = [_block(config, width) for _ in range(2)]
    after = [_block(config, width) for _ in range(2)]
    return nn.Sequential(*before, malleable, *after)


def _block(config: MalleNetConfig, channels: int) -> nn.Module:
    if config.block == "inverted":
        return InvertedBottleneck(channels, config.expansion)
    return ResidualBlock(channels)


def _conv(inputs: int, outputs: int, kernel: int = 3, padding_mode: Padding = "zeros") -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode=padding_mode)


def _zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
