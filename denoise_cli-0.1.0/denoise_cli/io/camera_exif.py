"""The EXIF of camera RAW files, wherever their formats keep it.

Most formats are TIFF structures. Fujifilm's RAF and Panasonic's RW2 hold a JPEG with the EXIF; Minolta's MRW, a block
that is a TIFF structure; Canon's CR3, boxes with one structure for each directory, as in ISO/IEC 14496-12; Canon's CRW,
a heap of records (`io/ciff`).
"""

import struct
from collections.abc import Iterator
from dataclasses import replace

from denoise_cli.io import ciff
from denoise_cli.io.exif import BYTE, MAKER_NOTE, ORDERS, PREFIX, UNDEFINED, Directory, Exif, Value, maker_note, parse
from denoise_cli.io.metadata import XMP_TAG
from denoise_cli.io.xmp import XMP_PREFIX

# First bytes, except those of CR3, which are the fifth to twelfth.
RAF = b"FUJIFILMCCD-RAW"
RAF_JPEG = 84  # where the place and the length of the JPEG are
RW2 = b"IIU\x00"
RW2_JPEG = 46  # tag
MRW = b"\x00MRM"
MRW_TIFF = b"\x00TTW"
CR3 = b"ftypcrx "
CR3_METADATA = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
CR3_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
APP1 = 0xE1
# Tags about the shot, which belong in the EXIF directory and which some cameras write into the first one, as the
# standard TIFF/EP (ISO 12234-2) has it: exposure, aperture, program, ISO, dates, then speed to focal length.
SHOT_TAGS = {33434, 33437, 34850, 34855, *range(36867, 36869), *range(37377, 37387)}
# By their DNG tags, which are in the first directory, EXIF's own for the camera's serial number and the lens's limits.
EXIF_OF_DNG = {50735: 42033, 50736: 42034}
DNG_PRIVATE = 50740
ADOBE_NOTE = b"Adobe\x00MakN"
ADOBE_HEAD = len(ADOBE_NOTE) + 10  # bytes in front of the note
NOTHING = Value(UNDEFINED, b"")


def exif_of(data: bytes) -> Exif:
    """What a RAW file says about the shot, with XMP and IPTC as tags of the first directory; empty if nothing is found.

    Args:
        data: the whole file. Damaged parts are skipped.
    """
    exif = _stored(data)
    early = {tag: value for tag, value in exif.main.items() if tag in SHOT_TAGS}
    of_dng = {tag: exif.main[known] for known, tag in EXIF_OF_DNG.items() if known in exif.main}
    exif.exif = early | of_dng | exif.exif
    return exif


def with_adobe_note(exif: Exif) -> Exif:
    """The EXIF of a DNG, with the maker's note that Adobe's converter puts among its private data."""
    private = exif.main.get(DNG_PRIVATE, NOTHING).data
    if MAKER_NOTE in exif.exif or not private.startswith(ADOBE_NOTE):
        return exif
    # Its length, its byte order, and its place in the file that was converted; numbers are always big-endian.
    size, order, place = struct.unpack_from(">I2sI", private.ljust(ADOBE_HEAD, b"\x00"), len(ADOBE_NOTE))
    note = private[ADOBE_HEAD : len(ADOBE_NOTE) + 4 + size]
    if ORDERS.get(order) != exif.order or not note:
        return exif
    return replace(exif, exif=exif.exif | {MAKER_NOTE: Value(UNDEFINED, note, place)})


def exif_of_jpeg(jpeg: bytes) -> Exif:
    """The EXIF of a JPEG, with its XMP as a tag of the first directory."""
    exif, xmp = Exif(), b""
    for body in _app1_segments(jpeg):
        if body.startswith(PREFIX) and not exif:
            exif = parse(body)
        elif body.startswith(XMP_PREFIX):
            xmp = xmp or body.removeprefix(XMP_PREFIX)
    if xmp:
        exif.main.setdefault(XMP_TAG, Value(BYTE, xmp))
    return exif


def _stored(data: bytes) -> Exif:
    if data.startswith(RAF):
        start, length = struct.unpack_from(">II", data.ljust(RAF_JPEG + 8, b"\x00"), RAF_JPEG)
        return exif_of_jpeg(data[start : start + length])
    if data.startswith(MRW):
        return parse(next((body for name, body in _mrw_blocks(data) if name == MRW_TIFF), b""))
    if data[4:12] == CR3:
        return _of_cr3(data)
    if data[6:14] == ciff.SIGNATURE:
        return ciff.exif_of(data)
    exif = parse(data)
    if data.startswith(RW2) and RW2_JPEG in exif.main:
        return exif_of_jpeg(exif.main[RW2_JPEG].data) or exif
    return exif


def _of_cr3(data: bytes) -> Exif:
    boxes = dict(_boxes(data))
    parts = dict(_boxes(dict(_boxes(boxes.get(b"moov", b""))).get(CR3_METADATA, b"")))
    exif = parse(parts.get(b"CMT1", b""))

    def directory(name: bytes) -> Directory:
        part = parse(parts.get(name, b""))
        return part.main if part.order == exif.order else {}

    exif.exif, exif.gps = directory(b"CMT2"), directory(b"CMT4")
    if note := directory(b"CMT3"):
        exif.exif[MAKER_NOTE] = maker_note(note, exif.order)
    if xmp := boxes.get(CR3_XMP, b"").strip(b"\x00"):
        exif.main[XMP_TAG] = Value(BYTE, xmp)
    return exif


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The type of each box, or its UUID if it has one, and its contents."""
    start = 0
    while start + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and start + 16 <= len(data):
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        stop = start + size if size else len(data)
        if stop < start + head:
            return
        if name == b"uuid":
            name, head = data[start + head : start + head + 16], head + 16
        if name != b"mdat":  # the pictures; slices copy
            yield name, data[start + head : stop]
        start = stop


def _mrw_blocks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    start, stop = 8, min(len(data), 8 + int.from_bytes(data[4:8], "big"))
    while start + 8 <= stop:
        name, size = struct.unpack_from(">4sI", data, start)
        yield name, data[start + 8 : start + 8 + size]
        start += 8 + size


def _app1_segments(jpeg: bytes) -> Iterator[bytes]:
    """The contents of the segments that hold EXIF and XMP."""
    start = 2
    while start + 4 <= len(jpeg) and jpeg[start] == 0xFF and 0xC0 <= jpeg[start + 1] != 0xDA:
        length = int.from_bytes(jpeg[start + 2 : start + 4], "big")
        if jpeg[start + 1] == APP1:
            yield jpeg[start + 4 : start + 2 + length]
        start += 2 + length
