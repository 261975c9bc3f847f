"""What a format can hold of a photo: its pixels, colours and metadata as they are written, and what is lost."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from denoise_cli.imaging.pixels import convert, white_value
from denoise_cli.io import deep_jpeg, exr, jxl, pillow, png
from denoise_cli.io.auxiliary import more_pictures
from denoise_cli.io.cicp import CodePoints
from denoise_cli.io.companions import OTHER_PICTURE
from denoise_cli.io.formats import FORMATS
from denoise_cli.io.metadata import UPRIGHT, Metadata, reset_xmp
from denoise_cli.io.native import names_of
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import COLOUR_SPACE, GREY, RGB, grey_to_srgb, is_srgb, numbers_of
from denoise_cli.io.srgb import without_lab
from denoise_cli.io.xmp_claims import GAIN_MAP, claims_of, without_claims, without_provenance

HOLD_IPTC = ("jpeg", "tiff", "jp2")
MAX_NAMES = 5  # of texts, in one note


def losses(meta: Metadata, kind: str, said: Sequence[str] = ()) -> tuple[str, ...]:
    """What the user should hear of metadata that a format does not hold.

    Args:
        meta: of a photo.
        kind: the format to write, a name from `WRITABLE`.
        said: what the user has heard already, which is not repeated.
    """
    carried = meta.companions if kind == "jpeg" else None
    lost = [] if carried else sorted(claims_of(meta.xmp).what | set(meta.companions.what if meta.companions else ()))
    if not FORMATS[kind].profile:  # pixels alone
        lost += [name for name, value in (("EXIF", meta.exif), ("XMP", meta.xmp)) if value]
    if meta.pictures and kind != "heif":
        lost.append(more_pictures(len(meta.pictures)))
    lost += names_of(native for native in meta.natives if native.kind != kind)
    if meta.exr is not None and kind != "exr":
        lost += exr.names_of(meta.exr)
    if kind != "png":
        lost += png.names_of_kept(meta.chunks)
    if meta.mastering is not None:
        lost += meta.mastering.lost_in(kind)
    if kind != "png" and not FORMATS[kind].profile and meta.icc is None and meta.profile(is_grey=False):
        lost.append("colours of their own (gAMA, cHRM)")
    if meta.iptc and kind not in HOLD_IPTC:
        lost.append("IPTC")
    if kind == "jpeg":
        lost += pillow.too_long_for_jpeg(meta)
    texts = [keyword for keyword, text in meta.texts if kind != "jpeg" or not pillow.text_fits_jpeg(keyword, text)]
    if texts and kind != "png":
        lost.append(f"text ({', '.join(texts[:MAX_NAMES])}{', ...' if len(texts) > MAX_NAMES else ''})")
    lost = [name for name in lost if not any(name in note for note in said)]
    notes: tuple[str, ...] = (_printable(f"not carried over to {kind}: {', '.join(lost)}"),) if lost else ()
    return notes + _carried(meta, kind)


def _carried(meta: Metadata, kind: str) -> tuple[str, ...]:
    """What the user should hear of what a format holds as well, and is not denoised."""
    notes: tuple[str, ...] = ()
    if kind == "jpeg" and meta.companions and OTHER_PICTURE in meta.companions.what:
        notes += ("second picture carried over as it is",)
    if any(native.what == GAIN_MAP and native.kind == kind for native in meta.natives):
        notes += (f"{GAIN_MAP} carried over as it is",)
    if kind == "exr" and (others := names_of(native for native in meta.natives if native.kind == "exr")):
        notes += (_printable(f"carried over, not denoised: {', '.join(others)}"),)
    if meta.pictures and kind == "heif":
        notes += (f"{more_pictures(len(meta.pictures))} carried over, not denoised but compressed again",)
    return notes


def conversions(photo: Photo, kind: str) -> tuple[str, ...]:
    """What the user should hear of pixels that a format holds in another way than the photo's own file.

    Args:
        photo: what is written.
        kind: the format, a name from `WRITABLE`.
    """
    if photo.lab is not None and kind != "tiff":
        return ("Lab becomes sRGB, and colours outside of that are clipped: .tif keeps them",)
    notes: tuple[str, ...] = ()
    meta = _with_colours_held(photo, kind)
    is_grey = photo.pixels.shape[2] == 1
    if meta.icc is not None and is_grey and _is_for_rgb(meta.icc):
        notes += ("greyscale becomes RGB, which its colour profile is for",)
    elif meta.icc is not None and meta.icc[COLOUR_SPACE] != _space_of(photo, is_grey):
        notes += ("a colour profile that is not for its colours is left out",)
    return notes


def orientation_in(meta: Metadata, kind: str) -> int:
    """The orientation, 1 to 8, in which a format stores the upright photo that this metadata belongs to."""
    return meta.orientation if kind == "jpeg" else UPRIGHT


def _printable(text: str) -> str:
    """A text, parts of which come from a file, on one line."""
    return "".join(character if character.isprintable() else "?" for character in text)


def refuse_unheld(photo: Photo, kind: str) -> None:
    """Refuse a photo that a format cannot hold.

    Args:
        photo: to be written.
        kind: the format, a name from `WRITABLE`.

    Raises:
        ValueError: with a message for the user.
    """
    known = FORMATS[kind]
    if photo.others and not known.pages:
        raise ValueError(f"it holds a single picture, and there are {len(photo.others) + 1} pages: choose .tif")
    if photo.black is not None and not known.inks:
        raise ValueError("it cannot hold CMYK: choose .tif or .jpg, or add --to-srgb")
    if photo.is_signed and kind != "tiff":
        raise ValueError("it cannot hold integers with a sign: choose .tif")
    meta = _with_colours_held(photo, kind)  # raises if it is HDR
    if max(photo.pixels.shape) > known.longest:
        raise ValueError(f"it holds at most {known.longest} pixels in a row or a column: choose .png or .tif")
    dtype = type_held(photo, kind)
    if photo.alpha is not None and not known.alpha and (convert(photo.alpha, dtype) < white_value(dtype)).any():
        raise ValueError("it cannot hold transparency: choose .png, .tif, .webp, .avif, .heic or .jxl")
    is_stated = kind == "exr" and meta.exr is not None  # in its own way
    is_stated |= any(native.kind == kind and native.of_colours for native in meta.natives)
    if meta.icc is not None and not (known.profile or is_stated or is_srgb(meta.icc)):
        raise ValueError("it cannot hold the photo's colour profile: choose .png or .tif")
    if not known.colour and photo.pixels.shape[2] == 3:
        raise ValueError("it holds greyscale alone: choose .ppm or .png")
    if meta.icc is not None and not known.grey and photo.pixels.shape[2] == 1 and not _is_for_rgb(meta.icc):
        grey_to_srgb(meta.icc)  # raises if the profile is damaged


def type_held(photo: Photo, kind: str) -> np.dtype[Any]:
    """The type of a photo's pixels in a format: its own, or the format's largest."""
    if kind == photo.kind == "jpeg" and photo.depth == deep_jpeg.BITS:
        return photo.pixels.dtype
    depths, own = FORMATS[kind].depths, photo.pixels.dtype.itemsize * 8  # of Lab, more than its file has
    depth = min((bits for bits in depths if bits >= own), default=max(depths))
    return np.dtype({8: np.uint8, 16: np.uint16, 32: np.float32}[depth])


def pixel_format(photo: Photo, kind: str) -> str:
    """What a file of a format holds of a photo in words of the style of FFmpeg's: grey8, rgb16 or rgba32."""
    colours, bits = "grey" if photo.pixels.shape[2] == 1 else "rgb", 8 * type_held(photo, kind).itemsize
    return f"{colours}{'' if photo.alpha is None else 'a'}{bits}"


