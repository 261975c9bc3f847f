"""The primary item of a HEIF or AVIF file: its kind, and the bytes that a codec decodes.

Source: ISO/IEC 14496-12, sections 8.11.3 (where items are), 8.11.4 (which is primary) and 8.11.6 (what each is).
"""

import struct
from collections.abc import Container, Iterator

from denoise_cli.io.boxes import boxes_of

IN_FILE, IN_BOX = 0, 1  # where the bytes of an item are: at places in the file, or in the box "idat"
Places = tuple[int, int, list[tuple[int, int]]]  # the number of an item, where its bytes are, and its parts
MOST_OVERLAP = 4  # how many times the bytes of a file may belong to its items
OVERLAP = "its items overlap: it is damaged"
SIGN = "its list of items is damaged"


def primary_item(data: bytes) -> tuple[bytes, bytes]:
    """The kind of the primary item, four letters such as b"hvc1", and its bytes.

    Raises:
        ValueError: there is none, or its description is damaged or of an unknown kind; with a message for the user.
    """
    try:
        inside = _boxes_about_items(data)
        pitm = inside[b"pitm"]
        primary = int.from_bytes(pitm[4 : 8 if pitm[0] else 6], "big")
        kinds = _kinds_in(inside)
        places = next(places for places in _places(inside[b"iloc"]) if places[0] == primary)
        return kinds[primary], _bytes_of(places, data, inside)
    except (struct.error, IndexError, KeyError, StopIteration) as error:
        raise ValueError(SIGN) from error


def items_of(data: bytes, wanted: Container[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the bytes of each item that is of one of the kinds that are wanted.

    Raises:
        ValueError: as for `primary_item`.
    """
    try:
        inside = _boxes_about_items(data)
        kinds, total = _kinds_in(inside), 0
        for places in _places(inside[b"iloc"]):
            kind = kinds.get(places[0])
            if kind is not None and kind in wanted:
                item = _bytes_of(places, data, inside)
                total += len(item)
                if total > MOST_OVERLAP * len(data):
                    raise ValueError(OVERLAP)
                yield kind, item
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError(SIGN) from error


def _boxes_about_items(data: bytes) -> dict[bytes, bytes]:
    meta = next((contents for name, contents in boxes_of(data) if name == b"meta"), b"")
    inside = dict(boxes_of(meta[4:]))
    if not {b"pitm", b"iinf", b"iloc"} <= inside.keys():
        raise ValueError("holds no picture")
    return inside


def _kinds_in(inside: dict[bytes, bytes]) -> dict[int, bytes]:
    iinf = inside[b"iinf"]
    return dict(_kind(contents) for _, contents in boxes_of(iinf[8 if iinf[0] else 6 :]))


def _bytes_of(places: Places, data: bytes, inside: dict[bytes, bytes]) -> bytes:
    _, method, extents = places
    source = {IN_FILE: data, IN_BOX: inside.get(b"idat", b"")}[method]
    if sum(length or len(source) for _, length in extents) > MOST_OVERLAP * len(source):
        raise ValueError(OVERLAP)
    parts = [source[start : start + length if length else None] for start, length in extents]
    if any(length > len(part) for part, (_, length) in zip(parts, extents, strict=True)):
        raise ValueError("the file ends before its pixel data does")
    return b"".join(parts)


def _kind(info: bytes) -> tuple[int, bytes]:
    size = 4 if info[0] > 2 else 2  # bytes of the number
    return int.from_bytes(info[4 : 4 + size], "big"), info[6 + size : 10 + size]


def _places(iloc: bytes) -> Iterator[Places]:
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
        extents, count = [], number(2)
        if count > 1 and not offset_size + length_size:
            raise IndexError(count)  # which would take no bytes, however many they are
        for _ in range(count):
            if version:
                number(index_size)
            start = base + number(offset_size)
            extents.append((start, number(length_size)))
        yield item, method, extents
