"""Colours by code points (CICP): what comes back, what FFmpeg and pillow-heif make of it, and what is refused."""

import re
import struct
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray

from denoise_cli.errors import UnreadableFile, UnwritableFile
from denoise_cli.imaging.transfer import HLG, LINEAR, PQ
from denoise_cli.io import image
from denoise_cli.io.boxes import box, boxes_of
from denoise_cli.io.cicp import CodePoints
from denoise_cli.io.item_properties import colours_of, properties_of
from denoise_cli.io.mastering import Mastering, of_boxes
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import D65, icc_profile, is_srgb, numbers_of, transfer_of

Read = Callable[..., Photo]
Encode = Callable[..., bytes]
Deep = NDArray[np.uint16]

NUMBERS = {"PQ": (9, PQ), "HLG": (9, HLG), "P3 PQ": (12, PQ), "P3": (12, 13), "linear": (1, LINEAR), "2020": (9, 14)}
HOLDERS = ("png", "avif", "jxl")
FFMPEG = {PQ: "smpte2084", HLG: "arib-std-b67", 13: "iec61966-2-1", 14: "bt2020-10", LINEAR: "linear"}
FFMPEG_PRIMARIES = {9: "bt2020", 12: "smpte432", 1: "bt709"}
DISPLAY = (35400, 14600, 8500, 39850, 6550, 2300, 15635, 16450, 10_000_000, 50)
MASTERING = Mastering(DISPLAY, (9_870_000, 4_010_000))
WIDE_PROFILE = icc_profile(D65, (0.708, 0.292, 0.170, 0.797, 0.131, 0.046), 2.4)
TEN_BITS = np.linspace(0, 1023, 32 * 48 * 3).round().reshape(32, 48, 3).astype(np.uint16)


@pytest.fixture
def ramp() -> Deep:
    """(32, 48, 3)"""
    return np.linspace(0, 65535, 32 * 48 * 3).reshape(32, 48, 3).astype(np.uint16)


@pytest.fixture
def seen_by_ffmpeg(tmp_path: Path, ffmpeg: object) -> Callable[[bytes, str], str]:
    def look(data: bytes, kind: str) -> str:
        path = tmp_path / f"seen.{kind}"
        path.write_bytes(data)
        command = [ffmpeg.program, "-nostdin", "-i", path, "-vf", "showinfo", "-f", "null", "-"]  # type: ignore[attr-defined]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "Decoder not found" in done.stderr or "no decoder" in done.stderr.lower():
            pytest.skip(f"this FFmpeg does not decode {kind}")
        assert done.returncode == 0, done.stderr
        return done.stderr

    return look


def heic(values: Deep, **colours: object) -> bytes:
    """A file of 10 bits by libheif, without loss."""
    picture = pillow_heif.from_bytes(
        "RGB;16", (values.shape[1], values.shape[0]), (values << 6).astype("<u2").tobytes()
    )
    buffer = BytesIO()
    picture.save(buffer, quality=-1, chroma=444, matrix_coefficients=9, full_range_flag=1, **colours)
    return buffer.getvalue()


