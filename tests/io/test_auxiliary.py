import struct
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray

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


def test_more_pictures_are_named(picture: Pixels, read_bytes: Read) -> None:
    assert read_bytes(heif(picture)).notes == ()
    assert read_bytes(heif(picture, picture[:8, :8])).notes == ("left out: second picture",)
    assert read_bytes(heif(picture, picture, picture)).notes == ("left out: 2 more pictures",)


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
