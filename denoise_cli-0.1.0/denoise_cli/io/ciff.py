"""CIFF, the format of Canon's CRW files: a heap of records, translated into EXIF and a modern maker's note.

Source: Canon, "CIFF Specification on Image Data File" 1.0 (1997). What the camera wrote about itself is in
the same records as in the maker's notes of JPEGs, under other numbers.
"""

import math
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

from PIL import ExifTags

from denoise_cli.io.exif import (
    ASCII,
    LONG,
    MAKER_NOTE,
    ORDERS,
    RATIONAL,
    SHORT,
    SRATIONAL,
    Directory,
    Exif,
    Value,
    maker_note,
)

SIGNATURE = b"HEAPCCDR"  # at the seventh byte
ENTRY = 10  # bytes
MAX_DEPTH = 5
MAX_RECORDS = 1000
LONGEST_RECORD = 2**16  # bytes
# Bits of a record's number.
NUMBER = 0x3FFF
PLACE = 0xC000  # 0: in the heap
IN_ENTRY = 0x4000
KIND = 0x3800
HEAPS = (0x2800, 0x3000)  # kinds that hold further records

OWNER = 0x0810
MAKE_AND_MODEL = 0x080A
FOCAL_LENGTH = 0x1029
SHOT = 0x102A
SETTINGS = 0x102D
TIME = 0x180E
EXPOSURE = 0x1818
# By their numbers in the heap, the types and numbers of records in the maker's notes: camera settings, focal length,
# shot, kind of picture, firmware, file number, owner, serial number, custom functions, model, focus, file, processing,
# white balance, colour temperature, colour space, sensor.
IN_NOTE = {
    SETTINGS: (SHORT, 0x01), FOCAL_LENGTH: (SHORT, 0x02), SHOT: (SHORT, 0x04), 0x0815: (ASCII, 0x06),
    0x080B: (ASCII, 0x07), 0x1817: (LONG, 0x08), OWNER: (ASCII, 0x09), 0x180B: (LONG, 0x0C), 0x1033: (SHORT, 0x0F),
    0x1834: (LONG, 0x10), 0x1038: (SHORT, 0x12), 0x1093: (SHORT, 0x93), 0x10A0: (SHORT, 0xA0), 0x10A9: (SHORT, 0xA9),
    0x10AE: (SHORT, 0xAE), 0x10B4: (SHORT, 0xB4), 0x1031: (SHORT, 0xE0),
}  # fmt: skip
WANTED = {MAKE_AND_MODEL, TIME, EXPOSURE, *IN_NOTE}
# Places of numbers in the records for settings and for the shot.
LONGEST, SHORTEST, UNITS_PER_MM = 23, 24, 25
ISO_FACTOR, BASE_ISO, COMPENSATION, APERTURE, SPEED = 1, 2, 6, 21, 22
STEP = 32  # of ISO, aperture and speed, in a factor of two of light
THIRDS = {12: STEP / 3, 20: STEP * 2 / 3}  # as Canon writes a third and two thirds of it


def exif_of(data: bytes) -> Exif:
    """The EXIF of a CRW file; damaged records are skipped.

    Args:
        data: the whole file.
    """
    exif = Exif(ORDERS.get(data[:2], "<"))
    (start,) = struct.unpack_from(exif.order + "I", data, 2)
    records: dict[int, bytes] = {}
    for number, value in islice(_records(memoryview(data)[start:], exif.order), MAX_RECORDS):
        if number in WANTED and 0 < len(value) <= LONGEST_RECORD:
            records.setdefault(number, bytes(value))
    exif.main = _names(records)
    exif.exif = _shot(exif, records)
    note = {tag: _in_note(kind, records[number]) for number, (kind, tag) in IN_NOTE.items() if number in records}
    if note:
        exif.exif[MAKER_NOTE] = maker_note(note, exif.order)
    return exif


