"""DnCNN: a chain of convolutions, the middle one of which can be another operator.

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

    The papers' own is depth 15 of width 64, the MalleConv paper's faster ones are depths 3, 6 and 9, widths 16 and 32.

    Attributes:
        depth: the 3x3 convolutions from width to width; one more comes before them and one behind.
        width: their channels.
        middle: what the middle one of them is: a convolution as well, or a dynamic filter in its place.
        pool: the average pool of a malleable middle.
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

    Without batch normalisation: a batch of mixed noise levels has no one statistic, and layers that begin by handing
    on what they see do without.
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
    """K is 1 where every channel has its own kernel, as in the paper, and the convolution's 3 where they share one."""
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
