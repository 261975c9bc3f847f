"""Shadows of a mosaic whose noise is clipped: the light that they had.

A file that holds no number below black loses the negative half of the noise there. The mean of what is left is too
high, a denoiser keeps that mean, and the white balance then tints the shadows, as it multiplies red and blue.

For normal noise of the deviation s that is clipped at f, a flat field of light x has the mean (1) and the share of
clipped values (2),

    mean = f + s * (u * P(u) + p(u)),    share = P(-u),    u = (x - f) / s,

where p and P are the normal density and distribution. The inverse of (1) corrects what a denoiser returns. It does not
return exactly (1), though, and an error of a tenth of s is a visible tint, so that what is true on average over large
parts of the shadows is then taken from the noisy values: from (2) close to f, where it hardly depends on s, and from
(1) above. Both are Tobin's model: "Estimation of Relationships for Limited Dependent Variables" (Econometrica, 1958).

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
REACH = 1.0  # deviations of the noise at black: further down, networks have seen noise clipped, and do better alone
TOP = 5.0  # deviations: light this far above the clipping is not changed,
FADE = 2.0  # and over so many below that, less and less
WINDOW = 3  # places, the side of the square over which shadows are averaged before (1) is inverted
DARK = 2.0  # deviations: light up to this far above the clipping is compared with the noisy values
NEAR, FAR = 0.3, 1.0  # deviations: from one to the other, (1) gradually replaces (2)
BLOCK = 8  # places, the side of a block of which shares and means are taken
SPREAD = 3.0  # blocks: the deviation of the Gaussian over which they are averaged further
ROUNDS = 3
MIN_PLACES = 64.0  # in the dark, that a correction is based upon
TABLE = 512

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
    lowest = planes.min(axis=(0, 1))
    shares = np.array([np.mean(planes[..., c] <= low) for c, low in enumerate(lowest)])
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
            floor = float(self.floors[c])
            plane = self._without_mean_change(denoised[..., c], floor)
            restored[..., c] = self._as_noisy(plane, noisy[..., c], floor)
        return restored

    def _deviation(self, light: Values) -> Values:
        return np.sqrt(self.noise.shot * np.maximum(light, 0) + self.noise.read**2)

    def _above(self, floor: float, deviations: float) -> float:
        """The light that is so many deviations of its own noise above `floor`."""
        light = floor
        for _ in range(10):
            light = floor + deviations * float(self._deviation(np.full(1, light))[0])
        return light

    def _without_mean_change(self, plane: Array, floor: float) -> Array:
        """Undo (1)."""
        top = self._above(floor, TOP)
        dark = plane < top
        if not dark.any():
            return plane
        light = np.linspace(floor - self.noise.read, top, TABLE)
        deviation = self._deviation(light)
        seen = floor + deviation * _unit_mean((light - floor) / deviation)
        # Only over other shadows: what is beside them in the light must not count as their brightness.
        share = uniform_filter(dark.astype(np.float32), WINDOW, mode="nearest")[dark]
        local = uniform_filter(np.where(dark, plane, 0), WINDOW, mode="nearest")[dark] / share
        fade = np.minimum((top - plane[dark]) * (TOP / FADE / (top - floor)), 1)
        restored = plane.copy()
        restored[dark] += (fade * np.interp(local, seen, light - seen)).astype(np.float32)
        return restored

    def _as_noisy(self, plane: Array, noisy: Array, floor: float) -> Array:
        """Shift the shadows gently until shares and means of clipped values are those of the noisy plane."""
        for _ in range(ROUNDS):
            np.maximum(plane, floor, out=plane)  # the file holds nothing below
            deviation = self._deviation(plane)
            u = (plane - np.float32(floor)) / deviation
            dark = u < DARK
            if np.count_nonzero(dark) < MIN_PLACES:
                return plane
            expected, density = ndtr(-u), np.exp(-u * u / 2) / np.float32((2 * np.pi) ** 0.5)
            means = floor + deviation * (u * (1 - expected) + density)
            parts = (expected - (noisy <= floor), density / deviation, noisy - means, 1 - expected, u)
            number, share, share_slope, mean, mean_slope, height = (
                _smoothed(np.where(dark, values, 0)) for values in (np.ones_like(u), *parts)
            )
            number = np.maximum(number, MIN_PLACES / BLOCK**2)
            weight = ((FAR - height / number) / (FAR - NEAR)).clip(0, 1)
            shift = weight * share / np.maximum(share_slope, 1e-6) + (1 - weight) * mean / np.maximum(mean_slope, 1e-6)
            shifted = plane + dark * np.minimum(2 * (1 - u / DARK), 1) * _enlarged(shift, plane.shape)
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
