"""The primary item of a HEIF or AVIF file: its kind, and the bytes that a codec decodes.

Source: ISO/IEC 14496-12, sections 8.11.3 (where items are), 8.11.4 (which is primary) and 8.11.6 (what each is).
"""

import struct
from collections.abc import Iterator

from denoise_cli.io.boxes import boxes_of

IN_FILE, IN_BOX = 0, 1  # where the bytes of an item are: at places in the file, or in the box "idat"
SIGN = "its list of items is damaged"


def primary_item(data: bytes) -> tuple[bytes, bytes]:
    """The kind of the primary item, four letters such as b"hvc1", and its bytes.

    Raises:
        ValueError: there is none, or its description is damaged or of an unknown kind; with a message for the user.
    """
    meta = next((contents for name, contents in boxes_of(data) if name == b"meta"), b"")
    inside = dict(boxes_of(meta[4:]))
    if not {b"pitm", b"iinf", b"iloc"} <= inside.keys():
        raise ValueError("holds no picture")
    try:
        pitm, iinf, iloc = (inside[name] for name in (b"pitm", b"iinf", b"iloc"))
        primary = int.from_bytes(pitm[4 : 8 if pitm[0] else 6], "big")
        infos = (contents for _, contents in boxes_of(iinf[8 if iinf[0] else 6 :]))
        kinds = dict(map(_kind, infos))
        _, method, extents = next(places for places in _places(iloc) if places[0] == primary)
        source = {IN_FILE: data, IN_BOX: inside.get(b"idat", b"")}[method]
        parts = [source[start : start + length if length else None] for start, length in extents]
        if any(length > len(part) for part, (_, length) in zip(parts, extents, strict=True)):
            raise ValueError("the file ends before its pixel data does")
        return kinds[primary], b"".join(parts)
    except (struct.error, IndexError, KeyError, StopIteration) as error:
        raise ValueError(SIGN) from error


def _kind(info: bytes) -> tuple[int, bytes]:
    size = 4 if info[0] > 2 else 2  # bytes of the number
    return int.from_bytes(info[4 : 4 + size], "big"), info[6 + size : 10 + size]


def _places(iloc: bytes) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """The number of each item, where its bytes are, and the places and lengths of its parts; 0 is to the end."""
    version, at = iloc[0], 4

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(iloc):
            raise IndexError(at)
        return int.from_bytes(iloc[at - size : at], "big")

    sizes = number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        item, method = number(wide), number(2) & 15 if version else IN_FILE
        number(2)  # which file: this one
        base = number(base_size)
        extents = []
        for _ in range(number(2)):
            if version:
                number(index_size)
            start = base + number(offset_size)
            extents.append((start, number(length_size)))
        yield item, method, extents
