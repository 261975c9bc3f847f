"""The tags of a TIFF's pages: those that a result keeps, and those that are named because it does not.

Sources: TIFF 6.0 (1992); OGC 19-008r4, "GeoTIFF"; GDAL, "GTiff - GeoTIFF File Format"; Adobe, "Photoshop File Formats
Specification" (2019) and "Photoshop TIFF Technical Notes" (2002).
"""

import re
from collections.abc import Iterator

import tifffile

from denoise_cli.io import c2pa, photoshop
from denoise_cli.io.companions import RESOURCES
from denoise_cli.io.exif import EXIF_IFD, GPS_IFD, SUB_IFDS, UNDEFINED, Directory, Exif, Value
from denoise_cli.io.metadata import (
    DESCRIPTIVE_TAGS,
    IPTC_TAG,
    OFFSET_TAGS,
    RESOLUTION_UNIT,
    SOFTWARE,
    X_RESOLUTION,
    XMP_TAG,
    Y_RESOLUTION,
)
from denoise_cli.io.native import Native
from denoise_cli.io.profiles import D65, SRGB_CHROMATICITIES, are_of_srgb

ICC_TAG = 34675
RESOURCES_TAG = 34377
GDAL_METADATA, GDAL_NODATA = 42112, 42113
COORDINATES = 8  # of white, red, green and blue
NO_UNIT = 1  # of the resolution, which then says how many times as high as wide a pixel is
STATISTICS = re.compile(rb"\s*<Item\s[^>]*name=[\"']STATISTICS_[^>]*>[^<]*</Item>")  # of the values before

# What the values of a page mean or where they are, which is read, and written anew.
LAYOUT = {
    *range(254, 260),  # NewSubfileType, SubfileType, ImageWidth, ImageLength, BitsPerSample, Compression
    *(262, 266, 277, 278, 284, 317, 320, 322, 323, 332, 334, 338, 339, 347),
    *(290, 292, 293, 300),  # GrayResponseUnit, ColorResponseUnit and options of compression for faxes
    *range(512, 522),  # the older form of JPEG
    *range(529, 533),  # YCbCr
    *(32995, 32996, 32997, 32998),  # older forms of ExtraSamples, SampleFormat, ImageDepth and TileDepth
    50674,  # parameters of compression
    59932,  # filling
    *OFFSET_TAGS,
}
READ = {XMP_TAG, IPTC_TAG, ICC_TAG, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, EXIF_IFD, GPS_IFD, SUB_IFDS, SOFTWARE}
TAGS_OF_DNG = range(50706, 53000)
UNTRUE = {c2pa.TIFF_TAG}  # named elsewhere
# What remains true of a page and is kept, by the words for it, with the tags that belong to it.
POSITION = (286, 287)
WHITE, PRIMARIES = 318, 319
OVER_THE_PICTURE = {
    "GeoTIFF": (33550, 33920, 33922, 34264, 34735, 34736, 34737, 50844),
    "position on the page": POSITION,
}
OF_COLOURS = {"white point and primaries": (WHITE, PRIMARIES)}
OF_VALUES = {"GDAL's metadata": (GDAL_METADATA,), "GDAL's value for no data": (GDAL_NODATA,)}
NAMES = {37724: "Photoshop's layers", 50838: "ImageJ's metadata", 50839: "ImageJ's metadata"}


def natives_of(exif: Exif, has_other_values: bool) -> tuple[Native, ...]:
    """What a page holds that only a TIFF holds, and that stays true of it; the data are a byte order, a tag, a value.

    Args:
        exif: of the page, with all of its tags.
        has_other_values: whether its values are not those in the file, but multiples of them.
    """
    natives, needless = _natives_of(exif, has_other_values), _saying_nothing(exif)
    return tuple(native for native in natives if native.data[1] not in needless)


def _natives_of(exif: Exif, has_other_values: bool) -> Iterator[Native]:
    for what, tags in OVER_THE_PICTURE.items():
        yield from (Native("tiff", what, (exif.order, tag, exif.main[tag]), lies_over=True) for tag in _in(exif, tags))
    for what, tags in OF_COLOURS.items():
        yield from (Native("tiff", what, (exif.order, tag, exif.main[tag]), of_colours=True) for tag in _in(exif, tags))
    for what, tags in OF_VALUES.items() if not has_other_values else ():
        for tag in _in(exif, tags):
            stored = exif.main[tag]
            value = Value(stored.kind, STATISTICS.sub(b"", stored.data)) if tag == GDAL_METADATA else stored
            yield Native("tiff", what, (exif.order, tag, value))
    if RESOURCES_TAG in exif.main and (kept := photoshop.other_resources(exif.main[RESOURCES_TAG].data)):
        value = Value(UNDEFINED, kept)
        yield Native("tiff", RESOURCES, (exif.order, RESOURCES_TAG, value), lies_over=True)


def tags_for(natives: tuple[Native, ...], order: str) -> Directory:
    """The tags of what a TIFF keeps, for a file of a byte order."""
    own = (native.data for native in natives if native.kind == "tiff")
    return {tag: value if stored == order else value.swapped() for stored, tag, value in own}


def left_out_of(page: tifffile.TiffPage, exif: Exif, natives: tuple[Native, ...]) -> list[str]:
    """The names, or else the numbers, of a page's tags that are neither read nor kept.

    Args:
        page: with the tags that tifffile has read, which leaves out those that it cannot read.
        exif: of the page, with those whose type is older than BigTIFF.
        natives: what is kept.
    """
    kept = {native.data[1] for native in natives}
    known = LAYOUT | READ | UNTRUE | DESCRIPTIVE_TAGS | {RESOURCES_TAG} | _saying_nothing(exif) | kept
    codes = sorted({*exif.main, *(tag.code for tag in page.tags)} - known)
    return list(dict.fromkeys(NAMES.get(code) or tifffile.TIFF.TAGS.get(code, str(code)) for code in codes))


def _saying_nothing(exif: Exif) -> set[int]:
    """Tags that say what their absence says: a position at the corner of the page, and the colours of sRGB."""
    tags = set() if any(exif.fraction(exif.main.get(tag)) for tag in POSITION) else set(POSITION)
    white, primaries = (exif.numbers(exif.main[tag]) if tag in exif.main else () for tag in (WHITE, PRIMARIES))
    stated = (*(white or D65), *(primaries or SRGB_CHROMATICITIES))
    return tags | {WHITE, PRIMARIES} if len(stated) == COORDINATES and are_of_srgb(stated) else tags


def _in(exif: Exif, tags: tuple[int, ...]) -> list[int]:
    return [tag for tag in tags if tag in exif.main]
