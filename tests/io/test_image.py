import re
import struct
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.errors import MissingDependency, UnreadableFile, UnwritableFile, UsageError
from denoise_cli.imaging.pixels import from_float, to_float
from denoise_cli.imaging.transfer import linear_to_srgb
from denoise_cli.io import image
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo, split_alpha
from denoise_cli.io.profiles import D65, icc_profile

Encode = Callable[..., bytes]
Read = Callable[..., Photo]
Pixels = NDArray[np.uint8]

LAYOUTS = {"grey": (1, False), "grey with alpha": (1, True), "RGB": (3, False), "RGB with alpha": (3, True)}
DTYPES = {8: np.uint8, 16: np.uint16, 32: np.float32}


def photo_of(bits: int, layout: str, rng: np.random.Generator) -> Photo:
    channels, has_alpha = LAYOUTS[layout]
    values = rng.random((19, 23, channels + has_alpha), dtype=np.float32)
    if bits == 32:
        values = values * 9 - 4  # below black and above white
    values = from_float(values, np.dtype(DTYPES[bits]))
    return Photo(values[..., :channels], values[..., channels] if has_alpha else None, "test")


def smooth(channels: int, dtype: type[np.generic], height: int = 32, width: int = 64) -> np.ndarray:
    """A ramp that lossy codecs keep, from black to white."""
    ramp = np.linspace(0, 1, width, dtype=np.float32)[None, :, None] * np.ones((height, 1, channels), np.float32)
    return from_float(ramp, np.dtype(dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        ("png", 8),
        ("png", 16),
        ("jp2", 8),
        ("jp2", 16),
        *((kind, bits) for kind in ("tiff", "jxl") for bits in (8, 16, 32)),
    ],
)
def test_what_a_lossless_format_holds_comes_back_bit_for_bit(
    kind: str, bits: int, layout: str, rng: np.random.Generator, read_bytes: Read
) -> None:
    photo = photo_of(bits, layout, rng)

    back = read_bytes(image.encode(photo, kind, "test", quality=100))

    assert back.kind == kind
    assert back.pixels.dtype == DTYPES[bits]
    np.testing.assert_array_equal(back.pixels, photo.pixels)
    if photo.alpha is None:
        assert back.alpha is None
    else:
        np.testing.assert_array_equal(back.alpha, photo.alpha)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_webp_at_quality_100_is_lossless_in_three_channels(
    layout: str, rng: np.random.Generator, read_bytes: Read
) -> None:
    photo = photo_of(8, layout, rng)

    back = read_bytes(image.encode(photo, "webp", "test", quality=100))

    np.testing.assert_array_equal(back.pixels, np.repeat(photo.pixels, 3 // photo.pixels.shape[2], axis=2))
    assert (back.alpha is None) == (photo.alpha is None)
    if photo.alpha is not None:
        np.testing.assert_array_equal(back.alpha, photo.alpha)


@pytest.mark.parametrize("bits", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["jpeg", "webp", "avif"])
def test_lossy_formats_write_the_nearest_values(kind: str, channels: int, bits: int, read_bytes: Read) -> None:
    photo = Photo(smooth(channels, DTYPES[bits]), None, "test")

    back = read_bytes(image.encode(photo, kind, "test", quality=95))

    assert back.pixels.dtype == (np.uint16 if kind == "avif" and bits > 8 else np.uint8)
    assert back.pixels.shape[2] == (3 if kind == "webp" else channels)  # WebP has no grey
    assert np.abs(to_float(back.pixels) - to_float(photo.pixels)).mean() < 0.01


@pytest.mark.parametrize("kind", ["webp", "avif", "jxl", "jp2"])
def test_lossy_formats_keep_alpha(kind: str, picture: Pixels, read_bytes: Read) -> None:
    alpha = smooth(1, np.uint8, *picture.shape[:2])[..., 0]

    back = read_bytes(image.encode(Photo(picture, alpha, "test"), kind, "test", quality=100))

    assert back.alpha is not None
    assert np.abs(back.alpha.astype(int) - alpha).max() <= 2


def test_floating_point_becomes_16_bits_where_a_format_has_no_floating_point(read_bytes: Read) -> None:
    photo = Photo(np.array([[[-0.5], [0.0], [0.5], [1.0], [3.0]]], np.float32), None, "test")

    back = read_bytes(image.encode(photo, "png", "test"))

    assert back.pixels.dtype == np.uint16
    assert back.pixels.ravel().tolist() == [0, 0, 32768, 65535, 65535]


def test_jpeg_refuses_transparency_in_one_line(picture: Pixels, tmp_path: Path) -> None:
    alpha = np.full(picture.shape[:2], 255, np.uint8)
    alpha[3, 4] = 254
    target = tmp_path / "out.jpg"

    with pytest.raises(UnwritableFile) as caught:
        image.write(target, Photo(picture, alpha, "png"), "jpeg", "test")

    assert str(caught.value) == (
        f"{target}: cannot be encoded as jpeg: it cannot hold transparency: "
        "choose .png, .tif, .webp, .avif, .heic or .jxl"
    )
    assert not target.exists()


def test_jpeg_drops_an_alpha_that_hides_nothing(picture: Pixels, read_bytes: Read) -> None:
    opaque = Photo(picture, np.full(picture.shape[:2], 255, np.uint8), "png")

    assert read_bytes(image.encode(opaque, "jpeg", "test")).alpha is None


@pytest.mark.parametrize("quality", [50, 95, 100])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_holds_pure_noise_beside_much_metadata(
    channels: int, quality: int, rng: np.random.Generator, read_bytes: Read
) -> None:
    noise = rng.integers(0, 256, (700, 700, channels)).astype(np.uint8)
    profile = bytes(16) + (b"GRAY" if channels == 1 else b"RGB ") + bytes(200_000)

    back = read_bytes(image.encode(Photo(noise, None, "test", Metadata(icc=profile)), "jpeg", "test", quality))

    assert back.pixels.shape == noise.shape
    assert back.metadata.icc == profile


@pytest.mark.parametrize(("kind", "longest"), [("jpeg", 65500), ("webp", 16383), ("avif", 65535)])
def test_a_side_that_a_format_cannot_hold_is_refused_in_one_line(kind: str, longest: int) -> None:
    with pytest.raises(ValueError, match=f"at most {longest} pixels in a row or a column: choose .png or .tif$"):
        image.encode(Photo(np.zeros((1, longest + 1, 3), np.uint8), None, "test"), kind, "test")


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", image.WRITABLE)
def test_a_single_row_or_column_keeps_its_size(
    kind: str, channels: int, shape: tuple[int, int], read_bytes: Read
) -> None:
    if kind == "exr":
        pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
    channels = channels if image.FORMATS[kind].colour else 1
    photo = Photo(np.full((*shape, channels), 100, np.uint8), None, "test")

    assert read_bytes(image.encode(photo, kind, "test")).pixels.shape[:2] == shape


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "b.png", "c.tif", "c.TIFF", "d.webp", "e.avif"])
def test_the_name_of_a_target_says_its_format(name: str) -> None:
    assert Path(name).suffix.lower() in image.FORMATS[image.kind_for(Path(name))].extensions


