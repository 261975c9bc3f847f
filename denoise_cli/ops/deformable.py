"""Deformable kernels: each pixel becomes the weighted sum of pixels that are sampled at places of its own choice.

Source: Xu, Li, Sun, "Learning Deformable Kernels for Image and Video Denoising" (2019), section 3 and appendix A.

Legend: B batch, C channels, H x W image, K side of the rigid grid (odd), N = K*K points per pixel.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def deformable_conv2d(image: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Filter every pixel with a kernel of its own, whose taps lie where its offsets put them (equations 1 to 4).

    Args:
        image: (B, C, H, W), any range.
        offsets: (B, 2*N, H, W), as `sample2d` takes them.
        weights: (B, N, H, W), the same for all channels.

    Returns:
        (B, C, H, W), in the image's type.

    Raises:
        ValueError: the shapes do not fit together.
    """
    samples = sample2d(image.to(_wide(image)), offsets)
    return weigh(samples, weights).to(image.dtype)


def deformable_conv2d_reference(image: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """The definition, at the cost of `sample2d_reference`."""
    samples = sample2d_reference(image.to(_wide(image)), offsets)
    return torch.einsum("bcnyx,bnyx->bcyx", samples, weights.to(samples.dtype)).to(image.dtype)


def sample2d(image: Tensor, offsets: Tensor) -> Tensor:
    """Look up the image at the N points of each pixel, interpolating between the four nearest values.

    A pixel's points are the rigid K x K grid around it, row by row, each moved by its offset. All is zero beyond the
    image's border. At whole places the interpolation has a kink: the gradient there is that of one side.

    Args:
        image: (B, C, H, W), any range.
        offsets: (B, 2*N, H, W), in pixels: for each point how far to the right, then how far down.

    Returns:
        (B, C, N, H, W), in the image's type.

    Raises:
        ValueError: the shapes do not fit together.
    """
    _check_offsets(image, offsets)
    B, C, H, W = image.shape
    grid = _grid(*_places(offsets.to(_wide(image))))
    samples = F.grid_sample(image.to(grid.dtype), grid, align_corners=False)
    return samples.view(B, C, -1, H, W).to(image.dtype)


def sample2d_reference(image: Tensor, offsets: Tensor) -> Tensor:
    """The definition (equation 7). Every point weighs all rows and columns: N * (H + W) times a channel in memory."""
    H, W = image.shape[-2:]
    x, y = _places(offsets.to(_wide(image)))
    rows = _tent(y.unsqueeze(-1) - _count(H, y))
    columns = _tent(x.unsqueeze(-1) - _count(W, x))
    return torch.einsum("bcij,bnyxi,bnyxj->bcnyx", image.to(rows.dtype), rows, columns).to(image.dtype)


def sample_rigid2d(image: Tensor, K: int) -> Tensor:
    """What `sample2d` finds where no offset moves a point.

    Args:
        image: (B, C, H, W), any range.
        K: side of the grid, odd.

    Returns:
        (B, C, K*K, H, W), in the image's type.

    Raises:
        ValueError: not such an image, or K is even.
    """
    if image.ndim != 4:
        raise ValueError(f"image: expected (B, C, H, W), got {tuple(image.shape)}")
    if K < 1 or K % 2 == 0:
        raise ValueError(f"K: expected an odd side, got {K}")
    B, C, H, W = image.shape
    return F.unfold(image, K, padding=K // 2).view(B, C, K * K, H, W)


def weigh(samples: Tensor, weights: Tensor) -> Tensor:
    """Sum the samples of each pixel by their weights (equation 1).

    Args:
        samples: (B, C, N, H, W).
        weights: (B, N, H, W), the same for all channels.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: the shapes do not fit together.
    """
    return _products(samples, weights).sum(dim=2)


def weigh_groups(samples: Tensor, weights: Tensor, groups: int) -> Tensor:
    """Let successive points vote apart: as many results of the same scale, whose mean is `weigh` (equation 10).

    Args:
        samples: (B, C, N, H, W).
        weights: (B, N, H, W), the same for all channels.
        groups: how many, a divisor of N.

    Returns:
        (B, groups, C, H, W).

    Raises:
        ValueError: the shapes do not fit together.
    """
    products = _products(samples, weights)
    B, C, N, H, W = products.shape
    if groups < 1 or N % groups:
        raise ValueError(f"groups: expected a divisor of {N} points, got {groups}")
    return groups * products.view(B, C, groups, -1, H, W).sum(dim=3).transpose(1, 2)


def _products(samples: Tensor, weights: Tensor) -> Tensor:
    if samples.ndim != 5:
        raise ValueError(f"samples: expected (B, C, N, H, W), got {tuple(samples.shape)}")
    B, _, N, H, W = samples.shape
    if weights.shape != (B, N, H, W):
        raise ValueError(f"weights: expected {(B, N, H, W)}, got {tuple(weights.shape)}")
    return samples * weights.unsqueeze(1)


def _places(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N, H, W) each, x and y: the pixel's own place, its step on the rigid grid, and its offset."""
    H, W = offsets.shape[-2:]
    right, down = offsets[:, 0::2], offsets[:, 1::2]
    K = math.isqrt(right.shape[1])
    steps = _count(K, offsets) - K // 2
    x = _count(W, offsets) + steps.repeat(K).view(-1, 1, 1) + right
    y = _count(H, offsets).unsqueeze(1) + steps.repeat_interleave(K).view(-1, 1, 1) + down
    return x, y


def _grid(x: Tensor, y: Tensor) -> Tensor:
    """(B, N * H, W, 2), as `grid_sample` wants it: -1 and 1 are the image's borders, even where it is one pixel."""
    H, W = x.shape[-2:]
    return torch.stack([(2 * x + 1) / W - 1, (2 * y + 1) / H - 1], dim=-1).flatten(1, 2)


def _count(end: int, like: Tensor) -> Tensor:
    return torch.arange(end, dtype=like.dtype, device=like.device)


def _tent(distance: Tensor) -> Tensor:
    return F.relu(1 - distance.abs())


def _wide(image: Tensor) -> torch.dtype:
    """Sixteen bits cannot tell a place to a fraction of a pixel, nor add up many samples."""
    return torch.promote_types(image.dtype, torch.float32)


def _check_offsets(image: Tensor, offsets: Tensor) -> None:
    if image.ndim != 4:
        raise ValueError(f"image: expected (B, C, H, W), got {tuple(image.shape)}")
    B, _, H, W = image.shape
    if offsets.ndim != 4 or (offsets.shape[0], *offsets.shape[2:]) != (B, H, W):
        raise ValueError(f"offsets: expected ({B}, 2*N, {H}, {W}), got {tuple(offsets.shape)}")
    K = math.isqrt(offsets.shape[1] // 2)
    if offsets.shape[1] != 2 * K * K or K % 2 == 0:
        raise ValueError(f"offsets: expected 2*K*K channels with K odd, got {offsets.shape[1]}")
