"""Damaged files of every format, and unusual ones from the test suites of other projects."""

import importlib.util
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from denoise_cli.errors import UnreadableFile, UnwritableFile
from denoise_cli.imaging.pixels import white_value
from denoise_cli.io import image, jxl
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import D65, icc_profile
from denoise_cli.io.uncompressed import PIXELS, B, G, R
from tests.io.heif_files import avif_grid, uncompressed
from tests.io.heif_files import heif as heif_of

Encode = Callable[..., bytes]
Pixels = NDArray[np.uint8]

HEADER_OF_PROFILE = 128  # bytes
SAMPLES = [
    *("jpeg", "progressive jpeg", "png", "16-bit png", "palette png", "webp", "lossless webp", "avif", "10-bit avif"),
    *("bmp", "heif", "tiff", "16-bit tiff", "tiled tiff", "jpeg tiff", "big-endian bigtiff"),
    *("lossy jpeg xl", "float jpeg xl", "jpeg xl with profile", "jpeg xl from jpeg"),
    *("gif", "interlaced gif with transparency"),
    *("12-bit avif", "exr"),
    *("ppm", "16-bit ppm", "plain ppm", "pfm", "radiance"),
    *("cmyk jpeg", "12-bit jpeg", "cmyk tiff", "lab tiff", "tiff of several pages", "16-bit tiff with signs"),
    *("jpeg 2000", "lossless jpeg 2000", "16-bit jpeg 2000 codestream"),
    *("10-bit heif", "12-bit heif", "heif of two pictures", "uncompressed heif", "jpeg in heif", "avif of tiles"),
]
SIZES = {"avif of tiles": (70, 100)}  # of all others (24, 32)
KEEPS_WHOLE_PAGES = {"tiff of several pages", "heif of two pictures"}  # of a file that is cut off
MAGIC = {
    "jpeg": b"\xff\xd8\xff\xe0",
    "png": b"\x89PNG\r\n\x1a\n",
    "tiff": b"II*\x00\x08\x00\x00\x00",
    "bigtiff": b"MM\x00+\x00\x08\x00\x00",
    "webp": b"RIFF\x00\x10\x00\x00WEBPVP8 ",
    "avif": b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00",
    "heif": b"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00",
    "bmp": b"BM",
    "gif": b"GIF89a",
    "ppm": b"P6\n240 320\n255\n",
    "pfm": b"PF\n240 320\n-1.0\n",
    "radiance": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 90 +X 80\n",
    "jpeg 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n\x00\x00\x00\x14ftypjp2 \x00\x00\x00\x00jp2 ",
    "jpeg 2000 codestream": b"\xff\x4f\xff\x51",
    "jpeg xl": b"\xff\x0a",
    "jpeg xl container": b"\x00\x00\x00\x0cJXL \r\n\x87\n\x00\x00\x00\x14ftypjxl \x00\x00\x00\x00jxl ",
}
HAS_EXR = importlib.util.find_spec("OpenEXR") is not None
WRITTEN = [kind for kind in image.WRITABLE if HAS_EXR or kind != "exr"]
FLIPS = 200
LIMIT = 1_000_000  # pixels: what a damaged header may claim
GIGABYTE = 1_000_000_000


