"""Refuses RAW files that LibRaw would develop without a word, although they are damaged or it does not know them.

Every function raises `ValueError` with a message for the user, or returns a note where a file may be whole.

Legend: H x W photosites, C values of each.
"""

import numpy as np
from numpy.typing import NDArray

from denoise_cli.io import jpeg
from denoise_cli.io.camera_exif import RW2
from denoise_cli.io.dng import COMPRESSION, JPEG, LOSSY_JPEG, filter_pattern, first_number, main_directories
from denoise_cli.io.dng_pixels import pieces_of
from denoise_cli.io.exif import parse

PANASONIC_BITS, PANASONIC_SCHEME, PANASONIC_START = 10, 45, 280
MOST_EMPTY = 1 / 16  # of the rows: a few at the edge can belong to the sensor's border
# Patterns of colour filters that LibRaw can develop, as rows and columns in a DNG; None in other files. It takes every
# other pattern for a Bayer mosaic, and would show wrong colours.
KNOWN_PATTERNS = (None, (2, 2), (6, 6))


def refuse_truncated_panasonic(data: bytes, H: int, W: int) -> None:
    """Refuse a Panasonic file that ends before its H x W photosites: LibRaw repeats the last that there are."""
    if not data.startswith(RW2):
        return
    exif = parse(data)
    bits, scheme, start = (
        exif.number(exif.main.get(tag)) for tag in (PANASONIC_BITS, PANASONIC_SCHEME, PANASONIC_START)
    )
    packed = {4: 14, 5: 10 if bits == 12 else 9}.get(scheme or 0)  # photosites in 16 bytes
    if start and packed and start + H * -(-W // packed) * 16 > len(data):
        raise ValueError("the file ends before its pixel data does")


def check_rows(numbers: NDArray[np.generic], black: NDArray[np.integer]) -> tuple[str, ...]:
    """Refuse or note empty rows at the end of a file: decoders fill with zeros what it lacks there.

    Args:
        numbers: (H, W) or (H, W, C), as they are in the file.
        black: (C,), the levels of its colours; with a level above 0, a sensor gives no zeros.
    """
    filled = np.flatnonzero(numbers.reshape(len(numbers), -1).any(axis=1))
    missing = len(numbers) - (int(filled[-1]) + 1 if filled.size else 0)
    if missing <= MOST_EMPTY * len(numbers):
        return ()
    if black.min() > 0:
        raise ValueError(f"it is incomplete: its last {missing} rows are empty")
    return (f"its last {missing} rows are empty: it may be incomplete",)


def check_jpeg(data: bytes) -> tuple[str, ...]:
    """Refuse or note strips or tiles of a DNG that are no whole JPEGs: LibRaw fills them with zeros or noise."""
    _, picture = main_directories(data)
    if first_number(picture, COMPRESSION, 0) not in {JPEG, LOSSY_JPEG}:
        return ()
    pieces = pieces_of(picture)
    places = pieces.places[: pieces.count]
    count = len(places)
    missing = sum(not data.startswith(jpeg.START, start) for start, _ in places)
    if missing:
        raise ValueError(f"it is damaged: no JPEG in {missing} of its {count} {pieces.what}")
    # What follows the end, such as filling, does no harm.
    cut = sum(data.rfind(jpeg.END, start, start + length) < 0 for start, length in places)
    return (f"no end of the JPEG in {cut} of its {count} {pieces.what}: it may be damaged",) if cut else ()


def refuse_black_above_white(black: NDArray[np.integer], white: int) -> None:
    """Refuse a file none of whose numbers can be light."""
    if black.max() >= white:
        raise ValueError(f"its black level, {black.max()}, is not below its white level, {white}")


def refuse_unknown_pattern(data: bytes) -> None:
    """Refuse a digital negative whose pattern of colour filters LibRaw would take for another."""
    if filter_pattern(data) not in KNOWN_PATTERNS:
        raise ValueError("LibRaw cannot develop its pattern of colour filters")
