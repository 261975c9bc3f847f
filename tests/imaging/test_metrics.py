import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio

from denoise_cli.imaging.metrics import colour_shift, psnr, ssim

Pixels = NDArray[np.float64]


def ssim_of_the_paper(picture: Pixels, truth: Pixels) -> float:
    """Wang et al., equation 13, one window after another."""
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    C1, C2 = 0.01**2, 0.03**2
    H, W, C = picture.shape
    values = []
    for y, x, c in np.ndindex(H - 10, W - 10, C):
        a, b = picture[y : y + 11, x : x + 11, c], truth[y : y + 11, x : x + 11, c]
        mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
        variance_a, variance_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
        covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
        likeness = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
        values.append(likeness / ((mean_a**2 + mean_b**2 + C1) * (variance_a + variance_b + C2)))
    return float(np.mean(values))


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


@pytest.mark.parametrize("shape", [(11, 11, 3), (14, 16, 3), (20, 12, 1)])
@pytest.mark.parametrize("deviation", [0.05, 0.5])
def test_ssim_is_that_of_the_paper(shape: tuple[int, ...], deviation: float, rng: np.random.Generator) -> None:
    truth = rng.random(shape)
    picture = truth + rng.normal(0, deviation, shape)
    assert ssim(picture, truth) == pytest.approx(ssim_of_the_paper(picture, truth), rel=1e-9)


def test_equal_pictures_have_an_ssim_of_one(rng: np.random.Generator) -> None:
    picture = rng.random((16, 16, 3), np.float32)
    assert ssim(picture, picture) == 1


@pytest.mark.parametrize("shape", [(10, 50, 3), (50, 10, 1), (1, 1, 3)])
def test_pictures_smaller_than_the_window_have_no_ssim(shape: tuple[int, ...]) -> None:
    assert ssim(np.zeros(shape), np.zeros(shape)) is None


def test_the_colour_shift_is_that_of_the_channel_that_is_farthest_off(rng: np.random.Generator) -> None:
    truth = rng.random((8, 9, 3))
    assert colour_shift(truth + np.array([0.01, -0.03, 0.02]), truth) == pytest.approx(0.03)


def test_errors_that_cancel_out_shift_no_colour() -> None:
    truth = np.full((4, 4, 3), 0.5)
    checkers = np.indices((4, 4)).sum(axis=0)[..., None] % 2 - 0.5
    assert colour_shift(truth + checkers, truth) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("measure", [ssim, colour_shift])
def test_no_measure_takes_pictures_of_two_shapes(measure: Callable[[Pixels, Pixels], float]) -> None:
    with pytest.raises(ValueError, match=r"one shape, got \(16, 16, 3\) and \(16, 17, 3\)"):
        measure(np.zeros((16, 16, 3)), np.zeros((16, 17, 3)))
