"""Mosaics of every phase and size are packed by colour and unpacked unchanged."""

import numpy as np
import pytest

from denoise_cli.imaging.bayer import PHASES, Phase, pack, unpack
from denoise_cli.imaging.filters import ColourFilters


@pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES)
@pytest.mark.parametrize("shape", [(8, 12), (7, 12), (8, 11), (7, 9), (2, 2), (3, 2)])
def test_planes_are_of_one_colour_and_all_comes_back(phase: Phase, shape: tuple[int, int]) -> None:
    colours = np.broadcast_to(np.array([1.0, 2.0, 3.0], np.float32), (*shape, 3))
    planes = pack(ColourFilters("bayer", phase).sample(colours), phase)
    assert [set(planes[..., c].flat) for c in range(4)] == [{1.0}, {2.0}, {2.0}, {3.0}]
    numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(unpack(pack(numbers, phase), phase, shape), numbers)


def test_the_first_quad_is_packed_in_the_order_of_its_rows() -> None:
    np.testing.assert_array_equal(pack(np.arange(16).reshape(4, 4), (0, 0))[0, 0], [0, 1, 4, 5])


@pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES)
def test_the_pattern_names_the_plane_of_each_photosite(phase: Phase) -> None:
    y, x = np.mgrid[:4, :6]
    planes = pack(ColourFilters("bayer", phase).pattern_of_planes[y % 2, x % 2], phase)
    np.testing.assert_array_equal(planes, np.broadcast_to(np.arange(4), planes.shape))
