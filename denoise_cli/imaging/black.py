"""Areas without light, such as the bars beside, above and below a film, in which nothing is noise.

Legend: H x W pixels.
"""

from collections.abc import Callable
from functools import reduce

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

DARKEST = 0.005 / 203  # of paper white: the usual displays on which HDR is graded show nothing darker
SIDE = 5  # of the squares that such an area consists of


def unlit_areas(dark: Mask) -> Mask:
    """The dark pixels that belong to a square of dark ones: (H, W), of the same, which noise alone leaves scattered.

    >>> unlit_areas(np.eye(9, dtype=bool) | (np.arange(9) < 6)).sum()
    np.int64(54)
    """
    centres = _over_squares(dark, np.logical_and)
    return _over_squares(centres, np.logical_or)


def _over_squares(mask: Mask, combine: Callable[[Mask, Mask], Mask]) -> Mask:
    """The values in the square round each pixel as one, (H, W); beyond the edges, those at the edges go on."""
    shape = mask.shape
    mask = np.pad(mask, SIDE // 2, mode="edge")
    for axis, length in enumerate(shape):
        mask = reduce(combine, (np.take(mask, range(start, start + length), axis) for start in range(SIDE)))
    return mask
