"""JPEG XL: what comes back, what other readers make of it, and its colours, which the codec leaves to the program."""

import json
import shutil
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.pixels import to_float
from denoise_cli.imaging.transfer import HLG, LINEAR, PQ, light_to_pq, srgb_to_linear
from denoise_cli.io import image
from denoise_cli.io.boxes import box, boxes_of
from denoise_cli.io.cicp import CodePoints
from denoise_cli.io.exif import parse
from denoise_cli.io.jxl_bits import BitReader, BitWriter
from denoise_cli.io.jxl_header import (
    BT2100,
    CUSTOM,
    D65,
    GREY,
    P3,
    PRIMARIES,
    RGB,
    SRGB,
    SRGB_CURVE,
    read_header,
    tone_mapping_for,
    with_colours,
)
from denoise_cli.io.mastering import Mastering
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import D65 as D65_POINT
from denoise_cli.io.profiles import icc_profile

Encode = Callable[..., bytes]
Read = Callable[..., Photo]
Pixels = NDArray[np.uint8]

ADOBE_RGB = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
SHARED = "kimageformats__jxl__"


@pytest.fixture
def wide_profile() -> bytes:
    return icc_profile(D65_POINT, ADOBE_RGB, 2.2)


def codestream_of(data: bytes) -> bytes:
    return next(contents for name, contents in boxes_of(data) if name == b"jxlc")


def with_numbers(codestream: bytes, space: int, primaries: int, transfer: int) -> bytes:
    """A codestream with other colours by numbers, in the default white point, for files without extra fields."""
    places = read_header(codestream).places
    assert places.colours_start is not None
    writer = BitWriter()
    writer.copy(codestream, 0, places.colours_start)
    values = [space, D65, *([primaries] if space == RGB else [])]
    writer.bits(0, 2)  # neither the default nor a profile
    for value in values:
        enumerated(writer, value)
    writer.bits(0, 1)
    enumerated(writer, transfer)
    enumerated(writer, 1)
    writer.copy(codestream, places.colours_end, places.metadata_end)
    return writer.finish() + codestream[places.frames_start :]


def enumerated(writer: BitWriter, value: int) -> None:
    writer.bits(value if value < 2 else 2 if value < 18 else 3, 2)
    if value >= 2:
        writer.bits(value - (2 if value < 18 else 18), 4 if value < 18 else 6)


def through_ffmpeg(data: bytes, tmp_path: Path, program: str, dtype: type[np.generic]) -> Pixels:
    """(24, 32, 3) as FFmpeg decodes it."""
    layout = "rgb24" if dtype == np.uint8 else "rgb48le"
    path = tmp_path / "x.jxl"
    path.write_bytes(data)
    command = [program, "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", layout, "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    if b"Decoder not found" in done.stderr or b"no decoder" in done.stderr.lower():
        pytest.skip("this FFmpeg does not decode JPEG XL")
    assert not done.stderr
    return np.frombuffer(done.stdout, dtype).reshape(24, 32, 3)


@pytest.mark.parametrize("quality", [100, 95])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_ffmpeg_sees_the_same_pixels(
    dtype: type[np.generic], quality: int, picture: Pixels, read_bytes: Read, tmp_path: Path, ffmpeg: object
) -> None:
    pixels = picture.astype(dtype) * (257 if dtype == np.uint16 else 1)
    data = image.encode(Photo(pixels, None, "test"), "jxl", "test", quality)

    seen = through_ffmpeg(data, tmp_path, ffmpeg.program, dtype)  # type: ignore[attr-defined]

    ours = to_float(read_bytes(data).pixels)
    assert np.abs(to_float(seen) - ours).max() < (2.5 / 255 if quality < 100 else 1e-6)  # the decoder dithers
    assert np.abs(ours - to_float(pixels)).mean() < (0.02 if quality < 100 else 1e-9)


def test_light_beyond_white_survives_lossy_compression(read_bytes: Read) -> None:
    ramp = np.linspace(0, 4, 64, dtype=np.float32)[None, :, None] * np.ones((32, 1, 3), np.float32)

    back = read_bytes(image.encode(Photo(ramp, None, "test"), "jxl", "test", 95))

    assert back.pixels.dtype == np.float32
    assert np.abs(back.pixels - ramp).max() < 0.05
    assert back.pixels.max() > 3.9


@pytest.mark.parametrize("cicp", [None, CodePoints(12, 13), CodePoints(9, PQ)])
def test_lossy_files_are_smaller(cicp: CodePoints | None, astronaut: Pixels) -> None:
    sizes = [
        len(image.encode(Photo(astronaut[:128, :128], None, "t", Metadata(cicp=cicp)), "jxl", "t", quality))
        for quality in (60, 95, 100)
    ]

    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] / 4


