"""MalleNet: a four-level pyramid in which a small network chooses the kernels that a large image is filtered with.

Source: Jiang et al., "Fast and High-quality Image Denoising via Malleable Convolutions" (2022), sections 3 and 4.

Legend: B batch, C channels, H x W image, K kernel size (odd), f the width of the finest level.
"""

from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoise_cli.nets.malleconv import MalleConv, cell_side
from denoise_cli.nets.residual import ResidualBlock, ResidualNet, conv, zeroed

LEVELS = 4
WIDTHS = (1, 1, 2, 4)  # times f, finest level first
GREEN_TWICE, GREEN_SHARES = (0, 1, 1, 2), (1.0, 0.5, 0.5, 1.0)  # of a mosaic's planes: which of RGB, and its part
MULTIPLE = cell_side() * 2 ** (LEVELS - 1)  # 64: the side of the coarsest kernel cell, in pixels of the image


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
        channels: of the input; what is beyond those that are denoised only helps.
        outputs: how many are denoised, the first ones: 3 of RGB, 4 of a mosaic's planes.
        lean: spare the finest level's encoder its block, and join the levels by 1x1 convolutions.
    """

    width: int
    block: Literal["inverted", "residual"] = "inverted"
    kernel: int = 1
    expansion: int = 3
    channels: int = 3
    lean: bool = False
    outputs: int = 3

    def build(self) -> "MalleNet":
        """A network with fresh weights."""
        return MalleNet(self)


class MalleNet(ResidualNet):
    """Sees the image at four sizes, the coarsest first.

    Every residual branch starts at zero, so an untrained network returns its input and training starts stable
    without normalisation.
    """

    multiple = MULTIPLE

    def __init__(self, config: MalleNetConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.outputs
        widths = [config.width * factor for factor in WIDTHS]
        self.encoders = nn.ModuleList(_encoder(config, level, width) for level, width in enumerate(widths))
        self.mergers = nn.ModuleList(
            conv(widths[level] + widths[level + 1], widths[level], kernel=1 if level == 0 or config.lean else 3)
            for level in range(LEVELS - 1)
        )
        self.decoders = nn.ModuleList(_decoder(config, level, width) for level, width in enumerate(widths))
        self.to_noise = zeroed(conv(widths[0], config.outputs))

    @torch.no_grad()
    def start_from(self, net: "MalleNet") -> None:
        """Take over the weights of a network for RGB, for the planes of a mosaic: two of them are green.

        Raises:
            ValueError: it differs in more than that.
        """
        if self.config != replace(net.config, channels=len(GREEN_TWICE), outputs=len(GREEN_TWICE)):
            raise ValueError(f"expected the planes of a mosaic for {net.config}, got {self.config}")
        tensors = net.state_dict()
        for name, tensor in self.state_dict().items():
            given = tensors[name]
            if name.startswith("to_noise"):
                given = given[list(GREEN_TWICE)]
            elif given.shape != tensor.shape:  # a first convolution: of each colour the pixels of a square, then level
                colours = given[:, :-1].unflatten(1, (3, -1))[:, list(GREEN_TWICE)]
                shares = colours.new_tensor(GREEN_SHARES).view(-1, 1, 1, 1)
                given = torch.cat([(colours * shares).flatten(1, 2), given[:, -1:]], dim=1)
            tensor.copy_(given)

    def features(self, image: Tensor, sigma: Tensor) -> Tensor:
        """(B, f, H, W)."""
        features = self.decoders[-1](self._encode(image, sigma, LEVELS - 1))
        for level in reversed(range(LEVELS - 1)):
            encoded = self._encode(image, sigma, level)
            merged = self._merge(encoded, features.to(encoded.dtype), level)
            del encoded, features
            # Under autocast the convolutions compute in 16 bits, but what the skips carry is not rounded.
            features = self.decoders[level](merged.to(image.dtype))
        return features

    def _merge(self, encoded: Tensor, coarse: Tensor, level: int) -> Tensor:
        merger = cast("nn.Conv2d", self.mergers[level])
        if merger.kernel_size != (1, 1):
            return merger(torch.cat([encoded, _doubled(coarse)], dim=1))
        # A 1x1 convolution may come before the stretching as well, where it has a quarter of the pixels.
        own, below = torch.split(merger.weight, [encoded.shape[1], coarse.shape[1]], dim=1)
        return F.conv2d(encoded, own, merger.bias) + _doubled(F.conv2d(coarse, below))

    def _encode(self, image: Tensor, sigma: Tensor, level: int) -> Tensor:
        scale = 2**level
        # The level map is smooth: its mean stands for its 4^level values.
        means = F.pixel_unshuffle(sigma, scale).mean(dim=1, keepdim=True)
        encoded: Tensor = self.encoders[level](torch.cat([F.pixel_unshuffle(image, scale), means], dim=1))
        return encoded


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
            zeroed(nn.Conv2d(hidden, channels, 1)),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        refined: Tensor = features + self.body(features)
        return refined


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def _encoder(config: MalleNetConfig, level: int, width: int) -> nn.Sequential:
    first = conv(config.channels * 4**level + 1, width)
    return nn.Sequential(first) if config.lean and level == 0 else nn.Sequential(first, _block(config, width))


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
