"""Rounding to 8 bits with noise."""

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.imaging.dither import dithered

WHITE = 255
FAR = 50  # steps, between a value and what was there before it


def round_flat(value: float, side: int = 256) -> NDArray[np.uint8]:
    """A flat area of a value in steps, dithered; before, it was something else."""
    values = np.full((side, side, 3), value / WHITE, np.float32)
    return dithered(values, np.full(values.shape, FAR + round(value), np.uint8))


@pytest.mark.parametrize("value", [100.0, 100.1, 100.25, 100.5, 100.9])
def test_neither_mean_nor_variance_depend_on_how_far_a_value_is_from_a_step(value: float) -> None:
    result = round_flat(value).astype(np.float64)
    assert result.mean() == pytest.approx(value, abs=0.01)
    assert np.square(result - value).mean() == pytest.approx(0.25, abs=0.01)


def test_no_value_is_more_than_a_step_and_a_half_off() -> None:
    assert np.abs(round_flat(100.4) - 100.4).max() < 1.5


def test_the_noise_of_colours_and_neighbours_is_independent() -> None:
    error = round_flat(100.5).astype(np.float64) - 100.5
    for other in (np.roll(error, 1, 0), np.roll(error, 1, 1), np.roll(error, 1, 2), np.roll(error, 17, 0)):
        assert abs((error * other).mean()) < 0.005


def test_values_within_half_a_step_stay_as_they_were(rng: np.random.Generator) -> None:
    original = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
    change = rng.uniform(-2, 2, original.shape).astype(np.float32)
    result = dithered((original + change) / np.float32(WHITE), original)
    near, far = np.abs(change) < 0.49, np.abs(change) > 0.51
    np.testing.assert_array_equal(result[near], original[near])
    assert (result[far] != original[far]).mean() > 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_parts_of_a_picture_are_rounded_as_the_whole_is(channels: int, rng: np.random.Generator) -> None:
    values = rng.random((600, 700, channels), dtype=np.float32)
    original = rng.integers(0, 256, values.shape, dtype=np.uint8)
    whole = dithered(values, original)
    parts = np.zeros_like(whole)
    for rows in (slice(300, 600), slice(0, 77), slice(77, 300)):
        for columns in (slice(513, 700), slice(0, 513)):
            parts[rows, columns] = dithered(values[rows, columns], original[rows, columns], rows.start, columns.start)
    np.testing.assert_array_equal(parts, whole)
    np.testing.assert_array_equal(dithered(values, original), whole)


def test_values_beyond_black_and_white_are_clipped() -> None:
    assert round_flat(-9).max() == 0
    values = np.full((8, 8, 3), 300 / WHITE, np.float32)
    assert dithered(values, np.zeros(values.shape, np.uint8)).min() == WHITE


def test_a_gradient_has_no_steps() -> None:
    ramp = np.linspace(100, 120, 1024, dtype=np.float32)[None, :, None].repeat(64, 0).repeat(3, 2)
    result = dithered(ramp / WHITE, np.zeros(ramp.shape, np.uint8)).astype(np.float64)
    means = result.mean(axis=(0, 2)).reshape(64, 16).mean(1)
    np.testing.assert_allclose(means, ramp[0, :, 0].reshape(64, 16).mean(1), atol=0.05)
