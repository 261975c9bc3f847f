"""X-Trans mosaics: Fujifilm's pattern of colour filters, six by six photosites, packed into planes of one colour.

The pattern consists of two kinds of blocks, three by three, like the fields of a checkerboard. Each has five greens in
the same places, two reds and two blues; where one kind has red, the other has blue.

Legend: H x W photosites, h x w blocks.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.bayer import Phase

Scalar = TypeVar("Scalar", bound=np.generic)

PERIOD = 6  # photosites after which the pattern repeats
BLOCK = 3
PLANES = 9
# Colours of the pattern, 0 red, 1 green, 2 blue; it begins with a block of the first kind.
PATTERN = np.array(
    [["RGB".index(colour) for colour in row] for row in ("GGRGGB", "GGBGGR", "BRGRBG", "GGBGGR", "GGRGGB", "RBGBRG")]
)
# The planes' places in a block of the first kind, as rows and columns: two red, five green, two blue. In the other
# kind, red and blue change places.
PLACES = ((0, 2), (2, 1), (0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (1, 2), (2, 0))
SWAPPED = (7, 8, 2, 3, 4, 5, 6, 0, 1)  # the planes, for the places of the other kind of block


def phase_of(colours: NDArray[np.integer]) -> Phase | None:
    """The place in `PATTERN` at which a mosaic begins; None if it is no X-Trans mosaic.

    >>> phase_of(np.roll(PATTERN, (-2, -1), axis=(0, 1)))
    (2, 1)

    Args:
        colours: (6, 6), the colour of each photosite, as in `PATTERN`.
    """
    # Three rows on, the pattern is the same as three columns on: half of its rows are enough.
    places = ((y, x) for y in range(BLOCK) for x in range(PERIOD))
    return next((place for place in places if np.array_equal(pattern(place), colours)), None)


def pattern(phase: Phase) -> NDArray[np.intp]:
    """(6, 6), the colours of the first photosites of a mosaic that begins at a place in `PATTERN`."""
    y, x = phase
    return np.roll(PATTERN, (-y, -x), axis=(0, 1))


def pack(mosaic: NDArray[Scalar], phase: Phase) -> NDArray[Scalar]:
    """The planes of a mosaic: two of red, five of green, two of blue, one value of each for each block.

    A mosaic that begins or ends inside a block is continued with what is six photosites further inside, so that every
    colour keeps its place. The first block is of the first kind.

    >>> mosaic = np.arange(48).reshape(6, 8)
    >>> pack(mosaic, phase=(2, 1)).shape
    (3, 3, 9)

    Args:
        mosaic: (H, W), six or more each.
        phase: see `phase_of`.

    Returns:
        (h, w, 9).
    """
    rows, columns = (_continued(side, first) for side, first in zip(mosaic.shape, phase, strict=True))
    whole = mosaic[np.ix_(rows, columns)]
    h, w = (side // BLOCK for side in whole.shape)
    planes = np.empty((h, w, PLANES), mosaic.dtype)
    for (y, x), plane, swapped in zip(PLACES, range(PLANES), SWAPPED, strict=True):
        of_place = whole[y::BLOCK, x::BLOCK]
        for row in (0, 1):
            planes[row::2, row::2, plane] = of_place[row::2, row::2]
            planes[row::2, 1 - row :: 2, swapped] = of_place[row::2, 1 - row :: 2]
    return planes


def unpack(planes: NDArray[Scalar], phase: Phase, shape: tuple[int, int]) -> NDArray[Scalar]:
    """Undo `pack`: (h, w, 9) to a mosaic of `shape`, (H, W).

    >>> mosaic = np.arange(80).reshape(10, 8)
    >>> np.array_equal(unpack(pack(mosaic, (2, 1)), (2, 1), mosaic.shape), mosaic)
    True
    """
    h, w, _ = planes.shape
    whole = np.empty((BLOCK * h, BLOCK * w), planes.dtype)
    for (y, x), plane, swapped in zip(PLACES, range(PLANES), SWAPPED, strict=True):
        of_place = whole[y::BLOCK, x::BLOCK]
        for row in (0, 1):
            of_place[row::2, row::2] = planes[row::2, row::2, plane]
            of_place[row::2, 1 - row :: 2] = planes[row::2, 1 - row :: 2, swapped]
    (y, x), (H, W) = phase, shape
    return np.ascontiguousarray(whole[y : y + H, x : x + W])


def _continued(side: int, first: int) -> NDArray[np.intp]:
    """Indices of whole blocks along one side of a mosaic that begins at `first` in the pattern."""
    indices = np.arange(-first, side + -(side + first) % BLOCK)
    indices[indices < 0] += PERIOD
    indices[indices >= side] -= PERIOD
    return indices
