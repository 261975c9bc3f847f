"""The size that a compressed picture states of itself: of those that stand inside other files.

Sources: ITU-T T.81, annex B (JPEG); ISO/IEC 15444-1, annex A (JPEG 2000); ISO/IEC 18181-1, annex D (JPEG XL); RFC 9649
(WebP); ISO/IEC 15948, 11.2.1 (PNG); ITU-T T.832, 8.3 and annex A (JPEG XR); Esri, "Limited Error Raster Compression".
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

from denoise_cli.io import jp2, jxl
from denoise_cli.io.exif import SHORT
from denoise_cli.io.jpeg import FRAMES, START, segments_of
from denoise_cli.io.jxl_header import CODESTREAM as JPEG_XL
from denoise_cli.io.jxl_header import size_in
from denoise_cli.io.png import SIGNATURE as PNG

JPEG_XR = b"II\xbc"
JPEG_XR_IMAGE = b"WMPHOTO\x00"
JPEG_XR_WIDTH, JPEG_XR_HEIGHT = 0xBC80, 0xBC81  # tags of its container
SHORT_HEADER = 0x80  # bit: a side takes two bytes, not four
LERC = b"Lerc2 "
SIDE_OF_VP8, SIDE_OF_VP8L = 0x3FFF, 14  # a mask, and a number of bits


class Stated(NamedTuple):
    """Width and height, pixels, and the number of values of each pixel, 1 if that is not looked for."""

    width: int
    height: int
    channels: int = 1


def stated_size(data: bytes) -> Stated | None:
    """What a compressed picture says about its size, or the largest of what it says.

    Args:
        data: a JPEG, JPEG 2000, JPEG XL, WebP, PNG, JPEG XR or LERC.

    Returns:
        None if it is none of them, or states none.

    Raises:
        ValueError, IndexError, struct.error: it is damaged.
    """
    return next((read(data) for signatures, read in READERS if data.startswith(signatures)), None)


def _of_jpeg(data: bytes) -> Stated | None:
    frames = [segment.body for segment in segments_of(data) if segment.marker in FRAMES]
    sizes = [struct.unpack_from(">HHB", body, 1) for body in frames]
    return max((Stated(width, height, count) for height, width, count in sizes), key=_values, default=None)


def _of_jpeg_2000(data: bytes) -> Stated:
    size = jp2.size_of(jp2.codestream_of(data))
    jp2.refuse_many_tiles(size)
    return Stated(size.width, size.height, size.channels)


def _of_jpeg_xl(data: bytes) -> Stated:
    return Stated(*size_in(jxl.codestream_of(data)))


def _of_webp(data: bytes) -> Stated | None:
    sizes, at = [], 12
    while at + 18 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"VP8X":
            width, height = (int.from_bytes(data[at + start : at + start + 3], "little") for start in (12, 15))
            sizes.append(Stated(width + 1, height + 1))
        elif name == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, at + 14)
            sizes.append(Stated(width & SIDE_OF_VP8, height & SIDE_OF_VP8))
        elif name == b"VP8L":
            (packed,) = struct.unpack_from("<I", data, at + 9)
            sizes.append(Stated((packed & SIDE_OF_VP8) + 1, (packed >> SIDE_OF_VP8L & SIDE_OF_VP8) + 1))
        at += 8 + length + length % 2
    return max(sizes, key=_values, default=None)


def _of_png(data: bytes) -> Stated:
    return Stated(*struct.unpack_from(">II", data, len(PNG) + 8))


def _of_jpeg_xr(data: bytes) -> Stated | None:
    """Of the container, a directory like that of a TIFF, and of the image in it, which a decoder may go by."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = struct.iter_unpack("<HHII", data[start + 2 : start + 2 + 12 * count])
    sides = {tag: value & 0xFFFF if kind == SHORT else value for tag, kind, _, value in entries}
    sizes = [Stated(sides.get(JPEG_XR_WIDTH, 0), sides.get(JPEG_XR_HEIGHT, 0))]
    image = data.find(JPEG_XR_IMAGE)
    if image >= 0:
        flags = data[image + 10]
        width, height = struct.unpack_from(">HH" if flags & SHORT_HEADER else ">II", data, image + 12)
        sizes.append(Stated(width + 1, height + 1))
    return max(sizes, key=_values)


def _of_lerc(data: bytes) -> Stated:
    version = int.from_bytes(data[6:10], "little")
    height, width = struct.unpack_from("<II", data, 10 if version < 3 else 14)
    (channels,) = struct.unpack_from("<I", data, 22) if version > 3 else (1,)
    return Stated(width, height, channels)


def _values(stated: Stated) -> int:
    return stated.width * stated.height * stated.channels


# What a picture of each kind begins with.
READERS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[bytes], Stated | None]], ...] = (
    (START, _of_jpeg),
    ((jp2.SIGNATURE, jp2.CODESTREAM), _of_jpeg_2000),
    ((JPEG_XL, jxl.CONTAINER), _of_jpeg_xl),
    (b"RIFF", _of_webp),
    (PNG, _of_png),
    (JPEG_XR, _of_jpeg_xr),
    (LERC, _of_lerc),
)