def _records(heap: memoryview, order: str, depth: int = 1) -> Iterator[tuple[int, memoryview]]:
    """The number and the bytes of each record in a heap, whose last bytes say where their directory is."""
    start = struct.unpack(order + "I", heap[-4:])[0] if len(heap) >= 6 else len(heap)
    if start + 2 > len(heap):
        return
    (entries,) = struct.unpack_from(order + "H", heap, start)
    for at in range(start + 2, min(start + 2 + ENTRY * entries, len(heap) - ENTRY + 1), ENTRY):
        number, size, place = struct.unpack_from(order + "HII", heap, at)
        value = heap[at + 2 : at + ENTRY] if number & PLACE == IN_ENTRY else heap[place : place + size]
        yield number & NUMBER, value
        if number & KIND in HEAPS and not number & PLACE and depth < MAX_DEPTH:
            yield from _records(value, order, depth + 1)


def _names(records: dict[int, bytes]) -> Directory:
    make, model, *_ = [*records.get(MAKE_AND_MODEL, b"").split(b"\x00"), b"", b""]
    owner = records.get(OWNER, b"").split(b"\x00")[0]
    found = {ExifTags.Base.Make: make, ExifTags.Base.Model: model, ExifTags.Base.Artist: owner}
    return {tag.value: Value(ASCII, text + b"\x00") for tag, text in found.items() if text}


def _shot(exif: Exif, records: dict[int, bytes]) -> Directory:
    """When, with what and how the picture was taken."""
    found: Directory = {}
    shot, settings, focal = (_numbers(exif, records, number, "h") for number in (SHOT, SETTINGS, FOCAL_LENGTH))
    if len(records.get(TIME, b"")) >= 4:
        (seconds,) = struct.unpack_from(exif.order + "I", records[TIME])
        taken = datetime.fromtimestamp(seconds, UTC)  # the camera's clock, which knows no zone
        found[ExifTags.Base.DateTimeOriginal] = exif.text(f"{taken:%Y:%m:%d %H:%M:%S}")
    if len(shot) > SPEED:
        speed, aperture, compensation = (_stops(shot[place]) for place in (SPEED, APERTURE, COMPENSATION))
        exposure = _numbers(exif, records, EXPOSURE, "f")  # more exact, of later cameras
        if len(exposure) >= 3 and all(map(math.isfinite, exposure)) and max(map(abs, exposure)) < STEP:
            compensation, speed, aperture = exposure[:3]
        found[ExifTags.Base.ExposureTime] = exif.packed(RATIONAL, [2.0**-speed])
        found[ExifTags.Base.FNumber] = exif.packed(RATIONAL, [round(2 ** (aperture / 2), 1)])
        found[ExifTags.Base.ExposureBiasValue] = exif.packed(SRATIONAL, [compensation])
        iso = 100 * 2 ** ((shot[ISO_FACTOR] + shot[BASE_ISO]) / STEP - math.log2(STEP))
        found[ExifTags.Base.ISOSpeedRatings] = exif.short(min(round(iso), 65535))
    if len(settings) > UNITS_PER_MM and (unit := settings[UNITS_PER_MM]) > 0:
        limits = [settings[place] / unit for place in (SHORTEST, LONGEST)]
        if min(limits) > 0:
            lens = exif.packed(RATIONAL, limits).data + bytes(16)  # the apertures: unknown
            found[ExifTags.Base.LensSpecification] = Value(RATIONAL, lens)
        if len(focal) > 1 and focal[1] > 0:
            found[ExifTags.Base.FocalLength] = exif.packed(RATIONAL, [focal[1] / unit])
    return {int(tag): value for tag, value in found.items()}


def _numbers(exif: Exif, records: dict[int, bytes], number: int, kind: str) -> tuple[float, ...]:
    value, size = records.get(number, b""), struct.calcsize(kind)
    return struct.unpack(f"{exif.order}{len(value) // size}{kind}", value[: len(value) // size * size])


def _stops(code: float) -> float:
    whole, part = divmod(abs(code), STEP)
    return math.copysign(whole + THIRDS.get(int(part), part) / STEP, code)


def _in_note(kind: int, value: bytes) -> Value:
    if kind == ASCII:
        return Value(kind, value.split(b"\x00")[0] + b"\x00")
    return Value(kind, value[:4] if kind == LONG else value[: len(value) // 2 * 2])
