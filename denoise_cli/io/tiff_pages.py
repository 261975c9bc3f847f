"""The pages of a TIFF, and the values of each: which are pictures, which can be read, and what their numbers mean."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tifffile

from denoise_cli.imaging.lab import LabEncoding, to_srgb
from denoise_cli.imaging.pixels import Pixels, convert, inverted
from denoise_cli.io.jpeg import END, START
from denoise_cli.io.jpeg_damage import repaired
from denoise_cli.io.limits import refuse_too_large
from denoise_cli.io.photo import unpremultiply
from denoise_cli.io.pieces import MOST_PIECES, Pieces, refuse_out_of_proportion

MAX_PAGES = 10_000  # a damaged chain of pages may be as long as its file
MAX_CHANNELS = 5  # more are refused before they are decoded
MASK = 4  # bit of NewSubfileType
INK_SET = 332  # tag
CMYK_INKS = 1  # its value for CMYK, and what its absence means
HIGHEST_BIT = {1: np.uint8(0x80), 2: np.uint16(0x8000)}  # by bytes per value
TOP_16 = 65535
LOST_AT_END = ("the pages after these are left out: the file ends before they begin, or is damaged there",)
ACCEPTED = "only grey, RGB, Lab or CMYK, with or without alpha, are read"

PHOTOMETRIC = tifffile.PHOTOMETRIC
LAB: dict[int, Literal["cielab", "icclab"]] = {PHOTOMETRIC.CIELAB: "cielab", PHOTOMETRIC.ICCLAB: "icclab"}
COLOURS: dict[int, int] = {
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.CIELAB: 3,
    PHOTOMETRIC.ICCLAB: 3,
    PHOTOMETRIC.SEPARATED: 4,
}
JPEG = {tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG}  # YCbCr is decoded to RGB only in these
BUFFER = 1 << 25  # bytes to code in one pass; by default, tifffile copies all of a file of up to 256 MB
JPEG_BITS = 8  # of those that are looked through for damage
TRANSPARENCY = {tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA}


class DamagedPageError(ValueError):
    """A part of a page is not in its file; other pages may be whole."""


@dataclass(frozen=True)
class Values:
    """What a page holds; the attributes are those of `Photo`, before it is turned upright."""

    pixels: Pixels
    alpha: Pixels | None = None
    notes: tuple[str, ...] = ()
    black: Pixels | None = None
    lab: LabEncoding | None = None
    is_signed: bool = False
    is_bilevel: bool = False


def pages_of(file: tifffile.TiffFile) -> tuple[list[tifffile.TiffPage], tuple[str, ...], tuple[str, ...]]:
    """The pages of a file that are pictures of their own, and what the user should hear of the others.

    Returns:
        The pages, messages about others that are left out, and about others that are lost.

    Raises:
        ValueError: there is none, or there are too many; with a message for the user.
    """
    pages: list[tifffile.TiffPage] = []
    seen: set[int] = set()
    copies = masks = pieces = 0
    lost: tuple[str, ...] = ()
    for index in itertools.count():
        try:
            page = file.pages[index].aspage()
        except IndexError:
            lost = LOST_AT_END if _leads_nowhere(file) else ()
            break
        except tifffile.TiffFileError:
            if index == 0:
                raise
            lost = LOST_AT_END
            break
        if page.offset in seen:  # in a damaged file, the chain of pages can loop
            break
        if index == MAX_PAGES:
            raise ValueError(f"holds more than {MAX_PAGES} pages: split it")
        seen.add(page.offset)
        pieces += len(page.dataoffsets)
        if pieces > MOST_PIECES:
            raise ValueError(f"more than {MOST_PIECES} strips and tiles in its pages: split it")
        masks += bool(page.subfiletype & MASK)
        copies += bool(page.is_reduced) + len(page.subifds or ())
        if not (page.is_reduced or page.subfiletype & MASK):
            pages.append(page)
    if not pages:
        raise ValueError("holds no picture")
    pictures = (file.imagej_metadata or {}).get("images", 1) if file.is_imagej else 1
    if pictures > len(seen):
        raise ValueError(f"{pictures} pictures in one page, as ImageJ stores a stack: split it into single pictures")
    notes: tuple[str, ...] = ()
    if copies:
        notes += ("reduced copies left out: they show the old picture",)
    if masks:
        notes += ("a transparency mask is left out",)
    return pages, notes, lost


def _leads_nowhere(file: tifffile.TiffFile) -> bool:
    """Whether the last page that was found says that another one follows."""
    pointer = file.pages.next_page_offset
    if pointer is None:
        return False
    file.filehandle.seek(pointer)
    return any(file.filehandle.read(file.tiff.offsetsize))


def whole(
    pages: Sequence[tifffile.TiffPage], max_pixels: int, data: bytes
) -> tuple[list[tifffile.TiffPage], tuple[str, ...]]:
    """The pages of which nothing is missing, and what the user should hear of the others.

    Args:
        pages: all pictures of a file.
        max_pixels: see `check`.
        data: see `check`.

    Raises:
        ValueError: there is none, or a page is too large or of an unsupported kind; with a message for the user.
    """
    kept, damaged = [], {}
    for number, page in enumerate(pages, 1):
        try:
            check(page, max_pixels, data)
        except DamagedPageError as error:
            damaged[number] = error
        except ValueError as error:
            raise _of_page(number, pages, error) from error
        else:
            kept.append(page)
    if not kept:
        raise _of_page(1, pages, damaged[1])
    return kept, tuple(f"page {number} of {len(pages)} is left out: {error}" for number, error in damaged.items())


def _of_page(number: int, pages: Sequence[tifffile.TiffPage], error: ValueError) -> ValueError:
    return ValueError(f"page {number}: {error}") if len(pages) > 1 else error


def check(page: tifffile.TiffPage, max_pixels: int, data: bytes) -> None:
    """Refuse a page before it is decoded.

    Args:
        page: with its tags.
        max_pixels: the largest area that is accepted.
        data: its file.

    Raises:
        DamagedPageError: it is cut off, or has parts missing; with a message for the user.
        ValueError: it is too large or of an unsupported kind; with a message for the user.
    """
    refuse_too_large((page.imagewidth, page.imagelength), max_pixels)
    if not page.imagewidth * page.imagelength:
        raise DamagedPageError(f"{page.imagewidth} x {page.imagelength} pixels: it is damaged")
    if page.samplesperpixel > MAX_CHANNELS:
        raise ValueError(f"{page.samplesperpixel} channels: {ACCEPTED}")
    depth = max(page.imagedepth, page.tiledepth)
    if depth > 1:
        raise ValueError(f"{depth} slices of a volume: split it into single pictures")
    refuse_out_of_proportion(data, _pieces_of(page), max_pixels)
    # tifffile fills segments that are missing with black, and the JPEG decoder fills missing data with grey.
    what, count = "tiles" if page.is_tiled else "strips", math.prod(page.chunked)
    if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and not TRANSPARENCY & set(page.extrasamples):
        count = count * (page.samplesperpixel - len(page.extrasamples)) // page.samplesperpixel  # the rest is left out
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))[:count]
    present = sum(start > 0 and size > 0 for start, size in segments)
    if present < count:
        raise DamagedPageError(f"{count - present} of its {count} {what} are missing: it is damaged")
    if any(start + size > len(data) for start, size in zip(page.dataoffsets, page.databytecounts, strict=False)):
        raise DamagedPageError("the file ends before its pixel data does")
    if page.photometric == PHOTOMETRIC.YCBCR and page.compression not in JPEG:
        raise ValueError("YCBCR colours: convert it to RGB or grey first")
    if page.photometric not in COLOURS and page.photometric != PHOTOMETRIC.YCBCR:
        names = {kind.value: kind.name for kind in PHOTOMETRIC}
        raise ValueError(f"{names.get(page.photometric, 'unknown')} colours: convert it to RGB or grey first")
    if page.photometric == PHOTOMETRIC.SEPARATED:
        ink_set = page.tags.get(INK_SET)
        is_cmyk = ink_set is None or ink_set.value == CMYK_INKS
        if not is_cmyk or page.samplesperpixel < COLOURS[PHOTOMETRIC.SEPARATED]:
            raise ValueError("inks that are not those of CMYK: convert it to RGB or CMYK first")


def _pieces_of(page: tifffile.TiffPage) -> Pieces:
    rows = min(page.rowsperstrip or page.imagelength, page.imagelength)
    return Pieces(
        "tiles" if page.is_tiled else "strips",
        (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, rows),
        1 if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE else page.samplesperpixel,
        math.prod(page.chunked),
        list(zip(page.dataoffsets, page.databytecounts, strict=False)),
    )


def read_values(page: tifffile.TiffPage) -> Values:
    """Decode a page that `check` accepts.

    Raises:
        ValueError: it is of an unsupported kind; with a message for the user.
        tifffile.TiffFileError, OSError and others: it is damaged.
    """
    stored = page.asarray(buffersize=BUFFER)
    if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and stored.ndim == 3:
        stored = np.moveaxis(stored, 0, -1)
    if stored.ndim not in (2, 3):
        raise ValueError(f"holds {stored.ndim}-dimensional data, not a picture")
    stored = np.atleast_3d(stored)
    if page.photometric in LAB:
        return _lab_values(stored, page)
    if page.photometric == PHOTOMETRIC.PALETTE:
        # 16 bits by the standard, but palettes only use the upper 8.
        colours = np.moveaxis((np.asarray(page.colormap) >> 8).astype(np.uint8), 0, -1)
        return _split(np.dstack([colours[stored[..., 0].astype(np.intp)], stored[..., 1:].astype(np.uint8)]), page, 3)
    values, is_signed, notes = _to_photo_type(stored, int(page.bitspersample))
    count = COLOURS.get(page.photometric, 3)
    if page.photometric == PHOTOMETRIC.RGB and values.shape[2] < 3:
        count = 1
    if page.photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE) and values.shape[2] >= 3:
        count = 3
    split = _split(values, page, count)
    if is_signed and split.alpha is not None:
        raise ValueError("values with a sign, and transparency: convert it to unsigned integers first")
    pixels: Pixels = split.pixels
    black: Pixels | None = None
    if count == COLOURS[PHOTOMETRIC.SEPARATED]:
        if values.dtype == np.float32:
            raise ValueError("inks in floating point: convert it to 16 bits first")
        pixels, black = inverted(pixels[..., :3]), inverted(pixels[..., 3])
    elif page.photometric == PHOTOMETRIC.MINISWHITE:
        pixels = inverted(pixels)
    is_bilevel = stored.dtype == np.bool_ and stored.shape[2] == 1
    return Values(pixels, split.alpha, split.notes + notes, black, is_signed=is_signed, is_bilevel=is_bilevel)


def has_other_values(page: tifffile.TiffPage) -> bool:
    """Whether the values that are written are not those that a page stores, but say the same in another way."""
    if page.photometric in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE):
        return True
    return page.dtype is None or (page.dtype.kind != "f" and int(page.bitspersample) not in (8, 16))


def repairs_of(page: tifffile.TiffPage) -> tuple[str, ...]:
    """What is damaged in the JPEGs of a page that is decoded all the same, in words for the user."""
    if page.compression != tifffile.COMPRESSION.JPEG or page.bitspersample != JPEG_BITS:
        return ()
    tables = (page.jpegtables or b"")[: -len(END)]  # that all strips have in common
    mode = "CMYK" if page.photometric == PHOTOMETRIC.SEPARATED else "RGB"
    segments = page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts)
    jpegs = (data for data, _ in segments if isinstance(data, bytes))
    found = (repaired(tables + data[len(START) if tables else 0 :], mode) for data in jpegs)
    return next(filter(None, found), ())


def _lab_values(stored: np.ndarray, page: tifffile.TiffPage) -> Values:
    kind, size = stored.dtype.kind, stored.dtype.itemsize
    is_float = kind == "f" and size == 4
    if stored.shape[2] < 3 or not (is_float or (kind in "ui" and int(page.bitspersample) in (8, 16))):
        raise ValueError(f"Lab colours in {stored.shape[2]} channels of {stored.dtype}: convert it to RGB first")
    encoding = LabEncoding(32 if is_float else 8 if size == 1 else 16, LAB[page.photometric])
    split = _split(stored.view(encoding.dtype), page, 3)
    if is_float and not np.isfinite(stored).all():
        raise ValueError("holds values that are not numbers (NaN or infinity)")
    alpha = None if split.alpha is None else convert(split.alpha, np.dtype(np.float32))
    return Values(to_srgb(split.pixels, encoding), alpha, split.notes, lab=encoding)


def _to_photo_type(values: np.ndarray, bits: int) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """Values in uint8, uint16 or float32, whether they have a sign, and what the user should hear of it."""
    notes: tuple[str, ...] = ()
    if values.dtype.kind == "f":
        if values.dtype.itemsize > 4:
            notes = ("64 bits of floating point become 32",)
        values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError("holds values that are not numbers (NaN or infinity)")
        return values, False, notes
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255), False, ()
    if values.dtype.kind not in "ui" or (values.dtype.kind == "i" and bits not in (8, 16, 32)):
        raise ValueError(f"{values.dtype} values: convert it to unsigned integers or floating point first")
    if bits > 16:
        values, notes = _in_16_bits(values, bits)
        bits = 16
    if values.dtype.kind == "i":
        size = values.dtype.itemsize
        return np.ascontiguousarray(values).view(f"u{size}") ^ HIGHEST_BIT[size], True, notes
    top = 2**bits - 1
    if bits < 8:
        return (values.astype(np.uint16) * 255 // top).astype(np.uint8), False, notes
    if bits in (8, 16):
        return values.astype(np.uint8 if bits == 8 else np.uint16, copy=False), False, notes
    return np.rint(values.astype(np.float64) * (TOP_16 / top)).astype(np.uint16), False, notes


def with_sign(values: Pixels) -> np.ndarray:
    """Integers with a sign, lower by half their range than those of a `Photo`: of the same bits but the highest."""
    size = values.dtype.itemsize
    return (values.view(f"u{size}") ^ HIGHEST_BIT[size]).view(f"i{size}")


def _in_16_bits(values: np.ndarray, bits: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Integers of more than 16 bits: as they are if they fit, which they do in most files that have so many."""
    low, high = int(values.min()), int(values.max())
    if low >= 0 and high <= TOP_16:
        return values.astype(np.uint16), (f"{bits} bits per value become 16, in which all values fit",)
    if low >= -(TOP_16 // 2) - 1 and high <= TOP_16 // 2:
        return values.astype(np.int16), (f"{bits} bits per value become 16, in which all values fit",)
    if values.dtype.kind == "i":
        raise ValueError(f"{values.dtype} values that do not fit into 16 bits: convert it to floating point first")
    scaled = np.rint(values.astype(np.float64) * (TOP_16 / (2**bits - 1))).astype(np.uint16)
    return scaled, (f"{bits} bits per value are reduced to 16",)


def _split(values: np.ndarray, page: tifffile.TiffPage, count: int) -> Values:
    """The first `count` channels, and a further one if it is transparency."""
    extra = values.shape[2] - count
    if extra > 1:
        raise ValueError(f"{values.shape[2]} channels: {ACCEPTED}")
    pixels = values[..., :count]
    if not extra:
        return Values(pixels)
    if page.extrasamples and not TRANSPARENCY & set(page.extrasamples):
        return Values(pixels, notes=("an extra channel that is not transparency is left out",))
    alpha = values[..., count]
    if tifffile.EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
        pixels = unpremultiply(pixels, alpha)
    return Values(pixels, alpha)
