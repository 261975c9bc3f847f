"""RAW files on their way through a denoiser: what comes out differs by the noise, and by nothing else."""

import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging import tiling
from denoise_cli.imaging.banding import find_banding
from denoise_cli.imaging.bayer import PHASES, Phase, pack, unpack
from denoise_cli.imaging.filters import ColourFilters, FilterKind
from denoise_cli.imaging.metrics import psnr
from denoise_cli.imaging.noise import ShotRead, sensor_noise
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.imaging.transfer import linear_to_srgb, srgb_to_linear
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import dng, image
from denoise_cli.io import raw as raw_module
from denoise_cli.io.camera_tone import with_camera_tone
from denoise_cli.io.development import as_photo, developed
from denoise_cli.io.dng_builder import camera_light, linear_dng, mosaic_dng
from denoise_cli.io.exif import DOUBLE, RATIONAL, Directory, Exif, Value
from denoise_cli.io.raw import Mosaic, Numbers, RawFile
from denoise_cli.pipeline.raw import (
    denoise_mosaic,
    denoise_picture,
    denoise_raw,
    estimate_mosaic_noise,
    estimate_noise,
    noise_of,
    remove_banding,
)
from tests.pipeline.negatives import X_TRANS, Negative

SENSOR = Sensor(ShotRead(3e-3, 6e-3))
LIMIT = 10**9

Simulate = Callable[..., bytes]


@pytest.fixture(scope="module")
def mosaic_denoiser() -> Denoiser:
    return load_denoiser("mallenet-raw", "cpu", "fp32")


@pytest.fixture
def simulate(astronaut: NDArray[np.uint8]) -> Simulate:
    """A digital negative of a part of the astronaut; without its noise unless told."""

    def make(
        sensor: Sensor = SENSOR, noisy: bool = True, size: tuple[int, int] = (256, 320), **changes: object
    ) -> bytes:
        scene = astronaut[: size[0], 100 : 100 + size[1]]
        rng = np.random.default_rng(0)
        numbers = sensor.capture(scene / 255, rng)
        if not noisy:
            numbers = np.rint(sensor.measure(scene / 255) * (sensor.white - sensor.black) + sensor.black).astype(
                np.uint16
            )
        negative = dng.simulated_dng(sensor, numbers, np.ascontiguousarray(scene[::4, ::4]))
        return dng.encode(replace(negative, **changes), "test")  # type: ignore[arg-type]

    return make


def rendering(data: bytes) -> NDArray[np.float32]:
    with RawFile(data, LIMIT) as raw:
        return developed(raw).as_float()


def as_dng(raw: RawFile, linear: bool, noise: ShotRead | None, numbers: Numbers | None = None) -> dng.DigitalNegative:
    if linear:
        return linear_dng(raw, camera_light(raw, numbers), noise, numbers)
    return mosaic_dng(raw, raw.numbers if numbers is None else numbers, noise)


def cleaned(raw: RawFile, noise: ShotRead, denoise: Denoiser) -> Numbers:
    return raw.numbers_of(denoise_mosaic(raw.mosaic, noise, denoise))


@pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES)
@pytest.mark.parametrize("size", [(256, 320), (255, 321)])
def test_most_of_the_noise_goes_in_every_phase_and_size(
    phase: Phase, size: tuple[int, int], simulate: Simulate, mosaic_denoiser: Denoiser
) -> None:
    sensor = replace(SENSOR, phase=phase)
    truth = rendering(simulate(sensor, noisy=False, size=size))
    with RawFile(simulate(sensor, size=size), LIMIT) as raw:
        before = developed(raw).as_float()
        assert raw.mosaic.filters == ColourFilters("bayer", phase)
        after = as_photo(raw, raw.develop(cleaned(raw, sensor.noise, mosaic_denoiser))).as_float()
    assert after.shape == (*size, 3)
    assert psnr(after, truth) > psnr(before, truth) + 5
    shift = np.abs((after - truth).mean(axis=(0, 1)))
    assert shift.max() < 0.01


@pytest.fixture(scope="module")
def xtrans_denoiser() -> Denoiser:
    return load_denoiser("mallenet-xtrans", "cpu", "fp32")


@pytest.fixture
def simulate_xtrans(astronaut: NDArray[np.uint8]) -> Callable[..., bytes]:
    """A digital negative with an X-Trans mosaic of the astronaut, whose sides end inside a block."""

    def make(phase: Phase, noisy: bool = True) -> bytes:
        scene = np.pad(astronaut, ((0, 2), (0, 37), (0, 0)), mode="reflect")
        sensor = replace(SENSOR, kind="xtrans", phase=phase)
        numbers = sensor.capture(scene / 255, np.random.default_rng(0))
        if not noisy:
            levels = sensor.measure(scene / 255) * (sensor.white - sensor.black) + sensor.black
            numbers = np.rint(levels).astype(np.uint16)
        negative = dng.simulated_dng(sensor, numbers, np.ascontiguousarray(scene[::4, ::4]))
        one_level: Directory = {dng.BLACK_LEVEL: negative.exif.packed(RATIONAL, [SENSOR.black])}
        return dng.encode(replace(negative, picture=one_level), "test")

    return make