@pytest.mark.parametrize("bits", [1, 2, 5, 10, 12, 14])
def test_every_depth_reaches_from_black_to_white(bits: int, read_bytes: Read) -> None:
    top = 2**bits - 1
    levels = np.linspace(0, top, 64).round().astype(np.uint8 if bits < 8 else np.uint16)[None] * np.ones(
        (8, 1), np.uint8
    )
    values = levels.astype(np.uint8 if bits < 8 else np.uint16)
    data = codestream_of(imagecodecs.jpegxl_encode(values, lossless=True, bitspersample=bits, usecontainer=True))
    assert read_header(data).bits == bits

    photo = read_bytes(with_colours(data, None, is_grey=True))

    white = 255 if bits < 8 else 65535
    np.testing.assert_allclose(photo.pixels[..., 0], levels.astype(float) * white / top, atol=1)
    assert (photo.pixels.min(), photo.pixels.max()) == (0, white)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("prefix", [0, 6])
def test_metadata_is_found_in_plain_and_in_compressed_boxes(
    compressed: bool, prefix: int, picture: Pixels, camera_exif: Image.Exif, xmp: bytes, read_bytes: Read
) -> None:
    """An EXIF box begins with a distance to the TIFF structure; cameras put "Exif" in between."""
    block = camera_exif.tobytes()[6 - prefix :]
    contents = {b"Exif": prefix.to_bytes(4, "big") + block, b"xml ": xmp}
    plain = imagecodecs.jpegxl_encode(picture, lossless=True, usecontainer=True)
    boxes = [
        box(b"brob", name, imagecodecs.brotli_encode(body)) if compressed else box(name, body)
        for name, body in contents.items()
    ]

    meta = read_bytes(plain + b"".join(boxes)).metadata

    exif = parse(meta.exif or b"")
    assert exif.string(exif.main[271]) == "Maker"
    assert meta.xmp == xmp
    assert meta.dpi == (240, 240)


def test_a_box_that_expands_beyond_measure_is_refused(picture: Pixels, read_bytes: Read) -> None:
    plain = imagecodecs.jpegxl_encode(picture, lossless=True, usecontainer=True)
    bomb = box(b"brob", b"xml ", imagecodecs.brotli_encode(bytes(100_000_000)))

    with pytest.raises(UnreadableFile, match="cannot be decoded"):
        read_bytes(plain + bomb)


