"""Digital negatives as files: what other programs need of them, and what is kept of another file's."""

import struct
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import rawpy
import tifffile
from numpy.typing import NDArray

from denoise_cli.imaging.colour import SRGB_TO_XYZ
from denoise_cli.imaging.filters import ColourFilters
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.io import dng, dng_tiles
from denoise_cli.io.development import developed
from denoise_cli.io.dng_builder import camera_light, compressed_as, linear_dng, mosaic_dng
from denoise_cli.io.exif import ASCII, BYTE, RATIONAL, SRATIONAL, UNDEFINED, Directory, Exif, Value
from denoise_cli.io.metadata import XMP_TAG
from denoise_cli.io.raw import RawFile
from denoise_cli.io.xmp import mark_denoised

LIMIT = 10**9
SENSOR = Sensor(ShotRead(3e-3, 6e-3))
NOISE_REDUCTION = 50935
# An opcode that repairs the photosite in row 3, column 4 of the frame, as an OpcodeList.
BAD_PIXELS = struct.pack(">I", 1) + struct.pack(">I4sII", 5, b"\1\3\0\0", 1, 20) + struct.pack(">5I", 0, 1, 0, 3, 4)

Negative = Callable[..., dng.DigitalNegative]


@pytest.fixture
def negative(astronaut: NDArray[np.uint8]) -> Negative:
    """The DNG of a simulated sensor, in a byte order."""

    def make(order: str = "<", **changes: object) -> dng.DigitalNegative:
        scene = astronaut[:250, 100:430]
        numbers = SENSOR.capture(scene / 255, np.random.default_rng(0))
        made = dng.simulated_dng(SENSOR, numbers, np.ascontiguousarray(scene[::4, ::4]))
        exif = Exif(order)  # type: ignore[arg-type]
        matrix = SENSOR.matrix()
        to_camera = matrix @ np.linalg.inv(SRGB_TO_XYZ)
        camera = dng.colour_tags(exif, to_camera, matrix.sum(axis=1) / matrix.sum(axis=1).max(), "Camera")
        return replace(made, exif=exif, camera=camera, **changes)  # type: ignore[arg-type]

    return make


def picture_of(data: bytes) -> tifffile.TiffPage:
    """The directory of the full-size picture."""
    pages = tifffile.TiffFile(BytesIO(data)).pages[0].aspage().pages
    assert pages is not None
    return pages[0].aspage()


def tiles_of(data: bytes) -> list[bytes]:
    page = picture_of(data)
    return [data[at : at + size] for at, size in zip(page.dataoffsets, page.databytecounts, strict=True)]


def numbers_in(data: bytes) -> NDArray[np.uint16]:
    with rawpy.imread(BytesIO(data)) as raw:
        return raw.raw_image.copy()


def again(negative: dng.DigitalNegative, linear: bool = False, removed: float = 0.0) -> dng.DigitalNegative:
    """The DNG that is made of a DNG."""
    with RawFile(dng.encode(negative, "test"), LIMIT) as raw:
        if linear:
            return linear_dng(raw, camera_light(raw), None, removed=removed)
        return mosaic_dng(raw, raw.numbers, None, removed)


def test_the_largest_picture_is_the_file_s_even_if_the_preview_is_not_marked_as_one(negative: Negative) -> None:
    data = bytearray(dng.encode(negative(), "test"))
    with tifffile.TiffFile(BytesIO(data)) as file:
        place = file.pages[0].aspage().tags[254].valueoffset  # NewSubfileType
    data[place : place + 4] = bytes(4)
    assert dng.picture_size(bytes(data)) == (250, 330)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("linear", [False, True])
def test_the_file_states_16_bits_in_both_byte_orders(order: str, linear: bool, negative: Negative) -> None:
    made = negative(order)
    page = picture_of(dng.encode(again(made, linear), "test"))
    assert page.parent.byteorder == order
    assert page.tags[258].value == ((16, 16, 16) if linear else 16)


@pytest.mark.parametrize(("linear", "components"), [(False, 2), (True, 3)])
def test_lossless_jpeg_has_predictor_1_and_frames_as_large_as_the_tile(
    linear: bool, components: int, negative: Negative
) -> None:
    data = dng.encode(again(negative(), linear), "test")
    page = picture_of(data)
    for tile in tiles_of(data):
        frame, scan = tile.index(b"\xff\xc3"), tile.index(b"\xff\xda")
        bits, height, width, count = struct.unpack_from(">BHHB", tile, frame + 4)
        assert (bits, count) == (16, components)
        assert (height, width * (count if count == 2 else 1)) == (page.tilelength, page.tilewidth)
        assert tile[scan + 5 + 2 * count] == 1  # the predictor