def test_an_x_trans_mosaic_too_small_for_libraw_is_refused_with_the_way_out() -> None:
    sensor = replace(SENSOR, kind="xtrans")
    numbers = sensor.capture(np.full((300, 306, 3), 0.5), np.random.default_rng(0))
    data = dng.encode(dng.simulated_dng(sensor, numbers, np.zeros((75, 76, 3), np.uint8)), "test")
    with RawFile(data, LIMIT) as raw, pytest.raises(UnreadableFile, match=r"less than 512 x 512 .* choose a \.dng"):
        raw.check_develops()


@pytest.mark.parametrize("phase", [(0, 0), (2, 1), (1, 5)])
def test_an_x_trans_mosaic_is_denoised_before_it_is_demosaiced(
    phase: Phase, simulate_xtrans: Callable[..., bytes], xtrans_denoiser: Denoiser
) -> None:
    truth = rendering(simulate_xtrans(phase, noisy=False))
    with RawFile(simulate_xtrans(phase), LIMIT) as raw:
        assert raw.filters == ColourFilters("xtrans", phase)
        before = developed(raw).as_float()
        numbers = cleaned(raw, SENSOR.noise, xtrans_denoiser)
        after = as_photo(raw, raw.develop(numbers)).as_float()
        written = dng.encode(mosaic_dng(raw, numbers, SENSOR.noise), "test")
        assert raw.data is raw.original  # LibRaw reads it as it is
    assert psnr(after, truth) > psnr(before, truth) + 5
    assert np.abs((after - truth).mean(axis=(0, 1))).max() < 0.01
    np.testing.assert_array_equal(rendering(written), after)
    with RawFile(written, LIMIT) as again:
        assert again.filters == ColourFilters("xtrans", phase)
        # RawTherapee takes a single level for that of a few photosites only.
        picture = dng.tags_of_picture(written)
        assert picture.numbers(picture.main[dng.BLACK_LEVEL]) == (SENSOR.black,) * 36
        np.testing.assert_array_equal(again.numbers, numbers)


def test_an_x_trans_mosaic_looks_the_same_each_time(rng: np.random.Generator) -> None:
    """LibRaw's threads would differ in some of the pixels between its tiles."""
    y, x = np.mgrid[:577, :771]
    numbers = 2000 + 1500 * np.sin(x / 9) * np.cos(y / 7) + rng.normal(0, 120, x.shape)
    sensor = Sensor(ShotRead(0, 0), kind="xtrans", black=512, white=4095)
    negative = dng.simulated_dng(sensor, numbers.clip(512, 4000).astype(np.uint16), np.zeros((8, 8, 3), np.uint8))
    with RawFile(dng.encode(negative, "test"), LIMIT) as raw, threadpool_limits(4, user_api="openmp"):
        first = raw.develop()
        for _ in range(12):
            np.testing.assert_array_equal(raw.develop(), first)


def test_an_unchanged_linear_negative_keeps_the_noise_that_it_states(simulate: Simulate) -> None:
    with RawFile(simulate(), LIMIT) as raw:
        linear = dng.encode(as_dng(raw, linear=True, noise=SENSOR.noise), "test")
    with RawFile(linear, LIMIT) as raw:
        done = denoise_raw(raw, load_denoiser("mallenet-linear", "cpu", "fp32"), "linear_dng", strength=0).finish()
        assert isinstance(done.picture, dng.DigitalNegative)
        assert done.picture.noise == pytest.approx(raw.noise)


def test_numbers_become_light_and_the_same_numbers_again(simulate: Simulate) -> None:
    with RawFile(simulate(), LIMIT) as raw:
        np.testing.assert_array_equal(raw.numbers_of(raw.mosaic.light), raw.numbers)