def test_exiftool_reads_the_metadata(picture: Pixels, camera_exif: Image.Exif, xmp: bytes, tmp_path: Path) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    photo = Photo(picture, None, "test", Metadata(exif=camera_exif.tobytes(), xmp=xmp, dpi=(300, 240)))
    path = tmp_path / "x.jxl"
    path.write_bytes(image.encode(photo, "jxl", "the program"))
    (tags,) = json.loads(subprocess.run(["exiftool", "-j", "-G1", path], capture_output=True, check=True).stdout)

    assert tags["File:FileType"] == "JXL"
    assert (tags["File:ImageWidth"], tags["File:ImageHeight"]) == (32, 24)
    assert (tags["IFD0:Make"], tags["IFD0:Software"], tags["IFD0:XResolution"]) == ("Maker", "the program", 300)
    assert tags["ExifIFD:ISO"] == 12800
    assert "GPS:GPSLatitude" in tags
    assert tags["XMP-dc:Source"] == "film 12"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_upright_exactly_once(orientation: int, picture: Pixels, read_bytes: Read) -> None:
    """The codestream says how it is turned, and EXIF is not to be obeyed."""
    plain = with_colours(imagecodecs.jpegxl_encode(picture, lossless=True), None, is_grey=False)
    places = read_header(plain).places
    writer = BitWriter()
    writer.copy(plain, 0, places.size_end)
    writer.bits(0b10, 2)  # not all is default: extra fields
    writer.bits(orientation - 1, 3)
    writer.bits(0, 3)  # neither another size nor a preview nor frames
    writer.copy(plain, places.size_end + 2, places.colours_end)
    writer.bits(1, 1)  # tone mapping as usual
    writer.copy(plain, places.colours_end, places.metadata_end)
    turned = writer.finish() + plain[places.frames_start :]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    boxes = [*list(boxes_of(imagecodecs.jpegxl_encode(picture, lossless=True, usecontainer=True)))[:2]]
    data = b"".join(box(*each) for each in boxes) + box(b"Exif", bytes(4), exif.tobytes()[6:]) + box(b"jxlc", turned)

    photo = read_bytes(data)

    steps = {2: [1, 0], 3: [0, 2], 4: [1, 2], 5: [1, 1], 6: [0, -1], 7: [1, -1], 8: [0, 1]}.get(orientation, [0, 0])
    expected = np.rot90(picture[:, ::-1] if steps[0] else picture, steps[1])
    np.testing.assert_array_equal(photo.pixels, expected)
    assert 274 not in parse(photo.metadata.exif or b"").main


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("quality", [60, 100])
def test_another_profile_than_srgb_is_kept_to_the_byte(
    quality: int, dtype: type[np.generic], picture: Pixels, wide_profile: bytes, read_bytes: Read
) -> None:
    pixels = picture.astype(dtype)

    back = read_bytes(image.encode(Photo(pixels, None, "test", Metadata(icc=wide_profile)), "jxl", "test", quality))

    assert back.metadata.icc == wide_profile
    np.testing.assert_array_equal(back.pixels, pixels)  # at any quality: the lossy mode supports only sRGB


def test_srgb_s_profile_is_said_by_numbers_in_lossy_files(picture: Pixels, read_bytes: Read) -> None:
    profile = icc_profile(D65_POINT, PRIMARIES[SRGB])
    photo = Photo(picture, None, "test", Metadata(icc=profile))

    lossy, lossless = (read_bytes(image.encode(photo, "jxl", "test", quality)) for quality in (95, 100))

    assert lossy.metadata.icc is None
    assert lossless.metadata.icc == profile


def profiles() -> dict[str, bytes]:
    """Profiles of several makers, which compress in different ways."""
    grey = icc_profile(D65_POINT, None, 2.2)
    table = icc_profile(D65_POINT, ADOBE_RGB)
    noise = np.random.default_rng(1).bytes(3000)

    def longer(end: bytes) -> bytes:
        return (len(table) + len(end)).to_bytes(4, "big") + table[4:] + end

    return {
        "gamma": icc_profile(D65_POINT, ADOBE_RGB, 2.2),
        "grey": grey,
        "table": table,
        "noise at the end": longer(noise),
        "repetition": longer(b"abcdefg" * 900),
        "a slope": longer(np.arange(0, 60_000, 17).astype(">u2").tobytes()),
    }


@pytest.mark.parametrize("name", profiles())
def test_a_profile_that_libjxl_has_compressed_is_read_to_the_byte(name: str, picture: Pixels, read_bytes: Read) -> None:
    profile = profiles()[name]
    stored = Image.fromarray(picture[..., 0] if name == "grey" else picture)
    buffer = BytesIO()
    stored.save(buffer, "JPEG", icc_profile=profile)

    photo = read_bytes(imagecodecs.jpegxl_encode_jpeg(buffer.getvalue(), usecontainer=True))

    assert photo.metadata.icc == profile
    decoded = np.atleast_3d(np.asarray(Image.open(buffer)))
    assert np.abs(photo.pixels.astype(int) - decoded).max() <= 3


@pytest.mark.parametrize("name", profiles())
def test_other_readers_find_the_profile(name: str, picture: Pixels) -> None:
    pylibjxl = pytest.importorskip("pylibjxl", reason="pylibjxl, which reads profiles, is not installed")
    profile = profiles()[name]
    pixels = picture[..., :1] if name == "grey" else picture
    plain = imagecodecs.jpegxl_encode(pixels[..., 0] if name == "grey" else pixels, lossless=True)

    decoded, found = pylibjxl.decode(with_colours(plain, profile, name == "grey"), metadata=True)

    assert found["icc"] == profile
    np.testing.assert_array_equal(np.atleast_3d(decoded), pixels)


