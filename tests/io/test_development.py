"""What a DNG asks for beside its values: crop, exposure, the colour of the light, corrections of the lens."""

import struct
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.imaging.colour import SRGB_TO_XYZ
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.imaging.transfer import linear_to_srgb, srgb_to_linear
from denoise_cli.io import dng
from denoise_cli.io.development import as_photo, developed, preview
from denoise_cli.io.dng_builder import camera_light, linear_dng, mosaic_dng
from denoise_cli.io.exif import LONG, RATIONAL, SRATIONAL, Directory, Exif, Value
from denoise_cli.io.raw import RawFile

LIMIT = 10**9
UNDEFINED = 7
H, W = 128, 160
STORED, BEFORE, AFTER = 51008, 51009, 51022  # OpcodeList1 to 3
EVERYWHERE = (0, 0, H, W, 0, 3, 1, 1)

Simulate = Callable[..., bytes]


@pytest.fixture
def simulate(astronaut: NDArray[np.uint8]) -> Simulate:
    """A DNG, without noise, of the astronaut or another scene, with tags of its own."""

    def make(
        scene: NDArray[np.uint8] | None = None, picture: Directory | None = None, camera: Directory | None = None,
        sensor: Sensor | None = None, **changes: object,
    ) -> bytes:  # fmt: skip
        sensor = sensor or Sensor(ShotRead(1e-4, 1e-3))
        scene = astronaut[:H, 100 : 100 + W] if scene is None else scene
        light = sensor.measure(scene / 255)
        numbers = np.rint(light * (sensor.white - sensor.black) + sensor.black).astype(np.uint16)
        negative = dng.simulated_dng(sensor, numbers, np.ascontiguousarray(scene[::4, ::4]))
        tags = {tag: value for tag, value in (negative.camera | (camera or {})).items() if value.data}
        return dng.encode(replace(negative, camera=tags, picture=picture or {}, **changes), "test")  # type: ignore[arg-type]

    return make


def rendering(data: bytes) -> NDArray[np.float32]:
    with RawFile(data, LIMIT) as raw:
        return developed(raw).as_float()


def written_again(data: bytes, linear: bool) -> bytes:
    """What the program writes as a DNG at strength 0."""
    with RawFile(data, LIMIT) as raw:
        negative = linear_dng(raw, camera_light(raw), None) if linear else mosaic_dng(raw, raw.numbers, None)
        return dng.encode(negative, "test")


def crop(top: int, left: int, height: int, width: int) -> Directory:
    exif = Exif()
    return {50719: exif.packed(LONG, (left, top)), 50720: exif.packed(RATIONAL, (width, height))}


def gain_map(gains: NDArray[np.floating], area: tuple[int, ...] = EVERYWHERE) -> bytes:
    V, U, planes = gains.shape
    parameters = struct.pack(">8I2I4dI", *area, V, U, 1 / max(V - 1, 1), 1 / max(U - 1, 1), 0.0, 0.0, planes)
    parameters += gains.astype(">f4").tobytes()
    return struct.pack(">4I", 9, 0x01030000, 1, len(parameters)) + parameters


def opcodes(*operations: bytes) -> Value:
    return Value(UNDEFINED, struct.pack(">I", len(operations)) + b"".join(operations))


