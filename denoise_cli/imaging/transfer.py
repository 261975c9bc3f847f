"""Between linear light and sRGB's encoding (IEC 61966-2-1)."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Values = TypeVar("Values", bound=NDArray[np.floating])

LINEAR_TOE, ENCODED_TOE, SLOPE, OFFSET, EXPONENT = 0.0031308, 0.04045, 12.92, 0.055, 2.4


def linear_to_srgb(linear: Values) -> Values:
    """Encode; any shape, nominally [0, 1], in its own type. Values below zero stay on the straight piece."""
    curve = (1 + OFFSET) * np.maximum(linear, LINEAR_TOE) ** (1 / EXPONENT) - OFFSET
    return np.where(linear <= LINEAR_TOE, SLOPE * linear, curve).astype(linear.dtype)  # type: ignore[return-value]


def srgb_to_linear(encoded: Values) -> Values:
    """Decode; any shape, nominally [0, 1], in its own type. Values below zero stay on the straight piece."""
    curve = ((np.maximum(encoded, ENCODED_TOE) + OFFSET) / (1 + OFFSET)) ** EXPONENT
    return np.where(encoded <= ENCODED_TOE, encoded / SLOPE, curve).astype(encoded.dtype)  # type: ignore[return-value]


def srgb_slope(linear: Values) -> Values:
    """The derivative of `linear_to_srgb`: how much the encoding stretches small differences in linear light."""
    curve = (1 + OFFSET) / EXPONENT * np.maximum(linear, LINEAR_TOE) ** (1 / EXPONENT - 1)
    return np.where(linear <= LINEAR_TOE, SLOPE, curve).astype(linear.dtype)  # type: ignore[return-value]
