"""Shadows whose noise is clipped get their light back, and nothing else changes."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from denoise_cli.imaging.clipping import ClippedNoise, clipped_at, clipped_noise
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.photon_transfer import estimate_shot_read

NOISE = ShotRead(1e-3, 0.06)


def planes_of(light: np.ndarray, floor: float, rng: np.random.Generator) -> np.ndarray:
    noisy = light + np.sqrt(NOISE.shot * light + NOISE.read**2) * rng.standard_normal(light.shape)
    return np.maximum(noisy, floor).astype(np.float32)


@pytest.mark.parametrize("floor", [0.0, -0.01, -0.02, -0.067])
@pytest.mark.parametrize("dark", [0.0, 0.01, 0.04])
def test_a_blurred_shadow_gets_the_mean_that_it_had(floor: float, dark: float, rng: np.random.Generator) -> None:
    light = np.full((256, 256, 3), dark)
    light[:, 128:] = 0.5
    noisy = planes_of(light, floor, rng)
    blurred = gaussian_filter(noisy, (4, 4, 0)) - np.float32(0.05 * NOISE.read)  # a denoiser, not even a faithful one
    restored = ClippedNoise(NOISE, np.full(3, floor, np.float32)).restore(blurred, noisy)
    inside = np.s_[16:-16, 16:100]
    assert floor < 0 or blurred[inside].mean() - dark > 0.005
    assert restored[inside].mean() == pytest.approx(dark, abs=0.03 * NOISE.read)
    np.testing.assert_array_equal(restored[:, 140:], blurred[:, 140:])


def test_clipping_is_found_where_it_is(rng: np.random.Generator) -> None:
    light = np.full((64, 64, 2), 0.02)
    noisy = planes_of(light, -np.inf, rng)
    assert clipped_at(noisy, NOISE.read) is None
    noisy[..., 1] = np.maximum(noisy[..., 1], -0.015)
    floors = clipped_at(noisy, NOISE.read)
    assert floors is not None
    assert floors.tolist() == [-np.inf, pytest.approx(-0.015)]
    assert clipped_at(noisy, 0.015) is not None  # a deviation below black: the shadows are still tinted
    assert clipped_at(noisy, 0.005) is None  # such weak noise ends before it is clipped
    only_second = ClippedNoise(NOISE, floors).restore(noisy, noisy)
    np.testing.assert_array_equal(only_second[..., 0], noisy[..., 0])


def test_noise_is_measured_where_half_of_it_is_clipped(rng: np.random.Generator) -> None:
    light = np.broadcast_to(np.linspace(0, 0.1, 512)[:, None, None], (512, 512, 2))
    noisy = planes_of(light, 0.0, rng)
    floors = clipped_at(noisy)
    assert floors is not None
    measured = clipped_noise(noisy, floors)
    assert measured is not None
    assert measured[1] == pytest.approx(NOISE.read, rel=0.03)
    found = estimate_shot_read(noisy, np.zeros(noisy.shape, bool))
    assert found is not None
    assert found.read == pytest.approx(NOISE.read, rel=0.05)


def test_without_shadows_nothing_is_measured(rng: np.random.Generator) -> None:
    noisy = planes_of(np.full((128, 128, 1), 0.5), 0.0, rng)
    assert clipped_noise(noisy, np.zeros(1, np.float32)) is None
    clipped = ClippedNoise(NOISE, np.zeros(1, np.float32))
    np.testing.assert_allclose(clipped.restore(noisy, noisy), noisy, atol=1e-5)
