"""The index of a JPEG that is followed by more pictures: where they are, and what for.

Source: CIPA DC-007, "Multi-Picture Format" (2009), section 5.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from denoise_cli.io.exif import ORDERS

PREFIX = b"MPF\x00"  # of its segment
NUMBER_OF_PICTURES = 0xB001
ENTRIES = 0xB002
IDENTIFIERS = 0xB003
SIZES = {ENTRIES: 16, IDENTIFIERS: 33}  # bytes for each picture
MAX_PICTURES = 1000
TYPE = 0xFFFFFF  # the bits of an entry's attributes that say what the picture is for
PREVIEWS = (0x010001, 0x010002)  # types: "large thumbnails"


@dataclass(frozen=True)
class Entry:
    """A picture.

    Attributes:
        attributes: bits that say what it is for.
        size: bytes.
        offset: where it begins, in bytes from the beginning of the index; 0 for the first picture.
        dependent: the numbers of up to two pictures that belong to this one, from 1; 0 for none.
    """

    attributes: int
    size: int
    offset: int
    dependent: tuple[int, int]

    @property
    def is_preview(self) -> bool:
        """Whether it shows the first picture in a smaller size."""
        return self.attributes & TYPE in PREVIEWS


def entries_of(index: bytes) -> list[Entry]:
    """The pictures, the first one included, at most `MAX_PICTURES`.

    Args:
        index: the body of the segment, without `PREFIX`.

    Returns:
        Nothing if the index is damaged.
    """
    for tag, _, count, value in _fields(index):
        if tag == ENTRIES:
            number = min(count // SIZES[ENTRIES], max(len(index) - value, 0) // SIZES[ENTRIES], MAX_PICTURES)
            rows = (struct.unpack_from(ORDERS[index[:2]] + "IIIHH", index, value + 16 * row) for row in range(number))
            return [Entry(attributes, size, offset, (a, b)) for attributes, size, offset, a, b in rows]
    return []


def rewritten(index: bytes, entries: Sequence[Entry], kept: Sequence[int]) -> bytes:
    """An index for fewer pictures, or for pictures in other places.

    Args:
        index: one that `entries_of` reads.
        entries: the pictures, with their sizes and offsets.
        kept: their numbers in `index`, from 0, ascending.
    """
    order, new = ORDERS[index[:2]], bytearray(index)
    numbers = {old + 1: new + 1 for new, old in enumerate(kept)}
    done = set()  # a damaged index may have a field twice
    for tag, place, count, value in _fields(index):
        if tag in done:
            continue
        done.add(tag)
        if tag == NUMBER_OF_PICTURES:
            struct.pack_into(order + "I", new, place + 8, len(kept))
        elif tag in SIZES and count >= SIZES[tag] * len(kept):
            step = SIZES[tag]
            rows = [index[value + step * row : value + step * (row + 1)] for row in kept]
            new[value : value + len(b"".join(rows))] = b"".join(rows)
            struct.pack_into(order + "I", new, place + 4, step * len(kept))
        if tag == ENTRIES:
            for row, entry in enumerate(entries):
                first, second = (numbers.get(number, 0) for number in entry.dependent)
                struct.pack_into(
                    order + "IIIHH", new, value + 16 * row, entry.attributes, entry.size, entry.offset, first, second
                )
    return bytes(new)


def _fields(index: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The tag of each field, where the field is, how many values it has, and where they are or, if short, the value."""
    order = ORDERS.get(index[:2])
    if order is None or len(index) < 8:
        return
    (start,) = struct.unpack_from(order + "I", index, 4)
    if start + 2 > len(index):
        return
    (count,) = struct.unpack_from(order + "H", index, start)
    for place in range(start + 2, min(start + 2 + 12 * count, len(index) - 11), 12):
        tag, _, values, value = struct.unpack_from(order + "HHII", index, place)
        yield tag, place, values, value
