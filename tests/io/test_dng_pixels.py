"""DNGs whose pixels LibRaw reads wrongly or not at all: each gives the light that it was made from."""

import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import rawpy
import tifffile
from numpy.typing import NDArray

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.filters import ColourFilters
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.io import dng
from denoise_cli.io.dng import main_directories
from denoise_cli.io.dng_builder import camera_light, linear_dng, lost_note, mosaic_dng
from denoise_cli.io.dng_pixels import jpeg_xl_bits, pieces_of
from denoise_cli.io.formats import is_photo
from denoise_cli.io.image import opened
from denoise_cli.io.raw import RawFile

LIMIT = 10**9
H, W = 90, 134
BLACK, WHITE = 256, 16383
NEUTRAL = (0.5, 1.0, 0.6)  # what the sensor sees of white
XYZ_TO_SRGB = (3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570)
JPEG_XL = 52546
# Tags.
BLACK_REPEAT, BLACK_LEVEL, BLACK_DELTA_H, BLACK_DELTA_V, WHITE_LEVEL = 50713, 50714, 50715, 50716, 50717
LINEARIZATION, ACTIVE_AREA, STORED_OPCODES, OPCODES = 50712, 50829, 51008, 51009
ROW_INTERLEAVE, COLUMN_INTERLEAVE = 50975, 52547

Tag = tuple[int, int, int, Any, bool]


def fractions(numbers: Any) -> list[int]:
    return [part for number in np.ravel(numbers) for part in (round(float(number) * 1_000_000), 1_000_000)]


def black(levels: Any, rows: int = 1, columns: int = 1) -> list[Tag]:
    return [
        (BLACK_REPEAT, 3, 2, (rows, columns), True),
        (BLACK_LEVEL, 5, np.size(levels), fractions(levels), True),
    ]


def white(*levels: int) -> Tag:
    return (WHITE_LEVEL, 4, len(levels), levels, True)


def make_dng(values: Any, tags: list[Tag], **options: Any) -> bytes:
    """A DNG, RGGB or linear; `values` may be an iterator over compressed tiles, with shape and dtype in `options`."""
    shape = options.get("shape", np.shape(values))
    photometric = "cfa" if len(shape) == 2 else "linear_raw"
    camera: list[Tag] = [
        (50706, 1, 4, bytes([1, 7, 1, 0]), True),
        (50707, 1, 4, bytes([1, 7, 1, 0]), True),
        (50708, 2, 0, "Test Camera", True),
        (271, 2, 0, "Maker", True),
        (50721, 10, 9, fractions(XYZ_TO_SRGB), True),
        (50778, 3, 1, 21, True),
        (50728, 5, 3, fractions(NEUTRAL), True),
    ]
    if photometric == "cfa":
        camera += [(33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes([0, 1, 1, 2]), True)]
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=options.pop("byteorder", "<")) as writer:
        writer.write(
            values,
            photometric=photometric,
            planarconfig="contig" if len(shape) == 3 else None,
            metadata=None,
            software=False,
            extratags=camera + tags,
            **options,
        )
    return buffer.getvalue()


def in_jpeg_xl(values: NDArray[Any], tags: list[Tag], side: int = 48, **encoding: Any) -> bytes:
    def tiles() -> Iterator[bytes]:
        for top in range(0, values.shape[0], side):
            for left in range(0, values.shape[1], side):
                tile = values[top : top + side, left : left + side]
                margins = [(0, side - length) for length in tile.shape[:2]] + [(0, 0)] * (tile.ndim - 2)
                yield imagecodecs.jpegxl_encode(np.pad(tile, margins, mode="edge"), **encoding)

    options = {"shape": values.shape, "dtype": values.dtype, "tile": (side, side), "compression": JPEG_XL}
    return make_dng(tiles(), tags, **options)


