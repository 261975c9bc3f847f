"""Radiance HDR: what comes back, and what OpenCV makes of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.errors import UnreadableFile
from denoise_cli.io import image
from denoise_cli.io.photo import Photo, from_linear, to_linear
from denoise_cli.io.profiles import is_srgb
from denoise_cli.io.srgb import to_srgb

Read = Callable[..., Photo]
Light = NDArray[np.float32]

LINE = b"\n-Y 24 +X 32\n"


@pytest.fixture
def light(rng: np.random.Generator) -> Light:
    """(24, 32, 3), from black to far beyond white."""
    values = (rng.random((24, 32, 3)) ** 6 * 50).astype(np.float32)
    values[0, 0] = 0
    values[0, 1] = 3.9999, 3, 2  # which rounding carries to the next exponent
    return values


@pytest.fixture
def data(light: Light) -> bytes:
    return image.encode(Photo(from_linear(light), None, "test"), "hdr", "test")


def test_light_comes_back_to_half_a_step_of_the_brightest_colour(light: Light, data: bytes, read_bytes: Read) -> None:
    photo = read_bytes(data)

    assert (photo.kind, photo.pixels.dtype) == ("hdr", np.float32)
    back = to_linear(photo.pixels)
    exponent = np.frexp(light.max(axis=2, keepdims=True))[1]
    assert (np.abs(back - light) <= np.ldexp(1.01, exponent - 8)).all()  # where rounding doubles the step
    assert (np.abs(back - light) <= np.ldexp(1.01, exponent - 9)).mean() > 0.99
    assert (back[0, 0] == 0).all()
    assert abs(back.mean() / light.mean() - 1) < 1e-3  # neither darker nor brighter


def test_a_file_that_is_written_again_is_the_same(data: bytes, read_bytes: Read) -> None:
    assert image.encode(read_bytes(data), "hdr", "test") == data


def test_opencv_sees_the_same(light: Light, data: bytes, read_bytes: Read, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    path = tmp_path / "x.hdr"
    path.write_bytes(data)

    seen = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]

    np.testing.assert_allclose(to_linear(read_bytes(data).pixels), seen, rtol=2e-6, atol=1e-7)
    cv2.imwrite(str(path), light[..., ::-1])
    theirs = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_allclose(to_linear(image.read(path).pixels), theirs, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("first", ["-Y", "+Y", "-X", "+X"])
@pytest.mark.parametrize("second", ["+", "-"])
def test_rows_in_any_order_are_read_upright(first: str, second: str, light: Light, read_bytes: Read) -> None:
    stored = light if first[1] == "Y" else light.swapaxes(0, 1)
    if first in ("+Y", "-X"):
        stored = stored[::-1]
    if second + first[1] in ("-Y", "+X"):
        stored = stored[:, ::-1]
    usual = image.encode(Photo(from_linear(stored), None, "test"), "hdr", "test")
    rows, columns = stored.shape[:2]
    other = "X" if first[1] == "Y" else "Y"
    line = f"\n{first} {rows} {second}{other} {columns}\n".encode()

    photo = read_bytes(usual.replace(b"\n-Y %d +X %d\n" % (rows, columns), line))

    straight = read_bytes(image.encode(Photo(from_linear(light), None, "test"), "hdr", "test"))
    np.testing.assert_array_equal(photo.pixels, straight.pixels)


@pytest.mark.parametrize("shape", [(1, 1), (300, 1), (1, 300), (5, 7), (5, 8)])
def test_noise_of_any_shape_is_written(shape: tuple[int, int], rng: np.random.Generator, read_bytes: Read) -> None:
    noise = rng.random((*shape, 3), dtype=np.float32)

    back = read_bytes(image.encode(Photo(noise, None, "test"), "hdr", "test"))

    assert np.abs(back.pixels - noise).max() < 0.05


def test_negative_light_becomes_black(read_bytes: Read) -> None:
    pixels = np.full((2, 9, 3), -0.5, np.float32)

    assert (read_bytes(image.encode(Photo(pixels, None, "test"), "hdr", "test")).pixels == 0).all()


def test_headers_of_other_programs_are_understood(data: bytes, read_bytes: Read) -> None:
    pixels = read_bytes(data).pixels
    wordy = data.replace(b"FORMAT", b"# made by hand\nSOFTWARE=x\nGAMMA=1\nFORMAT")
    nameless = data.replace(b"#?RADIANCE", b"          ")

    for variant in (wordy, nameless, data.replace(b"#?RADIANCE", b"#?RGBE")):
        np.testing.assert_array_equal(read_bytes(variant).pixels, pixels)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (LINE, b"\n-Y 60000 +X 60000\n", "60000 x 60000 pixels, more than --max-pixels allows"),
        (LINE, b"\n-X 60000 +Y 50000\n", "60000 x 50000 pixels, more than --max-pixels allows"),
        (LINE, b"\n-Y 24 +Y 32\n", "its header is damaged"),
        (LINE, b"\n-Y 0 +X 32\n", "holds no picture"),
        (b"rle_rgbe", b"rle_xyze", "32-bit_rle_xyze: convert it to RGB first"),
    ],
)
def test_what_is_wrong_is_said(old: bytes, new: bytes, reason: str, data: bytes, read_bytes: Read) -> None:
    with pytest.raises(UnreadableFile, match=f"cannot be decoded: {reason}$"):
        read_bytes(data.replace(old, new))


def with_lines(data: bytes, *lines: bytes) -> bytes:
    return data.replace(b"#?RADIANCE\n", b"#?RADIANCE\n" + b"".join(line + b"\n" for line in lines))


def test_what_the_header_says_is_kept(data: bytes, light: Light, read_bytes: Read) -> None:
    lines = (b"# a comment", b"EXPOSURE=2.5", b"VIEW= -vtv -vh 45", b"PIXASPECT=1.5")

    photo = read_bytes(with_lines(data, *lines, b"SOFTWARE=another"))

    assert image.encode(photo, "hdr", "test") == with_lines(data, *lines)
    np.testing.assert_array_equal(photo.pixels, read_bytes(data).pixels)
    lost = "lines of its header, EXPOSURE, VIEW, PIXASPECT"
    assert image.losses(photo.metadata, "tiff") == (f"not carried over to tiff: {lost}",)


def test_primaries_are_kept_and_become_a_profile(data: bytes, read_bytes: Read) -> None:
    rec2020 = b"PRIMARIES= 0.708 0.292 0.170 0.797 0.131 0.046 0.3127 0.3290"

    photo = read_bytes(with_lines(data, rec2020))

    assert photo.metadata.icc is not None
    assert not is_srgb(photo.metadata.icc)
    assert image.encode(photo, "hdr", "test") == with_lines(data, rec2020)
    converted = to_srgb(photo)
    assert b"PRIMARIES" not in image.encode(converted, "hdr", "test")
    assert "light beyond white and below black is clipped by the conversion to sRGB" in converted.notes
    # Both whites are D65, so that a matrix from light to light (ITU-R BT.2087) is all there is.
    matrix = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    light = to_linear(photo.pixels)
    expected = light @ np.transpose(matrix)
    dark = (light <= 1).all(axis=2)
    np.testing.assert_allclose(to_linear(converted.pixels)[dark], expected[dark], atol=2e-3)


def test_primaries_of_zeros_say_nothing(data: bytes, read_bytes: Read) -> None:
    assert read_bytes(with_lines(data, b"PRIMARIES=0 0 0 0 0 0 0 0")).metadata.icc is None
