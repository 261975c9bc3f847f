"""Samples: noisy pictures with their clean truth, made by adding noise or read as pairs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from denoise_cli.data.photos import reflect_to_size
from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging import camera
from denoise_cli.imaging.metrics import psnr, ssim
from denoise_cli.imaging.noise import ShotRead, sensor_noise
from denoise_cli.imaging.transfer import linear_to_srgb, srgb_to_linear
from denoise_cli.io import image

Array = NDArray[np.float32]

UNKNOWN: Mapping[str, float | None] = {"sigma": None, "shot": None, "read": None}
SMALLEST_SCENE = 192  # pixels, a side, of which a simulated camera leaves at least 64


@dataclass(frozen=True)
class Sample:
    """A noisy picture with its clean truth.

    Attributes:
        path: the noisy file, or the clean one that noise was added to.
        clean, noisy: (H, W, C), nominally [0, 1], sRGB-encoded.
        sigma: the noise's standard deviation, or a sensor's noise; None if it is unknown.
    """

    path: Path
    clean: Array
    noisy: Array
    sigma: float | ShotRead | None

    @cached_property
    def psnr(self) -> float:
        """PSNR of the noisy picture in dB."""
        return psnr(self.noisy, self.clean)

    @cached_property
    def ssim(self) -> float | None:
        """SSIM of the noisy picture; None if it is too small."""
        return ssim(self.noisy, self.clean)


class SimulatedNoise(ABC):
    """Noise that is added to clean pictures."""

    @abstractmethod
    def __str__(self) -> str: ...

    @property
    def facts(self) -> Mapping[str, float | None]:
        """Its parameters, for records; sigma on the scale of 255. None where they are not told to the denoiser."""
        return UNKNOWN

    def sample(self, path: Path, index: int) -> Sample:
        """Read a photo and add noise to it.

        Args:
            path: the clean photo; grey stays grey.
            index: its position in the sorted folder, used as the seed.

        Raises:
            UnreadableFile: the photo cannot be read.
        """
        return self.add(path, image.read(path).as_float(), index)

    @abstractmethod
    def add(self, path: Path, clean: Array, index: int) -> Sample:
        """Add noise to a picture, (H, W, C), [0, 1]; otherwise as `sample`."""


@dataclass(frozen=True)
class WhiteNoise(SimulatedNoise):
    """White noise with the standard deviation `sigma`, on [0, 1]."""

    sigma: float

    def __str__(self) -> str:
        return f"sigma {self.sigma * 255:g}"

    @property
    def facts(self) -> Mapping[str, float | None]:
        """See `SimulatedNoise.facts`."""
        return {**UNKNOWN, "sigma": round(self.sigma * 255, 6)}

    def add(self, path: Path, clean: Array, index: int) -> Sample:
        """See `SimulatedNoise.add`."""
        return Sample(path, clean, add_gaussian_noise(clean, self.sigma, index), self.sigma)


@dataclass(frozen=True)
class ShotReadNoise(ShotRead, SimulatedNoise):
    """A sensor's noise."""

    def __str__(self) -> str:
        return f"shot {self.shot:g}, read {self.read:g}"

    @property
    def facts(self) -> Mapping[str, float | None]:
        """See `SimulatedNoise.facts`."""
        return {**UNKNOWN, "shot": self.shot, "read": self.read}

    def add(self, path: Path, clean: Array, index: int) -> Sample:
        """See `SimulatedNoise.add`."""
        return Sample(path, clean, add_sensor_noise(clean, self.shot, self.read, index), self)


@dataclass(frozen=True)
class CameraNoise(SimulatedNoise):
    """The noise that simulated cameras leave, see `imaging.camera`: another camera for each photo."""

    def __str__(self) -> str:
        return "camera"

    def add(self, path: Path, clean: Array, index: int) -> Sample:
        """See `SimulatedNoise.add`; the camera leaves out a margin, reduces some pictures, and keeps none grey.

        Small pictures are continued by reflection.
        """
        rng = np.random.default_rng(index)
        scene = reflect_to_size(SMALLEST_SCENE, np.broadcast_to(clean, (*clean.shape[:2], 3)))
        noisy, truth = camera.draw_camera(rng).take(scene, rng)
        return Sample(path, truth, noisy, None)


