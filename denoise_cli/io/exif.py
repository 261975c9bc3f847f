"""EXIF as stored: directories of typed values, which are carried from file to file without interpretation.

Source: TIFF 6.0 (1992), part 1; Exif 2.32, section 4.6. Directories of BigTIFF files, and of RAW formats that are laid
out as TIFF files, are read too.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import ExifTags

from denoise_cli.io.maker_note import CLASSIC_SIZES, moved

# Tags that point at directories.
EXIF_IFD = ExifTags.IFD.Exif.value
GPS_IFD = ExifTags.IFD.GPSInfo.value
INTEROP_IFD = ExifTags.IFD.Interop.value
SUB_IFDS = 330
MAKER_NOTE = 37500
# Types of values.
BYTE = 1
ASCII = 2
SHORT = 3
LONG = 4
RATIONAL = 5
UNDEFINED = 7
SRATIONAL = 10
FLOAT = 11
DOUBLE = 12
LAST_CLASSIC_TYPE = 13  # later ones are BigTIFF's
FORMATS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I"}  # in `struct`, by type
MAX_DIRECTORIES = 16  # with pictures, apart from the first
LARGE = 2000  # numbers of this size or more, in millionths, do not fit into 32 bits
SIZES = CLASSIC_SIZES | {16: 8, 17: 8, 18: 8}  # bytes per value, by type
PREFIX = b"Exif\x00\x00"
BIG_TIFF = 43
EMPTY = 14  # bytes of a block without any tags
ORDERS: dict[bytes, Literal["<", ">"]] = {b"II": "<", b"MM": ">"}


@dataclass(frozen=True)
class Value:
    """The value of a tag: the number of its type, and its bytes in the file's byte order.

    Attributes:
        kind: the number.
        data: the bytes.
        place: of a maker's note that was read, where it began, in bytes from the start of the TIFF structure.
    """

    kind: int
    data: bytes
    place: int | None = field(default=None, compare=False, repr=False)

    @property
    def count(self) -> int:
        """How many values of its type it holds."""
        return len(self.data) // SIZES[self.kind]

    def swapped(self) -> "Value":
        """The same value in the other byte order."""
        numbers = np.frombuffer(self.data, f"u{SIZES[self.kind] // (2 if self.kind in (RATIONAL, SRATIONAL) else 1)}")
        return Value(self.kind, numbers.byteswap().tobytes())


Directory = dict[int, Value]


@dataclass
class Exif:
    """The main directory (IFD0) and those below it; the thumbnail's directory (IFD1) is not read.

    >>> exif = Exif()
    >>> exif.main[271] = exif.text("Maker")
    >>> parse(pack(exif)) == exif
    True
    >>> exif.string(exif.main[271])
    'Maker'

    Attributes:
        order: the byte order, "<" or ">" as in `struct`.
        main, exif, gps, interop: values by tag.
    """

    order: Literal["<", ">"] = "<"
    main: Directory = field(default_factory=dict)
    exif: Directory = field(default_factory=dict)
    gps: Directory = field(default_factory=dict)
    interop: Directory = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.main or self.exif or self.gps)

    def number(self, value: Value | None) -> int | None:
        """The first unsigned integer of a value; None if there is no value, or one of another type."""
        if value is None or value.kind not in (SHORT, LONG, 13, 16, 18):
            return None
        return int.from_bytes(value.data[: SIZES[value.kind]], "little" if self.order == "<" else "big")

    def fraction(self, value: Value | None) -> float:
        """The first unsigned fraction of a value; 0 if there is no value, or one of another type."""
        if value is None or value.kind != RATIONAL:
            return 0.0
        numerator, denominator = struct.unpack(self.order + "II", value.data[:8])
        return numerator / denominator if denominator else 0.0

    def numbers(self, value: Value | None) -> tuple[float, ...]:
        """All numbers of a value of any numeric type; empty for text or if there is no value."""
        if value is None:
            return ()
        if value.kind in (RATIONAL, SRATIONAL):
            parts = struct.unpack(f"{self.order}{2 * value.count}{'I' if value.kind == RATIONAL else 'i'}", value.data)
            return tuple(
                numerator / denominator if denominator else 0.0
                for numerator, denominator in zip(parts[::2], parts[1::2], strict=True)
            )
        kind = FORMATS.get(value.kind)
        return struct.unpack(f"{self.order}{value.count}{kind}", value.data) if kind else ()

    def string(self, value: Value | None) -> str:
        """The text of a value; empty if there is no value."""
        return "" if value is None else value.data.split(b"\x00")[0].decode(errors="replace").strip()

    def text(self, string: str) -> Value:
        """A value of type ASCII, encoded as UTF-8: the standard provides for nothing else."""
        return Value(ASCII, string.encode() + b"\x00")

    def short(self, number: int) -> Value:
        """A value of type SHORT."""
        return Value(SHORT, struct.pack(self.order + "H", number))

    def long(self, number: int) -> Value:
        """A value of type LONG."""
        return Value(LONG, struct.pack(self.order + "I", number))

    def rational(self, number: float) -> Value:
        """A value of type RATIONAL, with four decimals."""
        return Value(RATIONAL, struct.pack(self.order + "II", min(round(number * 10_000), 2**32 - 1), 10_000))

    def packed(self, kind: int, numbers: Iterable[float]) -> Value:
        """A value that holds several numbers of any numeric type; fractions have six decimals, large ones four."""
        if kind in (RATIONAL, SRATIONAL):
            scales = [(float(number), 1_000_000 if abs(number) < LARGE else 10_000) for number in numbers]
            parts = [part for number, scale in scales for part in (round(number * scale), scale)]
            return Value(kind, struct.pack(f"{self.order}{len(parts)}{'I' if kind == RATIONAL else 'i'}", *parts))
        plain = list(numbers)
        return Value(kind, struct.pack(f"{self.order}{len(plain)}{FORMATS[kind]}", *plain))


def parse(data: bytes, start: int | None = None) -> Exif:
    """Read an EXIF block or the directories of a TIFF file.

    Damaged entries are skipped. Data that is no EXIF at all gives an empty one.

    Args:
        data: the block, or the file.
        start: where the main directory begins, in bytes; None for the file's first.
    """
    data = data.removeprefix(PREFIX)
    order = ORDERS.get(data[:2])
    if order is None or len(data) < EMPTY:
        return Exif()
    exif = Exif(order)
    big = struct.unpack(order + "H", data[2:4])[0] == BIG_TIFF
    if start is None and len(data) >= 16:
        start = struct.unpack(order + ("Q" if big else "I"), data[8:16] if big else data[4:8])[0]
    exif.main = _read(data, order, big, start)
    exif.exif = _read(data, order, big, exif.number(exif.main.pop(EXIF_IFD, None)))
    exif.gps = _read(data, order, big, exif.number(exif.main.pop(GPS_IFD, None)))
    exif.interop = _read(data, order, big, exif.number(exif.exif.pop(INTEROP_IFD, None)))
    for directory in (exif.main, exif.exif, exif.gps, exif.interop):
        for tag in [tag for tag, value in directory.items() if value.kind > LAST_CLASSIC_TYPE]:
            del directory[tag]
    return exif


def picture_directories(data: bytes) -> list[Exif]:
    """The directories of a TIFF structure that hold pictures, each as `main`: the first one and those it points at."""
    order = ORDERS.get(data[:2])
    if order is None or len(data) < 16 or struct.unpack(order + "H", data[2:4])[0] == BIG_TIFF:
        return []
    first = Exif(order, _read(data, order, False, struct.unpack(order + "I", data[4:8])[0]))
    pointers = first.main.get(SUB_IFDS, Value(LONG, b"")).data
    starts = struct.unpack(f"{order}{len(pointers) // 4}I", pointers[: len(pointers) // 4 * 4])
    return [first, *(Exif(order, _read(data, order, False, start)) for start in starts[:MAX_DIRECTORIES])]


def pack(exif: Exif) -> bytes:
    """Serialise as an EXIF block: a TIFF structure without pictures."""
    pointers = {tag: exif.long(0) for tag in (EXIF_IFD, GPS_IFD) if directory_bytes(exif, tag, 0)}
    end = 8 + len(_serialise(exif.main | pointers, exif.order, 0))
    others = []
    for tag in pointers:
        pointers[tag] = exif.long(end)
        others.append(directory_bytes(exif, tag, end))
        end += len(others[-1])
    header = (b"II" if exif.order == "<" else b"MM") + struct.pack(exif.order + "HI", 42, 8)
    return b"".join([header, _serialise(exif.main | pointers, exif.order, 8), *others])


def maker_note(directory: Directory, order: str) -> Value:
    """A maker's note that is a directory, for the tag `MAKER_NOTE` of files with this byte order."""
    return Value(UNDEFINED, _serialise(directory, order, 0), place=0)


