"""A developed photo's pixels: which of them show how much noise, and what of them a network is shown."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.dither import dithered
from denoise_cli.imaging.noise import ShotRead, estimate_levels, is_free_of_noise, root_mean_square
from denoise_cli.imaging.pixels import Pixels, from_float, strips, to_float, white_value
from denoise_cli.imaging.strength import Strength
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.inference.tiles import Progress
from denoise_cli.io.photo import Photo
from denoise_cli.pipeline.memory import SMALL, return_freed_memory

# Times white, of what networks are shown: noise on white reaches there.
HIGHEST = 1.25
LOWEST = -1.0  # of the same: colours far outside of sRGB reach there, as Lab can hold them
# Where most of a picture is beyond white, its scale is another one: this share of it is below its white. The largest
# value may be that of a lamp.
BRIGHT_SHARE = 0.99
SOLID_BLACK = 0.03  # of light that black ink leaves: where it is that little, other inks hardly show, and are kept
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
    from it, so that a bright light changes nothing but itself. A single bit per pixel holds no noise of a camera, and
    stays as it is.

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
    if photo.is_bilevel:
        return replace(photo, notes=(*photo.notes, "black and white, without grey: left as it is")), 0.0
    visible = None if photo.alpha is None else photo.alpha > 0
    if photo.black is None:
        clean, level, notes = _denoised(photo.as_srgb(), visible, denoise, noise, strength, progress, dither)
        if photo.pixels.dtype != np.float32:  # whose values mean the same in every file
            notes = ()
        pixels = photo.pixels if clean is None else photo.from_srgb(clean, dither)
        return replace(photo, pixels=pixels, notes=photo.notes + notes), level
    return _denoised_inks(photo, photo.black, visible, denoise, noise, strength, progress, dither)


def _denoised_inks(
    photo: Photo,
    black: Pixels,
    visible: NDArray[np.bool_] | None,
    denoise: Denoiser,
    noise: float | ShotRead | None,
    strength: Strength | float,
    progress: Progress | None,
    dither: bool,
) -> tuple[Photo, float | ShotRead | None]:
    """A photo in CMYK, denoised as if each ink took its share of the light.

    What all inks leave of the light is a picture as networks know it, which the inks alone are not: black is in all of
    its colours. Black is denoised by itself, and the other inks get what then remains to them of the denoised light.
    """
    first, second = (None, None) if progress is None else (_part(progress, 0), _part(progress, 1))
    light: Pixels = np.empty(photo.pixels.shape, np.uint16)  # half as large as floating point, and as fine
    for rows in strips(len(light)):
        light[rows] = from_float(to_float(photo.pixels[rows]) * to_float(black[rows])[..., None], light.dtype)
    bright, level, _ = _denoised(light, visible, denoise, noise, strength, first, False)
    own_grey = black[..., None]
    grey, level_of_black, _ = _denoised(own_grey, visible, denoise, noise, strength, second, dither)
    if level == 0 and level_of_black != 0:
        level = level_of_black
    if bright is None and grey is None:
        return photo, level
    bright = light if bright is None else bright
    grey = own_grey if grey is None else grey
    pixels = np.empty_like(photo.pixels)
    for rows in strips(len(light)):
        own, left = to_float(photo.pixels[rows]), to_float(grey[rows])
        brighter = to_float(bright[rows]) - to_float(light[rows])
        less_black = left - to_float(own_grey[rows])
        shares = own + (brighter - own * less_black) * left / (left**2 + SOLID_BLACK**2)
        if dither and pixels.dtype == np.uint8:
            pixels[rows] = dithered(shares, photo.pixels[rows], rows.start)
        else:
            pixels[rows] = from_float(shares, pixels.dtype)
    return replace(photo, pixels=pixels, black=grey[..., 0]), level


def _denoised(
    pixels: Pixels,
    visible: NDArray[np.bool_] | None,
    denoise: Denoiser,
    noise: float | ShotRead | None,
    strength: Strength | float,
    progress: Progress | None,
    dither: bool,
) -> tuple[Pixels | None, float | ShotRead | None, tuple[str, ...]]:
    """Pixels, (H, W, C), without their noise, or None if they stay; that noise, and what the user should hear."""
    white, notes = white_of(pixels)
    beyond, excess = None, np.empty(0, np.float32)
    if pixels.dtype == np.float32:
        lowest, highest = np.float32(LOWEST * white), np.float32(HIGHEST * white)
        beyond = (pixels > highest) | (pixels < lowest)
        excess = pixels[beyond] - pixels[beyond].clip(lowest, highest)
        pixels = pixels.clip(lowest, highest)
    levels: NDArray[np.float32] | None = None
    if noise is None and not denoise.is_blind:
        levels = estimate_levels(pixels, white, visible)
        noise = root_mean_square(levels)
    elif noise is None and is_free_of_noise(pixels, visible):  # a blind model would still change it a little
        noise = 0.0
    return_freed_memory(pixels.nbytes)
    clean = pixels
    if noise != 0:
        told = noise if levels is None else levels
        clean = denoise.denoise_stored(pixels, white, told, strength, progress, dither)
    if pixels.nbytes > SMALL:
        denoise.release_memory()
    if clean is pixels:
        return None, noise, notes
    if beyond is not None:
        clean[beyond] += excess
    return clean, noise, notes


def as_frame(photo: Photo, white: float) -> NDArray[np.float32]:
    """What a network for clips is shown of a photo: (H, W, C), nominally [0, 1], encoded as sRGB.

    Args:
        photo: a frame of a sequence, not in CMYK.
        white: the value of white in `photo.as_srgb()`, the same for the whole sequence.
    """
    encoded = photo.as_srgb()
    values = to_float(encoded, white)
    return values.clip(LOWEST, HIGHEST) if encoded.dtype == np.float32 else values


def without_noise(photo: Photo, noise: NDArray[np.float32], white: float, dither: bool) -> Photo:
    """A photo less the noise that was found in it; what exceeds `HIGHEST` keeps its distance from it.

    Args:
        photo: the frame.
        noise: (H, W, C), on the scale of `as_frame`.
        white: as for `as_frame`.
        dither: whether 8 bits are rounded with noise, see `imaging.dither`.
    """
    encoded = photo.as_srgb()
    clean = to_float(encoded, white) - noise
    if encoded is not photo.pixels:
        pixels = photo.from_srgb(from_float(clean, encoded.dtype, white), dither)
    elif dither and encoded.dtype == np.uint8:
        pixels = dithered(clean, encoded)
    else:
        pixels = from_float(clean, encoded.dtype, white)
    return replace(photo, pixels=pixels)


def _part(progress: Progress, half: int) -> Progress:
    """Progress of one of two parts that take equally long."""
    return lambda fraction: progress((half + fraction) / 2)


def white_of(pixels: Pixels) -> tuple[float, tuple[str, ...]]:
    """The value of white in a picture, (H, W, C) of any type, and what the user should hear about it."""
    white: float = white_value(pixels.dtype)
    if pixels.dtype == np.float32 and np.count_nonzero(pixels > white) > pixels.size / 2:
        white = float(np.quantile(pixels[::SPARSE, ::SPARSE], BRIGHT_SHARE))
        return white, (f"most values are above 1: {white:.4g} is taken for white",)
    return white, ()
