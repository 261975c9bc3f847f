"""JPEG 2000: what comes back, and what other readers make of it."""

import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.pixels import to_float
from denoise_cli.io import image
from denoise_cli.io.boxes import box, boxes_of
from denoise_cli.io.exif import parse
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import D65, icc_profile

Encode = Callable[..., bytes]
Read = Callable[..., Photo]
Pixels = NDArray[np.uint8]

WIDE = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)


def rebuilt(data: bytes, header: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]) -> bytes:
    """A file with other boxes in its header."""
    return b"".join(
        box(name, *(box(*each) for each in header(list(boxes_of(body))))) if name == b"jp2h" else box(name, body)
        for name, body in boxes_of(data)
    )


@pytest.mark.parametrize("layout", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("quality", [90, 100])
def test_pillow_sees_the_same_pixels(quality: int, layout: str, picture: Pixels, read_bytes: Read) -> None:
    channels = 1 if layout.startswith("L") else 3
    alpha = picture[..., 0] if layout.endswith("A") else None
    photo = Photo(np.ascontiguousarray(picture[..., :channels]), alpha, "test")

    data = image.encode(photo, "jp2", "test", quality)

    seen = Image.open(BytesIO(data))
    assert seen.mode == layout
    back = read_bytes(data)
    np.testing.assert_array_equal(np.asarray(seen).reshape(24, 32, -1)[..., :channels], back.pixels)
    if alpha is not None:
        np.testing.assert_array_equal(np.asarray(seen)[..., -1], back.alpha)
    if quality == 100:
        np.testing.assert_array_equal(back.pixels, photo.pixels)
    else:
        assert np.abs(back.pixels.astype(int) - photo.pixels).mean() < 4


@pytest.mark.parametrize("irreversible", [False, True])
def test_files_by_pillow_are_read(irreversible: bool, picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    data = with_pillow(picture, "JPEG2000", irreversible=irreversible)

    photo = read_bytes(data)

    assert photo.kind == "jp2"
    np.testing.assert_array_equal(photo.pixels, np.asarray(Image.open(BytesIO(data))))


def test_16_bits_of_grey_are_those_that_pillow_reads(rng: np.random.Generator, read_bytes: Read) -> None:
    values = rng.integers(0, 65536, (24, 32)).astype(np.uint16)
    buffer = BytesIO()
    Image.fromarray(values).save(buffer, "JPEG2000")

    np.testing.assert_array_equal(read_bytes(buffer.getvalue()).pixels[..., 0], values)
    ours = image.encode(Photo(values[..., None], None, "test"), "jp2", "test", 100)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(ours))), values)


def test_a_codestream_alone_is_read(picture: Pixels, read_bytes: Read) -> None:
    np.testing.assert_array_equal(read_bytes(imagecodecs.jpeg2k_encode(picture, codecformat="j2k")).pixels, picture)


@pytest.mark.parametrize("bits", [1, 4, 10, 12])
def test_every_depth_reaches_from_black_to_white(bits: int, read_bytes: Read) -> None:
    top = 2**bits - 1
    levels = np.linspace(0, top, 64).round().astype(np.uint8 if bits < 8 else np.uint16)[None].repeat(8, axis=0)

    photo = read_bytes(imagecodecs.jpeg2k_encode(levels, bitspersample=bits))

    white = 255 if bits < 8 else 65535
    np.testing.assert_allclose(photo.pixels[..., 0], levels.astype(float) * white / top, atol=1)
    assert (photo.pixels.min(), photo.pixels.max()) == (0, white)


def test_a_better_quality_is_a_larger_file_and_a_smaller_error(astronaut: Pixels, read_bytes: Read) -> None:
    photo = Photo(astronaut[100:228, 180:308], None, "test")

    files = [image.encode(photo, "jp2", "test", quality) for quality in (30, 90, 100)]

    errors = [np.abs(to_float(read_bytes(data).pixels) - to_float(photo.pixels)).mean() for data in files]
    assert [len(data) for data in files] == sorted(len(data) for data in files)
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[1] > errors[2] == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_profile_is_kept_and_the_values_with_it(dtype: type[np.generic], picture: Pixels, read_bytes: Read) -> None:
    """The codec would convert them to sRGB."""
    profile = icc_profile(D65, WIDE, 2.2)
    photo = Photo(picture.astype(dtype), None, "test", Metadata(icc=profile))

    data = image.encode(photo, "jp2", "test", 100)

    back = read_bytes(data)
    assert back.metadata.icc == profile
    np.testing.assert_array_equal(back.pixels, photo.pixels)
    if dtype == np.uint8:
        assert (imagecodecs.jpeg2k_decode(data) != picture).any()


