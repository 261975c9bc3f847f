"""What a file says beside its pixels, kept from one format to another: EXIF, XMP, IPTC, ICC profile, resolution."""

import re
import struct
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

ORIENTATION = ExifTags.Base.Orientation
EXIF_IFD = ExifTags.IFD.Exif
GPS_IFD = ExifTags.IFD.GPSInfo

# Tags of a TIFF's or a RAW's first directory that speak of the picture, not of how the file is laid out.
DESCRIPTIVE_TAGS = {
    *(ExifTags.Base[name].value for name in ("ImageDescription", "Make", "Model", "Software", "DateTime", "Artist")),
    *(ExifTags.Base[name].value for name in ("Copyright", "HostComputer", "Rating", "RatingPercent", "XPTitle")),
    *(ExifTags.Base[name].value for name in ("XPComment", "XPAuthor", "XPKeywords", "XPSubject")),
    ORIENTATION.value,
    EXIF_IFD.value,
    GPS_IFD.value,
}
DAMAGED_EXIF = (SyntaxError, struct.error, OSError, ValueError, KeyError, TypeError, IndexError, OverflowError, EOFError)


@dataclass(frozen=True)
class Metadata:
    """Each part as its own standard has it, without the wrapping of any one format.

    Attributes:
        exif: a TIFF structure, orientation and embedded thumbnail already taken out.
        xmp: an XML packet.
        icc: a colour profile.
        iptc: IPTC-IIM records.
        dpi: pixels per inch, horizontal and vertical.
        gamma: a PNG's gAMA value, where no profile stands beside it.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    gamma: float | None = None


def exif_of_tiff(data: bytes) -> Image.Exif:
    """The EXIF of a file that is itself a TIFF structure, as many RAW formats are; empty where there is none."""
    exif = Image.Exif()
    try:
        exif.load_from_fp(BytesIO(data))
        for tag in set(exif) - DESCRIPTIVE_TAGS:
            del exif[tag]
    except DAMAGED_EXIF:
        return Image.Exif()
    return exif


def upright(exif: Image.Exif) -> tuple[int, bytes | None]:
    """Part the orientation from the rest.

    Returns:
        The orientation, 1 to 8, and the EXIF without it and without the embedded thumbnail (it shows the old
        picture); None for an EXIF that is empty or damaged.
    """
    try:
        orientation = exif.pop(ORIENTATION, 1)
        packed = exif.tobytes().removeprefix(b"Exif\x00\x00") if len(exif) else None
    except DAMAGED_EXIF:
        return 1, None
    return orientation if orientation in range(1, 9) else 1, packed


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, ...) as it should be seen, from how a file with this EXIF orientation stores it."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def signed_exif(exif: bytes | None, software: str, width: int, height: int) -> Image.Exif:
    """The EXIF for a result: its size, and what made it."""
    signed = Image.Exif()
    if exif is not None:
        signed.load(exif)
    signed[ExifTags.Base.Software] = software
    if EXIF_IFD in signed:
        details = signed.get_ifd(EXIF_IFD)
        for tag, value in ((ExifTags.Base.ExifImageWidth, width), (ExifTags.Base.ExifImageHeight, height)):
            if tag in details:
                details[tag] = value
    return signed


def upright_xmp(xmp: bytes) -> bytes:
    """XMP can repeat the orientation: there, too, it is 1 from now on."""
    return re.sub(rb"(tiff:Orientation(?:=[\"']|>)\s*)[2-8]", rb"\g<1>1", xmp)


def exif_directory(exif: Image.Exif, ifd: int, offset: int) -> bytes:
    """One sub-directory as bytes that are valid at an offset of a little-endian TIFF file."""
    directory = ImageFileDirectory_v2(ifh=b"II*\x00\x08\x00\x00\x00")
    for tag, value in exif.get_ifd(ifd).items():
        if not isinstance(value, dict):
            directory[tag] = value
    return directory.tobytes(offset)
