"""Stuck photosites go, alone, in pairs and in columns; stars, lines and noise stay."""

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.imaging.filters import ColourFilters
from denoise_cli.imaging.noise import ShotRead, sensor_noise
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.imaging.stuck import find_stuck, replace

NOISE = ShotRead(1e-3, 3e-3)
BAYER = ColourFilters("bayer", (0, 1)).pattern_of_planes
COLOURS = ["GGRGGB", "GGBGGR", "BRGRBG", "GGBGGR", "GGRGGB", "RBGBRG"]
XTRANS = np.array([["RGB".index(colour) for colour in row] for row in COLOURS])
PATTERNS = pytest.mark.parametrize("pattern", [BAYER, XTRANS], ids=["Bayer", "X-Trans"])

Mosaic = NDArray[np.float32]


@pytest.fixture
def noisy(rng: np.random.Generator) -> Mosaic:
    """A slope with noise."""
    light = np.broadcast_to(np.linspace(0.05, 0.6, 150, dtype=np.float32)[:, None], (150, 180))
    return light + sensor_noise(light, NOISE.shot, NOISE.read, rng)


@PATTERNS
@pytest.mark.parametrize("place", [(41, 60), (0, 0), (149, 179), (80, 0), (40, 63)])
@pytest.mark.parametrize("value", [1.0, -0.2])
def test_a_stuck_photosite_becomes_what_is_around_it(
    noisy: Mosaic, pattern: NDArray[np.intp], place: tuple[int, int], value: float
) -> None:
    broken = noisy.copy()
    broken[place] = value
    stuck = find_stuck(broken, pattern, NOISE)
    assert stuck[place]
    assert stuck.sum() <= 2
    repaired = replace(broken, stuck, pattern)
    assert abs(repaired[place] - noisy[place]) < 0.12
    np.testing.assert_array_equal(repaired[~stuck], broken[~stuck])


@PATTERNS
def test_noise_is_hardly_ever_taken_for_stuck(noisy: Mosaic, pattern: NDArray[np.intp]) -> None:
    assert find_stuck(noisy, pattern, NOISE).sum() <= 1


@pytest.mark.parametrize("step", [(0, 2), (2, 0), (2, 2), (2, -2)])
def test_pairs_of_one_colour_go(noisy: Mosaic, step: tuple[int, int]) -> None:
    broken, first = noisy.copy(), (70, 90)
    second = first[0] + step[0], first[1] + step[1]
    broken[first], broken[second] = 0.9, 0.7
    stuck = find_stuck(broken, BAYER, NOISE)
    assert stuck[first]
    assert stuck[second]
    repaired = replace(broken, stuck, BAYER)
    assert max(abs(repaired[first] - noisy[first]), abs(repaired[second] - noisy[second])) < 0.1


@PATTERNS
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("offset", [0.3, -0.2])
def test_a_part_of_a_column_or_row_goes(noisy: Mosaic, pattern: NDArray[np.intp], axis: int, offset: float) -> None:
    light = noisy + np.float32(0.3)
    broken = light.copy()
    line = np.s_[20:, 77] if axis == 0 else np.s_[77, 20:]
    broken[line] += np.float32(offset)
    stuck = find_stuck(broken, pattern, NOISE)
    assert stuck[line].mean() > 0.95
    assert stuck.sum() < 1.1 * stuck[line].sum()
    assert np.abs(replace(broken, stuck, pattern) - light)[line].mean() < 0.05


@pytest.mark.parametrize("sigma", [0.45, 0.5, 0.7, 1.0])
def test_stars_stay_wherever_between_photosites_they_are(sigma: float, rng: np.random.Generator) -> None:
    light = np.full((400, 400), 0.02, np.float32)
    v, u = np.mgrid[-5:6, -5:6]
    places = [(y, x) for y in range(15, 390, 15) for x in range(15, 390, 15)]
    for y, x in places:
        dy, dx = rng.uniform(-0.5, 0.5, 2)
        light[y - 5 : y + 6, x - 5 : x + 6] += 0.3 * np.exp(-((v - dy) ** 2 + (u - dx) ** 2) / (2 * sigma**2))
    light += sensor_noise(light, 8e-4, 1.5e-3, rng)
    assert find_stuck(light, BAYER, ShotRead(8e-4, 1.5e-3)).sum() <= 0.01 * len(places)


def test_a_bright_line_that_a_lens_has_drawn_stays(noisy: Mosaic) -> None:
    across = np.arange(180) - 77
    light = noisy + np.float32(0.3) * np.exp(-(across**2) / (2 * 0.45**2)).astype(np.float32)
    assert find_stuck(light, BAYER, NOISE).sum() <= 2


def test_what_is_told_is_replaced_even_where_all_around_is_stuck(noisy: Mosaic) -> None:
    stuck = np.zeros(noisy.shape, bool)
    stuck[68:73, 88:93] = True
    broken = np.where(stuck, np.float32(5), noisy)
    assert np.abs(replace(broken, stuck, BAYER) - noisy)[stuck].max() < 0.15
    everything = np.ones((20, 20), bool)
    np.testing.assert_array_equal(replace(noisy[:20, :20], everything, BAYER), noisy[:20, :20])


@PATTERNS
def test_sharp_detail_at_base_sensitivity_stays(pattern: NDArray[np.intp], astronaut: NDArray[np.uint8]) -> None:
    kind = "bayer" if len(pattern) == 2 else "xtrans"
    sensor = Sensor(ShotRead(1e-4, 1e-3), kind=kind, black=1024)
    scene = astronaut[::2, ::2] / 255  # sharper than any lens would show it
    scene[:, 0] = 0  # and with a dark edge
    light = sensor.normalise(sensor.capture(scene, np.random.default_rng(0)))
    stuck = find_stuck(light, pattern, sensor.noise)
    assert stuck.mean() < 5e-4
    assert stuck[:, 0].mean() < 0.05
