"""BMPs that Pillow does not read; its own reading of ordinary ones, and the values that were stored, are the judges."""

import struct
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.errors import UnreadableFile
from denoise_cli.io.photo import Photo

Read = Callable[..., Photo]
Pixels = NDArray[np.uint8]


def masked(values: NDArray[np.unsignedinteger], masks: tuple[int, ...], height: int) -> bytes:
    """A BMP with rows of values, (H, W), whose colours are in these bits; a negative height is upside up."""
    rows = b"".join(row.tobytes().ljust(-(-row.nbytes // 4) * 4, b"\x00") for row in values)
    length = 56 if len(masks) == 4 else 40
    start = 14 + 40 + 4 * len(masks)
    header = struct.pack("<IiiHHIIiiII", length, values.shape[1], height, 1, 8 * values.itemsize, 3, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, start) + header + struct.pack(f"<{len(masks)}I", *masks) + rows


def with_header(bmp: bytes, length: int) -> bytes:
    """A BMP with a header of 40 bytes, cut off or made longer."""
    (start,) = struct.unpack_from("<I", bmp, 10)
    fields = bmp[18:54][: length - 4].ljust(length - 4, b"\x00")
    return bmp[:10] + struct.pack("<II", start - 40 + length, length) + fields + bmp[54:]


@pytest.mark.parametrize("mode", ["RGB", "P", "L", "1"])
@pytest.mark.parametrize("length", [16, 20, 48, 66])
def test_a_header_may_have_any_length(length: int, mode: str, picture: Pixels, read_bytes: Read) -> None:
    whole = BytesIO()
    Image.fromarray(picture).convert(mode).save(whole, "BMP")
    plain = bytearray(whole.getvalue())
    plain[46:54] = bytes(8)  # no colours are counted: all that the depth allows
    if mode in "P1" and mode != "1":
        (start,) = struct.unpack_from("<I", plain, 10)
        plain[54:start] = plain[54:start].ljust(1024, b"\x00")
        plain[10:14] = struct.pack("<I", 54 + 1024)

    photo = read_bytes(with_header(bytes(plain), length))

    np.testing.assert_array_equal(photo.pixels, read_bytes(bytes(plain)).pixels)


@pytest.mark.parametrize("is_upside_down", [True, False])
def test_colours_of_eleven_bits_keep_them(is_upside_down: bool, rng: np.random.Generator, read_bytes: Read) -> None:
    red, green, blue = (rng.integers(0, 2**bits, (5, 7)).astype(np.uint32) for bits in (11, 11, 10))
    values = red << 21 | green << 10 | blue
    stored = values[::-1] if is_upside_down else values

    photo = read_bytes(masked(stored, (0xFFE00000, 0x1FFC00, 0x3FF), 5 if is_upside_down else -5))

    assert photo.pixels.dtype == np.uint16
    assert photo.depth == 11
    for channel, (plane, bits) in enumerate([(red, 11), (green, 11), (blue, 10)]):
        expected = np.rint(plane * (65535 / (2**bits - 1)))
        np.testing.assert_array_equal(photo.pixels[..., channel], expected)


def test_colours_of_four_bits_have_transparency(rng: np.random.Generator, read_bytes: Read) -> None:
    nibbles = rng.integers(0, 16, (6, 5, 4)).astype(np.uint16)
    values = (nibbles << np.array([12, 8, 4, 0], np.uint16)).sum(axis=-1).astype(np.uint16)

    photo = read_bytes(masked(values, (0xF000, 0xF00, 0xF0, 0xF), -6))

    np.testing.assert_array_equal(photo.pixels, nibbles[..., :3] * 17)
    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, nibbles[..., 3] * 17)


@pytest.mark.parametrize(("kind", "compression"), [("JPEG", 4), ("PNG", 5)])
def test_a_picture_inside_is_that_picture(kind: str, compression: int, picture: Pixels, read_bytes: Read) -> None:
    inner = BytesIO()
    Image.fromarray(picture).save(inner, kind)
    H, W, _ = picture.shape
    header = struct.pack("<IiiHHIIiiII", 40, W, H, 1, 0, compression, len(inner.getvalue()), 0, 0, 0, 0)

    photo = read_bytes(b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + header + inner.getvalue())

    assert photo.kind == "bmp"
    np.testing.assert_array_equal(photo.pixels, read_bytes(inner.getvalue()).pixels)


def test_what_is_wrong_is_said(rng: np.random.Generator, read_bytes: Read) -> None:
    values = rng.integers(0, 2**32, (8, 8)).astype(np.uint32)
    whole = masked(values, (0xFFE00000, 0x1FFC00, 0x3FF), 8)
    with pytest.raises(UnreadableFile, match="the file ends before its pixel data does"):
        read_bytes(whole[:-1])
    with pytest.raises(UnreadableFile, match="8 x 8 pixels, more than --max-pixels allows"):
        read_bytes(whole, max_pixels=63)
    with pytest.raises(UnreadableFile, match=r"colours in bits that are not read \(A0000000\)"):
        read_bytes(masked(values, (0xA0000000, 0x1FFC00, 0x3FF), 8))
