"""Motion: where another frame shows what a frame shows.

From small versions of the frames to the frames themselves, what is found is corrected again and again: by how far the
brightness would have to move to lessen what still differs. Nothing here is learnt, no gradient passes, and one place
answers for four pixels.

Sources: Lucas and Kanade, "An Iterative Image Registration Technique with an Application to Stereo Vision" (1981);
Bouguet, "Pyramidal Implementation of the Lucas Kanade Feature Tracker" (2001). The numbers below were chosen on clips.

Legend: B batch, C channels, H x W frame, h x w version of it.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from denoise_cli.ops.deformable import sample2d

HALVINGS = 4
MULTIPLE = 2 ** (HALVINGS + 1)  # of the frames' sides
CORRECTIONS = (1, 2, 3, 3, 3)  # at each size, the largest first
WINDOW, STRIDE, SMOOTHING = 6, 2, 3  # pixels that are moved together, pixels between their centres, places
CAUTION = (0.1, 0.1, 0.3, 1.0, 3.0)  # times the noise's variance: gradients that are weaker move little; at each size
QUIET = 1 / 255  # added to the noise, so that none at all is no division by zero


def follow(frame: Tensor, others: Sequence[Tensor], sigma: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What other frames show of the things that a frame shows, and where that is not beyond their border.

    Args:
        frame: (B, C, H, W), any range; H and W multiples of `MULTIPLE`.
        others: each like the frame.
        sigma: as `estimate_motion` takes it.

    Returns:
        Of each, (B, C, H, W) and (B, 1, H, W), which is one, or zero beyond the border.

    Raises:
        ValueError: the shapes do not fit.
    """
    if not others:
        return []
    # All in one batch: in small frames it is the calls that take the time.
    there, n = torch.cat(list(others)), len(others)
    here = [version.repeat(n, 1, 1, 1) for version in small_versions(frame)]
    motion = estimate_motion(here, small_versions(there), sigma.repeat(n, 1, 1, 1))
    found = sample2d(there, motion).flatten(1, 2)  # squeezing would become a branch in ONNX
    return list(zip(found.chunk(n), _inside(motion).chunk(n), strict=True))


def small_versions(frame: Tensor) -> list[Tensor]:
    """A frame's brightness, and half, a quarter, an eighth, a sixteenth of its size.

    Args:
        frame: (B, C, H, W), any range; H and W multiples of `MULTIPLE`.

    Returns:
        Five tensors (B, 1, h, w), the largest first.

    Raises:
        ValueError: the shape does not fit.
    """
    if frame.ndim != 4 or any(not side or side % MULTIPLE for side in frame.shape[2:]):
        raise ValueError(f"frame: expected (B, C, H, W), sides multiples of {MULTIPLE}, got {tuple(frame.shape)}")
    versions = [frame.mean(dim=1, keepdim=True, dtype=torch.promote_types(frame.dtype, torch.float32))]
    for _ in range(HALVINGS):
        versions.append(_halved(versions[-1]))
    return versions


