"""DNGs from open RAW files: with a DNG's own tags, or for other files with what LibRaw knows about the camera.

Legend: H x W photosites or pixels.
"""

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.colour import SRGB_TO_XYZ
from denoise_cli.imaging.filters import ColourFilters
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.io.development import camera_to_srgb, preview
from denoise_cli.io.dng import (
    AS_SHOT_NEUTRAL,
    AS_SHOT_WHITE,
    CROP_ORIGIN,
    CROP_SIZE,
    FRAME_TAGS,
    LEVEL_TAGS,
    OPCODE_LIST_1,
    RGB,
    Area,
    DigitalNegative,
    active_area,
    colour_tags,
    lossy_compression,
    picture_size,
    stated_black,
    tags_of_picture,
    tags_to_keep,
)
from denoise_cli.io.exif import BYTE, LONG, RATIONAL, Directory, Exif, Value
from denoise_cli.io.frame import crop_of_libraw
from denoise_cli.io.metadata import IPTC_TAG, ORIENTATION, UNIQUE_CAMERA_MODEL, XMP_TAG, camera_name
from denoise_cli.io.opcodes import operation_names
from denoise_cli.io.photo import WHITE, Photo
from denoise_cli.io.raw import Numbers, RawFile
from denoise_cli.io.xmp import mark_denoised

CompressionChoice = Literal["auto", "jpeg", "jxl"]
COMPRESSION_CHOICES: dict[str, CompressionChoice] = {"auto": "auto", "jpeg": "jpeg", "jxl": "jxl"}

ORIENTATIONS = (1, 2, 4, 3, 5, 8, 6, 7)  # EXIF's number for each value of LibRaw's `flip`
UNKNOWN_CAMERA = "Unknown"
# LibRaw takes floating point as it is if white or the largest value is between 4096 and this; otherwise it scales the
# largest to its own white.
LARGEST_FLOAT = 32767
HALF = 16  # bits of half precision
SHADOWS = 0.9  # of white: up to here, merged exposures are developed with white at 65535, which keeps their shadows
ROUNDING = 1.5  # LibRaw's, of black levels and of their differences between rows and columns


def mosaic_dng(raw: RawFile, numbers: Numbers, noise: ShotRead | None, removed: float = 0.0) -> DigitalNegative:
    """A DNG of a mosaic; of a DNG's, with its masked borders.

    Args:
        raw: the file, which has no `obstacle`.
        numbers: (H, W) of its photosites, in its own scale.
        noise: that they still have, as shares of white; None if unknown.
        removed: the share of their noise that was removed.

    Raises:
        UnreadableFile: LibRaw cannot develop the file, for the preview.
    """
    is_whole = raw.is_dng and raw.area == active_area(raw.data)
    values, white = raw.frame_with(numbers) if is_whole else numbers, raw.white
    if raw.is_float:
        values, white = _as_floating_point(raw, values)
    return _build(
        raw,
        numbers,
        noise,
        removed,
        raw.area,
        values=values,
        area=raw.area if is_whole else None,
        filters=raw.filters,
        black=tuple(float(number) for number in raw.black_of_pattern.flat),
        white=white,
    )


def lost_note(raw: RawFile, written: DigitalNegative) -> tuple[str, ...]:
    """What to tell the user about parts of a DNG's mosaic that are not in its copy."""
    if not raw.is_dng:
        return ()
    lost = []
    if active_area(raw.original) != (0, 0, *written.shape) and written.shape != picture_size(raw.original):
        lost.append("masked borders")
    operations = tags_of_picture(raw.original).main.get(OPCODE_LIST_1)
    if operations is not None and OPCODE_LIST_1 not in written.picture:
        lost.append(f"corrections for the whole sensor ({', '.join(operation_names(operations.data))})")
    return (f"not kept in the DNG: {', '.join(lost)}",) if lost else ()


