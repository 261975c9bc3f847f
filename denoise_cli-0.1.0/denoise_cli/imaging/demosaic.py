"""RGB pictures from Bayer mosaics.

Source: Malvar, He, Cutler, "High-Quality Linear Interpolation for Demosaicing of Bayer-Patterned Color Images" (2004).

Legend: H x W image, 3 channels last; leading dimensions are free.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.bayer import Phase

Array = NDArray[np.float32]
DemosaicMethod = Literal["malvar", "bilinear"]

# Malvar, He, Cutler, figure 2, in eighths: green at red or blue; red in a red row, in a red column, at blue.
MALVAR_GREEN = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]) / 8
MALVAR_ROW = (
    np.array([[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]) / 8
)
MALVAR_CROSS = (
    np.array([[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]) / 8
)
# The means of the nearest neighbours, for the same cases.
BILINEAR_GREEN = np.pad([[0, 1, 0], [1, 0, 1], [0, 1, 0]], 1) / 4
BILINEAR_ROW = np.pad([[0, 0, 0], [1, 0, 1], [0, 0, 0]], 1) / 2
BILINEAR_CROSS = np.pad([[1, 0, 1], [0, 0, 0], [1, 0, 1]], 1) / 4
DEMOSAICS = {
    "malvar": (MALVAR_GREEN, MALVAR_ROW, MALVAR_ROW.T, MALVAR_CROSS),
    "bilinear": (BILINEAR_GREEN, BILINEAR_ROW, BILINEAR_ROW.T, BILINEAR_CROSS),
}


def demosaic(plane: Array, phase: Phase, method: DemosaicMethod = "malvar") -> Array:
    """Interpolate the two colours that each photosite did not measure.

    Args:
        plane: (..., H, W), a Bayer mosaic.
        phase: where red is in its quads.
        method: "malvar" corrects the mean of the neighbours by the second derivative of the measured colour,
            "bilinear" is that mean alone.

    Returns:
        (..., H, W, 3).
    """
    green, row, column, cross = (_filtered(plane, kernel) for kernel in DEMOSAICS[method])
    red, blue = np.empty_like(plane), np.empty_like(plane)
    y, x = phase
    red_sites, red_rows = np.s_[..., y::2, x::2], np.s_[..., y::2, 1 - x :: 2]
    blue_sites, blue_rows = np.s_[..., 1 - y :: 2, 1 - x :: 2], np.s_[..., 1 - y :: 2, x::2]
    red[red_sites], blue[blue_sites] = plane[red_sites], plane[blue_sites]
    red[blue_sites], blue[red_sites] = cross[blue_sites], cross[red_sites]
    red[red_rows], blue[blue_rows] = row[red_rows], row[blue_rows]
    red[blue_rows], blue[red_rows] = column[blue_rows], column[red_rows]
    green[red_rows], green[blue_rows] = plane[red_rows], plane[blue_rows]
    return np.stack([red, green, blue], axis=-1)


def _filtered(plane: Array, kernel: NDArray[np.float64]) -> Array:
    """(..., H, W) filtered by a 5x5 kernel; mirroring at the border keeps every colour in its place."""
    H, W = plane.shape[-2:]
    padded = np.pad(plane, [(0, 0)] * (plane.ndim - 2) + [(2, 2)] * 2, mode="reflect")
    taps = list(zip(*np.nonzero(kernel), strict=True))
    parts = (padded[..., y : y + H, x : x + W] for y, x in taps)
    return weighted_sum(parts, [np.float32(kernel[tap]) for tap in taps])


def weighted_sum(parts: Iterable[Array], weights: Iterable[np.float32]) -> Array:
    """The sum of arrays of one shape, each times its weight, in one buffer."""
    weighted = (part * weight for part, weight in zip(parts, weights, strict=True))
    total = next(weighted)
    for part in weighted:
        total += part
    return total
