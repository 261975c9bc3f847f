"""Frames of a clip that come again with their noise, as in 25 frames shown as 50, telecine, and animation.

Legend: H x W frame.
"""

import math

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.noise import estimate_sigma, fine_noise

Array = NDArray[np.float32]

BLOCK = 16  # pixels: what moves is looked for in blocks of this side, and at the borders in what is left
MOST_DIFFERENCE = 8 / 255  # root mean square in any block, on [0, 1], up to which a frame may be a copy at all,
# and as a share of the noise, and of the difference between the last two frames that were no copies. Frames with noise
# of their own differ by more than 1.4 times the noise.
MOST_SHARE = 0.6
MOST_UNEQUAL = 5  # copies of a frame that are not equal to it: more of them are a still picture with weak noise


class CopyDetector:
    """Tells which frames are copies of the one before them, given the frames of a clip one after another.

    Encoders leave copies a little different, but by far less than frames whose noise is their own.
    """

    def __init__(self) -> None:
        self._original: Array | None = None
        self._step = math.inf  # between the last two frames that were no copies
        self._unequal = 0

    def is_copy(self, light: Array) -> bool:
        """Whether a frame, (H, W) on [0, 1], shows the same as the last that was no copy, with the same noise."""
        difference = math.inf if self._original is None else _most_difference(light, self._original)
        if difference == 0:
            return True
        if self._original is not None and self._unequal < MOST_UNEQUAL:
            most = min(MOST_DIFFERENCE, MOST_SHARE * self._step)
            if difference <= most and difference <= MOST_SHARE * _noise(self._original):
                self._unequal += 1
                return True
        self._original, self._step, self._unequal = light, difference, 0
        return False


def _noise(light: Array) -> float:
    # Where all is texture, fine detail is more than the noise; in clean pictures, the estimate sometimes is.
    return min(fine_noise(light) or 0.0, estimate_sigma(light[..., None]))


def _most_difference(light: Array, other: Array) -> float:
    """The root mean square of two frames' difference, in the block where it is largest."""
    H, W = light.shape
    rows, columns = (np.arange(0, max(side - BLOCK // 2, 1), BLOCK) for side in (H, W))
    sums = np.add.reduceat(np.add.reduceat(np.square(light - other), rows, axis=0), columns, axis=1)
    sizes = np.outer(np.diff([*rows, H]), np.diff([*columns, W]))
    return float(np.sqrt((sums / sizes).max()))
