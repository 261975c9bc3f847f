"""Noise: how much of it a picture has.

Source of the white estimate: Chen, Zhu, Heng, "An Efficient Statistical Method for Image Noise Level Estimation" (ICCV
2015).
"""

import math

import numpy as np
from numpy.typing import NDArray

PATCH = 8
MOST_PATCHES = 60_000
BLOCK = 16
MOST_BLOCKS = 8_000
# Of a photo's blocks, the share that is taken for flat, and how evenly noisy the flattest tenth must be to be believed:
# noise is as strong in all flat blocks, texture is not.
FLATTEST = 0.02
EVEN_SHARES, EVEN_RATIO = (0.01, 0.1), 1.3
FEWEST_BLOCKS = 100
MOST_OF_FLAT = 1.1  # a block's own deviation is uncertain by some percent


def estimate_sigma(image: NDArray[np.floating]) -> float:
    """The noise's standard deviation, from the picture alone.

    White noise is found among the eigenvalues of the picture's patches. Noise that a camera has smoothed, sharpened or
    compressed is not white, and hides there; it shows in the flattest blocks of the picture: where they agree on it,
    there is at least as much noise as in them. Fine texture, on the other hand, can pass for white noise: but there is
    no more noise than in the flat blocks.

    Args:
        image: (H, W, C), any range.

    Returns:
        Sigma in the image's unit; 0 for an image too small to tell.
    """
    white = _white_sigma(image)
    deviations = _block_deviations(image)
    if len(deviations) < FEWEST_BLOCKS:
        return white
    flattest, low, high = map(float, np.quantile(deviations, [FLATTEST, *EVEN_SHARES]))
    least = flattest if high < EVEN_RATIO * low else 0.0
    return max(least, min(white, MOST_OF_FLAT * high))


def _white_sigma(image: NDArray[np.floating]) -> float:
    """Natural patches lie near a low-dimensional plane, so most eigenvalues of their covariance hold noise alone.

    The largest are dropped until the mean of the rest equals their median: then only noise is left.
    """
    covariance = _patch_covariance(image)
    if covariance is None:
        return 0.0
    eigenvalues = np.linalg.eigvalsh(covariance)[::-1]
    for dropped in range(len(eigenvalues)):
        rest = eigenvalues[dropped:]
        if np.mean(rest) <= np.median(rest):
            return float(np.sqrt(max(np.mean(rest), 0)))
    return 0.0


def _block_deviations(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """Of each block, the deviation from its best-fitting slope; blocks that reach black or white are left out."""
    H, W, C = image.shape
    rows, columns = H // BLOCK, W // BLOCK
    if not rows * columns:
        return np.zeros(0)
    step = math.ceil(math.sqrt(rows * columns / MOST_BLOCKS))
    blocks = image[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK, C)
    blocks = blocks.transpose(0, 2, 1, 3, 4)[::step, ::step].reshape(-1, BLOCK * BLOCK, C).astype(np.float64)
    inside = (blocks.min(axis=(1, 2)) > image.min()) & (blocks.max(axis=(1, 2)) < image.max())
    blocks = blocks[inside]

    plane = np.stack([np.ones((BLOCK, BLOCK)), *np.mgrid[:BLOCK, :BLOCK]], axis=-1).reshape(-1, 3)
    basis, _ = np.linalg.qr(plane)  # (BLOCK * BLOCK, 3)
    energy = np.square(blocks).sum(axis=(1, 2)) - np.square(basis.T @ blocks).sum(axis=(1, 2))
    return np.sqrt(np.maximum(energy, 0) / (C * (BLOCK * BLOCK - 3)))


def _patch_covariance(image: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """None where there are fewer patches than a patch has values: most eigenvalues would be zero for want of data."""
    H, W, C = image.shape
    if min(H, W) < PATCH or (H - PATCH + 1) * (W - PATCH + 1) <= C * PATCH**2:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(image, (PATCH, PATCH), axis=(0, 1))
    step = math.ceil(math.sqrt(H * W / MOST_PATCHES))  # before the copy: every patch of a photo is 21 times its size
    patches = windows[::step, ::step].reshape(-1, C * PATCH**2)
    return np.cov(patches.astype(np.float64), rowvar=False)
