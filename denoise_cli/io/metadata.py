"""Metadata that is carried from one format to another: EXIF, XMP, IPTC, colours, resolution."""

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import ExifTags

from denoise_cli.imaging.transfer import CURVES, LINEAR
from denoise_cli.io.cicp import TRANSFERS, CodePoints
from denoise_cli.io.companions import Companions
from denoise_cli.io.exif import Exif, pack, parse
from denoise_cli.io.limits import MAX_METADATA
from denoise_cli.io.mastering import Mastering
from denoise_cli.io.native import Native
from denoise_cli.io.profiles import profile_of_gamma, transfer_of

ORIENTATION = ExifTags.Base.Orientation.value
SOFTWARE = ExifTags.Base.Software.value
MAKE = ExifTags.Base.Make.value
MODEL = ExifTags.Base.Model.value
UNIQUE_CAMERA_MODEL = 50708  # of a DNG
X_RESOLUTION = ExifTags.Base.XResolution.value
Y_RESOLUTION = ExifTags.Base.YResolution.value
RESOLUTION_UNIT = ExifTags.Base.ResolutionUnit.value
XMP_TAG = 700
IPTC_TAG = 33723
COMMENT = "Comment"
NEARLY_LINEAR = 0.01  # of an exponent
UPRIGHT = 1
TRANSPOSED = (5, 6, 7, 8)  # orientations in which rows are stored as columns
ALLOWED = f"more than the {MAX_METADATA / 1e6:.1f} MB that are allowed"
UNITS_PER_INCH = {2: 1.0, 3: 2.54}  # by value of `RESOLUTION_UNIT`

# Tags in the first directory of a TIFF or RAW file that describe the picture rather than the layout of the file.
DESCRIPTIVE_TAGS = {
    *(ExifTags.Base[name].value for name in ("ImageDescription", "Make", "Model", "Software", "DateTime", "Artist")),
    *(ExifTags.Base[name].value for name in ("Copyright", "HostComputer", "Rating", "RatingPercent", "XPTitle")),
    *(ExifTags.Base[name].value for name in ("XPComment", "XPAuthor", "XPKeywords", "XPSubject")),
    *(ExifTags.Base[name].value for name in ("DocumentName", "PageName", "PageNumber")),
    ORIENTATION,
    50341,  # PrintIM, how to print the picture
}
# Tags in any file's first directory that point at data which is not carried along: strips, tiles, thumbnails.
OFFSET_TAGS = {273, 279, 288, 289, 324, 325, 330, 513, 514}


@dataclass(frozen=True)
class Metadata:
    """Each kind of metadata as in its own standard, without the wrapping of a file format; None if absent.

    Attributes:
        exif: a TIFF structure, without orientation and embedded thumbnail.
        xmp: an XML packet.
        icc: a colour profile.
        cicp: the colours by code points, if these decide about them; a profile is then for programs that do not know
            them. None for sRGB.
        iptc: IPTC-IIM records.
        dpi: pixels per inch, horizontal and vertical.
        gamma: a PNG's gAMA value, if the file has no colour profile.
        chromaticities: a PNG's cHRM, if it has no profile: x and y of white, red, green and blue.
        texts: comments of a JPEG and texts of a PNG, each with its keyword; a JPEG's have the keyword `COMMENT`.
        chunks: those of a PNG that stay as they are in a PNG, one behind the other, with those of `texts`.
        companions: what a JPEG carries beside its picture.
        exr: attributes in an OpenEXR file's header, by name.
        mastering: what an HDR file says about its display and its light.
        pictures: the others of a HEIF file that can be shown by themselves, decoded, as pillow-heif holds them.
        natives: what only the format of the file holds.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    cicp: CodePoints | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    gamma: float | None = None
    chromaticities: tuple[float, ...] | None = None
    texts: tuple[tuple[str, str], ...] = ()
    chunks: bytes = b""
    companions: Companions | None = None
    exr: dict[str, Any] | None = None
    mastering: Mastering | None = None
    pictures: tuple[Any, ...] = ()
    natives: tuple[Native, ...] = ()

    @property
    def transfer(self) -> int | None:
        """The encoding of the pixels, a key of `imaging.transfer.CURVES`; None if their noise is about even in it."""
        if self.cicp is not None:
            return self.cicp.transfer if self.cicp.transfer in CURVES else None
        if self.icc is not None:
            found = transfer_of(self.icc)
            return found if found in CURVES else None
        return LINEAR if self.gamma is not None and abs(self.gamma - 1) < NEARLY_LINEAR else None

    def profile(self, is_grey: bool) -> bytes | None:
        """The colour profile, or the one that says the same as gAMA and cHRM; None if there is neither."""
        if self.icc is not None or self.cicp is not None:
            return self.icc
        return profile_of_gamma(self.gamma, self.chromaticities, is_grey)

    @property
    def encoding(self) -> str | None:
        """What is known of colours and encoding besides a profile, in words such as "PQ, Rec. 2020"; None for sRGB."""
        if self.cicp is not None:
            return self.cicp.name
        return None if self.transfer is None else TRANSFERS[self.transfer]

    @property
    def orientation(self) -> int:
        """That a JPEG stores its picture in, 1 to 8: something else in the file may lie over the picture."""
        return UPRIGHT if self.companions is None else self.companions.orientation


def within_limit(meta: Metadata) -> tuple[Metadata, tuple[str, ...]]:
    """Metadata of which nothing exceeds `MAX_METADATA`, and what the user should hear of the rest, which is left out.

    What a JPEG carries beside its picture, such as the clip of a motion photo, is no metadata, and has no limit.

    Raises:
        ValueError: the colour profile does, without which the colours would be wrong; with a message for the user.
    """
    if meta.icc is not None and len(meta.icc) > MAX_METADATA:
        raise ValueError(f"a colour profile of {_megabytes(len(meta.icc))}, {ALLOWED}: convert it to sRGB first")
    sizes = {
        "EXIF": len(meta.exif or b""),
        "XMP": len(meta.xmp or b""),
        "IPTC": len(meta.iptc or b""),
        "texts": max(sum(len(keyword) + len(text) for keyword, text in meta.texts), len(meta.chunks)),
    }
    too_large = {name: size for name, size in sizes.items() if size > MAX_METADATA}
    notes = tuple(f"left out: {name} of {_megabytes(size)}, {ALLOWED}" for name, size in too_large.items())
    kept: dict[str, Any] = {name: None for name in ("exif", "xmp", "iptc") if name.upper() in too_large}
    if "texts" in too_large:
        kept |= {"texts": (), "chunks": b""}
    return replace(meta, **kept), notes


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def split_orientation(exif: Exif, xmp: bytes | None = None) -> tuple[int, bytes | None]:
    """Separate the orientation from the rest of the EXIF.

    Args:
        exif: becomes that of the upright picture, without orientation and pointers to other data.
        xmp: an XML packet.

    Returns:
        The orientation, 1 to 8, from the EXIF or else from the XMP, and the EXIF without it; None if it is then empty.
    """
    stored = exif.main.pop(ORIENTATION, None)
    for tag in OFFSET_TAGS & set(exif.main):
        del exif.main[tag]
    if stored is not None:
        orientation = exif.number(stored) or 1
    else:
        found = re.search(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])", xmp or b"")
        orientation = int(found[1]) if found else 1
    orientation = orientation if orientation in range(1, 9) else UPRIGHT
    if orientation in TRANSPOSED:
        swap_resolution(exif)
    return orientation, pack(exif) if exif else None


def swap_resolution(exif: Exif) -> None:
    """Exchange the horizontal and the vertical resolution, as those of a picture that is turned by a quarter."""
    stored = {tag: exif.main.pop(tag, None) for tag in (X_RESOLUTION, Y_RESOLUTION)}
    for tag, value in zip((Y_RESOLUTION, X_RESOLUTION), stored.values(), strict=True):
        if value is not None:
            exif.main[tag] = value


def keep_descriptive(exif: Exif) -> Exif:
    """The EXIF of a TIFF or RAW file, without the tags that describe the layout of that file."""
    main = {tag: value for tag, value in exif.main.items() if tag in DESCRIPTIVE_TAGS}
    if MODEL not in main and UNIQUE_CAMERA_MODEL in exif.main:
        main[MODEL] = exif.text(exif.string(exif.main[UNIQUE_CAMERA_MODEL]))
    return replace(exif, main=main)


def camera_name(exif: Exif) -> str:
    """The camera's maker and model, without repeating the maker; empty if the file names neither."""
    maker, model, unique = (exif.string(exif.main.get(tag)) for tag in (MAKE, MODEL, UNIQUE_CAMERA_MODEL))
    if not model and unique:
        return unique
    return (model if model.startswith(maker) else f"{maker} {model}").strip()