CASES: dict[str, tuple[Directory, Directory]] = {
    "nothing": ({}, {}),
    "crop": (crop(11, 6, 90, 120), {}),
    "exposure": ({}, {50730: Exif().packed(SRATIONAL, [-0.75]), 51109: Exif().packed(SRATIONAL, [0.25])}),
    "white": ({}, {50728: Value(RATIONAL, b""), 50729: Exif().packed(RATIONAL, [0.3457, 0.3585])}),
    "gains before": (
        {BEFORE: opcodes(*(gain_map(np.array([[[2.0], [1.2]], [[1.0], [1.5]]]), (y, x, H, W, 0, 1, 2, 2))
                           for y in (0, 1) for x in (0, 1)))},
        {},
    ),
    "gains after": ({AFTER: opcodes(gain_map(np.array([[[0.9], [0.5]], [[0.4], [1.0]]])))}, {}),
    "colours after": ({AFTER: opcodes(gain_map(np.array([[[0.9, 0.8, 0.6]], [[0.4, 0.8, 0.8]]])))}, {}),
    "all": (
        crop(4, 8, 100, 120) | {AFTER: opcodes(gain_map(np.array([[[0.9], [0.5]], [[0.4], [1.0]]])))},
        {50730: Exif().packed(SRATIONAL, [0.5])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("linear", [False, True], ids=["mosaic", "linear"])
@pytest.mark.parametrize("case", CASES)
def test_a_written_negative_looks_as_the_picture_did(
    case: str, linear: bool, orientation: int, simulate: Simulate
) -> None:
    picture, camera = CASES[case]
    data = simulate(picture=picture, camera=camera, orientation=orientation)
    before, after = rendering(data), rendering(written_again(data, linear))
    assert after.shape == before.shape
    if linear:
        # Light that one demosaicing has spread is spread again by none, but rounded before the exposure is raised.
        assert np.abs(after - before).max() < 3 / 255
    else:
        np.testing.assert_array_equal(after, before)
    if case != "nothing":
        plain = rendering(simulate(orientation=orientation))
        assert plain.shape != after.shape or np.abs(after - plain).mean() > 0.02


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_crop_is_the_same_part_however_the_camera_was_held(orientation: int, simulate: Simulate) -> None:
    whole = rendering(simulate())[11:101, 6:126]
    turned = rendering(simulate(picture=crop(11, 6, 90, 120), orientation=orientation))
    upright = {
        1: whole, 2: whole[:, ::-1], 3: whole[::-1, ::-1], 4: whole[::-1], 5: whole.swapaxes(0, 1),
        6: whole[::-1].swapaxes(0, 1), 7: whole[::-1, ::-1].swapaxes(0, 1), 8: whole.swapaxes(0, 1)[::-1],
    }[orientation]  # fmt: skip
    np.testing.assert_array_equal(turned, upright)
    with RawFile(simulate(picture=crop(11, 6, 90, 120), orientation=orientation), LIMIT) as raw:
        assert raw.shape == upright.shape[:2]


@pytest.mark.parametrize("bad", [crop(0, 0, 0, 0), crop(500, 500, 10, 10), {50719: Exif().packed(LONG, (3, 3))}])
def test_a_crop_that_leaves_nothing_is_none(bad: Directory, simulate: Simulate) -> None:
    np.testing.assert_array_equal(rendering(simulate(picture=bad)), rendering(simulate()))


def test_a_crop_beyond_the_picture_ends_with_it(simulate: Simulate) -> None:
    np.testing.assert_array_equal(
        rendering(simulate(picture=crop(100, 100, 1000, 1000))), rendering(simulate())[100:, 100:]
    )


def test_exposure_is_a_factor_of_light_for_camera_and_profile(simulate: Simulate) -> None:
    stops = {50730: Exif().packed(SRATIONAL, [1.0]), 51109: Exif().packed(SRATIONAL, [-0.25])}
    plain, brighter = rendering(simulate()), rendering(simulate(camera=stops))
    expected = linear_to_srgb(np.minimum(srgb_to_linear(plain) * 2**0.75, 1))
    np.testing.assert_allclose(brighter, expected, atol=0.002)


def test_gains_before_demosaicing_lighten_the_corner_that_a_lens_has_darkened(simulate: Simulate) -> None:
    scene = np.full((H, W, 3), 63, np.uint8)
    fall = np.linspace(0.6, 1, H)[:, None, None]  # of the light, from top to bottom
    dim = linear_to_srgb(srgb_to_linear(scene / 255) * fall) * 255
    dim = np.rint(dim).astype(np.uint8)
    gains = (1 / (0.6 + 0.4 * np.linspace(0, 1, 33)))[:, None, None]  # points from the upper to the lower edge
    lens = {BEFORE: opcodes(gain_map(gains, (0, 0, H, W, 0, 1, 1, 1)))}
    dark, right = (rendering(simulate(dim, picture)) * 255 for picture in ({}, lens))
    assert dark[:8].mean() < 51
    assert np.abs(right - 63).max() < 1


def test_each_colour_of_a_mosaic_meets_its_own_gains(simulate: Simulate) -> None:
    scene = np.full((H, W, 3), 100, np.uint8)
    sensor = Sensor(ShotRead(1e-4, 1e-3), phase=(0, 1))
    reds = {BEFORE: opcodes(gain_map(np.full((1, 1, 1), 1.5), (0, 1, H, W, 0, 1, 2, 2)))}
    neutral, reddish = (rendering(simulate(scene, picture, sensor=sensor)) for picture in ({}, reds))
    light, red = (srgb_to_linear(picture[20:-20, 20:-20]).mean(axis=(0, 1)) for picture in (neutral, reddish))
    assert red[0] / light[0] > 1.2
    assert abs(red[2] / light[2] - 1) < 0.2


def test_crop_and_gains_keep_their_places_where_the_active_area_begins_inside_a_quad(with_tifffile: Simulate) -> None:
    """LibRaw's picture then begins one row and one column later."""
    neutral = np.array([0.5, 1.0, 0.6])
    light = np.full((65, 97, 3), 0.2)
    light[21:31, 41:61] = 0.8
    numbers = np.empty((65, 97), np.uint16)
    for y, x in np.ndindex(2, 2):  # red, green, green, blue from the second row and column on
        numbers[1 - y :: 2, 1 - x :: 2] = 4000 * neutral[y + x] * light[1 - y :: 2, 1 - x :: 2, y + x]
    matrix = np.diag(neutral) @ np.linalg.inv(SRGB_TO_XYZ)
    doubled = opcodes(gain_map(np.full((1, 1, 1), 1.5), (0, 0, 64, 96, 0, 1, 2, 2)))
    tags = [
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # DNGVersion
        (33421, 3, 2, (2, 2), True),  # CFARepeatPatternDim
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),  # CFAPattern
        (50721, 10, 9, [part for one in matrix.ravel() for part in (round(one * 10_000), 10_000)], True),
        (50728, 5, 3, [5, 10, 1, 1, 6, 10], True),  # AsShotNeutral
        (50778, 3, 1, 21, True),  # CalibrationIlluminant1
        (50717, 3, 1, 4000, True),  # WhiteLevel
        (50829, 4, 4, (1, 1, 65, 97), True),  # ActiveArea
        (50719, 4, 2, (30, 10), True),  # DefaultCropOrigin
        (50720, 4, 2, (40, 30), True),  # DefaultCropSize
        (BEFORE, UNDEFINED, len(doubled.data), doubled.data, True),
    ]
    data = with_tifffile(numbers, photometric="cfa", extratags=tags, software=False)
    red, green, blue = np.moveaxis(srgb_to_linear(rendering(data)), -1, 0)
    assert red.shape == (30, 40)
    bright = np.argwhere(green > 0.5)
    np.testing.assert_allclose([bright.min(axis=0), bright.max(axis=0)], [(10, 10), (19, 29)], atol=1)
    np.testing.assert_allclose([red[2, 2], green[2, 2], blue[2, 2]], [0.3, 0.2, 0.2], atol=0.005)


def test_gains_of_single_colours_after_demosaicing_are_about_the_camera_s_colours(simulate: Simulate) -> None:
    gains = (1.3, 0.8, 0.6)
    after = {AFTER: opcodes(gain_map(np.array([[gains]])))}
    in_mosaic = [(y, x, gains[y + x]) for y in (0, 1) for x in (0, 1)]  # red, green, green, blue
    before = {
        BEFORE: opcodes(*(gain_map(np.full((1, 1, 1), gain), (y, x, H, W, 0, 1, 2, 2)) for y, x, gain in in_mosaic))
    }
    scene = np.full((H, W, 3), (90, 100, 110), np.uint8)
    plain, early, late = (rendering(simulate(scene, picture)) for picture in ({}, before, after))
    assert np.abs(early - plain).max() > 0.05
    assert np.abs(late - early).max() < 0.01


def test_the_white_of_the_light_makes_neutral_what_it_lights(simulate: Simulate) -> None:
    """The same file with the neutral colour written down, which LibRaw reads, is the truth."""
    x, y = 0.3127, 0.3290  # D65, as in the simulated sensor's matrix
    stated = {50728: Value(RATIONAL, b""), 50729: Exif().packed(RATIONAL, [x, y])}
    scene = np.full((H, W, 3), (180, 90, 60), np.uint8)  # whose average is far from grey
    np.testing.assert_allclose(rendering(simulate(scene, camera=stated)), rendering(simulate(scene)), atol=0.004)


def test_the_preview_is_the_picture_in_small(simulate: Simulate) -> None:
    for name in ("crop", "exposure", "gains after", "all"):
        picture, camera = CASES[name]
        with RawFile(simulate(picture=picture, camera=camera, orientation=6), LIMIT) as raw:
            small = preview(raw, None)
            photo = as_photo(raw, raw.develop()).as_float()
        scale = photo.shape[1] / small.shape[0]  # the preview is not turned upright
        assert scale == pytest.approx(photo.shape[0] / small.shape[1], rel=0.05)
        assert small.mean(axis=(0, 1)) == pytest.approx(photo.mean(axis=(0, 1)) * 255, abs=2)


def test_corrections_that_are_not_made_are_named(simulate: Simulate) -> None:
    warp = struct.pack(">4I", 1, 0x01030000, 1, 20) + bytes(20)
    stuck = struct.pack(">5I", 4, 0x01030000, 1, 4, 0)
    halves = gain_map(np.full((1, 1, 1), 0.5))
    lists = {STORED: opcodes(stuck, halves), BEFORE: opcodes(warp), AFTER: opcodes(warp, halves)}
    with RawFile(simulate(picture=lists), LIMIT) as raw:
        photo = developed(raw)
        assert raw.unmade_operations == ("FixBadPixelsConstant", "GainMap", "WarpRectilinear")
    assert photo.notes == (
        "corrections that the file asks for and that are not made: FixBadPixelsConstant, GainMap, WarpRectilinear",
    )
    assert photo.as_float().mean() < rendering(simulate()).mean() - 0.05
