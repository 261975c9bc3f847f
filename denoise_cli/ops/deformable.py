"""Deformable kernels: each pixel becomes the weighted sum of pixels that are sampled at places of its own choice.

Source: Xu, Li, Sun, "Learning Deformable Kernels for Image and Video Denoising" (2019), section 3 and appendix A.

Legend: B batch, C channels, T frames (odd), H x W image, K side of the rigid grid (odd), N points per pixel: K*K of an
image, K*K*K of a clip.

Where `cuda.obstacle` knows of no obstacle, CUDA kernels do it in one pass.
"""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from denoise_cli.ops import cuda, fused


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
    _check_image(image)
    return _sum(image, offsets, weights, sample2d)


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
    _check_image(image)
    _check_offsets(image, offsets, dimensions=2)
    if _has_kernel(image, offsets):
        return fused.deformable_samples(*_alike(image, offsets)).to(image.dtype)
    B, C, H, W = image.shape
    grid = _grid(_places(offsets.to(_wide(image))), (W, H))
    samples = F.grid_sample(image.to(grid.dtype), grid, align_corners=False)
    return samples.view(B, C, -1, H, W).to(image.dtype)


def sample2d_reference(image: Tensor, offsets: Tensor) -> Tensor:
    """The definition (equation 7). Every point weighs all rows and columns: N * (H + W) times a channel in memory."""
    H, W = image.shape[-2:]
    x, y = _places(offsets.to(_wide(image)))
    rows, columns = _tents(y, H), _tents(x, W)
    return torch.einsum("bcij,bnyxi,bnyxj->bcnyx", image.to(rows.dtype), rows, columns).to(image.dtype)


