"""Motion: for each pixel of a frame, the position in another frame that shows the same thing.

The motion is estimated from coarse to fine over a pyramid of the frames. At each size it is refined several times, by
the least-squares step that best explains the remaining difference in brightness. Nothing here is learnt, no gradient
passes through, and one motion vector serves 2 x 2 pixels.

Sources: Lucas and Kanade, "An Iterative Image Registration Technique with an Application to Stereo Vision" (1981);
Bouguet, "Pyramidal Implementation of the Lucas Kanade Feature Tracker" (2001). The constants below were tuned on clips.

Legend: B batch, C channels, H x W frame, h x w level of its pyramid.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from denoise_cli.ops.deformable import sample2d

HALVINGS = 4  # of the size, from the largest level of the pyramid to the smallest
MULTIPLE = 2 ** (HALVINGS + 1)  # the sides of a frame must be multiples of it, in pixels
ITERATIONS = (1, 2, 3, 3, 3)  # refinements per level, the largest level first
WINDOW = 6  # pixels, the side of the window that is assumed to move as one
STRIDE = 2  # pixels between the centres of windows
SMOOTHING = 3  # motion vectors, the side of the box that they are smoothed over
DAMPING = (0.1, 0.1, 0.3, 1.0, 3.0)  # per level, times the noise's variance: gradients weaker than that move little
NOISE_FLOOR = 1 / 255  # added to sigma, so that a noise-free frame causes no division by zero


def align(
    frame: Tensor, others: Tensor, sigma: Tensor, iterations: Sequence[int] = ITERATIONS
) -> tuple[Tensor, Tensor]:
    """Warp other frames so that they show the same things as a frame at the same pixels.

    Args:
        frame: (B, C, H, W), any range; H and W multiples of `MULTIPLE`.
        others: n other frames, at least one, (n * B, C, H, W), one after another: for small frames, the number of calls
            determines the time.
        sigma: (B, 1, H, W), see `estimate_motion`.
        iterations: see `estimate_motion`.

    Returns:
        The warped frames, (n * B, C, H, W), and masks, (n * B, 1, H, W): one inside the other frame, zero where the
        motion leads beyond its border.

    Raises:
        ValueError: the shapes are wrong.
    """
    motion = estimate_motion(brightness_pyramid(frame), brightness_pyramid(others), sigma, iterations)
    # Squeezing would become a branch in ONNX.
    return sample2d(others, motion).flatten(1, 2), _inside(motion)


def brightness_pyramid(frame: Tensor) -> list[Tensor]:
    """A frame's brightness at full size and at a half, a quarter, an eighth and a sixteenth of it.

    Args:
        frame: (B, C, H, W), any range; H and W multiples of `MULTIPLE`.

    Returns:
        Five tensors (B, 1, h, w), the largest first, in float32 or wider.

    Raises:
        ValueError: the shape is wrong.
    """
    if frame.ndim != 4 or any(not side or side % MULTIPLE for side in frame.shape[2:]):
        raise ValueError(f"frame: expected (B, C, H, W), sides multiples of {MULTIPLE}, got {tuple(frame.shape)}")
    levels = [frame.mean(dim=1, keepdim=True, dtype=torch.promote_types(frame.dtype, torch.float32))]
    for _ in range(HALVINGS):
        levels.append(_halved(levels[-1]))
    return levels


@torch.no_grad()
def estimate_motion(
    frame_pyramid: Sequence[Tensor],
    other_pyramid: Sequence[Tensor],
    sigma: Tensor,
    iterations: Sequence[int] = ITERATIONS,
) -> Tensor:
    """The offset from each pixel of a frame to the position in another frame, or several, that shows the same thing.

    Args:
        frame_pyramid: `brightness_pyramid` of the frame.
        other_pyramid: `brightness_pyramid` of the n other frames, (n * B, 3, H, W), one after another.
        sigma: (B, 1, H, W), the standard deviation of both frames' noise in each of three channels, in their unit.
        iterations: refinements per level, the largest level first; zero leaves out a level.

    Returns:
        (n * B, 2, H, W), in pixels: how far to the right, then how far down.

    Raises:
        ValueError: the shapes do not match.
    """
    shapes, others = ([tuple(level.shape) for level in pyramid] for pyramid in (frame_pyramid, other_pyramid))
    n = other_pyramid[0].shape[0] // frame_pyramid[0].shape[0]
    if len(shapes) != HALVINGS + 1 or [(n * B, *rest) for B, *rest in shapes] != others:
        raise ValueError(
            f"pyramids: expected two of {HALVINGS + 1} levels of the same shapes, got {shapes} and {others}"
        )
    if sigma.shape != frame_pyramid[0].shape:
        raise ValueError(f"sigma: expected {tuple(frame_pyramid[0].shape)}, got {tuple(sigma.shape)}")
    noise = [sigma.to(frame_pyramid[0].dtype) / 3**0.5 + NOISE_FLOOR]  # of the mean of three channels
    for _ in range(HALVINGS):  # the mean of four independent values has half the deviation
        noise.append(_halved(noise[-1]) / 2)
    offsets = torch.zeros_like(other_pyramid[-1]).repeat(1, 2, 1, 1)
    for level in reversed(range(HALVINGS + 1)):
        stride = STRIDE if level < HALVINGS else 1  # the smallest level has no pixel to spare
        height, width = (side // stride for side in frame_pyramid[level].shape[-2:])
        if level < HALVINGS:
            offsets = 2 * _resized(offsets, height, width)
        if not iterations[level]:
            continue
        frame = repeated(frame_pyramid[level], n)
        damping = repeated(DAMPING[level] * F.avg_pool2d(noise[level], stride).square(), n)
        for _ in range(iterations[level]):
            offsets = offsets + _step(frame, other_pyramid[level], offsets, damping, stride)
            offsets = box_blur(offsets, SMOOTHING)
    return _resized(offsets, *frame_pyramid[0].shape[-2:])


def box_blur(image: Tensor, side: int) -> Tensor:
    """The mean over the box around each value, of the values inside the image.

    Args:
        image: (B, C, H, W), any range.
        side: side of the box in pixels, odd.

    Returns:
        (B, C, H, W).
    """
    # Sums of shifted images take a fraction of avg_pool2d's time, which is not vectorised here.
    for dim in (-2, -1):
        image = _box_sums(image, side, dim) * _reciprocal_counts(image.shape[dim], side, dim, image.dtype, image.device)
    return image


def repeated(image: Tensor, n: int) -> Tensor:
    """A batch (B, C, h, w) n times, one after another: (n * B, C, h, w); a single image is not copied."""
    return image.expand(n, *image.shape).flatten(0, 1)


def summed(images: Tensor, n: int) -> Tensor:
    """The sum of n batches that follow one another: (n * B, C, h, w) to (B, C, h, w)."""
    return images.view(n, -1, *images.shape[1:]).sum(dim=0)


def _box_sums(image: Tensor, side: int, dim: int) -> Tensor:
    """The sum of the `side` values centred on each along one dimension, composed of sums of 1, 2, 4, ... values."""
    reach = side // 2
    sums = F.pad(image, [reach, reach] if dim == -1 else [0, 0, reach, reach])  # of `width` values, starting at each
    excess = 2 * reach  # of sums, over the values
    total, start, width = torch.zeros((), dtype=image.dtype, device=image.device), 0, 1
    while width <= side:
        if side & width:
            total = total + _cut(sums, dim, start, excess - start)
            start += width
        if 2 * width <= side:
            sums, excess = _cut(sums, dim, 0, width) + _cut(sums, dim, width, 0), excess - width
        width *= 2
    return total


def _cut(image: Tensor, dim: int, before: int, after: int) -> Tensor:
    """Without so many rows or columns at its two ends; in a traced network, no size has to be computed."""
    kept = slice(before, -after if after else None)
    return image[..., kept] if dim == -1 else image[..., kept, :]


@lru_cache(maxsize=256)
def _reciprocal_counts(length: int, side: int, dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """One over the number of values around each that are inside the image."""
    place = torch.arange(length, device=device)
    count = (place + side // 2).clamp(max=length - 1) - (place - side // 2).clamp(min=0) + 1
    reciprocals = 1 / count.to(dtype)
    return reciprocals if dim == -1 else reciprocals.unsqueeze(1)


def _step(frame: Tensor, other: Tensor, offsets: Tensor, damping: Tensor, stride: int) -> Tensor:
    """(B, 2, h / stride, w / stride): the least-squares change of the offsets per window, at most a pixel."""
    h, w = frame.shape[-2:]
    warped = _warp(other, _resized(offsets, h, w))
    mean = F.pad((frame + warped) / 2, [1] * 4, mode="replicate")
    slope_x = (mean[..., 1:-1, 2:] - mean[..., 1:-1, :-2]) / 2
    slope_y = (mean[..., 2:, 1:-1] - mean[..., :-2, 1:-1]) / 2
    difference = frame - warped
    products = torch.cat(
        [slope_x * slope_x, slope_x * slope_y, slope_y * slope_y, slope_x * difference, slope_y * difference], dim=1
    )
    # At the smallest level, where the stride is a pixel, the window is an odd number of pixels.
    sums = box_blur(_halved(products), WINDOW // STRIDE) if stride > 1 else box_blur(products, WINDOW - 1)
    xx, xy, yy, x, y = sums.unsqueeze(2).unbind(dim=1)
    xx, yy = xx + damping, yy + damping
    steps = torch.cat([yy * x - xy * y, xx * y - xy * x], dim=1) / (xx * yy - xy.square())
    return steps.clamp(-1, 1)


def _halved(image: Tensor) -> Tensor:
    """The mean of every 2 x 2 values: (B, C, h, w) to (B, C, h / 2, w / 2)."""
    upper, lower = image[..., ::2, :], image[..., 1::2, :]
    rows = upper + lower
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def _warp(image: Tensor, offsets: Tensor) -> Tensor:
    """(B, 1, h, w): the image at the position that each pixel's offset points to; the border is repeated."""
    h, w = image.shape[-2:]
    x, y = _positions(offsets)
    # Sampling reads planes of coordinates as fast as pairs, and pairs take longer to write.
    grid = torch.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], dim=1)
    return F.grid_sample(image, grid.movedim(1, -1), padding_mode="border", align_corners=False)


def _inside(offsets: Tensor) -> Tensor:
    """(B, 1, h, w): one where an offset points to a position between pixel centres, zero beyond the border."""
    h, w = offsets.shape[-2:]
    x, y = _positions(offsets)
    return ((x.clamp(0, w - 1) == x) & (y.clamp(0, h - 1) == y)).to(offsets.dtype).unsqueeze(1)


def _positions(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """The positions x and y that offsets point to, each (B, h, w)."""
    # affine_grid would be computed in 16 bits under autocast, which is too coarse for positions.
    h, w = offsets.shape[-2:]
    x, y = (torch.arange(side, dtype=offsets.dtype, device=offsets.device) for side in (w, h))
    return offsets[:, 0] + x, offsets[:, 1] + y[:, None]


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image, size=(height, width), mode="bilinear", align_corners=False)
