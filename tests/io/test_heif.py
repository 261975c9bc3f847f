"""HEIF as it is written: what comes back, and what other readers make of it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.io import heif, image
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import D65, icc_profile

Read = Callable[..., Photo]
Deep = NDArray[np.uint16]


@pytest.fixture
def ramp() -> Deep:
    """(32, 64, 4), grey where three channels are taken, so that less resolution of colours costs nothing."""
    grey = np.linspace(0, 65535, 32 * 64).reshape(32, 64, 1)
    return np.repeat(grey, 4, axis=2).astype(np.uint16)


@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [75, 95])
def test_ten_bits_come_back(quality: int, channels: int, has_alpha: bool, ramp: Deep, read_bytes: Read) -> None:
    photo = Photo(ramp[..., :channels], ramp[..., 3] if has_alpha else None, "test")

    back = read_bytes(image.encode(photo, "heif", "test", quality))

    assert back.pixels.shape[2] == channels
    assert np.abs(back.pixels.astype(int) - photo.pixels).mean() < 128  # half a step of 8 bits
    assert len(np.unique(back.pixels)) > 500
    assert (back.alpha is None) == (photo.alpha is None)
    if back.alpha is not None:
        assert np.abs(back.alpha.astype(int) - ramp[..., 3]).mean() < 128


def test_eight_bits_stay_eight_bits(picture: NDArray[np.uint8], read_bytes: Read) -> None:
    back = read_bytes(image.encode(Photo(picture, None, "test"), "heif", "test", 95))
    assert back.pixels.dtype == np.uint8
    assert np.abs(back.pixels.astype(int) - picture).mean() < 2


def test_colours_have_full_resolution_where_quality_is_high(read_bytes: Read) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 255
    errors = {
        quality: np.abs(
            read_bytes(image.encode(Photo(stripes, None, "test"), "heif", "test", quality)).pixels.astype(int) - stripes
        ).mean()
        for quality in (89, 90)
    }
    assert errors[90] < 10
    assert errors[89] > 40


def test_large_photos_are_cut_up_and_come_back_whole(ramp: Deep, read_bytes: Read) -> None:
    large = np.tile(ramp[..., :3], (18, 33, 1))[:-5, :-3]  # sides that are not multiples of a tile's
    data = image.encode(Photo(large, None, "test"), "heif", "test", 95)
    assert b"grid" in data
    assert np.abs(read_bytes(data).pixels.astype(int) - large).mean() < 128


@pytest.mark.parametrize(
    ("width", "height", "most"),
    [(2100, 1400, 1.02), (6000, 4000, 1.05), (4032, 3024, 1.04), (24000, 8000, 1.05), (2049, 16, 50.0)],
)
def test_tiles_add_little_to_a_photo(width: int, height: int, most: float) -> None:
    side = heif.tile_side(width, height)
    tiles = -(-width // side) * -(-height // side)
    assert tiles <= heif.MAX_TILES
    assert tiles * side**2 <= most * width * height


def test_the_largest_photo_has_no_more_tiles_than_libheif_takes() -> None:
    assert (-(-65535 // heif.tile_side(65535, 65535))) ** 2 <= heif.MAX_TILES


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["heif", "avif"])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_greyscale_keeps_its_profile(has_alpha: bool, kind: str, dtype: type, ramp: Deep, read_bytes: Read) -> None:
    values = (ramp >> (8 if dtype is np.uint8 else 0)).astype(dtype)
    profile = icc_profile(D65, None, 2.2)
    photo = Photo(values[..., :1], values[..., 3] if has_alpha else None, "test", Metadata(icc=profile))

    back = read_bytes(image.encode(photo, kind, "test", 95))

    assert (back.pixels.shape[2], back.metadata.icc) == (1, profile)
    assert (back.alpha is not None) == has_alpha


def test_metadata_and_profile_are_inside(ramp: Deep, meta: Metadata, read_bytes: Read) -> None:
    data = image.encode(Photo(ramp[..., :3], None, "test", meta), "heif", "the program")
    back = read_bytes(data).metadata
    assert (back.icc, back.xmp) == (meta.icc, meta.xmp)
    info = pillow_heif.open_heif(data).info
    exif = Image.Exif()
    exif.load(info["exif"])
    assert (exif[271], exif[305]) == ("Maker", "the program")


def test_a_photo_without_a_profile_says_that_it_is_srgb(ramp: Deep) -> None:
    data = image.encode(Photo(ramp[..., :3], None, "test"), "heif", "test")
    assert b"colrnclx\x00\x01\x00\x0d" in data


def test_exiftool_and_ffmpeg_read_it(ramp: Deep, meta: Metadata, tmp_path: Path, ffmpeg: Callable[..., str]) -> None:
    path = tmp_path / "x.heic"
    square = np.tile(ramp, (2, 1, 1))  # smaller sides are coded as 64 and cut off, and exiftool states what is coded
    path.write_bytes(image.encode(Photo(square[..., :3], None, "test", meta), "heif", "the program"))
    ffmpeg("-i", path, "-f", "null", "-")
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    (tags,) = json.loads(subprocess.run(["exiftool", "-j", "-G1", path], capture_output=True, check=True).stdout)
    assert (tags["File:FileType"], tags["Composite:ImageSize"]) == ("HEIF", "64x64")  # what it calls HEIC of 10 bits
    assert (tags["IFD0:Make"], tags["ExifIFD:ISO"], tags["XMP-dc:Source"]) == ("Maker", 12800, "film 12")
