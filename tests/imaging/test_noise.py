import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.evaluate import add_gaussian_noise
from denoise_cli.imaging.noise import estimate_sigma
from denoise_cli.io import image

Pixels = NDArray[np.float64]


@pytest.fixture(scope="module")
def camera() -> Pixels:
    """A grey photo, (512, 512, 1)."""
    from skimage import data

    return data.camera()[..., None] / 255


def noisy(clean: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    return clean + rng.normal(0, sigma / 255, clean.shape)


@pytest.mark.parametrize("sigma", [5, 15, 25, 50])
def test_gaussian_noise_on_a_colour_photo_is_told_to_one_level(
    astronaut: NDArray[np.uint8], sigma: float, rng: np.random.Generator
) -> None:
    assert estimate_sigma(noisy(astronaut / 255, sigma, rng)) * 255 == pytest.approx(sigma, abs=1)


@pytest.mark.parametrize("sigma", [0.5, 5, 15, 25, 50])
def test_gaussian_noise_on_a_grey_photo_is_told_to_one_level(
    camera: Pixels, sigma: float, rng: np.random.Generator
) -> None:
    assert estimate_sigma(noisy(camera, sigma, rng)) * 255 == pytest.approx(sigma, abs=1)


@pytest.mark.parametrize("shape", [(64, 64, 3), (100, 37, 1), (8, 500, 3)])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_flat_picture_has_no_noise(shape: tuple[int, ...], value: float) -> None:
    assert estimate_sigma(np.full(shape, value)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(64, 64, 1), (96, 96, 3), (40, 300, 3), (1500, 1200, 3)])
def test_noise_alone_is_told_to_a_tenth_whatever_the_size(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    assert estimate_sigma(noisy(np.full(shape, 0.5), 25, rng)) * 255 == pytest.approx(25, rel=0.1)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 1, 3), (7, 7, 3), (4, 100, 3), (100, 7, 1), (8, 8, 1), (9, 8, 3), (15, 15, 1), (20, 20, 3)]
)
def test_a_picture_too_small_to_tell_counts_as_clean(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert estimate_sigma(rng.random(shape)) == 0


@pytest.mark.parametrize("scale", [1 / 65535, 255.0, 1e4])
def test_the_estimate_is_in_the_unit_of_the_picture(camera: Pixels, scale: float, rng: np.random.Generator) -> None:
    picture = noisy(camera, 25, rng)
    assert estimate_sigma(picture * scale) == pytest.approx(estimate_sigma(picture) * scale, rel=1e-6)


def test_brightness_does_not_matter(camera: Pixels, rng: np.random.Generator) -> None:
    picture = noisy(camera, 25, rng)
    assert estimate_sigma(picture + 0.5) == pytest.approx(estimate_sigma(picture), rel=1e-6)


def test_a_turned_picture_has_the_same_noise(camera: Pixels, rng: np.random.Generator) -> None:
    picture = noisy(camera, 25, rng)[:480, :480]  # a side on which sampled patches and blocks fall onto themselves
    assert estimate_sigma(np.rot90(picture, 2)) == pytest.approx(estimate_sigma(picture), rel=1e-6)


@pytest.mark.parametrize("sigma", [5, 15, 25, 50])
def test_the_mean_error_over_cbsd68_is_small(shared_data: Path, sigma: int, capsys: pytest.CaptureFixture[str]) -> None:
    photos = sorted((shared_data / "eval" / "cbsd68").iterdir())
    errors = []
    for index, path in enumerate(photos):
        clean = image.read(path).as_rgb8().astype(np.float32) / 255
        errors.append(estimate_sigma(add_gaussian_noise(clean, sigma / 255, index)) * 255 - sigma)
    mean = float(np.mean(np.abs(errors)))
    with capsys.disabled():
        print(f"\nestimate on cbsd68, sigma {sigma}: mean absolute error {mean:.2f}, bias {np.mean(errors):+.2f}")
    assert len(photos) == 68
    assert mean <= 1.5
