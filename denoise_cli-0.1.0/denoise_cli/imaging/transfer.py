"""Conversion between linear light and encodings: sRGB's (IEC 61966-2-1), and those of HDR (ITU-R BT.2100).

In light that comes from HDR, 1 is paper white: 203 cd/m2, and 75 % of the HLG signal (ITU-R BT.2408).
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.floating)

LINEAR_TOE = 0.0031308  # linear light up to which the encoding is a straight line
ENCODED_TOE = 0.04045  # the same limit, encoded
SLOPE = 12.92  # of the straight line
OFFSET = 0.055
EXPONENT = 2.4

LINEAR, PQ, HLG = 8, 16, 18  # transfer functions, as code points in ITU-T H.273
PQ_PEAK = 10_000 / 203  # light of the largest value
PQ_M1, PQ_M2 = 2610 / 16384, 2523 / 32
PQ_C1, PQ_C2, PQ_C3 = 3424 / 4096, 2413 / 128, 2392 / 128
HLG_A, HLG_B, HLG_C = 0.17883277, 0.28466892, 0.55991073
HLG_KNEE = 1 / 12  # light of the scene up to which the encoding is a square root
HLG_WHITE = 0.75  # encoded


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


def pq_to_light(encoded: NDArray[Scalar]) -> NDArray[Scalar]:
    """Decode PQ to light: any shape and floating-point type, [0, 1]; what is outside counts as the nearest of them.

    >>> pq_to_light(np.array([0, 0.5807, 1])).round(3).tolist()
    [0.0, 1.0, 49.261]
    """
    power = np.clip(encoded, 0, 1).astype(np.float64) ** (1 / PQ_M2)
    light = PQ_PEAK * (np.maximum(power - PQ_C1, 0) / (PQ_C2 - PQ_C3 * power)) ** (1 / PQ_M1)
    return light.astype(encoded.dtype)


def light_to_pq(light: NDArray[Scalar]) -> NDArray[Scalar]:
    """Undo `pq_to_light`; light below black is black.

    >>> light_to_pq(np.array([-1, 0, 1, 10_000 / 203])).round(4).tolist()
    [0.0, 0.0, 0.5807, 1.0]
    """
    power = (np.maximum(light, 0).astype(np.float64) / PQ_PEAK) ** PQ_M1
    return (((PQ_C1 + PQ_C2 * power) / (1 + PQ_C3 * power)) ** PQ_M2).astype(light.dtype)


def hlg_to_light(encoded: NDArray[Scalar]) -> NDArray[Scalar]:
    """Decode HLG to light of the scene: any shape and floating-point type, nominally [0, 1]. Below 0 is black.

    >>> hlg_to_light(np.array([0, 0.5, 0.75, 1])).round(3).tolist()
    [0.0, 0.315, 1.0, 3.774]
    """
    return (_hlg_to_scene(np.asarray(encoded, np.float64)) / HLG_WHITE_OF_SCENE).astype(encoded.dtype)


def light_to_hlg(light: NDArray[Scalar]) -> NDArray[Scalar]:
    """Undo `hlg_to_light`; light below black is black.

    >>> light_to_hlg(np.array([-1, 0, 0.25, 1])).round(3).tolist()
    [0.0, 0.0, 0.446, 0.75]
    """
    scene = np.maximum(light, 0).astype(np.float64) * HLG_WHITE_OF_SCENE
    curve = HLG_A * np.log(12 * np.maximum(scene, HLG_KNEE) - HLG_B) + HLG_C
    return np.where(scene <= HLG_KNEE, np.sqrt(3 * scene), curve).astype(light.dtype)


def _hlg_to_scene(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    encoded = np.maximum(encoded, 0)
    return np.where(encoded <= 0.5, encoded**2 / 3, (np.exp((encoded - HLG_C) / HLG_A) + HLG_B) / 12)


HLG_WHITE_OF_SCENE = float(_hlg_to_scene(np.array(HLG_WHITE)))
Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]
# How encodings in which noise is far from even become light, and how light becomes them, by their code points.
CURVES: dict[int, tuple[Curve, Curve]] = {
    LINEAR: (lambda light: light, lambda light: light),
    PQ: (pq_to_light, light_to_pq),
    HLG: (hlg_to_light, light_to_hlg),
}