def dpi_of(exif: Exif) -> tuple[float, float] | None:
    """Pixels per inch, horizontal and vertical; None if the first directory does not state them."""
    unit = exif.number(exif.main.get(RESOLUTION_UNIT))
    scale = UNITS_PER_INCH.get(2 if unit is None else unit, 0)
    horizontal, vertical = (exif.fraction(exif.main.get(tag)) * scale for tag in (X_RESOLUTION, Y_RESOLUTION))
    return (horizontal, vertical) if min(horizontal, vertical) > 0 else None


def undo_orientation(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an upright picture, (H, W, ...), to how a file with this orientation, 1 to 8 as in EXIF, stores it."""
    return apply_orientation(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def apply_orientation(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a stored picture, (H, W, ...), upright.

    Args:
        pixels: as stored in the file.
        orientation: of the file, 1 to 8 as in EXIF.
    """
    if orientation in TRANSPOSED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def exif_for_result(meta: Metadata, software: str, width: int, height: int) -> Exif:
    """The EXIF for a result: the source's, with the result's size and resolution, and the name of the program."""
    exif = parse(meta.exif or b"")
    exif.main[SOFTWARE] = exif.text(software)
    for directory, width_tag, height_tag in (
        (exif.main, ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength),
        (exif.exif, ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight),
    ):
        for tag, size in ((width_tag.value, width), (height_tag.value, height)):
            if tag in directory:
                directory[tag] = exif.long(size)
    if meta.dpi:
        exif.main[X_RESOLUTION], exif.main[Y_RESOLUTION] = (exif.rational(dots) for dots in meta.dpi)
        exif.main[RESOLUTION_UNIT] = exif.short(2)
    return exif


def reset_xmp(xmp: bytes, orientation: int = UPRIGHT) -> bytes:
    """Set the orientation in an XMP packet, and remove the thumbnail, which shows the old picture."""
    xmp = re.sub(rb"(tiff:Orientation(?:=[\"']|>)\s*)[1-8]", rb"\g<1>%d" % orientation, xmp)
    for prefix in (b"xmp", b"xap"):
        xmp = _without_elements(xmp, prefix + b":Thumbnails")
    return xmp


def _without_elements(xmp: bytes, name: bytes) -> bytes:
    """A packet without the elements of a name; a regular expression would look for the end of each unclosed one."""
    opening, closing = b"<%b>" % name, b"</%b>" % name
    kept, place = [], 0
    while (start := xmp.find(opening, place)) >= 0 and (end := xmp.find(closing, start)) >= 0:
        kept.append(xmp[place:start])
        place = end + len(closing)
    return b"".join((*kept, xmp[place:]))
