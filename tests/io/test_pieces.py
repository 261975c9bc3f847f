"""`max_pixels` holds inside containers as well: strips, tiles, grids and pages are checked first.

Every file here is small, and whole by the rules of its decoder.
"""

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.errors import UnreadableFile
from denoise_cli.io import av1_size, clip_file, dng_pixels, jpeg, jxl, pieces, tiff, tiff_pages, video
from denoise_cli.io.heif_items import items_of
from denoise_cli.io.raw import RawFile
from tests.conftest import FFmpeg
from tests.io.conftest import Encode, Read
from tests.io.test_dng_pixels import in_jpeg_xl, make_dng, white

SIDE = 160  # of what is inside
STATED = 16  # of the strip that it is in
CODECS: dict[str, tuple[int, Callable[[NDArray[np.uint8]], bytes]]] = {
    "JPEG": (7, imagecodecs.jpeg8_encode),
    "JPEG 2000": (34712, imagecodecs.jpeg2k_encode),
    "JPEG XL": (50002, imagecodecs.jpegxl_encode),
    "JPEG XL in a container": (50002, lambda values: imagecodecs.jpegxl_encode(values, usecontainer=True)),
    "WebP": (50001, imagecodecs.webp_encode),
    "lossless WebP": (50001, lambda values: imagecodecs.webp_encode(values, lossless=True)),
    "PNG": (34933, imagecodecs.png_encode),
    "JPEG XR": (34934, imagecodecs.jpegxr_encode),
    "LERC": (34887, imagecodecs.lerc_encode),
}