@torch.no_grad()
def estimate_motion(here: Sequence[Tensor], there: Sequence[Tensor], sigma: Tensor) -> Tensor:
    """Where another frame shows what each pixel of a frame shows.

    Args:
        here: `small_versions` of the frame.
        there: `small_versions` of the other, of the same shape.
        sigma: (B, 1, H, W), the standard deviation of the frames' noise in each of three channels, in their unit.

    Returns:
        (B, 2, H, W), in pixels, to the right and down.

    Raises:
        ValueError: the shapes do not fit together.
    """
    shapes = [version.shape for version in here]
    if len(shapes) != HALVINGS + 1 or shapes != [version.shape for version in there]:
        raise ValueError("here, there: expected small versions of frames of one shape")
    if sigma.shape != here[0].shape:
        raise ValueError(f"sigma: expected {tuple(here[0].shape)}, got {tuple(sigma.shape)}")
    noise = [sigma.to(here[0].dtype) / 3**0.5 + QUIET]
    for _ in range(HALVINGS):  # the mean of four independent values has half the deviation
        noise.append(_halved(noise[-1]) / 2)
    offsets = torch.zeros_like(here[-1]).repeat(1, 2, 1, 1)
    for level in reversed(range(HALVINGS + 1)):
        stride = STRIDE if level < HALVINGS else 1  # the smallest has no pixel to spare
        height, width = (side // stride for side in here[level].shape[-2:])
        if level < HALVINGS:
            offsets = 2 * _resized(offsets, height, width)
        least = CAUTION[level] * F.avg_pool2d(noise[level], stride).square()
        for _ in range(CORRECTIONS[level]):
            offsets = offsets + _correction(here[level], there[level], offsets, least, stride)
            offsets = box_blur(offsets, SMOOTHING)
    return _resized(offsets, *here[0].shape[-2:])


def box_blur(image: Tensor, side: int) -> Tensor:
    """The mean of the values around each that lie within the image: (B, C, H, W) to the same; `side` is odd."""
    # Sums of shifted images, in a fraction of avg_pool2d's time, which does not use the processor's vectors here.
    for dim in (-2, -1):
        image = _sums(image, side, dim) * _shares(image.shape[dim], side, dim, image.dtype, image.device)
    return image


def _sums(image: Tensor, side: int, dim: int) -> Tensor:
    """Of each value and those around it along one dimension, in steps that double."""
    length, reach = image.shape[dim], side // 2
    sums = F.pad(image, [reach, reach] if dim == -1 else [0, 0, reach, reach])  # of `width` values from each on
    total, start, width = torch.zeros((), dtype=image.dtype, device=image.device), 0, 1
    while width <= side:
        if side & width:
            total = total + sums.narrow(dim, start, length)
            start += width
        rest = sums.shape[dim] - width
        sums = sums.narrow(dim, 0, rest) + sums.narrow(dim, width, rest) if 2 * width <= side else sums
        width *= 2
    return total


@lru_cache(maxsize=256)
def _shares(length: int, side: int, dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """One over how many values around each are within the image."""
    place = torch.arange(length, device=device)
    count = (place + side // 2).clamp(max=length - 1) - (place - side // 2).clamp(min=0) + 1
    shares = 1 / count.to(dtype)
    return shares if dim == -1 else shares.unsqueeze(1)


def _correction(here: Tensor, there: Tensor, offsets: Tensor, least: Tensor, stride: int) -> Tensor:
    """(B, 2, h / stride, w / stride): the least squares of what differs, within a window; not more than a pixel."""
    h, w = here.shape[-2:]
    found = _moved(there, _resized(offsets, h, w))
    around = F.pad((here + found) / 2, [1] * 4, mode="replicate")
    right = (around[..., 1:-1, 2:] - around[..., 1:-1, :-2]) / 2
    down = (around[..., 2:, 1:-1] - around[..., :-2, 1:-1]) / 2
    differs = here - found
    products = torch.cat([right * right, right * down, down * down, right * differs, down * differs], dim=1)
    # A window is so many strides wide, and at the smallest size, where a stride is a pixel, as many pixels.
    sums = box_blur(_halved(products), WINDOW // STRIDE) if stride > 1 else box_blur(products, WINDOW - 1)
    xx, xy, yy, x, y = sums.unsqueeze(2).unbind(dim=1)
    xx, yy = xx + least, yy + least
    moves = torch.cat([yy * x - xy * y, xx * y - xy * x], dim=1) / (xx * yy - xy.square())
    return moves.clamp(-1, 1)


def _halved(image: Tensor) -> Tensor:
    """The mean of each 2 x 2 values: (B, C, h, w) to (B, C, h / 2, w / 2)."""
    upper, lower = image[..., ::2, :], image[..., 1::2, :]
    rows = upper + lower
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def _moved(image: Tensor, offsets: Tensor) -> Tensor:
    """(B, 1, h, w), each pixel from where its offset points; beyond the border, what is at it."""
    h, w = image.shape[-2:]
    x, y = _places(offsets)
    places = torch.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], dim=-1)
    return F.grid_sample(image, places, padding_mode="border", align_corners=False)


def _inside(offsets: Tensor) -> Tensor:
    """(B, 1, h, w): one where offsets lead to a place between pixels, zero beyond the border."""
    h, w = offsets.shape[-2:]
    x, y = _places(offsets)
    return ((x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)).to(offsets.dtype).unsqueeze(1)


def _places(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Where offsets lead, x and y, each (B, h, w)."""
    # Not by affine_grid, which autocast makes of 16 bits: a pixel's place has more.
    h, w = offsets.shape[-2:]
    x, y = (torch.arange(side, device=offsets.device) for side in (w, h))
    return offsets[:, 0] + x, offsets[:, 1] + y[:, None]


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image, size=(height, width), mode="bilinear", align_corners=False)
