"""The generalised Anscombe transform, which makes a sensor's noise equally strong at every brightness.

Networks for mosaics work on its result.

Source: Murtagh, Starck, Bijaoui, "Image restoration with noise suppression using a multiresolution support" (1995).
Unlike there, the result is scaled so that black and saturation stay at 0 and 1, or that merged exposures, which reach
beyond saturation, end at 1.

A function with the slope 1 / sqrt(v) gives noise of the variance v(q) = shot * q + read^2 the standard deviation 1. The
mean of transformed values is not the transform of their mean: networks learn that bias together with the noise.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.pixels import strips

Array = NDArray[np.float32]

# Times shot^2, Anscombe's addition to the variance, so that it does not vanish if a photon exceeds the read noise.
ANSCOMBE = 3 / 8
# Below black, the deviation falls. Where it reaches this share of the deviation at black, the curve continues as a
# straight line, so that it does not become too steep.
MIN_DEVIATION_SHARE = 0.5


@dataclass(frozen=True)
class AnscombeTransform:
    """The transform for a sensor at one sensitivity, and its inverse.

    >>> transform = AnscombeTransform(ShotRead(shot=0.01, read=0.02))
    >>> light = np.array([0, 0.25, 1], np.float32)
    >>> print(transform.forward(light).round(2))
    [0.   0.41 1.  ]
    >>> np.allclose(transform.inverse(transform.forward(light)), light, atol=1e-6)
    True

    Args:
        noise: of the light before the transform.
        headroom: the light that becomes 1; 1 or more.

    Raises:
        ValueError: the noise is zero, or the headroom less than 1.
    """

    noise: ShotRead
    headroom: float = 1.0

    def __post_init__(self) -> None:
        if not (self.noise.shot or self.noise.read):
            raise ValueError("shot, read: expected more than 0 and 0")
        if self.headroom < 1:
            raise ValueError(f"headroom: expected 1 or more, got {self.headroom}")

    @property
    def level(self) -> float:
        """The noise level after `forward`, the same at every brightness."""
        return 1 / float(self._curve(np.full(1, self.headroom, np.float32))[0])

    def forward(self, light: Array) -> Array:
        """Transform linear light: any shape, nominally [0, headroom], to [0, 1]; 0 is kept."""
        transformed = np.empty(light.shape, np.float32)
        for rows in strips(len(light)):
            transformed[rows] = self._curve(light[rows]) * np.float32(self.level)
        return transformed

    def inverse(self, transformed: Array) -> Array:
        """Undo `forward`: any shape, nominally [0, 1], to linear light in [0, headroom]."""
        light = np.empty(transformed.shape, np.float32)
        for rows in strips(len(transformed)):
            light[rows] = self._inverse_curve(transformed[rows])
        return light

    def _inverse_curve(self, transformed: Array) -> Array:
        shot, dark = self.noise.shot, self._dark
        curve = transformed / np.float32(self.level)
        light = curve * (shot / 4 * curve + dark)
        if not shot:
            return light.astype(np.float32)
        limit, end = self._straight_end
        return np.where(curve < end, limit + MIN_DEVIATION_SHARE * dark * (curve - end), light).astype(np.float32)

    @property
    def _dark(self) -> float:
        """The noise's deviation at black, with Anscombe's addition."""
        return float(np.sqrt(self.noise.read**2 + ANSCOMBE * self.noise.shot**2))

    @property
    def _straight_end(self) -> tuple[float, float]:
        """The light below which the curve is straight, and the curve's value there; only for noise with a shot part."""
        shot, dark = self.noise.shot, self._dark
        end = 2 * (MIN_DEVIATION_SHARE - 1) * dark / shot
        return end * (shot / 4 * end + dark), end

    def _curve(self, light: Array) -> Array:
        shot, dark = self.noise.shot, self._dark
        if not shot:
            return (light / dark).astype(np.float32)
        limit, _ = self._straight_end
        bounded = np.maximum(light, np.float32(limit))
        # The difference of two square roots, rewritten so that no digits are lost if they are nearly equal.
        curve = 2 * bounded / (np.sqrt(shot * bounded + np.float32(dark**2)) + np.float32(dark))
        return (curve + np.minimum(light - bounded, 0) / (MIN_DEVIATION_SHARE * dark)).astype(np.float32)
