"""AVIF that Pillow's decoder refuses although its pictures are whole, and the part of a picture that is to be shown.

Source: ISO/IEC 14496-12, section 8.18 (groups of items); ISO/IEC 23008-12, section 6.8.
"""

import struct
from fractions import Fraction

import numpy as np

from denoise_cli.io import auxiliary, c2pa, item_properties, mastering
from denoise_cli.io.boxes import HEADER, boxes_of
from denoise_cli.io.codecs import load_imagecodecs
from denoise_cli.io.decoding import one_line
from denoise_cli.io.item_properties import PROFILES, Property
from denoise_cli.io.limits import refuse_too_large
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo, scale_to_16_bits, split_alpha

MOST_PIXELS = 16384 * 16384  # that libavif decodes
GROUPS, PYRAMID = b"grpl", b"pymd"
UNUSED = b"free"
CUT = b"clap"
TURNED = {b"irot", b"imir", CUT}
ESSENTIAL = 0x80


def repaired(data: bytes) -> bytes:
    """The file as libavif reads it: see the two functions below.

    Raises:
        ValueError: its properties are damaged; with a message for the user.
    """
    try:
        return with_essential(without_pyramids(data))
    except (struct.error, IndexError) as error:
        raise ValueError("its list of properties is damaged") from error


def without_pyramids(data: bytes) -> bytes:
    """The file without its groups of items, if libavif would stumble over one of them.

    It takes what a group of pictures of several sizes says beyond their numbers for another group.
    """
    head = data[: item_properties.SEARCHED]
    at = head.find(GROUPS)
    if at < 0 or PYRAMID not in head[at:]:
        return data
    return data[:at] + UNUSED + data[at + len(UNUSED) :]


def with_essential(data: bytes) -> bytes:
    """The file in which what turns and cuts its pictures has to be understood, as libavif insists on."""
    head = data[: item_properties.SEARCHED]
    start = head.find(b"ipco")
    if start < HEADER - 4 or (at := head.find(b"ipma", start)) < 0:
        return data
    length = int.from_bytes(data[start - 4 : start], "big")
    kinds = [name for name, _ in boxes_of(data[start + 4 : start - 4 + length])]
    turns = {number for number, name in enumerate(kinds, 1) if name in TURNED}
    changed = bytearray(data)
    contents = data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]
    for _, number, place in item_properties.owned(contents):
        if number in turns:
            changed[at + 4 + place] |= ESSENTIAL
    return bytes(changed)


def shown(size: tuple[int, int], properties: list[Property]) -> tuple[slice, slice]:
    """The rows and columns of a picture, before it is turned, that are to be shown.

    Args:
        size: width and height.
        properties: of the picture.

    Raises:
        ValueError: it cannot be cut so; with a message for the user.
    """
    clap = dict(properties).get(CUT, b"")
    if len(clap) < 32:
        return slice(None), slice(None)
    numbers = struct.unpack(">8i", clap[:32])
    if not all(numbers[1::2]):
        raise ValueError("a part to be shown that is not inside of the picture (clap)")
    width, height, right, down = (Fraction(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True))
    found = []
    for whole, part, shift in ((size[1], height, down), (size[0], width, right)):
        begin = shift + (whole - part) / 2
        if begin < 0 or part < 1 or begin + part > whole:
            raise ValueError("a part to be shown that is not inside of the picture (clap)")
        found.append(slice(round(begin), round(begin) + round(part)))
    return found[0], found[1]


def decode(data: bytes, bits: int, max_pixels: int) -> Photo:
    """Decode a still picture that Pillow refuses, by a decoder that is less strict.

    Args:
        data: the file.
        bits: per value.
        max_pixels: larger pictures are refused.

    Raises:
        MissingDependency: imagecodecs is not installed.
        ValueError: the picture is too large or damaged; with a message for the user.
    """
    properties = item_properties.properties_of(data)
    known = dict(properties)
    if len(known.get(b"ispe", b"")) >= 12:
        width, height = struct.unpack(">2I", known[b"ispe"][4:12])
        refuse_too_large((width, height), max_pixels)
        if width * height > MOST_PIXELS:
            raise ValueError(f"{width} x {height} pixels: the decoder of AVIF takes at most {MOST_PIXELS}")
    codecs = load_imagecodecs()
    try:
        values = np.atleast_3d(codecs.avif_decode(data, index=0))
    except codecs.AvifError as error:
        reason = one_line(error).rpartition("(")[2].rstrip(")")
        raise ValueError(f"an AVIF that breaks the rules of its format: {reason}") from error
    if turned := TURNED & known.keys():
        raise ValueError(f"an AVIF that breaks the rules of its format, to be turned or cut ({min(turned).decode()})")
    pixels, alpha = split_alpha(scale_to_16_bits(values, bits))
    if item_properties.is_monochrome(properties):
        pixels = pixels[..., :1]
    notes = c2pa.notes_on(data, "avif") + auxiliary.notes_on(data)
    if any(name in data[: item_properties.SEARCHED] for name in (b"Exif", b"application/rdf+xml")):
        notes += ("left out: EXIF and XMP",)
    profiles = [contents[4:] for name, contents in properties if name == b"colr" and contents[:4] in PROFILES]
    cicp = item_properties.colours_of(data, properties)
    metadata = Metadata(icc=next(iter(profiles), None), cicp=cicp, mastering=mastering.of_boxes(properties))
    return Photo(pixels, alpha, "avif", metadata, notes, depth=bits if pixels.dtype == np.uint16 else None)
