"""Offsets of rows are found and nothing is taken for them that is not."""

import numpy as np
import pytest
from skimage import data

from denoise_cli.imaging.banding import find_banding, remaining_offsets
from denoise_cli.imaging.filters import ColourFilters
from denoise_cli.imaging.noise import ShotRead, sensor_noise
from denoise_cli.imaging.transfer import srgb_to_linear

NOISE = ShotRead(1e-3, 4e-3)


@pytest.fixture
def mosaic(rng: np.random.Generator) -> np.ndarray:
    light = ColourFilters("bayer", (0, 0)).sample(srgb_to_linear((data.astronaut() / 255).astype(np.float32)))
    return light + sensor_noise(light, NOISE.shot, NOISE.read, rng)


def masked(offsets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """48 masked photosites in each row, of columns that differ."""
    columns = 0.3 * NOISE.read * rng.standard_normal(48)
    return (offsets + columns + NOISE.read * rng.standard_normal((512, 48))).astype(np.float32)


@pytest.mark.parametrize("period", [2, 6])
def test_offsets_of_rows_are_found_in_a_photo(mosaic: np.ndarray, period: int, rng: np.random.Generator) -> None:
    offsets = 2 * NOISE.read * rng.standard_normal(512)
    found = find_banding(mosaic + offsets[:, None].astype(np.float32), period, NOISE)
    if period == 6:  # a Bayer mosaic repeats after six rows, too, but they are far apart
        assert found is None or np.std(offsets - found.offsets) < np.std(offsets)
        return
    assert found is not None
    assert not found.is_measured
    assert np.corrcoef(offsets, found.offsets)[0, 1] > 0.85
    assert np.std(offsets - found.offsets) < 0.6 * np.std(offsets)


@pytest.mark.parametrize("strength", [0.3, 1.0, 4.0])
def test_masked_photosites_show_the_offsets(mosaic: np.ndarray, strength: float, rng: np.random.Generator) -> None:
    offsets = (strength * NOISE.read * rng.standard_normal(512)).astype(np.float32)[:, None]
    found = find_banding(mosaic + offsets, 2, NOISE, masked(offsets, rng))
    assert found is not None
    assert found.is_measured
    left = np.std(offsets[:, 0] - found.offsets)
    assert left < 0.2 * NOISE.read + 0.05 * np.std(offsets)
    without = find_banding(mosaic + offsets, 2, NOISE)
    assert left < 0.5 * np.std(offsets[:, 0] - (0 if without is None else without.offsets))


def test_hot_photosites_behind_the_mask_do_not_count(mosaic: np.ndarray, rng: np.random.Generator) -> None:
    offsets = (NOISE.read * rng.standard_normal(512)).astype(np.float32)[:, None]
    border = masked(offsets, rng)
    border[rng.random(border.shape) < 0.01] = 0.5
    found = find_banding(mosaic + offsets, 2, NOISE, border)
    assert found is not None
    assert found.is_measured
    assert np.std(offsets[:, 0] - found.offsets) < 0.3 * NOISE.read


def test_a_border_in_coarse_steps_does_not_count(mosaic: np.ndarray, rng: np.random.Generator) -> None:
    offsets = (2 * NOISE.read * rng.standard_normal(512)).astype(np.float32)[:, None]
    steps = np.rint(np.broadcast_to(offsets, (512, 48)) / (2 * NOISE.read)) * np.float32(2 * NOISE.read)
    found = find_banding(mosaic + offsets, 2, NOISE, steps)
    assert found is not None
    assert not found.is_measured


@pytest.mark.parametrize("level", [-0.05, 0.1])
def test_a_border_that_is_not_dark_does_not_count(mosaic: np.ndarray, level: float, rng: np.random.Generator) -> None:
    stripes = (2 * NOISE.read * rng.standard_normal(512)).astype(np.float32)[:, None]
    light = mosaic.copy()
    light[:, :256] += stripes  # of the picture: they go on beyond its left edge, but not to the right
    found = find_banding(light, 2, NOISE, masked(stripes + level, rng))
    assert found is None or not found.is_measured


@pytest.mark.parametrize("strength", [0.0, 2.0])
@pytest.mark.parametrize("share", [0.0, 0.2, -1.0, 3.0])
def test_a_border_that_shows_other_offsets_does_not_count(
    mosaic: np.ndarray, strength: float, share: float, rng: np.random.Generator
) -> None:
    offsets = (strength * NOISE.read * rng.standard_normal(512)).astype(np.float32)[:, None]
    others = (2 * NOISE.read * rng.standard_normal(512)).astype(np.float32)[:, None]
    border = masked(share * offsets + others, rng)
    found, expected = find_banding(mosaic + offsets, 2, NOISE, border), find_banding(mosaic + offsets, 2, NOISE)
    assert (found is None) == (expected is None) == (strength == 0)
    if found is not None and expected is not None:
        assert not found.is_measured
        assert np.array_equal(found.offsets, expected.offsets)


@pytest.mark.parametrize("height", [100, 200])
def test_a_clipped_sky_and_its_edge_hide_no_offsets(mosaic: np.ndarray, height: int, rng: np.random.Generator) -> None:
    offsets = 2 * NOISE.read * rng.standard_normal(512)
    light = mosaic + offsets[:, None].astype(np.float32)
    light[:height] = 1
    found = find_banding(light, 2, NOISE)
    assert found is not None
    assert np.std((offsets - found.offsets)[height + 2 :]) < 0.6 * np.std(offsets)


def test_a_network_that_changes_colours_leaves_no_offsets(rng: np.random.Generator) -> None:
    light = (0.2 + NOISE.read * rng.standard_normal((64, 512))).astype(np.float32)
    clean = light + np.float32(0.01) * (-1) ** np.arange(64, dtype=np.float32)[:, None]
    left = remaining_offsets(light, np.zeros(light.shape, bool), clean, 2, NOISE)
    assert np.abs(left).max() < 1e-6


@pytest.mark.parametrize("strength", [0.0, 0.2])
def test_where_there_is_none_to_be_seen_none_is_found(
    mosaic: np.ndarray, strength: float, rng: np.random.Generator
) -> None:
    offsets = (strength * NOISE.read * rng.standard_normal(512)).astype(np.float32)
    assert find_banding(mosaic + offsets[:, None], 2, NOISE) is None
    assert find_banding(np.ascontiguousarray(mosaic.T), 2, NOISE) is None


def test_a_shading_stays(rng: np.random.Generator) -> None:
    shade = (0.1 + 0.3 * np.sin(np.arange(512) / 60)[:, None] ** 2).astype(np.float32)
    light = np.broadcast_to(shade, (512, 512))
    assert find_banding(light + sensor_noise(light, NOISE.shot, NOISE.read, rng), 2, NOISE) is None


@pytest.mark.parametrize("shape", [(8, 512), (512, 40)])
def test_too_small_a_mosaic_tells_nothing(shape: tuple[int, int], rng: np.random.Generator) -> None:
    assert find_banding(rng.random(shape, np.float32), 2, NOISE) is None
