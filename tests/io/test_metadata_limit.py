"""Metadata beyond a limit of size is left out, with a note; a colour profile is refused."""

import zlib
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from denoise_cli.errors import UnreadableFile
from denoise_cli.io import image
from denoise_cli.io.exif import ASCII, Exif, Value, pack, parse
from denoise_cli.io.limits import MAX_METADATA
from denoise_cli.io.metadata import Metadata, within_limit
from denoise_cli.io.profiles import D65, icc_profile
from tests.io.conftest import Encode, Read

Pixels = NDArray[np.uint8]
MUCH = MAX_METADATA + 1


def png_with_text(picture: Pixels, length: int) -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Notes", "a" * length)
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", pnginfo=texts)
    return buffer.getvalue()


def jpeg_with_comments(picture: Pixels, count: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG")
    comment = b"\xff\xfe" + (65535).to_bytes(2, "big") + b"a" * 65533
    return buffer.getvalue()[:2] + comment * count + buffer.getvalue()[2:]


def tiff_with_xmp(picture: Pixels, encode: Encode, length: int) -> bytes:
    return encode(picture, photometric="rgb", extratags=[(700, 1, length, b" " * length, True)])


def test_texts_that_are_too_large_are_left_out_and_named(picture: Pixels, read_bytes: Read) -> None:
    assert read_bytes(png_with_text(picture, 1000)).metadata.texts == (("Notes", "a" * 1000),)
    photo = read_bytes(png_with_text(picture, MUCH))
    assert (photo.metadata.texts, photo.metadata.chunks) == ((), b"")
    assert photo.notes == ("left out: texts of 16.8 MB, more than the 16.8 MB that are allowed",)
    np.testing.assert_array_equal(photo.pixels, picture)


def test_many_comments_count_together(picture: Pixels, read_bytes: Read) -> None:
    assert len(read_bytes(jpeg_with_comments(picture, 3)).metadata.texts) == 3
    photo = read_bytes(jpeg_with_comments(picture, MAX_METADATA // 65533 + 1))
    assert photo.metadata.texts == ()
    assert len(photo.notes) == 1


def test_xmp_that_is_too_large_is_left_out_of_each_page(
    picture: Pixels, read_bytes: Read, with_tifffile: Encode
) -> None:
    photo = read_bytes(tiff_with_xmp(picture, with_tifffile, MUCH), "a.tif")
    assert photo.metadata.xmp is None
    assert [note for note in photo.notes if "XMP of 16.8 MB" in note]
    assert read_bytes(tiff_with_xmp(picture, with_tifffile, 1000), "a.tif").metadata.xmp == b" " * 1000


def test_what_is_within_the_limit_stays() -> None:
    meta = Metadata(exif=bytes(100), xmp=b"x", iptc=b"i", icc=b"p", texts=(("a", "b"),), chunks=b"c")
    assert within_limit(meta) == (meta, ())
    limited, notes = within_limit(Metadata(exif=bytes(MUCH), iptc=bytes(MUCH), xmp=b"x"))
    assert limited == Metadata(xmp=b"x")
    assert len(notes) == 2


def test_a_colour_profile_that_is_too_large_is_refused_since_colours_would_change() -> None:
    with pytest.raises(ValueError, match=r"a colour profile of 16\.8 MB, more than .* allowed: convert it to sRGB"):
        within_limit(Metadata(icc=bytes(MUCH)))


@pytest.mark.parametrize("chunk", [b"zTXt", b"iCCP"])
def test_what_unpacks_to_more_than_the_limit_is_refused_in_words(
    chunk: bytes, picture: Pixels, with_pillow: Encode, with_chunk: Encode, read_bytes: Read
) -> None:
    def png(length: int) -> bytes:
        return with_chunk(with_pillow(picture, "PNG"), chunk, b"Notes\x00\x00" + zlib.compress(bytes(length)))

    with pytest.raises(UnreadableFile, match=r"a text or a colour profile in it becomes more than 16\.8 MB$"):
        read_bytes(png(MUCH))
    assert chunk == b"iCCP" or read_bytes(png(1000)).metadata.texts


def test_a_profile_of_a_few_megabytes_in_a_png_is_kept(picture: Pixels, read_bytes: Read) -> None:
    icc = icc_profile(D65, (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 2.2)
    icc += bytes(2_000_000)
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", icc_profile=len(icc).to_bytes(4, "big") + icc[4:])
    photo = read_bytes(buffer.getvalue())
    assert photo.metadata.icc is not None
    assert len(photo.metadata.icc) == len(icc)
    assert read_bytes(image.encode(photo, "png", "test")).metadata.icc == photo.metadata.icc


def test_many_tags_are_written_as_they_were() -> None:
    exif = Exif(main=dict.fromkeys(range(40_000, 60_000), Value(ASCII, b"12345\x00")))
    assert parse(pack(exif)) == exif
