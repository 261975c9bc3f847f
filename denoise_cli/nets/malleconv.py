"""MalleConv: a layer that filters every pixel with a kernel of its own, predicted at a fraction of the size.

Source: Jiang et al., "Fast and High-quality Image Denoising via Malleable Convolutions" (2022), sections 3 and 4.

Legend: B batch, C channels, H x W features, h x w grid, K kernel size (odd).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoise_cli.nets.residual import Padding, ResidualBlock, conv, zeroed
from denoise_cli.ops.malleable import malleable_conv2d

Pool = Literal[0, 2, 4, 8]
POOL: Pool = 4

# A grid may be one cell wide: repeating the border trains every tap there, zeros would leave eight of nine unused.
GRID_PADDING: Padding = "replicate"


class MalleConv(nn.Module):
    """Adds to the features their malleable convolution.

    Args:
        channels: C.
        hidden: the width of the predictor.
        kernel: K.
        pool: the side of the average pool that the predictor begins with; 0 for none.
    """

    def __init__(self, channels: int, hidden: int, kernel: int, pool: Pool = POOL) -> None:
        super().__init__()
        self.channels = channels
        self.cell = cell_side(pool)
        shrink = nn.AvgPool2d(pool) if pool else nn.Identity()
        self.predictor = kernel_predictor(channels, hidden, kernel, shrink, nn.MaxPool2d(2))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same, of any size."""
        H, W = features.shape[-2:]
        down, right = -H % self.cell, -W % self.cell
        # Whole cells keep the grid's centres where they belong; what is continued here is cut off again below.
        whole = F.pad(features, [0, right, 0, down], mode="replicate") if down or right else features
        kernels, bias = split_kernels(self.predictor(whole), self.channels)
        filtered = malleable_conv2d(whole, _added(kernels), bias)
        return filtered[..., :H, :W] if down or right else filtered


def _added(kernels: Tensor) -> Tensor:
    """Kernels (B, C, K*K, h, w) that add the features themselves: once on the grid, not at every pixel."""
    itself = torch.zeros(kernels.shape[2], 1, 1, dtype=kernels.dtype, device=kernels.device)
    itself[kernels.shape[2] // 2] = 1
    return kernels + itself


def cell_side(pool: Pool = POOL) -> int:
    """Pixels that one kernel cell is wide: what the average pool joins, times two for the max pool."""
    return 2 * max(pool, 1)


def kernel_predictor(channels: int, hidden: int, kernel: int, before: nn.Module, between: nn.Module) -> nn.Sequential:
    """(B, C, H, W) to (B, C * (K*K + 1), h, w), which `split_kernels` reads; it starts at zero.

    Args:
        channels: C.
        hidden: its own width.
        kernel: K.
        before: what shrinks the features before the first convolution.
        between: what shrinks them between the residual blocks.
    """
    return nn.Sequential(
        before,
        conv(channels, hidden, padding_mode=GRID_PADDING),
        ResidualBlock(hidden, GRID_PADDING),
        ResidualBlock(hidden, GRID_PADDING),
        between,
        ResidualBlock(hidden, GRID_PADDING),
        ResidualBlock(hidden, GRID_PADDING),
        zeroed(nn.Conv2d(hidden, channels * (kernel * kernel + 1), 1)),
    )


def split_kernels(prediction: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Kernels (B, C, K*K, h, w) and bias (B, C, h, w), within [-1, 1], from a prediction (B, C * (K*K + 1), h, w)."""
    B, _, h, w = prediction.shape
    kernels, bias = prediction[:, :-channels], prediction[:, -channels:]
    # Kernel times feature is unbounded and a run at a high learning rate can explode; a bounded kernel can not.
    return torch.tanh(kernels).view(B, channels, -1, h, w), torch.tanh(bias)