def test_what_is_developed_does_not_depend_on_what_was_developed_before(simulate: Simulate) -> None:
    with RawFile(simulate(), LIMIT) as raw:
        before = raw.develop()
        dark = raw.develop(raw.numbers // 2, half_size=True)
        np.testing.assert_array_equal(raw.develop(colours="camera", upright=False).shape, (256, 320, 3))
        np.testing.assert_array_equal(raw.develop(), before)
        np.testing.assert_array_equal(raw.develop(raw.numbers // 2, half_size=True), dark)
        np.testing.assert_array_equal(raw.numbers_of(raw.mosaic.light), raw.numbers)


def test_at_strength_0_nothing_is_touched(simulate: Simulate, mosaic_denoiser: Denoiser) -> None:
    with RawFile(simulate(), LIMIT) as raw:
        linear = raw.develop()
        assert denoise_picture(linear, SENSOR.noise, raw.gains, mosaic_denoiser, 0.0) is linear
        written = denoise_raw(raw, mosaic_denoiser, "mosaic_dng", strength=0.0).finish().picture
        np.testing.assert_array_equal(written.values, raw.numbers)
        assert written.noise == raw.noise


def test_strength_is_the_share_of_banding_and_of_stuck_photosites_too(
    simulate: Simulate, mosaic_denoiser: Denoiser, astronaut: NDArray[np.uint8], rng: np.random.Generator
) -> None:
    light = SENSOR.measure(astronaut[:256, 100:420] / 255) + 2 * SENSOR.noise.read * rng.standard_normal((256, 1))
    light[rng.random(light.shape) < 1e-3] += 0.5
    light = light + sensor_noise(light.astype(np.float32), SENSOR.noise.shot, SENSOR.noise.read, rng)
    numbers = np.rint(light * (SENSOR.white - SENSOR.black) + SENSOR.black).clip(0, SENSOR.white).astype(np.uint16)
    with RawFile(simulate(values=numbers), LIMIT) as raw:
        whole, part = (
            denoise_raw(raw, mosaic_denoiser, "mosaic_dng", strength=strength).values.astype(float)
            for strength in (1.0, 0.25)
        )
    assert np.abs(whole - numbers).max() > 0.4 * SENSOR.white
    inside = (
        (numbers < SENSOR.white) & (whole > 0) & (whole < SENSOR.white)
    )  # saturated ones stay, and ends are clipped
    assert np.abs(part - (numbers + 0.25 * (whole - numbers)))[inside].max() <= 1


@pytest.mark.parametrize("output", ["photo", "mosaic_dng", "linear_dng"])
@pytest.mark.parametrize(("kind", "name"), [(1, None), (8, "a depth map"), (0x10004, "semantic masks")])
def test_pictures_beside_the_own_are_named(
    kind: int, name: str | None, output: str, simulate: Simulate, mosaic_denoiser: Denoiser
) -> None:
    preview, other = (struct.pack("<HHII", 254, 4, 1, each) for each in (1, kind))  # NewSubfileType
    data = simulate()
    assert data.count(preview) == 1
    with RawFile(data.replace(preview, other), LIMIT) as raw:
        done = denoise_raw(raw, mosaic_denoiser, output, strength=0.0).finish()  # type: ignore[arg-type]
    assert done.notes == (() if name is None else (f"not kept: {name}",))


@pytest.mark.parametrize("output", ["photo", "mosaic_dng", "linear_dng"])
def test_corrections_that_are_lost_are_named(output: str, simulate: Simulate, mosaic_denoiser: Denoiser) -> None:
    warp = struct.pack(">5I", 1, 1, 0x01030000, 1, 20) + bytes(20)
    with RawFile(simulate(picture={51009: Value(7, warp)}), LIMIT) as raw:
        done = denoise_raw(raw, mosaic_denoiser, output, strength=0.0).finish()  # type: ignore[arg-type]
    named = ("corrections that the file asks for and that are not made: WarpRectilinear",)
    assert done.notes == (() if output == "mosaic_dng" else named)  # the mosaic still asks for them


def test_full_photosites_stay_full_and_without_colour(simulate: Simulate, mosaic_denoiser: Denoiser) -> None:
    sensor = replace(SENSOR, exposure=6.0)
    with RawFile(simulate(sensor), LIMIT) as raw:
        inside = np.lib.stride_tricks.sliding_window_view(np.pad(raw.mosaic.full, 6), (13, 13)).all(axis=(2, 3))
        assert inside.sum() > 100
        numbers = cleaned(raw, sensor.noise, mosaic_denoiser)
        assert (numbers[inside] == sensor.white).all()
        white = raw.develop(numbers)[inside]
    assert white.min() > 65500


def test_noise_comes_from_whom_it_should(simulate: Simulate) -> None:
    given = ShotRead(1e-3, 1e-3)
    with RawFile(simulate(), LIMIT) as raw:
        assert (noise_of(raw, given).noise, noise_of(raw, given).source) == (given, "given")
        assert noise_of(raw).source == "file"
        assert noise_of(raw).noise.shot == pytest.approx(3e-3)
        assert noise_of(raw).noise.read == pytest.approx(6e-3)
    with RawFile(simulate(noise=None), LIMIT) as raw:
        known = noise_of(raw)
        assert known.source == "estimated"
        assert known.noise.shot == pytest.approx(3e-3, rel=0.25)


@pytest.mark.parametrize("stated", [ShotRead(5.0, 5.0), ShotRead(30.0, 30.0)])
def test_a_profile_that_cannot_be_true_is_replaced_by_an_estimate(stated: ShotRead, simulate: Simulate) -> None:
    with RawFile(simulate(noise=stated), LIMIT) as raw:
        known = noise_of(raw)
    assert known.source == "estimated"
    assert known.noise.shot == pytest.approx(3e-3, rel=0.25)
    assert known.notes == ("the file's NoiseProfile states far more noise than there is: estimated instead",)


@pytest.mark.parametrize("numbers", [[-1e-3, 1e-5], [1e-3, -1e-5], [0, 0]])
def test_a_profile_of_less_than_no_noise_is_none(numbers: list[float], simulate: Simulate) -> None:
    exif = Exif()
    profile: Directory = {dng.NOISE_PROFILE: exif.packed(DOUBLE, numbers)}
    with RawFile(simulate(noise=None, picture=profile), LIMIT) as raw:
        assert raw.noise is None


def test_the_preview_keeps_the_camera_s_tone(simulate: Simulate) -> None:
    """Programs that take their tone from the preview show the denoised file as they showed the file."""
    with RawFile(simulate(), LIMIT) as raw:
        flat = developed(raw).as_rgb8()
    small = np.asarray(Image.fromarray(flat).resize((160, 128)))
    darker = np.rint(255 * (small / 255) ** 1.5).astype(np.uint8)
    with RawFile(simulate(preview=darker), LIMIT) as raw:
        expected = with_camera_tone(raw, developed(raw)).as_float()
        written = dng.encode(as_dng(raw, False, None), "test")
    with RawFile(written, LIMIT) as again:
        plain = developed(again)
        result = with_camera_tone(again, plain).as_float()
    assert np.abs(result - expected).mean() < 0.1 * np.abs(plain.as_float() - expected).mean()


def test_smoothed_noise_is_removed_with_less_than_its_file_states(
    astronaut: NDArray[np.uint8], mosaic_denoiser: Denoiser
) -> None:
    sensor = replace(SENSOR, noise=ShotRead(1e-2, 2e-2))
    light = sensor.measure(astronaut[:256, 100:420] / 255)
    grain = pack(sensor_noise(light, 1e-2, 2e-2, np.random.default_rng(0)), (0, 0))
    smoothed = unpack(gaussian_filter(grain, (1, 1, 0)), (0, 0), light.shape)
    numbers = np.rint((light + smoothed) * (sensor.white - sensor.black) + sensor.black).clip(0, sensor.white)
    negative = dng.simulated_dng(sensor, numbers.astype(np.uint16), np.ascontiguousarray(astronaut[:64, :80]))
    with RawFile(dng.encode(negative, "test"), LIMIT) as raw:
        known = noise_of(raw)
        assert known.source == "file"
        assert known.notes[0].startswith("the noise has been smoothed before:")
        result = denoise_raw(raw, mosaic_denoiser, "mosaic_dng").finish()
        assert known.notes[0] in result.notes
        ways = {
            "as smoothed": denoise_mosaic(raw.mosaic, known.noise, mosaic_denoiser),
            "as stated": denoise_mosaic(raw.mosaic, sensor.noise, mosaic_denoiser),
            "left alone": raw.mosaic.light,
        }
    scores = {way: psnr(values.clip(0, 1), light) for way, values in ways.items()}
    assert scores["as smoothed"] > scores["left alone"] + 1
    assert scores["as smoothed"] > scores["as stated"] + 1


@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "columns"])
@pytest.mark.parametrize(("kind", "width", "noise"), [
    ("bayer", 512, ShotRead(1e-3, 4e-3)), ("bayer", 1200, ShotRead(1e-3, 4e-3)), ("bayer", 512, ShotRead(2e-3, 0.0)),
    ("xtrans", 1200, ShotRead(1e-3, 4e-3)),
])  # fmt: skip
def test_what_a_network_removes_shows_more_of_the_banding(
    kind: FilterKind, width: int, noise: ShotRead, axis: int, mosaic_denoiser: Denoiser, xtrans_denoiser: Denoiser,
    astronaut: NDArray[np.uint8], rng: np.random.Generator,
) -> None:  # fmt: skip
    columns = tiling.reflected(0, width, astronaut.shape[1])
    scene = srgb_to_linear((astronaut / 255).astype(np.float32))[:, columns]
    filters = ColourFilters(kind, (0, 0))
    light = filters.sample(np.ascontiguousarray(scene.transpose(1, 0, 2) if axis else scene))
    noisy = light + sensor_noise(light, noise.shot, noise.read, rng)
    deviation = 2 * np.sqrt(noise.shot * 0.01 + noise.read**2)
    offsets = np.float32(deviation) * np.expand_dims(rng.standard_normal(512, np.float32), 1 - axis)
    full = np.zeros(light.shape, bool)
    full[-200:, -200:] = True
    mosaic = Mosaic(np.where(full, 1, noisy + offsets), full, filters)
    denoise = mosaic_denoiser if kind == "bayer" else xtrans_denoiser
    even, notes = remove_banding(mosaic, noise, denoise)
    assert [note.partition(" differed")[0] for note in notes] == ["banding removed: " + ("columns" if axis else "rows")]
    first = find_banding(mosaic.light.T if axis else mosaic.light, filters.pattern.shape[axis], noise)
    assert first is not None
    assert (even.light[full] == 1).all()
    left = np.average(even.light - noisy, axis=1 - axis, weights=~full)
    assert np.std(left) < 0.8 * np.std(offsets.ravel() - first.offsets)


@pytest.mark.parametrize(("borders", "across_rows", "across_columns"), [
    ((0, 0, 0, 0), None, None), ((0, 23, 0, 0), None, None), ((0, 24, 0, 0), (256, 16), None),
    ((2, 24, 0, 60), (256, 52), None), ((40, 3, 30, 0), None, (320, 32)), ((0, 0, 48, 0), None, (320, 40)),
])  # fmt: skip
def test_the_broader_masked_border_is_read_without_its_edges(
    borders: tuple[int, int, int, int], across_rows: tuple[int, int] | None, across_columns: tuple[int, int] | None,
    simulate: Simulate,
) -> None:  # fmt: skip
    top, left, bottom, right = borders
    numbers = np.pad(np.full((256, 320), 2000, np.uint16), [(top, bottom), (left, right)], constant_values=SENSOR.black)
    with RawFile(simulate(values=numbers, area=(top, left, top + 256, left + 320)), LIMIT) as raw:
        for axis, expected in ((0, across_rows), (1, across_columns)):
            masked = raw.masked(axis)
            assert (None if masked is None else masked.shape) == expected
            assert masked is None or not masked.any()


@pytest.mark.parametrize("borders", [(0, 60), (60, 0), (7, 13)])
def test_an_x_trans_mosaic_is_known_inside_a_masked_border(
    borders: tuple[int, int], astronaut: NDArray[np.uint8]
) -> None:
    negative = Negative(X_TRANS, (96, 120), borders=(*borders, 0, 0), bits=14, model="Simulated")
    with RawFile(negative.encode(astronaut), LIMIT) as raw:
        assert raw.obstacle is None
        assert raw.layout == "X-Trans mosaic"
        pattern = raw.filters.pattern
    assert "".join("RGB"[colour] for colour in pattern.flat) == X_TRANS


@pytest.mark.parametrize("axis", [0, 1])
def test_masked_borders_show_the_banding_and_stay_as_they_are(
    axis: int, simulate: Simulate, mosaic_denoiser: Denoiser, astronaut: NDArray[np.uint8], rng: np.random.Generator
) -> None:
    noise, border = ShotRead(1e-3, 4e-3), 40
    scene = astronaut[:256, 100:420] / 255
    light = np.pad(SENSOR.measure(scene), [(border, 0)] * 2)
    offsets = 2 * noise.read * np.expand_dims(rng.standard_normal(light.shape[axis]), 1 - axis)
    noisy = light + offsets + sensor_noise(light.astype(np.float32), noise.shot, noise.read, rng)
    numbers = np.rint(noisy * (SENSOR.white - SENSOR.black) + SENSOR.black).clip(0, SENSOR.white).astype(np.uint16)
    sides = []
    for values, area in ((numbers, (border, border, *numbers.shape)), (numbers[border:, border:], None)):
        with RawFile(simulate(values=values, area=area, noise=noise), LIMIT) as raw:
            reached: list[float] = []
            done = denoise_raw(raw, mosaic_denoiser, "mosaic_dng", progress=reached.append)
            # Without the border, the network looks for what is left of the offsets, in as many photosites.
            assert reached == [1.0] if area is not None else reached == [0.5, 1.0]
            assert [note.partition(" differed")[0] for note in done.notes] == [
                "banding removed: " + ("columns" if axis else "rows")
            ]
            error = raw.mosaic_of(done.values).light - light[border:, border:]
            sides.append(np.std(np.median(error, axis=1 - axis)))
            if area is not None:
                assert np.array_equal(raw.frame_with(done.values)[:border], numbers[:border])
    assert sides[0] < 0.6 * sides[1]


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_written_negative_is_developed_as_the_picture_was(
    linear: bool, orientation: int, simulate: Simulate, mosaic_denoiser: Denoiser
) -> None:
    with RawFile(simulate(orientation=orientation), LIMIT) as raw:
        numbers = cleaned(raw, SENSOR.noise, mosaic_denoiser)
        expected = as_photo(raw, raw.develop(numbers)).as_float()
        left = ShotRead(1e-5, 1e-4)
        written = dng.encode(as_dng(raw, linear, left, numbers), "test")
    with RawFile(written, LIMIT) as again:
        result = developed(again).as_float()
        assert again.noise is not None
        assert again.noise.shot == pytest.approx(1e-5)
        assert (again.obstacle is not None) == linear
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() < 2 / 255 if linear else np.array_equal(result, expected)


def test_a_second_round_finds_little_left(simulate: Simulate, mosaic_denoiser: Denoiser) -> None:
    with RawFile(simulate(), LIMIT) as raw:
        left = estimate_mosaic_noise(raw.mosaic_of(cleaned(raw, SENSOR.noise, mosaic_denoiser)))
    light = 0.2
    before, after = (noise.shot * light + noise.read**2 for noise in (SENSOR.noise, left))
    assert after < before / 9


@pytest.fixture
def three_colours(simulate: Simulate) -> bytes:
    """A linear digital negative whose pixels have the noise of a mosaic."""
    with RawFile(simulate(), LIMIT) as raw:
        return dng.encode(as_dng(raw, True, SENSOR.noise), "test")


def test_a_picture_without_mosaic_loses_noise_as_well(three_colours: bytes, simulate: Simulate) -> None:
    truth = rendering(simulate(noisy=False))
    denoise = load_denoiser("mallenet-linear", "cpu", "fp32")
    with RawFile(three_colours, LIMIT) as raw:
        assert raw.obstacle == "three values a pixel"
        before = developed(raw).as_float()
        clean = denoise_picture(raw.develop(), noise_of(raw).noise, raw.gains, denoise)
        after = as_photo(raw, clean).as_float()
    assert psnr(after, truth) > psnr(before, truth) + 4
    assert np.abs((after - truth).mean(axis=(0, 1))).max() < 0.01


def test_noise_is_measured_in_what_has_no_mosaic(three_colours: bytes) -> None:
    with RawFile(three_colours, LIMIT) as raw:
        planes, full = raw.planes()
        assert planes.shape == full.shape == (256, 320, 3)
        light = 0.3  # demosaicing has averaged some of it away
        assert 0.1 < (estimate_noise(raw).shot * light) / (SENSOR.noise.shot * light) < 1.5


def test_an_impossible_black_level_is_refused(simulate: Simulate, tmp_path: Path) -> None:
    path = tmp_path / "black.dng"
    path.write_bytes(simulate(black=(20000.0,) * 4))
    with pytest.raises(Exception, match=r"black\.dng: .*black level, 20000, is not below its white level, 16383"):
        image.read(path)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.98])
