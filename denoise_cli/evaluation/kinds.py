"""Kinds of pictures, made from photos or drawn, on which denoisers may do worse than on ordinary photos.

Legend: H x W pixels, C channels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from denoise_cli.data.drawings import Drawings
from denoise_cli.evaluation.samples import Sample, SimulatedNoise
from denoise_cli.imaging.camera import gaussian_blur, resize
from denoise_cli.imaging.transfer import linear_to_srgb, srgb_to_linear
from denoise_cli.io import image

Array = NDArray[np.float32]

SATURATION = 2.5  # factor of the differences between channels
NIGHT = 1 / 12  # of the light
SOFT_BLUR = 4.0  # pixels: out of focus, as skin and skies are
DETAIL_SCALE = 0.5  # everything that was two pixels wide is one
DRAWING_SIDE = 256  # pixels
DRAWING_SEED = 1 << 20  # so that no drawing is one that the same number draws elsewhere


def _saturated(photo: Array, _index: int) -> Array:
    grey = photo.mean(axis=-1, keepdims=True)
    return np.clip(grey + (photo - grey) * np.float32(SATURATION), 0, 1)


def _at_night(photo: Array, _index: int) -> Array:
    return linear_to_srgb(srgb_to_linear(photo) * np.float32(NIGHT)).astype(np.float32)


def _soft(photo: Array, _index: int) -> Array:
    return gaussian_blur(photo, SOFT_BLUR)


def _detailed(photo: Array, _index: int) -> Array:
    return resize(np.broadcast_to(photo, (*photo.shape[:2], 3)), DETAIL_SCALE)


def _vivid(photo: Array, index: int) -> Array:
    return _saturated(_detailed(photo, index), index)


def _grey(photo: Array, _index: int) -> Array:
    return photo.mean(axis=-1, keepdims=True)  # in colour, each channel would have noise of its own


def _drawn(_photo: Array, index: int) -> Array:
    return Drawings().draw(np.random.default_rng(DRAWING_SEED + index), DRAWING_SIDE)


# Each takes a photo, (H, W, C), [0, 1], and its position in the sorted folder, and returns a picture on [0, 1].
KINDS: Mapping[str, Callable[[Array, int], Array]] = {
    "as they are": lambda photo, _index: photo,
    "saturated": _saturated,
    "night": _at_night,
    "soft": _soft,
    "detailed": _detailed,
    "vivid": _vivid,
    "grey": _grey,
    "drawn": _drawn,
}


@dataclass(frozen=True)
class NoiseOnKind:
    """A simulated noise on one kind of pictures.

    Attributes:
        kind: a name in `KINDS`.
        noise: what is added to the pictures.
    """

    kind: str
    noise: SimulatedNoise

    def __str__(self) -> str:
        return f"{self.kind}, {self.noise}"

    @property
    def facts(self) -> dict[str, float | str | None]:
        """See `SimulatedNoise.facts`; with the kind."""
        return {"kind": self.kind, **self.noise.facts}

    def sample(self, path: Path, index: int) -> Sample:
        """See `SimulatedNoise.sample`."""
        return self.noise.add(path, KINDS[self.kind](image.read(path).as_float(), index), index)
