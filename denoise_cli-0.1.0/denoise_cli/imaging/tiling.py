"""Splits images into overlapping tiles, with the weights that join them again without a seam."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Span:
    """A tile along one side of an image: pixels [start, stop), and how many it shares with each neighbour."""

    start: int
    stop: int
    shared_before: int
    shared_after: int

    def around(self, margin: int, length: int) -> slice:
        """The tile's pixels and those that are at most `margin` away from it, as far as the image has them."""
        return slice(max(self.start - margin, 0), min(self.stop + margin, length))

    def moved(self, distance: int) -> "Span":
        """The same tile of an image that has so many more pixels at its beginning."""
        return replace(self, start=self.start + distance, stop=self.stop + distance)

    def weights(self, margin: int) -> NDArray[np.float32]:
        """The weight of each of the tile's pixels; together with the neighbours' weights they add up to one.

        Args:
            margin: pixels at each inner end with zero weight, because their surroundings are outside the tile.

        Returns:
            (stop - start,), in [0, 1].
        """
        weights = np.ones(self.stop - self.start, np.float32)
        if self.shared_before:
            weights[: self.shared_before] = _ramp(self.shared_before, margin)
        if self.shared_after:
            weights[len(weights) - self.shared_after :] = _ramp(self.shared_after, margin)[::-1]
        return weights


def split(length: int, tile: int, overlap: int, multiple: int) -> list[Span]:
    """Cover [0, length) with tiles of about equal size.

    >>> [(span.start, span.stop) for span in split(length=320, tile=192, overlap=64, multiple=64)]
    [(0, 192), (128, 320)]

    Args:
        length: pixels to cover, a multiple of `multiple`.
        tile: the most pixels in a tile, a multiple of `multiple`. At least twice the overlap, so that no pixel is in
            three tiles.
        overlap: pixels that two neighbours share, a multiple of `multiple`.
        multiple: all tiles start and stop at multiples of it.

    Raises:
        ValueError: a length that is no multiple, or a tile smaller than twice the overlap.
    """
    if length % multiple or tile % multiple or overlap % multiple:
        raise ValueError(f"expected multiples of {multiple}, got {length}, {tile}, {overlap}")
    if tile < 2 * overlap or not tile:
        raise ValueError(f"expected a tile of at least twice the overlap of {overlap}, got {tile}")
    if length <= tile:
        return [Span(0, length, 0, 0)]

    count = math.ceil((length - overlap) / (tile - overlap))
    step = math.ceil((length - overlap) / count / multiple) * multiple
    starts = range(0, length - overlap, step)
    return [
        Span(
            start,
            min(start + step + overlap, length),
            shared_before=overlap if start else 0,
            shared_after=overlap if start + step + overlap < length else 0,
        )
        for start in starts
    ]


def grid(height: int, width: int, tile: int, overlap: int, multiple: int) -> Iterator[tuple[Span, Span]]:
    """The vertical and horizontal span of every tile of an image, row by row; see `split`."""
    columns = split(width, tile, overlap, multiple)
    for row in split(height, tile, overlap, multiple):
        for column in columns:
            yield row, column


def reflected(start: int, stop: int, length: int) -> NDArray[np.intp]:
    """Indices of [start, stop) into [0, length), which is continued beyond its ends by reflection, however far.

    >>> reflected(-2, 5, length=3).tolist()
    [2, 1, 0, 1, 2, 1, 0]
    """
    if length == 1:
        return np.zeros(stop - start, np.intp)
    period = 2 * (length - 1)
    position = np.arange(start, stop) % period
    return np.minimum(position, period - position)


def _ramp(length: int, margin: int) -> NDArray[np.float32]:
    """0 over a margin, then a linear rise to 1, then 1 over a margin."""
    inner = length - 2 * margin
    rise = (np.arange(inner) + 0.5) / inner
    return np.concatenate([np.zeros(margin), rise, np.ones(margin)]).astype(np.float32)
