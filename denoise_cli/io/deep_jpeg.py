"""JPEG with 12 bits per value, by imagecodecs, which knows nothing of metadata.

Source: ITU-T T.81 (1992), annex B.

Legend: H x W pixels of C values.
"""

from io import BytesIO

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from denoise_cli.io.codecs import load_imagecodecs
from denoise_cli.io.jpeg import COMMENT_MARKER, END, FRAMES, START, packed, picture_end, segments_of
from denoise_cli.io.jpeg_compression import FULL, HALF, JpegCompression
from denoise_cli.io.photo import from_16_bits, scale_to_16_bits

BITS = 12
FULL_COLOUR_QUALITY = 90
SUBSAMPLINGS = ("444", "422", "420")  # by Pillow's numbers


def sample_precision(data: bytes) -> int | None:
    """Where a JPEG states that it has 12 bits per value, in bytes from its beginning; None for other files."""
    if not data.startswith(START):
        return None
    frame = next((segment for segment in segments_of(data) if segment.marker in FRAMES), None)
    return frame.place if frame is not None and frame.body[:1] == bytes([BITS]) else None


def decode(data: bytes) -> np.ndarray:
    """(H, W, C) uint16, scaled to 16 bits.

    Raises:
        ValueError: it is cut off, or has inks; with a message for the user.
        RuntimeError: it is damaged.
    """
    if not data[: picture_end(data)].endswith(END):  # the decoder would fill what is missing with grey
        raise ValueError("the file ends before its pixel data does")
    values = np.atleast_3d(load_imagecodecs().jpeg8_decode(data))
    if values.shape[2] not in (1, 3):
        raise ValueError(f"{values.shape[2]} channels of 12 bits: convert it to RGB or grey first")
    return scale_to_16_bits(values, BITS)


def encode(values: np.ndarray, how: JpegCompression | int, metadata: bytes) -> bytes:
    """The bytes of a JPEG.

    Args:
        values: (H, W, C) uint16, C = 1 or 3, with 65535 as white.
        how: the compression that is imitated, or the quality, 1 to 100; from 90, colours have full resolution.
        metadata: another JPEG, whose metadata and comments it gets.
    """
    if isinstance(how, int):
        quality, subsampling = how, FULL if how >= FULL_COLOUR_QUALITY else HALF
    else:
        quality, subsampling = _quality_of(how), how.subsampling
    values = np.ascontiguousarray(from_16_bits(values, BITS))
    deep = bytes(
        load_imagecodecs().jpeg8_encode(
            values if values.shape[2] > 1 else values[..., 0],
            level=quality,
            subsampling=SUBSAMPLINGS[subsampling],
            bitspersample=BITS,
        )
    )
    pixels = next(segment for segment in segments_of(deep) if not segment.is_application_data)
    kept = (part for part in segments_of(metadata) if part.is_application_data or part.marker == COMMENT_MARKER)
    return b"".join([START, *(packed(part.marker, part.body) for part in kept), deep[pixels.place - 4 :]])


def _quality_of(compression: JpegCompression) -> int:
    """The quality, 1 to 100, whose table for lightness is most like that of a file."""
    return min(range(1, 101), key=lambda quality: _difference(compression.tables[0], quality))


def _difference(table: tuple[int, ...], quality: int) -> int:
    buffer = BytesIO()
    Image.new("L", (1, 1)).save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    with JpegImageFile(buffer) as usual:
        return sum(abs(a - b) for a, b in zip(table, usual.quantization[0], strict=True))