def test_a_truncated_negative_is_refused(share: float, simulate: Simulate, tmp_path: Path) -> None:
    whole = simulate()
    path = tmp_path / "cut.dng"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(Exception, match=r"cut\.dng: "):
        image.read(path)


@pytest.mark.parametrize("linear", [False, True])
def test_other_programs_read_what_is_written(linear: bool, simulate: Simulate, tmp_path: Path) -> None:
    programs = {name: shutil.which(name) for name in ("exiftool", "dcraw")}
    if None in programs.values():
        pytest.skip("exiftool and dcraw, which Debian has, are not both here")
    path = tmp_path / "photo.dng"
    with RawFile(simulate(size=(250, 330)), LIMIT) as raw:
        path.write_bytes(dng.encode(as_dng(raw, linear, SENSOR.noise), "test"))
        expected, numbers = developed(raw).pixels, raw.numbers
    ask = partial(subprocess.run, capture_output=True, check=True)
    said = ask([programs["exiftool"], "-validate", "-a", "-warning", "-error", path]).stdout.decode()
    assert said.split(":", 1)[1].strip() == "OK", said
    if not linear:
        plain = ask([programs["dcraw"], "-D", "-4", "-c", path]).stdout
        np.testing.assert_array_equal(np.frombuffer(plain[-numbers.nbytes :], ">u2").reshape(numbers.shape), numbers)
    picture = ask([programs["dcraw"], "-w", "-W", "-6", "-g", "2.4", "12.92", "-c", path]).stdout
    pixels = np.frombuffer(picture[-expected.nbytes :], ">u2").reshape(expected.shape)
    assert np.abs(pixels.astype(float) - expected).mean() < 0.02 * 65535


