"""Colours of any kind as sRGB: those of a profile, the inks of CMYK, and Lab."""

from dataclasses import replace

import numpy as np

from denoise_cli.imaging.lab import LabEncoding
from denoise_cli.imaging.pixels import from_float, inverted, to_float
from denoise_cli.io.codecs import load_imagecodecs
from denoise_cli.io.exif import pack, parse
from denoise_cli.io.exr import CHROMATICITIES
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.native import still_true
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import COLOUR_SPACE, D65, icc_profile, is_srgb

RELATIVE_COLORIMETRIC = 1  # the intent that maps white to white and keeps what fits
SPACES = {b"GRAY": ("gray", 1), b"RGB ": ("rgb", 3), b"CMYK": ("cmyk", 4)}  # by a profile's header, with channels
# What EXIF says of colours: TransferFunction, WhitePoint, PrimaryChromaticities and Gamma; ColorSpace; the index of
# interoperability, which is R03 for Adobe RGB.
CURVE_AND_PRIMARIES = {301, 318, 319, 42240}
COLOUR_SPACE_TAG, SRGB_IN_EXIF = 40961, 1
INTEROPERABILITY, OF_SRGB = 1, "R98"
CLIPPED = "light beyond white and below black is clipped by the conversion to sRGB"
PRINTED_PLAINLY = "no profile says what its inks look like: converted to sRGB as if each took its share of the light"


def to_srgb(photo: Photo) -> Photo:
    """A photo with sRGB's colours, in the bit depth of its file, without profile and code points. Grey stays grey.

    Integers with a sign stay as they are: they have no colours. Metadata no longer states other colours.

    Raises:
        MissingDependency: imagecodecs is not installed.
        ValueError: it is HDR, or the profile is damaged or not for these channels; with a message for the user.
    """
    converted = _with_srgb_colours(photo)
    if converted.pixels is photo.pixels:
        return converted
    natives, notes = still_true(photo.metadata.natives, is_converted=True)
    metadata = replace(_stating_srgb(converted.metadata), natives=natives)
    return replace(converted, metadata=metadata, notes=converted.notes + notes)


def _stating_srgb(meta: Metadata) -> Metadata:
    """Metadata whose EXIF states the colours of sRGB wherever it stated others."""
    exif = parse(meta.exif or b"")
    for directory in (exif.main, exif.exif):
        for tag in CURVE_AND_PRIMARIES & set(directory):
            del directory[tag]
    if COLOUR_SPACE_TAG in exif.exif:
        exif.exif[COLOUR_SPACE_TAG] = exif.short(SRGB_IN_EXIF)
    if INTEROPERABILITY in exif.interop:
        exif.interop[INTEROPERABILITY] = exif.text(OF_SRGB)
    exr = None if meta.exr is None else {name: value for name, value in meta.exr.items() if name != CHROMATICITIES}
    return replace(meta, exif=pack(exif) if exif else None, exr=exr)


def _with_srgb_colours(photo: Photo) -> Photo:
    is_grey = photo.pixels.shape[2] == 1
    icc, cicp = photo.metadata.profile(is_grey), photo.metadata.cicp
    if cicp is not None:
        if cicp.is_hdr:
            raise ValueError(f"HDR ({cicp.name}) reaches beyond sRGB: leave it out")
        icc = cicp.profile(is_grey)
    photo = replace(photo, metadata=replace(photo.metadata, icc=None, cicp=None, gamma=None, chromaticities=None))
    if photo.lab is not None:
        return without_lab(photo, photo.lab)
    if icc is None and photo.black is not None:
        return replace(
            photo,
            pixels=photo.light,
            black=None,
            notes=(*photo.notes, PRINTED_PLAINLY),
        )
    if icc is None or photo.is_signed or (photo.black is None and is_srgb(icc)):
        return photo
    values = photo.pixels if photo.black is None else np.dstack([inverted(photo.pixels), inverted(photo.black)])
    space, channels = SPACES.get(icc[COLOUR_SPACE], ("", 0))
    if channels != values.shape[2]:
        raise ValueError("its colour profile is not for its colours: remove the profile first")
    notes = (
        (*photo.notes, CLIPPED)
        if values.dtype == np.float32 and (values.min() < 0 or values.max() > 1)
        else photo.notes
    )
    return replace(photo, pixels=_converted(values, icc, space), black=None, notes=notes)


def without_lab(photo: Photo, lab: LabEncoding) -> Photo:
    """A photo from Lab in the bit depth in which its file stores that, for formats that do not hold it."""
    dtype = np.dtype(lab.dtype)
    alpha = None if photo.alpha is None else from_float(to_float(photo.alpha), dtype)
    return replace(photo, pixels=from_float(photo.as_float(), dtype), alpha=alpha, lab=None)


def _converted(values: np.ndarray, icc: bytes, space: str) -> np.ndarray:
    """(H, W, 1) for grey, else (H, W, 3), of the same type."""
    codecs = load_imagecodecs()
    is_grey = space == "gray"
    try:
        converted = codecs.cms_transform(
            np.ascontiguousarray(values[..., 0] if is_grey else values),
            icc,
            icc_profile(D65, None) if is_grey else codecs.cms_profile("srgb"),
            colorspace=space,
            outcolorspace="gray" if is_grey else "rgb",
            intent=RELATIVE_COLORIMETRIC,
            # A table of few points, which Little CMS would compute 16 bits by, is wrong by up to a twelfth of white.
            flags=codecs.CMS.FLAGS.NOOPTIMIZE,
        )
    except RuntimeError as error:
        raise ValueError("its colour profile is damaged: remove the profile first") from error
    return np.atleast_3d(converted)
