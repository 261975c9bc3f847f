"""Netpbm's formats and PFM: what comes back, and what other readers make of it."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.transfer import linear_to_srgb
from denoise_cli.io import image
from denoise_cli.io.photo import Photo, to_linear

Encode = Callable[..., bytes]
Read = Callable[..., Photo]
Pixels = NDArray[np.uint8]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("kind", "channels"), [("ppm", 3), ("pnm", 3), ("pgm", 1), ("pnm", 1)])
def test_integers_come_back_and_opencv_sees_the_same(
    kind: str, channels: int, dtype: type[np.generic], rng: np.random.Generator, read_bytes: Read, tmp_path: Path
) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    pixels = rng.integers(0, np.iinfo(dtype).max + 1, (19, 23, channels)).astype(dtype)

    data = image.encode(Photo(pixels, None, "test"), kind, "test")

    np.testing.assert_array_equal(read_bytes(data).pixels, pixels)
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data)
    seen = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(np.atleast_3d(seen)[..., ::-1], pixels)


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_files_by_pillow_are_read(mode: str, picture: Pixels, read_bytes: Read) -> None:
    stored = Image.fromarray(picture).convert(mode)
    buffer = BytesIO()
    stored.save(buffer, "PPM")

    photo = read_bytes(buffer.getvalue())

    assert photo.kind == ("ppm" if mode == "RGB" else "pgm")
    expected = np.asarray(stored.convert("L") if mode == "1" else stored)
    np.testing.assert_array_equal(photo.pixels, np.atleast_3d(expected))


@pytest.mark.parametrize("extra", ["", " # a comment\n", "\r\n"])
def test_text_is_read(extra: str, read_bytes: Read) -> None:
    grey = f"P2\n# made by hand\n3 2{extra}\n15 0 5 10\n15 {extra} 3 6\n".encode()
    bitmap = f"P1\n3 2 {extra}\n1 0 1\n010\n".encode()

    assert read_bytes(grey).pixels[..., 0].tolist() == [[0, 85, 170], [255, 51, 102]]
    assert read_bytes(bitmap).pixels[..., 0].tolist() == [[0, 255, 0], [255, 0, 255]]


@pytest.mark.parametrize("white", [1, 100, 255, 256, 1023, 65535])
def test_every_white_is_white(white: int, read_bytes: Read) -> None:
    values = np.array([[0, white // 2, white]])
    data = b"P5\n3 1\n%d\n" % white + values.astype(np.uint8 if white < 256 else ">u2").tobytes()

    photo = read_bytes(data)

    top = 255 if white < 256 else 65535
    assert photo.bits == (8 if white < 256 else 16)
    np.testing.assert_allclose(photo.pixels.ravel(), values.ravel() * top / white, atol=0.5)
    np.testing.assert_array_equal(photo.pixels, read_bytes(b"P2 3 1 %d %d %d %d" % (white, *values[0])).pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_light_in_floating_point_comes_back_and_ffmpeg_and_opencv_see_the_same(
    channels: int, rng: np.random.Generator, read_bytes: Read, tmp_path: Path
) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    light = (rng.random((19, 23, channels)) * 50 - 1).astype(np.float32)

    data = image.encode(Photo(linear_to_srgb(light), None, "test"), "pfm", "test")

    np.testing.assert_allclose(to_linear(read_bytes(data).pixels), light, rtol=2e-6, atol=1e-7)
    path = tmp_path / "x.pfm"
    path.write_bytes(data)
    seen = np.atleast_3d(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))[..., ::-1]
    np.testing.assert_allclose(seen, light, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read_from_the_bottom_up(order: str, read_bytes: Read) -> None:
    light = np.array([[0.25, 4.0], [1.0, 0.0]], order + "f4")

    photo = read_bytes(b"Pf\n2 2\n%b1.0\n" % (b"-" if order == "<" else b"") + light[::-1].tobytes())

    np.testing.assert_allclose(photo.pixels[..., 0], linear_to_srgb(light.astype(np.float32)))
    assert photo.pixels[0, 0, 0] == pytest.approx(0.537, abs=1e-3)


def test_linear_light_looks_right_in_other_formats(read_bytes: Read) -> None:
    light = np.full((4, 4, 3), 0.25, "<f4")
    photo = read_bytes(b"PF\n4 4\n-1\n" + light.tobytes())

    assert (read_bytes(image.encode(photo, "png", "test")).pixels == round(0.537099 * 65535)).all()


def test_colours_are_not_written_as_pgm(picture: Pixels) -> None:
    with pytest.raises(ValueError, match=r"^it holds greyscale alone: choose .ppm or .png$"):
        image.encode(Photo(picture, None, "test"), "pgm", "test")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"P6\n100000 100000\n255\n", "100000 x 100000 pixels, more than --max-pixels allows"),
        (b"PF\n100000 100000\n-1.0\n", "100000 x 100000 pixels, more than --max-pixels allows"),
        (b"P1\n100000 100000\n", "100000 x 100000 pixels, more than --max-pixels allows"),
        (b"P6\n4 4\n255\n" + bytes(47), "the file ends before its pixels do"),
        (b"P4\n9 4\n" + bytes(7), "the file ends before its pixels do"),
        (b"P3\n2 1\n255\n1 2 3 4 5", "the file ends before its pixels do"),
        (b"PF\n2 1\n-1.0\n" + bytes(23), "the file ends before its pixels do"),
        (b"P3\n1 1\n255\n1 2 256", "its values are damaged"),
        (b"P3\n1 1\n255\n1 2 -3", "its values are damaged"),
        (b"P5\n1 1\n70000\n12", "1 x 1 pixels with values up to 70000: its header is damaged"),
        (b"P5\n0 1\n255\n", "0 x 1 pixels with values up to 255: its header is damaged"),
        (b"PF\nwide\n", "its header is damaged"),
        (b"Pf\n1 1\n-1.0\n" + np.float32(np.nan).tobytes(), r"holds values that are not numbers \(NaN or infinity\)"),
        (b"P5\n1 1\n255\n1P5\n1 1\n255\n1", "holds several pictures: split it into single ones"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, reason: str, read_bytes: Read) -> None:
    with pytest.raises(UnreadableFile, match=f"cannot be decoded: {reason}$"):
        read_bytes(data)
