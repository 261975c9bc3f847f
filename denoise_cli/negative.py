"""A RAW file's way through a denoiser: its mosaic before LibRaw develops it, or what LibRaw has made of other sensors.

A mosaic's stuck photosites are taken out, its colours packed, its noise made equal, and all of it turned back. Where
there is no Bayer mosaic, the picture is denoised in linear light, demosaiced, by a network that knows such noise.

Legend: H x W photosites or pixels, h x w quads.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from denoise_cli.denoiser import Denoiser, Progress
from denoise_cli.imaging.bayer import PLANES, pack, unpack, without_hot
from denoise_cli.imaging.noise import ShotRead, developed_noise
from denoise_cli.imaging.photon_transfer import estimate_shot_read
from denoise_cli.imaging.stabilised import Stabiliser
from denoise_cli.io.raw import Mosaic, Negative

Array = NDArray[np.float32]
Source = Literal["given", "file", "estimated"]

# A photosite that is full stays full where so many of its colour around it are: elsewhere noise has filled it.
NEIGHBOURHOOD, MOSTLY = 5, 0.5
WHITE = 65535


@dataclass(frozen=True)
class Known:
    """The noise of a RAW file's values, as shares of white, and who says so."""

    noise: ShotRead
    source: Source


def noise_of(negative: Negative, given: ShotRead | None = None) -> Known:
    """What is given, else what the file says, else what its values show."""
    if given is not None:
        return Known(given, "given")
    if negative.noise is not None:
        return Known(negative.noise, "file")
    return Known(measured(negative), "estimated")


def measured(negative: Negative) -> ShotRead:
    """The noise that the values show which are in it now; of too few values, none at all."""
    if negative.obstacle is None:
        mosaic = negative.mosaic()
        planes, full = pack(mosaic.light, mosaic.phase), pack(mosaic.full, mosaic.phase)
    else:
        planes, full = negative.planes()
    return estimate_shot_read(planes, full) or ShotRead(0.0, 0.0)


def measured_in(linear: NDArray[np.uint16], gains: NDArray[np.float64]) -> ShotRead:
    """The same of a picture that LibRaw has made, (H, W, 3), in the values that it had before white balance."""
    values = np.divide(linear, WHITE * gains, dtype=np.float32)
    return estimate_shot_read(values, linear >= WHITE) or ShotRead(0.0, 0.0)


def denoised_mosaic(
    mosaic: Mosaic, noise: ShotRead, denoise: Denoiser, strength: float = 1.0, progress: Progress | None = None
) -> Array:
    """The light of a mosaic without its noise.

    Args:
        mosaic: as a file has it.
        noise: what it has.
        denoise: for mosaics.
        strength: 0 to 1, how much of the noise goes; 0 returns the light as it is.
        progress: called with the fraction done.

    Returns:
        (H, W), as `mosaic.light`.

    Raises:
        OutOfMemory: even the smallest tile does not fit.
    """
    if strength == 0 or not (noise.shot or noise.read):
        return mosaic.light
    stabiliser = Stabiliser(noise)
    planes, _ = without_hot(pack(mosaic.light, mosaic.phase), noise)
    clean = stabiliser.inverse(denoise(stabiliser.forward(planes), stabiliser.level, strength, progress))
    # Light beyond what a photosite holds is lost: where one colour stayed full and another did not, it would be tinted.
    is_full = _mostly(pack(mosaic.full, mosaic.phase))
    clean[is_full] = np.maximum(planes[is_full], 1)
    return unpack(clean, mosaic.phase, mosaic.light.shape)


def denoised_picture(
    picture: NDArray[np.uint16],
    noise: ShotRead,
    gains: NDArray[np.float64],
    denoise: Denoiser,
    strength: float = 1.0,
    progress: Progress | None = None,
) -> NDArray[np.uint16]:
    """What LibRaw has made of a file, in linear light, without its noise.

    Args:
        picture: (H, W, 3), as `Negative.linear` gives it.
        noise: what the file's values have.
        gains: (3,), what the white balance has multiplied them by.
        denoise: for such pictures.
        strength: 0 to 1, how much of the noise goes; 0 returns the picture as it is.
        progress: called with the fraction done.

    Returns:
        The same shape.

    Raises:
        OutOfMemory: even the smallest tile does not fit.
    """
    if strength == 0 or not (noise.shot or noise.read):
        return picture
    stabiliser = Stabiliser(developed_noise(noise, gains))
    stable = stabiliser.forward(np.divide(picture, WHITE, dtype=np.float32))
    clean = stabiliser.inverse(denoise(stable, stabiliser.level, strength, progress))
    clean *= WHITE
    return np.rint(clean, out=clean).clip(0, WHITE).astype(np.uint16)


def _mostly(full: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of (h, w, 4), where a place and most of those around it, of one colour, are true."""
    if not full.any():
        return full
    shares = [
        uniform_filter(full[..., c].astype(np.float32), NEIGHBOURHOOD, mode="nearest") >= MOSTLY for c in range(PLANES)
    ]
    return full & np.stack(shares, axis=-1)
