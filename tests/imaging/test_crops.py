import numpy as np
import pytest

from denoise_cli.imaging.crops import densest_square


def test_the_square_holds_what_there_is_most_of(rng: np.random.Generator) -> None:
    values = rng.random((40, 50))
    values[22:30, 31:39] += 5
    assert densest_square(values, 8) == (slice(22, 30), slice(31, 39))


@pytest.mark.parametrize("shape", [(1, 1), (3, 30), (30, 3), (8, 8)])
def test_a_side_that_is_shorter_than_the_square_is_taken_whole(shape: tuple[int, int]) -> None:
    rows, columns = densest_square(np.ones(shape), 8)
    assert np.ones(shape)[rows, columns].shape == tuple(min(side, 8) for side in shape)
