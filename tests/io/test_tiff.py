import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.pixels import to_float
from denoise_cli.io import image
from denoise_cli.io.photo import Photo

Encode = Callable[..., bytes]
Read = Callable[..., Photo]
Pixels = NDArray[np.uint8]

ORDERS = {"little-endian": "<", "big-endian": ">"}


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("layout", ["strips", "tiles", "planes"])
@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate"])
def test_every_layout_of_a_file_gives_the_same_pixels(
    compression: str | None,
    layout: str,
    dtype: type[np.generic],
    order: str,
    bigtiff: bool,
    rng: np.random.Generator,
    with_tifffile: Encode,
    read_bytes: Read,
) -> None:
    pixels = (rng.random((40, 50, 3)) * 250).astype(dtype)
    planes = layout == "planes"
    data = with_tifffile(
        np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if planes else pixels,
        photometric="rgb",
        planarconfig="separate" if planes else "contig",
        tile=(16, 16) if layout == "tiles" else None,
        compression=compression,
        predictor=compression is not None,
        byteorder=ORDERS[order],
        bigtiff=bigtiff,
    )

    photo = read_bytes(data)

    assert photo.kind == "tiff"
    assert photo.pixels.dtype == dtype
    np.testing.assert_array_equal(photo.pixels, pixels)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_any_floating_point_is_read_unclipped(dtype: type[np.generic], with_tifffile: Encode, read_bytes: Read) -> None:
    values = np.array([[-2.5, 0.0, 1.0, 1000.0]], dtype)

    photo = read_bytes(with_tifffile(values, photometric="minisblack"))

    assert photo.pixels.dtype == np.float32
    assert photo.pixels.ravel().tolist() == [-2.5, 0.0, 1.0, 1000.0]


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_an_odd_number_of_bits_reaches_white(bits: int, with_tifffile: Encode, read_bytes: Read) -> None:
    values = np.array([[[0, 1, 2**bits - 1]]], np.uint16)

    photo = read_bytes(packed(values, bits))

    assert photo.pixels.dtype == np.uint16
    assert photo.pixels.ravel().tolist() == [0, round(65535 / (2**bits - 1)), 65535]