@pytest.mark.parametrize("width", [33, 100, 330, 515, 1024, 1030])
def test_any_numbers_in_any_width_are_read_back(width: int, negative: Negative, rng: np.random.Generator) -> None:
    numbers = rng.integers(0, 65536, (61, width), dtype=np.uint16)
    data = dng.encode(negative(values=numbers, white=65535, black=(0.0,) * 4), "test")
    np.testing.assert_array_equal(numbers_in(data), numbers)


def test_numbers_with_the_longest_codes_are_read_back(negative: Negative, rng: np.random.Generator) -> None:
    """Differences of each number of bits are half as frequent as those with one bit less."""
    bits = np.minimum(rng.geometric(0.5, (512, 256, 2)) - 1, 16)
    half = 2 ** np.maximum(bits - 1, 0)
    differences = np.where(bits, half + rng.integers(0, half), 0) * rng.choice([-1, 1], bits.shape)
    numbers = (np.cumsum(differences, axis=1) % 65536).astype(np.uint16).reshape(512, 512)
    data = dng.encode(negative(values=numbers, white=65535, black=(0.0,) * 4), "test")
    tables = [tile[tile.index(b"\xff\xc4") + 5 :][:16] for tile in tiles_of(data)]
    assert all(table[15] for table in tables), "no code has 16 bits"
    np.testing.assert_array_equal(numbers_in(data), numbers)


def test_grey_stays_one_sample_without_colours(negative: Negative, rng: np.random.Generator) -> None:
    camera: Directory = {dng.UNIQUE_CAMERA_MODEL: Value(ASCII, b"Grey\0")}
    values = (np.linspace(2000, 40000, 320)[None] + rng.normal(0, 50, (256, 320))).astype(np.uint16)
    made = negative(values=values, filters=None, black=(0.0,), white=65535)
    data = dng.encode(again(replace(made, camera=camera), linear=True), "test")
    page = picture_of(data)
    assert (page.samplesperpixel, page.tags[262].value) == (1, 34892)
    first = tifffile.TiffFile(BytesIO(data)).pages[0].aspage().tags
    assert not {dng.COLOUR_MATRIX, dng.AS_SHOT_NEUTRAL, dng.AS_SHOT_WHITE, dng.ILLUMINANT} & {tag.code for tag in first}
    np.testing.assert_allclose(numbers_in(data), values, atol=1)


def in_frame(made: dng.DigitalNegative, area: dng.Area, **tags: Value) -> dng.DigitalNegative:
    """A DNG whose photosites are surrounded by masked ones."""
    top, left, bottom, right = area
    frame = np.full((260, 340), 77, np.uint16)
    frame[top:bottom, left:right] = made.values[: bottom - top, : right - left]
    return replace(made, values=frame, area=area)


AREAS = [(2, 4, 252, 334), (3, 4, 252, 334), (2, 5, 251, 333), (3, 7, 253, 334), (1, 1, 251, 331)]


@pytest.mark.parametrize("area", AREAS)
def test_a_file_s_own_area_and_borders_are_kept(area: dng.Area, negative: Negative) -> None:
    exif = Exif()
    crop = {
        dng.CROP_ORIGIN: exif.packed(RATIONAL, [6, 4]),
        dng.CROP_SIZE: exif.packed(RATIONAL, [area[3] - area[1] - 6, area[2] - area[0] - 4]),
    }
    source = replace(in_frame(negative(), area), picture=crop)
    with RawFile(dng.encode(source, "test"), LIMIT) as raw:
        assert raw.area == area
        assert raw.numbers.shape == (area[2] - area[0], area[3] - area[1])
        assert raw.filters == source.filters
        expected = developed(raw).pixels
        written = mosaic_dng(raw, np.minimum(raw.numbers, 9000), None)
        unchanged = dng.encode(mosaic_dng(raw, raw.numbers, None), "test")
    assert written.area == area
    assert {tag: written.picture[tag] for tag in crop} == crop
    inside = np.zeros(source.values.shape, bool)
    inside[area[0] : area[2], area[1] : area[3]] = True
    assert (written.values[~inside] == 77).all()
    np.testing.assert_array_equal(written.values[inside], np.minimum(source.values[inside], 9000))
    with RawFile(unchanged, LIMIT) as back:
        np.testing.assert_array_equal(developed(back).pixels, expected)


