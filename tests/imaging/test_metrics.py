import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from denoise_cli.imaging.metrics import psnr


@pytest.mark.parametrize("shape", [(7, 9, 3), (16, 16, 1), (5,)])
def test_psnr_is_that_of_scikit_image(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    picture, truth = rng.random(shape), rng.random(shape)
    assert psnr(picture, truth) == pytest.approx(peak_signal_noise_ratio(truth, picture, data_range=1), rel=1e-12)


@pytest.mark.parametrize(("error", "expected"), [(1.0, 0.0), (0.1, 20.0), (0.001, 60.0)])
def test_a_tenth_of_the_error_is_twenty_decibels_more(error: float, expected: float) -> None:
    assert psnr(np.full((4, 4, 3), 0.5 + error), np.full((4, 4, 3), 0.5)) == pytest.approx(expected)


def test_equal_pictures_are_infinitely_near(rng: np.random.Generator) -> None:
    picture = rng.random((4, 4, 3), np.float32)
    assert psnr(picture, picture) == math.inf


def test_small_errors_are_not_lost_in_single_precision() -> None:
    truth = np.full((1000, 1000), 0.5, np.float32)
    step = np.spacing(np.float32(0.5))
    assert psnr(truth + step, truth) == pytest.approx(-20 * math.log10(step), rel=1e-12)


@pytest.mark.parametrize("other", [(4, 5, 3), (4, 4, 1), (1, 1, 1), (4, 4)])
def test_pictures_of_two_shapes_are_refused(other: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"one shape, got \(4, 4, 3\)"):
        psnr(np.zeros((4, 4, 3)), np.zeros(other))