def packed(values: NDArray[np.uint16], bits: int) -> bytes:
    """A TIFF of one RGB pixel, its values packed without gaps."""
    stream = "".join(f"{value:0{bits}b}" for value in values.ravel())
    stream += "0" * (-len(stream) % 8)
    body = int(stream, 2).to_bytes(len(stream) // 8, "big")
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 3, 8 + 2 + 9 * 12 + 4), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 8 + 2 + 9 * 12 + 4 + 6), (277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, len(body))]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\x00" + struct.pack("<I", 8) + directory + bytes(4) + struct.pack("<HHH", bits, bits, bits) + body


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_one_bit_is_black_and_white(white_is_zero: bool, with_tifffile: Encode, read_bytes: Read) -> None:
    ink = np.array([[True, False, True, True, False, False, True, False, True]])

    photo = read_bytes(with_tifffile(ink, photometric="miniswhite" if white_is_zero else "minisblack"))

    np.testing.assert_array_equal(photo.pixels[..., 0], np.where(ink ^ white_is_zero, 255, 0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_where_zero_is_white_grey_is_turned_round_and_alpha_is_not(
    dtype: type[np.generic], with_tifffile: Encode, read_bytes: Read
) -> None:
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    values = np.array([[[0, 0], [0, white], [white, white]]], dtype)

    photo = read_bytes(
        with_tifffile(values, photometric="miniswhite", planarconfig="contig", extrasamples=["unassalpha"])
    )

    assert photo.pixels.ravel().tolist() == [white, white, 0]
    assert photo.alpha is not None
    assert photo.alpha.ravel().tolist() == [0, white, white]


def test_a_palette_becomes_rgb(picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    palette = Image.fromarray(picture).quantize(16)

    np.testing.assert_array_equal(read_bytes(with_pillow(palette, "TIFF")).pixels, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_alpha_that_was_multiplied_in_is_taken_out(
    dtype: type[np.generic], rng: np.random.Generator, with_tifffile: Encode, read_bytes: Read
) -> None:
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    straight = rng.random((6, 7, 3))
    alpha = rng.uniform(0.5, 1, (6, 7, 1))
    alpha[0, 0] = 0
    stored = np.concatenate([straight * alpha, alpha], axis=2) * white
    stored = stored.astype(dtype) if white == 1 else np.rint(stored).astype(dtype)

    photo = read_bytes(with_tifffile(stored, photometric="rgb", extrasamples=["assocalpha"]))

    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, stored[..., 3])
    off = np.abs(to_float(photo.pixels) - straight)
    off[0, 0] = 0  # nothing says what is under full transparency
    # Half a step in colour and in alpha, doubled by the smallest alpha, and half a step in the result.
    assert off.max() <= (2.5 / white if white > 1 else 1e-6)


def test_a_further_channel_that_is_not_alpha_is_left_out_and_said_so(
    picture: Pixels, with_tifffile: Encode, read_bytes: Read
) -> None:
    infrared = np.zeros((*picture.shape[:2], 1), np.uint8)
    data = with_tifffile(np.concatenate([picture, infrared], axis=2), photometric="rgb", extrasamples=["unspecified"])

    photo = read_bytes(data)

    np.testing.assert_array_equal(photo.pixels, picture)
    assert photo.alpha is None
    assert photo.notes == ("an extra channel that is not transparency is left out",)


def test_jpeg_inside_tiff_is_read_in_its_colours(picture: Pixels, with_tifffile: Encode, read_bytes: Read) -> None:
    data = with_tifffile(picture, photometric="rgb", compression="jpeg", compressionargs={"level": 95})
    with tifffile.TiffFile(BytesIO(data)) as file:
        assert file.pages.first.photometric == tifffile.PHOTOMETRIC.YCBCR

    photo = read_bytes(data)

    assert np.abs(photo.pixels.astype(int) - picture).mean() < 6
    assert np.abs(photo.pixels.astype(int) - np.asarray(Image.open(BytesIO(data)).convert("RGB"))).mean() < 1


def test_ycbcr_outside_of_jpeg_is_refused(picture: Pixels, with_tifffile: Encode, read_bytes: Read) -> None:
    with pytest.raises(UnreadableFile, match=r"YCBCR colours: convert it to RGB or grey first$"):
        read_bytes(with_tifffile(picture, photometric="ycbcr", subsampling=(1, 1)))


@pytest.mark.parametrize("photometric", ["separated", "cielab"])
def test_colours_that_are_not_rgb_are_refused(
    photometric: str, picture: Pixels, with_tifffile: Encode, read_bytes: Read
) -> None:
    pixels = np.dstack([picture, picture[..., 0]]) if photometric == "separated" else picture

    with pytest.raises(UnreadableFile, match=f"{photometric.upper()} colours: convert it to RGB or grey first$"):
        read_bytes(with_tifffile(pixels, photometric=photometric))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_numbers_are_refused(value: float, with_tifffile: Encode, read_bytes: Read) -> None:
    values = np.zeros((4, 5), np.float32)
    values[2, 3] = value

    with pytest.raises(UnreadableFile, match=r"holds values that are not numbers \(NaN or infinity\)$"):
        read_bytes(with_tifffile(values, photometric="minisblack"))


def test_numbers_with_a_sign_are_refused(with_tifffile: Encode, read_bytes: Read) -> None:
    with pytest.raises(UnreadableFile, match=r"int16 values: convert it to unsigned integers or floating point first$"):
        read_bytes(with_tifffile(np.zeros((4, 5), np.int16), photometric="minisblack"))


def test_several_pages_are_refused(with_tifffile: Encode, read_bytes: Read) -> None:
    data = with_tifffile(np.zeros((3, 20, 30), np.uint8), photometric="minisblack")

    with pytest.raises(UnreadableFile, match=r"holds several pages: split it into single pictures$"):
        read_bytes(data)


def test_a_thumbnail_is_not_a_second_page(picture: Pixels, read_bytes: Read) -> None:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(picture, photometric="rgb", metadata=None)
        writer.write(picture[::4, ::4], photometric="rgb", metadata=None, subfiletype=1)

    np.testing.assert_array_equal(read_bytes(buffer.getvalue()).pixels, picture)


def test_pages_that_lead_back_to_the_first_are_one_page(
    picture: Pixels, with_tifffile: Encode, read_bytes: Read
) -> None:
    data = bytearray(with_tifffile(picture, photometric="rgb", byteorder="<"))
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * entries, first)

    np.testing.assert_array_equal(read_bytes(bytes(data)).pixels, picture)


@pytest.mark.parametrize(
    ("pixels", "options", "reason"),
    [
        (
            np.zeros((16, 16, 16), np.uint8),
            {"volumetric": True},
            "16 slices of a volume: split it into single pictures",
        ),
        (np.zeros((8, 9, 9), np.uint8), {"planarconfig": "contig"}, "9 channels: only grey or RGB"),
        (np.zeros((8, 9, 3), np.uint8), {"planarconfig": "contig", "tile": (16384, 16384)}, "tiles of 16384 x 16384"),
    ],
)
def test_what_would_take_more_memory_than_its_size_says_is_refused(
    pixels: NDArray[np.uint8], options: dict[str, Any], reason: str, with_tifffile: Encode, read_bytes: Read
) -> None:
    compression = {"compression": "adobe_deflate"} if "tile" in options else {}
    data = with_tifffile(pixels, photometric="minisblack", **options, **compression)

    with pytest.raises(UnreadableFile, match=reason):
        read_bytes(data)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_programs_read_what_is_written(channels: int, dtype: type[np.generic], rng: np.random.Generator) -> None:
    pixels = (rng.random((70, 33, channels)) * 200).astype(dtype)

    data = image.encode(Photo(pixels, None, "test"), "tiff", "test")

    np.testing.assert_array_equal(np.atleast_3d(tifffile.imread(BytesIO(data))), pixels)
    if channels == 1 or dtype == np.uint8:  # Pillow has no more modes than these
        np.testing.assert_array_equal(np.atleast_3d(np.asarray(Image.open(BytesIO(data)))), pixels)
