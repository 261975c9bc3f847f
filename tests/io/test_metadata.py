import struct
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Literal

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, IptcImagePlugin, PngImagePlugin

from denoise_cli.imaging.transfer import linear_to_srgb, srgb_to_linear
from denoise_cli.io import image
from denoise_cli.io.exif import Exif, Value, pack, parse
from denoise_cli.io.held import losses
from denoise_cli.io.metadata import Metadata, dpi_of, reset_xmp, split_orientation
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import D65, icc_profile
from denoise_cli.io.srgb import to_srgb

Encode = Callable[..., bytes]
Read = Callable[..., Photo]
Pixels = NDArray[np.uint8]

SOFTWARE = "denoise 1.2 (mallenet-s, sigma 7.5)"
HOLDS_EXIF = ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF"]
TARGETS = ["jpeg", "png", "tiff", "webp", "avif"]  # that Pillow reads with their metadata
TURNED_BY_TAG = ["JPEG", "PNG", "TIFF", "WEBP"]
# A name that is not ASCII, and a caption.
IPTC = b"\x1c\x02\x50\x00\x05Jos\xc3\xa9" + b"\x1c\x02\x78\x00\x05quiet"
MAKER_NOTE = bytes(range(256)) * 3
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = icc_profile(D65, None, 2.2)


def opened(data: bytes) -> Image.Image:
    picture = Image.open(BytesIO(data))
    picture.load()
    return picture


def written(photo: Photo, kind: str) -> Image.Image:
    return opened(image.encode(photo, kind, SOFTWARE))


def turned_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


@pytest.fixture
def camera_file(picture: Pixels, with_pillow: Encode, camera_exif: Image.Exif) -> Encode:
    """A file of a format that holds EXIF, made without the program's own writer."""

    def make(kind: str) -> bytes:
        block = camera_exif.tobytes()
        if kind == "HEIF":
            buffer = BytesIO()
            pillow_heif.from_bytes("RGB", (32, 24), picture.tobytes()).save(buffer, quality=-1, exif=block)
            return buffer.getvalue()
        return with_pillow(picture, kind, exif=block)

    return make


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", HOLDS_EXIF)
def test_what_the_camera_said_is_in_the_result(source: str, target: str, camera_file: Encode, read_bytes: Read) -> None:
    result = written(read_bytes(camera_file(source)), target)

    exif = result.getexif()
    details, place = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert exif[ExifTags.Base.Make] == "Maker"
    assert exif[ExifTags.Base.Model] == "Model 5"
    assert details[ExifTags.Base.ISOSpeedRatings] == 12800
    assert details[ExifTags.Base.ExposureTime] == 0.008
    assert details[ExifTags.Base.DateTimeOriginal] == "2024:05:06 07:08:09"
    assert details[ExifTags.Base.MakerNote] == MAKER_NOTE
    assert place[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert place[ExifTags.GPS.GPSLatitude] == (52.0, 31.0, 12.5)
    assert place[ExifTags.GPS.GPSLongitude] == (13.0, 24.0, 30.25)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", HOLDS_EXIF)
def test_names_that_are_not_ascii_are_kept_to_the_byte(
    source: str, target: str, picture: Pixels, camera_file: Encode, with_tifffile: Encode, read_bytes: Read
) -> None:
    name = "José".encode() + b"\x00"
    in_tiff = with_tifffile(picture, photometric="rgb", extratags=[(315, 2, len(name), name, True)])

    result = written(read_bytes(in_tiff if source == "TIFF" else camera_file(source)), target)

    assert result.getexif()[ExifTags.Base.Artist].encode("latin-1").rstrip(b"\x00") == name[:-1]


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("target", ["png", "tiff"])
def test_deep_files_carry_exif_as_well(target: str, dtype: type[np.generic], camera_exif: Image.Exif) -> None:
    photo = Photo(np.zeros((24, 32, 1), dtype), None, "test", Metadata(exif=camera_exif.tobytes()))

    exif = written(photo, target).getexif()

    assert exif[ExifTags.Base.Make] == "Maker"
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLongitudeRef] == "E"


