"""Photos from camera RAW: LibRaw's linear pictures, sRGB-encoded, with the file's metadata.

Legend: H x W pixels.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.imaging.transfer import linear_to_srgb
from denoise_cli.io.camera_exif import with_adobe_note
from denoise_cli.io.metadata import IPTC_TAG, XMP_TAG, Metadata, keep_descriptive, split_orientation
from denoise_cli.io.photo import Photo, from_float
from denoise_cli.io.raw import RGB, WHITE, Numbers, RawFile
from denoise_cli.io.xmp import without_raw_settings

PREVIEW_SIDE = 1024  # pixels, the longer side
STRIP = 256  # rows per table lookup: an index array takes four times the memory of the values
# Colours are compared in pixels that are neither nearly black nor nearly white in either development.
DARKEST = WHITE // 100
BRIGHTEST = WHITE * 9 // 10
MIN_PIXELS = 100  # for the comparison


def developed(raw: RawFile) -> Photo:
    """The picture that LibRaw develops from the file's own numbers; raises what `RawFile.develop` does."""
    return as_photo(raw, raw.develop())


def as_photo(raw: RawFile, linear: Numbers) -> Photo:
    """Encode a linear picture, (H, W, 3) from `RawFile.develop` in sRGB's colours, as a photo of 16 bits."""
    # There are only 65536 possible values: a table is cheaper than 36 million powers.
    table = from_float(linear_to_srgb(np.linspace(0, 1, 65536, dtype=np.float32)), np.dtype(np.uint16))
    values = linear[..., :1] if raw.is_grey else linear
    pixels = np.empty(values.shape, np.uint16)
    for top in range(0, len(values), STRIP):
        pixels[top : top + STRIP] = table[values[top : top + STRIP]]
    exif = with_adobe_note(raw.exif)
    xmp, iptc = (exif.main[tag].data if tag in exif.main else None for tag in (XMP_TAG, IPTC_TAG))
    _, packed = split_orientation(keep_descriptive(exif))  # LibRaw has already turned the picture upright
    metadata = Metadata(exif=packed, xmp=xmp and without_raw_settings(xmp), iptc=iptc)
    return Photo(pixels, alpha=None, kind="raw", metadata=metadata)


def preview(raw: RawFile, numbers: Numbers | None) -> NDArray[np.uint8]:
    """A small picture for a DNG: (h, w, 3), sRGB-encoded, in the sensor's orientation.

    Args:
        raw: the file.
        numbers: (H, W) of its photosites; None for its own.
    """
    linear = raw.develop(numbers, upright=False, half_size=True)
    encoded = from_float(linear_to_srgb(np.divide(linear, WHITE, dtype=np.float32)), np.dtype(np.uint8))
    picture = Image.fromarray(encoded)
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return np.asarray(picture)


def camera_to_srgb(raw: RawFile, numbers: Numbers | None) -> NDArray[np.float64]:
    """(3, 3), from the camera's balanced colours to sRGB's, fitted to two developments: LibRaw hides its own tables.

    Args:
        raw: the file.
        numbers: of the photosites, without their noise if possible; None for the file's own.

    Returns:
        The matrix; the identity if there are too few usable pixels.
    """
    camera, srgb = (
        raw.develop(numbers, colours=colours, half_size=True).reshape(-1, RGB) for colours in ("camera", "srgb")
    )
    usable = np.logical_and(*((one > DARKEST) & (one < BRIGHTEST) for one in (camera, srgb))).all(axis=1)
    if np.count_nonzero(usable) < MIN_PIXELS:
        return np.eye(RGB)
    found, *_ = np.linalg.lstsq(camera[usable].astype(np.float64), srgb[usable].astype(np.float64), rcond=None)
    return found.T.astype(np.float64)
