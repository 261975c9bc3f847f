"""Bayer mosaics: each photosite measures one colour, red, green or blue, in quads of two by two.

Legend: H x W photosites, h x w quads.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.noise import ShotRead

Values = TypeVar("Values", bound=NDArray[np.generic])
Phase = tuple[int, int]  # row and column, 0 or 1, of the red photosite in the first quad

PHASES: dict[str, Phase] = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}
PLANES = 4
RED, GREEN, BLUE = range(3)
Indices = NDArray[np.intp]
NEIGHBOURS = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1) if down or across]
# In standard deviations of the noise: a stuck photosite is this far beyond all neighbours of its colour...
STUCK = 5.0
# ...unless another colour of its quad is this far from the median around it, which shows that something real is there.
CONFIRMED = 4.0


def pattern(phase: Phase) -> NDArray[np.intp]:
    """(2, 2), the colours of a quad: 0 red, 1 green, 2 blue."""
    y, x = phase
    colours = np.full((2, 2), GREEN)
    colours[y, x], colours[1 - y, 1 - x] = RED, BLUE
    return colours


def pack(mosaic: Values, phase: Phase) -> Values:
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
    return quads.reshape(*quads.shape[:2], PLANES)  # type: ignore[return-value]


def unpack(planes: Values, phase: Phase, shape: tuple[int, int]) -> Values:
    """Undo `pack`: (h, w, 4) to a mosaic of `shape`, (H, W).

    >>> mosaic = np.arange(15).reshape(5, 3)
    >>> np.array_equal(unpack(pack(mosaic, (0, 1)), (0, 1), mosaic.shape), mosaic)
    True
    """
    h, w, _ = planes.shape
    (y, x), (H, W) = phase, shape
    whole = planes.reshape(h, w, 2, 2).transpose(0, 2, 1, 3).reshape(2 * h, 2 * w)
    return np.ascontiguousarray(whole[y : y + H, x : x + W])  # type: ignore[return-value]


def replace_stuck(planes: NDArray[np.float32], noise: ShotRead) -> tuple[NDArray[np.float32], int]:
    """Replace stuck photosites: those far from all eight neighbours of their colour, unless their quad confirms them.

    The optics spread a star over photosites of other colours, so it is kept.

    Args:
        planes: (h, w, C), linear light.
        noise: of the planes.

    Returns:
        The planes with the median of the neighbours in place of stuck photosites, and how many were stuck.
    """
    C = planes.shape[-1]
    found = [_find_stuck(planes[..., c], noise) for c in range(C)]
    y, x = (np.concatenate(indices) for indices in zip(*found, strict=True))
    c = np.repeat(np.arange(C), [len(rows) for rows, _ in found])
    confirmed = np.zeros(len(c), bool)
    for step in range(1, C):
        other = (c + step) % C
        expected = np.median(_around(planes, y, x, other), axis=0)
        confirmed |= np.abs(planes[y, x, other] - expected) > CONFIRMED * _deviation(expected, noise)
    y, x, c = y[~confirmed], x[~confirmed], c[~confirmed]
    clean = planes.copy()
    clean[y, x, c] = np.median(_around(planes, y, x, c), axis=0)
    return clean, len(c)


def _find_stuck(plane: NDArray[np.float32], noise: ShotRead) -> tuple[Indices, Indices]:
    """Rows and columns of photosites that are far above or below all eight neighbours."""
    h, w = plane.shape
    whole = np.pad(plane, 1, mode="reflect")
    largest, smallest = np.full_like(plane, -np.inf), np.full_like(plane, np.inf)
    for down, across in NEIGHBOURS:
        neighbour = whole[1 + down : 1 + down + h, 1 + across : 1 + across + w]
        np.maximum(largest, neighbour, out=largest)
        np.minimum(smallest, neighbour, out=smallest)
    threshold = STUCK * _deviation(largest, noise)
    y, x = np.nonzero((plane > largest + threshold) | (plane < smallest - threshold))
    return y, x


def _deviation(light: NDArray[np.float32], noise: ShotRead) -> NDArray[np.float32]:
    return np.sqrt(np.float32(noise.shot) * np.maximum(light, 0) + np.float32(noise.read**2))


def _around(planes: NDArray[np.float32], y: Indices, x: Indices, c: Indices) -> NDArray[np.float32]:
    """(8, N), the neighbours of N photosites in their planes, mirrored at the borders."""
    h, w, _ = planes.shape
    return np.stack([planes[_mirrored(y + down, h), _mirrored(x + across, w), c] for down, across in NEIGHBOURS])


def _mirrored(indices: Indices, length: int) -> Indices:
    return np.where(indices < 0, -indices, np.where(indices >= length, 2 * (length - 1) - indices, indices))


def _missing(shape: tuple[int, ...], phase: Phase) -> tuple[int, int]:
    """Rows and columns that complete the last quads."""
    bottom, right = ((side + offset) % 2 for side, offset in zip(shape, phase, strict=True))
    return bottom, right