@pytest.mark.parametrize("area", AREAS)
def test_the_crop_of_a_linear_copy_shows_the_same_and_fits(area: dng.Area, negative: Negative) -> None:
    exif, (H, W) = Exif(), (area[2] - area[0], area[3] - area[1])
    crop = {dng.CROP_ORIGIN: exif.packed(RATIONAL, [6, 4]), dng.CROP_SIZE: exif.packed(RATIONAL, [W - 6, H - 4])}
    written = again(replace(in_frame(negative(), area), picture=crop), linear=True)
    (left, top), (width, height) = (exif.numbers(written.picture[tag]) for tag in (dng.CROP_ORIGIN, dng.CROP_SIZE))
    dropped_rows, dropped_columns = H - written.shape[0], W - written.shape[1]
    assert (dropped_rows, dropped_columns) == (area[0] % 2, area[1] % 2)
    assert (left + dropped_columns, top + dropped_rows) == (6, 4)
    assert (left + width, top + height) == (written.shape[1], written.shape[0])


@pytest.mark.parametrize("area", AREAS)
def test_black_levels_belong_to_their_colours_wherever_the_area_begins(area: dng.Area, negative: Negative) -> None:
    black = (500.0, 900.0, 700.0, 300.0)
    H, W = area[2] - area[0], area[3] - area[1]
    levels = np.tile(np.reshape(black, (2, 2)), (H, W))[:H, :W]
    grey = SENSOR.matrix().sum(axis=1)
    quad = np.array([[grey[0], grey[1]], [grey[1], grey[2]]]) / grey.max()
    light = np.tile(quad, (H, W))[:H, :W] * 0.4
    numbers = np.rint(levels + light * (16383 - levels)).astype(np.uint16)
    source = in_frame(negative(values=numbers, black=black, white=16383, filters=ColourFilters("bayer", (0, 0))), area)
    with RawFile(dng.encode(source, "test"), LIMIT) as raw:
        np.testing.assert_array_equal(raw.black_of_pattern.ravel(), black)
        np.testing.assert_allclose(raw.mosaic.light, light, atol=1e-4)
        red, green, blue = developed(raw).as_float()[20:-20, 20:-20].mean(axis=(0, 1))
    assert red == pytest.approx(green, abs=0.01)  # LibRaw gives all colours the largest black's distance from white
    assert blue == pytest.approx(green, abs=0.01)


def light_of(negative: dng.DigitalNegative) -> NDArray[np.float64]:
    """The values without the black that the tags state for each photosite, as shares of white."""
    exif, (H, W) = Exif(negative.exif.order), negative.values.shape
    levels = exif.numbers(negative.picture.get(dng.BLACK_LEVEL)) or negative.black
    black = np.tile(np.broadcast_to(levels, 4).reshape(2, 2), (H, W))[:H, :W]
    by_column, by_row = (exif.numbers(negative.picture.get(tag)) or (0.0,) for tag in dng.BLACK_DELTAS)
    black = black + np.reshape(by_row, (-1, 1)) + np.reshape(by_column, (1, -1))
    return (negative.values - black) / (negative.white - black.max())


def test_fractions_of_black_levels_are_kept(negative: Negative) -> None:
    exif = Exif()
    levels: Directory = {
        dng.BLACK_REPEAT: exif.packed(3, [2, 2]),
        dng.BLACK_LEVEL: exif.packed(RATIONAL, [1000.25, 1001.5, 1002, 1003]),
    }
    assert levels.items() <= again(negative(picture=levels)).picture.items()


@pytest.mark.parametrize("deltas", ["rows", "columns", "both"])
def test_black_levels_of_rows_and_columns_are_accounted_for(deltas: str, negative: Negative) -> None:
    exif, made = Exif(), negative()
    H, W = made.values.shape
    by_column, by_row = np.arange(W) % 3 * (deltas != "rows"), np.arange(H) * 40 // H * (deltas != "columns")
    levels: Directory = {
        dng.BLACK_REPEAT: exif.packed(3, [2, 2]),
        dng.BLACK_LEVEL: exif.packed(RATIONAL, [1000, 1001, 1002, 1003]),
        dng.BLACK_DELTAS[0]: exif.packed(SRATIONAL, by_column),
        dng.BLACK_DELTAS[1]: exif.packed(SRATIONAL, by_row),
    }
    source = replace(made, picture=levels)
    written = again(source)
    np.testing.assert_allclose(light_of(written), light_of(source), atol=1e-4)
    with RawFile(dng.encode(source, "test"), LIMIT) as one, RawFile(dng.encode(written, "test"), LIMIT) as other:
        np.testing.assert_allclose(developed(one).as_float(), developed(other).as_float(), atol=2e-3)


