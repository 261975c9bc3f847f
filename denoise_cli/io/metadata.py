"""What a file says beside its pixels, kept from one format to another: EXIF, XMP, IPTC, ICC profile, resolution."""

import re
from dataclasses import dataclass, replace

import numpy as np
from PIL import ExifTags

from denoise_cli.io.exif import Exif, pack, parse

ORIENTATION = ExifTags.Base.Orientation.value
SOFTWARE = ExifTags.Base.Software.value
MAKE, MODEL = ExifTags.Base.Make.value, ExifTags.Base.Model.value
X_RESOLUTION, Y_RESOLUTION = ExifTags.Base.XResolution.value, ExifTags.Base.YResolution.value
RESOLUTION_UNIT = ExifTags.Base.ResolutionUnit.value
XMP_TAG, IPTC_TAG = 700, 33723
UNITS_PER_INCH = {2: 1.0, 3: 2.54}

# Tags of a TIFF's or a RAW's first directory that speak of the picture, not of how the file is laid out.
DESCRIPTIVE_TAGS = {
    *(ExifTags.Base[name].value for name in ("ImageDescription", "Make", "Model", "Software", "DateTime", "Artist")),
    *(ExifTags.Base[name].value for name in ("Copyright", "HostComputer", "Rating", "RatingPercent", "XPTitle")),
    *(ExifTags.Base[name].value for name in ("XPComment", "XPAuthor", "XPKeywords", "XPSubject")),
    ORIENTATION,
}
# Tags of any file's first directory that point at what is not carried along: strips, tiles, thumbnails.
OFFSET_TAGS = {273, 279, 288, 289, 324, 325, 330, 513, 514}


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


def split_orientation(exif: Exif, xmp: bytes | None = None) -> tuple[int, bytes | None]:
    """Part the orientation from the rest.

    Returns:
        The orientation, 1 to 8, from the EXIF or else the XMP; and the EXIF without it, None where nothing is left.
    """
    stored = exif.main.pop(ORIENTATION, None)
    for tag in OFFSET_TAGS & set(exif.main):
        del exif.main[tag]
    if stored is not None:
        orientation = exif.number(stored) or 1
    else:
        found = re.search(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])", xmp or b"")
        orientation = int(found[1]) if found else 1
    return orientation if orientation in range(1, 9) else 1, pack(exif) if exif else None


def keep_descriptive(exif: Exif) -> Exif:
    """The EXIF of a file that is itself a TIFF structure: without the tags that say how that file is laid out."""
    return replace(exif, main={tag: value for tag, value in exif.main.items() if tag in DESCRIPTIVE_TAGS})


def camera_name(exif: Exif) -> str:
    """The camera's maker and model, the maker only once; empty if the file names neither."""
    maker, model = (exif.string(exif.main.get(tag)) for tag in (MAKE, MODEL))
    return (model if model.startswith(maker) else f"{maker} {model}").strip()


def dpi_of(exif: Exif) -> tuple[float, float] | None:
    """Pixels per inch, horizontal and vertical, where the first directory says so."""
    unit = exif.number(exif.main.get(RESOLUTION_UNIT))
    scale = UNITS_PER_INCH.get(2 if unit is None else unit, 0)
    across, down = (exif.fraction(exif.main.get(tag)) * scale for tag in (X_RESOLUTION, Y_RESOLUTION))
    return (across, down) if min(across, down) > 0 else None


def apply_orientation(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, ...) as it should be seen, from how a file with this EXIF orientation stores it."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def exif_for_result(meta: Metadata, software: str, width: int, height: int) -> Exif:
    """The EXIF for a result: its size and resolution, and what made it."""
    exif = parse(meta.exif or b"")
    exif.main[SOFTWARE] = exif.text(software)
    for directory, across, down in (
        (exif.main, ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength),
        (exif.exif, ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight),
    ):
        for tag, size in ((across.value, width), (down.value, height)):
            if tag in directory:
                directory[tag] = exif.long(size)
    if meta.dpi:
        exif.main[X_RESOLUTION], exif.main[Y_RESOLUTION] = (exif.rational(dots) for dots in meta.dpi)
        exif.main[RESOLUTION_UNIT] = exif.short(2)
    return exif


def reset_xmp(xmp: bytes) -> bytes:
    """XMP can repeat the orientation, which is 1 from now on, and the thumbnail, which shows the old picture."""
    xmp = re.sub(rb"(tiff:Orientation(?:=[\"']|>)\s*)[2-8]", rb"\g<1>1", xmp)
    return re.sub(rb"<(xmp|xap):Thumbnails>.*?</\1:Thumbnails>", b"", xmp, flags=re.DOTALL)
