"""Tags of TIFFs besides those of EXIF: kept where they stay true, else named; tifffile is the judge."""

import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from denoise_cli.io import image
from denoise_cli.io.photo import Photo
from denoise_cli.io.photoshop import iptc_resource
from denoise_cli.io.profiles import D65, icc_profile
from denoise_cli.io.srgb import to_srgb

Encode = Callable[..., bytes]
Read = Callable[..., Photo]
Pixels = NDArray[np.uint8]

SHORT, RATIONAL, ASCII, BYTE, UNDEFINED, DOUBLE = 3, 5, 2, 1, 7, 12
GEO = [
    (33550, DOUBLE, 3, (0.5, 0.5, 0.0), True),
    (33922, DOUBLE, 6, (0.0, 0.0, 0.0, 300000.25, 5000000.5, 0.0), True),
    (34735, SHORT, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
    (34736, DOUBLE, 1, (298.25,), True),
    (34737, ASCII, None, "WGS 84|", True),
]
WHITE = [(318, RATIONAL, 2, (3457, 10000, 3585, 10000), True)]
ORIENTATION = [(274, SHORT, 1, (6,), True)]
CLIPPING_PATH = b"8BIM" + struct.pack(">HHI", 2999, 0, 6) + b"Path 1"
THUMBNAIL = b"8BIM" + struct.pack(">HHI", 0x040C, 0, 4) + b"jpeg"
CAPTION = b"\x1c\x02\x78\x00\x05quiet"


def tags_of(tiff: bytes, page: int = 0) -> dict[int, Any]:
    with BytesIO(tiff) as contents, tifffile.TiffFile(contents) as file:
        return {tag.code: tag.value for tag in file.pages[page].aspage().tags}


def again(photo: Photo) -> dict[int, Any]:
    return tags_of(image.encode(photo, "tiff", "test"))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_places_on_earth_are_kept(
    bigtiff: bool, order: str, picture: Pixels, with_tifffile: Encode, read_bytes: Read
) -> None:
    data = with_tifffile(picture, photometric="rgb", byteorder=order, bigtiff=bigtiff, extratags=GEO + WHITE)

    photo = read_bytes(data)

    assert photo.notes == ()
    before, after = tags_of(data), again(photo)
    assert {code: after[code] for code, *_ in GEO + WHITE} == {code: before[code] for code, *_ in GEO + WHITE}
    assert image.losses(photo.metadata, "tiff") == ()
    assert image.losses(photo.metadata, "png") == ("not carried over to png: GeoTIFF, white point and primaries",)


def test_places_on_earth_are_named_if_the_picture_is_turned(
    picture: Pixels, with_tifffile: Encode, read_bytes: Read
) -> None:
    photo = read_bytes(with_tifffile(picture, photometric="rgb", extratags=GEO + WHITE + ORIENTATION))

    assert photo.notes == ("left out, since the picture is turned upright: GeoTIFF",)
    assert not {code for code, *_ in GEO} & set(again(photo))
    assert 318 in again(photo)


def test_gdal_s_metadata_is_kept_without_statistics_of_the_noisy_values(
    picture: Pixels, with_tifffile: Encode, read_bytes: Read
) -> None:
    item, statistics = '<Item name="BAND">red</Item>', '<Item name="STATISTICS_MEAN" sample="0">97.5</Item>'
    whole = f"<GDALMetadata>\n  {item}\n  {statistics}\n</GDALMetadata>"
    tags = [(42112, ASCII, None, whole, True), (42113, ASCII, None, "255", True)]

    photo = read_bytes(with_tifffile(picture, photometric="rgb", extratags=tags))

    assert again(photo)[42112] == f"<GDALMetadata>\n  {item}\n</GDALMetadata>"
    assert again(photo)[42113] == "255"


def test_a_value_for_no_data_is_named_where_values_become_others(with_tifffile: Encode, read_bytes: Read) -> None:
    tags = [(42113, ASCII, None, "255", True)]

    photo = read_bytes(with_tifffile(np.zeros((8, 8), np.uint8), photometric="miniswhite", extratags=tags))

    assert photo.notes == ("tags that are left out: GDAL_NODATA",)
    assert 42113 not in again(photo)


def test_photoshop_s_resources_are_kept_without_the_old_thumbnail(
    picture: Pixels, with_tifffile: Encode, read_bytes: Read
) -> None:
    stored = CLIPPING_PATH + THUMBNAIL + iptc_resource(CAPTION)
    tags = [(34377, BYTE, len(stored), stored, True)]

    photo = read_bytes(with_tifffile(picture, photometric="rgb", extratags=tags))

    assert bytes(again(photo)[34377]) == CLIPPING_PATH
    assert photo.metadata.iptc == CAPTION
    assert image.losses(photo.metadata, "webp") == ("not carried over to webp: Photoshop's resources, IPTC",)


def test_what_is_not_known_is_named(picture: Pixels, with_tifffile: Encode, read_bytes: Read) -> None:
    tags = [
        (37724, UNDEFINED, 9, b"layers...", True),
        (50839, BYTE, 8, b"IJIJinfo", True),
        (301, SHORT, 768, tuple(range(768)), True),
        (65000, SHORT, 1, (7,), True),
    ]

    photo = read_bytes(with_tifffile(picture, photometric="rgb", extratags=tags))

    assert photo.notes == ("tags that are left out: TransferFunction, Photoshop's layers, ImageJ's metadata, 65000",)


def test_ordinary_files_come_without_a_note(picture: Pixels, with_tifffile: Encode, read_bytes: Read) -> None:
    for options in ({}, {"tile": (16, 16)}, {"compression": "jpeg"}, {"resolution": (300, 300), "software": "x"}):
        assert read_bytes(with_tifffile(picture, photometric="rgb", **options)).notes == ()
    usual = [(286, RATIONAL, 1, (0, 1), True), (318, RATIONAL, 2, (3127, 10000, 329, 1000), True)]
    photo = read_bytes(with_tifffile(picture, photometric="rgb", extratags=usual))
    assert photo.notes + image.losses(photo.metadata, "png") == ()
    assert read_bytes(with_tifffile(picture[..., 0] > 99, photometric="minisblack")).notes == ()


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_resolution_without_a_unit_is_kept(
    orientation: int, picture: Pixels, with_tifffile: Encode, read_bytes: Read
) -> None:
    tags = [(274, SHORT, 1, (orientation,), True)]
    data = with_tifffile(picture, photometric="rgb", resolution=(3, 2), resolutionunit="none", extratags=tags)

    tiff = again(read_bytes(data))

    along, across = (3, 1), (2, 1)
    assert (tiff[282], tiff[283]) == ((along, across) if orientation == 1 else (across, along))
    assert tiff[296] == 1


def test_tags_of_each_page_are_its_own(picture: Pixels, read_bytes: Read) -> None:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for west in (100.0, 200.0):
            tags = [(33922, DOUBLE, 6, (0.0, 0.0, 0.0, west, 0.0, 0.0), True)]
            writer.write(picture, photometric="rgb", metadata=None, extratags=tags)

    result = image.encode(read_bytes(buffer.getvalue()), "tiff", "test")

    assert [tags_of(result, page)[33922][3] for page in (0, 1)] == [100.0, 200.0]


def test_colours_that_are_converted_are_no_longer_stated(
    picture: Pixels, with_tifffile: Encode, read_bytes: Read
) -> None:
    wide = icc_profile(D65, (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 2.2)

    photo = to_srgb(read_bytes(with_tifffile(picture, photometric="rgb", iccprofile=wide, extratags=WHITE)))

    assert photo.notes == ("left out, since the colours are converted: white point and primaries",)
    assert 318 not in again(photo)
