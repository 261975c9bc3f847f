"""Colour profiles (ICC): made for colours that a file states by numbers, and compared with sRGB."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from denoise_cli.imaging.transfer import srgb_to_linear
from denoise_cli.io.codecs import load_imagecodecs

CURVE_POINTS = 1024
COMPARED = 9  # levels of each colour
ROUNDING = 1  # of 255: profiles of the same colours differ by so much
GREY = b"GRAY"  # the colour space in a profile's header
COLOUR_SPACE = slice(16, 20)
D65 = (0.3127, 0.3290)
SRGB_CURVE = srgb_to_linear(np.linspace(0, 1, CURVE_POINTS, dtype=np.float32))


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
    if primaries is None:
        return bytes(codecs.cms_profile("gray", whitepoint=(*white, 1), **encoding))
    return bytes(codecs.cms_profile("rgb", whitepoint=(*white, 1), primaries=primaries, **encoding))


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


def is_srgb(icc: bytes) -> bool:
    """Whether a profile, for RGB or grey, says what a file without a profile means: sRGB."""
    is_grey = icc[COLOUR_SPACE] == GREY
    levels = np.linspace(0, 255, COMPARED).round().astype(np.uint8)
    colours = (
        levels[:, None] if is_grey else np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(COMPARED, -1, 3)
    )
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
