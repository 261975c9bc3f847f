"""Conversion between linear light and sRGB's encoding (IEC 61966-2-1)."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.floating)

LINEAR_TOE = 0.0031308  # linear light up to which the encoding is a straight line
ENCODED_TOE = 0.04045  # the same limit, encoded
SLOPE = 12.92  # of the straight line
OFFSET = 0.055
EXPONENT = 2.4


def linear_to_srgb(linear: NDArray[Scalar]) -> NDArray[Scalar]:
    """Encode linear light: any shape and floating-point type, nominally [0, 1]. Negative values stay on the line.

    >>> linear_to_srgb(np.array([0, 0.25, 1])).round(3).tolist()
    [0.0, 0.537, 1.0]
    """
    curve = (1 + OFFSET) * np.maximum(linear, LINEAR_TOE) ** (1 / EXPONENT) - OFFSET
    return np.where(linear <= LINEAR_TOE, SLOPE * linear, curve).astype(linear.dtype)


def srgb_to_linear(encoded: NDArray[Scalar]) -> NDArray[Scalar]:
    """Decode to linear light: any shape and floating-point type, nominally [0, 1]. Undoes `linear_to_srgb`.

    >>> srgb_to_linear(np.array([0, 0.5, 1])).round(3).tolist()
    [0.0, 0.214, 1.0]
    """
    curve = ((np.maximum(encoded, ENCODED_TOE) + OFFSET) / (1 + OFFSET)) ** EXPONENT
    return np.where(encoded <= ENCODED_TOE, encoded / SLOPE, curve).astype(encoded.dtype)


def srgb_slope(linear: NDArray[Scalar]) -> NDArray[Scalar]:
    """The derivative of `linear_to_srgb`: how much the encoding stretches small differences of linear light.

    >>> srgb_slope(np.array([0, 0.5, 1])).round(2).tolist()
    [12.92, 0.66, 0.44]
    """
    curve = (1 + OFFSET) / EXPONENT * np.maximum(linear, LINEAR_TOE) ** (1 / EXPONENT - 1)
    return np.where(linear <= LINEAR_TOE, SLOPE, curve).astype(linear.dtype)
