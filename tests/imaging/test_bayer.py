"""Mosaics of every phase and size are packed by colour and unpacked unchanged, and lose only stuck photosites."""

import numpy as np
import pytest

from denoise_cli.imaging.bayer import PHASES, Phase, pack, replace_stuck, unpack
from denoise_cli.imaging.demosaic import sample_mosaic
from denoise_cli.imaging.noise import ShotRead, sensor_noise

NOISE = ShotRead(1e-3, 3e-3)


@pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES)
@pytest.mark.parametrize("shape", [(8, 12), (7, 12), (8, 11), (7, 9), (2, 2), (3, 2)])
def test_planes_are_of_one_colour_and_all_comes_back(phase: Phase, shape: tuple[int, int]) -> None:
    colours = np.broadcast_to(np.array([1.0, 2.0, 3.0], np.float32), (*shape, 3))
    planes = pack(sample_mosaic(colours, phase), phase)
    assert [set(planes[..., c].flat) for c in range(4)] == [{1.0}, {2.0}, {2.0}, {3.0}]
    numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(unpack(pack(numbers, phase), phase, shape), numbers)


def test_the_first_quad_is_packed_in_the_order_of_its_rows() -> None:
    np.testing.assert_array_equal(pack(np.arange(16).reshape(4, 4), (0, 0))[0, 0], [0, 1, 4, 5])


@pytest.fixture
def noisy(rng: np.random.Generator) -> np.ndarray:
    """A slope with noise, (64, 64, 4)."""
    light = np.broadcast_to(np.linspace(0.05, 0.6, 64, dtype=np.float32)[:, None, None], (64, 64, 4))
    return light + sensor_noise(light, NOISE.shot, NOISE.read, rng)


@pytest.mark.parametrize("place", [(20, 30, 0), (0, 0, 1), (63, 63, 2), (40, 0, 3)])
@pytest.mark.parametrize("value", [1.0, -0.2])
def test_a_stuck_photosite_becomes_what_is_around_it(
    noisy: np.ndarray, place: tuple[int, int, int], value: float
) -> None:
    stuck = noisy.copy()
    stuck[place] = value
    clean, found = replace_stuck(stuck, NOISE)
    changed = np.argwhere(clean != stuck)
    assert found == len(changed) <= 3
    assert place in {tuple(one) for one in changed}
    assert abs(clean[place] - noisy[place]) < 0.15


def test_noise_is_hardly_ever_taken_for_stuck(noisy: np.ndarray) -> None:
    _, found = replace_stuck(noisy, NOISE)
    assert found <= 2


def test_a_star_stays(noisy: np.ndarray) -> None:
    noisy[30, 30] += np.array([0.5, 0.4, 0.4, 0.3], np.float32)
    clean, _ = replace_stuck(noisy, NOISE)
    np.testing.assert_array_equal(clean[30, 30], noisy[30, 30])
