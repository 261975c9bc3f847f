"""DnCNN: a chain of convolutions, the middle one of which can be replaced with another operator.

Sources: Zhang et al., "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising" (2017); Jiang et
al., "Fast and High-quality Image Denoising via Malleable Convolutions" (2022), sections 4.1, 4.3 and 4.5.

Legend: B batch, H x W image, K kernel size (odd).
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from denoise_cli.nets.dynamic import HyperConv, Involution, PixelConv
from denoise_cli.nets.malleconv import POOL, MalleConv, Pool
from denoise_cli.nets.residual import ResidualNet, conv, layer, zeroed

Middle = Literal["conv", "malleable", "hyper", "involution", "pixel"]


@dataclass(frozen=True)
class DnCNNConfig:
    """One variant.

    The DnCNN paper uses depth 15 and width 64; the MalleConv paper adds the faster depths 3, 6 and 9 and widths 16 and
    32.

    Attributes:
        depth: number of 3x3 convolutions from width to width; one more comes before them and one after them.
        width: channels of these convolutions.
        middle: the kind of the middle layer: a convolution like the others, or a dynamic filter in its place.
        pool: side of the average pool of a malleable middle layer.
    """

    depth: int
    width: int
    middle: Middle = "conv"
    pool: Pool = POOL

    def build(self) -> "DnCNN":
        """A network with fresh weights."""
        return DnCNN(self)


class DnCNN(ResidualNet):
    """Convolutions of one width, all at the image's size.

    There is no batch normalisation: a batch of mixed noise levels has no common statistics, and layers that are
    initialised to pass on their input (`residual.layer`) do not need it.
    """

    def __init__(self, config: DnCNNConfig) -> None:
        super().__init__()
        self.config = config
        layers = [layer(config.width, config.width) for _ in range(config.depth)]
        if config.middle != "conv":
            layers[config.depth // 2] = nn.Sequential(_dynamic_filter(config), nn.ReLU(inplace=True))
        self.layers = nn.Sequential(layer(3 + 1, config.width), *layers)
        self.to_noise = zeroed(conv(config.width, 3))

    def features(self, image: Tensor, sigma: Tensor) -> Tensor:
        """(B, width, H, W)."""
        features: Tensor = self.layers(torch.cat([image, sigma], dim=1))
        return features


def _dynamic_filter(config: DnCNNConfig) -> nn.Module:
    # As in the paper, K is 1 if every channel has its own kernel; if channels share a kernel, it is 3, as in a conv.
    width = config.width
    match config.middle:
        case "malleable":
            return MalleConv(width, width, kernel=1, pool=config.pool)
        case "hyper":
            return HyperConv(width, width, kernel=1)
        case "involution":
            return Involution(width, kernel=3)
        case "pixel":
            return PixelConv(width, width, kernel=3)
        case other:
            raise ValueError(f"middle: expected {' or '.join(get_args(Middle))}, got {other!r}")