def test_all_of_an_area_that_libraw_cuts_is_denoised(simulate: Simulate, mosaic_denoiser: Denoiser) -> None:
    area = (3, 7, 259, 327)
    frames = []
    for noisy in (True, False):
        with RawFile(simulate(noisy=noisy), LIMIT) as raw:
            frame = np.full((264, 336), 900, np.uint16)
            frame[3:259, 7:327] = raw.numbers
            frames.append(frame)
    with RawFile(simulate(values=frames[0], area=area), LIMIT) as raw:
        written = denoise_raw(raw, mosaic_denoiser, "mosaic_dng").finish().picture
    assert isinstance(written, dng.DigitalNegative)
    assert (written.area, written.removed) == (area, 1.0)
    before, after = (np.abs(one.astype(float) - frames[1]) for one in (frames[0], written.values))
    for border in (np.s_[3, 7:327], np.s_[258, 7:327], np.s_[3:259, 7], np.s_[3:259, 326]):
        assert after[border].mean() < before[border].mean() / 1.25
    assert (written.values[:3] == 900).all()
    assert (written.values[:, 327:] == 900).all()


@pytest.mark.parametrize("compression", ["jpeg", "lossy-jpeg"])
def test_darktable_shows_a_linear_negative_as_it_shows_the_mosaic(
    compression: str, simulate: Simulate, tmp_path: Path
) -> None:
    program = shutil.which("darktable-cli")
    if program is None:
        pytest.skip("darktable-cli, which Debian has, is not here")
    core = ["--core", "--configdir", tmp_path / "config", "--library", ":memory:"]
    means = []
    with RawFile(simulate(noisy=False), LIMIT) as raw:
        linear = replace(as_dng(raw, True, None), compression=compression)  # type: ignore[arg-type]
        for name, negative in (("mosaic", as_dng(raw, False, None)), ("linear", linear)):
            path = tmp_path / f"{name}.dng"
            path.write_bytes(dng.encode(negative, "test"))
            command = [program, path, path.with_suffix(".png"), *core, "--conf", "plugins/darkroom/workflow=none"]
            subprocess.run(command, capture_output=True, check=True)
            pixels = image.read(path.with_suffix(".png")).as_float()
            assert pixels.shape == (256, 320, 3)
            means.append(pixels.mean(axis=(0, 1)))
    assert np.abs(means[0] - means[1]).max() < 1.5 / 255


