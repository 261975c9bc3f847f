"""Strips and tiles of a TIFF or DNG whose number or contents are out of proportion to the picture that they make up.

A few kilobytes can state tiles that are much larger than their picture, the same bytes many thousand times, or a
compressed picture of any size inside a strip of a few rows: decoders go by what they find there. All of that is
refused before anything is decoded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from denoise_cli.io.codestreams import Stated, stated_size
from denoise_cli.io.jpeg import START, refuse_too_many_scans

MOST_PIECES = 2**18  # of a file: each takes some time, however small it is
LEEWAY = 2  # how many times as large as stated a piece or a picture with the borders of its tiles may be
LARGEST_VALUE = 8  # bytes
SMALL = 2**14  # values of a piece: fewer are never too many, as those that fill the last rows of a JPEG


@dataclass(frozen=True)
class Pieces:
    """The strips or tiles of a picture.

    Attributes:
        what: "strips" or "tiles".
        size: width and height of each, pixels; the last ones may hold less.
        channels: values of each pixel in a piece.
        count: how many the picture needs.
        places: where each begins in the file, and its length, bytes.
    """

    what: str
    size: tuple[int, int]
    channels: int
    count: int
    places: Sequence[tuple[int, int]]


def refuse_out_of_proportion(data: bytes, pieces: Pieces, max_pixels: int) -> None:
    """Refuse a picture whose pieces would take much more memory or time than its size says.

    Args:
        data: the file.
        pieces: of a picture of at most `max_pixels`.
        max_pixels: the largest area that is accepted.

    Raises:
        ValueError: there are too many, or one is too large; with a message for the user.
        IndexError, struct.error: one is damaged.
    """
    width, height = pieces.size
    if width * height > max_pixels:
        raise ValueError(f"{pieces.what} of {width} x {height} pixels, more than --max-pixels allows")
    if (count := max(pieces.count, len(pieces.places))) > MOST_PIECES:
        raise ValueError(f"{count} {pieces.what}, at most {MOST_PIECES} are read: save it with larger ones")
    values = width * height * pieces.channels
    if pieces.count * values > LEEWAY * max(max_pixels * pieces.channels, SMALL):
        raise ValueError(f"{pieces.count} {pieces.what} of {width} x {height} pixels, more than --max-pixels allows")
    if sum(length for _, length in pieces.places) > LEEWAY * (len(data) + pieces.count * values * LARGEST_VALUE):
        raise ValueError(f"its {pieces.what} overlap in the file: it is damaged")
    for start, length in set(pieces.places):
        stated = stated_size(data[start : start + length])
        if stated is not None and math.prod(stated) > max(LEEWAY * values, SMALL):
            _refuse_larger(stated, pieces)
        if data.startswith(START, start):
            refuse_too_many_scans(data[start : start + length])


def _refuse_larger(stated: Stated, pieces: Pieces) -> None:
    width, height = pieces.size
    inside = f"{stated.width} x {stated.height} pixels in one of its {pieces.what}"
    raise ValueError(f"{inside}, which are of {width} x {height}: it is damaged")
