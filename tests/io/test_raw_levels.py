import numpy as np
import pytest

from denoise_cli.io.raw_levels import black_of_moved_area, saturation_below_white

PATTERN = np.array([[0, 1], [3, 2]])  # red, green, green beside blue, blue
BLACK = np.array([10, 20, 30, 40])


@pytest.mark.parametrize(
    ("moved", "expected"),
    [((0, -1), [20, 10, 40, 30]), ((-1, 0), [40, 30, 20, 10]), ((-1, -1), [30, 40, 10, 20]), ((-2, 4), None)],
)
def test_black_levels_follow_an_area_that_begins_inside_a_quad(
    moved: tuple[int, int], expected: list[int] | None
) -> None:
    found = black_of_moved_area(BLACK, PATTERN, moved)

    assert (None if found is None else found.tolist()) == expected


def test_one_black_level_is_that_of_every_colour() -> None:
    assert black_of_moved_area(np.full(4, 64), PATTERN, (1, 1)) is None


@pytest.mark.parametrize(("largest", "expected"), [(900, (890, 900)), (1010, None), (1023, None), (600, None)], ids=str)
def test_the_largest_number_is_saturation_if_it_is_a_little_below_white(
    largest: int, expected: tuple[int, int] | None
) -> None:
    numbers = np.full((8, 8), 100, np.uint16)
    numbers[2, 4] = largest
    assert saturation_below_white(numbers, np.array([[10, 20], [20, 10]]), 1010) == expected
