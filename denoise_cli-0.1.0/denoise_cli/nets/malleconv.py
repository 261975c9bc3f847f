"""MalleConv: a layer that filters every pixel with its own kernel, predicted at a fraction of the resolution.

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
POOL: Pool = 4  # pixels, the default side of the average pool

# A grid can be a single cell. Replicate padding still trains every tap there; zero padding would leave eight of nine
# untrained.
GRID_PADDING: Padding = "replicate"
LAST_OF_PREDICTOR = 7  # the index of the layer whose outputs are the kernels, and then the biases


class MalleConv(nn.Module):
    """Adds the malleable convolution of the features to the features.

    Args:
        channels: C.
        hidden: channels inside the predictor.
        kernel: K.
        pool: side of the average pool at the start of the predictor; 0 for none.
    """

    def __init__(self, channels: int, hidden: int, kernel: int, pool: Pool = POOL) -> None:
        super().__init__()
        self.channels = channels
        self.cell = cell_side(pool)
        shrink = nn.AvgPool2d(pool) if pool else nn.Identity()
        self.predictor = kernel_predictor(channels, hidden, kernel, shrink, nn.MaxPool2d(2))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape; H and W are free."""
        H, W = features.shape[-2:]
        down, right = -H % self.cell, -W % self.cell
        # Padding to whole cells keeps the cells' centres in place; the padding is cropped again below.
        padded = F.pad(features, [0, right, 0, down], mode="replicate") if down or right else features
        kernels, bias = split_kernels(self.predictor(padded), self.channels)
        filtered = malleable_conv2d(padded, _with_identity(kernels), bias)
        return filtered[..., :H, :W] if down or right else filtered


def _with_identity(kernels: Tensor) -> Tensor:
    """Add one to the centre taps of (B, C, K*K, h, w).

    The kernels then add the features themselves, and the addition is done once per cell, not once per pixel.
    """
    identity = torch.zeros(kernels.shape[2], 1, 1, dtype=kernels.dtype, device=kernels.device)
    identity[kernels.shape[2] // 2] = 1
    return kernels + identity


def cell_side(pool: Pool = POOL) -> int:
    """The side of a grid cell in pixels: that of the average pool, times two for the max pool."""
    return 2 * max(pool, 1)


def kernel_predictor(channels: int, hidden: int, kernel: int, before: nn.Module, between: nn.Module) -> nn.Sequential:
    """A network from features (B, C, H, W) to (B, C * (K*K + 1), h, w), for `split_kernels`; it starts at zero.

    Args:
        channels: C.
        hidden: channels inside the predictor.
        kernel: K.
        before: downsamples the features before the first convolution.
        between: downsamples them between the residual blocks.
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
    # With unbounded kernels, kernel times feature can explode in training at a high learning rate.
    return torch.tanh(kernels).view(B, channels, -1, h, w), torch.tanh(bias)