@pytest.mark.parametrize("target", TARGETS)
def test_the_result_says_what_made_it(target: str, camera_file: Encode, read_bytes: Read) -> None:
    exif = written(read_bytes(camera_file("JPEG")), target).getexif()

    assert exif[ExifTags.Base.Software] == SOFTWARE


@pytest.mark.parametrize("target", TARGETS)
def test_the_size_in_the_exif_is_that_of_the_result(target: str, camera_file: Encode, read_bytes: Read) -> None:
    details = written(read_bytes(camera_file("JPEG")), target).getexif().get_ifd(ExifTags.IFD.Exif)

    assert details[ExifTags.Base.ExifImageWidth] == 32
    assert details[ExifTags.Base.ExifImageHeight] == 24


@pytest.mark.parametrize("target", TARGETS)
def test_the_old_picture_s_thumbnail_goes(
    target: str, picture: Pixels, with_pillow: Encode, camera_exif: Image.Exif, read_bytes: Read
) -> None:
    thumbnail = with_pillow(picture[::4, ::4], "JPEG")
    block = bytearray(camera_exif.tobytes())
    assert block[:8] == b"Exif\x00\x00MM"
    (entries,) = struct.unpack_from(">H", block, 14)
    struct.pack_into(">I", block, 16 + 12 * entries, len(block) - 6)
    block += struct.pack(">H", 2) + struct.pack(">HHII", 513, 4, 1, len(block) - 6 + 30)
    block += struct.pack(">HHII", 514, 4, 1, len(thumbnail)) + bytes(4) + thumbnail
    source = with_pillow(picture, "JPEG", exif=bytes(block))
    assert opened(source).getexif().get_ifd(ExifTags.IFD.IFD1)[514] == len(thumbnail)
    assert thumbnail in source

    data = image.encode(read_bytes(source), target, SOFTWARE)

    assert not opened(data).getexif().get_ifd(ExifTags.IFD.IFD1)
    assert thumbnail not in data


@pytest.mark.parametrize("kind", TURNED_BY_TAG)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_upright_exactly_once(
    orientation: int, kind: str, picture: Pixels, with_pillow: Encode, read_bytes: Read
) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    source = with_pillow(picture, kind, exif=turned_exif(orientation), **options)

    photo = read_bytes(source)

    np.testing.assert_array_equal(photo.pixels, np.asarray(ImageOps.exif_transpose(opened(source))))
    for target in TARGETS:
        assert written(photo, target).getexif().get(ExifTags.Base.Orientation, 1) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_that_is_turned_by_its_container_is_upright(
    orientation: int, picture: Pixels, with_pillow: Encode, read_bytes: Read
) -> None:
    options = {"quality": 100, "subsampling": "4:4:4"}
    source = with_pillow(picture, "AVIF", exif=turned_exif(orientation), **options)

    photo = read_bytes(source)

    expected = np.asarray(ImageOps.exif_transpose(Image.fromarray(picture) if orientation == 1 else opened(source)))
    assert np.abs(photo.pixels.astype(int) - expected).max() <= 4
    assert written(photo, "avif").getexif().get(ExifTags.Base.Orientation, 1) == 1


