"""Makers' notes moved from one place to another, with the offsets that they contain.

A maker's note is a value in the EXIF directory whose layout each maker decides. Most are a directory like those of
TIFF, which may follow a few bytes with the maker's name. Some count offsets from their own first byte (newer ones of
Nikon and Olympus, those of Fujifilm and Apple): these can be moved as they are. Others count from the start of the file
(Canon's, Panasonic's, Sony's, older ones of Nikon and Olympus): if they are moved as they are, readers find other data
there.

No maker is known here by name. Which of the two a note does is judged by where its values would be in either case.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_NAME = 32  # bytes in front of a directory
OWN_HEADERS = (b"II*\x00", b"MM\x00*")  # a TIFF structure of its own, which counts from there
FOOTER = 8  # bytes at the end of Canon's: such a header with the place where the note was written
MAX_ENTRIES = 1000
MAX_DEPTH = 3
ENTRY = 12  # bytes of a directory's entry
TIGHT = 16  # bytes, the largest gap between a directory and its first value
UNDEFINED = 7
IFD = 13
# Bytes per value, by type.
CLASSIC_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, UNDEFINED: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, IFD: 4}


def moved(note: bytes, order: str, old: int, new: int) -> bytes:
    """A maker's note for another place in a TIFF structure.

    Args:
        note: as it was stored.
        order: the byte order of the structure, "<" or ">" as in `struct`; notes can differ from it.
        old: where the note began, in bytes from the start of the structure that held it.
        new: where it will begin.

    Returns:
        The note, of the same length; unchanged if it counts offsets from its own start, or is no directory.
    """
    if old == new or any(header in note[: LONGEST_NAME - 4] for header in OWN_HEADERS):
        return note
    orders = (order, "<" if order == ">" else ">")
    found = (each for order in orders for each in _directories(_Note(note, order, old), 0))
    directory = next((each for each in found if each.places and not each.counts_from_note()), None)
    if directory is None:
        return note
    result = bytearray(note)
    _move(result, directory, new - old)
    order = directory.note.order
    if note[-FOOTER:-4] in OWN_HEADERS and struct.unpack(order + "I", note[-4:]) == (old,):
        struct.pack_into(order + "I", result, len(note) - 4, new)
    return bytes(result)


@dataclass(frozen=True)
class _Note:
    """A note's bytes, their order, and where the note began."""

    data: bytes
    order: str
    old: int


@dataclass(frozen=True)
class _Directory:
    """A directory in a note, as it is if the note counts places from the start of the file.

    Attributes:
        note: that holds it.
        end: behind its last entry, in bytes from the start of the note.
        is_sorted: whether its tags ascend, as those of TIFF do.
        places: by the field in the note that names it, the first byte of each value that is in the note.
        last: the end of the last of these.
        below: fields whose values could be a directory below this one.
    """

    note: _Note
    end: int
    is_sorted: bool
    places: dict[int, int]
    last: int
    below: tuple[int, ...]

    def counts_from_note(self) -> bool:
        """Whether the note rather counts from its own start: if so, its values would be inside, too."""
        first = min(self.places.values())
        return self.note.old + self.last <= len(self.note.data) and first > self.end + TIGHT


def _directories(note: _Note, start: int) -> Iterator[_Directory]:
    """What could be a directory at a place in the note, behind a name of any length."""
    for at in range(start, min(start + LONGEST_NAME, len(note.data) - 2), 2):
        (entries,) = struct.unpack_from(note.order + "H", note.data, at)
        end = at + 2 + ENTRY * entries
        if 1 <= entries <= MAX_ENTRIES and end <= len(note.data):
            found = _directory(note, at + 2, end)
            if found is not None:
                yield found


def _directory(note: _Note, start: int, end: int) -> _Directory | None:
    tags, places, last, below, lost = [], {}, 0, [], 0
    for at in range(start, end, ENTRY):
        tag, kind, count, place = struct.unpack_from(note.order + "HHII", note.data, at)
        tags.append(tag)
        size, place = CLASSIC_SIZES.get(kind, 0) * count, place - note.old
        if kind not in CLASSIC_SIZES and (kind or count):  # some makers fill up with entries of nothing
            return None
        if size > 4 and place < end and place + note.old:
            return None  # a value in front of the first possible place: the note counts from somewhere else
        if size > 4 and place + size <= len(note.data):
            places[at + 8] = place
            last = max(last, place + size)
        elif size > 4:
            lost += 1  # a few makers keep some values outside of the note; they stay behind
        if (kind == UNDEFINED and size > 4) or (kind == IFD and count == 1):
            below.append(at + 8)
    if lost > len(places):
        return None
    return _Directory(note, end, tags == sorted(set(tags)), places, last, tuple(below))


def _move(result: bytearray, directory: _Directory, distance: int, depth: int = 1) -> None:
    """Change the places that a directory, and those below it, name."""
    note, fields = directory.note, set(directory.places)
    for field in directory.below:
        start = struct.unpack_from(note.order + "I", note.data, field)[0] - note.old
        if directory.end <= start < len(note.data) and depth < MAX_DEPTH:
            lower = next((each for each in _directories(note, start) if each.is_sorted and len(each.places) > 1), None)
            if lower is not None:
                fields.add(field)
                _move(result, lower, distance, depth + 1)
    for field in fields:
        (place,) = struct.unpack_from(note.order + "I", note.data, field)
        struct.pack_into(note.order + "I", result, field, place + distance)
