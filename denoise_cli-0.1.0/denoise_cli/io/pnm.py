"""Netpbm's formats: PBM, PGM and PPM as text or binary, with up to 16 bits, and PFM in floating point.

PFM holds linear light. It is encoded as sRGB when it is read, as photos are, and decoded when it is written.

Source: the manual pages of Netpbm; P. Debevec, "PFM Portable FloatMap Image Format".
"""

import re

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.pixels import Pixels
from denoise_cli.io.limits import refuse_too_large
from denoise_cli.io.photo import Photo, from_linear, to_linear

GAP = rb"(?:\s|#[^\n\r]*[\n\r])+"  # comments begin with a number sign
HEADERS = {
    magic: re.compile(rb"P" + magic + rb"".join(GAP + rb"(\d{1,9})" for _ in range(numbers)) + end)
    for magic, numbers, end in (
        *((magic, 2, rb"(?:\s|#[^\n\r]*[\n\r])") for magic in (b"1", b"4")),
        *((magic, 3, rb"(?:\s|#[^\n\r]*[\n\r])") for magic in (b"2", b"3", b"5", b"6")),
    )
}
FLOAT_HEADER = re.compile(rb"P([Ff])\s+(\d{1,9})\s+(\d{1,9})\s+([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s")
SPACES = (b"\n", b" ", b"\r", b"\t", b"#")
SIGNATURES = tuple(b"P" + magic + space for magic in (*HEADERS, b"F", b"f") for space in SPACES)
COLOUR = (b"3", b"6")
TEXT = (b"1", b"2", b"3")
BITMAPS = (b"1", b"4")
NOT_NUMBERS = re.compile(rb"[^\d\s]")
COMMENT = re.compile(rb"#[^\n\r]*")


def is_netpbm(data: bytes) -> bool:
    """Whether a file is one of these formats, by its first bytes."""
    return data.startswith(SIGNATURES)


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode a file that holds a single picture.

    Args:
        data: the file.
        max_pixels: larger pictures are refused.

    Raises:
        ValueError: the picture is too large or the file is damaged; with a message for the user.
    """
    if data[1:2] in (b"F", b"f"):
        return Photo(from_linear(_floats(data, max_pixels)), None, "pfm")
    magic = data[1:2]
    header = HEADERS[magic].match(data)
    if header is None:
        raise ValueError("its header is damaged")
    width, height, *rest = map(int, header.groups())
    white = rest[0] if rest else 1
    refuse_too_large((width, height), max_pixels)
    if not width or not height or not 0 < white < 65536:
        raise ValueError(f"{width} x {height} pixels with values up to {white}: its header is damaged")
    shape = height, width, 3 if magic in COLOUR else 1
    values, end = (_text if magic in TEXT else _binary)(data, header.end(), magic, shape, white)
    if data[end : end + 64].lstrip().startswith(SIGNATURES):
        raise ValueError("holds several pictures: split it into single ones")
    if magic in BITMAPS:
        values = 1 - values  # ink, on paper
    kind = "ppm" if magic in COLOUR else "pgm"
    return Photo(_scaled(values, white), None, kind, is_bilevel=magic in BITMAPS)


def encode(photo: Photo) -> bytes:
    """The bytes of a binary file of a photo without transparency; of PFM if it is in floating point."""
    H, W, C = photo.pixels.shape
    if photo.bits == 32:
        upward = to_linear(photo.pixels)[::-1].astype("<f4")
        return b"P%c\n%d %d\n-1.0\n" % (b"F" if C == 3 else b"f", W, H) + upward.tobytes()
    white = 2**photo.bits - 1
    pixels = photo.pixels.astype(">u2") if photo.bits == 16 else photo.pixels
    return b"P%c\n%d %d\n%d\n" % (b"6" if C == 3 else b"5", W, H, white) + pixels.tobytes()


def _text(data: bytes, start: int, magic: bytes, shape: tuple[int, int, int], white: int) -> tuple[np.ndarray, int]:
    """Values of a file in decimal numbers, and where they end: with the file."""
    body = COMMENT.sub(b"", data[start:])
    if NOT_NUMBERS.search(body):
        raise ValueError("its values are damaged")
    count = shape[0] * shape[1] * shape[2]
    if magic in BITMAPS:  # whose digits need nothing in between
        values = np.frombuffer(b"".join(body.split()), np.uint8)[:count].astype(np.int64) - ord("0")
    else:
        values = np.fromstring(body.decode("ascii"), np.int64, sep=" ")[:count]
    if len(values) < count:
        raise ValueError("the file ends before its pixels do")
    if (values > white).any():
        raise ValueError("its values are damaged")
    return values.reshape(shape), len(data)


def _binary(data: bytes, start: int, magic: bytes, shape: tuple[int, int, int], white: int) -> tuple[np.ndarray, int]:
    """Values of a binary file, and where they end."""
    height, width, channels = shape
    if magic in BITMAPS:
        row = -(-width // 8)
        end = start + row * height
        bits = np.unpackbits(np.frombuffer(data[start:end], np.uint8))
        if len(data) < end:
            raise ValueError("the file ends before its pixels do")
        return bits.reshape(height, -1, 1)[:, :width], end
    dtype = np.dtype(np.uint8 if white < 256 else ">u2")
    end = start + height * width * channels * dtype.itemsize
    if len(data) < end:
        raise ValueError("the file ends before its pixels do")
    values = np.frombuffer(data, dtype, height * width * channels, start)
    return values.reshape(shape), end


def _scaled(values: np.ndarray, white: int) -> Pixels:
    """In 8 or 16 bits, with their largest value for what is white in the file."""
    top = 255 if white < 256 else 65535
    if white != top:
        values = (np.minimum(values, white).astype(np.uint32) * top + white // 2) // white
    return values.astype(np.uint8) if white < 256 else values.astype(np.uint16)


def _floats(data: bytes, max_pixels: int) -> NDArray[np.float32]:
    """Linear light, (H, W, C)."""
    header = FLOAT_HEADER.match(data)
    if header is None:
        raise ValueError("its header is damaged")
    width, height, channels = int(header[2]), int(header[3]), 3 if header[1] == b"F" else 1
    refuse_too_large((width, height), max_pixels)
    if not width or not height:
        raise ValueError("holds no picture")
    count = width * height * channels
    if len(data) < header.end() + 4 * count:
        raise ValueError("the file ends before its pixels do")
    values = np.frombuffer(data, "<f4" if float(header[4]) < 0 else ">f4", count, header.end())
    upward = values.reshape(height, width, channels).astype(np.float32)
    if not np.isfinite(upward).all():
        raise ValueError("holds values that are not numbers (NaN or infinity)")
    return upward[::-1]
