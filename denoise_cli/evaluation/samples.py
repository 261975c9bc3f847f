"""Samples: noisy pictures beside their truth, made with synthetic noise or taken as pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.metrics import psnr, ssim
from denoise_cli.imaging.noise import ShotRead, sensor_noise
from denoise_cli.imaging.transfer import linear_to_srgb, srgb_to_linear
from denoise_cli.io import image

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """A noisy picture beside its truth.

    Attributes:
        path: the file it comes from.
        clean, noisy: (H, W, C), nominally [0, 1], sRGB-encoded.
        sigma: the noise's deviation, or a sensor's noise; None where it is not known.
    """

    path: Path
    clean: Array
    noisy: Array
    sigma: float | ShotRead | None

    @cached_property
    def psnr(self) -> float:
        """Of the noisy picture."""
        return psnr(self.noisy, self.clean)

    @cached_property
    def ssim(self) -> float | None:
        """Of the noisy picture."""
        return ssim(self.noisy, self.clean)


@dataclass(frozen=True)
class WhiteNoise:
    """White noise of the deviation `sigma`, [0, 1] scale, on clean photos."""

    sigma: float

    def __str__(self) -> str:
        return f"sigma {self.sigma * 255:g}"

    @property
    def facts(self) -> dict[str, float | None]:
        """Its numbers, for the record; sigma on the scale of 255."""
        return {"sigma": round(self.sigma * 255, 6), "shot": None, "read": None}

    def sample(self, path: Path, index: int) -> Sample:
        """A photo with its noise, in its own colours and depth; `index`, its place in the sorted folder, is the seed.

        Raises:
            UnreadableFile: it cannot be read.
        """
        clean = image.read(path).as_float()
        return Sample(path, clean, add_gaussian_noise(clean, self.sigma, index), self.sigma)


@dataclass(frozen=True)
class ShotReadNoise(ShotRead):
    """A sensor's noise on clean photos."""

    def __str__(self) -> str:
        return f"shot {self.shot:g}, read {self.read:g}"

    @property
    def facts(self) -> dict[str, float | None]:
        """As of `WhiteNoise`."""
        return {"sigma": None, "shot": self.shot, "read": self.read}

    def sample(self, path: Path, index: int) -> Sample:
        """As `WhiteNoise.sample`."""
        clean = image.read(path).as_float()
        noisy = add_sensor_noise(clean, self.shot, self.read, index)
        return Sample(path, clean, noisy, self)


@dataclass(frozen=True, eq=False)
class RealNoise:
    """The noise that photos were taken with: `truths` has the clean photo of every noisy one."""

    truths: Mapping[Path, Path]

    def __str__(self) -> str:
        return "real"

    @property
    def facts(self) -> dict[str, float | None]:
        """As of `WhiteNoise`: nobody knows them."""
        return {"sigma": None, "shot": None, "read": None}

    def sample(self, path: Path, _index: int) -> Sample:
        """A noisy photo and its truth, at the files' own depth.

        Raises:
            UnreadableFile: one cannot be read, or they differ in size or colour.
        """
        noisy, clean = image.read(path).as_float(), image.read(self.truths[path]).as_float()
        if noisy.shape != clean.shape:
            raise UnreadableFile(path, f"is {size_in_words(noisy)}, but {self.truths[path]} is {size_in_words(clean)}")
        return Sample(path, clean, noisy, None)


Noise = WhiteNoise | ShotReadNoise | RealNoise


def add_gaussian_noise(clean: Array, sigma: float, index: int) -> Array:
    """White noise as the papers' protocol has it: made on [0, 255] from a seed per photo, neither clipped nor rounded.

    Args:
        clean: (H, W, C), [0, 1].
        sigma: in the image's unit.
        index: the photo's place in its sorted folder, which is its seed.
    """
    noise = np.random.default_rng(index).normal(0, sigma * 255, clean.shape) / 255
    return (clean + noise).astype(np.float32)


def add_sensor_noise(clean: Array, shot: float, read: float, index: int) -> Array:
    """Shot and read noise, added in linear light and encoded again, neither clipped nor rounded.

    Args:
        clean: (H, W, C), [0, 1], sRGB-encoded.
        shot: the noise's variance per unit of light.
        read: its deviation in the dark.
        index: the photo's place in its sorted folder, which is its seed.
    """
    light = srgb_to_linear(clean.astype(np.float64))
    noise = sensor_noise(light, shot, read, np.random.default_rng(index))
    return linear_to_srgb(light + noise).astype(np.float32)


def size_in_words(pixels: Array) -> str:
    """A picture's size and kind, (H, W, C), for messages."""
    H, W, C = pixels.shape
    return f"{W} x {H} {'in colour' if C == 3 else 'in grey'}"
