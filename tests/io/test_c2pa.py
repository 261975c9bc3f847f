import struct
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray

from denoise_cli.io import image
from denoise_cli.io.c2pa import REMOVED
from denoise_cli.io.photo import Photo
from tests.io.phone_files import jpeg, manifest, with_segments, xmp

Pixels = NDArray[np.uint8]
Read = Callable[..., Photo]
Encode = Callable[..., bytes]
MANIFEST = b"jumb" + bytes(100)
BOX = struct.pack(">I4s", 24 + len(MANIFEST), b"uuid") + bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + MANIFEST


@pytest.fixture
def signed(picture: Pixels, with_pillow: Encode, with_chunk: Encode, with_tifffile: Encode) -> Callable[[str], bytes]:
    """A file of a format with a manifest where the standard wants it."""

    def make(kind: str) -> bytes:
        if kind == "jpeg":
            return with_segments(jpeg(picture), *manifest())
        if kind == "png":
            return with_chunk(with_pillow(picture, "PNG"), b"caBX", MANIFEST)
        if kind == "tiff":
            return with_tifffile(picture, photometric="rgb", extratags=[(0xCD41, 7, len(MANIFEST), MANIFEST, True)])
        if kind == "webp":
            data = with_pillow(picture, "WEBP", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00")
            body = data[8:] + b"C2PA" + struct.pack("<I", len(MANIFEST)) + MANIFEST
            return b"RIFF" + struct.pack("<I", len(body)) + body
        if kind == "avif":
            return with_pillow(picture, "AVIF") + BOX
        buffer = BytesIO()
        pillow_heif.from_bytes("RGB", (32, 24), picture.tobytes()).save(buffer)
        return buffer.getvalue() + BOX

    return make


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp", "avif", "heif"])
def test_a_manifest_goes_and_a_note_says_so(kind: str, signed: Callable[[str], bytes], read_bytes: Read) -> None:
    photo = read_bytes(signed(kind))

    assert photo.kind == kind
    assert photo.notes == (REMOVED,)
    result = image.encode(photo, kind if kind in image.WRITABLE else "png", "test")
    assert b"jumb" not in result
    assert read_bytes(result).notes == ()


@pytest.mark.parametrize(
    "form", ['dcterms:provenance="%s"', "dcterms:source='x'><dcterms:provenance>%s</dcterms:provenance"]
)
def test_the_xmp_no_longer_points_at_it(form: str, picture: Pixels, read_bytes: Read) -> None:
    terms = 'xmlns:dcterms="http://purl.org/dc/terms/" '
    inside, outside = form % "self#jumbf=/c2pa/urn:uuid:1", form % "https://example.org/1.c2pa"

    def left_of(attributes: str) -> bytes:
        head, _, tail = attributes.partition(">")
        packet = xmp(terms + head, tail + ">" if tail else "")
        result = image.encode(read_bytes(with_segments(jpeg(picture), packet)), "png", "test")
        return read_bytes(result).metadata.xmp or b""

    assert b"provenance" not in left_of(inside)
    assert b"film 12" in left_of(inside)
    assert b"https://example.org/1.c2pa" in left_of(outside)


@pytest.mark.parametrize("size", [0, 2**32 - 1])
def test_chunks_of_any_length_are_passed_over(
    size: int, picture: Pixels, with_pillow: Encode, read_bytes: Read
) -> None:
    data = with_pillow(picture, "WEBP") + b"ABCD" + struct.pack("<I", size)

    assert read_bytes(data).notes == ("left out: ABCD",)