def in_one_strip(payload: bytes, compression: int, width: int = STATED, height: int = STATED) -> bytes:
    """A TIFF of 8 bits in RGB whose only strip is this."""
    tags = {256: width, 257: height, 258: 8, 259: compression, 262: 2, 273: 0, 277: 3, 278: height, 279: len(payload)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\x00" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + payload


@pytest.mark.parametrize("codec", CODECS)
def test_a_picture_in_a_strip_is_no_larger_than_the_strip(codec: str, read_bytes: Read) -> None:
    compression, encode = CODECS[codec]
    scene = np.full((SIDE, SIDE, 3), 90, np.uint8)

    fitting = in_one_strip(encode(scene), compression, SIDE, SIDE)
    assert read_bytes(fitting, "a.tif").pixels.shape == scene.shape

    reason = f"{SIDE} x {SIDE} pixels in one of its strips, which are of {STATED} x {STATED}: it is damaged$"
    with pytest.raises(UnreadableFile, match=reason):
        read_bytes(in_one_strip(encode(scene), compression), "a.tif")


@pytest.mark.parametrize("codec", CODECS)
def test_nothing_is_decoded_to_find_that_out(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tifffile.TiffPage, "asarray")
    compression, encode = CODECS[codec]
    with pytest.raises(ValueError, match="in one of its strips"):
        tiff.decode(in_one_strip(encode(np.zeros((SIDE, SIDE, 3), np.uint8)), compression), SIDE**2)


def test_the_last_strip_may_hold_rows_beyond_the_picture(read_bytes: Read) -> None:
    jpeg = imagecodecs.jpeg8_encode(np.full((16, 200, 3), 90, np.uint8))
    assert read_bytes(in_one_strip(jpeg, 7, 200, 1), "a.tif").pixels.shape == (1, 200, 3)


def test_tiles_are_in_proportion_to_their_picture(with_tifffile: Encode) -> None:
    column = np.zeros((3000, 1), np.uint8)
    data = with_tifffile(column, tile=(64, 64), compression="adobe_deflate")
    assert tiff.decode(data, 3000 * 64).pixels.shape == (3000, 1, 1)
    with pytest.raises(ValueError, match="47 tiles of 64 x 64 pixels, more than --max-pixels allows"):
        tiff.decode(data, 5000)


@pytest.mark.parametrize("where", ["file", "strip"])
def test_the_scans_of_a_jpeg_are_bounded(where: str, monkeypatch: pytest.MonkeyPatch, read_bytes: Read) -> None:
    """Each takes a decoder through all pixels, however few bytes it has."""
    buffer = BytesIO()
    Image.fromarray(np.full((SIDE, SIDE, 3), 90, np.uint8)).save(buffer, "jpeg", progressive=True)
    data, name = buffer.getvalue(), "a.jpg"
    if where == "strip":
        data, name = in_one_strip(data, 7, SIDE, SIDE), "a.tif"
    scans = buffer.getvalue().count(b"\xff\xda")
    monkeypatch.setattr(jpeg, "MAX_SCANS", scans)
    assert read_bytes(data, name).pixels.shape == (SIDE, SIDE, 3)
    monkeypatch.setattr(jpeg, "MAX_SCANS", scans - 1)
    with pytest.raises(UnreadableFile, match=f"a JPEG of {scans} scans, at most {scans - 1} are read"):
        read_bytes(data, name)
    last = buffer.getvalue().rindex(b"\xff\xda")
    many = b"\xff\x01" * (jpeg.MAX_SEGMENTS + 1)  # more than are looked at for metadata
    with pytest.raises(ValueError, match=f"a JPEG of {scans} scans"):
        jpeg.refuse_too_many_scans(buffer.getvalue()[:last] + many + buffer.getvalue()[last:])


def test_the_depth_of_tiles_counts(with_tifffile: Encode) -> None:
    data = with_tifffile(np.zeros((2, 64, 64), np.uint8), volumetric=True, tile=(2, 64, 64), compression="zlib")
    with tifffile.TiffFile(BytesIO(data)) as file:
        page = file.pages[0].aspage()
        assert page.tiledepth == 2
        page.imagedepth = 1
        with pytest.raises(ValueError, match="2 slices of a volume: split it into single pictures"):
            tiff_pages.check(page, 64 * 64, data)


def overlapping(count: int) -> bytes:
    """Strips of one row, all of which are the same 10,000 bytes."""
    buffer = BytesIO()
    tifffile.imwrite(buffer, np.zeros((count, 1), np.uint8), rowsperstrip=1, compression="adobe_deflate", metadata=None)
    start = buffer.seek(0, 2)
    buffer.write(bytes(10_000))
    buffer.seek(0)
    with tifffile.TiffFile(buffer, mode="r+b") as file:
        tags = file.pages[0].aspage().tags
        tags["StripOffsets"].overwrite([start] * count)
        tags["StripByteCounts"].overwrite([10_000] * count)
    return buffer.getvalue()


def test_the_same_bytes_are_not_decoded_again_and_again() -> None:
    with pytest.raises(ValueError, match="its strips overlap in the file: it is damaged"):
        tiff.decode(overlapping(100), 1000)


def test_the_number_of_strips_is_bounded(monkeypatch: pytest.MonkeyPatch, with_tifffile: Encode) -> None:
    rows = with_tifffile(np.zeros((50, 3), np.uint8), rowsperstrip=1, compression="adobe_deflate")
    pages = with_tifffile(np.zeros((50, 3, 3), np.uint8), photometric="minisblack", compression="adobe_deflate")
    monkeypatch.setattr(pieces, "MOST_PIECES", 40)
    monkeypatch.setattr(tiff_pages, "MOST_PIECES", 40)
    for data in (rows, pages):
        with pytest.raises(ValueError, match="more than 40 strips and tiles in its pages"):
            tiff.decode(data, 1000)


def test_pages_together_are_bounded(monkeypatch: pytest.MonkeyPatch, with_tifffile: Encode) -> None:
    data = with_tifffile(np.zeros((5, 8, 8), np.uint8), photometric="minisblack", compression="adobe_deflate")
    monkeypatch.setattr(tiff, "MOST_LARGE_PAGES", 3)
    assert len(tiff.decode(data, 5 * 64 // 3 + 1).others) == 4
    with pytest.raises(ValueError, match="5 pages of 320 pixels together, at most 3 times --max-pixels: split it"):
        tiff.decode(data, 64)


def test_jpegs_in_the_tiles_of_a_dng_are_no_larger_than_the_tiles() -> None:
    mosaic = (np.arange(96 * 96) % 1000).astype(np.uint16).reshape(96, 96)
    data = make_dng(mosaic, [white(1000)], compression="jpeg", compressionargs={"lossless": True})
    at = data.index(b"\xff\xc3") + 5  # height and width in the header of the lossless JPEG
    with RawFile(data, 10**6) as raw:
        assert raw.numbers.shape == (96, 96)
    larger = data[:at] + struct.pack(">HH", 65000, 65000) + data[at + 4 :]
    with pytest.raises(UnreadableFile, match="65000 x 65000 pixels in one of its"):
        RawFile(larger, 10**6)


def test_jpeg_xl_in_a_dng_is_no_larger_than_its_tiles() -> None:
    mosaic = (np.arange(96 * 96) % 1000).astype(np.uint16).reshape(96, 96)
    data = in_jpeg_xl(mosaic, [white(65535)])
    assert dng_pixels.decode(data, 10**6) is not None
    start, length = next(iter(_tiles_of(data)))
    larger = jxl.codestream_of(imagecodecs.jpegxl_encode(np.zeros((400, 400), np.uint16), lossless=True))
    assert len(larger) <= length
    with pytest.raises(ValueError, match="400 x 400 pixels in one of its tiles, which are of 48 x 48"):
        dng_pixels.decode(data[:start] + larger + data[start + len(larger) :], 10**6)


def _tiles_of(data: bytes) -> list[tuple[int, int]]:
    with tifffile.TiffFile(BytesIO(data)) as file:
        page = file.pages[0].aspage()
        return list(zip(page.dataoffsets, page.databytecounts, strict=True))


def with_stated_sides(data: bytes, old: int, new: int) -> bytes:
    """An AVIF or HEIF whose list of properties says another size."""
    changed = data.replace(b"ispe" + struct.pack(">3I", 0, old, old), b"ispe" + struct.pack(">3I", 0, new, new))
    assert changed != data
    return changed


def encoded(kind: str, side: int, **options: Any) -> bytes:
    buffer = BytesIO()
    scene = Image.new("RGB", (side, side), (90, 100, 110))
    if kind == "avif":
        scene.save(buffer, "AVIF", speed=10)
    else:
        pillow_heif.from_pillow(scene).save(buffer, quality=30, **options)
    return buffer.getvalue()


def test_an_avif_is_no_larger_inside_than_it_says(read_bytes: Read) -> None:
    data = encoded("avif", 512)
    with pytest.raises(UnreadableFile, match="512 x 512 pixels, more than --max-pixels allows"):
        read_bytes(with_stated_sides(data, 512, 64), max_pixels=64 * 64)


def test_a_heif_is_no_larger_inside_than_it_says(read_bytes: Read) -> None:
    data = encoded("heif", 1024)
    with pytest.raises(UnreadableFile, match="cannot be decoded"):
        read_bytes(with_stated_sides(data, 1024, 64), max_pixels=64 * 64)


def test_the_grid_of_a_heif_is_no_larger_than_it_says(read_bytes: Read) -> None:
    data = encoded("heif", 1024, tile_size=512)
    assert read_bytes(data, max_pixels=1024**2).pixels.shape == (1024, 1024, 3)
    for old in (1024, 512):
        with pytest.raises(UnreadableFile, match="pixels, more than --max-pixels allows"):
            read_bytes(with_stated_sides(data, old, 64), max_pixels=256**2)
    ((_, grid),) = items_of(data, {b"grid"})
    larger = grid[:4] + struct.pack(">HH", 60000, 60000)
    with pytest.raises(UnreadableFile, match="60000 x 60000 pixels, more than --max-pixels allows"):
        read_bytes(data.replace(grid, larger), max_pixels=1024**2)


@pytest.mark.parametrize("size", [(16, 16), (1000, 3), (3, 1000), (640, 480)])
def test_the_size_in_an_av1_codestream_is_that_of_its_picture(size: tuple[int, int]) -> None:
    buffer = BytesIO()
    Image.new("RGB", size).save(buffer, "AVIF", speed=10)
    ((_, codestream),) = items_of(buffer.getvalue(), {b"av01"})
    assert av1_size.largest_frame(codestream) == size
    assert av1_size.frames_in(codestream) == 1


@pytest.mark.parametrize("reduced", [True, False])
def test_frames_that_are_cut_off_are_damage(reduced: bool) -> None:
    header = bytes([0b0001_1000 if reduced else 0])
    with pytest.raises(ValueError, match="ends too early"):
        av1_size.largest_frame(bytes([0b0000_1010, len(header)]) + header)


def test_items_that_share_the_bytes_of_the_file_again_and_again_are_damage() -> None:
    data = encoded("avif", 64)
    at = data.index(b"iloc")
    with pytest.raises(ValueError, match="its items overlap"):
        list(items_of(_with_many_extents(data, at), {b"av01"}))


def _with_many_extents(data: bytes, at: int) -> bytes:
    """The file with its first item in the box of places made of five times the whole file."""
    length = int.from_bytes(data[at - 4 : at], "big")
    number = data[at + 12 : at + 14]
    box = b"iloc" + struct.pack(">IBBH", 0, 0x44, 0, 1) + number + struct.pack(">HH", 0, 5)
    box += struct.pack(">II", 0, len(data) // 2 * 2 - 1) * 5
    meta = data.index(b"meta")
    grown = 4 + len(box) - length
    total = int.from_bytes(data[meta - 4 : meta], "big") + grown
    return b"".join(
        [
            data[: meta - 4],
            struct.pack(">I", total),
            data[meta : at - 4],
            struct.pack(">I", 4 + len(box)),
            box,
            data[at - 4 + length :],
        ]
    )


def test_tiles_of_jpeg_2000_are_in_proportion(read_bytes: Read) -> None:
    data = bytearray(imagecodecs.jpeg2k_encode(np.zeros((300, 300, 3), np.uint8), codecformat="j2k"))
    place = data.index(b"\xff\x51") + 4 + 2 + 16
    data[place : place + 8] = struct.pack(">II", 1, 1)
    with pytest.raises(UnreadableFile, match="90000 tiles in 300 x 300 pixels: it is damaged"):
        read_bytes(bytes(data), "a.j2k")


def test_frames_that_become_too_large_are_damage_and_not_decoded(
    ffmpeg: FFmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [ffmpeg.make(tmp_path / f"{size}.ts", size=size) for size in ("64x64", "512x512")]
    clip = tmp_path / "clip.ts"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    monkeypatch.setattr(clip_file, "MAX_PIXELS", 128 * 128)
    with video.Reader(clip) as reader:
        assert {frame.picture.width for frame in reader.frames()} == {64}
        assert reader.damaged
