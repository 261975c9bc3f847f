import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray

from denoise_cli.errors import UnreadableFile
from denoise_cli.io import image
from denoise_cli.io.auxiliary import notes_on
from denoise_cli.io.photo import Photo
from tests.io.phone_files import HDRGM, PACKET

Pixels = NDArray[np.uint8]
Read = Callable[..., Photo]


def heif(*pictures: Pixels) -> bytes:
    container = pillow_heif.HeifFile()
    for picture in pictures:
        container.add_frombytes("RGB", (picture.shape[1], picture.shape[0]), picture.tobytes())
    buffer = BytesIO()
    container.save(buffer, quality=90)
    return buffer.getvalue()


def with_type(data: bytes, name: bytes) -> bytes:
    """A file with a box that states the type of an auxiliary picture."""
    body = b"\x00\x00\x00\x00" + name + b"\x00"
    return data + struct.pack(">I4s", 8 + len(body), b"auxC") + body


def test_more_pictures_are_kept_in_heif_and_named_elsewhere(picture: Pixels, read_bytes: Read) -> None:
    assert read_bytes(heif(picture)).metadata.pictures == ()
    small, grey = picture[:8, :8], np.full((600, 700, 3), 90, np.uint8)
    photo = read_bytes(heif(picture, small, grey))

    assert photo.notes == ()
    assert image.losses(photo.metadata, "jpeg") == ("not carried over to jpeg: 2 more pictures",)
    words = "2 more pictures carried over, not denoised but compressed again"
    assert image.losses(photo.metadata, "heif") == (words,)
    again = pillow_heif.open_heif(BytesIO(image.encode(photo, "heif", "test", 95)))
    assert [picture.size for picture in again] == [(32, 24), (8, 8), (700, 600)]
    assert again.primary_index == 0
    for written, original in zip(again, (picture, small, grey), strict=True):
        assert np.abs(np.asarray(written).astype(int) - original).mean() < 3


def test_deep_pictures_with_transparency_and_metadata_are_kept(picture: Pixels, read_bytes: Read) -> None:
    deep = np.dstack([picture, picture[..., 0]]).astype(np.uint16) * 4
    container = pillow_heif.HeifFile()
    container.add_frombytes("RGB", (32, 24), picture.tobytes())
    second = container.add_frombytes("RGBA;10", (32, 24), deep.tobytes())
    second.info["xmp"] = b"<x:xmpmeta/>"
    for primary in (0, 1):
        container.save(buffer := BytesIO(), quality=90, primary_index=primary)
        photo = read_bytes(buffer.getvalue())
        assert photo.bits == (8, 16)[primary]
        again = pillow_heif.open_heif(
            BytesIO(image.encode(photo, "heif", "test", 95)), convert_hdr_to_8bit=False, hdr_to_16bit=False
        )
        other = again[1]
        assert other.mode == ("RGBA;10", "RGB")[primary]
        assert (other.info.get("xmp") or b"") == (b"<x:xmpmeta/>", b"")[primary]
        expected = (deep, picture)[primary]
        assert np.abs(np.asarray(other).astype(int) - expected).mean() < (12, 3)[primary]


def test_a_damaged_second_picture_is_left_out_and_named(picture: Pixels, read_bytes: Read) -> None:
    data = heif(picture, np.full((64, 64, 3), 90, np.uint8))
    media = data.index(b"mdat")
    damaged = data[: media + (len(data) - media) * 3 // 4] + bytes(len(data) - media - (len(data) - media) * 3 // 4)

    photo = read_bytes(damaged)

    assert photo.notes == photo.repairs == ("damaged and left out: second picture",)
    assert photo.metadata.pictures == ()


def test_more_pictures_that_are_too_large_are_refused(picture: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(heif(picture, np.full((64, 64, 3), 90, np.uint8)))

    with pytest.raises(UnreadableFile, match="64 x 64 pixels, more than --max-pixels allows"):
        image.read(path, max_pixels=32 * 24)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (b"urn:com:apple:photo:2020:aux:hdrgainmap", "HDR gain map"),
        (b"urn:mpeg:hevc:2015:auxid:2", "depth map"),
        (b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth", "depth map"),
        (b"urn:com:apple:photo:2018:aux:portraiteffectsmatte", "matte"),
    ],
)
def test_pictures_that_lie_over_another_are_named(name: bytes, what: str, picture: Pixels, read_bytes: Read) -> None:
    assert read_bytes(with_type(heif(picture), name)).notes == (f"left out: {what}",)


def test_what_is_left_out_is_named_once(picture: Pixels, read_bytes: Read) -> None:
    xmp = (PACKET % (HDRGM, "")).encode()
    buffer = BytesIO()
    pillow_heif.from_bytes("RGB", (32, 24), picture.tobytes()).save(buffer, xmp=xmp)
    photo = read_bytes(with_type(buffer.getvalue(), b"urn:com:apple:photo:2020:aux:hdrgainmap"))

    assert image.losses(photo.metadata, "heif") == ("not carried over to heif: HDR gain map",)
    assert photo.notes == ("left out: HDR gain map",)
    assert image.losses(photo.metadata, "heif", photo.notes) == ()


def test_alpha_is_not_one_of_them(picture: Pixels, read_bytes: Read) -> None:
    assert read_bytes(with_type(heif(picture), b"urn:mpeg:hevc:2015:auxid:1")).notes == ()


def test_the_gain_map_of_an_avif_is_named(picture: Pixels, with_pillow: Callable[..., bytes]) -> None:
    data = with_pillow(picture, "AVIF")

    assert notes_on(data) == ()
    assert notes_on(data.replace(b"miaf", b"tmap", 1)) == ("left out: HDR gain map",)
