"""The values of pixels as files store them, and as floating point with 1 as white."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

STRIP = 64  # rows that are converted at a time, so that a large photo needs no second copy in floating point


def white_value(dtype: np.dtype[Any]) -> int:
    """The value of white in a type: its maximum for integers, 1 for floating point."""
    return 1 if dtype.kind == "f" else 2 ** (8 * dtype.itemsize) - 1


def to_float(pixels: Pixels, white: float | None = None) -> NDArray[np.float32]:
    """Scale pixels of any shape so that white becomes 1.

    Args:
        pixels: what to scale.
        white: the value that becomes 1; None for the white of their type. With 1, float32 is returned unchanged.
    """
    if white is None:
        white = white_value(pixels.dtype)
    if pixels.dtype == np.float32 and white == 1:
        return pixels.astype(np.float32, copy=False)
    return np.divide(pixels, white, dtype=np.float32)


def from_float(pixels: NDArray[np.float32], dtype: np.dtype[Any], white: float | None = None) -> Pixels:
    """Undo `to_float`: integers are rounded and clipped; floating point with 1 as white is returned unchanged."""
    if white is None:
        white = white_value(dtype)
    if dtype == np.float32:
        return pixels if white == 1 else np.multiply(pixels, np.float32(white))
    whole: Pixels = np.empty(pixels.shape, dtype)
    for rows in strips(len(pixels)):
        scaled = np.multiply(pixels[rows], np.float32(white))
        np.rint(scaled, out=scaled)
        whole[rows] = np.clip(scaled, 0, white_value(dtype), out=scaled)
    return whole


def convert(pixels: Pixels, dtype: np.dtype[Any]) -> Pixels:
    """Convert pixels to another type; black and white are kept."""
    if pixels.dtype == dtype:
        return pixels
    converted: Pixels = np.empty(pixels.shape, dtype)
    for rows in strips(len(pixels)):
        converted[rows] = from_float(to_float(pixels[rows]), dtype)
    return converted


def inverted(pixels: Pixels) -> Pixels:
    """White becomes black and black white."""
    return np.subtract(white_value(pixels.dtype), pixels, dtype=pixels.dtype)


def strips(length: int) -> Iterator[slice]:
    """Rows, `STRIP` at a time."""
    for top in range(0, length, STRIP):
        yield slice(top, top + STRIP)
