import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from denoise_cli.errors import MissingDependency, UnreadableFile
from denoise_cli.io import image
from denoise_cli.io.exif import EXIF_IFD, Exif, Value, parse
from denoise_cli.io.photo import Photo
from denoise_cli.io.raw import Numbers, RawFile

Encode = Callable[..., bytes]
Read = Callable[..., Photo]

BLACK, WHITE = 512, 4095
GREY = 1500  # above black, of a neutral surface, in green


def rationals(*numbers: float) -> list[int]:
    return [part for number in numbers for part in (round(number * 10_000), 10_000)]


@pytest.fixture
def dng(with_tifffile: Encode) -> Encode:
    """A digital negative: RGGB, without compression; the upper half dark, the lower grey, its left corner white."""

    def make(orientation: int = 1) -> bytes:
        balance = np.tile([[0.5, 1.0], [1.0, 0.6]], (32, 48))
        light = np.full((64, 96), GREY * 1.0)
        light[:32] /= 10
        light[48:, :16] = 10 * WHITE
        mosaic = np.minimum(BLACK + light * balance, WHITE).astype(np.uint16)
        tags = [
            (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # DNGVersion
            (50707, 1, 4, bytes([1, 1, 0, 0]), True),  # DNGBackwardVersion
            (50708, 2, 0, "Test Camera", True),  # UniqueCameraModel
            (33421, 3, 2, (2, 2), True),  # CFARepeatPatternDim
            (33422, 1, 4, bytes([0, 1, 1, 2]), True),  # CFAPattern
            (50721, 10, 9, rationals(3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570), True),
            (50728, 5, 3, rationals(0.5, 1, 0.6), True),  # AsShotNeutral
            (50714, 3, 1, BLACK, True),
            (50717, 3, 1, WHITE, True),
            (50778, 3, 1, 21, True),  # CalibrationIlluminant1: D65
            (274, 3, 1, orientation, True),
            (271, 2, 0, "Maker", True),
            (272, 2, 0, "Test Camera", True),
            (315, 2, 7, "José".encode() + b"\x00\x00", True),
        ]
        return with_tifffile(mosaic, photometric="cfa", extratags=tags, byteorder="<", software=False)

    return make


@pytest.mark.parametrize("name", ["photo.dng", "photo.tif", "photo"])
def test_a_digital_negative_is_developed_whatever_its_name(name: str, dng: Encode, read_bytes: Read) -> None:
    photo = read_bytes(dng(), name)

    assert photo.kind == "raw"
    assert photo.pixels.dtype == np.uint16
    assert photo.pixels.shape == (64, 96, 3)
    assert photo.alpha is None


def test_the_camera_s_white_balance_makes_grey_neutral(dng: Encode, read_bytes: Read) -> None:
    red, green, blue = read_bytes(dng()).pixels[40, 80] / 65535

    assert red == pytest.approx(green, abs=0.01)
    assert blue == pytest.approx(green, abs=0.01)


def test_light_is_encoded_as_srgb(dng: Encode, read_bytes: Read) -> None:
    pixels = read_bytes(dng()).pixels / 65535

    bright, dark = pixels[40, 80, 1], pixels[10, 80, 1]
    assert bright == pytest.approx(1.055 * (GREY / (WHITE - BLACK)) ** (1 / 2.4) - 0.055, abs=0.02)
    assert dark == pytest.approx(1.055 * (GREY / 10 / (WHITE - BLACK)) ** (1 / 2.4) - 0.055, abs=0.02)
    assert pixels[60, 4].min() > 0.97


@pytest.mark.parametrize(
    ("orientation", "shape", "white"),
    [(1, (64, 96), (-4, 4)), (3, (64, 96), (4, -4)), (6, (96, 64), (4, 4)), (8, (96, 64), (-4, -4))],
)
def test_a_turned_camera_gives_an_upright_photo(
    orientation: int, shape: tuple[int, int], white: tuple[int, int], dng: Encode, read_bytes: Read
) -> None:
    photo = read_bytes(dng(orientation), "photo.dng")

    assert photo.pixels.shape[:2] == shape
    assert photo.pixels[white].min() > 60_000
    assert 274 not in parse(photo.metadata.exif or b"").main


def test_what_the_camera_said_is_carried_and_the_file_s_layout_is_not(dng: Encode, read_bytes: Read) -> None:
    exif = parse(read_bytes(dng()).metadata.exif or b"")

    assert exif.main == {
        271: Value(2, b"Maker\x00"),
        272: Value(2, b"Test Camera\x00"),
        315: Value(2, "José".encode() + b"\x00\x00"),
    }


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp", "avif", "jxl", "jp2"])
def test_a_developed_photo_can_be_written_with_its_metadata(kind: str, dng: Encode, read_bytes: Read) -> None:
    photo = read_bytes(dng())

    back = read_bytes(image.encode(photo, kind, "test"))

    assert back.kind == kind
    assert back.pixels.shape == photo.pixels.shape
    assert parse(back.metadata.exif or b"").main[271] == Value(2, b"Maker\x00")


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9, 0.99])
def test_a_truncated_negative_is_refused_in_one_line(
    share: float, dng: Encode, read_bytes: Read, tmp_path: Path
) -> None:
    whole = dng()

    with pytest.raises(UnreadableFile) as caught:
        read_bytes(whole[: int(len(whole) * share)], "photo.dng")

    assert str(caught.value).startswith(f"{tmp_path / 'photo.dng'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 1])
def test_libraw_prints_nothing(share: float, dng: Encode, read_bytes: Read, capfd: pytest.CaptureFixture[str]) -> None:
    whole = dng()

    with suppress(UnreadableFile):
        read_bytes(whole[: int(len(whole) * share)], "photo.dng")

    print("heard", file=sys.stderr)
    assert capfd.readouterr().err == "heard\n"


def test_what_is_printed_while_a_file_is_developed_is_heard(
    dng: Encode, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may have to report something meanwhile."""
    with RawFile(dng(), 10**6) as raw:
        integers = raw._integers

        def print_and_convert(numbers: Numbers) -> Numbers:
            print("heard", file=sys.stderr)
            return integers(numbers)

        monkeypatch.setattr(raw, "_integers", print_and_convert)
        raw.develop()
    assert capfd.readouterr().err == "heard\n"


def test_a_closed_stderr_stays_closed(dng: Encode, tmp_path: Path) -> None:
    path = tmp_path / "photo.dng"
    path.write_bytes(dng()[:-1000])
    code = """
import os, sys
from pathlib import Path
from denoise_cli.errors import UnreadableFile
from denoise_cli.io import image
os.close(2)
try:
    image.read(Path(sys.argv[1]))
except UnreadableFile:
    print("refused")
try:
    os.fstat(2)
except OSError:
    print("closed")
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["refused", "closed"]


def test_what_libraw_does_not_know_is_refused_in_one_line(read_bytes: Read, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile) as caught:
        read_bytes(bytes(range(256)) * 40, "photo.nef")

    reason = "LibRaw cannot read it (Unsupported file format or not RAW file)"
    assert str(caught.value) == f"{tmp_path / 'photo.nef'}: cannot be decoded: {reason}"


def test_too_many_pixels_are_refused(dng: Encode, read_bytes: Read) -> None:
    with pytest.raises(UnreadableFile, match=r"96 x 64 pixels, more than --max-pixels allows$"):
        read_bytes(dng(), max_pixels=96 * 64 - 1)


def test_a_missing_library_is_named(dng: Encode, read_bytes: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)

    with pytest.raises(MissingDependency, match=r"reading camera RAW needs rawpy, .* pip install rawpy$"):
        read_bytes(dng())


def test_a_raw_without_exif_has_what_libraw_found_out(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("denoise_cli.io.raw.exif_of", lambda _: Exif())

    exif = parse(image.read(shared_data / "raw" / "CRW.CRW").metadata.exif or b"")

    assert exif.main[271].data.startswith(b"Canon")
    assert EXIF_IFD not in exif.main
    assert exif.number(exif.exif[34855]) == 100  # ISO