def as_held(photo: Photo, kind: str) -> Photo:
    """The photo as a format can hold it; arguments and errors are those of `refuse_unheld`."""
    refuse_unheld(photo, kind)
    if photo.lab is not None and kind != "tiff":
        photo = without_lab(photo, photo.lab)
    known, dtype = FORMATS[kind], type_held(photo, kind)
    alpha = None if photo.alpha is None or not known.alpha else convert(photo.alpha, dtype)
    pixels, meta = convert(photo.pixels, dtype), _with_colours_held(photo, kind)
    is_for_rgb = meta.icc is not None and _is_for_rgb(meta.icc)
    if pixels.shape[2] == 1 and (is_for_rgb or not known.grey):
        if meta.icc is not None and not is_for_rgb and not is_srgb(meta.icc):  # which RGB cannot have
            pixels = grey_to_srgb(meta.icc)[pixels]
        pixels = np.repeat(pixels, 3, axis=2)  # type: ignore[assignment]
    return dataclasses.replace(
        photo,
        pixels=pixels,
        alpha=alpha,
        kind=kind,
        metadata=_for_output(meta, _space_of(photo, pixels.shape[2] == 1), kind),
        compression=photo.compression if photo.kind == kind else None,
        black=None if photo.black is None else convert(photo.black, dtype),
    )


