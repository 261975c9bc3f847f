"""Steadiness: what denoising has left is another thing in every frame, and trembles; the mean over frames does less.

Nothing here is learnt. The frames have little noise, so motion and likeness are seen better than before denoising.

Legend: B batch, C channels, H x W frame.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from denoise_cli.ops.motion import box_blur, follow

LEFT = 0.3  # of the noise that was taken away
AROUND, CLOSE = 33, 3  # pixels over which what was taken away is measured, and what differs
# Where over so many pixels the motion explains less than this of the noise, nothing has moved: what stays where it is
# is known exactly, motion never.
PLACE, EXPLAINED = 9, 0.1
QUIET = 0.1 / 255  # added to what may differ, so that no noise at all is no division by zero


@torch.no_grad()
def average_over_frames(frame: Tensor, noisy: Tensor, others: Sequence[Tensor], alike: float) -> Tensor:
    """The mean of a denoised frame and of what its neighbours show of the same things.

    Args:
        frame: (B, C, H, W), nominally [0, 1]; H and W multiples of `motion.MULTIPLE`.
        noisy: the frame before it was denoised; where nothing was taken away, little is changed.
        others: its neighbours, denoised as well.
        alike: how much one thing differs between frames, in units of the noise that was taken away.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: the shapes do not fit.
    """
    noise = _square(noisy - frame, AROUND).sqrt()
    total, weights = frame, torch.ones_like(noise)
    for other, (moved, inside) in zip(others, follow(frame, others, LEFT * noise), strict=True):
        explained = _square(frame - other, PLACE) - _square(frame - moved, PLACE)
        stays = explained <= (EXPLAINED * noise).square()
        same = torch.where(stays, other, moved)
        unlike = _square(frame - same, CLOSE) / (alike * noise + QUIET).square()
        trust = inside.logical_or(stays) * torch.exp(-unlike)
        total, weights = total + trust * same, weights + trust
    return total / weights


def _square(difference: Tensor, side: int) -> Tensor:
    """(B, 1, H, W): the mean square around each pixel."""
    return box_blur(difference.square().mean(dim=1, keepdim=True), side)