def test_a_heif_that_is_turned_by_its_container_is_upright(picture: Pixels, read_bytes: Read) -> None:
    buffer = BytesIO()
    turned = pillow_heif.from_pillow(Image.fromarray(picture))
    turned.save(buffer, quality=-1, chroma=444, exif=turned_exif(6).tobytes())
    library = pillow_heif.open_heif(buffer.getvalue()).to_pillow()

    photo = read_bytes(buffer.getvalue())

    assert photo.pixels.shape == np.asarray(library).shape
    np.testing.assert_array_equal(photo.pixels, np.asarray(library))
    assert written(photo, "jpeg").getexif().get(ExifTags.Base.Orientation, 1) == 1


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("form", ['tiff:Orientation="6"', "tiff:Orientation='6'"])
def test_an_orientation_in_the_xmp_is_obeyed_and_then_reset(
    form: str, target: str, picture: Pixels, xmp: bytes, with_pillow: Encode, read_bytes: Read
) -> None:
    packet = xmp.replace(b"dc:source=", form.encode() + b" dc:source=")
    photo = read_bytes(with_pillow(picture, "WEBP", lossless=True, xmp=packet))

    np.testing.assert_array_equal(photo.pixels, np.rot90(picture, -1))
    kept = packet_of(image.encode(photo, target, SOFTWARE))
    assert kept == packet.replace(b"6", b"1", 1)


def test_an_orientation_in_an_element_of_the_xmp_is_reset() -> None:
    assert reset_xmp(b"<tiff:Orientation>8</tiff:Orientation>") == b"<tiff:Orientation>1</tiff:Orientation>"


def test_a_thumbnail_in_the_xmp_goes() -> None:
    old = b"<a><xmp:Thumbnails><rdf:Alt>\n<rdf:li xmpGImg:image='xyz'/></rdf:Alt></xmp:Thumbnails><b/></a>"

    assert reset_xmp(old) == b"<a><b/></a>"


def packet_of(data: bytes) -> bytes | None:
    info = opened(data).info
    packet = info.get("xmp") or info.get("XML:com.adobe.xmp")
    return packet.encode() if isinstance(packet, str) else packet


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("target", TARGETS)
def test_xmp_is_carried_to_the_byte(target: str, dtype: type[np.generic], picture: Pixels, xmp: bytes) -> None:
    photo = Photo(picture.astype(dtype)[..., :1], None, "test", Metadata(xmp=xmp))

    assert packet_of(image.encode(photo, target, SOFTWARE)) == xmp


