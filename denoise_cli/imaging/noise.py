"""Noise: what a sensor adds, how much a picture has, and where.

Source of the sensor's noise: Xu et al., "Learning Deformable Kernels for Image and Video Denoising" (2019), section 4.
Source of the white estimate: Chen, Zhu, Heng, "An Efficient Statistical Method for Image Noise Level Estimation" (ICCV
2015).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.transfer import srgb_slope, srgb_to_linear

# What Xu et al. train with: `shot` and `read` of `ShotRead`.
SHOT_RANGE, READ_RANGE = (1e-4, 1e-2), (1e-3, 10**-1.5)

PATCH = 8
MOST_PATCHES = 60_000
BLOCK = 16
MOST_BLOCKS, FEWEST_BLOCKS = 8_000, 100
FLATTEST = 0.05  # the share of a photo's blocks that is taken for flat
# Noise is as strong in all flat blocks, texture is not: how far the flattest tenth may differ to be believed.
EVEN_SHARES, EVEN_RATIO = (0.01, 0.1), 1.3
HIDDEN_RATIO = 1.7  # flat blocks that show so much more than the eigenvalues hold noise that is not white
MOST_OF_FLAT = 1.1  # a block's own deviation is uncertain by some percent
GRAIN = 4  # pixels: the size of the grain by which noise that is not white is measured
# A noisy pixel says little of its own light, and the level must not follow its noise.
NEIGHBOURHOOD = 5
# The mean over normal noise, by Gauss and Hermite: deviations from the mean, and their weights.
NODES = ((-(3**0.5), 1 / 6), (0.0, 2 / 3), (3**0.5, 1 / 6))


@dataclass(frozen=True)
class ShotRead:
    """A sensor's noise: a value q of linear light gets noise of the variance shot * q + read^2.

    Attributes:
        shot: the variance per unit of light, 0 or more.
        read: the deviation in the dark, 0 or more.
    """

    shot: float
    read: float

    def __post_init__(self) -> None:
        if min(self.shot, self.read) < 0:
            raise ValueError(f"shot, read: expected 0 or more, got {self.shot} and {self.read}")

    def level_of_light(self, noisy: NDArray[np.floating]) -> NDArray[np.float32]:
        """How strong it is at each pixel, sqrt(read^2 + shot * q), of the noisy channels' mean q.

        Args:
            noisy: (H, W, C), linear light, nominally [0, 1].

        Returns:
            (H, W), in linear light.
        """
        light = np.maximum(noisy.mean(axis=-1), 0)
        return np.sqrt(self.read**2 + self.shot * light).astype(np.float32)

    def level_of_photo(self, noisy: NDArray[np.floating]) -> NDArray[np.float32]:
        """How strong it is at each pixel of an sRGB-encoded picture.

        In linear light, a value q has noise of the deviation s = sqrt(shot * q + read^2). The encoding stretches it by
        its slope, which is taken as the mean over that noise: in the dark, the slope changes within one deviation. Per
        channel,

            sigma(q) = s * E[srgb'(q + s * z)],  z ~ N(0, 1);

        a pixel's level is the root mean square over its channels.

        Args:
            noisy: (H, W, C), [0, 1], and beyond where it was not clipped.

        Returns:
            (H, W), the deviation in the picture's own encoding.

        Raises:
            ValueError: another shape.
        """
        if noisy.ndim != 3:
            raise ValueError(f"noisy: expected (H, W, C), got {noisy.shape}")
        # Averaged first and clipped then: the other way round, the dark would seem brighter than it is.
        light = _box_mean(srgb_to_linear(noisy)).clip(0, 1)
        deviation = np.sqrt(self.shot * light + self.read**2)
        sigma = deviation * sum(weight * srgb_slope(light + z * deviation) for z, weight in NODES)
        return np.sqrt(np.mean(np.square(sigma), axis=2)).astype(np.float32)


def developed_noise(noise: ShotRead, gains: NDArray[np.floating]) -> ShotRead:
    """What a sensor's noise is after white balance: the mean over the colours of a grey picture.

    A colour that is multiplied by g has, where it shows a grey q, noise of the variance shot * g * q + (g * read)^2.

    Args:
        noise: of the sensor's values.
        gains: (3,), of the white balance.
    """
    read = noise.read * float(np.sqrt(np.mean(np.square(gains))))
    return ShotRead(noise.shot * float(np.mean(gains)), read)


def sensor_noise(
    light: NDArray[np.floating], shot: float, read: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw a sensor's noise: normal, independent from value to value, of the variance shot * q + read^2.

    Args:
        light: q, linear, of any shape, nominally [0, 1]; what is below zero counts as dark.
        shot: the variance per unit of light, 0 or more; in training, of `SHOT_RANGE`.
        read: the deviation in the dark, 0 or more; in training, of `READ_RANGE`.
        rng: the source of chance.

    Returns:
        The same shape, to be added to the light.
    """
    deviation = np.sqrt(shot * np.maximum(light, 0) + read**2).astype(np.float32)
    return rng.standard_normal(light.shape, np.float32) * deviation


def estimate_sigma(image: NDArray[np.floating]) -> float:
    """How strong the noise is, from the picture alone, as the standard deviation of white noise.

    White noise is found among the eigenvalues of the picture's patches. Fine texture can pass for it: but there is no
    more noise than in the flat blocks of the picture. Noise that a camera has smoothed, sharpened or compressed is not
    white, and hides from the eigenvalues; it shows in the flat blocks, where they agree on it. Such noise is coarser
    than white noise, and as visible as white noise of a larger deviation: of the one that has the same grain.

    Args:
        image: (H, W, C), any range.

    Returns:
        Sigma in the image's unit; 0 for an image too small to tell.
    """
    white = _white_sigma(image)
    blocks = _blocks(image)
    if len(blocks) < FEWEST_BLOCKS:
        return white
    deviations = _deviations(blocks)
    low, high = np.quantile(deviations, EVEN_SHARES)
    flat = deviations <= np.quantile(deviations, FLATTEST)
    even = high < EVEN_RATIO * low
    if even and deviations[flat].max() > HIDDEN_RATIO * white:
        return float(np.sqrt(np.mean(np.square(_deviations(blocks[flat], GRAIN)))))
    return min(white, MOST_OF_FLAT * float(high))


def _box_mean(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """The mean over each pixel's neighbourhood, mirrored at the sides."""
    margin = NEIGHBOURHOOD // 2
    for axis in (0, 1):
        margins = [(margin, margin) if a == axis else (0, 0) for a in range(image.ndim)]
        padded = np.pad(image, margins, mode="symmetric")
        image = np.lib.stride_tricks.sliding_window_view(padded, NEIGHBOURHOOD, axis=axis).mean(axis=-1)
    return image


def _white_sigma(image: NDArray[np.floating]) -> float:
    """Natural patches lie near a low-dimensional plane, so most eigenvalues of their covariance hold noise alone.

    The largest are dropped until the mean of the rest equals their median: then only noise is left.
    """
    covariance = _patch_covariance(image)
    if covariance is None:
        return 0.0
    eigenvalues = np.linalg.eigvalsh(covariance)[::-1]
    for dropped in range(len(eigenvalues)):
        rest = eigenvalues[dropped:]
        if np.mean(rest) <= np.median(rest):
            return float(np.sqrt(max(np.mean(rest), 0)))
    return 0.0


def _blocks(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, BLOCK, BLOCK, C), without those that reach black or white."""
    H, W, C = image.shape
    rows, columns = H // BLOCK, W // BLOCK
    step = max(1, math.ceil(math.sqrt(rows * columns / MOST_BLOCKS)))
    blocks = image[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK, C).swapaxes(1, 2)
    some: NDArray[np.float64] = blocks[::step, ::step].reshape(-1, BLOCK, BLOCK, C).astype(np.float64)
    if not len(some):
        return some
    inside = (some.min(axis=(1, 2, 3)) > image.min()) & (some.max(axis=(1, 2, 3)) < image.max())
    return some[inside]


def _deviations(blocks: NDArray[np.float64], grain: int = 1) -> NDArray[np.float64]:
    """Of each block, the deviation from its best-fitting slope; of its means over `grain`, as if they were white."""
    N, _, _, C = blocks.shape
    side = BLOCK // grain
    means = blocks.reshape(N, side, grain, side, grain, C).mean(axis=(2, 4)).reshape(N, side * side, C)
    plane = np.stack([np.ones((side, side)), *np.mgrid[:side, :side]], axis=-1).reshape(-1, 3)
    basis, _ = np.linalg.qr(plane)  # (side * side, 3)
    energy = np.square(means).sum(axis=(1, 2)) - np.square(basis.T @ means).sum(axis=(1, 2))
    return grain * np.sqrt(np.maximum(energy, 0) / (C * (side * side - 3)))


def _patch_covariance(image: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """None where there are fewer patches than a patch has values: most eigenvalues would be zero for want of data."""
    H, W, C = image.shape
    if min(H, W) < PATCH or (H - PATCH + 1) * (W - PATCH + 1) <= C * PATCH**2:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(image, (PATCH, PATCH), axis=(0, 1))
    step = math.ceil(math.sqrt(H * W / MOST_PATCHES))  # before the copy: every patch of a photo is 21 times its size
    patches = windows[::step, ::step].reshape(-1, C * PATCH**2)
    return np.cov(patches.astype(np.float64), rowvar=False)
