"""Pictures of DNGs that LibRaw reads wrongly or not at all: decoded here, and put into plain DNGs that it reads right.

LibRaw divides floating point by the file's largest value, takes the mean of black levels that differ from row to row,
loses rows of some mosaics in two columns of tiles, and knows neither JPEG XL nor integers that are compressed by
Deflate. It applies the opcodes that map the values of a lossy file to linear light only to lossy JPEG.

Source: Adobe, "Digital Negative (DNG) Specification" 1.7.1, chapter 4 (tags) and chapter 5 (from raw values to linear
light); ISO/IEC 18181-1, annex D (the header of JPEG XL).

Legend: H x W photosites or pixels, h x w the pattern of black levels, C values a pixel, 1 of a mosaic.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from denoise_cli.io.dng import (
    ACTIVE_AREA,
    BLACK_DELTAS,
    BLACK_LEVEL,
    BLACK_REPEAT,
    COLUMN_INTERLEAVE,
    COMPRESSION,
    IMAGE_LENGTH,
    IMAGE_WIDTH,
    JPEG,
    JXL,
    LINEARIZATION_TABLE,
    LOSSY_JPEG,
    NEW_SUBFILE_TYPE,
    OPCODE_LIST_2,
    ROW_INTERLEAVE,
    WHITE_LEVEL,
    active_area,
    first_number,
    main_directories,
    stated_size,
)
from denoise_cli.io.exif import LONG, RATIONAL, SHORT, UNDEFINED, Directory, Exif, Value, pack
from denoise_cli.io.frame import Frame
from denoise_cli.io.limits import refuse_too_large
from denoise_cli.io.opcodes import Curve, split_leading_curves
from denoise_cli.io.photo import WHITE
from denoise_cli.io.pieces import Pieces, refuse_out_of_proportion
from denoise_cli.io.tiff_pages import BUFFER

Numbers = NDArray[np.uint16]

# Tags.
BITS_PER_SAMPLE = 258
STRIP_OFFSETS, STRIP_BYTE_COUNTS = 273, 279
SAMPLES_PER_PIXEL = 277
ROWS_PER_STRIP = 278
PLANAR_CONFIGURATION = 284
TILE_WIDTH, TILE_LENGTH = 322, 323
TILE_OFFSETS, TILE_BYTE_COUNTS = 324, 325
SAMPLE_FORMAT = 339
# Values of tags.
UNCOMPRESSED = 1
DEFLATE = {8, 32946}
FLOATING_POINT = 3
LOSSLESS_FRAME = b"\xff\xc3"  # marker of a lossless JPEG's frame header, whose tenth byte counts the components
FRAME_WITHIN = 4096  # bytes from the start of a JPEG
# Compressions that neither LibRaw nor anything here decodes.
UNKNOWN_COMPRESSIONS = {9: "VC-5, as GoPro's cameras do"}
# What describes a file rather than its picture, what refers to positions or values as they were stored, and pointers.
LAYOUT_TAGS = {
    NEW_SUBFILE_TYPE, *range(255, 260), 266, 273, *range(277, 282), 284, 317, *range(322, 326), 330, 338, 339, 347,
    513, 514, *range(529, 533), 700, 34665, 34853, LINEARIZATION_TABLE, BLACK_REPEAT, BLACK_LEVEL, *BLACK_DELTAS,
    WHITE_LEVEL, ACTIVE_AREA, 50830, ROW_INTERLEAVE, 51008, COLUMN_INTERLEAVE, 52553, 52554, 52555,
}  # fmt: skip
QUAD = 2  # photosites: LibRaw reports black levels that repeat after so many rows and columns
BITS = 16
PEDESTAL = 1024  # the black level of values that have been mapped, for the noise below it


@dataclass(frozen=True)
class DecodedPicture:
    """The picture of a DNG that cannot be left to LibRaw.

    Attributes:
        plain: a DNG of it in uncompressed integers with a single black level, cropped to its active area.
        light: of floating point, (H, W) or (H, W, C): 0 is black, 1 is white; merged exposures reach beyond. None of
            integers, which `plain` holds without loss.
        bits: of a value in the file.
    """

    plain: bytes
    light: NDArray[np.float32] | None
    bits: int


def decode(data: bytes, max_pixels: int) -> DecodedPicture | None:
    """Decode the picture of a DNG if LibRaw would read it wrongly or not at all.

    Args:
        data: the file.
        max_pixels: larger pictures are refused.

    Returns:
        None if LibRaw reads the file as it is.

    Raises:
        ValueError: there is no whole picture, or it cannot be decoded; with a message for the user.
        tifffile.TiffFileError, RuntimeError and others: it is damaged.
    """
    first, picture = main_directories(data)
    H, W = stated_size(picture)
    refuse_too_large((W, H), max_pixels)
    pieces = pieces_of(picture)
    _refuse_missing_pixels(pieces, len(data))
    if W * H:
        refuse_out_of_proportion(data, pieces, max_pixels)
    compression = _compression(picture)
    if compression in UNKNOWN_COMPRESSIONS:
        way = UNKNOWN_COMPRESSIONS[compression]
        raise ValueError(f"its pixels are compressed by {way}, which is not supported: convert it to another DNG first")
    if not _is_beyond_libraw(picture) and not _loses_rows(data, picture):
        return None
    area = active_area(data)
    if area is None:
        raise ValueError("its active area is not within the picture")
    top, left, bottom, right = area
    values = _stored_values(data, picture)[top:bottom, left:right]
    bits = first_number(picture, BITS_PER_SAMPLE, BITS)
    is_float, (curves, _) = values.dtype.kind == "f", _curves(picture)
    if not is_float and not curves:
        return DecodedPicture(_plain(first, picture, *_with_one_black(values, picture)), None, bits)
    light = _light(values, picture)
    H, W = light.shape[:2]
    for curve in curves:
        curve.apply(np.atleast_3d(light), Frame(0, 0, H, W, (0, H), (0, W)))
    plain = _plain(first, picture, *_as_integers(light, 0 if is_float else PEDESTAL))
    return DecodedPicture(plain, light if is_float else None, bits)


def jpeg_xl_bits(data: bytes) -> int:
    """Bits of each value in a JPEG XL picture, which decoders return in that range: 10 bits end at 1023.

    Args:
        data: a codestream, or one in a container.

    Raises:
        ValueError: it is neither, or begins with a preview or an animation.
    """
    start = data.find(b"\xff\x0a")
    if start not in (0, *(data.find(box) + skipped for box, skipped in ((b"jxlc", 4), (b"jxlp", 8)))):
        raise ValueError("not a JPEG XL picture")
    read = _BitReader(data[start + 2 :])
    _skip_size(read)
    if read(1):  # everything else has its default
        return 8
    if read(1):  # there are extra fields
        read(3)  # orientation
        if read(1):  # intrinsic size
            _skip_size(read)
        if read(1) or read(1):
            raise ValueError("a preview or an animation in its JPEG XL pictures")
    is_float = read(1)
    known = (32, 16, 24) if is_float else (8, 10, 12)
    choice = read(2)
    return known[choice] if choice < 3 else 1 + read(6)


class _BitReader:
    """Reads unsigned numbers from bytes, their lowest bit first; beyond the end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data[:64], "little")

    def __call__(self, count: int) -> int:
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        return value


