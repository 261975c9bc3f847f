"""Bayer mosaics: each photosite measures one colour, red, green or blue, in quads of two by two.

Legend: H x W photosites, h x w quads.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
Phase = tuple[int, int]  # row and column, 0 or 1, of the red photosite in the first quad

PHASES: dict[str, Phase] = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}
PLANES = 4
RED, GREEN, BLUE = range(3)


def pattern(phase: Phase) -> NDArray[np.intp]:
    """(2, 2), the colours of a quad: 0 red, 1 green, 2 blue."""
    y, x = phase
    colours = np.full((2, 2), GREEN)
    colours[y, x], colours[1 - y, 1 - x] = RED, BLUE
    return colours


def pack(mosaic: NDArray[Scalar], phase: Phase) -> NDArray[Scalar]:
    """The four planes of a mosaic: red, green beside red, green beside blue, blue.

    A mosaic that begins or ends inside a quad is mirrored there, which keeps every colour in its place.

    >>> mosaic = np.arange(16).reshape(4, 4)
    >>> planes = pack(mosaic, phase=(0, 0))
    >>> planes.shape
    (2, 2, 4)
    >>> planes[0, 0].tolist()
    [0, 1, 4, 5]

    Args:
        mosaic: (H, W), two or more each.
        phase: where red is.

    Returns:
        (h, w, 4).
    """
    H, W = mosaic.shape
    (y, x), (bottom, right) = phase, _missing(mosaic.shape, phase)
    whole = np.pad(mosaic, ((y, bottom), (x, right)), mode="reflect")
    quads = whole.reshape((H + y + bottom) // 2, 2, (W + x + right) // 2, 2).transpose(0, 2, 1, 3)
    return quads.reshape(*quads.shape[:2], PLANES)


def unpack(planes: NDArray[Scalar], phase: Phase, shape: tuple[int, int]) -> NDArray[Scalar]:
    """Undo `pack`: (h, w, 4) to a mosaic of `shape`, (H, W).

    >>> mosaic = np.arange(15).reshape(5, 3)
    >>> np.array_equal(unpack(pack(mosaic, (0, 1)), (0, 1), mosaic.shape), mosaic)
    True
    """
    h, w, _ = planes.shape
    (y, x), (H, W) = phase, shape
    whole = planes.reshape(h, w, 2, 2).transpose(0, 2, 1, 3).reshape(2 * h, 2 * w)
    return np.ascontiguousarray(whole[y : y + H, x : x + W])


def _missing(shape: tuple[int, ...], phase: Phase) -> tuple[int, int]:
    """Rows and columns that complete the last quads."""
    bottom, right = ((side + offset) % 2 for side, offset in zip(shape, phase, strict=True))
    return bottom, right
