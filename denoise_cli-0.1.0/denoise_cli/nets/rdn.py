"""RDN: dense blocks, in which each layer takes the outputs of all layers before it; all block outputs are fused.

Sources: Zhang et al., "Residual Dense Network for Image Restoration" (2018); Jiang et al., "Fast and High-quality Image
Denoising via Malleable Convolutions" (2022), section 4.3.

Legend: B batch, C channels, H x W image.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from denoise_cli.nets.malleconv import MalleConv
from denoise_cli.nets.residual import ResidualNet, conv, layer, zeroed


@dataclass(frozen=True)
class RDNConfig:
    """One variant.

    Attributes:
        width: channels between the blocks.
        blocks: number of dense blocks.
        layers: number of 3x3 convolutions in each block.
        growth: channels that each of these convolutions adds.
        middle: "malleable" replaces the last layer of the middle block with a malleable convolution.
    """

    width: int
    blocks: int = 4
    layers: int = 3
    growth: int = 16
    middle: Literal["conv", "malleable"] = "conv"

    def build(self) -> "RDN":
        """A network with fresh weights."""
        return RDN(self)


class RDN(ResidualNet):
    """Dense blocks one after another, all at the image's size."""

    def __init__(self, config: RDNConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.shallow = conv(3 + 1, width)
        self.entry = conv(width, width)
        self.blocks = nn.ModuleList(_block(config, block) for block in range(config.blocks))
        self.fusion = nn.Sequential(conv(config.blocks * width, width, kernel=1), conv(width, width))
        self.to_noise = zeroed(conv(width, 3))

    def features(self, image: Tensor, sigma: Tensor) -> Tensor:
        """(B, width, H, W)."""
        # Under autocast the convolutions compute in 16 bits, but the skips are not rounded to 16 bits.
        shallow = self.shallow(torch.cat([image, sigma], dim=1)).to(image.dtype)
        features = self.entry(shallow).to(image.dtype)
        outputs = []
        for block in self.blocks:
            features = block(features)
            outputs.append(features)
        fused: Tensor = shallow + self.fusion(torch.cat(outputs, dim=1))
        return fused


class DenseBlock(nn.Module):
    """Layers that each append channels to their input, a 1x1 convolution that fuses all channels, and a skip."""

    def __init__(self, channels: int, growth: int, layers: int) -> None:
        super().__init__()
        widths = [channels + growth * index for index in range(layers + 1)]
        self.layers = nn.ModuleList(layer(width, growth) for width in widths[:-1])
        self.fusion = zeroed(conv(widths[-1], channels, kernel=1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        stack = features
        for dense in self.layers:
            stack = torch.cat([stack, dense(stack)], dim=1)
        refined: Tensor = features + self.fusion(stack)
        return refined


def _block(config: RDNConfig, index: int) -> nn.Module:
    if config.middle == "conv" or index != config.blocks // 2:
        return DenseBlock(config.width, config.growth, config.layers)
    shorter = DenseBlock(config.width, config.growth, config.layers - 1)
    return nn.Sequential(shorter, MalleConv(config.width, config.width, kernel=1))