def test_exiftool_reads_the_metadata(picture: Pixels, camera_exif: Image.Exif, xmp: bytes, tmp_path: Path) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    meta = Metadata(
        exif=camera_exif.tobytes(),
        xmp=xmp,
        icc=icc_profile(D65, WIDE, 2.2),
        iptc=b"\x1c\x02\x78\x00\x05quiet",
        dpi=(300, 240),
    )
    path = tmp_path / "x.jp2"
    path.write_bytes(image.encode(Photo(picture, None, "test", meta), "jp2", "the program"))
    (tags,) = json.loads(subprocess.run(["exiftool", "-j", "-G1", path], capture_output=True, check=True).stdout)

    assert tags["File:FileType"] == "JP2"
    assert (tags["Jpeg2000:ImageWidth"], tags["Jpeg2000:ImageHeight"]) == (32, 24)
    assert (tags["IFD0:Make"], tags["IFD0:Software"], tags["IFD0:XResolution"]) == ("Maker", "the program", 300)
    assert tags["ExifIFD:ISO"] == 12800
    assert "GPS:GPSLatitude" in tags
    assert tags["XMP-dc:Source"] == "film 12"
    assert tags["IPTC:Caption-Abstract"] == "quiet"
    assert tags["ICC_Profile:MediaWhitePoint"]


def test_metadata_comes_back(picture: Pixels, camera_exif: Image.Exif, xmp: bytes, read_bytes: Read) -> None:
    meta = Metadata(exif=camera_exif.tobytes(), xmp=xmp, iptc=b"\x1c\x02\x78\x00\x05quiet", dpi=(300, 240))

    back = read_bytes(image.encode(Photo(picture, None, "test", meta), "jp2", "test")).metadata

    exif = parse(back.exif or b"")
    assert exif.string(exif.main[271]) == "Maker"
    assert exif.exif[37500].data == bytes(range(256)) * 3
    assert (back.xmp, back.iptc, back.dpi) == (meta.xmp, meta.iptc, meta.dpi)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_in_the_exif_is_applied_once(orientation: int, picture: Pixels, read_bytes: Read) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    plain = imagecodecs.jpeg2k_encode(picture, level=0)

    photo = read_bytes(plain + box(b"uuid", b"JpgTiffExif->JP2", exif.tobytes()[6:]))

    turned = Image.fromarray(picture)
    turned.getexif()[ExifTags.Base.Orientation] = orientation
    np.testing.assert_array_equal(photo.pixels, np.asarray(ImageOps.exif_transpose(turned)))
    assert 274 not in parse(photo.metadata.exif or b"").main


def test_channels_in_another_order_are_put_right(picture: Pixels, read_bytes: Read) -> None:
    stored = np.dstack([picture[..., 2], picture[..., 0], picture[..., 1]])
    order = struct.pack(">H9H", 3, 0, 0, 3, 1, 0, 1, 2, 0, 2)

    photo = read_bytes(rebuilt(imagecodecs.jpeg2k_encode(stored, level=0), lambda boxes: [*boxes, (b"cdef", order)]))

    np.testing.assert_array_equal(photo.pixels, picture)


def test_alpha_that_has_been_multiplied_in_is_taken_out(read_bytes: Read) -> None:
    stored = np.dstack([np.full((8, 9, 3), 100, np.uint8), np.full((8, 9, 1), 128, np.uint8)])
    kinds = struct.pack(">H12H", 4, 0, 0, 1, 1, 0, 2, 2, 0, 3, 3, 2, 0)
    data = rebuilt(
        imagecodecs.jpeg2k_encode(stored, level=0),
        lambda boxes: [*(each for each in boxes if each[0] != b"cdef"), (b"cdef", kinds)],
    )

    photo = read_bytes(data)

    assert photo.alpha is not None
    assert np.abs(photo.pixels.astype(int) - 199).max() <= 1
    assert (photo.alpha == 128).all()


def test_a_channel_of_another_kind_is_left_out_and_said(picture: Pixels, read_bytes: Read) -> None:
    stored = np.dstack([picture, picture[..., :1]])
    kinds = struct.pack(">H12H", 4, 0, 0, 1, 1, 0, 2, 2, 0, 3, 3, 65535, 65535)
    data = rebuilt(
        imagecodecs.jpeg2k_encode(stored, level=0),
        lambda boxes: [*(each for each in boxes if each[0] != b"cdef"), (b"cdef", kinds)],
    )

    photo = read_bytes(data)

    assert photo.alpha is None
    assert photo.notes == ("an extra channel that is not transparency is left out",)
    np.testing.assert_array_equal(photo.pixels, picture)


