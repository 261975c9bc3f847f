"""Training examples have the noise whose level they state."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.data import examples
from denoise_cli.data.examples import (
    GRAIN,
    MAX_GRAIN,
    DevelopedNoise,
    Example,
    Examples,
    GaussianNoise,
    MosaicNoise,
    Pairs,
    PhotoNoise,
    SensorNoise,
    _stored,
    film_grain,
)
from denoise_cli.data.photos import CropSource
from denoise_cli.imaging.noise import READ_RANGE, SHOT_RANGE, UNKNOWN_LEVEL
from denoise_cli.imaging.transfer import srgb_to_linear

SIGMA_MAX = 75 / 255


@pytest.fixture
def crops(tmp_path: Path) -> CropSource:
    """One photo: 16 flat stripes, from black to white."""
    values = np.rint(np.linspace(0, 255, 16)).astype(np.uint8)
    stripes = np.broadcast_to(values.repeat(8)[:, None, None], (128, 128, 3))
    Image.fromarray(np.ascontiguousarray(stripes)).save(tmp_path / "stripes.png")
    return CropSource([(tmp_path / "stripes.png",)])


@pytest.fixture
def pairs(tmp_path: Path, rng: np.random.Generator) -> CropSource:
    """One pair, flat, with white noise of 20 / 255."""
    clean = np.full((128, 128, 3), 128, np.uint8)
    noisy = np.rint(clean + rng.normal(0, 20, clean.shape)).clip(0, 255).astype(np.uint8)
    for name, pixels in {"noisy": noisy, "clean": clean}.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return CropSource([(tmp_path / "noisy.png", tmp_path / "clean.png")])


def draw(examples: Examples, patch: int, seed: int = 0) -> Example:
    return examples.draw(np.random.default_rng(seed), patch)


def drawn_levels(examples: Examples, count: int, patch: int = 16) -> NDArray[np.float32]:
    """The levels of many examples, each of which is the same everywhere."""
    drawn = [draw(examples, patch, seed) for seed in range(count)]
    assert all((one.level == one.level[0, 0]).all() for one in drawn)
    return np.array([one.level[0, 0] for one in drawn])


def examples_of(kind: type, crops: CropSource) -> Examples:
    return kind(crops, SIGMA_MAX) if kind in (GaussianNoise, PhotoNoise) else kind(crops)


@pytest.mark.parametrize("kind", [GaussianNoise, SensorNoise, PhotoNoise, MosaicNoise, DevelopedNoise])
def test_shapes_types_and_ranges(crops: CropSource, kind: type) -> None:
    for seed in range(8):
        one = draw(examples_of(kind, crops), 40, seed)
        assert one.noisy.shape == one.clean.shape == (40, 40, 4 if kind is MosaicNoise else 3)
        assert one.level.shape == (40, 40)
        assert {part.dtype for part in (one.noisy, one.clean, one.level)} == {np.dtype(np.float32)}
        assert one.clean.min() >= 0
        assert one.clean.max() <= 1
        assert one.level.min() >= 0
        assert np.isfinite(one.noisy).all()


@pytest.mark.parametrize("kind", [GaussianNoise, SensorNoise, PhotoNoise, MosaicNoise, DevelopedNoise])
def test_the_same_chance_draws_the_same_example(crops: CropSource, kind: type) -> None:
    for seed in range(4):
        first, again, other = (draw(examples_of(kind, crops), 24, s) for s in (seed, seed, seed + 100))
        assert np.array_equal(first.noisy, again.noisy)
        assert np.array_equal(first.clean, again.clean)
        assert np.array_equal(first.level, again.level)
        assert not np.array_equal(first.noisy, other.noisy)


def test_white_noise_has_the_level_that_is_told(crops: CropSource) -> None:
    for seed in range(5):
        one = draw(GaussianNoise(crops, SIGMA_MAX), 128, seed)
        noise, sigma = one.noisy - one.clean, one.level[0, 0]
        assert (one.level == sigma).all()
        assert noise.std() == pytest.approx(sigma, rel=0.02)
        assert abs(noise.mean()) < 4 * sigma / noise.size**0.5
        assert np.abs(np.corrcoef(noise.reshape(-1, 3).T) - np.eye(3)).max() < 0.04


def test_white_noise_may_differ_between_channels_and_each_level_is_told(crops: CropSource) -> None:
    drawn = [draw(GaussianNoise(crops, SIGMA_MAX, differs=True), 128, seed) for seed in range(30)]
    for one in drawn:
        assert one.level.shape == one.noisy.shape
        assert (one.level == one.level[0, 0]).all()
        assert (one.noisy - one.clean).std(axis=(0, 1)) == pytest.approx(one.level[0, 0], rel=0.03)
    unequal = np.mean([len(set(one.level[0, 0].tolist())) > 1 for one in drawn])
    assert 0.1 < unequal < 0.6


def test_the_levels_of_white_noise_are_even(crops: CropSource) -> None:
    counts, _ = np.histogram(drawn_levels(GaussianNoise(crops, 0.3), 400, 4), bins=4, range=(0, 0.3))
    assert counts.sum() == 400
    assert counts.min() > 70


def test_a_sensors_noise_grows_with_the_light(crops: CropSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "SHOT_RANGE", (4e-3, 4e-3))
    monkeypatch.setattr(examples, "READ_RANGE", (0.02, 0.02))
    drawn = [draw(SensorNoise(crops), 128, seed) for seed in range(4)]
    noise = np.stack([one.noisy - one.clean for one in drawn])
    light = np.stack([one.clean for one in drawn])
    for q in np.unique(light):
        here = noise[light == q]
        assert here.var() == pytest.approx(4e-3 * q + 0.02**2, rel=6 * (2 / here.size) ** 0.5)
        assert abs(here.mean()) < 5 * here.std() / here.size**0.5


def test_a_sensors_pictures_are_linear_light(crops: CropSource) -> None:
    one = draw(SensorNoise(crops), 128)
    expected = srgb_to_linear(np.rint(np.linspace(0, 255, 16)) / 255)
    np.testing.assert_allclose(np.unique(one.clean), expected, atol=1e-6)


def test_a_sensors_level_is_that_of_the_noisy_light(crops: CropSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "SHOT_RANGE", (4e-3, 4e-3))
    monkeypatch.setattr(examples, "READ_RANGE", (0.02, 0.02))
    one = draw(SensorNoise(crops), 128)
    light = one.noisy.astype(np.float64).mean(axis=2)
    np.testing.assert_allclose(one.level, np.sqrt(0.02**2 + 4e-3 * light.clip(0)), rtol=1e-5)
    assert one.level.min() == pytest.approx(0.02)  # where the noise went below black


def test_a_sensors_noise_is_drawn_from_the_papers_ranges(crops: CropSource) -> None:
    darkest = [draw(SensorNoise(crops), 16, seed).level.min() for seed in range(200)]
    least, most = READ_RANGE
    assert least <= min(darkest) < 0.1 * most
    assert max(darkest) < np.hypot(most, SHOT_RANGE[1] ** 0.5)


@pytest.mark.parametrize(("kind", "least", "most"), [(MosaicNoise, 0.8, 1.4), (DevelopedNoise, 0.5, 2.0)])
def test_noise_of_raw_is_about_as_strong_everywhere_as_is_told(
    crops: CropSource, kind: type, least: float, most: float
) -> None:
    for seed in range(12):
        one = draw(examples_of(kind, crops), 128, seed)
        assert (one.level == one.level[0, 0]).all()
        for dark in (True, False):
            here = (one.clean < 0.5) == dark
            if here.sum() > 2000:
                inside = here & (one.clean > 0.15) & (one.clean < 0.9)
                share = (one.noisy - one.clean)[inside].std() / one.level[0, 0]
                assert np.isnan(share) or least < share < most


def test_no_picture_of_a_camera_tells_its_level(crops: CropSource) -> None:
    assert (drawn_levels(PhotoNoise(crops, SIGMA_MAX), 50) == UNKNOWN_LEVEL).all()


def test_photos_have_a_cameras_noise_white_noise_grain_or_none(crops: CropSource) -> None:
    drawn = [draw(PhotoNoise(crops, SIGMA_MAX), 16, seed) for seed in range(400)]
    clean = np.mean([np.array_equal(one.noisy, one.clean) for one in drawn])
    assert clean == pytest.approx(0.08, abs=0.05)
    steps = [one.noisy * 255 for one in drawn]
    exact = np.mean([np.abs(step - np.rint(step)).max() > 1e-3 for step in steps])
    # The means of three colours, in grey ones; white noise and grain; whatever else a camera stores has 8 bits.
    assert exact == pytest.approx(0.15 + 0.85 * 0.4 * 0.3, abs=0.06)


def test_some_photos_have_a_side_without_noise(crops: CropSource) -> None:
    drawn = [draw(PhotoNoise(crops, SIGMA_MAX), 16, seed) for seed in range(300)]
    noisy = [one for one in drawn if not np.array_equal(one.noisy, one.clean)]
    same = [(one.noisy == one.clean).all(axis=-1) for one in noisy]
    framed = [any(turned[0].all() for turned in (np.rot90(each, k) for k in range(4))) for each in same]
    assert np.mean(framed) == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize("light", [0.03, 0.97])
def test_the_target_of_noise_that_a_file_clips_keeps_its_mean(rng: np.random.Generator, light: float) -> None:
    ramp = light + np.linspace(-0.02, 0.02, 64, dtype=np.float32)
    clean = np.ascontiguousarray(np.broadcast_to(ramp[:, None, None], (64, 64, 3)))
    moved = []
    for _ in range(20):
        noisy, target = _stored(clean, 0.2 * rng.standard_normal(clean.shape, np.float32), rng)
        assert abs(noisy.mean() - target.mean()) < 0.03  # JPEG moves it, too
        moved.append(abs(float(target.mean()) - light))
    assert min(moved) < 1e-3  # a file in floating point clips nothing
    assert max(moved) > 0.05


def test_film_grain_is_soft_and_alike_in_the_channels(rng: np.random.Generator) -> None:
    grey = np.full((96, 96, 3), 0.5, np.float32)
    deviations, neighbours, channels = [], [], []
    for _ in range(60):
        grain = film_grain(grey, rng)
        deviations.append(grain.std())
        neighbours.append(np.corrcoef(grain[:, 1:, 0].ravel(), grain[:, :-1, 0].ravel())[0, 1])
        channels.append(np.corrcoef(grain[..., 0].ravel(), grain[..., 2].ravel())[0, 1])
    assert max(deviations) <= MAX_GRAIN * 1.01
    assert np.mean(neighbours) > 0.4
    assert np.mean(channels) > 0.6


def test_film_grain_is_strongest_in_the_middle_tones(rng: np.random.Generator) -> None:
    ramp = np.ascontiguousarray(np.broadcast_to(np.linspace(0, 1, 256, dtype=np.float32)[:, None, None], (256, 64, 3)))
    energy = sum(np.square(film_grain(ramp, rng)).mean(axis=(1, 2)) for _ in range(20))
    assert energy[96:160].mean() > 1.3 * max(energy[:32].mean(), energy[-32:].mean())


def test_pairs_stay_together(pairs: CropSource) -> None:
    one = draw(Pairs(pairs, is_blind=True), 32)
    assert one.noisy.shape == one.clean.shape == (32, 32, 3)
    assert (one.clean == np.float32(128 / 255)).all()
    assert (one.noisy - one.clean).std() == pytest.approx(20 / 255, rel=0.1)


def test_pairs_tell_their_level_to_a_network_that_does_not_see_it(pairs: CropSource) -> None:
    assert (drawn_levels(Pairs(pairs, is_blind=True), 20) == UNKNOWN_LEVEL).all()
    levels = drawn_levels(Pairs(pairs, is_blind=False), 50, 64)
    np.testing.assert_allclose(levels, 20 / 255, rtol=0.2)
    assert levels.mean() == pytest.approx(20 / 255, rel=0.03)


def test_coarse_noise_is_told_as_the_white_noise_of_the_same_grain(tmp_path: Path, rng: np.random.Generator) -> None:
    noise = rng.normal(0, 10, (32, 32, 3)).repeat(GRAIN, axis=0).repeat(GRAIN, axis=1)
    Image.fromarray(np.rint(128 + noise).astype(np.uint8)).save(tmp_path / "noisy.png")
    Image.fromarray(np.full((128, 128, 3), 128, np.uint8)).save(tmp_path / "clean.png")
    source = CropSource([(tmp_path / "noisy.png", tmp_path / "clean.png")])
    levels = drawn_levels(Pairs(source, is_blind=False), 20, 128)
    assert levels.mean() == pytest.approx(GRAIN * 10 / 255, rel=0.1)
