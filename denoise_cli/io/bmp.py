"""BMPs that Pillow does not read: headers of an unusual length, colours of unusual depths, and JPEG or PNG inside.

Source: Microsoft, "Bitmap Storage" (BITMAPINFOHEADER and its successors); IBM, "OS/2 2.0 Presentation Manager
Programming Guide", for headers that end early.
"""

import struct
from dataclasses import dataclass, replace

import numpy as np

from denoise_cli.io import bmp_colours, pillow
from denoise_cli.io.limits import refuse_too_large
from denoise_cli.io.photo import Photo, scale_to_16_bits, split_alpha

SIGN = b"BM"
FILE_HEADER = 14  # bytes, before the header proper
USUAL = 40  # bytes of the header
READ_BY_PILLOW = {12, USUAL, 52, 56, 64, 108, 124}
SHORTEST, LONGEST = 16, 128
WITH_ALPHA = 56  # the shortest header with a mask for it
PLAIN, RLE8, RLE4, MASKS, JPEG, PNG = range(6)  # kinds of compression
USUAL_DEPTHS = {16: ({(5, 5, 5), (5, 6, 5)}), 32: {(8, 8, 8)}}  # bits of red, green and blue, by those of a pixel


@dataclass(frozen=True)
class Header:
    """What a BMP says about its picture; masks have the bits of red, green, blue, and alpha if there is any."""

    length: int
    start: int
    size: tuple[int, int]
    bits: int
    compression: int
    masks: tuple[int, ...]
    is_upside_down: bool


def is_unusual(data: bytes) -> bool:
    """Whether a file is a BMP that Pillow does not read, and this module does."""
    header = _header(data)
    if header is None:
        return False
    if header.length not in READ_BY_PILLOW:
        return header.compression in (PLAIN, RLE8, RLE4)
    return header.compression in (JPEG, PNG) or _has_unusual_depths(header)


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode a BMP for which `is_unusual` is true.

    Args:
        data: the file.
        max_pixels: larger pictures are refused.

    Raises:
        ValueError: the picture is too large or damaged; with a message for the user.
        OSError and others: it is damaged.
    """
    header = _header(data)
    assert header is not None
    refuse_too_large(header.size, max_pixels)
    if header.length not in READ_BY_PILLOW:
        return pillow.decode(_with_usual_length(data, header), max_pixels)
    if header.compression in (JPEG, PNG):
        photo = pillow.decode(data[header.start :], max_pixels)
        photo = replace(photo, kind="bmp", compression=None)
    else:
        photo = _by_masks(data, header)
    metadata, notes = bmp_colours.with_colours(photo.metadata, data)
    return replace(photo, metadata=metadata, notes=photo.notes + notes)


def _header(data: bytes) -> Header | None:
    """None if it is no BMP, or one with a header of another kind."""
    if data[:2] != SIGN or len(data) < FILE_HEADER + SHORTEST:
        return None
    start, length = struct.unpack_from("<II", data, 10)
    if not SHORTEST <= length <= LONGEST or len(data) < FILE_HEADER + length:
        return None
    fields = data[FILE_HEADER : FILE_HEADER + min(length, USUAL)].ljust(USUAL, b"\x00")
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", fields, 4)
    count = 4 if length >= WITH_ALPHA else 3
    at = FILE_HEADER + USUAL
    masks = struct.unpack_from(f"<{count}I", data.ljust(at + 16, b"\x00"), at) if compression == MASKS else ()
    if masks[3:] == (0,):
        masks = masks[:3]
    return Header(length, start, (width, abs(height)), bits, compression, masks, height > 0)


def _with_usual_length(data: bytes, header: Header) -> bytes:
    """The file with a header of the usual length: what is missing is zero, and what it has beyond that is left out."""
    fields = data[FILE_HEADER : FILE_HEADER + min(header.length, USUAL)].ljust(USUAL, b"\x00")
    start = header.start - header.length + USUAL
    head = data[:10] + struct.pack("<II", start, USUAL) + fields[4:]
    return head + data[FILE_HEADER + header.length :]


def _has_unusual_depths(header: Header) -> bool:
    if header.compression != MASKS or header.bits not in USUAL_DEPTHS:
        return False
    depths = tuple(mask.bit_count() for mask in header.masks)
    return all(depths) and depths[:3] not in USUAL_DEPTHS[header.bits]


def _by_masks(data: bytes, header: Header) -> Photo:
    W, H = header.size
    if min(W, H) < 1:
        raise ValueError(f"{W} x {H} pixels: it is damaged")
    dtype = np.dtype("<u2" if header.bits == 16 else "<u4")
    stride = -(-W * dtype.itemsize // 4) * 4
    if len(data) < header.start + H * stride:
        raise ValueError("the file ends before its pixel data does")
    rows = np.frombuffer(data, np.uint8, H * stride, header.start).reshape(H, stride)
    pixels = np.ascontiguousarray(rows[:: -1 if header.is_upside_down else 1, : W * dtype.itemsize]).view(dtype)
    deepest = max(mask.bit_count() for mask in header.masks)
    planes = []
    for mask in header.masks:
        shift, bits = (mask & -mask).bit_length() - 1, mask.bit_count()
        if mask >> shift != 2**bits - 1 or bits > 16:
            raise ValueError(f"a BMP with colours in bits that are not read ({mask:08X}): convert it first")
        values = ((pixels & mask) >> shift).astype(np.uint16)
        planes.append(
            scale_to_16_bits(values, bits) if deepest > 8 else np.rint(values * (255 / (2**bits - 1))).astype(np.uint8)
        )
    colours, alpha = split_alpha(np.stack(planes, axis=-1))
    return Photo(colours, alpha, "bmp", depth=deepest if 8 < deepest < 16 else None)
