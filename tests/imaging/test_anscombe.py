"""The noise of any sensor becomes equally strong everywhere, and the transform can be undone exactly."""

import numpy as np
import pytest

from denoise_cli.imaging.anscombe import AnscombeTransform
from denoise_cli.imaging.noise import ShotRead, sensor_noise

NOISES = [
    ShotRead(1e-4, 1e-3),
    ShotRead(1e-2, 1e-3),
    ShotRead(1e-2, 10**-1.5),
    ShotRead(1e-4, 10**-1.5),
    ShotRead(0, 0.01),
    ShotRead(1e-3, 0),
    ShotRead(4e-6, 1e-4),
]


@pytest.mark.parametrize("noise", NOISES, ids=str)
def test_the_way_back_is_exact_also_beyond_dark_and_full(noise: ShotRead) -> None:
    transform = AnscombeTransform(noise)
    light = np.linspace(-0.3, 1.5, 5001, dtype=np.float32)
    transformed = transform.forward(light)
    assert transformed.dtype == np.float32
    assert (np.diff(transformed) > 0).all()
    np.testing.assert_allclose(transform.inverse(transformed), light, atol=2e-6)
    np.testing.assert_allclose(transform.forward(np.array([0, 1], np.float32)), [0, 1], atol=1e-6)


@pytest.mark.parametrize("noise", NOISES[:5], ids=str)
@pytest.mark.parametrize("light", [0.1, 0.2, 0.5, 0.9])
def test_noise_is_as_strong_as_said_wherever_there_is_light(
    noise: ShotRead, light: float, rng: np.random.Generator
) -> None:
    transform = AnscombeTransform(noise)
    flat = np.full((300, 300), light, np.float32)
    transformed = transform.forward(flat + sensor_noise(flat, noise.shot, noise.read, rng))
    assert transformed.std() == pytest.approx(transform.level, rel=0.12)


@pytest.mark.parametrize("noise", NOISES, ids=str)
@pytest.mark.parametrize("headroom", [1.5, 8])
def test_merged_exposures_end_at_one_with_noise_of_the_same_kind(noise: ShotRead, headroom: float) -> None:
    transform, plain = AnscombeTransform(noise, headroom), AnscombeTransform(noise)
    light = np.linspace(-0.1, headroom, 5001, dtype=np.float32)
    transformed = transform.forward(light)
    assert transformed[-1] == pytest.approx(1)
    np.testing.assert_allclose(transformed / transform.level, plain.forward(light) / plain.level, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(transform.inverse(transformed), light, rtol=2e-6, atol=2e-6)


def test_headroom_below_white_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 1 or more, got 0\.5"):
        AnscombeTransform(ShotRead(1e-3, 1e-3), 0.5)


def test_no_noise_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="expected more than 0 and 0"):
        AnscombeTransform(ShotRead(0, 0))
