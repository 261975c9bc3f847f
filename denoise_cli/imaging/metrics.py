"""How near a picture is to the truth."""

import math

import numpy as np
from numpy.typing import NDArray


def psnr(image: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Peak signal-to-noise ratio over all values, in dB, for a peak of 1; infinite for equal pictures.

    Raises:
        ValueError: the shapes differ.
    """
    if image.shape != truth.shape:
        raise ValueError(f"expected two pictures of one shape, got {image.shape} and {truth.shape}")
    mean_square = float(np.mean(np.square(image.astype(np.float64) - truth)))
    return math.inf if mean_square == 0 else -10 * math.log10(mean_square)
