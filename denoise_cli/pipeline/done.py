"""`Done`: a denoised photo, before it is written."""

import math
from dataclasses import dataclass
from typing import Any

from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.strength import Strength
from denoise_cli.io.dng import DigitalNegative
from denoise_cli.io.photo import Photo


@dataclass(frozen=True)
class Done:
    """A denoised photo, its noise (None if the model found the level itself), and where that is known from.

    Several pages are encoded already, so that no more than one is in memory; their noise is that of the noisiest.
    """

    picture: Photo | DigitalNegative | bytes
    noise: float | ShotRead | None
    noise_from: str | None
    notes: tuple[str, ...] = ()

    @property
    def level(self) -> float:
        """The noise as one number, to compare pages; the largest if the model found it itself."""
        if self.noise is None:
            return math.inf
        return self.noise.read if isinstance(self.noise, ShotRead) else self.noise

    def words(self, strength: Strength) -> str:
        """The noise and the strength, for the software tag."""
        words = f"strength {strength.luma:g}"
        if not strength.is_even:
            words = f"luma {strength.luma:g}, chroma {strength.chroma:g}, detail {strength.detail:g}"
        if self.noise is None:
            return words
        if isinstance(self.noise, ShotRead):
            return f"shot {self.noise.shot:.3g}, read {self.noise.read:.3g}, {words}"
        return f"sigma {self.noise * 255:.1f}, {words}"

    def facts(self) -> dict[str, Any]:
        """The noise, for the record."""
        if isinstance(self.noise, ShotRead):
            return {"shot": self.noise.shot, "read": self.noise.read, "noise_from": self.noise_from}
        sigma = None if self.noise is None else round(self.noise * 255, 3)
        return {"sigma": sigma, "noise_from": self.noise_from}