def _with_colours_held(photo: Photo, kind: str) -> Metadata:
    """A photo's metadata; code points that a format does not hold are said by a profile.

    Greyscale has no profile for RGB in it if that says the same of greys as none.

    Raises:
        ValueError: no profile says them; with a message for the user.
    """
    meta, is_grey = photo.metadata, photo.pixels.shape[2] == 1
    if meta.cicp is not None and not _holds_numbers(kind, meta.cicp):
        icc = meta.icc
        if icc is None or numbers_of(icc) != (meta.cicp.primaries, meta.cicp.transfer):  # which are stronger than it
            if meta.cicp.is_hdr:
                able = [known.extensions[0] for name, known in FORMATS.items() if _holds_numbers(name, meta.cicp)]
                raise ValueError(f"it cannot hold HDR ({meta.cicp.name}): choose one of {', '.join(able)}")
            icc = meta.cicp.profile(is_grey)
        meta = dataclasses.replace(meta, cicp=None, icc=icc)
    elif kind != "png" and (FORMATS[kind].profile or meta.transfer is not None) and not photo.is_bilevel:
        meta = dataclasses.replace(meta, icc=meta.profile(is_grey))
    if is_grey and meta.icc is not None and _is_for_rgb(meta.icc):
        # Black and white are the same in every profile, and numbers are stronger than one.
        is_needless = photo.is_bilevel or meta.cicp is not None or is_srgb(meta.icc, neutral=True)
        return dataclasses.replace(meta, icc=None) if is_needless else meta
    return meta


def _holds_numbers(kind: str, numbers: CodePoints) -> bool:
    """Whether a format can state colours by these code points, or in a way of its own."""
    return FORMATS[kind].code_points and (kind != "jxl" or jxl.holds(numbers))


def _space_of(photo: Photo, is_grey: bool) -> bytes:
    """The colour space of a photo as the header of a profile names it."""
    if photo.lab is not None:
        return b"Lab "
    return b"CMYK" if photo.black is not None else GREY if is_grey else RGB


def _is_for_rgb(icc: bytes) -> bool:
    return icc[COLOUR_SPACE] == RGB


def _for_output(meta: Metadata, colours: bytes, kind: str) -> Metadata:
    """The metadata without what does not apply to the result, or does not fit into it.

    Args:
        meta: of the photo.
        colours: the colour space of the result, as the header of a profile names it.
        kind: the format.
    """
    companions = meta.companions if kind == "jpeg" else None
    xmp = meta.xmp and without_provenance(meta.xmp)
    if xmp and companions is None:
        xmp = without_claims(xmp, claims_of(xmp).what)
    return dataclasses.replace(
        meta,
        xmp=xmp and reset_xmp(xmp, orientation_in(meta, kind)),
        icc=meta.icc if meta.icc and meta.icc[16:20] == colours else None,
        companions=companions,
    )
