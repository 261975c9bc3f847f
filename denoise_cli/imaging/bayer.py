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
Places = NDArray[np.intp]
NEIGHBOURS = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1) if down or across]
# In standard deviations of the noise: how far a stuck photosite is beyond all neighbours of its colour, and how far
# another colour of its quad must be from the median around it to show that something real is there.
STUCK = 5.0
CONFIRMED = 4.0


def pack(mosaic: Values, phase: Phase) -> Values:
    """The four planes of a mosaic: red, green beside red, green beside blue, blue.

    A mosaic that begins or ends inside a quad is mirrored there, which keeps every colour in its place.

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
    """Undo `pack`: (h, w, 4) to a mosaic of `shape`, (H, W)."""
    h, w, _ = planes.shape
    (y, x), (H, W) = phase, shape
    whole = planes.reshape(h, w, 2, 2).transpose(0, 2, 1, 3).reshape(2 * h, 2 * w)
    return np.ascontiguousarray(whole[y : y + H, x : x + W])  # type: ignore[return-value]


def replace_stuck(planes: NDArray[np.float32], noise: ShotRead) -> tuple[NDArray[np.float32], int]:
    """Replace stuck photosites, which are far from all eight neighbours of their colour while their quad shows nothing.

    A star is spread by the optics over photosites of other colours, and is kept.

    Args:
        planes: (h, w, 4), linear light.
        noise: of the planes.

    Returns:
        The planes with the median of the neighbours in place of stuck photosites, and how many were stuck.
    """
    found = [_find_stuck(planes[..., c], noise) for c in range(PLANES)]
    y, x = (np.concatenate(places) for places in zip(*found, strict=True))
    c = np.repeat(np.arange(PLANES), [len(places) for places, _ in found])
    shown = np.zeros(len(c), bool)
    for step in range(1, PLANES):
        other = (c + step) % PLANES
        usual = np.median(_around(planes, y, x, other), axis=0)
        shown |= np.abs(planes[y, x, other] - usual) > CONFIRMED * _deviation(usual, noise)
    y, x, c = y[~shown], x[~shown], c[~shown]
    clean = planes.copy()
    clean[y, x, c] = np.median(_around(planes, y, x, c), axis=0)
    return clean, len(c)


def _find_stuck(plane: NDArray[np.float32], noise: ShotRead) -> tuple[Places, Places]:
    """Rows and columns of photosites that are far above or below all eight neighbours."""
    h, w = plane.shape
    whole = np.pad(plane, 1, mode="reflect")
    most, least = np.full_like(plane, -np.inf), np.full_like(plane, np.inf)
    for down, across in NEIGHBOURS:
        neighbour = whole[1 + down : 1 + down + h, 1 + across : 1 + across + w]
        np.maximum(most, neighbour, out=most)
        np.minimum(least, neighbour, out=least)
    beyond = STUCK * _deviation(most, noise)
    y, x = np.nonzero((plane > most + beyond) | (plane < least - beyond))
    return y, x


def _deviation(light: NDArray[np.float32], noise: ShotRead) -> NDArray[np.float32]:
    return np.sqrt(np.float32(noise.shot) * np.maximum(light, 0) + np.float32(noise.read**2))


def _around(planes: NDArray[np.float32], y: Places, x: Places, c: Places) -> NDArray[np.float32]:
    """(8, N), the neighbours of the same colour of N photosites, mirrored at the borders."""
    h, w, _ = planes.shape
    return np.stack([planes[_mirrored(y + down, h), _mirrored(x + across, w), c] for down, across in NEIGHBOURS])


def _mirrored(places: Places, length: int) -> Places:
    return np.where(places < 0, -places, np.where(places >= length, 2 * (length - 1) - places, places))


def _missing(shape: tuple[int, ...], phase: Phase) -> tuple[int, int]:
    """Rows and columns that are missing to a whole number of quads."""
    bottom, right = ((side + begins) % 2 for side, begins in zip(shape, phase, strict=True))
    return bottom, right
