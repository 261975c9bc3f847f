"""Black and white levels of RAW files, where those that LibRaw gives have to be corrected.

Legend: H x W photosites, h x w the pattern of colour filters.
"""

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.int64]

# A sensor can be saturated below the white level. LibRaw takes the largest value of a file for saturation if it is
# above this share of the white level, and so do we.
LEAST_SATURATION = 0.75


def black_of_moved_area(black: Levels, pattern: NDArray[np.integer], moved: tuple[int, int]) -> Levels | None:
    """The black levels of colours that LibRaw has taken for those of others.

    LibRaw takes the levels of a quad for those of its own area, even if that begins a row or column later.

    Args:
        black: (4,), as LibRaw gives them.
        pattern: (h, w), LibRaw's numbers of colours in the file's own area.
        moved: rows and columns from LibRaw's area to the file's own.

    Returns:
        (4,); None if LibRaw has not mistaken them.
    """
    if pattern.shape != (2, 2) or not (moved[0] % 2 or moved[1] % 2) or len(set(black)) == 1:
        return None
    corrected = black.copy()
    corrected[pattern] = black[np.roll(pattern, moved, (0, 1))]
    return corrected


def saturation_below_white(
    numbers: NDArray[np.uint16 | np.floating], black: Levels, white: int
) -> tuple[int, int] | None:
    """What a sensor saturates at before its numbers end: the largest number counts, as it does for LibRaw.

    Args:
        numbers: (H, W).
        black: (h, w), the levels of the pattern's places.
        white: the level that LibRaw gives.

    Returns:
        How far above its black level a photosite is at most, and the largest number; None if white is right.
    """
    rows, columns = black.shape
    peak = max(int(numbers[y::rows, x::columns].max()) - int(black[y, x]) for y, x in np.ndindex(black.shape))
    least = int(black.min())
    return (peak, int(numbers.max())) if LEAST_SATURATION * (white - least) < peak < white - least else None
