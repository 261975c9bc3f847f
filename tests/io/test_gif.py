"""What a GIF holds beside its pixels; Pillow's reading of the results is the judge."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.io import gif, image
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import D65, icc_profile

Encode = Callable[..., bytes]
Read = Callable[..., Photo]
Pixels = NDArray[np.uint8]

XMP_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"


def blocks(body: bytes) -> bytes:
    parts = [body[start : start + 255] for start in range(0, len(body), 255)]
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\x00"


def with_extensions(plain: bytes, *extensions: bytes) -> bytes:
    start = 13 + (3 << (plain[10] & 7) + 1)
    return b"GIF89a" + plain[6:start] + b"".join(extensions) + plain[start:]


def test_a_comment_becomes_a_text(picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    photo = read_bytes(with_pillow(picture, "GIF", comment=b"by hand"))

    result = Image.open(BytesIO(image.encode(photo, "png", "test")))

    assert result.info["Comment"] == "by hand"
    assert image.losses(photo.metadata, "tiff") == ("not carried over to tiff: text (Comment)",)
    assert Image.open(BytesIO(image.encode(photo, "jpeg", "test"))).info["comment"] == b"by hand"


def test_xmp_and_a_profile_are_kept(picture: Pixels, xmp: bytes, with_pillow: Encode, read_bytes: Read) -> None:
    wide = icc_profile(D65, (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 2.2)
    packet = b"\x21\xff\x0bXMP DataXMP" + xmp + XMP_TRAILER
    profile = b"\x21\xff\x0bICCRGBG1012" + blocks(wide)

    photo = read_bytes(with_extensions(with_pillow(picture, "GIF"), packet, profile))

    assert (photo.metadata.xmp, photo.metadata.icc) == (xmp, wide)
    assert photo.notes == ()


def test_other_extensions_are_named(picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    text = b"\x21\x01\x0c" + bytes(12) + blocks(b"hello")
    plain = bytearray(with_extensions(with_pillow(picture, "GIF"), b"\x21\xff\x0bMAKER   1.0" + blocks(b"abc"), text))
    plain[12] = 113  # twice as wide as high

    photo = read_bytes(bytes(plain))

    assert photo.notes == ("left out: pixels that are not square, MAKER   1.0, plain text",)


def test_a_gif_that_ends_anywhere_is_looked_through(picture: Pixels, with_pillow: Encode) -> None:
    whole = with_extensions(with_pillow(picture, "GIF"), b"\x21\xff\x0bMAKER   1.0" + blocks(b"abc"))

    for stop in range(13, len(whole)):
        gif.extensions_of(whole[:stop])
