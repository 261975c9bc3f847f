"""JPEGs, and lossless WebPs, that are compressed as the files that they were read from."""

import json
import shutil
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from denoise_cli.io import image
from denoise_cli.io.jpeg_compression import JpegCompression
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo

Encode = Callable[..., bytes]
Read = Callable[..., Photo]
Pixels = NDArray[np.uint8]

FINE, COARSE, COARSEST = ([step + column // 2 for column in range(64)] for step in (2, 9, 300))
EXIF_ORIENTATION = 274


def opened(data: bytes) -> JpegImagePlugin.JpegImageFile:
    picture = Image.open(BytesIO(data))
    assert isinstance(picture, JpegImagePlugin.JpegImageFile)
    return picture


def tables_of(jpeg: JpegImagePlugin.JpegImageFile) -> list[list[int]]:
    """The quantisation table of each component."""
    return [list(jpeg.quantization[table]) for *_, table in jpeg.layer]


def is_lossless(webp: bytes) -> bool:
    return b"VP8L" in webp[:64]


@pytest.mark.parametrize("is_progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [1, 40, 75, 100])
def test_a_jpeg_is_written_as_it_was(
    quality: int, subsampling: int, is_progressive: bool, picture: Pixels, with_pillow: Encode, read_bytes: Read
) -> None:
    data = with_pillow(picture, "JPEG", quality=quality, subsampling=subsampling, progressive=is_progressive)

    written = opened(image.encode(read_bytes(data), "jpeg", "test"))

    assert tables_of(written) == tables_of(opened(data))
    assert JpegImagePlugin.get_sampling(written) == subsampling
    assert ("progressive" in written.info) == is_progressive


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_exiftool_sees_the_same_compression(
    kind: str, picture: Pixels, with_pillow: Encode, read_bytes: Read, tmp_path: Path
) -> None:
    exiftool = shutil.which("exiftool")
    if exiftool is None:
        pytest.skip("exiftool is not installed")
    second = {"save_all": True, "append_images": [Image.fromarray(picture)]} if kind == "MPO" else {}
    data = with_pillow(Image.fromarray(picture), kind, quality=63, subsampling=1, progressive=True, **second)
    files = tmp_path / "in.jpg", tmp_path / "out.jpg"
    files[0].write_bytes(data)
    files[1].write_bytes(image.encode(read_bytes(data), "jpeg", "test"))
    tags = ["JPEGDigest", "JPEGQualityEstimate", "YCbCrSubSampling", "EncodingProcess", "BitsPerSample"]

    found = subprocess.run(
        [exiftool, "-j", *(f"-{tag}" for tag in tags), *files], capture_output=True, check=True, text=True
    )

    before, after = ({tag: record.get(tag) for tag in tags} for record in json.loads(found.stdout))
    assert before == after
    assert before["JPEGQualityEstimate"] == 63
    assert "Progressive" in before["EncodingProcess"]


@pytest.mark.parametrize(
    "tables", [[FINE], [FINE, COARSE], [FINE, COARSE, COARSEST], [FINE, COARSE, FINE], [COARSEST, COARSEST]]
)
def test_each_component_keeps_its_own_table(
    tables: list[list[int]], picture: Pixels, with_pillow: Encode, read_bytes: Read
) -> None:
    data = with_pillow(picture, "JPEG", qtables=tables)

    written = opened(image.encode(read_bytes(data), "jpeg", "test"))

    expected = [[min(step, 255) for step in table] for table in tables_of(opened(data))]  # baseline has no more
    assert tables_of(written) == expected
    assert tables_of(written)[0] == [min(step, 255) for step in tables[0]]


def test_tables_in_an_unusual_order_go_to_their_components(
    picture: Pixels, with_pillow: Encode, read_bytes: Read
) -> None:
    data = bytearray(with_pillow(picture, "JPEG", qtables=[FINE, COARSE], subsampling=0))
    frame = data.index(b"\xff\xc0")
    data[frame + 12], data[frame + 15], data[frame + 18] = 1, 0, 0  # lightness gets the second table
    written = opened(image.encode(read_bytes(bytes(data)), "jpeg", "test"))
    assert tables_of(written) == [COARSE, FINE, FINE]


def test_grey_keeps_its_table(picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    data = with_pillow(picture[..., 0], "JPEG", quality=33)
    written = opened(image.encode(read_bytes(data), "jpeg", "test"))
    assert written.mode == "L"
    assert tables_of(written) == tables_of(opened(data))


@pytest.mark.parametrize(
    ("stored", "orientation", "expected"),
    [
        ("422", 1, 1),
        ("422", 3, 1),
        ("422", 6, 0),  # would be 4:4:0, which Pillow does not write
        ("440", 1, 0),
        ("440", 8, 1),
        ("420", 5, 2),
        ("411", 1, 1),
        ("444", 7, 0),
    ],
)
def test_colours_are_as_fine_as_before_at_least_when_upright(
    stored: str, orientation: int, expected: int, picture: Pixels, read_bytes: Read
) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    segment = b"\xff\xe1" + (len(exif.tobytes()) + 2).to_bytes(2, "big") + exif.tobytes()
    jpeg = imagecodecs.jpeg8_encode(picture, level=70, subsampling=stored)
    data = jpeg[:2] + segment + jpeg[2:]

    written = opened(image.encode(read_bytes(data), "jpeg", "test"))

    assert JpegImagePlugin.get_sampling(written) == expected
    given, kept = (np.reshape(jpeg.quantization[0], (8, 8)) for jpeg in (opened(data), written))
    np.testing.assert_array_equal(kept, given.T if orientation >= 5 else given)
    assert (given != given.T).any()


def test_a_given_quality_is_what_it_was(picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    photo = read_bytes(with_pillow(picture, "JPEG", quality=40, subsampling=1, progressive=True))
    for quality, subsampling in ((95, 0), (90, 0), (89, 2)):
        written = opened(image.encode(photo, "jpeg", "test", quality))
        assert tables_of(written) == tables_of(opened(with_pillow(picture, "JPEG", quality=quality)))
        assert JpegImagePlugin.get_sampling(written) == subsampling
        assert "progressive" not in written.info


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {}), ("JPEG", {"keep_rgb": True, "quality": 60})])
def test_what_has_no_tables_for_lightness_and_colours_becomes_a_jpeg_of_quality_95(
    kind: str, options: dict[str, Any], picture: Pixels, with_pillow: Encode, read_bytes: Read
) -> None:
    photo = read_bytes(with_pillow(picture, kind, **options))
    written = opened(image.encode(photo, "jpeg", "test"))
    assert tables_of(written) == tables_of(opened(with_pillow(picture, "JPEG", quality=95)))
    assert JpegImagePlugin.get_sampling(written) == 0


@pytest.mark.parametrize("target", ["webp", "avif", "png", "tiff"])
def test_a_jpeg_becomes_another_format_as_a_png_does(
    target: str, picture: Pixels, with_pillow: Encode, read_bytes: Read
) -> None:
    jpeg = read_bytes(with_pillow(picture, "JPEG", quality=40))
    assert image.encode(jpeg, target, "test") == image.encode(Photo(jpeg.pixels, None, "png"), target, "test")


def test_a_progressive_jpeg_holds_pure_noise_beside_much_metadata(rng: np.random.Generator, read_bytes: Read) -> None:
    noise = rng.integers(0, 2, (700, 700, 3)).astype(np.uint8) * 255
    profile = bytes(16) + b"RGB " + bytes(200_000)
    finest = JpegCompression(((1,) * 64,), is_progressive=True)
    photo = Photo(noise, None, "jpeg", Metadata(icc=profile), compression=finest)

    back = read_bytes(image.encode(photo, "jpeg", "test"))

    assert back.metadata.icc == profile
    assert np.abs(back.pixels.astype(int) - noise).max() <= 4


def test_lossless_webp_stays_lossless(picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    with_alpha = np.dstack([picture, picture[..., 0]])
    exif = Image.Exif()
    exif[271] = "Maker"
    for pixels, options in ((picture, {}), (with_alpha, {}), (with_alpha, {"exif": exif})):
        photo = read_bytes(with_pillow(pixels, "WEBP", lossless=True, exact=True, **options))
        again = read_bytes(image.encode(photo, "webp", "test"))
        np.testing.assert_array_equal(again.pixels, picture)
        assert is_lossless(image.encode(photo, "webp", "test"))
        assert not is_lossless(image.encode(photo, "webp", "test", 95))


def test_lossy_webp_stays_lossy(picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    for pixels in (picture, np.dstack([picture, picture[..., 0]])):  # the alpha of a lossy picture is without loss
        photo = read_bytes(with_pillow(pixels, "WEBP", quality=50))
        assert not is_lossless(image.encode(photo, "webp", "test"))


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_a_photo_does_not_grow_and_stays_as_good(
    quality: int, astronaut: Pixels, with_pillow: Encode, read_bytes: Read
) -> None:
    from skimage.metrics import structural_similarity

    data = with_pillow(astronaut, "JPEG", quality=quality)
    photo = read_bytes(data)

    again = image.encode(photo, "jpeg", "test")

    assert len(again) < 1.02 * len(data)
    before, after = (
        structural_similarity(astronaut, pixels, channel_axis=2) for pixels in (photo.pixels, read_bytes(again).pixels)
    )
    assert after > before - 0.005
