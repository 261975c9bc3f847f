"""Small pictures, and files made from them by libraries rather than by the program's own writers."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image

from denoise_cli.io import image
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import D65, icc_profile

Encode = Callable[..., bytes]
Read = Callable[..., Photo]

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    b' dc:source="film 12"/></rdf:RDF></x:xmpmeta>'
)


@pytest.fixture
def picture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """(24, 32, 3): large areas of one colour, so that its orientation survives lossy codecs, with a little noise."""
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[:12, :16], pixels[:12, 16:], pixels[12:, :16], pixels[12:, 16:] = (
        (220, 40, 40),
        (40, 210, 40),
        (40, 40, 220),
        (200, 200, 40),
    )
    return pixels + rng.integers(0, 8, pixels.shape).astype(np.uint8)


@pytest.fixture
def with_pillow() -> Encode:
    """Encode an array, or a Pillow image, with Pillow."""

    def encode(pixels: NDArray[np.uint8] | Image.Image, kind: str, **options: Any) -> bytes:
        buffer = BytesIO()
        (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, kind, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture
def with_tifffile() -> Encode:
    """Encode an array as TIFF with tifffile."""

    def encode(pixels: NDArray[Any], **options: Any) -> bytes:
        buffer = BytesIO()
        tifffile.imwrite(buffer, pixels, metadata=None, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture
def with_chunk() -> Encode:
    """Put a chunk in front of a PNG's pixels."""

    def insert(png: bytes, name: bytes, body: bytes) -> bytes:
        chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        place = png.index(b"IDAT") - 4
        return png[:place] + chunk + png[place:]

    return insert


@pytest.fixture
def read_bytes(tmp_path: Path) -> Read:
    """Read a photo from the bytes of its file."""

    def read(data: bytes, name: str = "photo", **options: Any) -> Photo:
        path = tmp_path / name
        path.write_bytes(data)
        return image.read(path, **options)

    return read


@pytest.fixture
def camera_exif() -> Image.Exif:
    """What a camera writes: three directories, a maker's note, and a name that is not ASCII."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.Model] = "Model 5"
    exif[ExifTags.Base.Artist] = "José".encode()
    exif[ExifTags.Base.XResolution] = 240.0
    exif[ExifTags.Base.YResolution] = 240.0
    exif[ExifTags.Base.ResolutionUnit] = 2
    exif[ExifTags.IFD.Exif] = {
        ExifTags.Base.ISOSpeedRatings: 12800,
        ExifTags.Base.ExposureTime: 0.008,
        ExifTags.Base.DateTimeOriginal: "2024:05:06 07:08:09",
        ExifTags.Base.MakerNote: bytes(range(256)) * 3,
        ExifTags.Base.ExifImageWidth: 4000,
        ExifTags.Base.ExifImageHeight: 3000,
    }
    exif[ExifTags.IFD.GPSInfo] = {
        ExifTags.GPS.GPSLatitudeRef: "N",
        ExifTags.GPS.GPSLatitude: (52.0, 31.0, 12.5),
        ExifTags.GPS.GPSLongitudeRef: "E",
        ExifTags.GPS.GPSLongitude: (13.0, 24.0, 30.25),
    }
    return exif


@pytest.fixture
def xmp() -> bytes:
    return XMP


@pytest.fixture
def meta(camera_exif: Image.Exif, xmp: bytes) -> Metadata:
    """EXIF, XMP, and a profile with more colours than sRGB's."""
    profile = icc_profile(D65, (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 2.2)
    return Metadata(exif=camera_exif.tobytes(), xmp=xmp, icc=profile)
