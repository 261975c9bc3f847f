"""Temporal averaging of denoised frames: it reduces flicker, the residual noise that differs from frame to frame.

Nothing here is learnt. The frames have little noise left, so motion and similarity are easier to estimate than before
denoising.

Legend: B batch, C channels, H x W frame, n neighbours.
"""

import torch
from torch import Tensor

from denoise_cli.ops.motion import align, box_blur, repeated, summed

RESIDUAL_NOISE = 0.3  # share of the removed noise, the level at which motion is estimated
# See `motion.estimate_motion`. In denoised frames, refining the motion of single pixels follows what noise has left in
# them: without it, the averages are slightly better.
ITERATIONS = (0, 1, 2, 2, 2)
NOISE_WINDOW = 33  # pixels, the side of the box over which the removed noise is measured
DIFFERENCE_WINDOW = 3  # pixels, the side of the box over which frames are compared
# If, within a box of this side, the motion explains less than this share of the noise, the pixel is taken to be static:
# then its position in the other frame is known exactly, while motion is only an estimate.
STATIC_WINDOW = 9  # pixels
STATIC_SHARE = 0.1
DIFFERENCE_FLOOR = 0.1 / 255  # added to the tolerated difference, so that zero noise causes no division by zero


@torch.no_grad()
def average_over_frames(frame: Tensor, noisy: Tensor, others: Tensor, tolerance: float | Tensor) -> Tensor:
    """Average a denoised frame with the pixels of its neighbours that show the same things.

    Args:
        frame: (B, C, H, W), nominally [0, 1]; H and W multiples of `motion.MULTIPLE`.
        noisy: (B, C, H, W), the frame before denoising; where no noise was removed, little is changed.
        others: n denoised neighbours, at least one, (n * B, C, H, W), one after another.
        tolerance: how much the same thing differs between frames, in units of the removed noise's deviation.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: the shapes are wrong.
    """
    n = others.shape[0] // frame.shape[0]
    noise = _mean_square(noisy - frame, NOISE_WINDOW).sqrt()
    aligned, inside = align(frame, others, RESIDUAL_NOISE * noise, ITERATIONS)
    frames, deviation = repeated(frame, n), repeated(noise, n)
    explained = _mean_square(frames - others, STATIC_WINDOW) - _mean_square(frames - aligned, STATIC_WINDOW)
    is_static = explained <= (STATIC_SHARE * deviation).square()
    # One or the other: `where` would be ten times as slow with a mask that the channels share.
    match = torch.lerp(aligned, others, is_static.to(frame.dtype))
    difference = _mean_square(frames - match, DIFFERENCE_WINDOW) / (tolerance * deviation + DIFFERENCE_FLOOR).square()
    trust = inside.logical_or(is_static) * torch.exp(-difference)
    return (frame + summed(trust * match, n)) / (1 + summed(trust, n))


def _mean_square(difference: Tensor, side: int) -> Tensor:
    """(B, 1, H, W): the mean square over the channels and the box around each pixel."""
    return box_blur(difference.square().mean(dim=1, keepdim=True), side)
