"""The tone of a camera's own pictures, taken from the preview in its RAW files.

Legend: H x W pixels, h x w pixels of the preview.
"""

import dataclasses
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.imaging.pixels import convert, from_float, to_float
from denoise_cli.imaging.tone import Curve, tone_curves
from denoise_cli.io.jpeg import refuse_too_many_scans
from denoise_cli.io.photo import Photo
from denoise_cli.io.raw import RawFile

LEAST_SIDE = 48  # pixels: smaller previews tell too little
DRAFT_SIDE = 512  # pixels: a JPEG is decoded at the next larger size that it offers


def with_camera_tone(raw: RawFile, photo: Photo) -> Photo:
    """A developed photo with the tone curves of the file's preview; with a note instead if none is usable."""
    model = preview_of(raw)
    if model is None:
        return _as_it_is(photo, "the file has no preview that can be read")
    if photo.pixels.shape[2] == 1:
        model = np.asarray(Image.fromarray(model).convert("L"))[..., None]
    curves = tone_curves(_eight_bits(photo.pixels), model)
    if curves is None:
        return _as_it_is(photo, "the file's preview shows another picture, or a uniform one")
    planes = [_toned(photo.pixels[..., c], curve) for c, curve in enumerate(curves)]
    return dataclasses.replace(photo, pixels=np.stack(planes, axis=-1))


def _eight_bits(pixels: np.ndarray) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint16:
        # Rounded, and much faster than by way of floating point.
        return ((np.minimum(pixels, 65535 - 128) + np.uint16(128)) // np.uint16(257)).astype(np.uint8)
    return convert(pixels, np.dtype(np.uint8)).astype(np.uint8, copy=False)


def _toned(values: np.ndarray, curve: Curve) -> np.ndarray:
    """Values, (H, W), on their curve; those that are brighter than white stay as they are."""
    if values.dtype.kind == "f":
        return np.where(values > 1, values, curve(values.clip(0, 1)).astype(values.dtype))
    levels = to_float(np.arange(2 ** (8 * values.itemsize), dtype=values.dtype))
    return from_float(curve(levels).astype(np.float32), values.dtype)[values]


def _as_it_is(photo: Photo, reason: str) -> Photo:
    return dataclasses.replace(photo, notes=(*photo.notes, f"not in the camera's tone: {reason}"))


def preview_of(raw: RawFile) -> NDArray[np.uint8] | None:
    """(h, w, 3), encoded, in any orientation; None if there is none, or one that is damaged or as small as an icon."""
    found = raw.embedded_preview
    if isinstance(found, bytes):
        try:
            refuse_too_many_scans(found)
            with Image.open(BytesIO(found), formats=["JPEG"]) as jpeg:
                jpeg.draft("RGB", (DRAFT_SIDE, DRAFT_SIDE))
                found = np.asarray(jpeg.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None
    return found if found is not None and min(found.shape[:2]) >= LEAST_SIDE else None
