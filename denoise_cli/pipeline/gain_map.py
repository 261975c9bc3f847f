"""The gain maps of a JPEG without their noise, which HDR displays would show in the denoised picture."""

from dataclasses import replace

import numpy as np

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.noise import root_mean_square
from denoise_cli.imaging.strength import Strength
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.io import gain_map
from denoise_cli.io.decoding import decoder_errors
from denoise_cli.io.photo import Photo
from denoise_cli.pipeline.developed import denoise_developed

# Of 255, by the number of channels. On maps that were computed from photos of CBSD68 with and without noise, denoising
# gains wherever it removes more than this. Where it removes less, it mostly takes texture and the traces of
# compression, and loses up to 4 dB, with what the second compression takes.
LEAST_REMOVED = {1: 2.0, 3: 3.0}
DENOISED = "gain map denoised"
LEFT = "gain map left as it is"


def denoise_gain_maps(photo: Photo, denoise: Denoiser, strength: Strength, max_pixels: int) -> Photo:
    """Denoise the gain maps that a photo carries, if they have noise, and keep everything else about it.

    A map was computed from the noisy picture, so its noise is another one, of which nothing is given or stated: only a
    model that judges for itself can tell it from the steps and the texture of a map.

    Args:
        photo: from a JPEG, to be written as one.
        denoise: for photos.
        strength: the shares of the noise that are removed.
        max_pixels: larger maps are left as they are.

    Returns:
        The photo, with a note about the maps. Each is as many bytes long as before; one without noise is the same.
    """
    companions = photo.metadata.companions
    if companions is None or not companions.gain_maps or strength.removes_nothing(channels=3):
        return photo
    if not denoise.is_blind:
        return replace(photo, notes=(*photo.notes, f"{LEFT}: the model cannot judge its noise, as mallenet-r can"))
    behind, said = companions.behind, list[str]()
    for start, stop in companions.gain_maps:
        clean, notes = _denoised(behind[start:stop], denoise, strength, max_pixels)
        behind = behind[:start] + clean + behind[stop:]
        said += notes
    metadata = replace(photo.metadata, companions=replace(companions, behind=behind))
    return replace(photo, metadata=metadata, notes=(*photo.notes, *dict.fromkeys(said)))


def _denoised(jpeg: bytes, denoise: Denoiser, strength: Strength, max_pixels: int) -> tuple[bytes, tuple[str, ...]]:
    """A map in as many bytes, and what the user should hear about it."""
    try:
        with decoder_errors(LEFT):
            noisy = gain_map.decode(jpeg, max_pixels)
    except UnreadableFile as error:
        return jpeg, (str(error),)
    clean, _ = denoise_developed(noisy, denoise, strength=strength)
    removed = root_mean_square(clean.pixels.astype(np.float32) - noisy.pixels)
    if removed < LEAST_REMOVED[noisy.pixels.shape[2]]:
        return jpeg, ()
    encoded = gain_map.encode(clean, jpeg)
    if encoded is None:
        return jpeg, (f"{LEFT}: without its noise it would be longer",)
    return encoded, (DENOISED,)
