"""A simulated camera: what a sensor would have seen of a scene, and how the photo then comes out.

The noise model is that of the deformable-kernels paper (Xu et al., "Learning Deformable Kernels for Image and Video
Denoising", 2019, section 4): each photosite's value q, in linear light, gets N(0, shot * q + read^2).
"""

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.transfer import linear_to_srgb, srgb_to_linear

Pixels = NDArray[np.float64]

# Daylight on a common sensor: green is the most sensitive, red and blue are amplified afterwards.
WHITE_BALANCE = (2.0, 1.0, 1.6)


def photograph(scene: Pixels, shot: float, read: float, rng: np.random.Generator) -> Pixels:
    """Take a picture of a scene in bad light.

    The scene is made linear, its white balance undone, seen through an RGGB mosaic, given noise and clipped; then each
    2x2 quad becomes one pixel, which is balanced and encoded again.

    Args:
        scene: (H, W, 3), sRGB-encoded, [0, 1]; H and W even.
        shot: the noise's variance per unit of light, 1e-4 to 1e-2.
        read: the noise's deviation in the dark, 1e-3 to 10^-1.5.
        rng: the source of chance.

    Returns:
        (H/2, W/2, 3), sRGB-encoded, [0, 1].

    Raises:
        ValueError: odd sides, or not three channels.
    """
    if scene.ndim != 3 or scene.shape[2] != 3 or scene.shape[0] % 2 or scene.shape[1] % 2:
        raise ValueError(f"scene: expected (H, W, 3) with even sides, got {scene.shape}")
    light = srgb_to_linear(scene) / WHITE_BALANCE
    quads = mosaic(light)
    seen = np.clip(quads + sensor_noise(quads, shot, read, rng), 0, 1)
    red, green, blue = seen[..., 0], (seen[..., 1] + seen[..., 2]) / 2, seen[..., 3]
    balanced = np.stack([red, green, blue], axis=-1) * WHITE_BALANCE
    return linear_to_srgb(np.clip(balanced, 0, 1))


def mosaic(light: Pixels) -> Pixels:
    """What an RGGB sensor lets through: (H, W, 3) to (H/2, W/2, 4), the planes R, G, G, B."""
    return np.stack([light[::2, ::2, 0], light[::2, 1::2, 1], light[1::2, ::2, 1], light[1::2, 1::2, 2]], axis=-1)


def sensor_noise(light: Pixels, shot: float, read: float, rng: np.random.Generator) -> Pixels:
    """Noise for linear light of any shape: normal, of variance shot * light + read^2."""
    return rng.normal(size=light.shape) * np.sqrt(shot * np.maximum(light, 0) + read**2)