@pytest.fixture
def sample(
    picture: Pixels,
    camera_exif: Image.Exif,
    xmp: bytes,
    with_pillow: Encode,
    with_tifffile: Encode,
    monkeypatch: pytest.MonkeyPatch,
) -> Encode:
    """A small intact file of each kind, by the names in `SAMPLES`."""

    def heif() -> bytes:
        buffer = BytesIO()
        pillow_heif.from_bytes("RGB", (32, 24), picture.tobytes()).save(buffer, exif=camera_exif.tobytes(), xmp=xmp)
        return buffer.getvalue()

    def exr() -> bytes:
        pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
        return image.encode(Photo(picture / np.float32(200), None, "test"), "exr", "test")

    deep = picture.astype(np.uint16) * 257
    wide = icc_profile(D65, (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 2.2)
    metadata = {"exif": camera_exif.tobytes(), "xmp": xmp}
    makers: dict[str, Callable[[], bytes]] = {
        "jpeg": lambda: with_pillow(picture, "JPEG", **metadata),
        "progressive jpeg": lambda: with_pillow(picture, "JPEG", progressive=True),
        "png": lambda: with_pillow(picture, "PNG", exif=metadata["exif"]),
        "16-bit png": lambda: bytes(imagecodecs.png_encode(deep)),
        "palette png": lambda: with_pillow(Image.fromarray(picture).quantize(16), "PNG", transparency=3),
        "webp": lambda: with_pillow(picture, "WEBP", **metadata),
        "lossless webp": lambda: with_pillow(picture, "WEBP", lossless=True),
        "avif": lambda: with_pillow(picture, "AVIF", **metadata),
        "10-bit avif": lambda: bytes(imagecodecs.avif_encode(deep >> 6, bitspersample=10)),
        "bmp": lambda: with_pillow(picture, "BMP"),
        "heif": heif,
        "tiff": lambda: image.encode(Photo(picture, None, "test"), "tiff", "test"),
        "16-bit tiff": lambda: with_tifffile(deep, photometric="rgb", compression="lzw", predictor=True),
        "tiled tiff": lambda: with_tifffile(picture, photometric="rgb", tile=(16, 16)),
        "jpeg tiff": lambda: with_tifffile(picture, photometric="rgb", compression="jpeg"),
        "big-endian bigtiff": lambda: with_tifffile(picture, photometric="rgb", bigtiff=True, byteorder=">"),
    }

    def pages() -> bytes:
        buffer = BytesIO()
        with tifffile.TiffWriter(buffer) as writer:
            for page in (picture, deep, picture[..., 0] > 99):
                writer.write(page, photometric="rgb" if page.ndim > 2 else "minisblack", compression="adobe_deflate")
        return buffer.getvalue()

    inks = np.dstack([255 - picture, picture[..., 0] // 2])
    makers |= {
        "cmyk jpeg": lambda: with_pillow(Image.frombytes("CMYK", (32, 24), inks.tobytes()), "JPEG", icc_profile=wide),
        "12-bit jpeg": lambda: bytes(imagecodecs.jpeg8_encode(deep >> 4, level=90, bitspersample=12)),
        "cmyk tiff": lambda: with_tifffile(inks, photometric="separated", compression="lzw"),
        "lab tiff": lambda: with_tifffile(deep, photometric="cielab", compression="adobe_deflate", predictor=True),
        "tiff of several pages": pages,
        "16-bit tiff with signs": lambda: with_tifffile(deep.view(np.int16), photometric="rgb", compression="lzw"),
    }
    meta = Metadata(exif=camera_exif.tobytes(), xmp=xmp)
    makers |= {
        "gif": lambda: with_pillow(Image.fromarray(picture).quantize(16), "GIF", interlace=0),
        "interlaced gif with transparency": lambda: with_pillow(
            Image.fromarray(picture).quantize(16), "GIF", interlace=1, transparency=3
        ),
        "12-bit avif": lambda: image.encode(Photo(deep, None, "test", meta), "avif", "test"),
        "exr": exr,
        "ppm": lambda: image.encode(Photo(picture, None, "test"), "ppm", "test"),
        "16-bit ppm": lambda: image.encode(Photo(deep, None, "test"), "pnm", "test"),
        "plain ppm": lambda: b"P3 32 24 255\n" + b" ".join(b"%d" % value for value in picture.ravel()),
        "pfm": lambda: image.encode(Photo(picture / np.float32(200), None, "test"), "pfm", "test"),
        "radiance": lambda: image.encode(Photo(picture / np.float32(200), None, "test"), "hdr", "test"),
        "jpeg 2000": lambda: image.encode(Photo(picture, None, "test", meta), "jp2", "test"),
        "lossless jpeg 2000": lambda: image.encode(Photo(picture, picture[..., 0], "test"), "jp2", "test", 100),
        "16-bit jpeg 2000 codestream": lambda: bytes(imagecodecs.jpeg2k_encode(deep, codecformat="j2k")),
        "lossy jpeg xl": lambda: image.encode(Photo(picture, None, "test", meta), "jxl", "test"),
        "float jpeg xl": lambda: image.encode(Photo(picture / np.float32(200), None, "test"), "jxl", "test", 100),
        "jpeg xl with profile": lambda: image.encode(Photo(picture, None, "test", Metadata(icc=wide)), "jxl", "test"),
        "jpeg xl from jpeg": lambda: bytes(
            imagecodecs.jpegxl_encode_jpeg(with_pillow(picture, "JPEG", icc_profile=wide), usecontainer=True)
        ),
    }

    def deep_heif(bits: int) -> bytes:
        monkeypatch.setattr(pillow_heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
        buffer = BytesIO()
        pillow_heif.from_bytes("RGB;16", (32, 24), deep.tobytes()).save(buffer, quality=90)
        return buffer.getvalue()

    def two_pictures() -> bytes:
        container, buffer = pillow_heif.HeifFile(), BytesIO()
        for _ in range(2):
            container.add_frombytes("RGB", (32, 24), picture.tobytes())
        container.save(buffer, quality=90)
        return buffer.getvalue()

    makers |= {
        "10-bit heif": lambda: deep_heif(10),
        "12-bit heif": lambda: deep_heif(12),
        "heif of two pictures": two_pictures,
        "uncompressed heif": lambda: uncompressed(picture.tobytes(), (32, 24), (R, G, B), interleave=PIXELS),
        "jpeg in heif": lambda: heif_of(b"jpeg", with_pillow(picture, "JPEG"), []),
        "avif of tiles": lambda: avif_grid(with_pillow(np.resize(picture, (64, 64, 3)), "AVIF"), 2, 2, (100, 70)),
    }
    return lambda name: makers[name]()


def read_or_reason(path: Path, max_pixels: int = LIMIT) -> Photo | str:
    """The photo, or the reason in the message about a file that cannot be read: one line that names the file."""
    try:
        return image.read(path, max_pixels)
    except UnreadableFile as error:
        message = str(error)
    reason = message.removeprefix(f"{path}: ")
    assert reason not in ("", message)
    assert "\n" not in message
    return reason


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert read_or_reason(tmp_path / "no.jpg") == "does not exist"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert read_or_reason(tmp_path) == "cannot read: Is a directory"


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.heic", "a.dng", "a"])
def test_an_empty_file_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.touch()

    assert read_or_reason(path) == "is empty"


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "a.avif", "a.heic", "a"])
@pytest.mark.parametrize("text", [b"Dear diary,\n", b"<svg/>", b"\x00", b"BM", b"II", b"II*\x00", b"MM\x00*\x00"])
def test_what_is_no_picture_is_refused(text: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(text)

    assert isinstance(read_or_reason(path), str)


@pytest.mark.parametrize("length", [1, 20, 200, 5000])
@pytest.mark.parametrize("kind", MAGIC)
def test_noise_behind_the_right_first_bytes_is_refused(
    kind: str, length: int, rng: np.random.Generator, tmp_path: Path
) -> None:
    path = tmp_path / "noise"
    path.write_bytes(MAGIC[kind] + rng.bytes(length))

    assert isinstance(read_or_reason(path), str)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.6, 0.9, 0.95])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_truncated_file_is_refused(name: str, share: float, sample: Encode, tmp_path: Path) -> None:
    whole = sample(name)
    path = tmp_path / "cut"
    path.write_bytes(whole[: int(len(whole) * share)])

    found = read_or_reason(path)

    assert isinstance(found, str) or (name in KEEPS_WHOLE_PAGES and found.repairs)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_with_flipped_bytes_is_read_or_refused_but_breaks_nothing(
    name: str, sample: Encode, rng: np.random.Generator, tmp_path: Path
) -> None:
    whole = sample(name)
    path = tmp_path / "flipped"
    path.write_bytes(whole)
    assert image.read(path, LIMIT).shape == SIZES.get(name, (24, 32))
    before = most_memory()

    for place in rng.integers(0, len(whole), FLIPS):
        data = bytearray(whole)
        data[place] ^= rng.integers(1, 256)
        path.write_bytes(data)
        photo = read_or_reason(path)
        if isinstance(photo, Photo):
            assert_sound(photo)

    assert most_memory() - before < GIGABYTE


def assert_sound(photo: Photo) -> None:
    H, W, C = photo.pixels.shape
    assert H * W <= LIMIT
    assert C in (1, 3)
    assert photo.pixels.dtype in (np.uint8, np.uint16, np.float32)
    for plane in (photo.alpha, photo.black):
        assert plane is None or plane.shape == (H, W)
        assert plane is None or plane.dtype == photo.pixels.dtype
    for page in photo.others:
        with suppress(UnreadableFile):
            assert_sound(page())


def most_memory() -> int:
    """The peak memory of this process so far, in bytes; 0 if the system does not state it."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.fixture(params=["images", "raw"])
def collection(request: pytest.FixtureRequest, shared_data: Path) -> list[Path]:
    folder = shared_data / ("awkward/images" if request.param == "images" else "raw")
    return sorted(file for file in folder.iterdir() if file.suffix not in (".md", *([] if HAS_EXR else [".exr"])))


def test_odd_files_have_their_size_or_are_refused_in_one_line(collection: list[Path]) -> None:
    sizes = 0
    for file in collection:
        photo = read_or_reason(file, image.MAX_PIXELS)
        if isinstance(photo, Photo) and photo.kind != "raw" and (size := pillow_size(file)):
            assert photo.pixels.shape[:2] == size, file.name
            sizes += 1
    assert sizes > 50 or collection[0].parent.name == "raw"


def pillow_size(file: Path) -> tuple[int, int] | None:
    try:
        with Image.open(file) as picture:
            upright = ImageOps.exif_transpose(picture)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None
    return upright.height, upright.width


def test_odd_photos_keep_their_size_in_every_format(collection: list[Path], tmp_path: Path) -> None:
    for file in collection:
        photo = read_or_reason(file)
        if isinstance(photo, str):
            continue
        for kind in WRITTEN:
            path = tmp_path / f"{file.stem[:50]}.{kind}"
            known = image.FORMATS[kind]
            has_inks, is_paged = photo.black is not None, bool(photo.others)
            if (has_inks and not known.inks) or (is_paged and not known.pages) or (photo.is_signed and kind != "tiff"):
                with pytest.raises(UnwritableFile, match=r"it cannot hold (CMYK|integers)|it holds a single picture"):
                    image.check(path, photo, kind)
                continue
            meta = photo.metadata
            has_numbers = known.code_points and (kind != "jxl" or meta.cicp is None or jxl.holds(meta.cicp))
            is_said = meta.cicp is None or has_numbers or (known.profile and not meta.cicp.is_hdr)
            if not is_said or (not known.profile and meta.icc and meta.exr is None):
                photo = replace(photo, metadata=Metadata())  # of which none but sRGB's may be left out
            is_opaque = photo.alpha is None or photo.alpha.min() == white_value(photo.alpha.dtype)
            if not (known.alpha or is_opaque) or (photo.pixels.shape[2] == 3 and not known.colour):
                with pytest.raises(ValueError, match=r"^it cannot hold transparency|^it holds greyscale alone"):
                    image.encode(photo, kind, "test")
                continue
            is_damaged = photo.metadata.icc is not None and len(photo.metadata.icc) < HEADER_OF_PROFILE
            if is_damaged and not known.grey and photo.pixels.shape[2] == 1:  # which its profile has to convert
                with pytest.raises(ValueError, match=r"^its colour profile cannot be applied"):
                    image.encode(photo, kind, "test")
                continue
            path.write_bytes(image.encode(photo, kind, "test"))
            assert image.read(path).pixels.shape[:2] == photo.pixels.shape[:2], (file.name, kind)
            path.unlink()


@pytest.mark.parametrize(
    ("head", "line"),
    [
        (b"SDPX\0\0\x08\0V2.0", "it is DPX, which is not read here: make OpenEXR or TIFF of 16 bits of it first"),
        (b"XPDS\0\x08\0\0V2.0", "it is DPX, which is not read here: make OpenEXR or TIFF of 16 bits of it first"),
        (b"\x89PNG\r\n\x1a\n", "begins like a PNG, but is damaged (broken PNG file"),
        (b"\x89PNG\r\r\x1a\r", "begins like a PNG, but is damaged (its first bytes are wrong)"),
        (b"\xff\xd8\xff\xe0\x00\x01JFIF", "begins like a JPEG, but is damaged ("),
        (b"\xff\xd8\xfe\xe0\x00\x10JFIF\x00", "begins like a JPEG, but is damaged (its first bytes are wrong)"),
        (b"GIF89a", "begins like a GIF, but is damaged"),
        (b"\x00IF89a", "begins like a GIF, but is damaged (its first bytes are wrong)"),
        (b"RIFF\x00\x10\x00\x00WEBP", "begins like a WebP, but is damaged"),
        (b"P612 34567 ", "begins like a PPM, but is damaged or of an unknown kind"),
        (b"\x00\x00\x00\x1cftypavif", "the file ends before its boxes do, or is damaged"),
        (b"\x00\x00\x00\x1cftypzzzz", "begins like an HEIF or a clip, but is damaged or of an unknown kind"),
    ],
)
def test_a_damaged_file_is_called_what_it_calls_itself(head: bytes, line: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(head + b"\x01" * 64)

    reason = read_or_reason(path)

    assert isinstance(reason, str)
    assert reason.startswith(f"cannot be decoded: {line}")
    assert ": try another copy of it" in reason or "(" not in reason


def test_a_gif_that_is_a_header_alone_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(b"GIF89ad\x00d\x00")

    assert read_or_reason(path) == (
        "cannot be decoded: begins like a GIF, but is damaged (it ends in its header): try another copy of it"
    )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xdb\x00", id="JPEG"),
        pytest.param(b"RIFF\x10\x00\x00\x00WEBPVP8 nothing.", id="WebP"),
    ],
)
def test_what_a_library_says_of_damage_is_in_brackets(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)

    reason = read_or_reason(path)

    assert isinstance(reason, str)
    unknown = r"it may be damaged \(.+\)"
    assert re.fullmatch(rf"cannot be decoded: ({unknown}|begins like a \w+, but is damaged \(.+\): .*)", reason)


def test_damaged_pixels_are_called_that(sample: Encode, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    whole = bytearray(sample("png"))
    place = whole.index(b"IDAT") + 4
    whole[place : place + 2] = b"\xff\xff"  # not how compressed data begins
    path.write_bytes(whole)

    assert read_or_reason(path) == "cannot be decoded: its pixel data is damaged"
