"""A mosaic's noise, estimated from the mosaic alone: the photon-transfer curve of its flat blocks.

Sources: Janesick, "Photon Transfer" (2007): the variance of a sensor's values is a linear function of their mean, with
`shot` as the slope and the square of `read` as the intercept. Immerkaer, "Fast Noise Variance Estimation" (1996), for
the filter that removes the picture.

Legend: h x w quads, N blocks.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from denoise_cli.imaging.clipping import clipped_at, clipped_noise
from denoise_cli.imaging.noise import ShotRead

Array = NDArray[np.floating]

BLOCK = 8  # quads
FLAT_SHARE = 0.02  # of the blocks of one brightness are regarded as flat,
FLATTEST_SHARE = 0.002  # the flattest of them
EVEN = 0.9  # noise in the flattest, relative to that in the flat ones, that chance can explain
TEXTURE_POWER = 3  # of less than that: a photo of leaves without noise then has a quarter of what it seems to have
MIN_FLAT_BLOCKS = 4  # but at least so many,
MAX_FLAT_SHARE = 0.5  # and at most this share
BLOCKS_PER_BIN = 48
MAX_BINS = 48
MIN_BLOCKS = 8
CLEAR = 2.5  # deviations above black: light whose noise is not clipped
SHADOW_BINS = 3  # shadows with clipped noise count as much as one third of the bins
FITTING_ROUNDS = 20
SLACK = 0.1  # bins whose variance is above the line by less than this share have full weight
REFINEMENTS = 4
MIN_VARIANCE = 1e-12
MIN_VARIANCE_SHARE = 1e-4  # of the median variance: less would outweigh everything else
SIMULATED_BLOCKS = 4000
SMOOTHED = 0.75  # of the deviation that a file states: if less is measured, the noise has been smoothed


def estimate_shot_read(planes: Array, full: NDArray[np.bool_]) -> ShotRead | None:
    """Fit shot and read noise to the flat blocks of each brightness.

    Args:
        planes: (h, w, C), linear light: 0 is black, 1 is a saturated photosite; each plane has one colour.
        full: (h, w, C), where photosites are saturated.

    Returns:
        The noise; None for a picture that is too small or too bright.
    """
    line, variances = _fit(planes, full)
    return line if line is None else _less_for_texture(line, variances)


def share_after_smoothing(stated: ShotRead, planes: Array, full: NDArray[np.bool_]) -> float | None:
    """How much is left of a mosaic's noise that a camera or an editor has smoothed, although its file does not say so.

    Smoothing removes more of the finest detail, in which noise is measured, than of the noise as a whole. After
    Gaussians of up to one photosite, the whole has about the geometric mean of what is stated and measured.

    Args:
        stated: white noise, more than 0.
        planes: see `estimate_shot_read`.
        full: the same.

    Returns:
        The share of the stated deviation; None if the noise is as white as stated, or cannot be measured.
    """
    measured, _ = _fit(planes, full)
    if measured is None:
        return None
    light = np.array([np.median(planes)])
    share = float(np.sqrt(_variance(light, measured) / _variance(light, stated))[0])
    return share**0.5 if share < SMOOTHED else None


def _fit(planes: Array, full: NDArray[np.bool_]) -> tuple[ShotRead | None, Array]:
    """The noise in flat blocks, or in the flattest ones if there is texture everywhere; and all blocks' variances.

    The variances are relative to that noise.
    """
    means, variances = (np.concatenate(parts) for parts in zip(*map(_blocks, *_split(planes, full)), strict=True))
    shadow = _clipped_shadow(planes)
    if shadow is not None:  # blocks so near to it that only by chance none of their values was clipped vary too little
        whole = means > CLEAR * shadow[1]
        means, variances = means[whole], variances[whole]
    if len(means) < MIN_BLOCKS:
        return None if shadow is None else ShotRead(0.0, shadow[1]), np.empty(0)
    bins = np.array_split(np.argsort(means), min(max(len(means) // BLOCKS_PER_BIN, 1), MAX_BINS))
    light = np.maximum([means[some].mean() for some in bins], 0)
    flat = [min(max(FLAT_SHARE, MIN_FLAT_BLOCKS / len(some)), MAX_FLAT_SHARE) for some in bins]
    expected = np.quantile(_noise_variances(), flat)
    line = ShotRead(0.0, 1.0)
    for _ in range(REFINEMENTS):  # with a better line, the dark blocks of a bin are no longer mistaken for flat ones
        parts = zip(bins, flat, strict=True)
        shares = [np.quantile(variances[some] / _variance(means[some], line), share) for some, share in parts]
        found = shares / expected * _variance(light, line)
        found = np.maximum(found, MIN_VARIANCE_SHARE * np.median(found))
        if shadow is None:
            line = _fit_line(light, found)
        else:
            count = max(len(bins) // SHADOW_BINS, 1)
            line = _fit_line(np.append(light, [shadow[0]] * count), np.append(found, [shadow[1] ** 2] * count), count)
    return line, variances / _variance(means, line)


def _less_for_texture(noise: ShotRead, variances: Array) -> ShotRead:
    """Lower an estimate that comes from texture, because no block is flat; `variances` are relative to it.

    Noise varies as much in the flattest blocks as chance has it. Texture varies more, so that the flattest of the flat
    ones vary much less than expected.
    """
    if not len(variances):
        return noise
    expected, seen = (np.quantile(one, (FLATTEST_SHARE, FLAT_SHARE)) for one in (_noise_variances(), variances))
    evenness = float(np.sqrt(seen[0] / seen[1] * (expected[1] / expected[0])))
    factor = min(evenness / EVEN, 1.0) ** TEXTURE_POWER
    return noise.scaled(factor)


def _clipped_shadow(planes: Array) -> tuple[float, float] | None:
    """Light and deviation of the noise in shadows in which it is clipped; None if there are too few."""
    floors = clipped_at(planes)
    return None if floors is None else clipped_noise(planes, floors)


def _variance(light: Array, noise: ShotRead) -> Array:
    return np.maximum(noise.shot * np.maximum(light, 0) + noise.read**2, MIN_VARIANCE)


def _fit_line(light: Array, variance: Array, sure: int = 0) -> ShotRead:
    """Fit a line to variances, whose errors are proportional to them.

    Those above it are texture and count less, except for the `sure` last ones.
    """
    rows = np.stack([light, np.ones_like(light)], axis=1)
    weights = np.ones_like(light)
    for _ in range(FITTING_ROUNDS):
        scale = (weights / variance)[:, None]
        (shot, dark), _ = nnls(rows * scale, (variance[:, None] * scale)[:, 0])
        above = variance / np.maximum(rows @ (shot, dark), MIN_VARIANCE) - 1
        weights = np.minimum(1, SLACK / np.maximum(above, SLACK)) ** 2
        weights[len(weights) - sure :] = 1
    return ShotRead(float(shot), float(np.sqrt(dark)))


def _split(planes: Array, full: NDArray[np.bool_]) -> tuple[list[Array], list[NDArray[np.bool_]]]:
    C = planes.shape[-1]
    # Arrays of their own: NumPy takes twice as long for values that are apart in memory.
    return [planes[..., c].copy() for c in range(C)], [full[..., c].copy() for c in range(C)]


def _blocks(plane: Array, full: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Mean and noise variance, (N,) each, of a plane's blocks in which no noise is clipped."""
    bent = plane[:, :-2] - 2 * plane[:, 1:-1] + plane[:, 2:]
    bent = (bent[:-2] - 2 * bent[1:-1] + bent[2:]) / 6  # removes slopes, and keeps the variance of white noise
    squares, light = (_in_blocks(values) for values in (np.square(bent), plane[1:-1, 1:-1]))
    variance, mean = squares.mean(axis=(1, 3)), light.mean(axis=(1, 3))
    # Noise is clipped at the smallest and the largest value, whatever the reason. A constant block was never measured.
    ends = full | (plane <= plane.min()) | (plane >= plane.max())
    # One axis after the other, which is faster than both at once.
    whole = ~np.any(np.any(_in_blocks(ends[1:-1, 1:-1]), axis=1), axis=2) & (variance > 0)
    return mean[whole], variance[whole]


def _in_blocks(plane: NDArray[np.generic]) -> NDArray[np.generic]:
    rows, columns = (side // BLOCK for side in plane.shape)
    return plane[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)


@cache
def _noise_variances() -> Array:
    """The variances of blocks that hold only noise of the variance 1: those of the flattest are less than 1."""
    side = round(SIMULATED_BLOCKS**0.5) * BLOCK + 2
    noise = np.random.default_rng(0).standard_normal((side, side))
    return _blocks(noise, np.zeros((side, side), bool))[1]
