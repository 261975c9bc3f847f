"""Shot and read noise are found within 15 % in pictures that are flat in places and textured in others."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data

from denoise_cli.imaging.bayer import pack
from denoise_cli.imaging.noise import ShotRead, sensor_noise
from denoise_cli.imaging.photon_transfer import estimate_shot_read, share_after_smoothing
from denoise_cli.imaging.sensor import Sensor


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Patches of all brightnesses, beside a photo: (512, 1024, 3), [0, 1]."""
    patches = np.kron(np.linspace(4, 250, 64).reshape(8, 8), np.ones((64, 64)))[..., None].repeat(3, axis=-1)
    return np.concatenate([patches, data.astronaut()], axis=1) / 255


@pytest.mark.parametrize("iso", [100, 400, 1600, 6400, 25600])
def test_both_are_found_from_base_to_the_highest_sensitivity(scene: np.ndarray, iso: int) -> None:
    sensor = Sensor(ShotRead(4e-5 * iso / 100, 3e-4 * (iso / 100) ** 0.65))
    numbers = sensor.capture(scene, np.random.default_rng(0))
    found = estimate_shot_read(pack(sensor.normalise(numbers), (0, 0)), pack(numbers >= sensor.white, (0, 0)))
    assert found is not None
    assert found.shot == pytest.approx(sensor.noise.shot, rel=0.15)
    assert found.read == pytest.approx(sensor.noise.read, rel=0.15)


def test_where_photosites_are_full_nothing_is_measured(scene: np.ndarray) -> None:
    sensor = Sensor(ShotRead(2e-3, 3e-3), exposure=4.0)
    numbers = sensor.capture(scene, np.random.default_rng(0))
    found = estimate_shot_read(pack(sensor.normalise(numbers), (0, 0)), pack(numbers >= sensor.white, (0, 0)))
    assert found is not None
    assert found.shot == pytest.approx(2e-3, rel=0.15)


@pytest.mark.parametrize("cut", ["below white", "at black", "borders"])
def test_where_noise_is_cut_off_nothing_is_measured(scene: np.ndarray, cut: str) -> None:
    sensor = Sensor(ShotRead(2e-3, 4e-3))
    light = sensor.normalise(sensor.capture(scene, np.random.default_rng(0)))
    if cut == "borders":
        light[:20] = 0.01
    light = light.clip(0 if cut == "at black" else None, 0.7 if cut == "below white" else None)
    found = estimate_shot_read(pack(light, (0, 0)), np.zeros((256, 512, 4), bool))
    assert found is not None
    assert found.shot == pytest.approx(2e-3, rel=0.15)
    assert found.read == pytest.approx(4e-3, rel=0.3 if cut == "at black" else 0.15)


def test_a_picture_without_noise_has_next_to_none() -> None:
    sensor = Sensor(ShotRead(0, 0))
    light = pack(sensor.measure(data.astronaut() / 255), (0, 0))
    found = estimate_shot_read(light, light >= 1)
    assert found is not None
    assert found.shot * 0.2 + found.read**2 < 0.01**2
    assert estimate_shot_read(np.full((64, 64, 4), 0.3, np.float32), np.zeros((64, 64, 4), bool)) is None


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0])
def test_the_share_is_about_what_smoothing_leaves(scene: np.ndarray, sigma: float) -> None:
    sensor, stated = Sensor(ShotRead(0, 0)), ShotRead(1e-2, 2e-2)
    light = sensor.measure(scene)
    grain = pack(sensor_noise(light, stated.shot, stated.read, np.random.default_rng(0)), (0, 0))
    planes = pack(light, (0, 0)).clip(0.02, 0.8)  # no noise is clipped
    smoothed, full = gaussian_filter(grain, (sigma, sigma, 0)), np.zeros(planes.shape, bool)
    share = share_after_smoothing(stated, planes + smoothed, full)
    assert share is not None
    left = smoothed.std() / grain.std()
    assert 0.5 * left < share < 1.5 * left
    assert share_after_smoothing(stated, planes + grain, full) is None


@pytest.mark.parametrize("side", [2, 9, 17])
def test_too_small_a_picture_tells_nothing(side: int, rng: np.random.Generator) -> None:
    light = rng.random((side, side, 4), np.float32)
    assert estimate_shot_read(light, light > 2) is None


def test_a_full_picture_tells_nothing() -> None:
    assert estimate_shot_read(np.ones((64, 64, 4), np.float32), np.ones((64, 64, 4), bool)) is None
