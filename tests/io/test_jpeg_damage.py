"""JPEGs that are damaged, and decoded all the same."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from denoise_cli.errors import UnreadableFile
from denoise_cli.io import image
from denoise_cli.io.photo import Photo
from denoise_cli.io.pillow import STRAY_BYTES

Read = Callable[..., Photo]
SCAN = b"\xff\xda"
WORDS = "its pixel data is damaged, and is decoded as far as it goes"


def jpeg(rng: np.random.Generator, mode: str = "RGB", progressive: bool = False) -> bytes:
    buffer, channels = BytesIO(), len(Image.new(mode, (1, 1)).getbands())
    pixels = rng.integers(0, 256, (96, 128, channels), np.uint8)
    Image.fromarray(pixels.squeeze(), mode).save(buffer, "JPEG", progressive=progressive)
    return buffer.getvalue()


def without_a_part(data: bytes) -> bytes:
    middle = (data.index(SCAN) + len(data)) // 2
    return data[:middle] + data[middle + 400 :]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_damage_is_said_and_refused_if_asked(
    mode: str, progressive: bool, rng: np.random.Generator, read_bytes: Read, tmp_path: Path
) -> None:
    whole = jpeg(rng, mode, progressive)
    assert (read_bytes(whole).repairs, read_bytes(whole + b"more").repairs) == ((), ())
    photo = read_bytes(without_a_part(whole), "damaged.jpg")
    assert WORDS in photo.repairs[0]
    assert photo.repairs[0] in photo.notes
    with pytest.raises(UnreadableFile, match=WORDS), image.opened(tmp_path / "damaged.jpg", strict=True):
        pass


def test_damage_in_the_jpegs_of_a_tiff_is_said(rng: np.random.Generator, read_bytes: Read) -> None:
    buffer = BytesIO()
    pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
    tifffile.imwrite(buffer, pixels, photometric="rgb", compression="jpeg", rowsperstrip=16)
    assert read_bytes(buffer.getvalue(), "whole.tif").repairs == ()
    buffer.seek(0)
    with tifffile.TiffFile(buffer, mode="r+b") as file:
        tag = file.pages[0].aspage().tags["StripByteCounts"]
        tag.overwrite(tuple(count // 2 for count in tag.value))
    assert WORDS in read_bytes(buffer.getvalue(), "damaged.tif").notes[0]


@pytest.mark.parametrize("stray", [b"some", b"\x12"])
def test_stray_bytes_between_segments_are_left_out_and_said(
    stray: bytes, rng: np.random.Generator, read_bytes: Read, tmp_path: Path
) -> None:
    whole = jpeg(rng)
    tables = whole.index(b"\xff\xdb")
    photo = read_bytes(whole[:tables] + stray + whole[tables:], "stray.jpg")
    np.testing.assert_array_equal(photo.pixels, read_bytes(whole, "whole.jpg").pixels)
    assert photo.notes == photo.repairs == (STRAY_BYTES,)
    with pytest.raises(UnreadableFile, match=STRAY_BYTES), image.opened(tmp_path / "stray.jpg", strict=True):
        pass


def test_a_damaged_marker_costs_its_segment_alone(rng: np.random.Generator, read_bytes: Read) -> None:
    whole = jpeg(rng)
    photo = read_bytes(whole[:2] + b"\xfe" + whole[3:])  # of JFIF's segment, after which there are others
    np.testing.assert_array_equal(photo.pixels, read_bytes(whole).pixels)
    assert photo.repairs == (STRAY_BYTES,)


def test_padding_between_segments_is_no_damage_and_hides_none(rng: np.random.Generator, read_bytes: Read) -> None:
    whole = jpeg(rng)
    tables = whole.index(b"\xff\xdb")
    padded = whole[:tables] + bytes(7) + b"\xff" + whole[tables:]
    assert read_bytes(padded).notes == ()
    assert WORDS in read_bytes(without_a_part(padded)).repairs[0]
