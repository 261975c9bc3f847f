"""Steadiness: what denoising has left is another thing in every frame, and trembles; the mean over frames does less.

Nothing here is learnt. The frames have little noise, so motion and likeness are seen better than before denoising.

Legend: B batch, C channels, H x W frame.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from denoise_cli.ops.motion import blurred, follow

LEFT = 0.3  # of the noise that was taken away
AROUND, CLOSE = 33, 3  # pixels over which what was taken away is measured, and what differs
QUIET = 0.1 / 255  # added to what may differ, so that no noise at all is no division by zero


@torch.no_grad()
def steadied(frame: Tensor, noisy: Tensor, others: Sequence[Tensor], alike: float) -> Tensor:
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
    noise = _deviation(noisy - frame, AROUND)
    total, weights = frame, torch.ones_like(noise)
    for shifted, inside in follow(frame, others, LEFT * noise):
        unlike = _deviation(frame - shifted, CLOSE) / (alike * noise + QUIET)
        trust = inside * torch.exp(-unlike.square())
        total, weights = total + trust * shifted, weights + trust
    return total / weights


def _deviation(difference: Tensor, side: int) -> Tensor:
    """(B, 1, H, W): the root of the mean square around each pixel."""
    return blurred(difference.square().mean(dim=1, keepdim=True), side).sqrt()
