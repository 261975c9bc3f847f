"""PSNR over a folder of clean photos with synthetic noise, by the protocol of the literature."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from denoise_cli.denoiser import Denoiser
from denoise_cli.imaging.metrics import psnr
from denoise_cli.io import image
from denoise_cli.io.photo import to_float


@dataclass(frozen=True)
class Score:
    """One photo at one noise level."""

    path: Path
    sigma: float
    noisy: float
    denoised: float


def add_gaussian_noise(clean: NDArray[np.float32], sigma: float, index: int) -> NDArray[np.float32]:
    """White noise as the papers' protocol has it: made on [0, 255] from a seed per photo, neither clipped nor rounded.

    Args:
        clean: (H, W, C), [0, 1].
        sigma: in the image's unit.
        index: the photo's place in its sorted folder, which is its seed.
    """
    noise = np.random.default_rng(index).normal(0, sigma * 255, clean.shape) / 255
    return (clean + noise).astype(np.float32)


def evaluate(denoise: Denoiser, photos: Sequence[Path], sigma: float, blind: bool = False) -> Iterator[Score]:
    """Score a denoiser photo by photo.

    Args:
        denoise: takes the noisy photo and the noise level.
        photos: clean photos, in the order that seeds their noise.
        sigma: standard deviation of the noise, [0, 1] scale.
        blind: keep the level from the denoiser, which then estimates it.

    Yields:
        A score for each photo; the output is clipped to [0, 1] and not rounded.
    """
    for index, path in enumerate(photos):
        clean = to_float(image.read(path).as_rgb8())
        noisy = add_gaussian_noise(clean, sigma, index)
        denoised = denoise(noisy, sigma=None if blind else sigma).clip(0, 1)
        yield Score(path, sigma, psnr(noisy, clean), psnr(denoised, clean))
