"""BMPs that Pillow does not read; its own reading of ordinary ones, and the values that were stored, are the judges."""

import struct
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.errors import UnreadableFile
from denoise_cli.io import image
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import D65, icc_profile

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


def with_version_5(bmp: bytes, space: int, tail: bytes = b"", calibration: bytes = bytes(48)) -> bytes:
    """A BMP with the longest header, a colour space, and a profile at the end."""
    (start,) = struct.unpack_from("<I", bmp, 10)
    fields = bmp[18:54] + bytes(16) + struct.pack("<I", space) + calibration
    profile = struct.pack("<4I", 4, len(bmp) - 14 + 84, len(tail), 0)
    return bmp[:10] + struct.pack("<II", start + 84, 124) + fields + profile + bmp[54:] + tail


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_embedded_profile_is_used_and_kept(mode: str, picture: Pixels, read_bytes: Read) -> None:
    plain = BytesIO()
    Image.fromarray(picture).convert(mode).save(plain, "BMP")
    wide = icc_profile(D65, (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 2.2)

    photo = read_bytes(with_version_5(plain.getvalue(), 0x4D424544, wide))

    assert photo.metadata.icc == wide
    np.testing.assert_array_equal(photo.pixels, read_bytes(plain.getvalue()).pixels)
    assert Image.open(BytesIO(image.encode(photo, "png", "test"))).info["icc_profile"] == wide


def test_calibrated_colours_are_those_of_a_profile(picture: Pixels, read_bytes: Read) -> None:
    plain = BytesIO()
    Image.fromarray(picture).save(plain, "BMP")
    # Adobe RGB, X, Y and Z of red, green and blue, with 30 binary digits, and exponents with 16.
    points = (0.57667, 0.29734, 0.02703, 0.18556, 0.62736, 0.07069, 0.18823, 0.07529, 0.99134)
    stated = struct.pack("<9i3I", *(round(value * 2**30) for value in points), *([round(2.2 * 65536)] * 3))

    photo = read_bytes(with_version_5(plain.getvalue(), 0, calibration=stated))

    expected = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
    assert photo.metadata.chromaticities == pytest.approx(expected, abs=1e-3)
    assert photo.metadata.gamma == pytest.approx(1 / 2.2, abs=1e-4)
    assert read_bytes(with_version_5(plain.getvalue(), 0)).metadata.chromaticities is None


def test_a_profile_in_another_file_is_named(picture: Pixels, read_bytes: Read) -> None:
    plain = BytesIO()
    Image.fromarray(picture).save(plain, "BMP")

    photo = read_bytes(with_version_5(plain.getvalue(), 0x4C494E4B, b"C:\\a.icc\x00"))

    assert photo.notes == ("left out: the name of a file with its colour profile",)
