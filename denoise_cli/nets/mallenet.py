"""MalleNet: a four-level pyramid in which small networks predict the kernels that filter a large image.

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

LEVELS = 4  # sizes of the pyramid, each half the one before
WIDTHS = (1, 1, 2, 4)  # times f, finest level first
PLANE_COLOURS = (0, 1, 1, 2)  # for each plane of a mosaic, its channel in RGB: green comes twice
PLANE_SHARES = (1.0, 0.5, 0.5, 1.0)  # for each plane, its share of the weights for that channel
MULTIPLE = cell_side() * 2 ** (LEVELS - 1)  # 64: the side of a grid cell at the coarsest level, in pixels of the image


@dataclass(frozen=True)
class MalleNetConfig:
    """One variant.

    The paper's S, M, L and XL have "inverted" blocks, K = 1 and widths 16, 32, 64 and 144; its R has "residual" blocks
    and K = 3.

    Attributes:
        width: f, the channels of the finest level.
        block: the building block of each level: inverted bottlenecks or pairs of dense 3x3 convolutions.
        kernel: K of the malleable convolutions.
        expansion: factor by which the inverted bottlenecks widen.
        channels: channels of the input; those beyond the denoised ones are additional information.
        outputs: how many of the input's channels are denoised, counted from the first: 3 for RGB, 4 for the planes of
            a mosaic.
        lean: omit the block in the finest level's encoder, and merge the levels with 1x1 convolutions only.
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
    """Processes the image at four sizes, from the coarsest to the finest.

    Every residual branch starts at zero, so an untrained network returns its input, and training is stable from the
    start without normalisation.
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
        """Initialise a network for the four planes of a mosaic with the weights of one for RGB.

        The weights for green serve both green planes.

        Raises:
            ValueError: the configurations differ in more than the channels and outputs.
        """
        planes = len(PLANE_COLOURS)
        if self.config != replace(net.config, channels=planes, outputs=planes):
            raise ValueError(f"expected the planes of a mosaic for {net.config}, got {self.config}")
        source = net.state_dict()
        for name, tensor in self.state_dict().items():
            weights = source[name]
            if name.startswith("to_noise"):
                weights = weights[list(PLANE_COLOURS)]
            elif weights.shape != tensor.shape:
                # A first convolution: its inputs are, for each colour, the pixels of a square, and then the level.
                colours = weights[:, :-1].unflatten(1, (3, -1))[:, list(PLANE_COLOURS)]
                shares = colours.new_tensor(PLANE_SHARES).view(-1, 1, 1, 1)
                weights = torch.cat([(colours * shares).flatten(1, 2), weights[:, -1:]], dim=1)
            tensor.copy_(weights)

    def features(self, image: Tensor, sigma: Tensor) -> Tensor:
        """(B, f, H, W)."""
        features = self.decoders[-1](self._encode(image, sigma, LEVELS - 1))
        for level in reversed(range(LEVELS - 1)):
            encoded = self._encode(image, sigma, level)
            merged = self._merge(encoded, features.to(encoded.dtype), level)
            del encoded, features
            # Under autocast the convolutions compute in 16 bits, but the skips are not rounded to 16 bits.
            features = self.decoders[level](merged.to(image.dtype))
        return features

    def _merge(self, encoded: Tensor, coarse: Tensor, level: int) -> Tensor:
        merger = cast("nn.Conv2d", self.mergers[level])
        if merger.kernel_size != (1, 1):
            return merger(torch.cat([encoded, _upsampled(coarse)], dim=1))
        # A 1x1 convolution commutes with the upsampling; before it, there is a quarter of the pixels to compute.
        for_encoded, for_coarse = torch.split(merger.weight, [encoded.shape[1], coarse.shape[1]], dim=1)
        return F.conv2d(encoded, for_encoded, merger.bias) + _upsampled(F.conv2d(coarse, for_coarse))

    def _encode(self, image: Tensor, sigma: Tensor, level: int) -> Tensor:
        scale = 2**level
        # The level map is smooth, so the mean of 4^level values represents them.
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
        """(B, C, H, W) to the same shape."""
        refined: Tensor = features + self.body(features)
        return refined


def _upsampled(features: Tensor) -> Tensor:
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