def test_stated_black_levels_are_averaged_over_a_pattern_of_filters(negative: Negative) -> None:
    exif, made = Exif(), negative()
    levels: Directory = {
        dng.BLACK_REPEAT: exif.packed(3, [2, 3]),
        dng.BLACK_LEVEL: exif.packed(RATIONAL, [1, 2, 6, 10, 20, 60]),
        dng.BLACK_DELTAS[1]: exif.packed(SRATIONAL, [-1, 3] * (len(made.values) // 2)),
    }
    data = dng.encode(replace(made, picture=levels), "test")
    for pattern, expected in (((2, 2), [[4, 4], [31, 31]]), ((2, 3), [[2, 3, 7], [11, 21, 61]])):
        found = dng.stated_black(data, pattern)
        assert found is not None
        np.testing.assert_allclose(found, expected)
    assert dng.stated_black(dng.encode(made, "test"), (6, 6)).shape == (6, 6)  # type: ignore[union-attr]


def test_operations_on_photosites_of_the_frame_are_kept(negative: Negative) -> None:
    masked = Exif().packed(4, [0, 0, 260, 3])
    picture: Directory = {dng.OPCODE_LIST_1: Value(UNDEFINED, BAD_PIXELS), dng.MASKED_AREAS: masked}
    source = replace(in_frame(negative(), (3, 7, 253, 334)), picture=picture)
    assert picture.items() <= again(source).picture.items()
    assert not picture.keys() & again(source, linear=True).picture.keys()
    table: Directory = {
        dng.LINEARIZATION_TABLE: Exif().packed(3, np.minimum(np.arange(65536) * 1.1, 65535).astype(int))
    }
    assert dng.OPCODE_LIST_1 not in again(replace(source, picture=picture | table)).picture


def test_what_names_the_camera_the_file_and_the_clip_is_kept(negative: Negative) -> None:
    exif, made = Exif(), negative()
    known: Directory = {
        51105: Value(ASCII, b"A camera\0"),  # CameraLabel
        50827: Value(ASCII, b"IMG_1.CR2\0"),  # OriginalRawFileName
        51044: exif.packed(SRATIONAL, [23.976]),  # FrameRate
        51043: Value(BYTE, bytes(range(8))),  # TimeCodes
        50879: exif.short(1),  # ColorimetricReference
        50831: Value(UNDEFINED, b"a profile"),  # AsShotICCProfile
        52548: Value(UNDEFINED, b"a burst"),  # ImageSequenceInfo
    }
    for linear in (False, True):
        written = again(replace(made, camera=made.camera | known), linear)
        assert known.items() <= written.camera.items()
        data = dng.encode(written, "test")
        with RawFile(data, LIMIT) as raw:
            assert known.items() <= dng.tags_to_keep(raw.data, not linear)[0].items()


@pytest.mark.parametrize("linear", [False, True])
def test_a_denoised_file_says_so(linear: bool, negative: Negative) -> None:
    for removed, applied in ((0.0, None), (0.75, (750_000, 1_000_000))):
        data = dng.encode(again(negative(), linear, removed), "test")
        tags = picture_of(data).tags
        assert (tags[NOISE_REDUCTION].value if NOISE_REDUCTION in tags else None) == applied
        first = tifffile.TiffFile(BytesIO(data)).pages[0].aspage().tags
        assert (XMP_TAG in first) == bool(removed)
    assert b'darktable:neural_restore="raw-denoise"' in bytes(first[XMP_TAG].value)


def test_the_note_joins_what_a_packet_says_already(xmp: bytes) -> None:
    marked = mark_denoised(xmp)
    assert marked.startswith(xmp[: xmp.index(b"</rdf:RDF>")])
    assert marked.count(b"neural_restore") == 1
    assert mark_denoised(marked) == marked
    about = b'<rdf:RDF><rdf:Description rdf:about="uuid:7"/></rdf:RDF>'
    assert mark_denoised(about).count(b'rdf:about="uuid:7"') == 2
    assert mark_denoised(b"no packet") == b"no packet"


@pytest.mark.parametrize("shape", [(250, 330), (61, 1031), (600, 33)])
def test_jpeg_xl_holds_the_mosaic_in_fields_of_one_colour(
    shape: tuple[int, int], negative: Negative, rng: np.random.Generator
) -> None:
    numbers = rng.integers(0, 16384, shape, dtype=np.uint16)
    data = dng.encode(negative(values=numbers, compression="jxl"), "test")
    page = picture_of(data)
    assert page.tags[259].value == 52546
    assert (page.tags[50975].value, page.tags[52547].value) == (2, 2)
    assert page.parent.pages[0].aspage().tags[50707].value == b"\1\7\1\0"  # DNGBackwardVersion
    stored, found, (H, W) = page.asarray(), np.empty_like(numbers), shape
    half_rows, half_columns = (H + 1) // 2, (W + 1) // 2
    found[0::2, 0::2], found[0::2, 1::2] = stored[:half_rows, :half_columns], stored[:half_rows, half_columns:]
    found[1::2, 0::2], found[1::2, 1::2] = stored[half_rows:, :half_columns], stored[half_rows:, half_columns:]
    np.testing.assert_array_equal(found, numbers)


def test_jpeg_xl_is_smaller_than_jpeg(negative: Negative) -> None:
    plain, smaller = (len(dng.encode(negative(compression=name), "test")) for name in ("jpeg", "jxl"))
    assert smaller < 0.97 * plain


def linear_negative(negative: Negative) -> dng.DigitalNegative:
    return again(negative(), linear=True)


def test_lossy_jpeg_is_developed_as_the_lossless_one_is(negative: Negative) -> None:
    made = linear_negative(negative)
    files = [dng.encode(replace(made, compression=name), "test") for name in ("jpeg", "lossy-jpeg")]
    assert len(files[1]) < len(files[0]) / 4
    with RawFile(files[0], LIMIT) as lossless, RawFile(files[1], LIMIT) as lossy:
        expected, found = developed(lossless).as_float(), developed(lossy).as_float()
    assert np.abs((found - expected).mean(axis=(0, 1))).max() < 0.5 / 255
    assert np.sqrt(np.mean((found - expected) ** 2)) < 5 / 255


def test_lossy_jpeg_xl_keeps_the_light(negative: Negative) -> None:
    made = linear_negative(negative)
    files = [dng.encode(replace(made, compression=name), "test") for name in ("jpeg", "lossy-jxl")]
    assert len(files[1]) < len(files[0]) / 3
    difference = picture_of(files[1]).asarray() / 65535 - made.values / 65535
    assert np.abs(difference.mean(axis=(0, 1))).max() < 1e-3
    assert picture_of(files[1]).tags[dng.JXL_DISTANCE].value == pytest.approx(dng_tiles.DISTANCE)


def test_lossy_files_are_written_so_again_and_only_those(negative: Negative) -> None:
    made = linear_negative(negative)
    chosen = []
    for source in (negative(), made, replace(made, compression="lossy-jpeg")):
        with RawFile(dng.encode(source, "test"), LIMIT) as raw:
            linear = linear_dng(raw, camera_light(raw), None)
            chosen.append([compressed_as(raw, linear, name).compression for name in ("auto", "jpeg", "jxl")])
    assert chosen == [["jpeg", "jpeg", "jxl"], ["jpeg", "jpeg", "jxl"], ["lossy-jpeg", "jpeg", "jxl"]]
    lossy = dng.encode(replace(made, compression="lossy-jxl"), "test")
    assert dng.lossy_compression(lossy) == "lossy-jxl"
    assert dng.lossy_compression(dng.encode(replace(made, compression="jxl"), "test")) is None


def test_the_dng_sdk_reads_what_is_written(negative: Negative, tmp_path: Path) -> None:
    dngpy = pytest.importorskip("dngpy", reason="dngpy, which carries Adobe's SDK, is not here")
    made, linear = negative(), linear_negative(negative)
    odd = in_frame(made, (3, 7, 253, 334))
    big = negative(">")
    grey = replace(linear, values=linear.values[..., 0], camera={dng.UNIQUE_CAMERA_MODEL: Value(ASCII, b"Grey\0")})
    sources = [made, big, odd, linear, grey, replace(made, compression="jxl"), replace(linear, compression="jxl")]
    path = tmp_path / "photo.dng"
    for source in sources:
        path.write_bytes(dng.encode(source, "test"))
        np.testing.assert_array_equal(dngpy.Dng(str(path)).raw_pixels.squeeze(), source.values)