def test_what_is_full_only_by_noise_is_denoised(mosaic_denoiser: Denoiser, rng: np.random.Generator) -> None:
    light = (0.97 + 0.03 * rng.standard_normal((128, 128))).astype(np.float32).clip(None, 1)
    mosaic = Mosaic(light, light >= 1, ColourFilters("bayer", (0, 0)))
    clean = denoise_mosaic(mosaic, ShotRead(0, 0.03), mosaic_denoiser)
    assert clean.std() < light.std() / 3


@pytest.mark.parametrize("linear", [False, True])
def test_the_picture_is_turned_as_the_camera_was(
    linear: bool, simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_module, "is_dng", lambda data: False)  # then only LibRaw knows how it is turned
    for orientation in range(1, 9):
        with RawFile(simulate(orientation=orientation), LIMIT) as raw:
            shape = raw.shape
            written = as_dng(raw, linear, SENSOR.noise)
        assert shape == ((320, 256) if orientation > 4 else (256, 320))
        assert written.orientation == orientation


def test_photosites_that_are_full_are_found_where_their_blacks_differ(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = replace(SENSOR, exposure=3.0, white=15000)
    data = simulate(sensor, black=(1022.0, 1024.0, 1025.0, 1023.0), white=16383)
    with RawFile(data, LIMIT) as raw:
        assert not raw.mosaic.full.any()
    monkeypatch.setattr(raw_module, "is_dng", lambda data: False)
    with RawFile(data, LIMIT) as raw:
        np.testing.assert_array_equal(raw.mosaic.full, raw.numbers == 15000)
        assert raw.mosaic.full.mean() > 0.05
        np.testing.assert_allclose(raw.mosaic.light[raw.mosaic.full], 1, rtol=1e-6)
        np.testing.assert_array_equal(raw.numbers_of(raw.mosaic.light), raw.numbers)


def test_a_sensor_without_filters_gives_a_grey_picture(tmp_path: Path, rng: np.random.Generator) -> None:
    """LibRaw takes such a file for a DNG of one colour."""
    tags = [
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # DNGVersion
        (262, 3, 1, 34892, True),  # PhotometricInterpretation: linear raw
        (50714, 3, 1, 500, True),  # BlackLevel
        (50717, 3, 1, 4000, True),  # WhiteLevel
    ]
    light = np.broadcast_to(np.linspace(600, 3000, 320), (256, 320))
    numbers = np.rint(light + 60 * rng.standard_normal(light.shape)).astype(np.uint16)
    path = tmp_path / "grey.dng"
    tifffile.imwrite(path, numbers, photometric="minisblack", extratags=tags[:1] + tags[2:], metadata=None)
    data = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].aspage().tags[262].valueoffset
    path.write_bytes(data[:place] + struct.pack("<H", 34892) + data[place + 2 :])
    denoise = load_denoiser("mallenet-linear", "cpu", "fp32")
    with RawFile(path.read_bytes(), LIMIT) as raw:
        assert raw.obstacle == "no colour filters"
        np.testing.assert_array_equal(raw.gains, [1, 1, 1])
        noise = estimate_noise(raw)
        assert (noise.shot * 0.3 + noise.read**2) ** 0.5 == pytest.approx(60 / 3500, rel=0.2)
        linear = raw.develop()
        clean = denoise_picture(linear, noise, raw.gains, denoise)
        before, after = (np.abs(np.diff(one.astype(float), axis=0)).mean() for one in (linear, clean))
        assert after < before / 3
        assert as_photo(raw, clean).pixels.shape == (256, 320, 1)
        written = dng.encode(as_dng(raw, True, None), "test")
    with RawFile(written, LIMIT) as again:
        assert np.abs(developed(again).as_float()[..., :1] - encoded(linear)).max() < 2 / 255