def test_a_lossy_file_with_a_profile_becomes_srgb_and_says_so(
    picture: Pixels, wide_profile: bytes, read_bytes: Read
) -> None:
    """The decoder cannot convert to a profile, and would return linear light."""
    lossy = imagecodecs.jpegxl_encode(picture, level=95, lossless=False)

    photo = read_bytes(with_colours(lossy, wide_profile, is_grey=False))

    assert photo.notes == ("converted from the colours of its profile to sRGB",)
    assert photo.metadata.icc is None
    assert np.abs(photo.pixels.astype(int) - picture).mean() < 6


@pytest.mark.parametrize(
    ("primaries", "transfer", "numbers"),
    [
        (P3, SRGB_CURVE, (12, 13)),
        (SRGB, LINEAR, (1, 8)),
        (BT2100, PQ, (9, 16)),
        (BT2100, HLG, (9, 18)),
        (P3, PQ, (12, 16)),
    ],
)
def test_colours_by_numbers_stay_numbers(
    primaries: int, transfer: int, numbers: tuple[int, int], picture: Pixels, read_bytes: Read
) -> None:
    plain = with_colours(imagecodecs.jpegxl_encode(picture, lossless=True), None, is_grey=False)

    photo = read_bytes(with_numbers(plain, RGB, primaries, transfer))
    back = read_bytes(image.encode(photo, "jxl", "test"))

    for found in (photo, back):
        np.testing.assert_array_equal(found.pixels, picture)
        assert found.metadata.icc is None
        assert found.metadata.cicp is not None
        assert (found.metadata.cicp.primaries, found.metadata.cicp.transfer) == numbers
    colours = read_header(codestream_of(image.encode(photo, "jxl", "test"))).colours
    assert colours is not None
    assert (colours.primaries, colours.transfer) == (PRIMARIES[primaries], transfer)


