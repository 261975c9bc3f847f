"""DNGs from open RAW files: with a DNG's own tags, or for other files with what LibRaw knows about the camera.

Legend: H x W photosites or pixels.
"""

import numpy as np

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.bayer import Phase
from denoise_cli.imaging.colour import SRGB_TO_XYZ
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.io.development import camera_to_srgb, preview
from denoise_cli.io.dng import (
    AS_SHOT_NEUTRAL,
    AS_SHOT_WHITE,
    CROP_ORIGIN,
    CROP_SIZE,
    DigitalNegative,
    colour_tags,
    tags_to_keep,
)
from denoise_cli.io.exif import LONG, RATIONAL, Directory, Exif
from denoise_cli.io.metadata import IPTC_TAG, ORIENTATION, XMP_TAG, camera_name
from denoise_cli.io.raw import RGB, WHITE, Numbers, RawFile

ORIENTATIONS = (1, 2, 4, 3, 5, 8, 6, 7)  # EXIF's number for each value of LibRaw's `flip`
UNKNOWN_CAMERA = "Unknown"


def mosaic_dng(raw: RawFile, numbers: Numbers, noise: ShotRead | None) -> DigitalNegative:
    """A DNG of a Bayer mosaic.

    Args:
        raw: the file, which has no `obstacle`.
        numbers: (H, W) of its photosites, in its own scale.
        noise: that they still have, as shares of white; None if unknown.

    Raises:
        UnreadableFile: LibRaw cannot develop the file, for the preview.
    """
    black = tuple(float(number) for number in raw.black_of_pattern.flat)
    return _build(raw, numbers, noise, values=numbers, phase=raw.phase, black=black, white=raw.white)


def linear_dng(
    raw: RawFile, linear: Numbers, noise: ShotRead | None, numbers: Numbers | None = None
) -> DigitalNegative:
    """A DNG of a demosaiced picture.

    Args:
        raw: the file.
        linear: (H, W, 3), as `camera_light` gives it.
        noise: that it still has, as shares of white; None if unknown.
        numbers: of the photosites, for the preview; None for the file's own.

    Raises:
        UnreadableFile: LibRaw cannot develop the file, for the preview.
    """
    values = np.rint(linear / raw.gains).astype(np.uint16)  # raw converters apply the white balance themselves
    return _build(raw, numbers, noise, values=values, phase=None, black=(0.0,), white=WHITE)


def camera_light(raw: RawFile, numbers: Numbers | None = None) -> Numbers:
    """The demosaiced picture for `linear_dng`.

    Args:
        raw: the file.
        numbers: (H, W) of its photosites; None for its own.

    Returns:
        (H, W, 3), linear light in the camera's balanced colours, 65535 as white; not turned upright.

    Raises:
        UnreadableFile: LibRaw cannot develop it, or the sensor has four colours.
    """
    linear = raw.develop(numbers, colours="camera", upright=False)
    if linear.shape[-1] != RGB:
        raise UnreadableFile(
            raw.name, f"its {linear.shape[-1]} colours do not fit into a linear DNG: choose .tif or .png"
        )
    return linear


def _build(
    raw: RawFile,
    numbers: Numbers | None,
    noise: ShotRead | None,
    *,
    values: Numbers,
    phase: Phase | None,
    black: tuple[float, ...],
    white: int,
) -> DigitalNegative:
    """A DNG of these values, with the file's tags and a preview of `numbers`; without a phase, not a mosaic."""
    camera, picture = _tags(raw, is_mosaic=phase is not None)
    return DigitalNegative(
        values=values,
        phase=phase,
        black=black,
        white=white,
        camera=camera,
        exif=raw.exif,
        orientation=_orientation(raw),
        noise=noise,
        preview=preview(raw, numbers),
        picture=picture,
    )


def _tags(raw: RawFile, is_mosaic: bool) -> tuple[Directory, Directory]:
    """Tags about the camera, with XMP and IPTC, and tags about the picture."""
    exif = raw.exif
    camera, picture = (
        tags_to_keep(raw.data, is_mosaic) if raw.is_dng else (_camera_tags(raw, exif), _crop_tags(raw, exif))
    )
    if not {AS_SHOT_NEUTRAL, AS_SHOT_WHITE} & set(camera):
        camera = camera | {AS_SHOT_NEUTRAL: exif.packed(RATIONAL, raw.gains.min() / raw.gains)}
    return {tag: value for tag, value in exif.main.items() if tag in (XMP_TAG, IPTC_TAG)} | camera, picture


def _camera_tags(raw: RawFile, exif: Exif) -> Directory:
    matrix = raw.xyz_to_camera
    if raw.is_grey:
        matrix = np.linalg.inv(SRGB_TO_XYZ)
    elif not matrix.any():
        matrix = np.diag(1 / raw.gains) @ np.linalg.inv(SRGB_TO_XYZ @ camera_to_srgb(raw))
    neutral = 1 / raw.gains
    return colour_tags(exif, matrix, neutral / neutral.max(), camera_name(exif) or UNKNOWN_CAMERA)


def _crop_tags(raw: RawFile, exif: Exif) -> Directory:
    """The crop that the camera's maker intends, if LibRaw knows it."""
    sizes = raw.sizes
    left, top = sizes.crop_left_margin - sizes.left_margin, sizes.crop_top_margin - sizes.top_margin
    right, bottom = left + sizes.crop_width, top + sizes.crop_height
    if not (0 <= left < right <= sizes.width and 0 <= top < bottom <= sizes.height):
        return {}
    return {
        CROP_ORIGIN: exif.packed(LONG, (left, top)),
        CROP_SIZE: exif.packed(LONG, (sizes.crop_width, sizes.crop_height)),
    }


def _orientation(raw: RawFile) -> int:
    stored = raw.exif.number(raw.exif.main.get(ORIENTATION)) if raw.is_dng else None
    return stored if stored is not None and 1 <= stored <= 8 else ORIENTATIONS[raw.sizes.flip & 7]