@dataclass(frozen=True)
class NoNoise(SimulatedNoise):
    """No noise: the pictures are to stay as they are."""

    def __str__(self) -> str:
        return "none"

    def add(self, path: Path, clean: Array, index: int) -> Sample:  # noqa: ARG002 - as for the others
        """See `SimulatedNoise.add`."""
        return Sample(path, clean, clean, None)


@dataclass(frozen=True, eq=False)
class RealNoise:
    """The noise that photos were taken with: `truths` maps each noisy photo to its clean one."""

    truths: Mapping[Path, Path]

    def __str__(self) -> str:
        return "real"

    @property
    def facts(self) -> Mapping[str, float | None]:
        """See `SimulatedNoise.facts`; the parameters are unknown."""
        return UNKNOWN

    def sample(self, path: Path, index: int) -> Sample:  # noqa: ARG002 - as for the others
        """Read a noisy photo and its truth.

        Raises:
            UnreadableFile: one of them cannot be read, or they differ in size or colour.
        """
        noisy, clean = image.read(path).as_float(), image.read(self.truths[path]).as_float()
        if noisy.shape != clean.shape:
            raise UnreadableFile(path, f"is {describe_size(noisy)}, but {self.truths[path]} is {describe_size(clean)}")
        return Sample(path, clean, noisy, None)


class Noise(Protocol):
    """Noise that photos have or are given: the classes above, and `kinds.NoiseOnKind`."""

    def __str__(self) -> str: ...

    @property
    def facts(self) -> Mapping[str, float | str | None]:
        """See `SimulatedNoise.facts`."""

    def sample(self, path: Path, index: int) -> Sample:
        """See `SimulatedNoise.sample`."""


def add_gaussian_noise(clean: Array, sigma: float, index: int) -> Array:
    """Add white noise by the papers' protocol: drawn on [0, 255], seeded for each photo, neither clipped nor rounded.

    Args:
        clean: (H, W, C), [0, 1].
        sigma: standard deviation, in the image's unit.
        index: the photo's position in its sorted folder, used as the seed.

    Returns:
        The noisy photo, float32.

    >>> clean = np.full((64, 64, 3), 0.5, np.float32)
    >>> noisy = add_gaussian_noise(clean, sigma=25 / 255, index=0)
    >>> round(255 * float((noisy - clean).std()))
    25
    >>> np.array_equal(noisy, add_gaussian_noise(clean, sigma=25 / 255, index=0))
    True
    """
    noise = np.random.default_rng(index).normal(0, sigma * 255, clean.shape) / 255
    return (clean + noise).astype(np.float32)


def add_sensor_noise(clean: Array, shot: float, read: float, index: int) -> Array:
    """Add shot and read noise in linear light and encode the result again, neither clipped nor rounded.

    Args:
        clean: (H, W, C), [0, 1], sRGB-encoded.
        shot: the noise's variance per unit of light.
        read: the noise's standard deviation in the dark.
        index: the photo's position in its sorted folder, used as the seed.

    Returns:
        The noisy photo, float32, sRGB-encoded.
    """
    light = srgb_to_linear(clean.astype(np.float64))
    noise = sensor_noise(light, shot, read, np.random.default_rng(index))
    return linear_to_srgb(light + noise).astype(np.float32)


def describe_size(pixels: Array) -> str:
    """The size of a picture, (H, W, C), and whether it has colour, for messages.

    >>> describe_size(np.zeros((64, 80, 3), np.float32))
    '80 x 64 in colour'
    """
    H, W, C = pixels.shape
    return f"{W} x {H} {'in colour' if C == 3 else 'in grey'}"