def smooth(dtype: type[np.generic]) -> Pixels:
    """(48, 64, 3) soft colours, of which lossy compression loses little."""
    y, x = np.mgrid[0:48, 0:64]
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)], axis=-1) * 0.2 + 0.5
    return np.rint(waves * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("peak", [None, 400])
@pytest.mark.parametrize("transfer", [1, LINEAR, 13, PQ, 17, HLG])
@pytest.mark.parametrize("primaries", [1, 9, 11, 12])
def test_colours_by_numbers_are_compressed_as_lossy_as_srgb(
    primaries: int, transfer: int, peak: int | None, read_bytes: Read
) -> None:
    """libjxl, which converts the light that is stored to the colours that the header states, is the judge."""
    mastering = None if peak is None else Mastering(tone_mapping=tone_mapping_for(peak))
    pixels = smooth(np.uint16)
    meta = Metadata(cicp=CodePoints(primaries, transfer), mastering=mastering)
    photo = Photo(pixels, None, "test", meta, depth=10)

    lossy = image.encode(photo, "jxl", "test", 99)

    back = read_bytes(lossy)
    assert read_header(codestream_of(lossy)).is_xyb
    assert read_header(codestream_of(lossy)).bits == 10
    errors = to_float(back.pixels) - to_float(pixels)
    assert np.abs(errors).mean() < 0.002
    assert np.abs(errors.mean(axis=(0, 1))).max() < 0.0003
    assert back.depth == 10
    assert back.metadata.mastering == mastering


@pytest.mark.parametrize("transfer", [13, PQ, HLG])
def test_grey_by_numbers_is_compressed_as_lossy_as_srgb(transfer: int, read_bytes: Read) -> None:
    grey = smooth(np.uint16)[..., :1]
    photo = Photo(grey, None, "test", Metadata(cicp=CodePoints(9, transfer)))

    lossy = image.encode(photo, "jxl", "test", 99)

    assert read_header(codestream_of(lossy)).is_xyb
    assert np.abs(to_float(read_bytes(lossy).pixels) - to_float(grey)).max() < 0.02


def test_transparency_of_lossy_wide_gamut_is_exact(read_bytes: Read) -> None:
    pixels = smooth(np.uint8)
    photo = Photo(pixels, pixels[..., 1], "test", Metadata(cicp=CodePoints(12, 13)))

    back = read_bytes(image.encode(photo, "jxl", "test", 90))

    assert back.pixels.dtype == np.uint8
    assert back.alpha is not None
    np.testing.assert_array_equal(back.alpha, pixels[..., 1])
    assert np.abs(back.pixels.astype(int) - pixels).max() < 8


@pytest.mark.parametrize("name", ["lossy", "lossless", "from jpeg", "lossy, wide", "lossless, wide"])
def test_files_stay_as_lossy_as_they_were(name: str, picture: Pixels, read_bytes: Read) -> None:
    """A quality that is kept: what was lossless has to come back exactly, and nothing else may grow to that size."""
    wide = Photo(picture, None, "test", Metadata(cicp=CodePoints(12, 13)))
    jpeg = BytesIO()
    Image.fromarray(picture).save(jpeg, "JPEG")
    data = {
        "lossy": lambda: imagecodecs.jpegxl_encode(picture, level=90, lossless=False),
        "lossless": lambda: imagecodecs.jpegxl_encode(picture, lossless=True),
        "from jpeg": lambda: imagecodecs.jpegxl_encode_jpeg(jpeg.getvalue(), usecontainer=True),
        "lossy, wide": lambda: image.encode(wide, "jxl", "test", 90),
        "lossless, wide": lambda: image.encode(wide, "jxl", "test", 100),
    }[name]()

    photo = read_bytes(bytes(data))
    again = image.encode(photo, "jxl", "test")

    was_lossless = name.startswith("lossless")
    assert (photo.compression == "lossless") == was_lossless
    assert image.is_lossless(photo, "jxl", None) == was_lossless
    assert read_header(codestream_of(again)).is_xyb != was_lossless
    if was_lossless:
        np.testing.assert_array_equal(read_bytes(again).pixels, photo.pixels)


def test_srgb_by_numbers_is_nothing_to_remember(picture: Pixels, read_bytes: Read) -> None:
    plain = with_colours(imagecodecs.jpegxl_encode(picture, lossless=True), None, is_grey=False)

    meta = read_bytes(with_numbers(plain, RGB, SRGB, SRGB_CURVE)).metadata

    assert (meta.icc, meta.cicp) == (None, None)


def test_a_grey_file_in_linear_light_says_so(read_bytes: Read) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None] * np.ones((8, 1), np.uint16)

    photo = read_bytes(imagecodecs.jpegxl_encode(ramp, lossless=True))  # the codec takes deep values for linear light

    np.testing.assert_array_equal(photo.pixels[..., 0], ramp)
    assert photo.metadata.encoding == "linear, Rec. 709"
    back = read_bytes(image.encode(photo, "jxl", "test"))
    np.testing.assert_array_equal(back.pixels, photo.pixels)
    assert back.metadata.cicp == photo.metadata.cicp
    assert read_bytes(image.encode(photo, "png", "test")).metadata.cicp == photo.metadata.cicp
    assert read_bytes(image.encode(photo, "tiff", "test")).metadata.icc == icc_profile(D65_POINT, None, 1.0)


def test_lossy_pq_is_decoded_to_pq(read_bytes: Read) -> None:
    """libjxl stores other colours than a profile's as XYB, of light up to 255 cd/m2 if the file says no more."""
    light = np.linspace(0, 1, 64, dtype=np.float32)[None, :, None] ** 3 * np.ones((32, 1, 3), np.float32) * 10_000 / 255
    plain = imagecodecs.jpegxl_encode(light.astype(np.float32), level=98, lossless=False)
    codestream = plain if plain.startswith(b"\xff\n") else codestream_of(plain)

    photo = read_bytes(with_numbers(codestream, RGB, BT2100, PQ))

    assert photo.metadata.encoding == "PQ, Rec. 2020"
    assert np.abs(photo.pixels - light_to_pq(light * 255 / 203)).mean() < 0.003


