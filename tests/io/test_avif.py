"""AVIF with more than 8 bits: what comes back, and what other readers make of it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.io import image
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo

Read = Callable[..., Photo]
Deep = NDArray[np.uint16]

HALF_STEP = 65535 / 4095 / 2  # of 12 bits


@pytest.fixture
def ramp() -> Deep:
    """(32, 64, 4)"""
    return np.linspace(0, 65535, 32 * 64 * 4).reshape(32, 64, 4).astype(np.uint16)


@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [90, 100])
def test_twelve_bits_come_back(quality: int, channels: int, has_alpha: bool, ramp: Deep, read_bytes: Read) -> None:
    photo = Photo(ramp[..., :channels], ramp[..., 3] if has_alpha else None, "test")

    back = read_bytes(image.encode(photo, "avif", "test", quality))

    assert back.pixels.shape == photo.pixels.shape
    error = np.abs(back.pixels.astype(int) - photo.pixels)
    assert error.max() <= (HALF_STEP + 1 if quality == 100 else 900)
    assert error.mean() < 150  # half a step of 8 bits is 128
    assert len(np.unique(back.pixels)) > 1000
    assert (back.alpha is None) == (photo.alpha is None)
    if back.alpha is not None:
        assert np.abs(back.alpha.astype(int) - ramp[..., 3]).max() <= HALF_STEP + 1


@pytest.mark.parametrize("has_alpha", [False, True])
def test_pillow_finds_pixels_and_metadata(has_alpha: bool, ramp: Deep, meta: Metadata) -> None:
    photo = Photo(ramp[..., :3], ramp[..., 3] if has_alpha else None, "test", meta)

    seen = Image.open(BytesIO(image.encode(photo, "avif", "the program", 100)))

    assert seen.mode == ("RGBA" if has_alpha else "RGB")
    assert np.abs(np.asarray(seen)[..., :3].astype(int) - ramp[..., :3] / 257).max() <= 1
    assert seen.info["icc_profile"] == meta.icc
    assert seen.info["xmp"] == meta.xmp
    assert seen.getexif()[271] == "Maker"
    assert seen.getexif()[305] == "the program"


def test_exiftool_and_ffmpeg_read_it(ramp: Deep, meta: Metadata, tmp_path: Path, ffmpeg: Callable[..., str]) -> None:
    path = tmp_path / "x.avif"
    path.write_bytes(image.encode(Photo(ramp[..., :3], ramp[..., 3], "test", meta), "avif", "the program"))

    ffmpeg("-i", path, "-f", "null", "-")
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    (tags,) = json.loads(subprocess.run(["exiftool", "-j", "-G1", path], capture_output=True, check=True).stdout)
    assert (tags["File:FileType"], tags["Composite:ImageSize"]) == ("AVIF", "64x32")
    assert (tags["IFD0:Make"], tags["ExifIFD:ISO"], tags["XMP-dc:Source"]) == ("Maker", 12800, "film 12")
    assert tags["ICC_Profile:MediaWhitePoint"]


def test_a_photo_without_a_profile_says_that_it_is_srgb(ramp: Deep) -> None:
    data = image.encode(Photo(ramp[..., :3], None, "test"), "avif", "test")

    assert b"colrnclx\x00\x01\x00\x0d" in data