def test_a_palette_becomes_rgb(rng: np.random.Generator, read_bytes: Read) -> None:
    indices = rng.integers(0, 5, (8, 9)).astype(np.uint8)
    palette = rng.integers(0, 256, (5, 3)).astype(np.uint8)
    data = rebuilt(
        imagecodecs.jpeg2k_encode(indices, level=0),
        lambda boxes: [
            *boxes,
            (b"pclr", struct.pack(">HB3B", 5, 3, 7, 7, 7) + palette.tobytes()),
            (b"cmap", struct.pack(">HBBHBBHBB", 0, 1, 0, 0, 1, 1, 0, 1, 2)),
        ],
    )

    photo = read_bytes(data)

    np.testing.assert_array_equal(photo.pixels, palette[indices])
    np.testing.assert_array_equal(photo.pixels, imagecodecs.jpeg2k_decode(data))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_inks_are_kept(dtype: type[np.unsignedinteger[Any]], rng: np.random.Generator, read_bytes: Read) -> None:
    light = rng.integers(0, np.iinfo(dtype).max, (24, 32, 5), dtype, endpoint=True)
    photo = Photo(light[..., :3], light[..., 4], "test", black=light[..., 3])

    data = image.encode(photo, "jp2", "test", quality=100)

    stored = imagecodecs.jpeg2k_decode(data[data.index(b"\xff\x4f\xff\x51") :])
    np.testing.assert_array_equal(stored[..., :4], np.iinfo(dtype).max - light[..., :4])
    back = read_bytes(data)
    np.testing.assert_array_equal(back.pixels, photo.pixels)
    np.testing.assert_array_equal(back.black, photo.black)
    np.testing.assert_array_equal(back.alpha, photo.alpha)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (12, "3 channels of CMYK: it is damaged$"),
        (14, r"unusual \(number 14\) colours: convert it to RGB or grey first$"),
    ],
    ids=["CMYK", "Lab"],
)
def test_colours_of_other_kinds_are_refused(number: int, reason: str, picture: Pixels, read_bytes: Read) -> None:
    colours = (b"colr", struct.pack(">BBBI", 1, 0, 0, number))
    data = rebuilt(
        imagecodecs.jpeg2k_encode(picture, level=0),
        lambda boxes: [*(each for each in boxes if each[0] != b"colr"), colours],
    )

    with pytest.raises(UnreadableFile, match=reason):
        read_bytes(data)