@pytest.mark.parametrize(("transfer", "peak"), [(PQ, 10_000), (HLG, 1_000), (SRGB_CURVE, None)])
def test_hdr_files_say_how_bright_they_are(transfer: int, peak: float | None, picture: Pixels) -> None:
    numbers = CodePoints(9, transfer)
    header = read_header(codestream_of(image.encode(Photo(picture, None, "t", Metadata(cicp=numbers)), "jxl", "t")))

    stated = None if header.tone_mapping is None else np.uint16(header.tone_mapping & 0xFFFF).view(np.float16)
    assert stated == peak


def test_a_luminance_range_of_its_own_is_kept(picture: Pixels, read_bytes: Read) -> None:
    stated = tone_mapping_for(4000)
    photo = Photo(picture, None, "t", Metadata(cicp=CodePoints(9, PQ), mastering=Mastering(tone_mapping=stated)))

    back = read_bytes(image.encode(photo, "jxl", "t")).metadata

    assert back.mastering == photo.metadata.mastering
    assert image.losses(back, "jxl") == ()
    assert image.losses(back, "png") == ("not carried over to png: luminance range",)


def test_hdr_with_primaries_of_its_own_is_refused(picture: Pixels, read_bytes: Read) -> None:
    plain = with_colours(imagecodecs.jpegxl_encode(picture, lossless=True), None, is_grey=False)
    places = read_header(plain).places
    assert places.colours_start is not None
    writer = BitWriter()
    writer.copy(plain, 0, places.colours_start)
    writer.bits(0, 2)
    for value in (RGB, D65, CUSTOM):
        enumerated(writer, value)
    for _ in range(6):
        writer.bits(0, 2)
        writer.bits(300_000, 19)
    writer.bits(0, 1)
    enumerated(writer, PQ)
    enumerated(writer, 1)
    writer.copy(plain, places.colours_end, places.metadata_end)

    with pytest.raises(UnreadableFile, match=r"HDR with primaries of its own: convert it to those of Rec\. 2020"):
        read_bytes(writer.finish() + plain[places.frames_start :])


def test_deep_lossy_files_say_what_their_values_are(read_bytes: Read) -> None:
    """Not linear light, for which the codec takes them."""
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None, :, None] * np.ones((32, 1, 3), np.uint16)

    data = image.encode(Photo(ramp, None, "test"), "jxl", "test", 95)

    header = read_header(codestream_of(data))
    assert (header.bits, header.is_float, header.is_xyb) == (16, False, True)
    assert header.colours is not None
    assert header.colours.transfer == SRGB_CURVE
    assert np.abs(to_float(read_bytes(data).pixels) - to_float(ramp)).max() < 0.01
    assert np.abs(to_float(ramp) - srgb_to_linear(to_float(ramp))).max() > 0.2  # what the mistake would be


def test_an_animation_is_refused(picture: Pixels, read_bytes: Read) -> None:
    frames = np.stack([picture, 255 - picture])

    with pytest.raises(UnreadableFile, match=r"an animation: use denoise video$"):
        read_bytes(imagecodecs.jpegxl_encode(frames, lossless=True, photometric="rgb"))


def test_a_channel_that_is_not_transparency_is_left_out_and_said(picture: Pixels, read_bytes: Read) -> None:
    planes = np.ascontiguousarray(np.moveaxis(picture, -1, 0))

    photo = read_bytes(imagecodecs.jpegxl_encode(planes[:2], lossless=True, planar=True))

    assert photo.notes == ("an extra channel that is not transparency is left out",)
    np.testing.assert_array_equal(photo.pixels[..., 0], picture[..., 0])
    assert photo.alpha is None


def test_too_many_pixels_are_refused_before_they_are_decoded(picture: Pixels, read_bytes: Read) -> None:
    data = image.encode(Photo(picture, None, "test"), "jxl", "test")

    assert read_bytes(data, max_pixels=24 * 32).pixels.shape == (24, 32, 3)
    with pytest.raises(UnreadableFile, match=r"32 x 24 pixels, more than --max-pixels allows$"):
        read_bytes(data, max_pixels=24 * 32 - 1)
    plain = codestream_of(data)
    writer = BitWriter()
    writer.copy(plain, 0, 16)
    for value, count in ((0, 1), (3, 2), (2**30 - 1, 30), (0, 3), (3, 2), (2**30 - 1, 30)):
        writer.bits(value, count)
    writer.copy(plain, read_header(plain).places.size_end, read_header(plain).places.metadata_end)
    with pytest.raises(UnreadableFile, match=r"1073741824 x 1073741824 pixels, more than --max-pixels allows$"):
        read_bytes(writer.finish())


