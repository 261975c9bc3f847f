"""Whether the file of a clip ends before its own structure does: FFmpeg reads such files to their end without an error.

Sources: ISO/IEC 14496-12, 4.2; RFC 8794 and 9559 (Matroska); Adobe, "Video File Format Specification", E.3 and E.4.1;
Microsoft, "Advanced Systems Format", 3.2 and 5.1; ISO/IEC 13818-1, 2.5.3, and 11172-1, 2.4.3; RFC 3533 (Ogg); W3C,
"GIF89a"; W3C, "Portable Network Graphics"; IEC 61834-2 (DV).
"""

import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from denoise_cli.io.boxes import top_boxes

TS_PACKETS = (188, 192, 204)  # bytes: plain, with times (M2TS), and with a checksum
# Boxes at the top of ISO files. What has other names may be anything that was appended.
TOP_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"meta", b"free", b"skip", b"wide", b"uuid", b"jxlc", b"jxlp")
RIFF_UNKNOWN = (0, 0xFFFFFFFF)  # sizes that programs leave in files while they write them
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
FLV_TAG_HEADER = 11  # bytes
FLV_TAGS = (8, 9, 18)  # sound, video, and data
PACK, PACK_END = 0xBA, 0xB9  # the last bytes of start codes in program streams
PACK_WINDOW = 1 << 17  # bytes at the end in which there is a pack: packets have at most 2 ** 16
OGG_PAGE, OGG_HEADER, OGG_LARGEST = b"OggS", 27, 65307  # bytes: the name, the length without a table, the most
OGG_LAST = 4  # a flag
GIF_TRAILER, GIF_EXTENSION, GIF_PICTURE = 0x3B, 0x21, 0x2C
PNG_SIGNATURE = 8  # bytes
DIF_SEQUENCE = 12000  # bytes


def is_cut(path: Path, form: str) -> bool:
    """Whether a part of a file is missing at its end, as far as its container tells.

    Args:
        path: the file.
        form: FFmpeg's name of the container.

    Raises:
        OSError: the file cannot be read any longer.
    """
    check = next((CHECKS[name] for name in form.split(",") if name in CHECKS), None)
    if check is None:
        return False
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        try:
            return check(file, size)
        except (struct.error, IndexError):  # it ends within a number
            return True


def _read(file: IO[bytes], place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _iso(file: IO[bytes], size: int) -> bool:
    return any(name in TOP_BOXES and stop > size for name, *_, stop in top_boxes(file))


def _riff(file: IO[bytes], size: int) -> bool:
    place = 0  # AVI of more than a gigabyte has several
    while place + 8 <= size:
        name, length = struct.unpack("<4sI", _read(file, place, 8))
        if name != b"RIFF" or length in RIFF_UNKNOWN:
            return False
        place += 8 + length + length % 2
    return place > size + 1  # which the last byte of an odd chunk may be without


def _matroska(file: IO[bytes], size: int) -> bool:
    place = 0
    for name in (EBML, SEGMENT):
        head = _read(file, place, 12)
        if not head.startswith(name):
            return False
        length = 9 - head[4].bit_length()  # bytes of the size
        content = int.from_bytes(head[4 : 4 + length], "big") - (1 << 7 * length)
        if content == (1 << 7 * length) - 1:  # unknown, as in a stream
            return False
        place += 4 + length + content
    return place > size


def _asf(file: IO[bytes], size: int) -> bool:
    (place,) = struct.unpack("<Q", _read(file, 16, 8))  # the length of the header
    name, length = struct.unpack("<16sQ", _read(file, place, 24))
    return bool(name == ASF_DATA and place + length > size)


def _flv(file: IO[bytes], size: int) -> bool:
    (length,) = struct.unpack(">I", _read(file, size - 4, 4))  # of the last tag, which stands behind it
    if not FLV_TAG_HEADER <= length <= size - 4:
        return True
    head = _read(file, size - 4 - length, 4)
    return head[0] not in FLV_TAGS or int.from_bytes(head[1:], "big") + FLV_TAG_HEADER != length


def _program_stream(file: IO[bytes], size: int) -> bool:
    data = _read(file, max(size - PACK_WINDOW, 0), PACK_WINDOW)
    place = data.rfind(bytes((0, 0, 1, PACK)))
    while 0 <= place < len(data):
        rest = data[place:]
        if not any(rest):
            return False
        if rest[:3] != b"\0\0\1":
            return len(rest) < 4  # anything else may have been appended
        if rest[3] == PACK_END:
            return False
        if rest[3] == PACK:
            place += 14 + (rest[13] & 7) if rest[4] & 0xC0 == 0x40 else 12
        else:
            (length,) = struct.unpack_from(">H", rest, 4)
            if length == 0:  # as long as the next one is far
                return False
            place += 6 + length
    return place > len(data)


def _ogg(file: IO[bytes], size: int) -> bool:
    data = _read(file, max(size - OGG_LARGEST, 0), OGG_LARGEST)
    page = data[data.rfind(OGG_PAGE) :]
    count = page[OGG_HEADER - 1]
    length = OGG_HEADER + count + sum(page[OGG_HEADER : OGG_HEADER + count])
    return length > len(page) or not page[5] & OGG_LAST


def _gif(file: IO[bytes], _: int) -> bool:
    def skip_colours(flags: int) -> None:
        file.seek(3 << (flags & 7) + 1 if flags & 0x80 else 0, os.SEEK_CUR)

    skip_colours(_read(file, 10, 3)[0])
    while (kind := file.read(1)[0]) != GIF_TRAILER:
        if kind == GIF_PICTURE:
            skip_colours(file.read(9)[8])
            file.seek(1, os.SEEK_CUR)
        elif kind == GIF_EXTENSION:
            file.seek(1, os.SEEK_CUR)
        elif kind == 0:  # which some programs leave between blocks
            continue
        else:
            return True
        while length := file.read(1)[0]:
            file.seek(length, os.SEEK_CUR)
    return False


def _png(file: IO[bytes], size: int) -> bool:
    place = PNG_SIGNATURE
    while place < size:
        length, name = struct.unpack(">I4s", _read(file, place, 8))
        place += 12 + length
        if name == b"IEND":
            return place > size
    return True


def _dv(file: IO[bytes], size: int) -> bool:
    sequences = 12 if _read(file, 3, 1)[0] & 0x80 else 10  # in a frame of 25 or 30 a second
    return bool(size % (sequences * DIF_SEQUENCE))


def _transport_stream(_: IO[bytes], size: int) -> bool:
    return all(size % length for length in TS_PACKETS)


# By FFmpeg's names of the containers.
CHECKS: Mapping[str, Callable[[IO[bytes], int], bool]] = {
    "apng": _png,
    "asf": _asf,
    "avi": _riff,
    "dv": _dv,
    "flv": _flv,
    "gif": _gif,
    "jpegxl_anim": _iso,
    "matroska": _matroska,
    "mov": _iso,
    "mpeg": _program_stream,
    "mpegts": _transport_stream,
    "ogg": _ogg,
    "webp_anim": _riff,
}
