"""Photos from camera RAW: LibRaw's linear pictures, sRGB-encoded, with the file's metadata.

Legend: H x W pixels.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.imaging.pixels import from_float
from denoise_cli.imaging.transfer import linear_to_srgb
from denoise_cli.io.camera_exif import with_adobe_note
from denoise_cli.io.dng import RGB, tags_of_picture
from denoise_cli.io.exif import Exif
from denoise_cli.io.frame import sensor_view, upright
from denoise_cli.io.metadata import IPTC_TAG, XMP_TAG, Metadata, keep_descriptive, split_orientation, within_limit
from denoise_cli.io.photo import WHITE, Photo
from denoise_cli.io.raw import Numbers, Picture, RawFile
from denoise_cli.io.xmp import without_raw_settings

BASELINE_EXPOSURE = 50730  # tags
BASELINE_EXPOSURE_OFFSET = 51109
MOST_STOPS = 8.0
PREVIEW_SIDE = 1024  # pixels, the longer side
STRIP = 256  # rows per table lookup: an index array takes four times the memory of the values
# Colours are compared in pixels that are neither nearly black nor nearly white in either development.
DARKEST = WHITE // 100
BRIGHTEST = WHITE * 9 // 10
MIN_PIXELS = 100  # for the comparison


def developed(raw: RawFile) -> Photo:
    """The picture that LibRaw develops from the file's own numbers; raises what `RawFile.develop` does."""
    return as_photo(raw, raw.develop())


def as_photo(raw: RawFile, linear: Picture) -> Photo:
    """The photo of a linear picture, (H, W, 3) from `RawFile.develop` in sRGB's colours.

    Returns:
        The part that is to be seen, brightened and corrected as the file asks for, with 16 bits. Its notes name what
        the file asks for but did not get.
    """
    seen = _seen(raw, sensor_view(linear, raw.sizes.flip))
    pixels = np.ascontiguousarray(upright(_rendered(raw, seen), raw.sizes.flip))
    exif = with_adobe_note(raw.exif)
    xmp, iptc = (exif.main[tag].data if tag in exif.main else None for tag in (XMP_TAG, IPTC_TAG))
    _, packed = split_orientation(keep_descriptive(exif))  # LibRaw has already turned the picture upright
    notes = unmade_note((*raw.unmade_operations, *raw.after_demosaicing.unknown))
    metadata, too_large = within_limit(Metadata(exif=packed, xmp=xmp and without_raw_settings(xmp), iptc=iptc))
    return Photo(pixels, alpha=None, kind="raw", metadata=metadata, notes=notes + too_large)


def unmade_note(operations: Iterable[str]) -> tuple[str, ...]:
    """What to tell the user about operations, by their names, that the file asks for and that are not made."""
    names = ", ".join(dict.fromkeys(operations))
    return (f"corrections that the file asks for and that are not made: {names}",) if names else ()