def encoded(linear: NDArray[np.uint16]) -> NDArray[np.float32]:
    return linear_to_srgb(linear[..., :1].astype(np.float32) / 65535)


# Merged exposures: floating point beyond white


def merged(numbers: NDArray[np.uint16], brightest: float) -> bytes:
    """A DNG in floating point of a simulated sensor's numbers, with a spot of light beyond white."""
    light = (numbers - np.float32(SENSOR.black)) / (SENSOR.white - SENSOR.black)
    light[64:72, 64:72] = brightest
    negative = dng.simulated_dng(SENSOR, numbers, np.zeros((8, 8, 3), np.uint8))
    return dng.encode(replace(negative, values=light, black=(0,) * 4, white=1, compression="deflate"), "test")


@pytest.mark.parametrize("brightest", [3.0, 1000.0])
def test_light_far_beyond_white_does_not_stop_the_rest_from_being_denoised(
    brightest: float, simulate: Simulate, mosaic_denoiser: Denoiser
) -> None:
    with RawFile(simulate(noisy=False), LIMIT) as raw:
        truth = raw.mosaic.light
    with RawFile(simulate(), LIMIT) as raw:
        noisy = raw.numbers
    with RawFile(merged(noisy, brightest), LIMIT) as raw:
        before = raw.mosaic.light
        after = denoise_mosaic(raw.mosaic, SENSOR.noise, mosaic_denoiser)
    np.testing.assert_allclose(after[66:70, 66:70], brightest, rtol=0.02)
    rest = np.ones(truth.shape, bool)
    rest[60:76, 60:76] = False
    assert psnr(after[rest], truth[rest]) > psnr(before[rest], truth[rest]) + 5


