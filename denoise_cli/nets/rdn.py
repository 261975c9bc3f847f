"""RDN: dense blocks, in each of which a layer sees all layers before it, and whose results are all joined in the end.

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
        width: the channels that go from block to block.
        blocks: the dense blocks.
        layers: the 3x3 convolutions in each.
        growth: the channels that each of these adds.
        middle: "malleable" for a malleable convolution in place of the last layer of the middle block.
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
    """Blocks in a row, all at the image's size."""

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
        # Under autocast the convolutions compute in 16 bits, but what the skips carry is not rounded.
        shallow = self.shallow(torch.cat([image, sigma], dim=1)).to(image.dtype)
        features = self.entry(shallow).to(image.dtype)
        results = []
        for block in self.blocks:
            features = block(features)
            results.append(features)
        fused: Tensor = shallow + self.fusion(torch.cat(results, dim=1))
        return fused


class DenseBlock(nn.Module):
    """Layers that each add channels to what they see, a 1x1 convolution that makes one of them all, and a skip."""

    def __init__(self, channels: int, growth: int, layers: int) -> None:
        super().__init__()
        inputs = [channels + growth * before for before in range(layers + 1)]
        self.layers = nn.ModuleList(layer(seen, growth) for seen in inputs[:-1])
        self.fusion = zeroed(conv(inputs[-1], channels, kernel=1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        seen = features
        for dense in self.layers:
            seen = torch.cat([seen, dense(seen)], dim=1)
        refined: Tensor = features + self.fusion(seen)
        return refined


def _block(config: RDNConfig, index: int) -> nn.Module:
    if config.middle == "conv" or index != config.blocks // 2:
        return DenseBlock(config.width, config.growth, config.layers)
    shorter = DenseBlock(config.width, config.growth, config.layers - 1)
    return nn.Sequential(shorter, MalleConv(config.width, config.width, kernel=1))