def with_properties(data: bytes, *properties: bytes) -> bytes:
    """A HEIC with more properties of its first picture: lists are rebuilt, and places move along."""
    parts = dict(boxes_of(data))
    meta = dict(boxes_of(parts[b"meta"][4:]))
    lists = dict(boxes_of(meta[b"iprp"]))
    count = sum(1 for _ in boxes_of(lists[b"ipco"]))
    owners = bytearray(lists[b"ipma"])
    start = 4 + 4 + 2
    step = 2 if owners[3] & 1 else 1
    end = start + 1 + step * owners[start]
    owners[end:end] = b"".join((count + 1 + n).to_bytes(step, "big") for n in range(len(properties)))
    owners[start] += len(properties)
    new = box(b"iprp", box(b"ipco", lists[b"ipco"], *properties), box(b"ipma", bytes(owners)))
    shift = len(new) - len(box(b"iprp", meta[b"iprp"]))
    places = meta[b"iloc"]
    (first,) = (contents for name, contents in boxes_of(data) if name == b"mdat")
    start_of_pixels = data.index(first)
    moved = places.replace(struct.pack(">I", start_of_pixels), struct.pack(">I", start_of_pixels + shift))
    assert moved != places
    inside = [box(name, moved if name == b"iloc" else body) if name != b"iprp" else new for name, body in meta.items()]
    return b"".join(
        box(b"meta", parts[b"meta"][:4], *inside) if name == b"meta" else box(name, body)
        for name, body in boxes_of(data)
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", HOLDERS)
@pytest.mark.parametrize("numbers", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_numbers_and_values_come_back(
    dtype: type[np.generic], numbers: tuple[int, int], kind: str, channels: int, ramp: Deep, read_bytes: Read
) -> None:
    values = (ramp[..., :channels] >> (8 if dtype == np.uint8 else 0)).astype(dtype)
    photo = Photo(values, None, "test", Metadata(cicp=CodePoints(*numbers)))

    back = read_bytes(image.encode(photo, kind, "test", quality=100))

    assert back.pixels.dtype == dtype
    assert back.pixels.shape[2] == channels
    tolerance = {"avif": 2 if dtype == np.uint8 else 40}.get(kind, 0)
    assert np.abs(back.pixels.astype(int) - values).max() <= tolerance
    found = back.metadata.cicp
    primaries, transfer = numbers
    if kind == "jxl":
        transfer = 1 if transfer == 14 else transfer  # the same curve, for which JPEG XL has one number
        if channels == 1:  # greyscale has no primaries there
            primaries = 9 if transfer in (PQ, HLG) else 1
    if (primaries, transfer) == (1, 13):
        assert found is None
    else:
        assert found is not None
        assert (found.primaries, found.transfer) == (primaries, transfer)


@pytest.mark.parametrize("kind", HOLDERS)
@pytest.mark.parametrize("numbers", NUMBERS.values(), ids=NUMBERS)
def test_ffmpeg_finds_the_numbers(
    numbers: tuple[int, int], kind: str, ramp: Deep, seen_by_ffmpeg: Callable[[bytes, str], str]
) -> None:
    data = image.encode(Photo(ramp, None, "test", Metadata(cicp=CodePoints(*numbers))), kind, "test", quality=100)

    seen = seen_by_ffmpeg(data, kind)

    transfer = "bt709" if (kind, numbers[1]) == ("jxl", 14) else FFMPEG[numbers[1]]
    assert f"color_primaries:{FFMPEG_PRIMARIES[numbers[0]]} color_trc:{transfer}" in seen


@pytest.mark.parametrize("kind", ["png", "avif"])
def test_ffmpeg_finds_the_mastering_display_and_the_light(
    kind: str, ramp: Deep, seen_by_ffmpeg: Callable[[bytes, str], str], read_bytes: Read
) -> None:
    meta = Metadata(cicp=CodePoints(9, PQ), mastering=MASTERING)
    data = image.encode(Photo(ramp, None, "test", meta), kind, "test")

    seen = seen_by_ffmpeg(data, kind)

    assert re.search(r"r\(0\.7080,0\.2920\) g\(0\.1700,0\.7970\) b\(0\.1310 0\.0460\) wp\(0\.3127, 0\.3290\)", seen)
    assert "min_luminance=0.005000, max_luminance=1000.000000" in seen
    assert "MaxCLL=987, MaxFALL=401" in seen
    assert read_bytes(data).metadata.mastering == MASTERING
    assert image.losses(meta, kind) == ()


def test_what_is_lost_of_mastering_is_named() -> None:
    meta = Metadata(cicp=CodePoints(9, PQ), mastering=Mastering(DISPLAY, (1, 2), ((b"amve", bytes(8)),)))

    assert image.losses(meta, "jxl") == (
        "not carried over to jxl: mastering display, content light level, ambient viewing environment",
    )
    assert image.losses(meta, "png") == ("not carried over to png: ambient viewing environment",)
    assert image.losses(meta, "avif") == ()


def test_the_ambient_light_of_an_avif_is_kept(ramp: Deep, read_bytes: Read) -> None:
    ambient = struct.pack(">IHH", 3_140_000, 15635, 16450)
    meta = Metadata(cicp=CodePoints(9, HLG), mastering=Mastering(others=((b"amve", ambient),)))

    data = image.encode(Photo(ramp, None, "test", meta), "avif", "test")

    assert (b"amve", ambient) in properties_of(data)
    assert read_bytes(data).metadata.mastering == meta.mastering


@pytest.mark.parametrize(("transfer", "name"), [(PQ, "PQ, Rec. 2020"), (HLG, "HLG, Rec. 2020")])
def test_a_heic_goes_to_every_format_that_holds_it(transfer: int, name: str, read_bytes: Read) -> None:
    light = box(b"clli", struct.pack(">2H", 987, 401))
    display = box(b"mdcv", struct.pack(">8H2I", 8500, 39850, 6550, 2300, 35400, 14600, 15635, 16450, 10_000_000, 50))
    plain = heic(TEN_BITS, color_primaries=9, transfer_characteristics=transfer)

    photo = read_bytes(with_properties(plain, light, display))

    assert (photo.kind, photo.depth, photo.metadata.encoding) == ("heif", 10, name)
    assert photo.metadata.mastering == MASTERING
    assert np.abs(photo.pixels - TEN_BITS * (65535.0 / 1023)).max() < 66
    for kind in HOLDERS:
        back = read_bytes(image.encode(photo, kind, "test", quality=100))
        assert back.metadata.encoding == name
        assert back.depth == (None if kind == "png" else 10)
        assert np.abs(back.pixels.astype(int) - photo.pixels).max() <= (130 if kind == "avif" else 0)


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("matrix", [0, 9])
def test_a_heic_keeps_its_numbers(transfer: int, matrix: int, ramp: Deep, read_bytes: Read) -> None:
    meta = Metadata(cicp=CodePoints(9, transfer, matrix))

    back = read_bytes(image.encode(Photo(ramp, None, "test", meta), "heif", "test", quality=95))

    assert back.metadata.cicp == CodePoints(9, transfer, 9)  # HEVC stores lightness and colours, never RGB
    assert np.abs(back.pixels.astype(int) - ramp).mean() < 100


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("matrix", [0, 1, 9])
def test_an_avif_keeps_its_depth_and_its_matrix(bits: int, matrix: int, read_bytes: Read) -> None:
    values = TEN_BITS << (bits - 10)
    data = imagecodecs.avif_encode(
        values, level=100, bitspersample=bits, pixelformat="yuv444", primaries=9, transfer=PQ, matrix=matrix
    )

    photo = read_bytes(data)
    again = image.encode(photo, "avif", "test", quality=100)

    assert photo.metadata.cicp == CodePoints(9, PQ, matrix)
    assert read_bytes(again).metadata.cicp == photo.metadata.cicp
    decoded = imagecodecs.avif_decode(again)
    assert 2**bits - 6 <= decoded.max() < 2**bits
    assert np.abs(decoded.astype(int) - values).max() <= 2
    deep = imagecodecs.jpegxl_decode(image.encode(photo, "jxl", "test", quality=100))
    assert 2**bits - 6 <= deep.max() < 2**bits
    assert np.abs(deep.astype(int) - values).max() <= 1


@pytest.mark.parametrize("kind", ["jpeg", "tiff", "webp", "jp2", "ppm", "pfm", "hdr"])
def test_hdr_is_refused_where_it_cannot_be_said(kind: str, ramp: Deep) -> None:
    photo = Photo(ramp, None, "png", Metadata(cicp=CodePoints(9, PQ)))
    message = r"cannot hold HDR \(PQ, Rec. 2020\): choose one of .png, .avif, .heic, .jxl$"

    with pytest.raises(ValueError, match=message):
        image.encode(photo, kind, "test")
    with pytest.raises(UnwritableFile, match=rf"^x: cannot be encoded as {kind}: it {message}"):
        image.check(Path("x"), photo, kind)


def with_numbers(profile: bytes, primaries: int, transfer: int) -> bytes:
    """A profile with a cicp tag, in place of its copyright."""
    changed = bytearray(profile)
    place, start = profile.index(b"cprt", 128), len(profile)
    changed[place : place + 12] = struct.pack(">4sII", b"cicp", start, 12)
    changed += b"cicp" + bytes(4) + bytes([primaries, transfer, 0, 1])
    changed[:4] = struct.pack(">I", len(changed))
    return bytes(changed)


@pytest.mark.parametrize("kind", ["jpeg", "tiff", "webp", "jp2"])
def test_a_profile_that_says_the_same_hdr_is_enough_for_others(kind: str, ramp: Deep, read_bytes: Read) -> None:
    profile = with_numbers(WIDE_PROFILE, 9, PQ)
    data = image.encode(Photo(ramp, None, "test", Metadata(icc=profile, cicp=CodePoints(9, PQ))), "png", "test")

    photo = read_bytes(data)

    assert (photo.metadata.icc, photo.metadata.encoding) == (profile, "PQ, Rec. 2020")
    back = read_bytes(image.encode(photo, kind, "test")).metadata
    assert (back.icc, back.cicp) == (profile, None)


@pytest.mark.parametrize("stated", [None, (9, HLG), (12, PQ)])
@pytest.mark.parametrize("kind", ["jpeg", "tiff", "webp", "jp2"])
def test_hdr_is_refused_if_its_profile_says_something_else(
    kind: str, stated: tuple[int, int] | None, ramp: Deep
) -> None:
    profile = WIDE_PROFILE if stated is None else with_numbers(WIDE_PROFILE, *stated)
    photo = Photo(ramp, None, "png", Metadata(icc=profile, cicp=CodePoints(9, PQ)))

    with pytest.raises(UnwritableFile, match=r"it cannot hold HDR \(PQ, Rec. 2020\): choose one of .png, "):
        image.check(Path("x"), photo, kind)


@pytest.mark.parametrize("kind", ["jpeg", "tiff", "webp", "jp2"])
def test_numbers_become_a_profile_in_place_of_one_that_contradicts_them(
    kind: str, ramp: Deep, read_bytes: Read, with_chunk: Encode
) -> None:
    plain = image.encode(Photo(ramp, None, "test", Metadata(icc=WIDE_PROFILE)), "png", "test")

    photo = read_bytes(with_chunk(plain, b"cICP", bytes([12, 13, 0, 1])))

    expected = icc_profile(D65, (0.680, 0.320, 0.265, 0.690, 0.150, 0.060))
    assert read_bytes(image.encode(photo, kind, "test")).metadata.icc == expected
    like_srgb = Photo(ramp, None, "png", Metadata(icc=WIDE_PROFILE, cicp=CodePoints(1, 1)))
    assert read_bytes(image.encode(like_srgb, kind, "test")).metadata.icc is None


def test_transparent_hdr_is_refused_with_formats_that_hold_it(ramp: Deep) -> None:
    photo = Photo(ramp, ramp[..., 0], "png", Metadata(cicp=CodePoints(9, PQ)))

    with pytest.raises(UnwritableFile, match=r"it cannot hold HDR \(PQ, Rec. 2020\): choose one of (.*)$") as error:
        image.check(Path("x"), photo, "jpeg")
    for extension in str(error.value).partition("choose one of ")[2].split(", "):
        image.encode(photo, image.kind_for(Path(f"x{extension}")), "test")


@pytest.mark.parametrize("channels", [1, 3])
def test_hdr_that_jpeg_xl_cannot_say_is_refused_before_it_is_denoised(
    channels: int, ramp: Deep, read_bytes: Read
) -> None:
    numbers = CodePoints(2, PQ)
    photo = Photo(ramp[..., :channels], None, "png", Metadata(cicp=numbers))
    message = r"it cannot hold HDR \(PQ, unspecified primaries\): choose one of .png, .avif, .heic$"

    with pytest.raises(UnwritableFile, match=message):
        image.check(Path("x"), photo, "jxl")
    for kind in ("png", "avif", "heif"):
        found = read_bytes(image.encode(photo, kind, "test")).metadata.cicp
        assert found is not None
        assert (found.primaries, found.transfer) == (2, PQ)


@pytest.mark.parametrize("kind", ["jpeg", "tiff", "webp", "jp2"])
@pytest.mark.parametrize("channels", [1, 3])
def test_wide_gamut_becomes_a_profile_where_numbers_cannot_be_written(
    channels: int, kind: str, ramp: Deep, read_bytes: Read
) -> None:
    photo = Photo(ramp[..., :channels], None, "avif", Metadata(cicp=CodePoints(12, 13)))

    icc = read_bytes(image.encode(photo, kind, "test", quality=100)).metadata.icc

    if (kind, channels) == ("webp", 1):  # which has no greyscale
        assert icc is None
    elif channels == 1:
        assert icc is not None
        assert is_srgb(icc)
    else:
        assert icc == icc_profile(D65, (0.680, 0.320, 0.265, 0.690, 0.150, 0.060))


def test_srgb_by_numbers_is_stronger_than_a_profile_in_a_png(ramp: Deep, read_bytes: Read, with_chunk: Encode) -> None:
    profile = icc_profile(D65, (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 2.2)
    plain = image.encode(Photo(ramp, None, "test", Metadata(icc=profile)), "png", "test")

    assert read_bytes(plain).metadata.icc == profile
    meta = read_bytes(with_chunk(plain, b"cICP", bytes([1, 13, 0, 1]))).metadata
    assert (meta.icc, meta.cicp) == (None, None)


def test_a_profile_is_stronger_than_numbers_in_an_avif(ramp: Deep, read_bytes: Read) -> None:
    profile = icc_profile(D65, (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 2.2)
    data = image.encode(Photo(ramp, None, "test", Metadata(icc=profile)), "avif", "test")
    named = data.replace(b"nclx\x00\x02\x00\x02", b"nclx\x00\x09\x00\x10")
    assert named != data or b"nclx" not in data

    meta = read_bytes(named).metadata

    assert (meta.icc, meta.cicp) == (profile, None)


@pytest.mark.parametrize("is_large", [False, True])
def test_properties_of_another_picture_in_the_file_do_not_count(is_large: bool) -> None:
    """They are listed for all pictures together, and the primary one need not be the first."""
    known = [(b"colr", b"nclx" + bytes([0, 9, 0, 16, 0, 9, 0])), (b"colr", b"nclx" + bytes([0, 12, 0, 13, 0, 6, 0]))]
    number, place = (">I", ">H") if is_large else (">H", ">B")
    important = 0x8000 if is_large else 0x80
    owners = b"".join(struct.pack(number, item) + b"\x01" + struct.pack(place, important | item) for item in (1, 2))
    version_and_flags = bytes([is_large, 0, 0, is_large])
    meta = box(
        b"meta",
        bytes(4),
        box(b"pitm", bytes([is_large, 0, 0, 0]), struct.pack(number, 2)),
        box(
            b"iprp",
            box(b"ipco", *(box(*each) for each in known)),
            box(b"ipma", version_and_flags, struct.pack(">I", 2), owners),
        ),
    )

    assert properties_of(meta) == known[1:]
    assert colours_of(meta, properties_of(meta)) == CodePoints(12, 13, 6)


def test_colours_of_the_pieces_of_a_picture_are_its_own() -> None:
    tile = box(b"colr", b"nclx", bytes([0, 9, 0, 16, 0, 9, 0]))

    assert colours_of(box(b"meta", bytes(4), tile), []) == CodePoints(9, PQ, 9)
    assert colours_of(box(b"meta", bytes(4), tile, box(b"colr", b"prof", bytes(9))), []) is None


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ((9, 9, 0, 1), r"colours that are not known \(CICP 9/9\): convert it to sRGB first$"),
        ((10, 16, 0, 1), r"colours that are not known \(CICP 10/16\): convert it to sRGB first$"),
        ((9, 16, 0, 0), r"values in video range, or not red, green and blue \(CICP\): convert it to full range first$"),
        ((9, 16, 9, 1), r"values in video range, or not red, green and blue \(CICP\): convert it to full range first$"),
    ],
)
def test_other_numbers_are_refused(
    numbers: tuple[int, ...], reason: str, ramp: Deep, read_bytes: Read, with_chunk: Encode
) -> None:
    plain = image.encode(Photo(ramp, None, "test"), "png", "test")

    with pytest.raises(UnreadableFile, match=reason):
        read_bytes(with_chunk(plain, b"cICP", bytes(numbers)))


def test_chunks_by_the_names_of_a_draft_are_read_and_renamed(ramp: Deep, read_bytes: Read, with_chunk: Encode) -> None:
    data = image.encode(Photo(ramp, None, "test", Metadata(cicp=CodePoints(9, PQ))), "png", "test")
    data = with_chunk(data, b"cLLi", struct.pack(">2I", 9_870_000, 4_010_000))

    photo = read_bytes(data)
    again = image.encode(photo, "png", "test")

    assert photo.metadata.mastering == Mastering(light=(9_870_000, 4_010_000))
    assert (again.count(b"cLLI"), again.count(b"cLLi")) == (1, 0)


def test_a_png_of_gamma_1_is_linear(ramp: Deep, read_bytes: Read, with_chunk: Encode) -> None:
    plain = image.encode(Photo(ramp, None, "test"), "png", "test")

    assert read_bytes(with_chunk(plain, b"gAMA", struct.pack(">I", 100_000))).metadata.encoding == "linear, Rec. 709"
    assert read_bytes(with_chunk(plain, b"gAMA", struct.pack(">I", 45_455))).metadata.encoding is None


@pytest.mark.parametrize("numbers", [(9, PQ), (12, 13), (1, 13)])
def test_a_gamma_that_numbers_override_is_not_written(
    numbers: tuple[int, int], ramp: Deep, read_bytes: Read, with_chunk: Encode
) -> None:
    plain = with_chunk(image.encode(Photo(ramp, None, "test"), "png", "test"), b"gAMA", struct.pack(">I", 100_000))
    assert b"gAMA" in image.encode(read_bytes(plain), "png", "test")

    photo = read_bytes(with_chunk(plain, b"cICP", bytes([*numbers, 0, 1])))

    assert photo.metadata.gamma is None
    assert b"gAMA" not in image.encode(photo, "png", "test")


def test_what_becomes_srgb_has_no_gamma_of_its_own(ramp: Deep, read_bytes: Read, with_chunk: Encode) -> None:
    plain = image.encode(Photo(ramp, None, "test"), "png", "test")
    linear = read_bytes(with_chunk(plain, b"gAMA", struct.pack(">I", 100_000)))

    assert b"gAMA" not in image.encode(image.to_srgb(linear), "png", "test")


@pytest.mark.parametrize(
    ("curve", "transfer"), [(1.0, LINEAR), (np.linspace(0, 1, 64), LINEAR), (2.2, None), (1.1, None)]
)
@pytest.mark.parametrize("primaries", [None, (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)])
def test_a_linear_profile_is_recognised(
    primaries: tuple[float, ...] | None, curve: float | np.ndarray, transfer: int | None
) -> None:
    assert transfer_of(icc_profile(D65, primaries, curve)) == transfer


def test_a_profile_may_state_code_points() -> None:
    profile = with_numbers(WIDE_PROFILE, 9, PQ)

    assert (transfer_of(profile), numbers_of(profile)) == (PQ, (9, PQ))
    assert numbers_of(WIDE_PROFILE) is None


@pytest.mark.parametrize("damage", [b"", bytes(100), bytes(127) + b"\xff" * 20, bytes(128) + b"\xff" * 500])
def test_a_damaged_profile_states_nothing(damage: bytes) -> None:
    assert transfer_of(damage) is None
    assert numbers_of(damage) is None


def test_a_damaged_list_of_properties_is_refused() -> None:
    properties = box(b"iprp", box(b"ipco"), box(b"ipma", bytes([0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 9, 5])))
    meta = box(b"meta", bytes(4), box(b"pitm", bytes([0, 0, 0, 0, 0, 1])), properties)

    with pytest.raises(ValueError, match="its list of properties is damaged"):
        properties_of(meta)


def test_short_boxes_say_nothing() -> None:
    assert of_boxes([(b"clli", b"\x00"), (b"mdcv", bytes(10)), (b"ispe", bytes(12))]) is None
