"""Positions of stuck photosites from a file of the user's: a list in text, or a dark frame.

The list is that of dcraw's option -P, which RawTherapee and LibRaw read, too: each line holds a column, a row and, if
known, the time when the photosite died; # begins a comment. Rows and columns begin at 0, in the visible part of the
sensor, not turned.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.noise import MAD_TO_DEVIATION
from denoise_cli.io import image
from denoise_cli.io.raw import RawFile

Mask = NDArray[np.bool_]

MAX_TEXT = 10_000_000  # bytes
HOT = 10.0  # deviations above the median of their colour: photosites of a dark frame that are hot
MOST_LIGHT = 0.05  # of white, the median of a dark frame
COMMENT = "#"
OUTSIDE = 2**31  # beyond every sensor


def stuck_in(path: Path, shape: tuple[int, int], max_pixels: int = image.MAX_PIXELS) -> tuple[Mask, tuple[str, ...]]:
    """Where photosites are stuck.

    Args:
        path: a list, or a dark frame: a RAW file that was taken with the lens covered.
        shape: rows and columns of the mosaic.
        max_pixels: larger dark frames are refused.

    Returns:
        Of `shape`, and what the user should hear about the file.

    Raises:
        UnreadableFile: it is neither, a RAW file that is not dark, or a dark frame of another sensor.
    """
    listed = _listed(path)
    if listed is None:
        hot = _hot_in_dark_frame(path, max_pixels)
        if hot.shape != shape:
            sizes = " x ".join(map(str, hot.shape[::-1])), " x ".join(map(str, shape[::-1]))
            raise UnreadableFile(path, f"a dark frame of {sizes[0]} photosites is of no use for {sizes[1]}")
        return hot, ()
    stuck = np.zeros(shape, bool)
    inside = ((listed >= 0) & (listed < shape)).all(axis=1)
    stuck[tuple(listed[inside].T)] = True
    outside = len(listed) - np.count_nonzero(inside)
    size = f"{shape[1]} x {shape[0]}"
    return stuck, (f"{path}: outside the {size} photosites: {outside} of {len(listed)} entries",) if outside else ()


@lru_cache(maxsize=4)
def _listed(path: Path) -> NDArray[np.intp] | None:
    """(N, 2), rows and columns; None if the file is no text."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(path, error.strerror or str(error)) from error
    if len(data) > MAX_TEXT or b"\0" in data:
        return None
    places = []
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), start=1):
        words = line.split(COMMENT)[0].split()
        if not words:
            continue
        try:
            column, row = map(int, words[:2])
        except ValueError as error:
            reason = f"line {number}: expected a column and a row, got {line.strip()[:40]}"
            raise UnreadableFile(path, reason) from error
        places.append((_bounded(row), _bounded(column)))
    return np.array(places, np.intp).reshape(-1, 2)


def _bounded(place: int) -> int:
    return place if abs(place) < OUTSIDE else -1


@lru_cache(maxsize=1)
def _hot_in_dark_frame(path: Path, max_pixels: int) -> Mask:
    with image.opened(path, max_pixels) as dark:
        if not isinstance(dark, RawFile) or dark.obstacle is not None:
            raise UnreadableFile(path, "neither a list of columns and rows, nor a dark frame with a mosaic")
        light = float(np.median(dark.mosaic.light))
        if light > MOST_LIGHT:
            raise UnreadableFile(path, f"no dark frame, with a median of {light:.0%} of white: cover the lens")
        planes = dark.filters.pack(dark.mosaic.light)
        hot = np.empty(planes.shape, bool)
        for c in range(dark.filters.planes):
            above = planes[..., c] - np.median(planes[..., c])
            step = 1 / dark.white  # what a frame that is otherwise constant can differ by
            hot[..., c] = above > HOT * max(MAD_TO_DEVIATION * float(np.median(np.abs(above))), step)
        return dark.filters.unpack(hot, dark.mosaic.light.shape)
