"""Colour profiles (ICC): made for colours that a file states by numbers, compared with sRGB, and their curves.

Source: ICC.1:2022, sections 7.3 (the list of tags), 9.2.17 (cicp) and 10.6 (curves).
"""

import struct
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from denoise_cli.imaging.transfer import LINEAR, srgb_to_linear
from denoise_cli.io.codecs import load_imagecodecs

CURVE_POINTS = 1024
COMPARED = 9  # levels of each colour
ROUNDING = 1  # of 255: profiles of the same colours differ by so much
GREY, RGB = b"GRAY", b"RGB "  # the colour space in a profile's header
COLOUR_SPACE = slice(16, 20)
DATE = slice(24, 36)
MADE = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)  # the same at all times, so that a photo always becomes the same file
D65 = (0.3127, 0.3290)
SRGB_CHROMATICITIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
SRGB_EXPONENT = 2.2  # nearly
NEARLY_SAME_GAMMA = 0.05  # relative: libpng takes such values for equal
NEARLY_SAME_COLOUR = 0.01  # in x and y
SRGB_CURVE = srgb_to_linear(np.linspace(0, 1, CURVE_POINTS, dtype=np.float32))
EVEN = np.linspace(0, 1, CURVE_POINTS)
BT709_CURVE = np.where(EVEN < 0.081, EVEN / 4.5, ((EVEN + 0.099) / 1.099) ** (1 / 0.45))
TAGS_START = 128  # of a profile, where the list of its tags begins
MAX_TAGS = 1000
CHANNEL_CURVES = (b"rTRC", b"gTRC", b"bTRC")
STRAIGHT = 1e-3  # a curve that is nowhere further from a straight line


def icc_profile(
    white: tuple[float, ...], primaries: tuple[float, ...] | None, curve: np.ndarray | float = SRGB_CURVE
) -> bytes:
    """An ICC profile.

    Args:
        white: x and y of the white point.
        primaries: x and y of red, green and blue; None for grey.
        curve: linear light for evenly spaced values from 0 to 1, or its exponent.

    Raises:
        MissingDependency: imagecodecs is not installed.
        RuntimeError: there are no such colours.
    """
    encoding = {"gamma": curve} if isinstance(curve, float) else {"transferfunction": curve.astype(np.float32)}
    codecs = load_imagecodecs()
    colours = {} if primaries is None else {"primaries": primaries}
    kind = "gray" if primaries is None else "rgb"
    profile = bytes(codecs.cms_profile(kind, whitepoint=(*white, 1), **colours, **encoding))
    return profile[: DATE.start] + MADE + profile[DATE.stop :]


def profile_of_gamma(
    gamma: float | None, chromaticities: tuple[float, ...] | None, is_grey: bool = False
) -> bytes | None:
    """The ICC profile that says the same as a PNG's gAMA and cHRM.

    Args:
        gamma: the exponent by which values were made from light; None for sRGB's curve.
        chromaticities: x and y of white, red, green and blue; None for sRGB's.
        is_grey: whether it is for greyscale.

    Returns:
        None if both are about those of sRGB, or if there are no such colours.
    """
    is_usual = gamma is None or abs(gamma * SRGB_EXPONENT - 1) < NEARLY_SAME_GAMMA
    has_usual_colours = is_grey or chromaticities is None or are_of_srgb(chromaticities)
    if is_usual and has_usual_colours:
        return None
    white, primaries = (chromaticities or D65)[:2], (chromaticities or (*D65, *SRGB_CHROMATICITIES))[2:]
    try:
        return icc_profile(white, None if is_grey else primaries, SRGB_CURVE if gamma is None else 1 / gamma)
    except RuntimeError:
        return None


def are_of_srgb(chromaticities: tuple[float, ...]) -> bool:
    """Whether x and y of white, red, green and blue are about those of sRGB."""
    return bool(np.abs(np.subtract(chromaticities, (*D65, *SRGB_CHROMATICITIES))).max() < NEARLY_SAME_COLOUR)


