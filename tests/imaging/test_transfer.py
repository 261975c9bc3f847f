from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.imaging.transfer import linear_to_srgb, srgb_slope, srgb_to_linear

Convert = Callable[[NDArray[np.floating]], NDArray[np.floating]]
TYPES = [np.float32, np.float64]


def decoded(value: float) -> float:
    """IEC 61966-2-1, one number at a time."""
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def encoded(value: float) -> float:
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def test_every_8_bit_value_is_decoded_as_the_standard_says() -> None:
    values = np.arange(256) / 255
    np.testing.assert_allclose(srgb_to_linear(values), [decoded(value) for value in values], rtol=1e-12)


def test_linear_light_is_encoded_as_the_standard_says() -> None:
    values = np.linspace(0, 1.5, 2001)
    np.testing.assert_allclose(linear_to_srgb(values), [encoded(value) for value in values], rtol=1e-12)


def test_middle_grey_is_a_fifth_of_the_light() -> None:
    assert srgb_to_linear(np.array([0.5]))[0] == pytest.approx(0.21404114048223255, rel=1e-9)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_integer_value_survives_the_way_there_and_back(bits: int, dtype: type[np.floating]) -> None:
    most = 2**bits - 1
    values = np.arange(most + 1)
    back = linear_to_srgb(srgb_to_linear((values / most).astype(dtype)))
    assert np.array_equal(np.rint(back * most), values)


@pytest.mark.parametrize("convert", [linear_to_srgb, srgb_to_linear])
def test_black_white_and_order_are_kept(convert: Convert) -> None:
    values = convert(np.linspace(-0.2, 1.2, 14_001))
    assert convert(np.array([0.0]))[0] == 0
    assert convert(np.array([1.0]))[0] == pytest.approx(1, rel=1e-12)
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize(("convert", "slope"), [(linear_to_srgb, 12.92), (srgb_to_linear, 1 / 12.92)])
def test_values_below_zero_stay_on_the_straight_piece(convert: Convert, slope: float) -> None:
    values = np.linspace(-1, 0, 11)
    np.testing.assert_allclose(convert(values), slope * values, rtol=1e-12)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("convert", [linear_to_srgb, srgb_to_linear])
def test_type_and_shape_are_kept(convert: Convert, dtype: type[np.floating]) -> None:
    converted = convert(np.zeros((2, 3, 4), dtype))
    assert converted.dtype == dtype
    assert converted.shape == (2, 3, 4)


def test_the_slope_is_how_fast_the_encoding_rises() -> None:
    values = np.linspace(-0.1, 1.2, 1000)
    step = 1e-6
    rise = (linear_to_srgb(values + step) - linear_to_srgb(values - step)) / (2 * step)
    np.testing.assert_allclose(srgb_slope(values), rise, rtol=1e-6)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_slope_keeps_type_and_shape(dtype: type[np.floating]) -> None:
    slope = srgb_slope(np.zeros((2, 3, 4), dtype))
    assert (slope.dtype, slope.shape) == (dtype, (2, 3, 4))
