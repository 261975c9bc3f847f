"""Colour filters: every pattern is recognised, packed into planes of one colour, and unpacked again."""

import numpy as np
import pytest

from denoise_cli.imaging.bayer import PHASES
from denoise_cli.imaging.filters import LONGEST_PERIOD, ColourFilters, filters_of, repeated_part
from denoise_cli.imaging.xtrans import PATTERN

XTRANS = [ColourFilters("xtrans", (y, x)) for y in range(3) for x in range(6)]
ALL = [*(ColourFilters("bayer", phase) for phase in PHASES.values()), *XTRANS]
COLOURS_OF_PLANES = {"bayer": [0, 1, 1, 2], "xtrans": [0, 0, 1, 1, 1, 1, 1, 2, 2]}


@pytest.mark.parametrize("filters", ALL, ids=str)
@pytest.mark.parametrize("shape", [(6, 6), (7, 11), (31, 20)])
def test_each_plane_has_one_colour_and_nothing_is_lost(filters: ColourFilters, shape: tuple[int, int]) -> None:
    colours = filters.sample(np.broadcast_to(np.arange(3), (*shape, 3)))
    planes = filters.pack(colours)
    assert planes.shape[-1] == filters.planes
    np.testing.assert_array_equal(
        planes, np.broadcast_to(COLOURS_OF_PLANES[filters.kind], planes.shape), err_msg="a colour is in a wrong plane"
    )
    mosaic = np.random.default_rng(0).random(shape)
    np.testing.assert_array_equal(filters.unpack(filters.pack(mosaic), shape), mosaic)


@pytest.mark.parametrize("filters", ALL, ids=str)
@pytest.mark.parametrize("shape", [(6, 8), (7, 11)])
def test_a_photosite_sees_the_colour_of_its_filter(
    filters: ColourFilters, shape: tuple[int, int], rng: np.random.Generator
) -> None:
    light = rng.random((*shape, 3), dtype=np.float32)
    plane = filters.sample(light)
    rows, columns = filters.pattern.shape
    for y, x in np.ndindex(shape):
        assert plane[y, x] == light[y, x, filters.pattern[y % rows, x % columns]]


@pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES)
def test_the_phase_of_a_bayer_pattern_is_where_red_is(phase: tuple[int, int]) -> None:
    pattern = ColourFilters("bayer", phase).pattern
    for y, x in np.ndindex(2, 2):
        assert pattern[y, x] == {(0, 0): 0, (1, 1): 2}.get(((y - phase[0]) % 2, (x - phase[1]) % 2), 1)


@pytest.mark.parametrize("filters", ALL, ids=str)
def test_a_mosaic_shows_its_pattern(filters: ColourFilters) -> None:
    colours = filters.sample(np.broadcast_to(np.arange(3), (40, 52, 3)))
    np.testing.assert_array_equal(repeated_part(colours), filters.pattern)


def test_what_does_not_repeat_is_cut(rng: np.random.Generator) -> None:
    assert repeated_part(rng.integers(0, 3, (40, 40))).shape == (LONGEST_PERIOD, LONGEST_PERIOD)


@pytest.mark.parametrize("filters", ALL, ids=str)
def test_a_pattern_is_recognised_wherever_it_begins(filters: ColourFilters) -> None:
    assert filters_of(filters.pattern) == filters


def test_the_pattern_is_that_of_an_x_trans_sensor() -> None:
    assert np.bincount(PATTERN.ravel()).tolist() == [8, 20, 8]
    for line in (*PATTERN, *PATTERN.T):  # unlike a Bayer sensor's, every row and every column has all three colours
        assert set(line) == {0, 1, 2}
    everywhere = {filters_of(np.roll(PATTERN, (y, x), axis=(0, 1))) for y in range(6) for x in range(6)}
    assert everywhere == set(XTRANS)


def test_other_patterns_are_unknown() -> None:
    assert filters_of(np.array([[0, 1], [1, 0]])) is None
    assert filters_of(np.zeros((1, 1), int)) is None
    assert filters_of(PATTERN[:, ::-1][:4]) is None
