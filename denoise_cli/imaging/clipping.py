"""Shadows of a mosaic whose noise is clipped: the light that they had.

A file that holds no number below black loses the negative half of the noise there. The mean of what is left is too
high, and the white balance then tints the shadows, as it multiplies red and blue. Networks have learnt to undo that,
from the values around; but where half of the noise is lost, too little is around them, and an error of a tenth of the
noise is a visible tint. So what is true on average over large parts of the shadows is taken from the noisy values.

For normal noise of the deviation s that is clipped at f, a flat field of light x has the mean (1) and the share of
clipped values (2),

    mean = f + s * (u * P(u) + p(u)),    share = P(-u),    u = (x - f) / s,

where p and P are the normal density and distribution: (2) is used close to f, where it hardly depends on s, and (1)
above. Both are Tobin's model: "Estimation of Relationships for Limited Dependent Variables" (Econometrica, 1958).

Legend: h x w places of C planes, b x b blocks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter, zoom
from scipy.special import ndtr, ndtri

from denoise_cli.imaging.noise import ShotRead

Array = NDArray[np.float32]
Values = NDArray[np.floating]

MIN_SHARE = 1e-4  # of a plane: so many photosites at its smallest value show that it is clipped there
REACH = 1.2  # deviations of the noise at black: if noise is clipped further down, networks do as well alone
DARK = 2.0  # deviations: light up to this far above the clipping is compared with the noisy values;
WINDOW = 3  # places, the side of the square over which it is averaged
NEAR, FAR = 0.3, 1.0  # deviations: from one to the other, (1) gradually replaces (2)
BLOCK = 8  # places, the side of a block of which shares and means are taken
SPREAD = 3.0  # blocks: the deviation of the Gaussian over which they are averaged further
ROUNDS = 3
MIN_PLACES = 64.0  # in the dark, that a correction is based upon
FEW = 0.1  # of the places around: if so few are dark, half of the correction is made

MEASURED_BLOCK = 16  # places, the side of a block in which the noise of clipped shadows is measured
MEASURED_SHARES = (0.1, 0.6)  # of clipped values in such a block
MIN_BLOCKS = 50
FLATTEST = 0.02  # of these blocks are regarded as flat. In pure noise,
FLATTEST_DEVIATION = 0.86  # times the true deviation is what they seem to have at most


def clipped_at(planes: Values, read: float = np.inf) -> NDArray[np.float32] | None:
    """The light at which each plane's noise is clipped; None if no plane's shadows are changed by that.

    Args:
        planes: (h, w, C), linear light.
        read: the deviation of the noise at black, or an upper bound.

    Returns:
        (C,), -infinity for a plane that is not clipped.
    """
    lowest = planes.min(axis=0).min(axis=0)  # one axis after the other: much faster than both at once
    places = planes.shape[0] * planes.shape[1]
    shares = np.array([np.count_nonzero(planes[..., c] <= low) / places for c, low in enumerate(lowest)])
    floors = np.where((shares > MIN_SHARE) & (np.abs(lowest) < REACH * read), lowest, -np.inf).astype(np.float32)
    return floors if np.isfinite(floors).any() else None


def clipped_noise(planes: Values, floors: NDArray[np.float32]) -> tuple[float, float] | None:
    """Light and deviation of the noise in shadows, from the share of clipped values and the mean in flat blocks.

    Args:
        planes: (h, w, C), linear light.
        floors: (C,), from `clipped_at`.

    Returns:
        Both numbers; None if there are too few such blocks.
    """
    light, found = [], []
    for c in np.flatnonzero(np.isfinite(floors)):
        blocks = _in_blocks(planes[..., c], MEASURED_BLOCK) - floors[c]
        shares, means = (blocks <= 0).mean(axis=(1, 3)), blocks.mean(axis=(1, 3))
        usable = (shares > MEASURED_SHARES[0]) & (shares < MEASURED_SHARES[1])
        u = -ndtri(shares[usable])
        found.append(means[usable] / _unit_mean(u))
        light.append(floors[c] + u * found[-1])
    deviations = np.concatenate(found)
    if len(deviations) < MIN_BLOCKS:
        return None
    flattest = np.quantile(deviations, FLATTEST)
    dark = float(np.median(np.concatenate(light)[deviations <= flattest]))
    return max(dark, 0.0), float(flattest) / FLATTEST_DEVIATION


@dataclass(frozen=True)
class ClippedNoise:
    """Noise, and where it is clipped.

    Attributes:
        noise: see `ShotRead`.
        floors: (C,), from `clipped_at`.
    """

    noise: ShotRead
    floors: NDArray[np.float32]

    def restore(self, denoised: Array, noisy: Array) -> Array:
        """The light of the shadows of denoised planes; nothing else is changed.

        Args:
            denoised: (h, w, C), linear light.
            noisy: the same before denoising.

        Returns:
            The same shape.
        """
        restored = denoised.copy()
        for c in np.flatnonzero(np.isfinite(self.floors)):
            restored[..., c] = self._as_noisy(restored[..., c], noisy[..., c], float(self.floors[c]))
        return restored

    def _deviation(self, light: Values) -> Values:
        return np.sqrt(self.noise.shot * np.maximum(light, 0) + self.noise.read**2)

    def _as_noisy(self, plane: Array, noisy: Array, floor: float) -> Array:
        """Shift the shadows gently until shares and means of clipped values are those of the noisy plane."""
        for _ in range(ROUNDS):
            np.maximum(plane, floor, out=plane)  # the file holds nothing below
            deviation = self._deviation(plane)
            u = (plane - np.float32(floor)) / deviation
            # Of averages, since a place that is dark only by the noise left in it is dark in the noisy plane as well.
            dark = uniform_filter(u, WINDOW, mode="nearest") < DARK
            if np.count_nonzero(dark) < MIN_PLACES:
                return plane
            expected, density = ndtr(-u), np.exp(-u * u / 2) / np.float32((2 * np.pi) ** 0.5)
            means = floor + deviation * (u * (1 - expected) + density)
            parts = (expected - (noisy <= floor), density / deviation, noisy - means, 1 - expected, u)
            number, share, share_slope, mean, mean_slope, height = (
                _smoothed(np.where(dark, values, 0)) for values in (np.ones_like(u), *parts)
            )
            number = np.maximum(number, 1e-6)
            weight = ((FAR - height / number) / (FAR - NEAR)).clip(0, 1)
            shift = weight * share / np.maximum(share_slope, 1e-6) + (1 - weight) * mean / np.maximum(mean_slope, 1e-6)
            shift = shift * number / (number + FEW)
            shifted = plane + dark * np.clip(2 * (1 - u / DARK), 0, 1) * _enlarged(shift, plane.shape)
            plane = shifted.astype(np.float32)
        return np.maximum(plane, np.float32(floor))


def _unit_mean(u: Values) -> Values:
    """The mean of max(u + z, 0), z ~ N(0, 1)."""
    return u * ndtr(u) + np.exp(-np.square(u) / 2) / (2 * np.pi) ** 0.5


def _in_blocks(plane: Values, side: int) -> Values:
    rows, columns = (length // side for length in plane.shape)
    return plane[: rows * side, : columns * side].reshape(rows, side, columns, side)


def _smoothed(plane: Values) -> Values:
    """Means of blocks, smoothed further: (h, w) to (h / b, w / b), rounded up."""
    bottom, right = (-side % BLOCK for side in plane.shape)
    whole = np.pad(plane, ((0, bottom), (0, right)), mode="symmetric")
    return gaussian_filter(_in_blocks(whole, BLOCK).mean(axis=(1, 3)), SPREAD, mode="nearest")


def _enlarged(blocks: Values, shape: tuple[int, ...]) -> Array:
    whole = zoom(blocks, BLOCK, order=1, mode="nearest", grid_mode=True)
    return whole[: shape[0], : shape[1]].astype(np.float32)