def _skip_size(read: _BitReader) -> None:
    lengths = (9, 13, 18, 30)
    is_small = read(1)
    read(5 if is_small else lengths[read(2)])
    if read(3) == 0:  # no standard ratio: the width follows
        read(5 if is_small else lengths[read(2)])


def _compression(picture: Exif) -> int:
    return first_number(picture, COMPRESSION, UNCOMPRESSED)


def _is_beyond_libraw(picture: Exif) -> bool:
    return (
        first_number(picture, SAMPLE_FORMAT, 1) == FLOATING_POINT
        or _compression(picture) in {JXL, *DEFLATE}
        or bool(picture.main.keys() & set(BLACK_DELTAS))
        or (max(_black_repeat(picture)) > QUAD and len(set(picture.numbers(picture.main.get(BLACK_LEVEL)))) > 1)
        or bool(_compression(picture) != LOSSY_JPEG and _curves(picture)[0])
    )


def _loses_rows(data: bytes, picture: Exif) -> bool:
    """Whether LibRaw takes the components of a mosaic's tiles for rows, and so loses rows.

    It does that if a row of the picture has as many values as a tile's row has, times its components.
    """
    offsets = picture.numbers(picture.main.get(TILE_OFFSETS))
    if _compression(picture) != JPEG or first_number(picture, SAMPLES_PER_PIXEL, 1) != 1 or not offsets:
        return False
    tile = data[int(offsets[0]) :][:FRAME_WITHIN]
    frame = tile.find(LOSSLESS_FRAME)
    if not 0 <= frame < len(tile) - 9:
        return False
    components = tile[frame + 9]
    _, W = stated_size(picture)
    return components > 1 and components * first_number(picture, TILE_WIDTH, 0) == W


