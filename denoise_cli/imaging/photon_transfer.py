"""How much noise a mosaic has, from the mosaic alone: the photon-transfer curve of its flat places.

Source: Janesick, "Photon Transfer" (2007): the variance of a sensor's values over their mean is a straight line, whose
slope is `shot` and whose beginning is the square of `read`. Of its filter: Immerkaer, "Fast Noise Variance Estimation"
(1996).

Legend: h x w quads, N blocks.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from denoise_cli.imaging.noise import ShotRead

Array = NDArray[np.floating]

BLOCK = 8  # quads
FLAT, FLATTEST, HALF = (
    0.02,
    4,
    0.5,
)  # the share of the blocks of one brightness that is taken for flat, and the fewest blocks
PER_BIN, MOST_BINS, FEWEST_BLOCKS = 48, 48, 8
ROUNDS, SLACK = 20, 0.1  # of fitting; how far, as a share, brightnesses may lie above the line and count in full
LOOKS = 4
LEAST = 1e-12  # of a variance
LOWEST = 1e-4  # of the usual variance: less would outweigh all others
SIMULATED = 4000


def estimate_shot_read(planes: Array, full: NDArray[np.bool_]) -> ShotRead | None:
    """Fit shot and read noise to the flat blocks of each brightness.

    Args:
        planes: (h, w, C), linear light, 0 without any, 1 where a photosite is full; each plane of one colour.
        full: (h, w, C), where it is.

    Returns:
        The noise; None for a picture too small, or too bright, to tell.
    """
    means, variances = (np.concatenate(parts) for parts in zip(*map(_blocks, *_split(planes, full)), strict=True))
    if len(means) < FEWEST_BLOCKS:
        return None
    bins = np.array_split(np.argsort(means), min(max(len(means) // PER_BIN, 1), MOST_BINS))
    light = np.maximum([means[some].mean() for some in bins], 0)
    flat = [min(max(FLAT, FLATTEST / len(some)), HALF) for some in bins]
    usual = np.quantile(_of_noise(), flat)
    line = ShotRead(0.0, 1.0)
    for _ in range(LOOKS):  # within a bin, what is darker is not flatter
        parts = zip(bins, flat, strict=True)
        shares = [np.quantile(variances[some] / _variance(means[some], line), share) for some, share in parts]
        found = shares / usual * _variance(light, line)
        line = _fitted(light, np.maximum(found, LOWEST * np.median(found)))
    return line


def _variance(light: Array, noise: ShotRead) -> Array:
    return np.maximum(noise.shot * np.maximum(light, 0) + noise.read**2, LEAST)


def _fitted(light: Array, variance: Array) -> ShotRead:
    """A line through variances, each as uncertain as it is large. What lies above it is texture."""
    rows = np.stack([light, np.ones_like(light)], axis=1)
    weights = np.ones_like(light)
    for _ in range(ROUNDS):
        scale = (weights / variance)[:, None]
        (shot, dark), _ = nnls(rows * scale, (variance[:, None] * scale)[:, 0])
        above = variance / np.maximum(rows @ (shot, dark), LEAST) - 1
        weights = np.minimum(1, SLACK / np.maximum(above, SLACK))
    return ShotRead(float(shot), float(np.sqrt(dark)))


def _split(planes: Array, full: NDArray[np.bool_]) -> tuple[list[Array], list[NDArray[np.bool_]]]:
    C = planes.shape[-1]
    return [planes[..., c] for c in range(C)], [full[..., c] for c in range(C)]


def _blocks(plane: Array, full: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Mean and noise variance of the blocks of a plane that nothing is cut off from, (N,) each."""
    bent = plane[:, :-2] - 2 * plane[:, 1:-1] + plane[:, 2:]
    bent = (bent[:-2] - 2 * bent[1:-1] + bent[2:]) / 6  # what is flat, or slopes, is gone; white noise is as strong
    squares, light = (_in_blocks(values) for values in (np.square(bent), plane[1:-1, 1:-1]))
    variance, mean = squares.mean(axis=(1, 3)), light.mean(axis=(1, 3))
    # Where values end, whatever the reason, noise is cut off; and what is constant is no light that was measured.
    ends = full | (plane <= plane.min()) | (plane >= plane.max())
    whole = ~_in_blocks(ends[1:-1, 1:-1]).any(axis=(1, 3)) & (variance > 0)
    return mean[whole], variance[whole]


def _in_blocks(plane: NDArray[np.generic]) -> NDArray[np.generic]:
    rows, columns = (side // BLOCK for side in plane.shape)
    return plane[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)


@cache
def _of_noise() -> Array:
    """The variances of blocks of nothing but noise of the variance 1: the flattest have less than that."""
    side = round(SIMULATED**0.5) * BLOCK + 2
    noise = np.random.default_rng(0).standard_normal((side, side))
    return _blocks(noise, np.zeros((side, side), bool))[1]