def test_signed_values_are_refused(picture: Pixels, read_bytes: Read) -> None:
    with pytest.raises(UnreadableFile, match=r"signed values: convert it to unsigned integers first$"):
        read_bytes(imagecodecs.jpeg2k_encode((picture[..., 0] // 2).astype(np.int8), level=0))


def test_too_many_pixels_or_channels_are_refused_before_they_are_decoded(picture: Pixels, read_bytes: Read) -> None:
    data = bytearray(imagecodecs.jpeg2k_encode(picture, level=0))

    assert read_bytes(bytes(data), max_pixels=24 * 32).pixels.shape == (24, 32, 3)
    with pytest.raises(UnreadableFile, match=r"32 x 24 pixels, more than --max-pixels allows$"):
        read_bytes(bytes(data), max_pixels=24 * 32 - 1)
    place = data.index(b"\xff\x4f\xff\x51")
    data[place + 8 : place + 16] = struct.pack(">II", 1_000_000, 1_000_000)
    with pytest.raises(UnreadableFile, match=r"1000000 x 1000000 pixels, more than --max-pixels allows$"):
        read_bytes(bytes(data))
    data[place + 8 : place + 16] = struct.pack(">II", 32, 24)
    data[place + 40 : place + 42] = struct.pack(">H", 16384)
    with pytest.raises(UnreadableFile, match="16384 channels: only grey or RGB"):
        read_bytes(bytes(data))


@pytest.mark.parametrize(
    ("name", "shape", "bits", "has_alpha"),
    [
        ("kimageformats__jp2__testcard_gray16", (256, 256, 1), 16, False),
        ("kimageformats__jp2__testcard_rgba16", (256, 256, 3), 16, True),
        ("libvips_images__test__test-suite__images__world", (400, 800, 3), 8, False),
    ],
)
def test_files_of_others_are_read(
    name: str, shape: tuple[int, ...], bits: int, has_alpha: bool, shared_data: Path
) -> None:
    path = shared_data / "awkward/images" / f"{name}.jp2"

    photo = image.read(path)

    assert (photo.pixels.shape, photo.bits, photo.alpha is not None) == (shape, bits, has_alpha)
    whole = imagecodecs.jpeg2k_decode(path.read_bytes())  # these profiles are sRGB's, or none
    ours = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    np.testing.assert_array_equal(ours, np.atleast_3d(whole))


def test_other_boxes_are_kept_or_named(picture: Pixels, read_bytes: Read) -> None:
    geo = box(b"uuid", bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03"), b"a GeoTIFF")
    kept = [geo, box(b"xml ", b"<scan/>"), box(b"asoc", box(b"lbl ", b"gml.data"), box(b"xml ", b"<gml/>"))]
    plain = image.encode(Photo(picture, None, "test"), "jp2", "test")

    photo = read_bytes(plain + b"".join(kept) + box(b"jp2i", b"rights"))

    result = image.encode(photo, "jp2", "test", 100)
    assert all(whole in result for whole in kept)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(result))), photo.pixels)
    assert photo.notes == ("left out: box jp2i",)
    assert image.losses(photo.metadata, "png") == ("not carried over to png: GeoJP2, XML, associations",)


def test_places_are_named_if_the_picture_is_turned(picture: Pixels, read_bytes: Read) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    plain = image.encode(Photo(picture, None, "test"), "jp2", "test")
    turned = box(b"uuid", b"JpgTiffExif->JP2", exif.tobytes().removeprefix(b"Exif\x00\x00"))
    start = plain.index(b"uuid") - 4
    header, rest = plain[:start], plain[start:]

    photo = read_bytes(header + turned + rest + box(b"xml ", b"<gml/>"))

    assert photo.shape == (32, 24)
    assert photo.notes == ("left out, since the picture is turned upright: XML",)


@pytest.mark.parametrize("dpi", [(300, 240), (72.5, 72.5)])
def test_a_resolution_in_a_box_comes_back(dpi: tuple[float, float], picture: Pixels, read_bytes: Read) -> None:
    photo = Photo(picture, None, "test", Metadata(dpi=dpi))
    data = image.encode(photo, "jp2", "test")
    boxes = [(name, contents) for name, contents in boxes_of(data) if name != b"uuid"]  # without EXIF
    bare = b"".join(box(name, contents) for name, contents in boxes)

    assert read_bytes(bare).metadata.dpi == pytest.approx(dpi, abs=1e-9)
    with Image.open(BytesIO(bare)) as opened:
        assert opened.info["dpi"] == pytest.approx(dpi, abs=1e-9)


def test_a_manifest_is_removed_and_said(picture: Pixels, read_bytes: Read) -> None:
    plain = image.encode(Photo(picture, None, "test"), "jp2", "test")

    (note,) = read_bytes(plain + box(b"jumb", box(b"jumd", b"c2pa"))).notes

    assert note.startswith("C2PA manifest removed")


def test_exif_iptc_and_resources_are_found_where_photoshop_has_them(
    picture: Pixels, camera_exif: Image.Exif, read_bytes: Read
) -> None:
    plain = image.encode(Photo(picture, None, "test"), "jp2", "test")
    bare = b"".join(box(name, contents) for name, contents in boxes_of(plain) if name != b"uuid")
    path = b"8BIM" + struct.pack(">HHI", 2999, 0, 6) + b"Path 1"
    thumbnail = b"8BIM" + struct.pack(">HHI", 0x040C, 0, 4) + b"jpeg"
    exif = camera_exif.tobytes().removeprefix(b"Exif\x00\x00")
    caption = b"\x1c\x02\x78\x00\x05quiet"
    named = {
        "0537cdab9d0c4431a72afa561f2a113e": exif,
        "09a14e97c0b442e0bebf36df6f0ce36f": caption,
        "2c4c0100850440b9a03e562148d6dfeb": path + thumbnail,
    }

    photo = read_bytes(bare + b"".join(box(b"uuid", bytes.fromhex(name), body) for name, body in named.items()))

    result = image.encode(photo, "jp2", "test")
    assert (b"Maker" in (photo.metadata.exif or b""), photo.metadata.iptc) == (True, caption)
    assert path in result
    assert thumbnail not in result
    assert result.count(b"Maker\x00") == 1