def _curves(picture: Exif) -> tuple[tuple[Curve, ...], bytes]:
    """The curves that make the stored values linear light, and the value of the tag without them."""
    return split_leading_curves(picture.main[OPCODE_LIST_2].data) if OPCODE_LIST_2 in picture.main else ((), b"")


def pieces_of(picture: Exif) -> Pieces:
    """The strips or tiles of a DNG's picture, whose tags these are."""
    (H, W), is_tiled = stated_size(picture), TILE_OFFSETS in picture.main
    offsets = picture.numbers(picture.main.get(TILE_OFFSETS) or picture.main.get(STRIP_OFFSETS))
    counts = picture.numbers(picture.main.get(TILE_BYTE_COUNTS) or picture.main.get(STRIP_BYTE_COUNTS))
    samples, bits = first_number(picture, SAMPLES_PER_PIXEL, 1), first_number(picture, BITS_PER_SAMPLE, 1)
    if _compression(picture) == UNCOMPRESSED and len(offsets) == 1 and not is_tiled:
        counts = (H * W * samples * bits // 8,)  # some writers state another one
    width, height = W, min(first_number(picture, ROWS_PER_STRIP, H), H)
    if is_tiled:
        width, height = first_number(picture, TILE_WIDTH, 0), first_number(picture, TILE_LENGTH, 0)
    places = [(int(start), int(length)) for start, length in zip(offsets, counts, strict=False)]
    needed = -(-W // width) * -(-H // height) if width and height else 0
    return Pieces("tiles" if is_tiled else "strips", (width, height), samples, needed, places)


def _refuse_missing_pixels(pieces: Pieces, length: int) -> None:
    """Refuse files that end before their pixels do: LibRaw fills some with zeros, and develops others as noise."""
    if not all(start for start, _ in pieces.places) or not sum(size for _, size in pieces.places):
        raise ValueError("it holds no pixels")
    if any(start + size > length for start, size in pieces.places):
        raise ValueError("the file ends before its pixel data does")


def _stored_values(data: bytes, picture: Exif) -> np.ndarray:
    """(H, W) or (H, W, C), as numbers that black and white levels refer to; with masked borders."""
    with BytesIO(data) as contents, tifffile.TiffFile(contents) as file:
        page = _page(file)
        if (page.imagelength, page.imagewidth) != stated_size(picture):
            raise ValueError("its directories contradict each other")
        values = page.asarray(buffersize=BUFFER)
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and values.ndim == 3:
            values = np.moveaxis(values, 0, -1)
        if values.dtype.kind != "f":
            values = _in_full_range(values, page)
    for axis, tag in enumerate((ROW_INTERLEAVE, COLUMN_INTERLEAVE)):
        values = _woven(values, first_number(picture, tag, 1), axis)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not numbers (NaN or infinity)")
        return values
    table = picture.numbers(picture.main.get(LINEARIZATION_TABLE))
    if not table:
        return values
    return np.array(table, np.uint16)[np.minimum(values, len(table) - 1)]


def _page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    first = file.pages[0].aspage()
    pages = [first, *(page.aspage() for page in first.pages or ())]
    full = [page for page in pages if not page.subfiletype]
    return max(full, key=lambda page: page.imagewidth * page.imagelength, default=first)


def _in_full_range(values: np.ndarray, page: tifffile.TiffPage) -> Numbers:
    """Integers as Adobe's SDK returns them: those of JPEG XL stretched to 8 or 16 bits, all others as they are."""
    if values.dtype.kind != "u" or values.dtype.itemsize > 2:
        raise ValueError(f"{values.dtype} values: only unsigned integers of up to 16 bits and floating point are read")
    if page.compression != JXL:
        return values.astype(np.uint16)
    file = page.parent.filehandle
    file.seek(page.dataoffsets[0])
    bits = jpeg_xl_bits(file.read(page.databytecounts[0]))
    if bits in (8, BITS):
        return values.astype(np.uint16)
    full = 2 ** (8 if bits < 8 else BITS) - 1
    stretched = np.rint(np.arange(2**bits) * (full / (2**bits - 1))).astype(np.uint16)
    return stretched[np.minimum(values, 2**bits - 1)]


def _woven(values: np.ndarray, fields: int, axis: int) -> np.ndarray:
    """Rows (or columns) in their order: stored are those of the first field, then those of the second and so on."""
    if fields <= 1:
        return values
    length = values.shape[axis]
    stored = np.concatenate([np.arange(field, length, fields) for field in range(fields)])
    woven = np.empty_like(values)
    woven[(slice(None),) * axis + (stored,)] = values
    return woven


@dataclass(frozen=True)
class _BlackLevels:
    """The numbers that stand for no light: the sum of a pattern that repeats, and of what rows and columns add.

    Attributes:
        pattern: (h, w, C).
        of_rows, of_columns: (H,) and (W,).
    """

    pattern: NDArray[np.float32]
    of_rows: NDArray[np.float32]
    of_columns: NDArray[np.float32]

    @property
    def are_integers(self) -> bool:
        return not any((levels % 1).any() for levels in (self.pattern, self.of_rows, self.of_columns))

    @property
    def largest(self) -> NDArray[np.float32]:
        """(C,), the largest that occur."""
        h, w, C = self.pattern.shape
        found = [
            self.pattern[y, x] + self.of_rows[y::h].max() + self.of_columns[x::w].max()
            for y, x in np.ndindex(min(h, len(self.of_rows)), min(w, len(self.of_columns)))
        ]
        return np.max(found, axis=0).reshape(C)

    def subtracted(self, values: np.ndarray) -> Iterator[tuple[tuple[slice, slice], NDArray[np.float32]]]:
        """Places that together are all of `values`, (H, W, C), and the values there without their black."""
        h, w, _ = self.pattern.shape
        for y, x in np.ndindex(h, w):
            place = slice(y, None, h), slice(x, None, w)
            site = values[place].astype(np.float32)
            site -= self.pattern[y, x]
            site -= self.of_rows[y::h, None, None]
            site -= self.of_columns[None, x::w, None]
            yield place, site


def _black_levels(picture: Exif, H: int, W: int, C: int) -> _BlackLevels:
    h, w = _black_repeat(picture)
    levels = np.array(picture.numbers(picture.main.get(BLACK_LEVEL)) or (0,), np.float32)
    of_columns, of_rows = (
        np.array(picture.numbers(picture.main.get(tag)) or np.zeros(length), np.float32)
        for tag, length in zip(BLACK_DELTAS, (W, H), strict=True)
    )
    if levels.size not in (1, h * w * C) or (len(of_rows), len(of_columns)) != (H, W):
        raise ValueError("its black levels do not match its rows, columns and colours")
    return _BlackLevels(np.broadcast_to(levels, (h * w * C,)).reshape(h, w, C), of_rows, of_columns)


def _black_repeat(picture: Exif) -> tuple[int, int]:
    numbers = picture.numbers(picture.main.get(BLACK_REPEAT)) or (1, 1)
    return max(int(numbers[0]), 1), max(int(numbers[-1]), 1)


def _white_levels(picture: Exif, C: int, otherwise: int) -> NDArray[np.float32]:
    """(C,); a level that is stated once holds for every colour."""
    levels = np.array(picture.numbers(picture.main.get(WHITE_LEVEL)) or (otherwise,), np.float32)
    return np.broadcast_to(levels[: C if levels.size >= C else 1], (C,))


def _light(values: NDArray[np.floating], picture: Exif) -> NDArray[np.float32]:
    """Floating point with 0 as black and 1 as white, (H, W) or (H, W, C)."""
    each = np.atleast_3d(values)
    H, W, C = each.shape
    black, white = _black_levels(picture, H, W, C), _white_levels(picture, C, otherwise=1)
    span = white - black.largest
    if (span <= 0).any():
        raise ValueError(f"its black level, {black.largest.max():g}, is not below its white level, {white.min():g}")
    light = np.empty(each.shape, np.float32)
    for place, site in black.subtracted(each):
        light[place] = np.divide(site, span, out=site)
    return light.reshape(values.shape)


def _with_one_black(values: Numbers, picture: Exif) -> tuple[Numbers, list[int], list[int]]:
    """Integers with the same black level in each place, that level and the white level for each of C colours.

    The level is the largest that occurs, so that noise below black remains, and white where it was. If levels are not
    integers, the range is widened to hold them.
    """
    each = np.atleast_3d(values)
    H, W, C = each.shape
    black, white = _black_levels(picture, H, W, C), _white_levels(picture, C, otherwise=2**BITS - 1)
    scale = 1 if black.are_integers else 2 ** max(BITS - int(white.max()).bit_length(), 0)
    level = np.ceil(black.largest * scale).astype(np.float32)
    numbers = np.empty_like(each)
    for place, site in black.subtracted(each):
        numbers[place] = np.rint(site * scale + level).clip(0, WHITE)
    return numbers.reshape(values.shape), list(map(int, level)), list(map(int, white * scale))


def _as_integers(light: NDArray[np.float32], black: int) -> tuple[Numbers, list[int], list[int]]:
    """Light up to white as integers, with the black and white level for each of C colours."""
    numbers = np.rint((light * np.float32(WHITE - black) + np.float32(black)).clip(0, WHITE)).astype(np.uint16)
    C = light.shape[2] if light.ndim == 3 else 1
    return numbers, [black] * C, [WHITE] * C


def _plain(first: Exif, picture: Exif, numbers: Numbers, black: list[int], white: list[int]) -> bytes:
    """An uncompressed DNG of a single directory, with all tags that describe the camera and the picture."""
    order, (H, W) = picture.order, numbers.shape[:2]
    C = numbers.shape[2] if numbers.ndim == 3 else 1
    exif = Exif(order)
    kept = {tag: value for tag, value in {**first.main, **picture.main}.items() if tag not in LAYOUT_TAGS}
    layout: Directory = {
        IMAGE_WIDTH: exif.long(W),
        IMAGE_LENGTH: exif.long(H),
        BITS_PER_SAMPLE: exif.packed(SHORT, [BITS] * C),
        COMPRESSION: exif.short(UNCOMPRESSED),
        STRIP_OFFSETS: exif.long(0),
        SAMPLES_PER_PIXEL: exif.short(C),
        ROWS_PER_STRIP: exif.long(H),
        STRIP_BYTE_COUNTS: exif.long(numbers.nbytes),
        PLANAR_CONFIGURATION: exif.short(1),
        BLACK_LEVEL: exif.packed(RATIONAL, black),
        WHITE_LEVEL: exif.packed(LONG, white),
        ACTIVE_AREA: exif.packed(LONG, [0, 0, H, W]),
    }
    exif.main = kept | layout
    curves, others = _curves(picture)
    if curves:
        exif.main[OPCODE_LIST_2] = Value(UNDEFINED, others)
    exif.main[STRIP_OFFSETS] = exif.long(len(pack(exif)))
    return b"".join([pack(exif), np.ascontiguousarray(numbers, np.dtype(np.uint16).newbyteorder(order)).data])