def directory_bytes(exif: Exif, tag: int, offset: int) -> bytes:
    """Serialise the EXIF or the GPS directory with those below it.

    Args:
        exif: the directories.
        tag: `EXIF_IFD` or `GPS_IFD`.
        offset: where the bytes will be in the file, even.

    Returns:
        Nothing if the directory is empty.
    """
    if tag == GPS_IFD:
        return _serialise(exif.gps, exif.order, offset) if exif.gps else b""
    if not exif.exif or not exif.interop:
        return _serialise(exif.exif, exif.order, offset) if exif.exif else b""
    length = len(_serialise(exif.exif | {INTEROP_IFD: exif.long(0)}, exif.order, 0))
    upper = _serialise(exif.exif | {INTEROP_IFD: exif.long(offset + length)}, exif.order, offset)
    return upper + _serialise(exif.interop, exif.order, offset + length)


def _read(data: bytes, order: str, big: bool, start: int | None) -> Directory:
    head, entry, inline = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    first = (start or 0) + struct.calcsize(order + head)
    if not start or first > len(data):
        return {}
    (entries,) = struct.unpack_from(order + head, data, start)
    step = struct.calcsize(order + entry) + inline
    found: Directory = {}
    unread = len(data)  # a limit: entries that share the same bytes could multiply the size of the file
    for at in range(first, min(first + entries * step, len(data) - step + 1), step):
        tag, kind, count = struct.unpack_from(order + entry, data, at)
        size = SIZES.get(kind, 0) * count
        place = at + step - inline
        if size > inline:
            (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, place)
        if 0 < size <= min(unread, len(data) - place) and tag not in found:
            found[tag] = Value(kind, data[place : place + size], place if tag == MAKER_NOTE else None)
            unread -= size
    return found


def _serialise(directory: Directory, order: str, offset: int) -> bytes:
    """A directory that is the last of its chain, and the values that do not fit into it, for an even offset."""
    entries, values, end = [], [], 0
    values_start = offset + 2 + 12 * len(directory) + 4
    for tag, value in sorted(directory.items()):
        place = value.data.ljust(4, b"\x00")
        if len(value.data) > 4:
            start = values_start + end
            place = struct.pack(order + "I", start)
            values.append(value.data if value.place is None else moved(value.data, order, value.place, start))
            values.append(b"\x00" * (len(value.data) % 2))
            end += len(values[-2]) + len(values[-1])
        entries.append(struct.pack(order + "HHI", tag, value.kind, value.count) + place)
    return struct.pack(order + "H", len(entries)) + b"".join(entries) + b"\x00" * 4 + b"".join(values)
