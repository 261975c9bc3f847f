"""Banding: rows or columns of a mosaic that are all a little too bright or too dark.

The readout adds the same offset to a whole row or column. A row's median difference to the rows of the same colours
above and below shows it, in every part of the row alike; the picture is not so even. What this misses, where there is
texture, shows in what a network then removes from the row. Photosites beside the picture that no light reaches show
the offsets much better, but not every camera has them, and what lies there need not be such photosites: they count if
the picture agrees with them.

Legend: H x W photosites, M masked photosites in each row, S strips.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from scipy.ndimage import uniform_filter1d

from denoise_cli.imaging.noise import MAD_TO_DEVIATION, ShotRead

Array = NDArray[np.float32]
Offsets = NDArray[np.float64]

STRIPS = 8  # across the mosaic, which have to agree
MIN_SITES = 16  # in a strip's row
MAX_SITES = 128
MIN_ROWS = 32
DARK = 0.01  # light at which the noise is the measure of what can be seen
LEAST = 0.7  # deviations of the noise: weaker banding is left alone,
LEAST_IF_MASKED = 0.1  # if masked photosites show it,
MOST = 6.0  # as is stronger, which is the picture
PICTURE = 0.05  # of the variance of the offsets: what the picture adds to differences, even in flat parts
AGREEMENT = 0.8  # of the differences in half of the strips, the share that the other half shows, too, as a variance
DIFFERENCE = 1.5  # variance of the difference of an offset to the mean of two others, if each has the variance 1
DARKNESS = 3.0  # deviations of the noise in the dark: a border whose median is further from black has seen light
# Offsets are those of the masked photosites if the picture's differences follow theirs so closely,
SIGNIFICANCE = 5.0  # in deviations of a covariance by chance,
LEAST_SHARE, MOST_SHARE = 0.5, 1.5  # and are so many times as large.

OUTLIER = 3.0  # deviations of the noise
SLOW = 33  # rows of the same colours: what changes over so many is the picture, or what clipping has added to it
SLOW_IF_MASKED = 257  # where neither can be; but the border may warm up more than the picture
# The share of an offset that a network removes as noise; it leaves the rest as part of the picture.
REMOVED = 0.4


@dataclass(frozen=True)
class Banding:
    """The offset of each row.

    Attributes:
        offsets: (H,), linear light.
        is_measured: whether masked photosites show them, so that next to nothing is left to be found.
    """

    offsets: Offsets
    is_measured: bool


def find_banding(light: Array, period: int, noise: ShotRead, masked: Array | None = None) -> Banding | None:
    """Find the offset of each row; slow changes over many rows belong to the picture and are left in.

    Args:
        light: (H, W), a mosaic; transposed for the offsets of columns.
        period: rows after which the pattern of colours repeats.
        noise: of the light.
        masked: (H, M), what photosites beside each row measured that no light should reach, as light.

    Returns:
        None if there is no banding.
    """
    H, W = light.shape
    if max(MIN_ROWS, 4 * period) > H or W < STRIPS * MIN_SITES:
        return None
    differences, errors = _differences(light, period)
    halves = [_mean(differences[:, some], errors[:, some]) for some in (np.s_[::2], np.s_[1::2])]
    common, error = _mean(differences, errors)
    seen = noise.shot * DARK + noise.read**2
    edges = np.max(np.abs([common, *(half[0] for half in halves)]), axis=0) > MOST * np.sqrt(DIFFERENCE * seen)
    error = np.where(edges, 1.0, error)
    sure = ~edges & (error <= np.median(error))  # the rows with the flattest parts decide
    if not sure.any():
        return None
    shown = None
    if masked is not None and abs(float(np.median(masked))) < DARKNESS * np.sqrt(seen):
        shown = _shown_by_masked(masked, period, common, sure)
    if shown is not None:
        variance, least = shown.variance, LEAST_IF_MASKED
    else:
        first, second = (half[0][sure] for half in halves)
        variance, least = float(np.mean(first * second)) / DIFFERENCE, LEAST
        agreement = variance * DIFFERENCE / max(float(np.mean(first**2 + second**2)) / 2, np.finfo(float).tiny)
        if agreement < AGREEMENT:
            return None
    if not least**2 * seen < variance < MOST**2 * seen:
        return None
    error = error + PICTURE * variance
    offsets = np.zeros(H)
    for phase in range(period):
        rows = np.s_[phase::period]
        offsets[rows] = _solve(common[rows], error[rows], variance, None if shown is None else shown.of(rows))
    return Banding(offsets, shown is not None)


def remaining_offsets(light: Array, full: NDArray[np.bool_], clean: Array, period: int, noise: ShotRead) -> Offsets:
    """What is left of each row's offset, judged by what a network has removed from the row.

    Args:
        light: (H, W), a mosaic from which most of each offset has been removed.
        full: (H, W), saturated photosites, which show no offset.
        clean: (H, W), the network's result.
        period: rows after which the pattern of colours repeats.
        noise: of `light`.

    Returns:
        (H,), linear light.
    """
    deviation = np.sqrt(noise.shot * np.maximum(clean, DARK) + noise.read**2)
    weights = np.where(full, 0, deviation**-2)
    total = np.maximum(weights.sum(axis=1), np.finfo(np.float32).tiny)
    difference = light - clean
    rough = ((weights * difference).sum(axis=1) / total)[:, None]
    bound = OUTLIER * deviation
    removed = (weights * (rough + np.clip(difference - rough, -bound, bound))).sum(axis=1) / total
    _remove_slow_changes(removed, period, SLOW)  # a network may return one colour a little too bright or too dark
    return removed.astype(np.float64) / REMOVED


def _remove_slow_changes(offsets: NDArray[np.floating], period: int, slow: int) -> None:
    for phase in range(period):
        rows = offsets[phase::period]
        rows -= uniform_filter1d(rows, slow, mode="reflect")


def _rows_around(H: int, period: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each row, those of the same colours above and below; the same one twice at the ends."""
    rows = np.arange(H)
    above, below = np.where(rows < period, rows + period, rows - period), rows + period
    return above, np.where(below >= H, rows - period, below)


