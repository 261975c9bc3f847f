"""HEIF through libheif, in the file's bit depth."""

from typing import Any

import numpy as np

from denoise_cli.errors import MissingDependency
from denoise_cli.io import auxiliary, c2pa
from denoise_cli.io.cicp import cicp_of_heif, refuse_unusual_colours
from denoise_cli.io.exif import parse
from denoise_cli.io.limits import refuse_too_large
from denoise_cli.io.metadata import Metadata, dpi_of, split_orientation
from denoise_cli.io.photo import Photo, scale_to_16_bits, split_alpha, unpremultiply

BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def is_heif(data: bytes) -> bool:
    """Whether a file is HEIF and not AVIF, by its first bytes."""
    return data[4:8] == b"ftyp" and data[8:12] in BRANDS and b"av01" not in data[:4096]


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode the primary picture of a HEIF file.

    Args:
        data: the file.
        max_pixels: larger pictures are refused.

    Raises:
        MissingDependency: pillow-heif is not installed.
        ValueError: the picture is too large or of an unsupported kind; with a message for the user.
        OSError, RuntimeError and others: the file is damaged.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingDependency("reading HEIF", "pillow-heif") from error
    container = pillow_heif.open_heif(data, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    if not len(container):
        raise ValueError("holds no picture that libheif can decode")
    picture = container[container.primary_index]
    info: dict[str, Any] = picture.info
    refuse_too_large(picture.size, max_pixels)
    refuse_unusual_colours(None if info.get("icc_profile") else cicp_of_heif(data))
    pixels, alpha = split_alpha(scale_to_16_bits(np.atleast_3d(np.asarray(picture)), info["bit_depth"]))
    if alpha is not None and picture.premultiplied_alpha:
        pixels = unpremultiply(pixels, alpha)
    exif = parse(info.get("exif") or b"")
    dpi = dpi_of(exif)
    _, packed = split_orientation(exif)  # libheif has already turned the picture upright
    metadata = Metadata(exif=packed, xmp=info.get("xmp") or None, icc=info.get("icc_profile") or None, dpi=dpi)
    notes = auxiliary.notes_on(data, len(container)) + c2pa.notes_on(data, "heif")
    return Photo(pixels, alpha, "heif", metadata, notes)
