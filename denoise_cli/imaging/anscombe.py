"""A sensor's noise made equally strong everywhere: what a network for mosaics sees.

Source: Murtagh, Starck, Bijaoui, "Image restoration with noise suppression using a multiresolution support" (1995),
whose generalised Anscombe transform this is, scaled so that dark and full stay at 0 and 1.

Noise of the variance v(q) = shot * q + read^2 gets the deviation 1 from a function whose slope is 1 / sqrt(v). The mean
of noisy values is not the function of their mean: networks learn that difference with the noise.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.noise import ShotRead

Array = NDArray[np.float32]

# Of shot^2: what Anscombe adds to the variance, so that it does not vanish where a photon is more than the read noise.
ANSCOMBE = 3 / 8
# Of the deviation in the dark: where it would be less, the curve goes on as a straight line.
STRAIGHT = 0.5


@dataclass(frozen=True)
class AnscombeTransform:
    """The way to equal noise and back, of one sensor at one sensitivity.

    Args:
        noise: what its values have, before.
    """

    noise: ShotRead

    def __post_init__(self) -> None:
        if not (self.noise.shot or self.noise.read):
            raise ValueError("shot, read: expected more than 0 and 0")

    @property
    def level(self) -> float:
        """The deviation that all noise has after `forward`."""
        return 1 / float(self._curve(np.ones(1, np.float32))[0])

    def forward(self, light: Array) -> Array:
        """Linear light, any shape, nominally [0, 1], to the same range, 0 and 1 staying where they are."""
        return self._curve(light) * np.float32(self.level)

    def inverse(self, stable: Array) -> Array:
        """And back."""
        shot, dark = self.noise.shot, self._dark
        curve = stable / np.float32(self.level)
        light = curve * (shot / 4 * curve + dark)
        if not shot:
            return light.astype(np.float32)
        bent, end = self._straight
        return np.where(curve < end, bent + STRAIGHT * dark * (curve - end), light).astype(np.float32)

    @property
    def _dark(self) -> float:
        """The deviation at zero."""
        return float(np.sqrt(self.noise.read**2 + ANSCOMBE * self.noise.shot**2))

    @property
    def _straight(self) -> tuple[float, float]:
        """The light below which the curve is straight, and its value there; of noise with a shot."""
        shot, dark = self.noise.shot, self._dark
        end = 2 * (STRAIGHT - 1) * dark / shot
        return end * (shot / 4 * end + dark), end

    def _curve(self, light: Array) -> Array:
        shot, dark = self.noise.shot, self._dark
        if not shot:
            return (light / dark).astype(np.float32)
        bent, _ = self._straight
        bounded = np.maximum(light, np.float32(bent))
        # Two roots less each other, without the loss of digits where they are nearly the same.
        curve = 2 * bounded / (np.sqrt(shot * bounded + np.float32(dark**2)) + np.float32(dark))
        return (curve + np.minimum(light - bounded, 0) / (STRAIGHT * dark)).astype(np.float32)
