"""Dithering: noise below one step of 8 bits, so that a smooth gradient does not come out in steps.

Source: Lipshitz et al., "Quantization and Dither: A Theoretical Survey" (1992): noise whose distribution is a triangle
two steps wide makes the mean and the variance of the error independent of the value.

Legend: C channels, h x w part of a picture.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.pixels import Pixels, strips

SIDE = 256  # pixels of the pattern that is repeated over a picture; rows of it need no more than a look-up
CHANNELS = 3
WHITE = 255
HALF_STEP = 0.5


def dithered(values: NDArray[np.float32], original: Pixels, top: int = 0, left: int = 0) -> NDArray[np.uint8]:
    """Round to 8 bits with noise, except where that gives what was there before.

    The noise depends on the place in the picture alone, so that parts of it can be rounded one by one, in any order.

    Args:
        values: (h, w, C) with C = 1 or 3, 1 is white: a part of a picture.
        original: the same part before it was changed, uint8; values within half a step of it become it.
        top: row of the picture where the part begins.
        left: column of it.

    Returns:
        The same shape, clipped.
    """
    h, w, C = values.shape
    columns = np.arange(left, left + w) % SIDE
    whole = np.empty(values.shape, np.uint8)
    for rows in strips(h):
        scaled = np.multiply(values[rows], np.float32(WHITE))
        noise = _pattern()[np.arange(top + rows.start, top + rows.start + len(scaled)) % SIDE][:, columns, :C]
        noise[np.abs(scaled - original[rows]) < HALF_STEP] = 0
        scaled += noise
        np.rint(scaled, out=scaled)
        whole[rows] = np.clip(scaled, 0, WHITE, out=scaled)
    return whole


@cache
def _pattern() -> NDArray[np.float32]:
    """Noise in steps, from -1 to 1, (SIDE, SIDE, CHANNELS)."""
    first, second = np.random.default_rng(0).random((2, SIDE, SIDE, CHANNELS), np.float32)
    difference: NDArray[np.float32] = first - second
    return difference