def preview(raw: RawFile, numbers: Numbers | None) -> NDArray[np.uint8]:
    """A small picture for a DNG: (h, w, 3), rendered as `as_photo` does it, in the sensor's orientation.

    Args:
        raw: the file.
        numbers: (H, W) of its photosites; None for its own.
    """
    is_small = not raw.after_demosaicing.known  # which are about pixels of the whole picture
    seen = _seen(raw, raw.develop(numbers, upright=False, half_size=is_small), 2 if is_small else 1)
    encoded = np.right_shift(_rendered(raw, seen), 8).astype(np.uint8)
    picture = Image.fromarray(np.repeat(encoded, RGB // encoded.shape[2], axis=2))
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return np.asarray(picture)


def camera_to_srgb(raw: RawFile) -> NDArray[np.float64]:
    """(3, 3), from the camera's balanced colours to sRGB's, fitted to two developments: LibRaw hides its own tables.

    Returns:
        The matrix; the identity if there are too few usable pixels.
    """
    # Photos may have few colours. Photosites in disorder have many, and the matrix is the same.
    numbers = None if raw.numbers.ndim > 2 else _disorder(raw)
    camera, srgb = (
        raw.develop(numbers, colours=colours, half_size=True).reshape(-1, RGB) for colours in ("camera", "srgb")
    )
    usable = np.logical_and(*((one > DARKEST) & (one < BRIGHTEST) for one in (camera, srgb))).all(axis=1)
    if np.count_nonzero(usable) < MIN_PIXELS:
        return np.eye(RGB)
    found, *_ = np.linalg.lstsq(camera[usable].astype(np.float64), srgb[usable].astype(np.float64), rcond=None)
    return found.T.astype(np.float64)


def _disorder(raw: RawFile) -> Numbers:
    """Random numbers for all photosites, so far below white that no gain of the white balance clips most of them."""
    rng = np.random.default_rng(0)
    least = int(raw.black.max())
    return rng.integers(least, least + (raw.white - least) // 2 + 1, raw.numbers.shape, np.uint16)


def _seen(raw: RawFile, linear: Picture, scale: int = 1) -> Picture:
    """The part of a linear picture, not turned upright, that is to be seen; all of it if LibRaw has reshaped it."""
    sides = tuple(-(-side // scale) for side in (raw.sizes.height, raw.sizes.width))
    return raw.frame.seen(linear, scale) if linear.shape[:2] == sides else linear


def _rendered(raw: RawFile, linear: Picture) -> Picture:
    """The part of a linear picture that is to be seen, corrected and encoded: (H, W, 3), or (H, W, 1) if it is grey."""
    table = _encoding(_exposure(raw))
    values = linear[..., :1] if raw.is_grey else linear
    correct = _correction(raw)
    pixels = np.empty_like(values, order="C")
    for top in range(0, len(values), STRIP):
        strip = values[top : top + STRIP]
        pixels[top : top + STRIP] = table[strip if correct is None else correct(strip, top)]
    return pixels


def _encoding(exposure: float) -> Picture:
    """(65536,), each value of a linear picture brightened by a number of stops and encoded as sRGB."""
    # There are only 65536 possible values: a table is cheaper than 36 million powers.
    light = np.linspace(0, 1, WHITE + 1, dtype=np.float32) * np.float32(2**exposure)
    encoded: Picture = from_float(linear_to_srgb(np.minimum(light, 1)), np.dtype(np.uint16))  # type: ignore[assignment]
    return encoded


def _exposure(raw: RawFile) -> float:
    """Stops by which a DNG wants to be brightened: of the camera, and of the profile."""
    tags = tags_of_picture(raw.data) if raw.is_dng else Exif()
    stops = sum(sum(tags.numbers(tags.main.get(tag))[:1]) for tag in (BASELINE_EXPOSURE, BASELINE_EXPOSURE_OFFSET))
    return min(max(stops, -MOST_STOPS), MOST_STOPS)


def _correction(raw: RawFile) -> Callable[[Picture, int], Picture] | None:
    """What the file asks to be done after demosaicing, for rows from a number on of the part that is to be seen."""
    if not raw.after_demosaicing.known:
        return None
    start = raw.frame.from_pixel(raw.frame.rows[0], raw.frame.columns[0])
    # It is about the camera's colours. Factors that are the same for all colours can wait until these are sRGB's.
    alike = raw.after_demosaicing.treat_colours_alike or raw.is_grey
    to_srgb = np.eye(RGB) if alike else camera_to_srgb(raw) * raw.gains
    to_camera = np.linalg.inv(to_srgb)

    def correct(strip: Picture, row: int) -> Picture:
        light = np.divide(strip, WHITE, dtype=np.float32)
        if not alike:
            light = (light @ to_camera.T).astype(np.float32)
        raw.after_demosaicing.apply(light, start.from_pixel(row))
        if not alike:
            light = light @ to_srgb.T
        return np.rint(light * WHITE).clip(0, WHITE).astype(np.uint16)

    return correct
