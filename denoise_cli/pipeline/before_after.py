"""A photo before and after, side by side at 100 %, where it has most noise and where it has most detail.

Legend: H x W picture, h x w its blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.crops import densest_square
from denoise_cli.io.cicp import SRGB
from denoise_cli.io.grid import Tile, write_grid
from denoise_cli.io.photo import Photo

BLOCK = 16  # pixels: what is in a picture is added up in blocks, so that a large one takes little memory
SIDE = 25 * BLOCK  # pixels that are shown

Bytes = NDArray[np.uint8]
Place = tuple[slice, slice]  # rows and columns; a side of the picture that is shorter than SIDE is taken whole


@dataclass(frozen=True)
class Places:
    """Where versions of a picture are worth looking at.

    Attributes:
        changed: the place in which they differ most from the first one.
        detail: the place in which the last one has most detail; if that is more or less the same, the one with most
            detail of the others, or the same if there are none.
        changes: by how much each of them but the first differs from that one, on average over all values; 0 to 255.
    """

    changed: Place
    detail: Place
    changes: tuple[float, ...]


def find_places(pictures: Sequence[Bytes]) -> Places:
    """Find the places of up to SIDE x SIDE pixels that show most of what became of a picture.

    Args:
        pictures: its versions, two or more, all (H, W, 3).
    """
    first, last = pictures[0], pictures[-1]
    removed = [_removed(first, other) for other in pictures[1:]]
    H, W, _ = first.shape
    changes = tuple(float(sums.sum()) / first.size for sums in removed)
    changed = _place(sum(removed[1:], removed[0]), (H, W))
    detail = _detail(last)
    place = _place(detail, (H, W))
    if _are_alike(place, changed):
        detail[tuple(slice(part.start // BLOCK, -(-part.stop // BLOCK)) for part in changed)] = 0
        place = _place(detail, (H, W))
        if not detail.any() or _are_alike(place, changed):
            place = changed
    return Places(changed, place, changes)


def _are_alike(one: Place, other: Place) -> bool:
    """Whether places of the same size have more than half of each other."""
    common = [SIDE - abs(a.start - b.start) for a, b in zip(one, other, strict=True)]
    return min(common) > 0 and common[0] * common[1] > SIDE**2 / 2


def write_before_after(path: Path, before: Photo, after: Photo, overwrite: bool) -> int:
    """Write the two places of a photo, or the one that is both, each before and after, as one PNG of 8 bits.

    Args:
        path: the file.
        before: as it was read or developed.
        after: the same, denoised.
        overwrite: whether an existing file is replaced.

    Returns:
        The size of the file in bytes.

    Raises:
        UnwritableFile: the file cannot be written, or it exists and `overwrite` is false.
    """
    before, after = for_screens(before), for_screens(after)
    pictures = {"before": before.as_rgb8(), "after": after.as_rgb8()}
    found = find_places(list(pictures.values()))
    places = {"most noise": found.changed, "most detail": found.detail}
    if found.changed == found.detail:
        places = {"most noise and detail": found.changed}
    rows = [
        [
            Tile(f"{when}, {what}", np.divide(picture[place], 255, dtype=np.float32))
            for when, picture in pictures.items()
        ]
        for what, place in places.items()
    ]
    icc = before.metadata.icc
    return write_grid(path, rows, overwrite, icc if icc and icc[16:20] == b"RGB " else None)


def for_screens(photo: Photo) -> Photo:
    """A photo whose colours code points say, as a profile says them: HDR and linear light in sRGB's encoding."""
    cicp = photo.metadata.cicp
    if cicp is None:
        return photo
    if photo.metadata.transfer is not None:
        cicp = replace(cicp, transfer=SRGB)
    meta = replace(photo.metadata, cicp=None, icc=cicp.profile(is_grey=photo.pixels.shape[2] == 1))
    return replace(photo, pixels=photo.as_srgb(), metadata=meta)


def _removed(before: Bytes, after: Bytes) -> NDArray[np.float64]:
    """How much was removed in each block, (h, w)."""
    strips = (before[rows].astype(np.int16) - after[rows] for rows in _strips(len(before)))
    return np.stack([_blocks(np.abs(strip)) for strip in strips])


def _detail(picture: Bytes) -> NDArray[np.float64]:
    """How much each block changes from row to row and from column to column, (h, w)."""
    sums = []
    for rows in _strips(len(picture)):
        values = picture[max(rows.start - 1, 0) : rows.stop].astype(np.int16)
        across = np.abs(np.diff(values, axis=1, append=values[:, -1:]))
        down = np.abs(np.diff(values, axis=0))
        sums.append(_blocks(across[rows.start > 0 :]) + (_blocks(down) if len(down) else 0))
    return np.stack(sums)


def _strips(height: int) -> Iterator[slice]:
    for top in range(0, height, BLOCK):
        yield slice(top, min(top + BLOCK, height))


def _blocks(values: NDArray[np.int16]) -> NDArray[np.float64]:
    """The sum of a strip, (at most BLOCK, W, C), in each of its blocks, (w,)."""
    columns = values.sum(axis=(0, 2), dtype=np.float64)
    return np.add.reduceat(columns, np.arange(0, len(columns), BLOCK))


def _place(sums: NDArray[np.float64], shape: tuple[int, int]) -> Place:
    """The place with the largest sum."""
    begins = (blocks.start * BLOCK for blocks in densest_square(sums, SIDE // BLOCK))
    y, x = (max(min(begin, length - SIDE), 0) for begin, length in zip(begins, shape, strict=True))
    return slice(y, y + SIDE), slice(x, x + SIDE)