@pytest.mark.parametrize("name", ["a.bmp", "a.gif", "a", "a.cr2"])
def test_a_name_of_a_format_that_is_not_written_is_refused(name: str) -> None:
    written = ".jpg, .png, .tif, .webp, .avif, .heic, .jxl, .jp2, .ppm, .pgm, .pnm, .pfm, .hdr, .exr, .dng"
    with pytest.raises(UsageError, match=re.escape(f"choose one of {written}") + "$"):
        image.kind_for(Path(name))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_pixels_are_those_that_pillow_reads(kind: str, picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    data = with_pillow(picture, kind)

    photo = read_bytes(data)

    assert photo.kind == kind.lower()
    np.testing.assert_array_equal(photo.pixels, np.asarray(Image.open(BytesIO(data))))


def test_the_contents_say_the_format_not_the_name(picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    assert read_bytes(with_pillow(picture, "PNG"), "wrong.jpg").kind == "png"
    assert read_bytes(with_pillow(picture, "JPEG"), "wrong.tif").kind == "jpeg"
    assert read_bytes(with_pillow(picture, "JPEG"), "wrong.cr2").kind == "jpeg"


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_grey_reach_from_black_to_white(bits: int, read_bytes: Read) -> None:
    levels = np.arange(2**bits, dtype=np.uint8)[None]

    photo = read_bytes(few_bits_png(levels, bits))

    assert photo.pixels.shape == (1, 2**bits, 1)
    np.testing.assert_array_equal(photo.pixels.ravel(), levels.ravel() * (255 // (2**bits - 1)))


def few_bits_png(levels: Pixels, bits: int) -> bytes:
    """A grey PNG of one row."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    row = np.packbits(np.unpackbits(levels.reshape(-1, 1), axis=1)[:, 8 - bits :].ravel()).tobytes()
    header = struct.pack(">IIBBBBB", levels.size, 1, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00" + row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_palette_becomes_rgb(picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    palette = Image.fromarray(picture).quantize(16)

    photo = read_bytes(with_pillow(palette, "PNG"))

    assert photo.alpha is None
    np.testing.assert_array_equal(photo.pixels, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("transparency", [None, 2])
def test_a_still_gif_is_read(transparency: int | None, picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    palette = Image.fromarray(picture).quantize(4)
    data = with_pillow(palette, "GIF", **({} if transparency is None else {"transparency": transparency}))

    photo = read_bytes(data)

    assert photo.kind == "gif"
    np.testing.assert_array_equal(photo.pixels, np.asarray(palette.convert("RGB")))
    seen = imagecodecs.gif_decode(data).reshape(24, 32, -1)[..., :3]
    opaque = np.asarray(palette) != transparency
    np.testing.assert_array_equal(photo.pixels[opaque], seen[opaque])
    if transparency is None:
        assert photo.alpha is None
    else:
        np.testing.assert_array_equal(photo.alpha, np.where(np.asarray(palette) == transparency, 0, 255))


def test_a_transparent_entry_of_a_palette_becomes_alpha(picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    palette = Image.fromarray(picture).quantize(4)

    photo = read_bytes(with_pillow(palette, "PNG", transparency=2))

    np.testing.assert_array_equal(photo.alpha, np.where(np.asarray(palette) == 2, 0, 255))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_s_transparent_colour_becomes_alpha(
    channels: int, dtype: type[np.generic], rng: np.random.Generator, with_chunk: Encode, read_bytes: Read
) -> None:
    white = np.iinfo(dtype).max
    pixels = rng.integers(0, white + 1, (5, 6, channels)).astype(dtype)
    key = pixels[1, 2].copy()
    pixels[4, 5] = key
    png = imagecodecs.png_encode(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels))

    photo = read_bytes(with_chunk(png, b"tRNS", b"".join(int(value).to_bytes(2, "big") for value in key)))

    assert photo.alpha is not None
    assert photo.alpha.dtype == dtype
    np.testing.assert_array_equal(photo.pixels, pixels)
    np.testing.assert_array_equal(photo.alpha, np.where((pixels == key).all(axis=2), 0, white))


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("brightness", [1.0, 0.1])
def test_an_avif_keeps_more_than_8_bits_at_their_brightness(bits: int, brightness: float, read_bytes: Read) -> None:
    ramp = smooth(3, np.float32) * brightness
    values = np.rint(ramp * (2**bits - 1)).astype(np.uint16)

    photo = read_bytes(imagecodecs.avif_encode(values, level=100, bitspersample=bits, pixelformat="yuv444"))

    assert photo.pixels.dtype == np.uint16
    assert len(np.unique(photo.pixels[..., 0])) > 60
    assert np.abs(to_float(photo.pixels) - ramp).max() < 1e-3


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize(("mode", "channels"), [("L;16", 1), ("RGB;16", 3), ("RGBA;16", 4)])
def test_a_heif_keeps_more_than_8_bits(
    bits: int, mode: str, channels: int, read_bytes: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pillow_heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
    values = smooth(channels, np.uint16)
    buffer = BytesIO()
    pillow_heif.from_bytes(mode, (64, 32), values.tobytes()).save(buffer, quality=-1, chroma=444)

    photo = read_bytes(buffer.getvalue())

    assert photo.pixels.dtype == np.uint16
    assert photo.pixels.shape[2] == (1 if channels == 1 else 3)
    assert np.abs(to_float(photo.pixels) - to_float(values[..., : photo.pixels.shape[2]])).max() < 3e-3
    assert photo.pixels.max() == 65535
    assert (photo.alpha is not None) == (channels == 4)


def test_an_8_bit_heif_stays_8_bit(picture: Pixels, read_bytes: Read) -> None:
    buffer = BytesIO()
    pillow_heif.from_bytes("RGB", (32, 24), picture.tobytes()).save(buffer, quality=-1, chroma=444)

    photo = read_bytes(buffer.getvalue())

    assert photo.kind == "heif"
    assert photo.pixels.dtype == np.uint8
    assert np.abs(photo.pixels.astype(int) - picture).max() < 8


def test_alpha_that_a_heif_has_multiplied_in_is_taken_out(read_bytes: Read) -> None:
    straight = np.dstack([np.full((32, 64, 3), 200, np.uint8), np.full((32, 64, 1), 128, np.uint8)])
    premultiplied = np.dstack([np.full((32, 64, 3), 100, np.uint8), straight[..., 3:]])
    buffer = BytesIO()
    pillow_heif.from_bytes("RGBa", (64, 32), premultiplied.tobytes()).save(buffer, quality=-1, chroma=444)

    photo = read_bytes(buffer.getvalue())

    assert np.abs(photo.pixels.astype(int) - straight[..., :3]).max() <= 2


def test_the_first_of_a_pair_of_jpegs_is_the_photo(picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    second = Image.fromarray(255 - picture)
    data = with_pillow(Image.fromarray(picture), "MPO", save_all=True, append_images=[second], quality=95)
    assert Image.open(BytesIO(data)).n_frames == 2

    photo = read_bytes(data)

    assert photo.kind == "jpeg"
    assert np.abs(photo.pixels.astype(int) - picture).mean() < 6


@pytest.mark.parametrize("kind", ["PNG", "GIF", "AVIF", "WEBP"])
def test_animations_are_refused(kind: str, picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    frames = [Image.fromarray(255 - picture), Image.fromarray(picture // 2)]
    data = with_pillow(Image.fromarray(picture), kind, save_all=True, append_images=frames)

    with pytest.raises(UnreadableFile, match=r"an animation of 3 frames: use denoise video$"):
        read_bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "BMP", "GIF"])
def test_too_many_pixels_are_refused(kind: str, picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    data = with_pillow(picture, kind)

    assert read_bytes(data, max_pixels=24 * 32).pixels.shape == (24, 32, 3)
    with pytest.raises(UnreadableFile, match=r"32 x 24 pixels, more than --max-pixels allows$"):
        read_bytes(data, max_pixels=24 * 32 - 1)


def test_too_many_pixels_are_refused_before_they_are_decoded(
    picture: Pixels, with_pillow: Encode, read_bytes: Read
) -> None:
    png = bytearray(with_pillow(picture, "PNG"))
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    png[29:33] = imagecodecs.zlib_crc32(bytes(png[12:29])).to_bytes(4, "big")

    with pytest.raises(UnreadableFile, match=r"60000 x 60000 pixels, more than --max-pixels allows$"):
        read_bytes(bytes(png))


def test_a_photo_arrives_on_standard_input_and_leaves_on_standard_output(
    picture: Pixels, with_pillow: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream:
        def __init__(self, data: bytes = b"") -> None:
            self.buffer = BytesIO(data)

    out = Stream()
    monkeypatch.setattr("sys.stdin", Stream(with_pillow(picture, "PNG")))
    monkeypatch.setattr("sys.stdout", out)

    image.write(Path("-"), image.read(Path("-")), "png", "test")

    np.testing.assert_array_equal(np.asarray(Image.open(out.buffer)), picture)


def test_an_empty_standard_input_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        buffer = BytesIO()

    monkeypatch.setattr("sys.stdin", Stream())

    with pytest.raises(UnreadableFile, match=r"^standard input: is empty$"):
        image.read(Path("-"))


def test_a_missing_heif_library_is_named(picture: Pixels, read_bytes: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = BytesIO()
    pillow_heif.from_bytes("RGB", (32, 24), picture.tobytes()).save(buffer)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)

    with pytest.raises(MissingDependency, match=r"reading HEIF needs pillow-heif, .* pip install pillow-heif$"):
        read_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    ("kind", "module", "message"),
    [
        ("heif", "pillow_heif", r"^x: writing HEIF needs pillow-heif, .* pip install pillow-heif$"),
        ("exr", "OpenEXR", r"^x: writing OpenEXR needs OpenEXR, .* pip install OpenEXR$"),
        ("jxl", "imagecodecs", r"needs imagecodecs, .* pip install imagecodecs$"),
    ],
)
def test_a_library_that_a_target_needs_is_missed_before_a_photo_is_denoised(
    kind: str, module: str, message: str, picture: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=message):
        image.check(Path("x"), Photo(picture, None, "test"), kind)
    image.check(Path("x"), Photo(picture, None, "test"), "jpeg")


def test_a_missing_deep_codec_is_named_and_the_rest_works(
    read_bytes: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = imagecodecs.png_encode(np.zeros((4, 4, 3), np.uint16))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(
        MissingDependency, match=r"more than 8 bits in PNG and AVIF, .* needs imagecodecs, .* pip install imagecodecs$"
    ):
        read_bytes(deep)
    Image.new("RGB", (4, 4)).save(tmp_path / "shallow.png")
    assert image.read(tmp_path / "shallow.png").bits == 8


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_8_bits_is_written_without_the_deep_codec(
    channels: int, rng: np.random.Generator, read_bytes: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = rng.integers(0, 256, (700, 40, channels), np.uint8)
    pixels, alpha = split_alpha(values)
    photo, deep = Photo(pixels, alpha, "test"), Photo(pixels.astype(np.uint16), None, "test")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    image.check(Path("x"), photo, "png")
    data = image.encode(photo, "png", "test")
    np.testing.assert_array_equal(np.atleast_3d(np.asarray(Image.open(BytesIO(data)))), values)
    with pytest.raises(MissingDependency):
        image.check(Path("x"), deep, "png")
    with pytest.raises(MissingDependency):
        image.check_library("png")


def test_greyscale_with_a_profile_becomes_srgb_where_there_is_no_greyscale(read_bytes: Read) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    light = Photo(ramp, None, "test", Metadata(icc=icc_profile(D65, None, 1.0)))
    expected = linear_to_srgb(ramp.astype(np.float32) / 255) * 255

    back = read_bytes(image.encode(light, "webp", "test", 100))

    assert back.metadata.icc is None
    assert np.abs(back.pixels - expected).max() <= 1
    damaged = Photo(ramp, None, "test", Metadata(icc=b"\0" * 16 + b"GRAY" + b"\0" * 200))
    with pytest.raises(UnwritableFile, match="its colour profile cannot be applied"):
        image.check(Path("x.webp"), damaged, "webp")


ADOBE_RGB = icc_profile(D65, (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 2.2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp", "avif", "heif", "jxl", "jp2"])
def test_greyscale_with_a_profile_for_rgb_becomes_rgb(kind: str, dtype: type[np.generic], read_bytes: Read) -> None:
    grey = np.full((16, 16, 1), np.iinfo(dtype).max // 3, dtype)  # type: ignore[type-var]
    photo = Photo(grey, None, "test", Metadata(icc=ADOBE_RGB))

    image.check(Path("x"), photo, kind)
    back = read_bytes(image.encode(photo, kind, "test", 100))

    assert image.conversions(photo, kind) == ("greyscale becomes RGB, which its colour profile is for",)
    assert (back.pixels.shape, back.metadata.icc) == ((16, 16, 3), ADOBE_RGB)
    assert np.abs(back.as_float() - 1 / 3).max() < 0.01


def test_greyscale_stays_greyscale_if_its_profile_says_nothing_more(read_bytes: Read) -> None:
    """All profiles with sRGB's curve say the same of greys, and all profiles of black and white."""
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    display_p3 = icc_profile(D65, (0.680, 0.320, 0.265, 0.690, 0.150, 0.060))
    bilevel = Photo((grey > 99) * np.uint8(255), None, "test", Metadata(icc=ADOBE_RGB), is_bilevel=True)

    for photo in (Photo(grey, None, "test", Metadata(icc=display_p3)), bilevel):
        back = read_bytes(image.encode(photo, "tiff", "test"))
        assert image.conversions(photo, "tiff") == ()
        assert (back.pixels.shape, back.metadata.icc) == ((16, 16, 1), None)
        image.check(Path("x"), photo, "pgm")
    with pytest.raises(UnwritableFile, match=r"it cannot hold the photo's colour profile: choose \.png or \.tif$"):
        image.check(Path("x"), Photo(grey, None, "test", Metadata(icc=ADOBE_RGB)), "pgm")


def test_a_profile_for_other_colours_is_left_out_with_a_note(picture: Pixels, read_bytes: Read) -> None:
    photo = Photo(picture, None, "test", Metadata(icc=icc_profile(D65, None, 2.2)))

    assert image.conversions(photo, "png") == ("a colour profile that is not for its colours is left out",)
    assert read_bytes(image.encode(photo, "png", "test")).metadata.icc is None