def deformable_conv3d(clip: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Make every pixel of a clip's middle frame a weighted sum of pixels from the whole of it (equation 6).

    Args:
        clip: (B, C, T, H, W), any range.
        offsets: (B, 3*N, H, W), as `sample3d` takes them.
        weights: (B, N, H, W), the same for all channels.

    Returns:
        (B, C, H, W), in the clip's type.

    Raises:
        ValueError: the shapes do not fit together.
    """
    _check_clip(clip)
    return _sum(clip, offsets, weights, sample3d)


def deformable_conv3d_reference(clip: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """The definition, at the cost of `sample3d_reference`."""
    samples = sample3d_reference(clip.to(_wide(clip)), offsets)
    return torch.einsum("bcnyx,bnyx->bcyx", samples, weights.to(samples.dtype)).to(clip.dtype)


def sample3d(clip: Tensor, offsets: Tensor) -> Tensor:
    """Look up the clip at the N points of each pixel, interpolating between the eight nearest values (equation 7).

    A pixel's points are the rigid K x K x K grid around it in the middle frame and in those beside it, frame by frame
    and row by row, each moved by its offset. All is zero before the clip, after it and beyond its border.

    Args:
        clip: (B, C, T, H, W), any range.
        offsets: (B, 3*N, H, W): for each point how far to the right and how far down, in pixels, then how much later,
            in frames.

    Returns:
        (B, C, N, H, W), in the clip's type.

    Raises:
        ValueError: the shapes do not fit together.
    """
    _check_clip(clip)
    _check_offsets(clip, offsets, dimensions=3)
    if _has_kernel(clip, offsets):
        return fused.deformable_samples(*_alike(clip, offsets)).to(clip.dtype)
    B, C, T, H, W = clip.shape
    grid = _grid(_places(offsets.to(_wide(clip)), (T // 2,)), (W, H, T))
    samples = F.grid_sample(clip.to(grid.dtype), grid, align_corners=False)
    return samples.view(B, C, -1, H, W).to(clip.dtype)


def sample3d_reference(clip: Tensor, offsets: Tensor) -> Tensor:
    """The definition. Every point weighs all frames, rows and columns: N * (T + H + W) times a channel in memory."""
    T, H, W = clip.shape[2:]
    x, y, t = _places(offsets.to(_wide(clip)), (T // 2,))
    frames, rows, columns = (_tents(place, side) for place, side in ((t, T), (y, H), (x, W)))
    return torch.einsum("bctij,bnyxt,bnyxi,bnyxj->bcnyx", clip.to(rows.dtype), frames, rows, columns).to(clip.dtype)


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
    _check_image(image)
    if K < 1 or K % 2 == 0:
        raise ValueError(f"K: expected an odd side, got {K}")
    B, C, H, W = image.shape
    return F.unfold(image, K, padding=K // 2).view(B, C, K * K, H, W)


def sample_rigid3d(clip: Tensor, K: int) -> Tensor:
    """What `sample3d` finds where no offset moves a point.

    Args:
        clip: (B, C, T, H, W), any range.
        K: side of the grid, odd.

    Returns:
        (B, C, K*K*K, H, W), in the clip's type.

    Raises:
        ValueError: not such a clip, or K is even.
    """
    _check_clip(clip)
    lacking = K // 2 - clip.shape[2] // 2
    frames = F.pad(clip, [0, 0, 0, 0, lacking, lacking])  # or, where it is less than zero, cut
    return torch.cat([sample_rigid2d(frame, K) for frame in frames.unbind(dim=2)], dim=2)


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


def _sum(source: Tensor, offsets: Tensor, weights: Tensor, sample: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    dimensions = source.ndim - 2
    _check_offsets(source, offsets, dimensions)
    _check_weights(weights, offsets, dimensions)
    if _has_kernel(source, offsets, weights):
        return fused.deformable_sum(*_alike(source, offsets, weights)).to(source.dtype)
    return weigh(sample(source.to(_wide(source)), offsets), weights).to(source.dtype)


def _has_kernel(image: Tensor, *others: Tensor) -> bool:
    # What comes to a pixel's gradient from many points is added in no certain order.
    is_uncertain = image.requires_grad and torch.are_deterministic_algorithms_enabled()
    return not is_uncertain and cuda.obstacle(image, *others) is None


def _alike(*tensors: Tensor) -> list[Tensor]:
    """All of the widest type."""
    widest = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    return [tensor.to(widest) for tensor in tensors]


def _products(samples: Tensor, weights: Tensor) -> Tensor:
    if samples.ndim != 5:
        raise ValueError(f"samples: expected (B, C, N, H, W), got {tuple(samples.shape)}")
    B, _, N, H, W = samples.shape
    if weights.shape != (B, N, H, W):
        raise ValueError(f"weights: expected {(B, N, H, W)}, got {tuple(weights.shape)}")
    return samples * weights.unsqueeze(1)


def _places(offsets: Tensor, middle: tuple[int, ...] = ()) -> list[Tensor]:
    """(B, N, H, W) each, x, y and, of a clip, t: the pixel's own place, its step on the rigid grid, and its offset."""
    H, W = offsets.shape[-2:]
    dimensions = 2 + len(middle)
    moves = [offsets[:, axis::dimensions] for axis in range(dimensions)]
    K = _side(moves[0].shape[1], dimensions)
    own: list[Tensor | int] = [_count(W, offsets), _count(H, offsets).unsqueeze(1), *middle]
    # The last axis of the product is the fastest, which is x.
    steps = torch.meshgrid(*[_count(K, offsets) - K // 2] * dimensions, indexing="ij")[::-1]
    return [place + step.reshape(-1, 1, 1) + move for place, step, move in zip(own, steps, moves, strict=True)]


def _grid(places: Sequence[Tensor], sides: Sequence[int]) -> Tensor:
    """As `grid_sample` wants it, x first and last: -1 and 1 are the borders, even of a side of one pixel.

    (B, N * H, W, 2), or (B, N, H, W, 3).
    """
    scaled = [(2 * place + 1) / side - 1 for place, side in zip(places, sides, strict=True)]
    grid = torch.stack(scaled, dim=-1)
    return grid.flatten(1, 2) if len(places) == 2 else grid


def _count(end: int, like: Tensor) -> Tensor:
    return torch.arange(end, dtype=like.dtype, device=like.device)


def _tents(place: Tensor, side: int) -> Tensor:
    """(..., side): how much each of a row of pixels contributes to a place in it."""
    return F.relu(1 - (place.unsqueeze(-1) - _count(side, place)).abs())


def _side(points: int, dimensions: int) -> int:
    """K of a rigid grid with so many points, rounded where they make none."""
    return round(int(points) ** (1 / dimensions))


def _wide(image: Tensor) -> torch.dtype:
    """Sixteen bits cannot tell a place to a fraction of a pixel, nor add up many samples."""
    return torch.promote_types(image.dtype, torch.float32)


def _check_image(image: Tensor) -> None:
    if image.ndim != 4:
        raise ValueError(f"image: expected (B, C, H, W), got {tuple(image.shape)}")


def _check_clip(clip: Tensor) -> None:
    if clip.ndim != 5 or clip.shape[2] % 2 == 0:
        raise ValueError(f"clip: expected (B, C, T, H, W) with T odd, got {tuple(clip.shape)}")


def _check_offsets(source: Tensor, offsets: Tensor, dimensions: int) -> None:
    B, H, W = source.shape[0], *source.shape[-2:]
    if offsets.ndim != 4 or (offsets.shape[0], *offsets.shape[2:]) != (B, H, W):
        raise ValueError(f"offsets: expected ({B}, {dimensions}*N, {H}, {W}), got {tuple(offsets.shape)}")
    K = _side(offsets.shape[1] // dimensions, dimensions)
    if offsets.shape[1] != dimensions * K**dimensions or K % 2 == 0:
        kernel = "*".join("K" * dimensions)
        raise ValueError(f"offsets: expected {dimensions}*{kernel} channels with K odd, got {offsets.shape[1]}")


def _check_weights(weights: Tensor, offsets: Tensor, dimensions: int) -> None:
    B, channels, H, W = offsets.shape
    if weights.shape != (B, channels // dimensions, H, W):
        raise ValueError(f"weights: expected {(B, channels // dimensions, H, W)}, got {tuple(weights.shape)}")
