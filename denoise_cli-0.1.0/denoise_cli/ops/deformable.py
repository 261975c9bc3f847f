"""Deformable kernels: each pixel becomes a weighted sum of samples taken at positions of its own.

Source: Xu, Li, Sun, "Learning Deformable Kernels for Image and Video Denoising" (2019), section 3 and appendix A.

Legend: B batch, C channels, T frames (odd), H x W image, K side of the rigid grid (odd), N points per pixel: K*K for an
image, K*K*K for a clip.

CUDA kernels do the work in one pass unless `cuda.obstacle` gives a reason why they cannot run.
"""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from denoise_cli.ops import cuda, fused


def deformable_conv2d(image: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Filter every pixel with its own kernel, whose taps are moved by its offsets (equations 1 to 4).

    Args:
        image: (B, C, H, W), any range.
        offsets: (B, 2*N, H, W), in pixels, see `sample2d`.
        weights: (B, N, H, W), the same for all channels.

    Returns:
        (B, C, H, W), in the image's type.

    Raises:
        ValueError: the shapes do not match.

    Examples:
        A single point that is moved one pixel to the right shifts the image to the left:

        >>> image = torch.arange(6.0).view(1, 1, 2, 3)
        >>> offsets = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 2, 3)
        >>> deformable_conv2d(image, offsets, torch.ones(1, 1, 2, 3))
        tensor([[[[1., 2., 0.],
                  [4., 5., 0.]]]])
    """
    _check_image(image)
    return _convolve(image, offsets, weights, sample2d)


def deformable_conv2d_reference(image: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """The definition, at the cost of `sample2d_reference`."""
    samples = sample2d_reference(image.to(_float32_or_wider(image)), offsets)
    return torch.einsum("bcnyx,bnyx->bcyx", samples, weights.to(samples.dtype)).to(image.dtype)


def sample2d(image: Tensor, offsets: Tensor) -> Tensor:
    """Sample the image at the N points of each pixel, interpolating between the four nearest values.

    A pixel's points are the rigid K x K grid around it, row by row, each moved by its offset. Beyond the image's border
    everything is zero. At integer positions the interpolation has a kink; the gradient there is that of one side.

    Args:
        image: (B, C, H, W), any range.
        offsets: (B, 2*N, H, W), in pixels: for each point how far to the right, then how far down.

    Returns:
        (B, C, N, H, W), in the image's type.

    Raises:
        ValueError: the shapes do not match.
    """
    _check_image(image)
    _check_offsets(image, offsets, dimensions=2)
    if _can_use_kernel(image, offsets):
        return fused.deformable_samples(*_promoted(image, offsets)).to(image.dtype)
    B, C, H, W = image.shape
    grid = _normalized_grid(_positions(offsets.to(_float32_or_wider(image))), (W, H))
    samples = F.grid_sample(image.to(grid.dtype), grid, align_corners=False)
    return samples.view(B, C, -1, H, W).to(image.dtype)


def sample2d_reference(image: Tensor, offsets: Tensor) -> Tensor:
    """The definition (equation 7). Each point has a weight for every row and column: N * (H + W) times a channel."""
    H, W = image.shape[-2:]
    x, y = _positions(offsets.to(_float32_or_wider(image)))
    rows, columns = _linear_weights(y, H), _linear_weights(x, W)
    return torch.einsum("bcij,bnyxi,bnyxj->bcnyx", image.to(rows.dtype), rows, columns).to(image.dtype)


def deformable_conv3d(clip: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Make every pixel of a clip's middle frame a weighted sum of samples from all frames (equation 6).

    Args:
        clip: (B, C, T, H, W), any range.
        offsets: (B, 3*N, H, W), in pixels and frames, see `sample3d`.
        weights: (B, N, H, W), the same for all channels.

    Returns:
        (B, C, H, W), in the clip's type.

    Raises:
        ValueError: the shapes do not match.

    Examples:
        A single point that is moved half a frame forward in time averages the middle frame and the next one:

        >>> clip = torch.tensor([0.0, 1.0, 3.0]).view(1, 1, 3, 1, 1)
        >>> offsets = torch.tensor([0.0, 0.0, 0.5]).view(1, 3, 1, 1)
        >>> deformable_conv3d(clip, offsets, torch.ones(1, 1, 1, 1))
        tensor([[[[2.]]]])
    """
    _check_clip(clip)
    return _convolve(clip, offsets, weights, sample3d)


