"""Light as the lossy encoder of JPEG XL takes it: linear, with sRGB's primaries, unbounded, 1 for 255 cd/m2.

The encoder is told nothing about other colours. It stores light whatever these are (XYB), and the header, which is
rewritten afterwards, says in which colours a decoder returns it.

Sources: ISO/IEC 18181-1, annex L.2, for what the decoder undoes; Lindbloom, "RGB/XYZ Matrices" and "Chromatic
Adaptation"; ITU-R BT.2100, table 5, for the system gamma of HLG, which libjxl computes as in BT.2390.

Legend: H x W pixels, C = 1 (grey) or 3 (RGB).
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.lab import SRGB_TO_XYZ_D50
from denoise_cli.imaging.pixels import Pixels, strips, to_float
from denoise_cli.imaging.transfer import HLG, LINEAR, PQ, PQ_PEAK, hlg_to_light, pq_to_light, srgb_to_linear
from denoise_cli.io.jxl_header import BT709, DCI_CURVE, GREY, SRGB_CURVE, Colours

UNIT = 255  # cd/m2, of 1
PEAKS = {PQ: 10_000, HLG: 1_000}  # cd/m2, if a file does not state it
D50_WHITE = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
DCI_GAMMA = 2.6
HLG_PEAK = float(hlg_to_light(np.array(1.0)))  # light of the largest value

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def light_of(pixels: Pixels, colours: Colours, peak: float | None) -> NDArray[np.float32]:
    """The light of a picture in the given colours.

    Args:
        pixels: (H, W, C).
        colours: with a transfer function that has a name here, or a gamma.
        peak: cd/m2 of the largest value, which for PQ is always 10,000; None for the usual one.

    Returns:
        The same shape.
    """
    matrix = np.eye(pixels.shape[2]) if colours.space == GREY else _to_srgb(colours)
    peak = float(PEAKS.get(colours.transfer or 0, UNIT)) if peak is None else peak
    to_light = _display_of_hlg(colours, peak) if colours.transfer == HLG else _curve(colours, peak)
    light = np.empty(pixels.shape, np.float32)
    for rows in strips(len(pixels)):
        light[rows] = to_light(to_float(pixels[rows]).astype(np.float64)) @ matrix.T
    return light


def _curve(colours: Colours, peak: float) -> Curve:
    """From encoded values to light; what is below black, which only linear light has, stays there."""
    if colours.transfer == PQ:
        return lambda values: pq_to_light(values) * (PEAKS[PQ] / PQ_PEAK / UNIT)
    if colours.gamma is not None or colours.transfer == DCI_CURVE:
        exponent = DCI_GAMMA if colours.gamma is None else 1 / colours.gamma
        return lambda values: np.maximum(values, 0) ** exponent * (peak / UNIT)
    to_linear: dict[int | None, Curve] = {LINEAR: lambda values: values, SRGB_CURVE: srgb_to_linear, BT709: _from_bt709}
    return lambda values: to_linear[colours.transfer](values) * (peak / UNIT)


def _display_of_hlg(colours: Colours, peak: float) -> Curve:
    """From HLG to the light that a display of this brightness shows."""
    gamma = 1.2 * 1.111 ** math.log2(peak / PEAKS[HLG])
    luminance = np.ones(1) if colours.space == GREY else _to_xyz(colours)[1]

    def displayed(values: NDArray[np.float64]) -> NDArray[np.float64]:
        scene = hlg_to_light(values) / HLG_PEAK
        brightness = np.maximum(scene @ luminance, 1e-9)[..., None]
        return scene * brightness ** (gamma - 1) * (peak / UNIT)

    return displayed


def _from_bt709(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values < 0.081, values / 4.5, ((np.maximum(values, 0.081) + 0.099) / 1.099) ** (1 / 0.45))


def _to_srgb(colours: Colours) -> NDArray[np.float64]:
    """(3, 3), from linear light in the given colours to that in sRGB's, with white adapted to sRGB's."""
    white = _xyz_of(*colours.white)
    adaptation = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50_WHITE) / (BRADFORD @ white)) @ BRADFORD
    matrix: NDArray[np.float64] = np.linalg.inv(SRGB_TO_XYZ_D50) @ adaptation @ _to_xyz(colours)
    return matrix / matrix.sum(axis=1, keepdims=True)  # white stays white to the last digit


def _to_xyz(colours: Colours) -> NDArray[np.float64]:
    """(3, 3), from linear light in the given colours to XYZ with their white."""
    axes = np.stack([_xyz_of(*colours.primaries[at : at + 2]) for at in (0, 2, 4)], axis=1)
    return axes * np.linalg.solve(axes, _xyz_of(*colours.white))


def _xyz_of(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1.0, (1 - x - y) / y])
