"""Malleable convolution: a different small kernel at every pixel, sliced on the fly from a coarse grid.

Source: Jiang et al., "Fast and High-quality Image Denoising via Malleable Convolutions" (2022), section 3.

Legend: B batch, C channels, H x W image, h x w grid, K kernel size (odd).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from denoise_cli.ops import cuda, fused

FUSED = (1, 3)  # the K that have CUDA kernels


def malleable_conv2d(image: Tensor, kernels: Tensor, bias: Tensor | None = None) -> Tensor:
    """Filter every pixel with its own depthwise kernel, blended from the four nearest grid cells.

    The grid is stretched over the image with half-pixel centres; beyond its outermost cell centres, and beyond the
    image's border, the nearest value is repeated. H x W and h x w are free; neither needs to divide the other.

    A CUDA kernel does the work in one pass, or PyTorch in K*K passes if `cuda.obstacle` gives a reason why the kernel
    cannot run.

    Args:
        image: (B, C, H, W), any range.
        kernels: (B, C, K*K, h, w), kernel taps in row-major order, K odd.
        bias: (B, C, h, w), sliced like the kernels and added; None for no bias.

    Returns:
        (B, C, H, W), in the image's type.

    Raises:
        ValueError: the shapes do not match.

    Examples:
        A row is multiplied by factors that change from 0 to 2, given by a grid of two cells:

        >>> image = torch.ones(1, 1, 1, 4)
        >>> kernels = torch.tensor([0.0, 2.0]).view(1, 1, 1, 1, 2)
        >>> malleable_conv2d(image, kernels)
        tensor([[[[0.0000, 0.5000, 1.5000, 2.0000]]]])
    """
    _check_shapes(image, kernels, bias)
    H, W = image.shape[-2:]
    K = math.isqrt(kernels.shape[2])
    if K in FUSED and cuda.obstacle(image, kernels, bias) is None:
        return fused.malleable_conv2d(image, kernels.to(image.dtype), None if bias is None else bias.to(image.dtype))
    padded = F.pad(image, [K // 2] * 4, mode="replicate") if K > 1 else image
    filtered = torch.zeros_like(image) if bias is None else _slice(bias, H, W)
    for tap in range(K * K):  # one at a time, so that only one sliced tap is in memory
        y, x = divmod(tap, K)
        shifted = padded[..., y : y + H, x : x + W] if K > 1 else image
        filtered = filtered + shifted * _slice(kernels[:, :, tap], H, W)
    return filtered


def malleable_conv2d_reference(image: Tensor, kernels: Tensor, bias: Tensor | None = None) -> Tensor:
    """The definition. Holds a kernel for every pixel in memory: K*K times the image."""
    B, C, H, W = image.shape
    taps = kernels.shape[2]
    K = math.isqrt(taps)

    sliced = _slice(kernels.flatten(1, 2), H, W).view(B, C, taps, H, W)
    patches = F.unfold(F.pad(image, [K // 2] * 4, mode="replicate"), K).view(B, C, taps, H, W)
    filtered = (sliced * patches).sum(dim=2)
    return filtered if bias is None else filtered + _slice(bias, H, W)


def _slice(grid: Tensor, H: int, W: int) -> Tensor:
    return F.interpolate(grid, size=(H, W), mode="bilinear", align_corners=False)


def _check_shapes(image: Tensor, kernels: Tensor, bias: Tensor | None) -> None:
    if image.ndim != 4:
        raise ValueError(f"image: expected (B, C, H, W), got {tuple(image.shape)}")
    B, C = image.shape[:2]
    if kernels.ndim != 5 or kernels.shape[:2] != (B, C):
        raise ValueError(f"kernels: expected ({B}, {C}, K*K, h, w), got {tuple(kernels.shape)}")
    K = math.isqrt(kernels.shape[2])
    if kernels.shape[2] != K * K or K % 2 == 0:
        raise ValueError(f"kernels: expected K*K taps with K odd, got {kernels.shape[2]}")
    if bias is not None and bias.shape != (B, C, *kernels.shape[3:]):
        raise ValueError(f"bias: expected {(B, C, *kernels.shape[3:])}, got {tuple(bias.shape)}")