@pytest.mark.parametrize("value", [0, 1, 17, 4095, 4096, 2**20, 2**32 - 1, 2**60 - 1, 2**64 - 1])
def test_long_numbers_are_written_as_they_are_read(value: int) -> None:
    writer = BitWriter()
    writer.unsigned_64(value)

    assert BitReader(writer.finish()).unsigned_64() == value


@pytest.mark.parametrize(("name", "shape", "depth"), [("orientation3", (160, 480), 8), ("rgba", (1024, 1024), 16)])
def test_files_of_others_have_their_size(name: str, shape: tuple[int, int], depth: int, shared_data: Path) -> None:
    photo = image.read(shared_data / "awkward/images" / f"{SHARED}{name}.jxl")

    assert (photo.shape, photo.bits) == (shape, depth)


def test_primaries_of_ones_own_are_read(read_bytes: Read, picture: Pixels) -> None:
    plain = with_colours(imagecodecs.jpegxl_encode(picture, lossless=True), None, is_grey=False)
    places = read_header(plain).places
    assert places.colours_start is not None
    writer = BitWriter()
    writer.copy(plain, 0, places.colours_start)
    writer.bits(0, 2)
    for value in (RGB, D65, CUSTOM):
        enumerated(writer, value)
    for coordinate in ADOBE_RGB:
        packed = 2 * round(coordinate * 1_000_000)
        kind = sum(packed >= limit for limit in (524288, 1048576, 2097152))
        writer.bits(kind, 2)
        writer.bits(packed - (0, 524288, 1048576, 2097152)[kind], (19, 19, 20, 21)[kind])
    writer.bits(1, 1)
    writer.bits(round(1e7 / 2.2), 24)
    enumerated(writer, 1)
    writer.copy(plain, places.colours_end, places.metadata_end)

    photo = read_bytes(writer.finish() + plain[places.frames_start :])

    np.testing.assert_array_equal(photo.pixels, picture)
    colours = read_header(writer.finish()).colours
    assert colours is not None
    assert colours.primaries == pytest.approx(ADOBE_RGB)
    assert colours.gamma == pytest.approx(1 / 2.2)
    assert photo.metadata.icc is not None
    assert photo.metadata.icc[16:20] == b"RGB "
    assert GREY != RGB


@pytest.mark.parametrize("compressed", [False, True])
def test_a_gain_map_and_other_boxes_are_kept_or_named(compressed: bool, picture: Pixels, read_bytes: Read) -> None:
    plain = image.encode(Photo(picture, None, "test"), "jxl", "test", 100)
    boxes = {b"jhgm": b"\x00\x00\x01a map", b"jumb": box(b"jumd", b"maker"), b"abcd": b"private"}
    stored = [
        box(b"brob", name, imagecodecs.brotli_encode(body)) if compressed else box(name, body)
        for name, body in boxes.items()
    ]

    photo = read_bytes(plain + b"".join(stored))

    result = image.encode(photo, "jxl", "test")
    assert [whole in result for whole in stored] == [True, True, False]
    np.testing.assert_array_equal(read_bytes(result).pixels, photo.pixels)
    assert photo.notes == ("left out: box abcd",)
    assert image.losses(photo.metadata, "jxl") == ("HDR gain map carried over as it is",)
    assert image.losses(photo.metadata, "png") == ("not carried over to png: HDR gain map, JUMBF",)


def test_a_manifest_is_removed_and_said(picture: Pixels, read_bytes: Read) -> None:
    plain = image.encode(Photo(picture, None, "test"), "jxl", "test", 100)

    (note,) = read_bytes(plain + box(b"jumb", box(b"jumd", b"c2pa"))).notes

    assert note.startswith("C2PA manifest removed")


def test_a_file_that_was_a_jpeg_says_that_it_is_none_any_longer(picture: Pixels, read_bytes: Read) -> None:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG")

    photo = read_bytes(imagecodecs.jpegxl_encode_jpeg(buffer.getvalue(), usecontainer=True))

    assert photo.notes == ("left out: what restores the JPEG that it was (jbrd)",)
