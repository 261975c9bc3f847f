"""Noise: how much of it a picture has.

Source of the estimator: Chen, Zhu, Heng, "An Efficient Statistical Method for Image Noise Level Estimation" (ICCV
2015).
"""

import numpy as np
from numpy.typing import NDArray

PATCH = 8
MOST_PATCHES = 60_000


def estimate_sigma(image: NDArray[np.floating]) -> float:
    """The standard deviation of additive white noise, from the picture alone.

    Natural patches lie near a low-dimensional plane, so most eigenvalues of their covariance hold noise alone. The
    largest are dropped until the mean of the rest equals their median: then only noise is left.

    Args:
        image: (H, W, C), any range.

    Returns:
        Sigma in the image's unit; 0 for an image too small to tell.
    """
    eigenvalues = np.linalg.eigvalsh(_patch_covariance(image))[::-1]
    for dropped in range(len(eigenvalues)):
        rest = eigenvalues[dropped:]
        if np.mean(rest) <= np.median(rest):
            return float(np.sqrt(max(np.mean(rest), 0)))
    return 0.0


def _patch_covariance(image: NDArray[np.floating]) -> NDArray[np.float64]:
    windows = np.lib.stride_tricks.sliding_window_view(image, (PATCH, PATCH), axis=(0, 1))
    patches = windows[::3, ::3].reshape(-1, image.shape[2] * PATCH * PATCH)
    return np.cov(patches[:: max(1, len(patches) // MOST_PATCHES)].astype(np.float64), rowvar=False)
