import numpy as np
import pytest

from denoise_cli.imaging.black import SIDE, unlit_areas


def test_an_area_of_black_is_found_up_to_its_edges(rng: np.random.Generator) -> None:
    dark = np.zeros((40, 50), bool)
    dark[:7] = dark[20:30, 11:18] = dark[33:, 45:] = True
    scattered = dark | (rng.random(dark.shape) < 0.1) & (np.arange(50) < 9) & (np.arange(40) > 8)[:, None]

    np.testing.assert_array_equal(unlit_areas(scattered), dark)


@pytest.mark.parametrize("side", range(1, SIDE))
def test_less_than_a_square_is_none(side: int) -> None:
    dark = np.zeros((30, 30), bool)
    dark[10 : 10 + side] = True

    assert not unlit_areas(dark).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 4), (60, 2)])
@pytest.mark.parametrize("is_dark", [True, False])
def test_pictures_of_any_size_are_all_black_or_not(shape: tuple[int, int], is_dark: bool) -> None:
    assert (unlit_areas(np.full(shape, is_dark)) == is_dark).all()
