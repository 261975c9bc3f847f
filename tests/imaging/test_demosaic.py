"""Demosaicing against the papers' filters, pixel by pixel."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.imaging.bayer import PHASES as NAMED_PHASES
from denoise_cli.imaging.demosaic import demosaic
from denoise_cli.imaging.filters import ColourFilters

PHASES = list(NAMED_PHASES.values())


def malvar(plane: NDArray[np.float64], phase: tuple[int, int]) -> NDArray[np.float64]:
    """Malvar, He, Cutler (2004), one pixel at a time."""
    H, W = plane.shape
    around = np.pad(plane, 2, mode="reflect")
    colours = np.zeros((H, W, 3))
    for y, x in np.ndindex(H, W):
        p = around[y : y + 5, x : x + 5]
        here, diagonal = p[2, 2], p[1, 1] + p[1, 3] + p[3, 1] + p[3, 3]
        sides, ends = p[2, 1] + p[2, 3], p[2, 0] + p[2, 4]  # left and right; up and down
        heights, tops = p[1, 2] + p[3, 2], p[0, 2] + p[4, 2]
        sideways = (5 * here + 4 * sides - diagonal - ends + tops / 2) / 8
        upwards = (5 * here + 4 * heights - diagonal - tops + ends / 2) / 8
        green = (4 * here + 2 * (sides + heights) - ends - tops) / 8
        across = (6 * here + 2 * diagonal - 1.5 * (ends + tops)) / 8
        row, column = (y - phase[0]) % 2, (x - phase[1]) % 2
        colours[y, x] = {
            (0, 0): (here, green, across),
            (0, 1): (sideways, here, upwards),
            (1, 0): (upwards, here, sideways),
            (1, 1): (across, green, here),
        }[row, column]
    return colours


@pytest.mark.parametrize("phase", PHASES)
def test_malvars_filters_are_those_of_the_paper(phase: tuple[int, int], rng: np.random.Generator) -> None:
    plane = rng.random((9, 12))
    np.testing.assert_allclose(demosaic(plane.astype(np.float32), phase), malvar(plane, phase), atol=2e-6)


@pytest.mark.parametrize("phase", PHASES)
def test_bilinear_is_the_mean_of_the_nearest(phase: tuple[int, int], rng: np.random.Generator) -> None:
    light = rng.random((10, 12, 3), dtype=np.float32)
    filters = ColourFilters("bayer", phase)
    plane = filters.sample(light)
    colours = demosaic(plane, phase, "bilinear")
    measured = np.stack(
        [filters.sample(np.eye(3, dtype=np.float32)[c] * np.ones((10, 12, 1), np.float32)) for c in range(3)]
    )
    for y, x, c in product(range(1, 9), range(1, 11), range(3)):
        window = np.s_[y - 1 : y + 2, x - 1 : x + 2]
        near = plane[window][measured[c][window] == 1]
        expected = plane[y, x] if measured[c, y, x] else near.mean()
        assert colours[y, x, c] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("method", ["malvar", "bilinear"])
@pytest.mark.parametrize("phase", PHASES)
def test_an_even_colour_and_an_even_slope_are_found_exactly(phase: tuple[int, int], method: str) -> None:
    y, x = np.mgrid[:12, :14]
    sample = ColourFilters("bayer", phase).sample
    even = np.broadcast_to(np.float32([0.2, 0.5, 0.7]), (12, 14, 3))
    slope = np.stack([y / 20, (x + y) / 40, 1 - x / 30], axis=-1).astype(np.float32)
    np.testing.assert_allclose(demosaic(sample(even), phase, "bilinear"), even, atol=1e-6)
    if method == "malvar":  # its correction only keeps grey at the borders
        even = np.full((12, 14, 3), 0.4, np.float32)
        np.testing.assert_allclose(demosaic(sample(even), phase), even, atol=1e-6)
    found = demosaic(sample(slope), phase, method)  # type: ignore[arg-type]
    np.testing.assert_allclose(found[2:-2, 2:-2], slope[2:-2, 2:-2], atol=1e-6)
