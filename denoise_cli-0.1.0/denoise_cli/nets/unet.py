"""U-Net: features are computed at smaller and smaller sizes, then upsampled again, with a skip at each size.

Sources: Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation" (2015); Jiang et al.,
"Fast and High-quality Image Denoising via Malleable Convolutions" (2022), section 4.3.

Legend: B batch, H x W image.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoise_cli.nets.malleconv import MalleConv
from denoise_cli.nets.residual import ResidualNet, conv, layer, zeroed


@dataclass(frozen=True)
class UNetConfig:
    """One variant.

    Attributes:
        width: channels at the image's size; each smaller size has twice as many as the one before.
        levels: number of sizes, including the image's own.
        middle: the kind of the second layer at the smallest size.
    """

    width: int
    levels: int = 3
    middle: Literal["conv", "malleable"] = "conv"

    def build(self) -> "UNet":
        """A network with fresh weights."""
        return UNet(self)


class UNet(ResidualNet):
    """Two layers at each size on the way down, two on the way up."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = 2 ** (config.levels - 1)
        *widths, bottom = [config.width * 2**level for level in range(config.levels)]
        inputs = [3 + 1, *widths]
        self.encoders = nn.ModuleList(_layers(*pair) for pair in zip(inputs, widths, strict=False))
        self.bottom = nn.Sequential(layer(inputs[-1], bottom), _middle(config, bottom))
        self.upward = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in reversed(widths))
        self.decoders = nn.ModuleList(_layers(2 * width, width) for width in reversed(widths))
        self.to_noise = zeroed(conv(config.width, 3))

    def features(self, image: Tensor, sigma: Tensor) -> Tensor:
        """(B, width, H, W)."""
        features = torch.cat([image, sigma], dim=1)
        skips = []
        for encoder in self.encoders:
            skips.append(encoder(features))
            features = F.max_pool2d(skips[-1], 2)
        features = self.bottom(features)
        for up, decoder in zip(self.upward, self.decoders, strict=True):
            features = decoder(torch.cat([skips.pop(), up(features)], dim=1))
        return features


def _layers(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(layer(inputs, outputs), layer(outputs, outputs))


def _middle(config: UNetConfig, channels: int) -> nn.Module:
    if config.middle == "malleable":
        return nn.Sequential(MalleConv(channels, config.width, kernel=1), nn.ReLU(inplace=True))
    return layer(channels, channels)
