"""AVIF with more than 8 bits: what comes back, and what other readers make of it."""

import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from denoise_cli.errors import UnreadableFile
from denoise_cli.io import image
from denoise_cli.io.avif import _with_items
from denoise_cli.io.boxes import box, boxes_of
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


def with_property(avif: bytes, kind: bytes, contents: bytes, is_essential: bool = True) -> bytes:
    """A file whose picture has one more property."""
    data = _with_items(avif, [], [(kind, contents)])
    parts = dict(boxes_of(dict(boxes_of(data))[b"meta"][4:]))
    ((_, known), (_, owners)) = boxes_of(parts[b"iprp"])
    number = len(list(boxes_of(known)))
    marked = bytearray(owners)
    assert marked[10 + marked[10]] == number  # the last one of the first item
    marked[10 + marked[10]] |= 0x80 * is_essential
    return data.replace(box(b"ipma", owners), box(b"ipma", bytes(marked)))


@pytest.fixture
def plain(ramp: Deep) -> bytes:
    """An AVIF of 64 x 32 pixels by imagecodecs, lossless, whose list of items the program knows."""
    pixels = np.ascontiguousarray((ramp[..., :3] // 257).astype(np.uint8))
    return bytes(imagecodecs.avif_encode(pixels, level=100, pixelformat="yuv444", matrix=0, primaries=1, transfer=13))


CLAP = struct.pack(">8i", 20, 1, 10, 1, 4, 1, -3, 1)  # 20 x 10 pixels, 4 right of the middle and 3 above it


@pytest.mark.parametrize("is_essential", [True, False])
def test_the_part_that_is_to_be_shown_is_cut_out(is_essential: bool, plain: bytes, read_bytes: Read) -> None:
    whole = read_bytes(plain).pixels

    photo = read_bytes(with_property(plain, b"clap", CLAP, is_essential))

    np.testing.assert_array_equal(photo.pixels, whole[8:18, 26:46])


@pytest.mark.parametrize("is_essential", [True, False])
def test_a_picture_is_cut_and_then_turned(is_essential: bool, plain: bytes, read_bytes: Read) -> None:
    whole = read_bytes(plain).pixels
    data = with_property(with_property(plain, b"clap", CLAP, is_essential), b"irot", b"\x01", is_essential)

    np.testing.assert_array_equal(read_bytes(data).pixels, np.rot90(whole[8:18, 26:46]))


def test_a_part_outside_of_the_picture_is_refused(plain: bytes, read_bytes: Read) -> None:
    clap = struct.pack(">8i", 64, 1, 32, 1, 4, 1, 0, 1)
    with pytest.raises(UnreadableFile, match=r"a part to be shown that is not inside of the picture \(clap\)"):
        read_bytes(with_property(plain, b"clap", clap))


def test_a_pyramid_of_sizes_does_not_hide_the_picture(plain: bytes, read_bytes: Read) -> None:
    """libavif up to 1.4 takes the sizes of its tiles for the beginning of another group."""
    pyramid = box(b"grpl", box(b"pymd", struct.pack(">4I", 0, 9, 1, 1), struct.pack(">4H", 512, 512, 1, 0)))
    parts = list(boxes_of(plain))
    places = next(contents for name, contents in boxes_of(dict(parts)[b"meta"][4:]) if name == b"iloc")
    (at,) = struct.unpack_from(">I", places, 14)
    moved = plain.replace(places, places[:14] + struct.pack(">I", at + len(pyramid)) + places[18:])
    data = b"".join(
        box(name, contents + pyramid if name == b"meta" else contents) for name, contents in boxes_of(moved)
    )

    np.testing.assert_array_equal(read_bytes(data).pixels, read_bytes(plain).pixels)


def test_a_picture_without_a_size_for_its_transparency_is_read(ramp: Deep, read_bytes: Read) -> None:
    """Pillow's decoder refuses it; those of browsers take the size of the picture."""
    whole = image.encode(Photo(ramp[..., :3], ramp[..., 3], "test"), "avif", "test", 100)
    meta = dict(boxes_of(whole))[b"meta"]
    owners = dict(boxes_of(dict(boxes_of(meta[4:]))[b"iprp"]))[b"ipma"]
    changed = bytearray(owners)
    second = 10 + owners[10] + 1  # the entry of the item that is the transparency
    changed[second + 3] = 0  # no property in place of its size, the first one
    data = whole.replace(owners, bytes(changed))
    with pytest.raises(UnidentifiedImageError):
        Image.open(BytesIO(data))

    photo, expected = read_bytes(data), read_bytes(whole)

    np.testing.assert_array_equal(photo.pixels, expected.pixels)
    np.testing.assert_array_equal(photo.alpha, expected.alpha)
    assert photo.depth == expected.depth
    assert "left out: EXIF and XMP" in photo.notes


def test_more_pixels_than_the_decoder_takes_are_named(plain: bytes, read_bytes: Read) -> None:
    data = plain.replace(struct.pack(">2I", 64, 32), struct.pack(">2I", 17000, 17000))
    with pytest.raises(UnreadableFile, match="17000 x 17000 pixels, more than --max-pixels allows"):
        read_bytes(data)
    with pytest.raises(UnreadableFile, match="17000 x 17000 pixels: the decoder of AVIF takes at most 268435456"):
        read_bytes(data, max_pixels=10**9)