def _differences(light: Array, period: int) -> tuple[Offsets, Offsets]:
    """(H, S) twice: the median difference of each row to the mean of those a period above and below, in each strip.

    Its variance, the second result, is large where there is texture.
    """
    H, W = light.shape
    width = W // STRIPS
    step = max(width // MAX_SITES, 1) | 1  # odd, so that every colour of the row is among those that are looked at
    above, below = _rows_around(H, period)
    medians, variances = [], []
    for strip in range(STRIPS):
        some = np.s_[strip * width : (strip + 1) * width : step]
        each = light[:, some] - (light[above, some] + light[below, some]) / 2
        medians.append(np.median(each, axis=1))
        spread = MAD_TO_DEVIATION * np.median(np.abs(each - medians[-1][:, None]), axis=1)
        variances.append(np.pi / 2 * np.square(spread) / each.shape[1])
    errors = np.stack(variances, axis=1).astype(np.float64)
    # Without any spread, most values are clipped, at white or black, and so is their offset.
    return np.stack(medians, axis=1).astype(np.float64), np.where(errors > 0, errors, 1.0)


@dataclass(frozen=True)
class _Shown:
    """What masked photosites show of the offset of each row: (H,), its error's variance, and the offsets' variance."""

    offsets: Offsets
    error: float
    variance: float

    def of(self, rows: slice) -> "_Shown":
        return _Shown(self.offsets[rows], self.error, self.variance)


def _shown_by_masked(masked: Array, period: int, common: Offsets, sure: NDArray[np.bool_]) -> _Shown | None:
    """What masked photosites show, if the picture's differences of rows, (H,), are the same where they are sure."""
    each = masked - np.median(masked, axis=0)
    middle = np.median(each, axis=1, keepdims=True)
    bound = OUTLIER * MAD_TO_DEVIATION * float(np.median(np.abs(each - middle)))
    if not bound:  # the steps of the file are larger than the noise: means of them show nothing
        return None
    offsets = (middle[:, 0] + np.clip(each - middle, -bound, bound).mean(axis=1)).astype(np.float64)
    _remove_slow_changes(offsets, period, SLOW_IF_MASKED)
    error = (bound / OUTLIER) ** 2 / masked.shape[1]
    above, below = _rows_around(len(masked), period)
    differences = (offsets - (offsets[above] + offsets[below]) / 2)[sure]
    squares, covariance = float(np.mean(differences**2)), float(np.mean(differences * common[sure]))
    variance = squares / DIFFERENCE - error
    chance = np.sqrt(squares * np.mean(common[sure] ** 2) / sure.sum())
    if variance <= 0 or covariance < SIGNIFICANCE * chance:
        return None
    is_same = LEAST_SHARE < covariance / (variance * DIFFERENCE) < MOST_SHARE
    return _Shown(offsets, error, variance) if is_same else None


def _mean(differences: Offsets, errors: Offsets) -> tuple[Offsets, Offsets]:
    """The mean of each row's strips, which count as they are sure, and its variance: (H,) twice."""
    # The square prefers flat strips further: texture is less even than its spread tells.
    weights = errors**-2
    total = weights.sum(axis=1)
    return (weights * differences).sum(axis=1) / total, (weights**2 * errors).sum(axis=1) / total**2


def _solve(differences: Offsets, errors: Offsets, variance: float, shown: _Shown | None) -> Offsets:
    """The likeliest offsets, given their variance, differences to the mean of both neighbours, and what masks show."""
    n = len(differences)
    weights = 1 / errors
    # The normal equations of D b = differences, where D has 1 on the diagonal and -1/2 beside it, as a banded matrix.
    above = np.full(n, -0.5)
    beside = np.full(n, -0.5)
    above[0], beside[0], above[-1], beside[-1] = 0.0, -1.0, -1.0, 0.0
    bands = np.zeros((3, n))
    bands[2] = weights + 1 / variance
    bands[2, :-1] += weights[1:] * above[1:] ** 2
    bands[2, 1:] += weights[:-1] * beside[:-1] ** 2
    bands[1, 1:] = weights[:-1] * beside[:-1] + weights[1:] * above[1:]
    bands[0, 2:] = weights[1:-1] * above[1:-1] * beside[1:-1]
    weighted = weights * differences
    right = weighted.copy()
    right[:-1] += above[1:] * weighted[1:]
    right[1:] += beside[:-1] * weighted[:-1]
    if shown is not None:
        bands[2] += 1 / shown.error
        right += shown.offsets / shown.error
    return np.asarray(solveh_banded(bands, right), np.float64)