@pytest.mark.parametrize("source", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF"])
def test_xmp_is_found_in_every_format(
    source: str, picture: Pixels, xmp: bytes, with_pillow: Encode, read_bytes: Read
) -> None:
    if source == "HEIF":
        buffer = BytesIO()
        pillow_heif.from_bytes("RGB", (32, 24), picture.tobytes()).save(buffer, xmp=xmp)
        data = buffer.getvalue()
    elif source == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", xmp.decode())
        data = with_pillow(picture, "PNG", pnginfo=chunks)
    elif source == "TIFF":
        data = with_pillow(picture, "TIFF", tiffinfo={700: xmp})
    else:
        data = with_pillow(picture, source, xmp=xmp)

    assert read_bytes(data).metadata.xmp == xmp


@pytest.mark.parametrize(("source", "target"), [(a, b) for a in ("JPEG", "TIFF") for b in ("jpeg", "tiff")])
def test_iptc_is_carried_where_a_format_has_it(
    source: str, target: str, picture: Pixels, with_pillow: Encode, with_tifffile: Encode, read_bytes: Read
) -> None:
    if source == "JPEG":
        resource = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00" + struct.pack(">I", len(IPTC)) + IPTC
        data = with_pillow(picture, "JPEG", extra=b"\xff\xed" + struct.pack(">H", len(resource) + 2) + resource)
    else:
        data = with_tifffile(picture, photometric="rgb", extratags=[(33723, 7, len(IPTC), IPTC, True)])

    result = written(read_bytes(data), target)

    records = IptcImagePlugin.getiptcinfo(result)
    assert records is not None
    assert records[(2, 80)] == "José".encode()
    assert records[(2, 120)] == b"quiet"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("target", TARGETS)
def test_a_colour_profile_is_carried_to_the_byte(target: str, dtype: type[np.generic], picture: Pixels) -> None:
    assert written(Photo(picture.astype(dtype), None, "test", Metadata(icc=SRGB)), target).info["icc_profile"] == SRGB


@pytest.mark.parametrize("source", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_a_colour_profile_is_found_in_every_format(
    source: str, picture: Pixels, with_pillow: Encode, read_bytes: Read
) -> None:
    assert read_bytes(with_pillow(picture, source, icc_profile=SRGB)).metadata.icc == SRGB


@pytest.mark.parametrize("target", TARGETS)
def test_a_grey_profile_stays_only_where_the_result_is_grey(target: str, read_bytes: Read) -> None:
    photo = Photo(np.zeros((8, 9, 1), np.uint8), None, "test", Metadata(icc=GREY))

    assert read_bytes(image.encode(photo, target, SOFTWARE)).metadata.icc == (None if target == "webp" else GREY)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("target", TARGETS)
def test_the_resolution_is_carried(target: str, dtype: type[np.generic], read_bytes: Read) -> None:
    data = image.encode(Photo(np.zeros((8, 9, 1), dtype), None, "test", Metadata(dpi=(300, 240))), target, SOFTWARE)

    assert read_bytes(data).metadata.dpi == pytest.approx((300, 240), abs=0.02)
    if target in ("jpeg", "png", "tiff"):
        assert tuple(float(dots) for dots in opened(data).info["dpi"]) == pytest.approx((300, 240), abs=0.02)
    exif = opened(data).getexif()
    assert (exif[ExifTags.Base.XResolution], exif[ExifTags.Base.YResolution]) == (300, 240)
    assert exif[ExifTags.Base.ResolutionUnit] == 2


@pytest.mark.parametrize("target", TARGETS)
def test_no_resolution_is_made_up(target: str, picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    photo = read_bytes(with_pillow(picture, "JPEG", exif=turned_exif(3)))

    assert photo.metadata.dpi is None
    assert read_bytes(image.encode(photo, target, SOFTWARE)).metadata.dpi is None


def test_dots_per_centimetre_are_understood() -> None:
    exif = Exif()
    exif.main = {282: exif.rational(100), 283: exif.rational(50), 296: exif.short(3)}

    assert dpi_of(exif) == pytest.approx((254, 127))


def test_a_png_keeps_its_gamma(picture: Pixels, with_pillow: Encode, with_chunk: Encode, read_bytes: Read) -> None:
    source = with_chunk(with_pillow(picture, "PNG"), b"gAMA", struct.pack(">I", 100_000))

    assert written(read_bytes(source), "png").info["gamma"] == 1


REC_2020 = (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
OF_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)


def png_with(
    pixels: Pixels, with_pillow: Encode, with_chunk: Encode, gamma: float | None, xy: tuple[float, ...] | None
) -> bytes:
    """A PNG that states its colours by gAMA and cHRM."""
    data = with_pillow(pixels, "PNG")
    if gamma is not None:
        data = with_chunk(data, b"gAMA", struct.pack(">I", round(gamma * 100_000)))
    return with_chunk(data, b"cHRM", struct.pack(">8I", *(round(v * 100_000) for v in xy))) if xy else data


def in_srgb(data: bytes) -> NDArray[np.float64]:
    """What a program that applies profiles shows."""
    with Image.open(BytesIO(data)) as opened:
        to = ImageCms.createProfile("sRGB")
        profile = BytesIO(opened.info["icc_profile"])
        shown = ImageCms.profileToProfile(opened.convert("RGB"), profile, to, ImageCms.Intent.RELATIVE_COLORIMETRIC)
        return np.asarray(shown).astype(float)


@pytest.mark.parametrize("target", ["tiff", "webp", "jpeg"])
@pytest.mark.parametrize("gamma", [None, 1 / 1.8, 0.25])
@pytest.mark.parametrize("xy", [None, REC_2020])
def test_the_gamma_and_primaries_of_a_png_become_a_profile(
    gamma: float | None,
    xy: tuple[float, ...] | None,
    target: str,
    with_pillow: Encode,
    with_chunk: Encode,
    read_bytes: Read,
) -> None:
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, :8], pixels[:, 8:16], pixels[:, 16:] = 128, (200, 120, 90), (60, 150, 70)
    photo = read_bytes(png_with(pixels, with_pillow, with_chunk, gamma, xy))

    data = image.encode(photo, target, SOFTWARE, 95)

    if gamma is None and xy is None:
        assert "icc_profile" not in Image.open(BytesIO(data)).info
        return
    light = srgb_to_linear(pixels / 255) if gamma is None else (pixels / 255) ** (1 / gamma)
    if xy is not None:  # from ITU-R BT.2087
        matrix = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
        light = light @ np.array(matrix).T
    expected = 255 * linear_to_srgb(light.clip(0, 1))
    shown = in_srgb(data)
    for left in (2, 10, 18):  # away from the edges, which JPEG blurs
        np.testing.assert_allclose(shown[3, left + 2], expected[3, left + 2], atol=4)


def test_gamma_and_primaries_like_those_of_srgb_need_no_profile(
    picture: Pixels, with_pillow: Encode, with_chunk: Encode, read_bytes: Read
) -> None:
    photo = read_bytes(png_with(picture, with_pillow, with_chunk, 0.45455, OF_SRGB))

    assert "icc_profile" not in Image.open(BytesIO(image.encode(photo, "jpeg", SOFTWARE))).info
    assert image.losses(photo.metadata, "ppm") == ()


def test_a_png_keeps_its_primaries(picture: Pixels, with_pillow: Encode, with_chunk: Encode, read_bytes: Read) -> None:
    source = png_with(picture, with_pillow, with_chunk, 0.5, REC_2020)

    info = written(read_bytes(source), "png").info

    assert info["chromaticity"] == pytest.approx(REC_2020)
    assert info["gamma"] == 0.5
    assert "icc_profile" not in info


def test_gamma_that_a_format_cannot_state_is_named(
    picture: Pixels, with_pillow: Encode, with_chunk: Encode, read_bytes: Read
) -> None:
    photo = read_bytes(png_with(picture, with_pillow, with_chunk, 0.5, None))

    assert image.losses(photo.metadata, "ppm") == ("not carried over to ppm: colours of their own (gAMA, cHRM)",)
    assert image.losses(photo.metadata, "jpeg") == ()


def test_light_in_primaries_of_its_own_is_linear(
    picture: Pixels, with_pillow: Encode, with_chunk: Encode, read_bytes: Read
) -> None:
    photo = read_bytes(png_with(picture, with_pillow, with_chunk, 1.0, REC_2020))

    assert photo.metadata.encoding == "linear"
    with pytest.raises(ValueError, match="it cannot hold the photo's colour profile"):
        image.encode(photo, "exr", SOFTWARE)


@pytest.mark.parametrize("gamma", [0.00001, 21000])
@pytest.mark.parametrize("xy", [None, (0.0,) * 8, (0.3,) * 8, (9.0,) * 8])
def test_impossible_gamma_and_primaries_do_no_harm(
    gamma: float,
    xy: tuple[float, ...] | None,
    picture: Pixels,
    with_pillow: Encode,
    with_chunk: Encode,
    read_bytes: Read,
) -> None:
    photo = read_bytes(png_with(picture, with_pillow, with_chunk, gamma, xy))

    for target in ("png", "jpeg", "jxl"):
        assert read_bytes(image.encode(photo, target, SOFTWARE)).shape == photo.shape


@pytest.mark.parametrize("gamma", [1 / 1.8, 1.0])
def test_gamma_and_primaries_are_converted_to_srgb_on_request(
    gamma: float, with_pillow: Encode, with_chunk: Encode, read_bytes: Read
) -> None:
    pixels = np.full((8, 8, 3), 128, np.uint8)
    photo = image.to_srgb(read_bytes(png_with(pixels, with_pillow, with_chunk, gamma, REC_2020)))

    assert photo.metadata.profile(is_grey=False) is None
    np.testing.assert_allclose(photo.pixels, 255 * linear_to_srgb((pixels / 255) ** (1 / gamma)), atol=1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\x00\x00",
        b"Exif\x00\x00nonsense at length, not TIFF",
        b"Exif\x00\x00II*\x00\xff\xff\xff\xff" + bytes(20),
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff" + b"\xee" * 300,
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x87\x69\x00\x04\x00\x00\x00\x01\x00\x00\x00\x08\x00\x00\x00\x00",
    ],
    ids=["none", "empty", "no TIFF", "directory far away", "noise", "directory in itself"],
)
def test_damaged_exif_does_not_keep_a_photo_from_being_read_and_written(
    block: bytes, kind: str, picture: Pixels, with_pillow: Encode, read_bytes: Read
) -> None:
    photo = read_bytes(with_pillow(picture, kind, exif=block) if block else with_pillow(picture, kind))

    assert photo.pixels.shape == picture.shape
    for target in TARGETS:
        assert written(photo, target).size == (32, 24)


def test_tags_that_point_at_what_is_not_carried_are_left_out() -> None:
    exif = Exif()
    exif.main = {271: exif.text("Maker"), 273: exif.long(8), 513: exif.long(900), 514: exif.long(100)}

    _, packed = split_orientation(exif)

    assert parse(packed or b"").main == {271: exif.text("Maker")}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_exif_behind_the_pixels_of_a_png_is_found(
    dtype: type[np.generic], picture: Pixels, camera_exif: Image.Exif, with_chunk: Encode, read_bytes: Read
) -> None:
    plain = bytes(imagecodecs.png_encode(picture.astype(dtype)))
    whole = with_chunk(plain, b"eXIf", camera_exif.tobytes().removeprefix(b"Exif\x00\x00"))
    start, stop = whole.index(b"eXIf") - 4, whole.index(b"IDAT") - 4
    behind = whole[:start] + whole[stop:-12] + whole[start:stop] + whole[-12:]

    assert parse(read_bytes(behind).metadata.exif or b"").main[271] == Value(2, b"Maker\x00")


def test_exif_that_a_png_has_as_text_is_found(
    picture: Pixels, camera_exif: Image.Exif, with_pillow: Encode, read_bytes: Read
) -> None:
    block = camera_exif.tobytes().hex()
    lines = [block[at : at + 72] for at in range(0, len(block), 72)]
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Raw profile type exif", "\n".join(["", "exif", f"{len(block) // 2:8}", *lines, ""]), zip=True)

    photo = read_bytes(with_pillow(picture, "PNG", pnginfo=chunks))

    assert written(photo, "jpeg").getexif()[ExifTags.Base.Make] == "Maker"


def test_a_maker_s_note_that_a_jpeg_cannot_hold_is_left_out_and_the_rest_kept(camera_exif: Image.Exif) -> None:
    exif = parse(camera_exif.tobytes())
    exif.exif[37500] = Value(7, bytes(70_000))
    photo = Photo(np.zeros((8, 9, 3), np.uint8), None, "test", Metadata(exif=pack(exif)))

    details = written(photo, "jpeg").getexif().get_ifd(ExifTags.IFD.Exif)

    assert ExifTags.Base.MakerNote not in details
    assert details[ExifTags.Base.ISOSpeedRatings] == 12800
    png = written(photo, "png").getexif().get_ifd(ExifTags.IFD.Exif)
    assert png[ExifTags.Base.MakerNote] == bytes(70_000)


@pytest.mark.parametrize(("tag", "name"), [
    (37500, "maker's note"), (37510, "user comment"), (42240, "EXIF tag 42240"), (None, "IPTC"),
])  # fmt: skip
def test_what_is_too_long_for_a_jpeg_is_left_out_and_named(tag: int | None, name: str, camera_exif: Image.Exif) -> None:
    exif = parse(camera_exif.tobytes())
    if tag is not None:
        exif.exif[tag] = Value(7, bytes(70_000))
    meta = Metadata(exif=pack(exif), iptc=None if tag is not None else bytes(70_000))
    photo = Photo(np.zeros((8, 9, 3), np.uint8), None, "test", meta)

    details = written(photo, "jpeg").getexif().get_ifd(ExifTags.IFD.Exif)

    assert tag not in details
    assert details[ExifTags.Base.ISOSpeedRatings] == 12800
    assert losses(meta, "jpeg") == (f"not carried over to jpeg: {name}",)
    assert losses(meta, "tiff") == ()


def test_xmp_that_a_jpeg_cannot_hold_is_left_out(picture: Pixels, xmp: bytes) -> None:
    long = xmp + b" " * 70_000
    photo = Photo(picture, None, "test", Metadata(xmp=long))

    assert packet_of(image.encode(photo, "jpeg", SOFTWARE)) is None
    assert packet_of(image.encode(photo, "webp", SOFTWARE)) == long


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_type_of_value_survives_packing(order: Literal["<", ">"]) -> None:
    exif = Exif(order)
    exif.main = {271: Value(2, b"Maker\x00"), 41: Value(3, struct.pack(order + "HHH", 1, 2, 3))}
    exif.exif = {
        1: Value(1, b"\x01"),
        2: Value(6, b"\xff\xfe"),
        3: Value(7, b"odd"),
        4: Value(8, struct.pack(order + "h", -2)),
        5: Value(9, struct.pack(order + "i", -5)),
        6: Value(10, struct.pack(order + "ii", -1, 3)),
        7: Value(11, struct.pack(order + "f", 0.5)),
        8: Value(12, struct.pack(order + "d", 0.25)),
        9: Value(5, struct.pack(order + "IIII", 1, 3, 0, 0)),
    }
    exif.gps = {1: Value(2, b"N\x00")}
    exif.interop = {1: Value(2, b"R98\x00")}

    packed = pack(exif)

    assert parse(packed) == exif
    assert parse(b"Exif\x00\x00" + packed) == exif
    seen = Image.Exif()
    seen.load(packed)
    assert seen.get_ifd(ExifTags.IFD.Interop) == {1: "R98"}
    assert seen.get_ifd(ExifTags.IFD.Exif)[6] == pytest.approx(-1 / 3)


def test_values_begin_at_even_places() -> None:
    exif = Exif()
    exif.main = {270: Value(2, b"even so\x00\x00"), 271: exif.text("Maker")}

    entries = struct.iter_unpack("<HHII", pack(exif)[10:34])

    assert [(tag, place % 2) for tag, _, _, place in entries] == [(270, 0), (271, 0)]


def test_entries_that_claim_the_same_bytes_do_not_multiply_the_file() -> None:
    entries = b"".join(struct.pack("<HHII", tag, 7, 20_000, 10) for tag in range(5000))

    exif = parse(b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 5000) + entries + bytes(4))

    assert len(exif.main) == 3  # of 60 014 bytes


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_resolution_is_turned_with_the_picture(
    orientation: int, picture: Pixels, with_pillow: Encode, read_bytes: Read
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation

    photo = read_bytes(with_pillow(picture, "JPEG", exif=exif, dpi=(200, 100)))

    assert photo.metadata.dpi == ((200, 100) if orientation == 1 else (100, 200))


def test_converted_colours_are_stated_as_srgb(meta: Metadata, picture: Pixels) -> None:
    exif = parse(meta.exif or b"")
    exif.exif[ExifTags.Base.ColorSpace] = exif.short(65535)
    exif.exif[ExifTags.Base.Gamma] = exif.rational(2.2)
    exif.interop[1] = exif.text("R03")
    photo = Photo(picture, None, "test", replace(meta, exif=pack(exif)))

    converted = parse(to_srgb(photo).metadata.exif or b"")

    assert converted.number(converted.exif[ExifTags.Base.ColorSpace]) == 1
    assert converted.string(converted.interop[1]) == "R98"
    assert ExifTags.Base.Gamma not in converted.exif
    assert ExifTags.Base.DateTimeOriginal in converted.exif
