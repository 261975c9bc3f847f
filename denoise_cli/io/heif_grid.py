"""Grids and tiles of HEIF and AVIF that are larger than the picture which they make up says.

Source: ISO/IEC 23008-12, sections 6.5.3 (stated size) and 6.6.2.3 (grids).
"""

import struct
from itertools import islice

from denoise_cli.io.av1_size import frames_in, largest_frame
from denoise_cli.io.heif_items import items_of
from denoise_cli.io.item_properties import all_properties_of
from denoise_cli.io.limits import refuse_too_large

GRID, AV1 = b"grid", b"av01"  # kinds of items
WIDE = 1  # flag of a grid: its sides have 32 bits
MOST_ITEMS = 1024  # that are looked into; libavif and libheif take 1000
MOST_FRAMES = 64  # in an item; a picture in layers has four


def refuse_too_large_inside(data: bytes, max_pixels: int) -> None:
    """Refuse a file that states a picture, a grid or a tile with more pixels than are allowed.

    Args:
        data: HEIF or AVIF.
        max_pixels: the largest area that is accepted.

    Raises:
        ValueError: with a message for the user; also if its description is damaged.
    """
    properties = all_properties_of(data)
    if not properties:  # those of a sequence are not in a list
        return
    for name, contents in properties:
        if name == b"ispe" and len(contents) >= 12:
            refuse_too_large(struct.unpack_from(">II", contents, 4), max_pixels)
    for kind, item in islice(items_of(data, {GRID, AV1}), MOST_ITEMS):
        if kind == GRID:
            refuse_too_large(_size_of_grid(item), max_pixels)
        elif (size := largest_frame(item)) is not None:
            refuse_too_large(size, max_pixels)
            if (frames := frames_in(item)) > MOST_FRAMES:
                raise ValueError(f"{frames} frames in a still picture: it is damaged")


def _size_of_grid(item: bytes) -> tuple[int, int]:
    try:
        size: tuple[int, int] = struct.unpack_from(">II" if item[1] & WIDE else ">HH", item, 4)
    except (struct.error, IndexError) as error:
        raise ValueError("its grid of tiles is damaged") from error
    return size
