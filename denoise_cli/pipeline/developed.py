"""A developed photo's pixels: which of them show how much noise, and what of them a network is shown."""

from dataclasses import replace

import numpy as np

from denoise_cli.imaging.noise import ShotRead, estimate_sigma, is_free_of_noise
from denoise_cli.imaging.pixels import Pixels, white_value
from denoise_cli.imaging.strength import Strength
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.inference.tiles import Progress
from denoise_cli.io.photo import Photo
from denoise_cli.pipeline.memory import return_freed_memory

# Times white, of what networks are shown: noise on white reaches there.
HIGHEST = 1.25
# Where most of a picture is beyond white, its scale is another one: this share of it is below its white. The largest
# value may be that of a lamp.
BRIGHT_SHARE = 0.99
SPARSE = 4  # rows and columns of which one counts for that


def denoise_developed(
    photo: Photo,
    denoise: Denoiser,
    noise: float | ShotRead | None = None,
    strength: Strength | float = 1.0,
    progress: Progress | None = None,
    dither: bool = False,
) -> tuple[Photo, float | ShotRead | None]:
    """Denoise a photo's pixels, and keep everything else about it.

    PQ, HLG and linear light are encoded as sRGB for it: their noise is far from even (see `Photo.as_srgb`). These and
    floating point reach beyond white. Networks are shown it up to `HIGHEST`, and what exceeds that keeps its distance
    from it, so that a bright light changes nothing but itself.

    Args:
        photo: what to denoise.
        denoise: for photos.
        noise: the level on [0, 1], in sRGB's encoding, or a sensor's; None to estimate it or to leave it to the model.
        strength: the shares of the noise that are removed.
        progress: called with the fraction done.
        dither: whether 8 bits are rounded with noise, see `imaging.dither`.

    Returns:
        The photo, and the given or estimated noise, a level on [0, 1] or a sensor's noise; None if the model finds the
        level itself.
    """
    pixels = photo.as_srgb()
    white, notes = _white_of(pixels)
    beyond, excess = None, np.empty(0, np.float32)
    if pixels.dtype == np.float32:
        beyond = pixels > HIGHEST * white
        excess = pixels[beyond] - np.float32(HIGHEST * white)
        pixels = np.minimum(pixels, np.float32(HIGHEST * white))
    visible = None if photo.alpha is None else photo.alpha > 0
    if noise is None and not denoise.is_blind:
        noise = estimate_sigma(pixels, white, visible)
    elif noise is None and is_free_of_noise(pixels, visible):  # a blind model would still change it a little
        noise = 0.0
    return_freed_memory()
    clean = pixels
    if noise != 0:
        clean = denoise.denoise_stored(pixels, white, noise, strength, progress, dither)
    denoise.release_memory()
    if clean is pixels:
        clean = photo.pixels
    elif beyond is not None:
        clean[beyond] += excess
        clean = photo.from_srgb(clean, dither)
    if photo.pixels.dtype != np.float32:  # whose values mean the same in every file
        notes = ()
    return replace(photo, pixels=clean, notes=photo.notes + notes), noise


def _white_of(pixels: Pixels) -> tuple[float, tuple[str, ...]]:
    """The value of white, and what the user should hear about it."""
    white: float = white_value(pixels.dtype)
    if pixels.dtype == np.float32 and np.count_nonzero(pixels > white) > pixels.size / 2:
        white = float(np.quantile(pixels[::SPARSE, ::SPARSE], BRIGHT_SHARE))
        return white, (f"most values are above 1: {white:.4g} is taken for white",)
    return white, ()
