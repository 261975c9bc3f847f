"""How close a picture is to the ground truth.

Source of SSIM: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
Similarity" (IEEE Transactions on Image Processing, 2004).
"""

import math

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

Pixels = NDArray[np.floating]

WINDOW = 11  # pixels, with a Gaussian of deviation 1.5, as in the paper


def psnr(image: Pixels, truth: Pixels) -> float:
    """Peak signal-to-noise ratio over all values, in dB, for a peak of 1; infinite for equal pictures.

    >>> truth = np.full((4, 4, 3), 0.5)
    >>> round(psnr(truth + 0.1, truth), 2)
    20.0

    Args:
        image: any shape.
        truth: the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    _check(image, truth)
    mean_square = float(np.mean(np.square(image.astype(np.float64) - truth)))
    return math.inf if mean_square == 0 else -10 * math.log10(mean_square)


def ssim(image: Pixels, truth: Pixels) -> float | None:
    """Structural similarity for a peak of 1, averaged over pixels and channels; 1 for equal pictures.

    Args:
        image: (H, W, C).
        truth: the same shape.

    Returns:
        None for pictures that are smaller than the window of 11 pixels.

    Raises:
        ValueError: the shapes differ.
    """
    _check(image, truth)
    if min(image.shape[:2]) < WINDOW:
        return None
    similarity = structural_similarity(  # type: ignore[no-untyped-call]
        image.astype(np.float64),
        truth.astype(np.float64),
        channel_axis=-1,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(similarity)


def colour_shift(image: Pixels, other: Pixels) -> float:
    """The difference between two pictures' mean colours: that of the worst channel, in the pictures' unit.

    Args:
        image: (H, W, C).
        other: the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    _check(image, other)
    return float(np.abs(np.mean(image.astype(np.float64) - other, axis=(0, 1))).max())


def _check(image: Pixels, truth: Pixels) -> None:
    if image.shape != truth.shape:
        raise ValueError(f"expected two pictures of one shape, got {image.shape} and {truth.shape}")