@pytest.fixture
def scene(astronaut: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Linear light in the camera's colours, (H, W, 3), up to 0.9."""
    return (astronaut[40 : 40 + H, 160 : 160 + W] / 255) ** 2.2 * NEUTRAL * 0.9


@pytest.fixture
def mosaic(scene: NDArray[np.float64]) -> NDArray[np.float64]:
    """RGGB, (H, W)."""
    light = scene[..., 1].copy()
    light[::2, ::2], light[1::2, 1::2] = scene[::2, ::2, 0], scene[1::2, 1::2, 2]
    return light


def as_numbers(light: NDArray[np.float64], black: Any = BLACK, white: int = WHITE) -> NDArray[np.uint16]:
    return np.rint(light * (white - np.max(black)) + black).astype(np.uint16)


def light_of(data: bytes) -> NDArray[np.float32]:
    with RawFile(data, LIMIT) as raw:
        return raw.mosaic.light


def developed(data: bytes) -> NDArray[np.float64]:
    with RawFile(data, LIMIT) as raw:
        return raw.develop() / 65535


def assert_alike(picture: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    """But for rounding: demosaicing chooses another direction here and there."""
    assert np.abs(picture - expected).mean() < 1e-3
    np.testing.assert_allclose(picture.mean((0, 1)), expected.mean((0, 1)), rtol=0.002)


def by_libraw(data: bytes) -> NDArray[np.float64]:
    """What LibRaw shows of a file without help."""
    with rawpy.imread(BytesIO(data)) as raw:
        picture = raw.postprocess(
            use_camera_wb=True, gamma=(1, 1), output_bps=16, no_auto_bright=True, adjust_maximum_thr=0.0
        )
    return picture / 65535


# Floating point


@pytest.mark.parametrize("options", [{}, {"compression": "adobe_deflate", "predictor": 3, "tile": (48, 48)}])
@pytest.mark.parametrize(("dtype", "bits"), [(np.float16, 16), (np.float32, 32)])
@pytest.mark.parametrize("full", [1, 4000])
def test_a_bright_spot_does_not_darken_a_picture_in_floating_point(
    dtype: Any, bits: int, full: int, options: dict[str, Any], mosaic: NDArray[np.float64]
) -> None:
    expected = developed(make_dng(as_numbers(mosaic), [*black(BLACK), white(WHITE)]))
    mosaic[4:10, 4:10] = 16
    data = make_dng((mosaic * full).astype(dtype), [white(full)], **options)
    with RawFile(data, LIMIT) as raw:
        assert (raw.bits, raw.white, raw.headroom) == (bits, 1, 8)
        np.testing.assert_allclose(raw.mosaic.light, mosaic, rtol=1e-3, atol=1e-6)
        np.testing.assert_array_equal(raw.numbers_of(raw.mosaic.light), raw.numbers)
        picture = raw.develop() / 65535
    assert_alike(picture[20:], expected[20:])
    np.testing.assert_allclose(picture[6, 6], 1, atol=1e-3)


@pytest.mark.parametrize("order", ["<", ">"])
def test_black_levels_of_floating_point_are_subtracted_too(order: str, mosaic: NDArray[np.float64]) -> None:
    rows = np.linspace(-0.25, 0.25, H)
    values = mosaic * (2 - 0.75) + 0.5 + rows[:, None]
    tags = [*black(0.5), (BLACK_DELTA_V, 10, H, fractions(rows), True), white(2)]
    data = make_dng(values.astype(np.float32), tags, byteorder=order)
    np.testing.assert_allclose(light_of(data), mosaic, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("brightest", [0.9, 5, 7])
def test_a_mosaic_in_floating_point_is_written_in_a_scale_that_libraw_reads_alike(
    brightest: float, dtype: Any, mosaic: NDArray[np.float64]
) -> None:
    mosaic[4:8, 4:8] = brightest
    with RawFile(make_dng(mosaic.astype(dtype), [white(1)]), LIMIT) as raw:
        written = dng.encode(mosaic_dng(raw, raw.numbers, None), "test")
        expected = raw.develop() / 65535
        with RawFile(written, LIMIT) as again:
            np.testing.assert_array_equal(again.numbers, raw.numbers)
            assert again.bits == raw.bits
    assert_alike(by_libraw(written), expected)


@pytest.mark.parametrize("stored", [np.float32, np.uint16])
def test_what_the_copy_of_a_mosaic_lacks_is_told(stored: Any, mosaic: NDArray[np.float64]) -> None:
    bad_pixels = b"".join(number.to_bytes(4, "big") for number in (1, 4, 0x01030000, 0, 8, 0, 0))
    tags = [white(1), (ACTIVE_AREA, 4, 4, (2, 2, H - 2, W - 2), True), (STORED_OPCODES, 7, 28, bad_pixels, True)]
    is_float = stored == np.float32
    values = mosaic.astype(stored) if is_float else as_numbers(mosaic)
    with RawFile(make_dng(values, tags if is_float else [*black(BLACK), white(WHITE), *tags[1:]]), LIMIT) as raw:
        assert raw.unmade_operations == ("FixBadPixelsConstant",)
        expected = ("not kept in the DNG: masked borders, corrections for the whole sensor (FixBadPixelsConstant)",)
        assert lost_note(raw, mosaic_dng(raw, raw.numbers, None)) == (expected if is_float else ())


@pytest.mark.parametrize("brightest", [0.9, 5])
def test_linear_floating_point_keeps_light_beyond_white(brightest: float, scene: NDArray[np.float64]) -> None:
    scene[4:8, 4:8] = brightest
    with RawFile(make_dng(scene.astype(np.float32), [white(1, 1, 1)]), LIMIT) as raw:
        assert raw.obstacle == "three values a pixel"
        written = dng.encode(linear_dng(raw, camera_light(raw), None), "test")
        with RawFile(written, LIMIT) as again:
            np.testing.assert_allclose(again.numbers, scene, rtol=1e-6)
        expected = raw.develop() / 65535
    assert_alike(by_libraw(written), expected)


def test_a_mosaic_in_floating_point_is_demosaiced_with_what_is_beyond_white(mosaic: NDArray[np.float64]) -> None:
    bright = mosaic * 20
    with RawFile(make_dng(mosaic.astype(np.float32), [white(1)]), LIMIT) as raw:
        expected = camera_light(raw)
    with RawFile(make_dng(bright.astype(np.float32), [white(1)]), LIMIT) as raw:
        merged = camera_light(raw)
    middle = slice(8, -8), slice(8, -8)
    assert merged.max() > 10 * 65535
    np.testing.assert_allclose(merged[middle].mean((0, 1)) / 20, expected[middle].mean((0, 1)), rtol=0.02)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_values_that_are_not_numbers_are_refused(odd: float, mosaic: NDArray[np.float64]) -> None:
    mosaic[3, 3] = odd
    with pytest.raises(UnreadableFile, match=r"values that are not numbers \(NaN or infinity\)$"):
        RawFile(make_dng(mosaic.astype(np.float32), [white(1)]), LIMIT)


# Black levels


@pytest.mark.parametrize("rows", [np.arange(H) * 40 // H, np.arange(H) % 3 * 8 - 9, np.full(H, BLACK)])
@pytest.mark.parametrize("columns", [np.zeros(W, int), np.arange(W) % 2 * 8])
@pytest.mark.parametrize("compression", [None, "adobe_deflate"])
def test_each_row_and_column_has_its_own_black(
    rows: NDArray[np.int64], columns: NDArray[np.int64], compression: str | None, mosaic: NDArray[np.float64]
) -> None:
    levels = 64 + rows[:, None] + columns
    tags = [
        *black(64),
        (BLACK_DELTA_V, 10, H, fractions(rows), True),
        (BLACK_DELTA_H, 10, W, fractions(columns), True),
        white(WHITE),
    ]
    data = make_dng(as_numbers(mosaic, levels), tags, compression=compression)
    plain = make_dng(as_numbers(mosaic, int(levels.max())), [*black(levels.max()), white(WHITE)])
    np.testing.assert_array_equal(light_of(data), light_of(plain))
    np.testing.assert_array_equal(developed(data), developed(plain))


def test_a_copy_does_not_ask_for_black_to_be_subtracted_twice(mosaic: NDArray[np.float64]) -> None:
    rows = np.arange(H) * 40 // H
    tags = [*black(64), (BLACK_DELTA_V, 10, H, fractions(rows), True), white(WHITE)]
    data = make_dng(as_numbers(mosaic, 64 + rows[:, None]), tags)
    with RawFile(data, LIMIT) as raw:
        written = dng.encode(mosaic_dng(raw, raw.numbers, None), "test")
    np.testing.assert_array_equal(light_of(written), light_of(data))
    np.testing.assert_array_equal(by_libraw(written), developed(data))


def test_noise_below_black_remains(mosaic: NDArray[np.float64], rng: np.random.Generator) -> None:
    rows = np.arange(H) * 40 // H
    dark = np.rint(64 + rows[:, None] + rng.normal(0, 10, (H, W))).astype(np.uint16)
    tags = [*black(64), (BLACK_DELTA_V, 10, H, fractions(rows), True), white(WHITE)]
    light = light_of(make_dng(dark, tags))
    np.testing.assert_allclose(light * (WHITE - 64 - rows.max()), dark - 64.0 - rows[:, None], atol=1e-3)


def test_black_levels_between_integers_are_kept(mosaic: NDArray[np.float64]) -> None:
    rows = np.arange(H) % 4 / 4
    values = np.rint(mosaic * 900 + 60)
    tags = [*black(60), (BLACK_DELTA_V, 10, H, fractions(rows), True), white(1023)]
    light = light_of(make_dng(values.astype(np.uint16), tags))
    np.testing.assert_allclose(light, (values - 60 - rows[:, None]) / (1023 - 60.75), atol=2e-5)


def test_black_levels_in_a_pattern_larger_than_a_quad(mosaic: NDArray[np.float64], rng: np.random.Generator) -> None:
    pattern = rng.integers(0, 200, (4, 6))
    levels = np.tile(pattern, (H // 4 + 1, W // 6 + 1))[:H, :W]
    data = make_dng(as_numbers(mosaic, levels), [*black(pattern, 4, 6), white(WHITE)])
    np.testing.assert_allclose(light_of(data), mosaic, atol=1e-4)


@pytest.mark.parametrize("tag", [BLACK_DELTA_H, BLACK_DELTA_V])
def test_too_few_black_levels_are_refused(tag: int, mosaic: NDArray[np.float64]) -> None:
    tags = [*black(64), (tag, 10, 7, fractions(np.zeros(7)), True), white(WHITE)]
    with pytest.raises(UnreadableFile, match=r"its black levels do not match its rows, columns and colours$"):
        RawFile(make_dng(as_numbers(mosaic), tags), LIMIT)


@pytest.mark.parametrize("level", [1, 528])
def test_the_black_of_a_linear_picture_is_not_part_of_its_white(level: int, scene: NDArray[np.float64]) -> None:
    scene[4:10, 4:10] = 1
    with_black = make_dng(as_numbers(scene, level, 4095), [*black([level] * 3), white(4095, 4095, 4095)])
    without = make_dng(as_numbers(scene, 0, 4095 - level), [*black([0] * 3), white(*[4095 - level] * 3)])
    np.testing.assert_array_equal(developed(with_black), developed(without))
    np.testing.assert_allclose(developed(with_black)[6, 6], 1, atol=1e-3)
    with RawFile(with_black, LIMIT) as raw:
        written = dng.encode(linear_dng(raw, camera_light(raw), None), "test")
    np.testing.assert_allclose(by_libraw(written), developed(without), atol=2e-4)


def test_the_active_area_is_cut_out_wherever_it_begins(mosaic: NDArray[np.float64]) -> None:
    rows = np.arange(H - 8) * 40 // H
    values = np.full((H, W), 9)
    inside = as_numbers(mosaic, 64)[:-8, :-9] + rows[:, None]
    values[3:-5, 5:-4] = inside
    tags = [
        *black(64),
        (BLACK_DELTA_V, 10, H - 8, fractions(rows), True),
        white(WHITE),
        (ACTIVE_AREA, 4, 4, (3, 5, H - 5, W - 4), True),
    ]
    with RawFile(make_dng(values.astype(np.uint16), tags), LIMIT) as raw:
        assert raw.filters == ColourFilters("bayer", (0, 0))
        np.testing.assert_array_equal(raw.numbers, inside - rows[:, None] + rows.max())


# JPEG XL


def separated(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    rows = np.concatenate([values[::2], values[1::2]])
    return np.concatenate([rows[:, ::2], rows[:, 1::2]], axis=1)


@pytest.mark.parametrize("size", [(H, W), (H - 1, W - 1)])
@pytest.mark.parametrize("fields", [1, 2])
def test_a_mosaic_in_jpeg_xl_is_that_without_compression(
    fields: int, size: tuple[int, int], mosaic: NDArray[np.float64]
) -> None:
    numbers, tags = as_numbers(mosaic)[: size[0], : size[1]], [*black(BLACK), white(WHITE)]
    interleaved = [(tag, 3, 1, fields, True) for tag in (ROW_INTERLEAVE, COLUMN_INTERLEAVE)]
    data = in_jpeg_xl(separated(numbers) if fields == 2 else numbers, tags + interleaved, lossless=True)
    with RawFile(data, LIMIT) as raw:
        np.testing.assert_array_equal(raw.numbers, numbers)
        assert raw.white == WHITE
        assert raw.exif.string(raw.exif.main[271]) == "Maker"
    np.testing.assert_array_equal(developed(data), developed(make_dng(numbers, tags)))


def test_lossy_jpeg_xl_is_read_and_its_copy_is_lossless(mosaic: NDArray[np.float64]) -> None:
    tags = [*black(BLACK), white(WHITE), (ROW_INTERLEAVE, 3, 1, 2, True), (COLUMN_INTERLEAVE, 3, 1, 2, True)]
    data = in_jpeg_xl(separated(as_numbers(mosaic)), tags, distance=0.1)
    np.testing.assert_allclose(light_of(data), mosaic, atol=0.02)
    with RawFile(data, LIMIT) as raw:
        written = dng.encode(mosaic_dng(raw, raw.numbers, None), "test")
    np.testing.assert_array_equal(by_libraw(written), developed(data))


def test_a_linear_picture_in_jpeg_xl(scene: NDArray[np.float64]) -> None:
    tags = [*black([BLACK] * 3), white(*[WHITE] * 3)]
    data = in_jpeg_xl(as_numbers(scene), tags, lossless=True)
    np.testing.assert_array_equal(developed(data), developed(make_dng(as_numbers(scene), tags)))


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_jpeg_xl_of_other_depths_reaches_to_sixteen_bits(bits: int, mosaic: NDArray[np.float64]) -> None:
    """As in Adobe's SDK: white and black levels refer to the full range."""
    top = 2**bits - 1
    data = in_jpeg_xl(as_numbers(mosaic, 0, top), [*black(0), white(65535)], lossless=True, bitspersample=bits)
    np.testing.assert_allclose(light_of(data), mosaic, atol=1 / top)


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize(
    ("dtype", "options", "bits"),
    [
        (np.uint8, {}, 8),
        (np.uint16, {"bitspersample": 10}, 10),
        (np.uint16, {"bitspersample": 12}, 12),
        (np.uint16, {"bitspersample": 14}, 14),
        (np.uint16, {}, 16),
        (np.float16, {}, 16),
        (np.float32, {}, 32),
    ],
)
@pytest.mark.parametrize("shape", [(64, 64), (48, 300, 3), (37, 53)])
def test_the_header_of_jpeg_xl_states_its_depth(
    shape: tuple[int, ...], dtype: Any, options: dict[str, Any], bits: int, container: bool
) -> None:
    data = imagecodecs.jpegxl_encode(np.zeros(shape, dtype), lossless=True, usecontainer=container, **options)
    assert jpeg_xl_bits(data) == bits


def test_a_linearization_table_comes_before_black_and_white(mosaic: NDArray[np.float64]) -> None:
    table = np.rint((np.arange(1001) / 1000) ** 2 * (WHITE - BLACK) + BLACK).astype(int)
    roots = np.rint(np.sqrt(mosaic) * 1000).astype(np.uint16)
    roots[:2, :2] = 2000  # beyond the table: its last value
    tags = [*black(BLACK), white(WHITE), (LINEARIZATION, 3, len(table), table.tolist(), True)]
    for data in (make_dng(roots, tags), in_jpeg_xl(roots, tags, lossless=True)):
        with RawFile(data, LIMIT) as raw:
            np.testing.assert_array_equal(raw.numbers, table[np.minimum(roots, 1000)])


# Opcodes


def test_the_components_of_tiles_are_not_taken_for_rows(mosaic: NDArray[np.float64]) -> None:
    values = as_numbers(np.tile(mosaic, (1, 2))[:, :224])
    tiles = [np.ascontiguousarray(values[:80, left : left + 112]) for left in (0, 112)]
    stored = (
        imagecodecs.jpeg_encode(tile.reshape(80, 56, 2), lossless=True, predictor=1, bitspersample=16) for tile in tiles
    )
    tiled = make_dng(
        stored, [*black(BLACK), white(WHITE)], shape=(80, 224), dtype=np.uint16, tile=(80, 112), compression="jpeg"
    )
    np.testing.assert_array_equal(light_of(tiled), light_of(make_dng(values[:80], [*black(BLACK), white(WHITE)])))


def opcodes(*each: tuple[int, bytes]) -> Tag:
    body = [struct.pack(">I4sII", kind, b"\1\3\0\0", 0, len(data)) + data for kind, data in each]
    whole = struct.pack(">I", len(each)) + b"".join(body)
    return (OPCODES, 7, len(whole), whole, True)


def area(plane: int, planes: int) -> bytes:
    return struct.pack(">8I", 0, 0, H, W, plane, planes, 1, 1)


SQUARES = [(8, area(plane, 1) + struct.pack(">I3d", 2, 0, 0, 1)) for plane in range(3)]
SQUARE_TABLE = [
    (7, area(0, 3) + struct.pack(">I65536H", 65536, *np.rint((np.arange(65536) / 65535) ** 2 * 65535).astype(int)))
]


@pytest.mark.parametrize("maps", [SQUARES, SQUARE_TABLE], ids=["polynomials", "table"])
@pytest.mark.parametrize("write", [make_dng, in_jpeg_xl], ids=["uncompressed", "JPEG XL"])
def test_curved_values_become_linear_light(
    write: Callable[..., bytes], maps: list[tuple[int, bytes]], scene: NDArray[np.float64]
) -> None:
    roots = np.rint(np.sqrt(scene) * 65535).astype(np.uint16)
    lossless = {"lossless": True} if write is in_jpeg_xl else {}
    data = write(roots, [*black([0] * 3), white(*[65535] * 3), opcodes(*maps)], **lossless)
    plain = make_dng(as_numbers(scene, 0, 65535), [*black([0] * 3), white(*[65535] * 3)])
    np.testing.assert_allclose(developed(data), developed(plain), atol=1e-4)


# What is refused


def test_the_compression_that_stands_in_the_way_is_named(mosaic: NDArray[np.float64]) -> None:
    data = bytearray(make_dng(as_numbers(mosaic), [*black(BLACK), white(WHITE)]))
    with tifffile.TiffFile(BytesIO(data)) as file:
        struct.pack_into("<H", data, file.pages[0].aspage().tags[259].valueoffset, 9)
    with pytest.raises(UnreadableFile, match=r"compressed by VC-5, as GoPro's cameras do, which is not supported: "):
        RawFile(bytes(data), LIMIT)


@pytest.mark.parametrize("compression", [None, "adobe_deflate"])
@pytest.mark.parametrize(
    ("offset", "count", "reason"),
    [
        (0, None, "it holds no pixels"),
        (None, 0, "it holds no pixels"),
        (10**6, None, "the file ends before its pixel data does"),
        (None, 10**6, "the file ends before its pixel data does"),
    ],
)
def test_a_stub_without_pixels_is_refused(
    offset: int | None, count: int | None, reason: str, compression: str | None, mosaic: NDArray[np.float64]
) -> None:
    if compression is None and offset is None:
        pytest.skip("without compression, the size follows from the picture's")
    data = bytearray(
        make_dng(as_numbers(mosaic), [*black(BLACK), white(WHITE)], rowsperstrip=H, compression=compression)
    )
    with tifffile.TiffFile(BytesIO(data)) as file:
        tags = file.pages[0].aspage().tags
        for tag, value in ((273, offset), (279, count)):
            if value is not None:
                struct.pack_into("<I", data, tags[tag].valueoffset, value)
    with pytest.raises(UnreadableFile, match=f"{reason}$"):
        RawFile(bytes(data), LIMIT)


def test_a_picture_whose_end_is_empty_is_refused(mosaic: NDArray[np.float64]) -> None:
    numbers = as_numbers(mosaic)
    numbers[H // 2 :] = 0
    with pytest.raises(UnreadableFile, match=f"it is incomplete: its last {H // 2} rows are empty$"):
        RawFile(make_dng(numbers, [*black(BLACK), white(WHITE)]), LIMIT)


@pytest.mark.parametrize("rows", [H // 2, H // 32])
def test_an_empty_end_can_be_darkness_where_black_is_0(rows: int, mosaic: NDArray[np.float64]) -> None:
    numbers = as_numbers(mosaic).clip(BLACK + 1) - BLACK
    numbers[H - rows :] = 0
    with RawFile(make_dng(numbers, [*black(0), white(WHITE - BLACK)]), LIMIT) as raw:
        expected = (f"its last {rows} rows are empty: it may be incomplete",) if rows > H // 16 else ()
        assert raw.damage == raw.notes == expected


@pytest.fixture
def lossless_jpeg(mosaic: NDArray[np.float64]) -> bytes:
    numbers = np.tile(as_numbers(mosaic), (8, 8))[:1024, :1024].astype(np.uint16)
    return dng.encode(dng.simulated_dng(Sensor(ShotRead(1e-3, 2e-3)), numbers, np.zeros((8, 8, 3), np.uint8)), "test")


def jpeg_tiles(data: bytes) -> list[tuple[int, int]]:
    return list(pieces_of(main_directories(data)[1]).places)


def test_whole_jpeg_tiles_are_no_damage(lossless_jpeg: bytes) -> None:
    assert len(jpeg_tiles(lossless_jpeg)) == 6
    with RawFile(lossless_jpeg, LIMIT) as raw:
        assert raw.damage == ()


def test_jpeg_tiles_that_are_gone_are_refused(lossless_jpeg: bytes, rng: np.random.Generator) -> None:
    data = bytearray(lossless_jpeg)
    for (start, length), fill in zip(jpeg_tiles(lossless_jpeg)[-2:], (0, 90), strict=True):
        data[start : start + length] = bytes([fill]) * length
    with pytest.raises(UnreadableFile, match=r"it is damaged: no JPEG in 2 of its 6 tiles$"):
        RawFile(bytes(data), LIMIT)


def test_a_jpeg_tile_without_an_end_is_named_or_refused(lossless_jpeg: bytes, tmp_path: Path) -> None:
    data = bytearray(lossless_jpeg)
    start, length = jpeg_tiles(lossless_jpeg)[3]
    data[start + length // 4 : start + length] = bytes(length - length // 4)
    with RawFile(bytes(data), LIMIT) as raw:
        assert raw.damage == ("no end of the JPEG in 1 of its 6 tiles: it may be damaged",)
    path = tmp_path / "cut.dng"
    path.write_bytes(data)
    with opened(path) as found:
        assert isinstance(found, RawFile)
    with pytest.raises(UnreadableFile, match=r"no end of the JPEG in 1 of its 6 tiles"), opened(path, strict=True):
        pass


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_truncated_jpeg_xl_is_refused(share: float, mosaic: NDArray[np.float64]) -> None:
    data = in_jpeg_xl(as_numbers(mosaic), [*black(BLACK), white(WHITE)], lossless=True)
    with pytest.raises(UnreadableFile, match=r"the file ends before its pixel data does$"):
        RawFile(data[: int(len(data) * share)], LIMIT)


def test_damaged_jpeg_xl_is_refused_in_one_line(mosaic: NDArray[np.float64], rng: np.random.Generator) -> None:
    data = bytearray(in_jpeg_xl(as_numbers(mosaic), [*black(BLACK), white(WHITE)], lossless=True))
    with tifffile.TiffFile(BytesIO(data)) as file:
        start = file.pages[0].aspage().dataoffsets[1]
    data[start : start + 200] = rng.integers(0, 256, 200).astype(np.uint8).tobytes()
    with pytest.raises(UnreadableFile) as caught:
        RawFile(bytes(data), LIMIT)
    assert "\n" not in str(caught.value)


def test_too_many_pixels_are_refused_before_they_are_decoded(mosaic: NDArray[np.float64]) -> None:
    with pytest.raises(UnreadableFile, match=rf"{W} x {H} pixels, more than --max-pixels allows$"):
        RawFile(in_jpeg_xl(as_numbers(mosaic), [*black(BLACK), white(WHITE)], lossless=True), H * W - 1)


def test_gopro_s_files_are_recognised_by_their_name() -> None:
    assert is_photo(Path("GOPR0001.GPR"))
