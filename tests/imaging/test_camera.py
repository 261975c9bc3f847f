"""The simulated camera: every step against what it simulates."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.imaging import camera
from denoise_cli.imaging.camera import MARGIN, Camera, draw_camera
from denoise_cli.imaging.colour import LUMA
from denoise_cli.imaging.noise import READ_RANGE, SHOT_RANGE
from tests.imaging.scenes import INSIDE, SKEWED_COLOURS, flat_scene, smooth_scene

Array = NDArray[np.float32]
PHASES = [(0, 0), (0, 1), (1, 0), (1, 1)]
QUIET = Camera(shot=0, read=0)
NOISY = Camera(shot=2e-3, read=4e-3)


def take(model: Camera, scene: Array, seed: int = 0) -> tuple[Array, Array]:
    return model.take(scene, np.random.default_rng(seed))


def noise_of(model: Camera, scene: Array | None = None, seed: int = 0) -> Array:
    noisy, clean = take(model, flat_scene() if scene is None else scene, seed)
    return noisy - clean


def correlation(plane: Array, lag: int = 1) -> float:
    """The correlation of pixels with those to their right."""
    return float(np.corrcoef(plane[:, :-lag].ravel(), plane[:, lag:].ravel())[0, 1])


# A camera without noise.


@pytest.mark.parametrize("method", ["malvar", "bilinear"])
@pytest.mark.parametrize("phase", PHASES)
def test_without_noise_the_picture_is_the_scene(phase: tuple[int, int], method: str) -> None:
    model = dataclasses.replace(QUIET, phase=phase, demosaic=method, colours=SKEWED_COLOURS, tone=0.5)
    scene = smooth_scene()
    noisy, clean = take(model, scene)
    assert np.abs(clean - scene[INSIDE]).max() < 2 / 255
    assert np.abs(noisy - clean).max() < 0.6 / 255


def test_a_smaller_picture_is_still_the_scene() -> None:
    noisy, _ = take(dataclasses.replace(QUIET, scale=0.5), smooth_scene(160, 192))
    smaller = smooth_scene(160, 192).reshape(80, 2, 96, 2, 3).mean(axis=(1, 3))
    assert np.abs(noisy - smaller[INSIDE]).max() < 2 / 255


def test_half_the_size_leaves_of_white_noise_what_its_filter_does(rng: np.random.Generator) -> None:
    noise = rng.normal(0.5, 0.02, (600, 600, 3)).astype(np.float32)
    distance = np.abs(np.arange(-3.5, 4)) / 2  # from a new pixel's centre to the old ones'
    near, far = 1.5 * distance**3 - 2.5 * distance**2 + 1, -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = np.where(distance < 1, near, far)  # Keys's cubic, a = -1/2
    kept = np.square(taps / taps.sum()).sum()  # share of the variance, along one axis
    half = camera.resize(noise, 0.5)[4:-4, 4:-4]
    assert half.std() == pytest.approx(0.02 * kept, rel=0.02)
    assert half.mean() == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("scale", [0.5, 0.61, 0.75, 0.99, 1.0])
def test_sizes_follow_the_scale(scale: float) -> None:
    noisy, clean = take(dataclasses.replace(NOISY, scale=scale), smooth_scene(97, 120))
    assert noisy.shape == clean.shape == (round(scale * 97) - 2 * MARGIN, round(scale * 120) - 2 * MARGIN, 3)
    assert noisy.dtype == clean.dtype == np.float32


@pytest.mark.parametrize("tone", [0.0, 0.25, 1.0])
def test_the_tables_of_the_tone_curve_undo_each_other(tone: float) -> None:
    encoded = np.linspace(0, 1, 4001, dtype=np.float32)
    light = camera._look_up(encoded, camera._decoding_table(tone))
    assert (np.diff(light) >= 0).all()
    back = camera._look_up(light, camera._encoding_table(tone))
    assert np.abs(back - encoded).max() < 0.15 / 255


# Noise on its way through the camera.


@pytest.mark.parametrize("scale", [1.0, 0.7])
@pytest.mark.parametrize("quality", [None, 80])
def test_pictures_stay_in_range_and_the_noisy_one_has_8_bits(quality: int | None, scale: float) -> None:
    scene = np.random.default_rng(1).random((90, 90, 3)).round().astype(np.float32)  # black, white and full colours
    model = Camera(1e-2, 3e-2, colours=SKEWED_COLOURS, sharpening=1.0, chroma_grain=1.0, quality=quality, scale=scale)
    noisy, clean = take(model, scene)
    for picture in (noisy, clean):
        assert picture.min() >= 0
        assert picture.max() <= 1
    np.testing.assert_allclose(noisy * 255, np.rint(noisy * 255), atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.02, 0.25, 0.75, 1.0])
def test_noise_shifts_no_colour_from_black_to_white(value: float) -> None:
    model = dataclasses.replace(NOISY, colours=SKEWED_COLOURS, tone=1.0, sharpening=0.5)
    assert np.abs(noise_of(model, flat_scene(value)).mean(axis=(0, 1))).max() < 0.05 / 255


def test_the_clean_picture_is_near_the_mean_of_many_noisy_ones() -> None:
    ramp = np.broadcast_to(np.linspace(0, 0.5, 160, dtype=np.float32)[None, :, None], (48, 160, 3))
    pictures = [take(dataclasses.replace(NOISY, read=2e-2), ramp, seed) for seed in range(60)]
    noisy, clean = (np.mean(sides, axis=(0, 1)) for sides in zip(*pictures, strict=True))  # over the columns, too
    shift = noisy - take(QUIET, ramp)[1].mean(axis=0)  # what clipping and gamma make of noise in the dark
    assert np.abs(shift).max() > 10 / 255
    assert np.abs(noisy - clean).max() < 0.5 * np.abs(shift).max()
    assert np.abs((noisy - clean).mean(axis=0)).max() < 0.01 / 255


def test_the_mean_of_the_noise_is_a_parabola_over_brightness(rng: np.random.Generator) -> None:
    clean = rng.random((200, 200, 3), dtype=np.float32)
    bend = np.float32([0.1, -0.05, 0.02]) * clean**2 - 0.03 * clean + 0.01
    noise = rng.normal(0, 0.1, clean.shape).astype(np.float32)
    np.testing.assert_allclose(camera.mean_noise(bend, clean), bend, atol=1e-5)
    assert np.abs(camera.mean_noise(bend + noise, clean) - bend).max() < 6 * 0.1 / 200
    grey = np.full_like(clean, 0.5)
    np.testing.assert_allclose(camera.mean_noise(grey - 0.4, grey), 0.1, rtol=1e-4)


def test_the_same_chance_makes_the_same_noise() -> None:
    scene = smooth_scene()
    first, again, other = (take(NOISY, scene, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], other[0])
    assert np.abs(first[1] - other[1]).max() < 2 / 255


def test_a_gain_of_the_white_balance_raises_its_colours_noise() -> None:
    red, _, blue = noise_of(Camera(2e-3, 4e-3, red=2.6, blue=1.2)).std(axis=(0, 1))
    assert red > 1.3 * blue


def test_shot_noise_is_stronger_in_the_dark_of_a_photo() -> None:
    dark, bright = (noise_of(Camera(2e-3, 1e-3), flat_scene(value)).std() for value in (0.2, 0.8))
    assert dark > 1.2 * bright  # gamma stretches the dark more than the noise grows with the light


def test_grain_lies_in_brightness_and_colour_apart() -> None:
    def parts(**grain: float) -> tuple[Array, Array]:
        noise = noise_of(dataclasses.replace(NOISY, **grain))  # type: ignore[arg-type]
        luma = noise @ LUMA
        return luma, (noise - luma[..., None])[..., 0]

    luma, chroma = parts()
    coarse_luma, same_chroma = parts(luma_grain=1.0)
    same_luma, coarse_chroma = parts(chroma_grain=2.0)
    assert correlation(coarse_luma, 2) > correlation(luma, 2) + 0.2
    assert correlation(coarse_chroma, 2) > correlation(chroma, 2) + 0.3
    assert coarse_luma.std() < 0.7 * luma.std()
    assert coarse_chroma.std() < 0.7 * chroma.std()
    for same, before in ((same_luma, luma), (same_chroma, chroma)):
        assert np.abs(same - before).max() < 1.5 / 255  # which is the rounding to 8 bits


@pytest.mark.parametrize("deviation", [0.5, 1.0, 2.5])
def test_a_blur_keeps_the_mean_and_has_its_deviation(deviation: float) -> None:
    point = np.zeros((41, 41, 1), np.float32)
    point[20, 20] = 1
    spread = camera.gaussian_blur(point, deviation)[..., 0]
    assert spread.sum() == pytest.approx(1, rel=1e-5)
    distance = np.arange(41) - 20
    for axis in (0, 1):
        assert (spread.sum(axis=axis) * distance**2).sum() ** 0.5 == pytest.approx(deviation, rel=0.1)
    np.testing.assert_allclose(camera.gaussian_blur(np.full((9, 9, 3), 0.3, np.float32), deviation), 0.3, rtol=1e-5)


def test_sharpening_leaves_flat_areas_alone_and_lifts_edges() -> None:
    edge = np.full((32, 32, 3), 0.3, np.float32)
    edge[:, 16:] = 0.6
    sharp = camera.sharpen(edge, 1.0)
    np.testing.assert_allclose(sharp[:, :12], 0.3, atol=1e-6)
    np.testing.assert_allclose(sharp[:, 20:], 0.6, atol=1e-6)
    assert sharp[:, 15].max() < 0.25
    assert sharp[:, 16].min() > 0.65
    assert camera.sharpen(edge, 0) is edge
    assert noise_of(dataclasses.replace(NOISY, sharpening=1.0)).std() > 1.2 * noise_of(NOISY).std()


# The file.


def test_a_lower_quality_loses_more() -> None:
    scene = np.clip(smooth_scene() + np.random.default_rng(3).normal(0, 0.05, (80, 96, 3)), 0, 1).astype(np.float32)
    losses = [
        np.square(noise_of(dataclasses.replace(QUIET, quality=quality), scene)).mean()
        for quality in (None, 99, 90, 70, 30)
    ]
    assert losses == sorted(losses)
    assert losses[-1] > 10 * losses[1]


def test_a_subsampled_file_loses_colour() -> None:
    stripes = np.full((80, 80, 3), 0.5, np.float32)
    stripes[..., 0] += np.where(np.arange(80) % 8 < 4, 0.2, -0.2)  # red, wide enough to survive the mosaic
    full, quarter = (
        np.square(noise_of(dataclasses.replace(QUIET, quality=95, subsampled=subsampled), stripes)).mean()
        for subsampled in (False, True)
    )
    assert quarter > 3 * full


def test_the_blocks_of_a_file_begin_anywhere() -> None:
    scene = smooth_scene()
    pictures = [take(dataclasses.replace(QUIET, quality=30), scene, seed)[0] for seed in range(6)]
    assert len({picture.tobytes() for picture in pictures}) > 3
    assert len({take(QUIET, scene, seed)[0].tobytes() for seed in range(6)}) == 1


# Random cameras.

DRAWN = [draw_camera(np.random.default_rng(seed)) for seed in range(1000)]


def test_cameras_stay_in_their_ranges() -> None:
    for one in DRAWN:
        assert SHOT_RANGE[0] <= one.shot <= SHOT_RANGE[1]
        assert 0 < one.read <= READ_RANGE[1]
        assert camera.RED_GAINS[0] <= one.red <= camera.RED_GAINS[1]
        assert camera.BLUE_GAINS[0] <= one.blue <= camera.BLUE_GAINS[1]
        assert one.colours is not None
        np.testing.assert_allclose(one.colours.sum(axis=1), 1)
        assert np.linalg.cond(one.colours) < 30
        assert 0 <= one.tone <= 1
        assert one.phase in PHASES
        assert 0 <= one.luma_grain <= 1
        assert 0 <= one.chroma_grain <= 5
        assert 0 <= one.sharpening <= 1
        assert 0.5 <= one.scale <= 1
        assert one.quality is None or 1 <= one.quality <= 100


def test_every_kind_of_camera_is_drawn() -> None:
    assert {one.phase for one in DRAWN} == set(PHASES)
    assert {one.demosaic for one in DRAWN} == {"malvar", "bilinear"}
    assert {one.subsampled for one in DRAWN} == {False, True}
    for name in ("luma_grain", "chroma_grain", "sharpening"):
        share = np.mean([getattr(one, name) == 0 for one in DRAWN])
        assert 0.05 < share < 0.5
    assert np.mean([one.quality is None for one in DRAWN]) == pytest.approx(0.2, abs=0.05)
    assert 0 < np.mean([one.chroma_grain > 2.5 for one in DRAWN]) < 0.2
    assert min(one.quality for one in DRAWN if one.quality is not None) < 50
    assert np.mean([one.scale == 1 for one in DRAWN]) == pytest.approx(0.6, abs=0.06)


def test_shot_noise_is_even_as_a_logarithm() -> None:
    counts, _ = np.histogram(np.log10([one.shot for one in DRAWN]), bins=4, range=(-4, -2))
    assert counts.sum() == 1000
    assert counts.min() > 190


def test_read_noise_follows_shot_noise() -> None:
    off = [2 * np.log(one.read) - camera.READ_SLOPE * np.log(one.shot) - camera.READ_INTERCEPT for one in DRAWN]
    assert abs(np.mean(off)) < 4 * camera.READ_SPREAD / len(off) ** 0.5
    assert np.std(off) == pytest.approx(camera.READ_SPREAD, rel=0.2)


def test_drawn_cameras_keep_the_scene() -> None:
    scene = smooth_scene()
    for one in DRAWN[:30]:
        _, clean = take(dataclasses.replace(one, shot=0, read=0, scale=1, quality=None), scene)
        assert np.abs(clean - scene[INSIDE]).max() < 3 / 255
