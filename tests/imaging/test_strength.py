"""Strength apart for lightness and colour, and the fine detail that returns."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from denoise_cli.imaging.strength import LUMA, Strength

Array = NDArray[np.float32]


@pytest.fixture
def noisy(rng: np.random.Generator) -> Array:
    return rng.random((2, 3, 24, 40), dtype=np.float32)


@pytest.fixture
def clean(noisy: Array, rng: np.random.Generator) -> Array:
    return noisy - rng.normal(0, 0.05, noisy.shape).astype(np.float32)


def luma(picture: Array) -> Array:
    return np.einsum("c,bchw->bhw", np.array(LUMA), picture)


def colours(picture: Array) -> Array:
    return picture - luma(picture)[:, None]


def test_luma_is_left_alone_by_chroma_and_colour_by_luma(noisy: Array, clean: Array) -> None:
    only_luma, only_chroma = Strength(1, 0).blend(noisy, clean), Strength(0, 1).blend(noisy, clean)
    for result, expected_luma, expected_colours in ((only_luma, clean, noisy), (only_chroma, noisy, clean)):
        np.testing.assert_allclose(luma(result), luma(expected_luma), atol=1e-6)
        np.testing.assert_allclose(colours(result), colours(expected_colours), atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99, 1.0])
def test_equal_shares_are_the_share_of_all_noise(share: float, noisy: Array, clean: Array) -> None:
    expected = clean - (clean - noisy) * (1 - share)
    np.testing.assert_array_equal(Strength(share, share).blend(noisy, clean), expected)


def test_a_small_change_of_a_share_is_a_small_change_of_the_picture(noisy: Array, clean: Array) -> None:
    for before, after in (
        (Strength(0.5, 0.5), Strength(0.5, 0.5001)),
        (Strength(0.5, 0.5), Strength(0.5001, 0.5)),
        (Strength(1, 1), Strength(0.9999, 1)),
        (Strength(1, 1, 0), Strength(1, 1, 0.0001)),
        (Strength(0.5, 0.2, 0.7), Strength(0.5, 0.2, 0.7001)),
    ):
        first, second = (each.blend(noisy, each.with_detail(noisy, clean)) for each in (before, after))
        assert 0 < np.abs(first - second).max() < 1e-4


def test_grey_has_no_chroma(noisy: Array, clean: Array) -> None:
    grey, smooth = noisy[:, :1], clean[:, :1]
    np.testing.assert_array_equal(Strength(0.4, 1).blend(grey, smooth), Strength(0.4, 0.4).blend(grey, smooth))
    assert Strength(0, 1).removes_nothing(1)
    assert not Strength(0, 1).removes_nothing(3)
    assert Strength(0, 0).removes_nothing(3)


def test_detail_returns_what_is_finer_than_two_pixels(clean: Array) -> None:
    x = np.arange(40)
    returned = []
    for period in (2, 4, 40):
        wave = np.cos(2 * np.pi * x / period).astype(np.float32) * 0.1
        noisy = clean + wave
        back = Strength(detail=1).with_detail(noisy, clean) - clean
        returned.append(float((back[..., 8:-8] * wave[8:-8]).sum() / np.square(wave[8:-8]).sum() / clean[..., 0].size))
    assert returned[0] == pytest.approx(1, abs=1e-3)
    assert 0.6 < returned[1] < 0.9
    assert returned[2] < 0.05


def test_detail_is_lightness_alone(noisy: Array, clean: Array) -> None:
    back = Strength(detail=0.7).with_detail(noisy, clean) - clean
    np.testing.assert_allclose(back[:, 0], back[:, 2], atol=1e-6)
    assert np.abs(back).max() > 0.01


def test_what_is_flat_returns_nothing(clean: Array) -> None:
    np.testing.assert_allclose(Strength(detail=1).with_detail(clean + 0.2, clean), clean, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 1, 5), (1, 1, 4, 1), (2, 3, 7, 6)])
def test_tensors_become_what_arrays_do(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    noisy, clean = rng.random((2, *shape), dtype=np.float32)
    strength = Strength(0.3, 0.8, 0.5)
    array = strength.blend(noisy, strength.with_detail(noisy, clean))
    tensors = torch.from_numpy(noisy), torch.from_numpy(clean)
    tensor = strength.blend(tensors[0], strength.with_detail(*tensors))
    np.testing.assert_allclose(tensor.numpy(), array, atol=1e-6)


@pytest.mark.parametrize("shares", [(-0.1, 1, 0), (1, 1.1, 0), (1, 1, float("nan"))])
def test_shares_are_from_0_to_1(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 to 1, got"):
        Strength(*shares)