def grey_to_srgb(icc: bytes) -> np.ndarray:
    """The values in sRGB, (256,) uint8, of the 256 values of greyscale with a profile.

    Raises:
        ValueError: the profile is damaged or not for greyscale; with a message for the user.
    """
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    profiles = (BytesIO(icc), BytesIO(icc_profile(D65, None)))
    try:
        # Optimised, LittleCMS makes the shadows of a linear profile too dark by up to 10 of 255.
        converted = ImageCms.profileToProfile(
            ramp, *profiles, ImageCms.Intent.RELATIVE_COLORIMETRIC, flags=ImageCms.Flags.NOOPTIMIZE
        )
        return np.asarray(converted)[0]
    except (ImageCms.PyCMSError, OSError) as error:
        raise ValueError("its colour profile cannot be applied, and the format holds RGB alone: choose .png") from error


def is_srgb(icc: bytes, neutral: bool = False) -> bool:
    """Whether a profile, for RGB or grey, says what a file without a profile means: sRGB.

    Args:
        icc: the profile.
        neutral: whether only black, greys and white are compared.
    """
    is_grey = icc[COLOUR_SPACE] == GREY
    levels = np.linspace(0, 255, COMPARED).round().astype(np.uint8)
    if is_grey:
        colours = levels[:, None]
    elif neutral:
        colours = np.repeat(levels[:, None, None], 3, axis=2)
    else:
        colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(COMPARED, -1, 3)
    picture = Image.fromarray(colours)
    srgb = icc_profile(D65, None) if is_grey else ImageCms.createProfile("sRGB")
    try:
        converted = ImageCms.profileToProfile(
            picture,
            BytesIO(icc),
            BytesIO(srgb) if isinstance(srgb, bytes) else ImageCms.ImageCmsProfile(srgb),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError):
        return False
    return bool(np.abs(np.asarray(converted).astype(int) - colours).max() <= ROUNDING)


def numbers_of(icc: bytes) -> tuple[int, int] | None:
    """The primaries and the transfer function that a profile states by code points; None if it does not."""
    try:
        stated = _tags_of(icc).get(b"cicp")
        return None if stated is None else (stated[8], stated[9])
    except (struct.error, IndexError):
        return None


def transfer_of(icc: bytes) -> int | None:
    """The transfer function of a profile, as a code point in ITU-T H.273: the one that it states, or `LINEAR`.

    Returns:
        None if the profile states none and is not linear, or if it is damaged.
    """
    try:
        tags = _tags_of(icc)
        if (stated := tags.get(b"cicp")) is not None:
            return stated[9]
        curves = [_curve(tags[name]) for name in ((b"kTRC",) if icc[COLOUR_SPACE] == GREY else CHANNEL_CURVES)]
    except (struct.error, LookupError):
        return None
    is_linear = all(curve is not None and np.abs(curve - EVEN).max() <= STRAIGHT for curve in curves)
    return LINEAR if is_linear else None


def _tags_of(icc: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", icc, TAGS_START)
    entries = struct.iter_unpack(">4sII", icc[TAGS_START + 4 : TAGS_START + 4 + 12 * min(count, MAX_TAGS)])
    return {name: icc[start : start + length] for name, start, length in entries}


def _curve(tag: bytes) -> np.ndarray | None:
    """Light at evenly spaced values from 0 to 1; None for curves with parameters besides an exponent."""
    if tag[:4] == b"para":
        kind, exponent = struct.unpack_from(">HxxI", tag, 8)
        return EVEN ** (exponent / 65536) if kind == 0 else None
    (count,) = struct.unpack_from(">I", tag, 8)
    if tag[:4] != b"curv" or count > len(tag) // 2:
        return None
    if count <= 1:
        return EVEN ** (tag[12] + tag[13] / 256) if count else EVEN
    points = np.frombuffer(tag, ">u2", count, 12) / 65535
    return np.interp(EVEN, np.linspace(0, 1, count), points)