def linear_dng(
    raw: RawFile, linear: Numbers, noise: ShotRead | None, numbers: Numbers | None = None, removed: float = 0.0
) -> DigitalNegative:
    """A DNG of a demosaiced picture.

    Args:
        raw: the file.
        linear: (H, W, 3), as `camera_light` gives it.
        noise: that it still has, as shares of white; None if unknown.
        numbers: of the photosites, for the preview; None for the file's own.
        removed: the share of its noise that was removed.

    Raises:
        UnreadableFile: LibRaw cannot develop the file, for the preview.
    """
    values: Numbers = linear / raw.gains  # raw converters apply the white balance themselves
    if raw.is_grey:
        values = values[..., 0]
    values, white = (
        _as_floating_point(raw, values / WHITE) if raw.is_float else (np.rint(values).astype(np.uint16), WHITE)
    )
    return _build(raw, numbers, noise, removed, raw.developed_area, values=values, black=(0.0,), white=white)


def compressed_as(raw: RawFile, negative: DigitalNegative, wanted: CompressionChoice) -> DigitalNegative:
    """The DNG of a file with the compression that is wanted; "auto" is lossless JPEG, but lossy where the file is.

    That is for linear light: compressed without loss, it would be ten times as large as the file. A mosaic is not
    compressed with loss, and floating point is always compressed by Deflate.
    """
    if raw.is_float:
        return negative
    lossy = (
        lossy_compression(raw.original) if raw.is_dng and negative.filters is None and negative.colours == RGB else None
    )
    return replace(negative, compression=lossy or "jpeg" if wanted == "auto" else wanted)


def camera_light(raw: RawFile, numbers: Numbers | None = None) -> Numbers:
    """The demosaiced picture for `linear_dng`.

    Args:
        raw: the file.
        numbers: (H, W) of its photosites; None for its own.

    Returns:
        (H, W, 3), linear light in the camera's balanced colours, 65535 as white; not turned upright. Of files in
        floating point it is float32, and light beyond white is not clipped.

    Raises:
        UnreadableFile: LibRaw cannot develop it, or the sensor has four colours.
    """
    if raw.is_float:
        return _merged_light(raw, raw.numbers if numbers is None else numbers)
    linear = raw.develop(numbers, colours="camera", upright=False)
    if linear.shape[-1] != RGB:
        raise UnreadableFile(
            raw.name, f"its {linear.shape[-1]} colours do not fit into a linear DNG: choose .tif or .png"
        )
    return linear


def _merged_light(raw: RawFile, numbers: Numbers) -> Numbers:
    """`camera_light` of floating point, which LibRaw would clip at white."""
    if numbers.ndim == RGB or raw.is_grey:
        each = np.atleast_3d(numbers)[..., :RGB]
        return np.multiply(each, raw.gains * WHITE, dtype=np.float32)
    linear = raw.develop(numbers, colours="camera", upright=False).astype(np.float32)
    largest = float(numbers.max())
    if largest > 1:
        beyond = raw.develop(numbers / np.float32(largest), colours="camera", upright=False) * np.float32(largest)
        is_bright = linear > SHADOWS * WHITE
        linear[is_bright] = beyond[is_bright]
    return linear


def _as_floating_point(raw: RawFile, light: Numbers) -> tuple[Numbers, int]:
    """Light, of any shape with 1 as white, in the file's own precision, and the number for white in the result."""
    largest = max(float(light.max()), 1.0)
    white = max(2 ** math.floor(math.log2(LARGEST_FLOAT / largest)), 1)
    return (light * np.float32(white)).astype(np.float16 if raw.bits <= HALF else np.float32), white


def _build(
    raw: RawFile,
    numbers: Numbers | None,
    noise: ShotRead | None,
    removed: float,
    shown: Area,
    *,
    values: Numbers,
    black: tuple[float, ...],
    white: int,
    filters: ColourFilters | None = None,
    area: Area | None = None,
) -> DigitalNegative:
    """A DNG of these values, with the file's tags and a preview of `numbers`; without filters, not a mosaic.

    `shown` is the part of the file's photosites that makes the picture; `area` is the part of `values` that does, if
    they hold all photosites of the file.
    """
    exif = raw.exif
    camera, picture = (
        _tags_of_dng(raw, filters is not None, area is not None, shown)
        if raw.is_dng
        else (_camera_tags(raw), _crop_tags(raw))
    )
    if not raw.is_grey and not {AS_SHOT_NEUTRAL, AS_SHOT_WHITE} & set(camera):
        camera |= {AS_SHOT_NEUTRAL: exif.packed(RATIONAL, raw.gains.min() / raw.gains)}
    return DigitalNegative(
        values=values,
        filters=filters,
        black=black,
        white=white,
        camera=camera | _notes(exif, removed),
        exif=exif,
        orientation=_orientation(raw),
        noise=noise,
        preview=_in_camera_tone(raw, preview(raw, numbers)),
        picture=picture,
        area=area,
        removed=removed,
        compression="deflate" if raw.is_float else "jpeg",
    )