def test_a_picture_says_that_light_beyond_white_is_clipped_and_a_dng_keeps_it(
    simulate: Simulate, mosaic_denoiser: Denoiser
) -> None:
    with RawFile(simulate(), LIMIT) as raw:
        data = merged(raw.numbers, 5.0)
    with RawFile(data, LIMIT) as raw:
        done = denoise_raw(raw, mosaic_denoiser, "photo", SENSOR.noise).finish()
        assert done.notes == ("light beyond white is clipped: a .dng keeps it",)
        done = denoise_raw(raw, mosaic_denoiser, "mosaic_dng", SENSOR.noise).finish()
        assert done.notes == ()
    assert isinstance(done.picture, dng.DigitalNegative)
    with RawFile(dng.encode(done.picture, "test"), LIMIT) as again:
        np.testing.assert_allclose(again.numbers[66:70, 66:70], 5, rtol=0.02)
        assert again.noise is not None
        assert again.noise.shot < SENSOR.noise.shot / 4


def test_a_linear_picture_beyond_white_is_denoised_and_kept(simulate: Simulate) -> None:
    with RawFile(simulate(), LIMIT) as raw:
        linear = camera_light(raw).astype(np.float32) / 65535 / raw.gains
        negative = linear_dng(raw, camera_light(raw), SENSOR.noise)
    linear[64:72, 64:72] = 5
    values = (linear * 1000).astype(np.float32)
    data = dng.encode(replace(negative, values=values, white=1000, compression="deflate"), "test")
    with RawFile(data, LIMIT) as raw:
        done = denoise_raw(raw, load_denoiser("mallenet-linear", "cpu", "fp32"), "linear_dng", SENSOR.noise).finish()
        before = raw.numbers
    assert isinstance(done.picture, dng.DigitalNegative)
    with RawFile(dng.encode(done.picture, "test"), LIMIT) as again:
        np.testing.assert_allclose(again.numbers[66:70, 66:70], 5, rtol=0.03)
        flat = slice(8, 40), slice(270, 310)  # the wall behind the astronaut
        assert again.numbers[flat].std((0, 1)).max() < before[flat].std((0, 1)).max()
        np.testing.assert_allclose(again.numbers[flat].mean((0, 1)), before[flat].mean((0, 1)), rtol=0.02)


@pytest.mark.skipif(shutil.which("darktable-cli") is None, reason="darktable is not here")
def test_darktable_shows_a_denoised_merge_as_bright_as_the_original(
    simulate: Simulate, mosaic_denoiser: Denoiser, tmp_path: Path
) -> None:
    with RawFile(simulate(), LIMIT) as raw:
        source = merged(raw.numbers, 5.0)
    with RawFile(source, LIMIT) as raw:
        done = denoise_raw(raw, mosaic_denoiser, "mosaic_dng", SENSOR.noise).finish()
    assert isinstance(done.picture, dng.DigitalNegative)
    means = []
    for name, data in (("original", source), ("denoised", dng.encode(done.picture, "test"))):
        file, shown = tmp_path / f"{name}.dng", tmp_path / f"{name}.png"
        file.write_bytes(data)
        options = ["--core", "--disable-opencl", "--library", ":memory:", "--configdir", tmp_path / f"{name}.config"]
        subprocess.run(["darktable-cli", file, shown, *options], check=True, capture_output=True)
        means.append(image.read(shown).as_float().mean((0, 1)) * 255)
    np.testing.assert_allclose(means[1], means[0], atol=1.5)