def deformable_conv3d_reference(clip: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """The definition, at the cost of `sample3d_reference`."""
    samples = sample3d_reference(clip.to(_float32_or_wider(clip)), offsets)
    return torch.einsum("bcnyx,bnyx->bcyx", samples, weights.to(samples.dtype)).to(clip.dtype)


def sample3d(clip: Tensor, offsets: Tensor) -> Tensor:
    """Sample the clip at the N points of each pixel, interpolating between the eight nearest values (equation 7).

    A pixel's points are the rigid K x K x K grid around it, centred on the middle frame, frame by frame and row by row,
    each moved by its offset. Before and after the clip and beyond its border everything is zero.

    Args:
        clip: (B, C, T, H, W), any range.
        offsets: (B, 3*N, H, W): for each point how far to the right and how far down, in pixels, then how much later,
            in frames.

    Returns:
        (B, C, N, H, W), in the clip's type.

    Raises:
        ValueError: the shapes do not match.
    """
    _check_clip(clip)
    _check_offsets(clip, offsets, dimensions=3)
    if _can_use_kernel(clip, offsets):
        return fused.deformable_samples(*_promoted(clip, offsets)).to(clip.dtype)
    B, C, T, H, W = clip.shape
    grid = _normalized_grid(_positions(offsets.to(_float32_or_wider(clip)), (T // 2,)), (W, H, T))
    samples = F.grid_sample(clip.to(grid.dtype), grid, align_corners=False)
    return samples.view(B, C, -1, H, W).to(clip.dtype)


def sample3d_reference(clip: Tensor, offsets: Tensor) -> Tensor:
    """The definition. Each point has a weight for every frame, row and column: N * (T + H + W) times a channel."""
    T, H, W = clip.shape[2:]
    x, y, t = _positions(offsets.to(_float32_or_wider(clip)), (T // 2,))
    frames, rows, columns = (_linear_weights(position, side) for position, side in ((t, T), (y, H), (x, W)))
    return torch.einsum("bctij,bnyxt,bnyxi,bnyxj->bcnyx", clip.to(rows.dtype), frames, rows, columns).to(clip.dtype)


def sample_rigid2d(image: Tensor, K: int) -> Tensor:
    """Sample the image at the rigid grid, like `sample2d` with offsets of zero.

    Args:
        image: (B, C, H, W), any range.
        K: side of the grid, odd.

    Returns:
        (B, C, K*K, H, W), in the image's type.

    Raises:
        ValueError: the image's shape is wrong, or K is even.
    """
    _check_image(image)
    if K < 1 or K % 2 == 0:
        raise ValueError(f"K: expected an odd side, got {K}")
    B, C, H, W = image.shape
    return F.unfold(image, K, padding=K // 2).view(B, C, K * K, H, W)


def sample_rigid3d(clip: Tensor, K: int) -> Tensor:
    """Sample the clip at the rigid grid, like `sample3d` with offsets of zero.

    Args:
        clip: (B, C, T, H, W), any range.
        K: side of the grid, odd.

    Returns:
        (B, C, K*K*K, H, W), in the clip's type.

    Raises:
        ValueError: the clip's shape is wrong, or K is even.
    """
    _check_clip(clip)
    missing = K // 2 - clip.shape[2] // 2
    frames = F.pad(clip, [0, 0, 0, 0, missing, missing])  # negative padding crops
    return torch.cat([sample_rigid2d(frame, K) for frame in frames.unbind(dim=2)], dim=2)


def weighted_sum(samples: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of each pixel's samples (equation 1).

    Args:
        samples: (B, C, N, H, W).
        weights: (B, N, H, W), the same for all channels.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: the shapes do not match.
    """
    return _products(samples, weights).sum(dim=2)


def weighted_sums_by_group(samples: Tensor, weights: Tensor, groups: int) -> Tensor:
    """Sum each group of successive points on its own (equation 10).

    The sums are multiplied by the number of groups, so that their mean over the groups is `weighted_sum`.

    Args:
        samples: (B, C, N, H, W).
        weights: (B, N, H, W), the same for all channels.
        groups: number of groups, a divisor of N.

    Returns:
        (B, groups, C, H, W).

    Raises:
        ValueError: the shapes do not match, or `groups` does not divide N.
    """
    products = _products(samples, weights)
    B, C, N, H, W = products.shape
    if groups < 1 or N % groups:
        raise ValueError(f"groups: expected a divisor of {N} points, got {groups}")
    return groups * products.view(B, C, groups, -1, H, W).sum(dim=3).transpose(1, 2)


def _convolve(source: Tensor, offsets: Tensor, weights: Tensor, sample: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    dimensions = source.ndim - 2
    _check_offsets(source, offsets, dimensions)
    _check_weights(weights, offsets, dimensions)
    if _can_use_kernel(source, offsets, weights):
        return fused.deformable_sum(*_promoted(source, offsets, weights)).to(source.dtype)
    return weighted_sum(sample(source.to(_float32_or_wider(source)), offsets), weights).to(source.dtype)


def _can_use_kernel(image: Tensor, *others: Tensor) -> bool:
    # The kernel adds the contributions of many points to a pixel's gradient in no fixed order.
    must_be_deterministic = image.requires_grad and torch.are_deterministic_algorithms_enabled()
    return not must_be_deterministic and cuda.obstacle(image, *others) is None


def _promoted(*tensors: Tensor) -> list[Tensor]:
    """The tensors, all converted to the widest of their types."""
    widest = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    return [tensor.to(widest) for tensor in tensors]


def _products(samples: Tensor, weights: Tensor) -> Tensor:
    if samples.ndim != 5:
        raise ValueError(f"samples: expected (B, C, N, H, W), got {tuple(samples.shape)}")
    B, _, N, H, W = samples.shape
    if weights.shape != (B, N, H, W):
        raise ValueError(f"weights: expected {(B, N, H, W)}, got {tuple(weights.shape)}")
    return samples * weights.unsqueeze(1)


def _positions(offsets: Tensor, middle: tuple[int, ...] = ()) -> list[Tensor]:
    """The positions x, y and, for a clip, t of all points, each (B, N, H, W).

    A position is the sum of the pixel's own, the point's step on the rigid grid, and its offset. `middle` is the index
    of a clip's middle frame.
    """
    H, W = offsets.shape[-2:]
    dimensions = 2 + len(middle)
    moves = [offsets[:, axis::dimensions] for axis in range(dimensions)]
    K = _grid_side(moves[0].shape[1], dimensions)
    pixels: list[Tensor | int] = [_arange_like(W, offsets), _arange_like(H, offsets).unsqueeze(1), *middle]
    # The last axis of the mesh varies fastest; it is x.
    steps = torch.meshgrid(*[_arange_like(K, offsets) - K // 2] * dimensions, indexing="ij")[::-1]
    return [pixel + step.reshape(-1, 1, 1) + move for pixel, step, move in zip(pixels, steps, moves, strict=True)]


def _normalized_grid(positions: Sequence[Tensor], sides: Sequence[int]) -> Tensor:
    """Positions as `grid_sample` takes them: (B, N * H, W, 2) or (B, N, H, W, 3).

    The coordinates are in the last dimension, x first; -1 and 1 are the image's borders, even if a side is one pixel.
    """
    scaled = [(2 * position + 1) / side - 1 for position, side in zip(positions, sides, strict=True)]
    # Sampling reads planes of coordinates as fast as pairs, and pairs take longer to write.
    grid = torch.stack(scaled, dim=1).movedim(1, -1)
    return grid.flatten(1, 2) if len(positions) == 2 else grid


def _arange_like(end: int, like: Tensor) -> Tensor:
    return torch.arange(end, dtype=like.dtype, device=like.device)


def _linear_weights(position: Tensor, side: int) -> Tensor:
    """(..., side): the weight of each pixel in a row of `side` pixels that is interpolated at a position."""
    return F.relu(1 - (position.unsqueeze(-1) - _arange_like(side, position)).abs())


def _grid_side(points: int, dimensions: int) -> int:
    """K of a rigid grid with this number of points, rounded if there is no such grid."""
    return round(int(points) ** (1 / dimensions))


def _float32_or_wider(image: Tensor) -> torch.dtype:
    # Sixteen bits are too few for positions within a pixel and for sums of many samples.
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
    K = _grid_side(offsets.shape[1] // dimensions, dimensions)
    if offsets.shape[1] != dimensions * K**dimensions or K % 2 == 0:
        kernel = "*".join("K" * dimensions)
        raise ValueError(f"offsets: expected {dimensions}*{kernel} channels with K odd, got {offsets.shape[1]}")


def _check_weights(weights: Tensor, offsets: Tensor, dimensions: int) -> None:
    B, channels, H, W = offsets.shape
    if weights.shape != (B, channels // dimensions, H, W):
        raise ValueError(f"weights: expected {(B, channels // dimensions, H, W)}, got {tuple(weights.shape)}")
