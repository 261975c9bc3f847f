"""Radiance HDR (RGBE) through imagecodecs: linear light with a common exponent for the three colours of a pixel.

It is encoded as sRGB when it is read, as photos are, and decoded when it is written.

Source: G. Ward, "Radiance file formats".
"""

import re

import numpy as np
from numpy.typing import NDArray

from denoise_cli.io.codecs import load_imagecodecs
from denoise_cli.io.limits import refuse_too_large
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.native import Native
from denoise_cli.io.photo import Photo, from_linear, to_linear
from denoise_cli.io.profiles import are_of_srgb, icc_profile

SIGNATURES = (b"#?RADIANCE", b"#?RGBE")
FORMAT_LINE = b"\nFORMAT=32-bit_rle_rgbe\n"
SIGNATURE_LENGTH = 1024  # bytes in which that line is looked for
SEARCHED = 2**16  # bytes at the start of a file in which its header ends
RESOLUTION = re.compile(rb"\n\n([-+])([XY]) (\d{1,9}) ([-+])([XY]) (\d{1,9})\n")
FORMAT = re.compile(rb"\nFORMAT=([^\n]*)\n")
PRIMARIES = b"PRIMARIES="
COORDINATES = 8  # of red, green, blue and white
REWRITTEN = (*SIGNATURES, b"FORMAT=", b"SOFTWARE=")  # lines that say how a file was made
MANTISSA = 8  # bits
HEADER_ROOM = 4096  # bytes, more than the codec's header and the start of a row need
RGBE = b"32-bit_rle_rgbe"


def is_radiance(data: bytes) -> bool:
    """Whether a file is Radiance HDR, by its first bytes or, as some programs leave them out, by its header."""
    return data.startswith(SIGNATURES) or FORMAT_LINE in data[:SIGNATURE_LENGTH]


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode a picture.

    Args:
        data: the file.
        max_pixels: larger pictures are refused.

    Raises:
        MissingDependency: imagecodecs is not installed.
        ValueError: the picture is too large or of an unsupported kind; with a message for the user.
        RuntimeError and others: the file is damaged.
    """
    data = data[:SEARCHED].replace(b"\r\n", b"\n") + data[SEARCHED:] if b"\r\n\r\n" in data[:SEARCHED] else data
    found = RESOLUTION.search(data, 0, SEARCHED)
    if found is None or found[2] == found[5]:
        raise ValueError("its header is damaged")
    rows, columns = int(found[3]), int(found[6])
    refuse_too_large((columns, rows) if found[2] == b"Y" else (rows, columns), max_pixels)
    if not rows or not columns:
        raise ValueError("holds no picture")
    named = FORMAT.search(data, 0, found.start() + 2)
    if named is not None and named[1].strip() != RGBE:
        raise ValueError(f"{named[1].decode('ascii', 'replace').strip()[:40]}: convert it to RGB first")
    # The codec reads no header but the shortest, and no order of rows but the usual one.
    head = b"#?RADIANCE\nFORMAT=%b\n\n-Y %d +X %d\n" % (RGBE, rows, columns)
    light = load_imagecodecs().rgbe_decode(head + data[found.end() :])
    if light.shape != (rows, columns, 3) or not np.isfinite(light).all():
        raise ValueError("its pixels are damaged")
    if found[1] == (b"+" if found[2] == b"Y" else b"-"):
        light = light[::-1]
    if found[4] == (b"+" if found[5] == b"Y" else b"-"):
        light = light[:, ::-1]
    lines = _kept_lines(data[: found.start()])
    metadata = Metadata(
        icc=_profile(lines),
        natives=tuple(Native("hdr", _name_of(line), line, of_colours=line.startswith(PRIMARIES)) for line in lines),
    )
    return Photo(from_linear(light if found[2] == b"Y" else light.swapaxes(0, 1)), None, "hdr", metadata)


def encode(photo: Photo) -> bytes:
    """The bytes of a file of an RGB photo in floating point; negative values become black."""
    light = np.maximum(to_linear(photo.pixels), 0)
    brightest = light.max(axis=2)
    # The codec cuts fractions off. With half a step more it rounds, and values that came from such a file stay.
    half = _half_step(brightest + _half_step(brightest))  # it may round to the next exponent
    light += np.where(brightest > 0, half, 0)[..., None]
    room = 2 * 4 * brightest.size + HEADER_ROOM  # its own estimate is too small for noise
    data = bytes(load_imagecodecs().rgbe_encode(np.ascontiguousarray(light), header=True, out=room))
    start = data.index(b"\n") + 1  # behind the line by which files are recognised
    lines = [native.data + b"\n" for native in photo.metadata.natives if native.kind == "hdr"]
    return b"".join([data[:start], *lines, data[start:]])


def _kept_lines(header: bytes) -> list[bytes]:
    """The lines of a header that stay in a result; the codec writes the others."""
    return [line for line in header.split(b"\n") if line.strip() and not line.startswith(REWRITTEN)]


def _name_of(line: bytes) -> str:
    """What a line of a header is, in words for the user."""
    name, is_variable, _ = line.partition(b"=")
    return name.decode("latin-1").strip() if is_variable and name.strip().isalpha() else "lines of its header"


def _profile(lines: list[bytes]) -> bytes | None:
    """A profile for pixels that are encoded as sRGB, in the primaries of a header; None if it states no others."""
    stated = next((line.removeprefix(PRIMARIES) for line in reversed(lines) if line.startswith(PRIMARIES)), b"")
    try:
        numbers = tuple(float(word) for word in stated.split())
        if len(numbers) != COORDINATES or are_of_srgb((*numbers[6:], *numbers[:6])):
            return None
        return icc_profile(numbers[6:], numbers[:6])
    except (ValueError, RuntimeError):  # some programs write zeros
        return None


def _half_step(brightest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Half of what a pixel's colours are multiples of, by its brightest one."""
    return np.ldexp(np.float32(0.5), np.frexp(brightest)[1] - MANTISSA)