def _in_camera_tone(raw: RawFile, small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A preview in the tone of the file's own, from which other programs may take their tone curve."""
    from denoise_cli.io.camera_tone import with_camera_tone  # imports SciPy, which photos do without

    return with_camera_tone(raw, Photo(small, None, "raw")).as_rgb8()


def _notes(exif: Exif, removed: float) -> Directory:
    """XMP and IPTC."""
    notes = {tag: exif.main[tag] for tag in (XMP_TAG, IPTC_TAG) if tag in exif.main}
    if removed:
        notes[XMP_TAG] = Value(BYTE, mark_denoised(notes[XMP_TAG].data if XMP_TAG in notes else None))
    return notes


def _tags_of_dng(raw: RawFile, is_mosaic: bool, is_whole: bool, shown: Area) -> tuple[Directory, Directory]:
    """Tags about the camera, and about the picture, of a copy that holds the whole frame or only what is shown."""
    camera, picture = tags_to_keep(raw.data, is_mosaic)
    untrue = set() if is_whole else FRAME_TAGS
    # RawTherapee takes a single black level for that of a few photosites of an X-Trans mosaic only.
    each_told = is_mosaic and raw.filters.kind == "xtrans"
    if not is_whole or each_told or not _has_black_of_file(raw):
        untrue = untrue | LEVEL_TAGS
    own = active_area(raw.data)
    crop = _crop_inside(picture, raw.exif, own, shown) if own and {CROP_ORIGIN, CROP_SIZE} <= set(picture) else {}
    return camera, {tag: value for tag, value in picture.items() if tag not in untrue} | crop


def _has_black_of_file(raw: RawFile) -> bool:
    """Whether the black levels that the file states are those of the numbers, which they were read with."""
    known = raw.black_of_pattern
    stated = stated_black(raw.data, known.shape)
    return stated is not None and bool((np.abs(stated - known) <= ROUNDING).all())


def _crop_inside(picture: Directory, exif: Exif, own: Area, shown: Area) -> Directory:
    """The crop of a file's `own` area, counted from the part of it that is shown, and no larger than that."""
    origin, size = (exif.numbers(picture[tag]) for tag in (CROP_ORIGIN, CROP_SIZE))
    if own == shown or len(origin) != 2 or len(size) != 2:
        return {}
    starts, sizes = [], []
    for axis in (1, 0):  # a crop's numbers begin with the horizontal one, an area's with the vertical one
        length = shown[axis + 2] - shown[axis]
        start = min(max(origin[1 - axis] + own[axis] - shown[axis], 0), length)
        starts.append(start)
        sizes.append(min(size[1 - axis], length - start))
    return {CROP_ORIGIN: exif.packed(RATIONAL, starts), CROP_SIZE: exif.packed(RATIONAL, sizes)}


def _camera_tags(raw: RawFile) -> Directory:
    exif = raw.exif
    camera = camera_name(exif) or UNKNOWN_CAMERA
    if raw.is_grey:
        return {UNIQUE_CAMERA_MODEL: exif.text(camera)}
    matrix = raw.xyz_to_camera
    if not matrix.any():
        matrix = np.diag(1 / raw.gains) @ np.linalg.inv(SRGB_TO_XYZ @ camera_to_srgb(raw))
    neutral = 1 / raw.gains
    return colour_tags(exif, matrix, neutral / neutral.max(), camera)


def _crop_tags(raw: RawFile) -> Directory:
    """The crop that the camera's maker intends, if LibRaw knows it."""
    crop = crop_of_libraw(raw.sizes)
    if crop is None:
        return {}
    exif, (top, left, height, width) = raw.exif, crop
    return {CROP_ORIGIN: exif.packed(LONG, (left, top)), CROP_SIZE: exif.packed(LONG, (width, height))}


def _orientation(raw: RawFile) -> int:
    stored = raw.exif.number(raw.exif.main.get(ORIENTATION)) if raw.is_dng else None
    return stored if stored is not None and 1 <= stored <= 8 else ORIENTATIONS[raw.sizes.flip & 7]
