"""JPEGs that store inks, JPEGs of 12 bits, and colours that become sRGB."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, JpegImagePlugin
from scipy.ndimage import gaussian_filter

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.transfer import LINEAR, PQ
from denoise_cli.io import image
from denoise_cli.io.cicp import DISPLAY_P3, SRGB, CodePoints
from denoise_cli.io.exif import parse
from denoise_cli.io.jpeg import packed, segments_of
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import D65, icc_profile
from denoise_cli.io.srgb import PRINTED_PLAINLY, to_srgb

Encode = Callable[..., bytes]
Read = Callable[..., Photo]
Pixels = NDArray[np.uint8]

WIDE = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
HEAD = b"\x00" * 12 + b"prtrCMYKLab " + b"\x00" * 104  # of a profile


@pytest.fixture
def inks(picture: Pixels) -> Pixels:
    """(24, 32, 4), as Pillow has them: 0 is paper."""
    return np.dstack([255 - picture, np.full(picture.shape[:2], 30, np.uint8)])


def cmyk(inks: Pixels) -> Image.Image:
    return Image.frombytes("CMYK", inks.shape[1::-1], inks.tobytes())


def ycck(picture: Pixels) -> bytes:
    """A JPEG as Photoshop writes it: inverted inks, with C, M and Y as lightness and colours."""
    inverted = np.dstack([picture, np.full(picture.shape[:2], 200, np.uint8)])
    encoded = bytes(imagecodecs.jpeg8_encode(inverted, level=90, colorspace="CMYK", outcolorspace="YCCK"))
    assert Image.open(BytesIO(encoded)).info["adobe_transform"] == 2
    return encoded


def test_a_cmyk_jpeg_stays_one(
    inks: Pixels, camera_exif: Image.Exif, xmp: bytes, with_pillow: Encode, read_bytes: Read
) -> None:
    metadata = {"exif": camera_exif.tobytes(), "xmp": xmp, "icc_profile": HEAD}
    data = with_pillow(cmyk(inks), "JPEG", quality=90, progressive=True, **metadata)

    photo = read_bytes(data)

    assert photo.black is not None
    shown = 255 - np.asarray(Image.open(BytesIO(data)))
    np.testing.assert_array_equal(np.dstack([photo.pixels, photo.black]), shown)
    written = Image.open(BytesIO(image.encode(photo, "jpeg", "test")))
    assert isinstance(written, JpegImagePlugin.JpegImageFile)
    assert written.mode == "CMYK"
    assert np.abs(np.asarray(written).astype(int) - inks).mean() < 3
    assert written.quantization == Image.open(BytesIO(data)).quantization  # type: ignore[attr-defined]
    assert "progressive" in written.info
    assert [sampling for _, *sampling, _ in written.layer] == [[1, 1]] * 4
    assert written.info["icc_profile"] == HEAD
    assert written.info["xmp"] == xmp
    assert 271 in written.getexif()


def test_lightness_and_colours_of_inks_are_read(picture: Pixels, read_bytes: Read) -> None:
    data = ycck(picture)

    photo = read_bytes(data)

    assert photo.black is not None
    assert np.abs(photo.pixels.astype(int) - picture).mean() < 6
    assert np.abs(photo.black.astype(int) - 200).max() <= 2
    (own,) = {tuple(table) for table in Image.open(BytesIO(image.encode(photo, "jpeg", "test"))).quantization.values()}  # type: ignore[attr-defined]
    assert own == tuple(Image.open(BytesIO(data)).quantization[0])  # type: ignore[attr-defined]


@pytest.mark.parametrize("quality", [40, 95])
def test_no_ink_loses_resolution(quality: int, read_bytes: Read, rng: np.random.Generator) -> None:
    pixels = np.repeat(rng.integers(0, 2, (24, 32, 1), np.uint8) * np.uint8(255), 3, axis=2)
    photo = Photo(pixels, None, "test", black=pixels[..., 0])

    back = read_bytes(image.encode(photo, "jpeg", "test", quality))

    assert back.black is not None
    off = np.abs(np.dstack([back.pixels, back.black]).astype(int) - np.dstack([pixels, pixels[..., 0]]))
    assert off.mean(axis=(0, 1)).max() < 40


@pytest.mark.parametrize("orientation", range(1, 9))
def test_black_is_turned_with_the_other_inks(
    orientation: int, inks: Pixels, with_pillow: Encode, read_bytes: Read
) -> None:
    inks[:12, :16, 3] = 250
    upright = read_bytes(with_pillow(cmyk(inks), "JPEG", quality=95))
    exif = Image.Exif()
    exif[274] = orientation
    stored = cmyk(inks)
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's numbers of what undoes each
    if orientation in turns:
        stored = stored.transpose(Image.Transpose(turns[orientation]))

    photo = read_bytes(with_pillow(stored, "JPEG", quality=95, exif=exif))

    assert photo.black is not None
    assert upright.black is not None
    assert np.abs(photo.black.astype(int) - upright.black).mean() < 4


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_of_12_bits_is_read_with_all_of_them(
    channels: int, camera_exif: Image.Exif, xmp: bytes, with_pillow: Encode, read_bytes: Read
) -> None:
    ramp = np.linspace(0, 4095, 64 * 96, dtype=np.float64).reshape(64, 96, 1).astype(np.uint16)
    values = np.repeat(ramp, channels, axis=2)
    deep = bytes(imagecodecs.jpeg8_encode(values if channels > 1 else values[..., 0], level=95, bitspersample=12))
    own = icc_profile(D65, (0.64, 0.33, 0.21, 0.71, 0.15, 0.06) if channels == 3 else None, 2.2)
    plain = with_pillow(np.zeros((8, 8, 3), np.uint8), "JPEG", exif=camera_exif.tobytes(), xmp=xmp, icc_profile=own)
    metadata = plain[2 : plain.index(b"\xff\xdb")]

    photo = read_bytes(deep[:2] + metadata + deep[2:])

    assert photo.kind == "jpeg"
    assert photo.pixels.shape == (64, 96, channels)
    assert photo.depth == 12
    assert np.abs(photo.pixels / (65535 / 4095) - values).max() <= 4
    assert photo.metadata.xmp == xmp
    assert photo.metadata.icc == own
    assert 271 in parse(photo.metadata.exif or b"").main
    again = image.encode(photo, "jpeg", "test")
    assert np.abs(np.asarray(imagecodecs.jpeg8_decode(again)).reshape(values.shape) - values.astype(int)).max() <= 6
    back = read_bytes(again)
    assert (back.kind, back.depth, back.notes) == ("jpeg", 12, ())
    assert (back.metadata.xmp, back.metadata.icc) == (xmp, own)
    assert 271 in parse(back.metadata.exif or b"").main


@pytest.mark.parametrize("subsampling", ["444", "422", "420"])
@pytest.mark.parametrize("quality", [40, 80, 95])
def test_a_jpeg_of_12_bits_is_compressed_as_it_was(
    quality: int, subsampling: str, rng: np.random.Generator, read_bytes: Read
) -> None:
    values = gaussian_filter(rng.random((64, 96, 3)), (3, 3, 0))
    values = ((values - values.min()) / np.ptp(values) * 4095).astype(np.uint16)
    deep = bytes(imagecodecs.jpeg8_encode(values, level=quality, subsampling=subsampling, bitspersample=12))
    photo = read_bytes(deep)

    again = image.encode(photo, "jpeg", "test")

    tables = [segment.body for segment in segments_of(deep) if segment.marker in (0xDB, 0xC1)]
    assert [segment.body for segment in segments_of(again) if segment.marker in (0xDB, 0xC1)] == tables
    assert len(image.encode(photo, "jpeg", "test", 100)) > len(again)


def test_comments_and_companions_of_a_jpeg_of_12_bits_are_kept(rng: np.random.Generator, read_bytes: Read) -> None:
    deep = bytes(imagecodecs.jpeg8_encode(rng.integers(0, 4096, (16, 24), np.uint16), level=95, bitspersample=12))
    own = packed(0xFE, b"a remark") + packed(0xE1, b"FLIR\x00 and so on")

    photo = read_bytes(deep[:2] + own + deep[2:])

    assert own[:12] in image.encode(photo, "jpeg", "test")
    assert b"FLIR\x00 and so on" in image.encode(photo, "jpeg", "test")


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_truncated_jpeg_of_12_bits_is_refused(share: float, read_bytes: Read, rng: np.random.Generator) -> None:
    deep = bytes(imagecodecs.jpeg8_encode(rng.integers(0, 4096, (64, 96, 3), np.uint16), level=95, bitspersample=12))

    with pytest.raises(UnreadableFile, match="the file ends before its pixel data does"):
        read_bytes(deep[: int(len(deep) * share)])


def test_a_jpeg_of_12_bits_that_is_too_large_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch, read_bytes: Read
) -> None:
    deep = bytearray(imagecodecs.jpeg8_encode(np.zeros((64, 96), np.uint16), level=95, bitspersample=12))
    frame = deep.index(b"\xff\xc1") if b"\xff\xc1" in deep else deep.index(b"\xff\xc0")
    deep[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    monkeypatch.setattr(imagecodecs, "jpeg8_decode", lambda _: pytest.fail("decoded"))

    with pytest.raises(UnreadableFile, match="65535 x 65535 pixels, more than --max-pixels allows"):
        read_bytes(bytes(deep))


def with_profile(values: NDArray[Any], icc: bytes | None, **options: Any) -> Photo:
    return Photo(values, None, "test", Metadata(icc=icc), **options)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_colours_of_a_profile_become_srgb(dtype: type[np.generic], picture: Pixels) -> None:
    wide = icc_profile(D65, WIDE, 2.2)
    expected = ImageCms.profileToProfile(
        Image.fromarray(picture), BytesIO(wide), ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    scale = 1 if dtype == np.uint8 else 257 if dtype == np.uint16 else 1 / 255

    converted = to_srgb(with_profile((picture.astype(np.float64) * scale).astype(dtype), wide))

    assert converted.pixels.dtype == dtype
    assert converted.metadata.icc is None
    off = np.clip(converted.pixels / scale, 0, 255) - np.asarray(expected)
    assert np.abs(off).max() <= 1.5


@pytest.mark.parametrize("transfer", [LINEAR, SRGB])
def test_colours_of_code_points_become_srgb_as_those_of_a_profile(transfer: int, picture: Pixels) -> None:
    numbers = CodePoints(DISPLAY_P3, transfer)
    by_numbers = Photo(picture, None, "test", Metadata(icc=b"for other programs", cicp=numbers))

    converted = to_srgb(by_numbers)

    assert converted.metadata.cicp is None
    assert converted.metadata.icc is None
    np.testing.assert_array_equal(
        converted.pixels, to_srgb(with_profile(picture, numbers.profile(is_grey=False))).pixels
    )
    assert not np.array_equal(converted.pixels, picture)


def test_hdr_does_not_become_srgb(picture: Pixels) -> None:
    with pytest.raises(ValueError, match=r"^HDR \(PQ, Rec\. 2020\) reaches beyond sRGB"):
        to_srgb(Photo(picture, None, "test", Metadata(cicp=CodePoints(9, PQ))))


def test_grey_stays_grey(picture: Pixels) -> None:
    linear = icc_profile(D65, None, 1.0)

    converted = to_srgb(with_profile(np.full((8, 9, 1), 55, np.uint8), linear))

    assert converted.pixels.shape == (8, 9, 1)
    assert converted.pixels.max() == converted.pixels.min() == 128  # of 55 / 255 in linear light


@pytest.mark.parametrize("icc", [None, "srgb"])
def test_what_is_srgb_stays_as_it_is(icc: str | None, picture: Pixels) -> None:
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if icc else None

    np.testing.assert_array_equal(to_srgb(with_profile(picture, own)).pixels, picture)


def test_inks_without_a_profile_become_srgb_by_a_formula_and_that_is_said(inks: Pixels) -> None:
    light = 255 - inks
    photo = with_profile(light[..., :3], None, black=light[..., 3])

    converted = to_srgb(photo)

    assert converted.black is None
    assert converted.notes == (PRINTED_PLAINLY,)
    np.testing.assert_array_equal(converted.pixels, np.asarray(cmyk(inks).convert("RGB")))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_inks_become_srgb_by_their_profile(dtype: type[np.generic], inks: Pixels) -> None:
    icc = cmyk_profile()
    scale = 1 if dtype == np.uint8 else 257
    light = ((255 - inks) * np.uint16(scale)).astype(dtype)
    expected = ImageCms.profileToProfile(
        cmyk(inks), BytesIO(icc), ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB"
    )

    converted = to_srgb(with_profile(light[..., :3], icc, black=light[..., 3]))

    assert converted.pixels.dtype == dtype
    assert np.abs(converted.pixels / scale - np.asarray(expected)).max() <= 2
    assert converted.notes == ()


def cmyk_profile() -> bytes:
    """An ICC profile whose table says of the 16 corners of inks what light they leave, by their product."""
    header = bytearray(128)
    header[8:12] = bytes([2, 0x40, 0, 0])
    header[12:24] = b"prtrCMYKLab "
    header[36:40] = b"acsp"
    header[68:80] = np.array([0xF6D6, 0x10000, 0xD32D], ">i4").tobytes()
    corners = np.array([(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)])
    lightness = 255 * (1 - corners[:, :3].mean(axis=1)) * (1 - corners[:, 3])
    middle = np.full(16, 128)
    table = np.stack([lightness, middle + 40 * (corners[:, 1] - corners[:, 0]), middle - 40 * corners[:, 2]], axis=1)
    identity = np.array([0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x10000], ">i4").tobytes()
    curve = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + 4 * curve + table.round().astype(np.uint8).tobytes()
    lut += 3 * curve
    tags = [b"A2B0"]
    start = 128 + 4 + 12 * len(tags)
    directory = len(tags).to_bytes(4, "big") + b"".join(
        name + start.to_bytes(4, "big") + len(lut).to_bytes(4, "big") for name in tags
    )
    profile = bytes(header) + directory + lut
    return len(profile).to_bytes(4, "big") + profile[4:]


@pytest.mark.parametrize(
    ("icc", "reason"),
    [
        (HEAD, "its colour profile is not for its colours: remove the profile first"),
        (HEAD.replace(b"CMYK", b"RGB "), "its colour profile is damaged: remove the profile first"),
    ],
)
def test_a_profile_that_is_no_use_is_refused(icc: bytes, reason: str, picture: Pixels) -> None:
    with pytest.raises(ValueError, match=reason):
        to_srgb(with_profile(picture, icc))


def test_integers_with_a_sign_have_no_colours(picture: Pixels) -> None:
    photo = with_profile(picture, icc_profile(D65, WIDE, 2.2), is_signed=True)

    np.testing.assert_array_equal(to_srgb(photo).pixels, picture)


@pytest.mark.parametrize("bits", [8, 16])
def test_lab_becomes_srgb_in_its_own_depth(
    bits: int, rng: np.random.Generator, with_tifffile: Encode, read_bytes: Read
) -> None:
    lab = rng.integers(0, 2**bits, (20, 30, 3)).astype(f"u{bits // 8}")
    photo = read_bytes(with_tifffile(lab, photometric="icclab", iccprofile=HEAD))

    converted = to_srgb(photo)

    assert converted.lab is None
    assert converted.bits == bits
    white = 2**bits - 1
    assert np.abs(converted.pixels / white - np.clip(photo.pixels, 0, 1)).max() <= 0.51 / white
    with tifffile.TiffFile(BytesIO(image.encode(replace(converted, kind="tiff"), "tiff", "test"))) as file:
        assert file.pages.first.photometric == tifffile.PHOTOMETRIC.RGB


@pytest.mark.parametrize("exponent", [1.0, 1.8, 2.2])
@pytest.mark.parametrize("primaries", [(0.64, 0.33, 0.21, 0.71, 0.15, 0.06), (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)])
def test_colours_of_8_bits_are_rounded_once(
    primaries: tuple[float, ...], exponent: float, rng: np.random.Generator
) -> None:
    pixels = rng.integers(0, 256, (80, 80, 3)).astype(np.uint8)
    pixels[:40] //= 8  # shadows, where curves differ most

    converted = to_srgb(Photo(pixels, None, "test", Metadata(icc=icc_profile(D65, primaries, exponent)))).pixels

    to_light = np.linalg.inv(matrix_of((0.64, 0.33, 0.3, 0.6, 0.15, 0.06))) @ matrix_of(primaries)
    light = ((pixels / 255) ** exponent @ to_light.T).clip(0, 1)
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(converted - expected).max() < 0.5 + 0.2  # of the profile's own numbers, of 16 bits


def matrix_of(primaries: tuple[float, ...]) -> NDArray[np.float64]:
    """From linear red, green and blue with a white of D65 to X, Y and Z."""

    def axes(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points.T
        return np.stack([x / y, np.ones(len(x)), (1 - x - y) / y])

    colours, white = axes(np.reshape(primaries, (3, 2))), axes(np.array([D65]))[:, 0]
    matrix: NDArray[np.float64] = colours * np.linalg.solve(colours, white)
    return matrix
