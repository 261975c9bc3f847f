"""The compressed tiles of a digital negative's picture: JPEG, which every raw converter reads, or JPEG XL.

Source: Adobe, "Digital Negative (DNG) Specification" 1.7.1: Compression, RowInterleaveFactor, ColumnInterleaveFactor,
and the opcode MapPolynomial.

Legend: H x W photosites or pixels, h x w those of a tile.
"""

import math
import struct
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from denoise_cli.io.codecs import load_imagecodecs
from denoise_cli.io.photo import WHITE

# The first two are lossless. Floating point is compressed by Deflate, as tifffile does.
Compression = Literal["jpeg", "jxl", "lossy-jpeg", "lossy-jxl", "deflate"]
Numbers = NDArray[np.uint16]

LARGEST_SIDE = 512  # of a tile
LARGEST_DEFLATED_SIDE = 256  # RawTherapee shows floating point in a single tile black
UNIT = 16  # TIFF: the sides of tiles are multiples of it
LEFT = 1  # lossless JPEG's predictor: the value to the left. Several raw converters know no other.
FIELDS = 2  # JPEG XL: a mosaic's rows, and its columns, are stored as two fields, see `separate_colours`
EFFORT = 3  # JPEG XL: more of it takes longer, and saves nothing on mosaics
DISTANCE = 0.2  # lossy JPEG XL: 1 is just visible
QUALITY = 95  # lossy JPEG
SQUARE_ROOT_WHITE = 255
MAP_POLYNOMIAL = 8  # the number of an opcode
OPCODE_VERSION = bytes([1, 3, 0, 0])


def tile_shape(H: int, W: int, compression: Compression = "jpeg") -> tuple[int, int]:
    """Rows and columns of each tile of a picture of H x W, W at least `UNIT`.

    Tiles are not wider than the picture: LibRaw and dcraw would start a new row in the middle of them. Nor are they
    exactly half as wide: LibRaw would take a mosaic's two components for two rows, and lose every other row. Those of
    Deflate are not higher than the picture either: LibRaw would take them for strips.
    """
    w = W // UNIT * UNIT
    if compression == "deflate":
        return min(LARGEST_DEFLATED_SIDE, max(H // UNIT, 1) * UNIT), min(LARGEST_DEFLATED_SIDE, w)
    w = min(LARGEST_SIDE, w)
    if 2 * w == W:
        w = math.ceil(W / 3 / UNIT) * UNIT
    return min(LARGEST_SIDE, math.ceil(H / UNIT) * UNIT), w


def compressed_tiles(values: Numbers, compression: Compression, is_mosaic: bool) -> Iterator[bytes]:
    """The tiles of a picture, row by row.

    Args:
        values: (H, W) of a mosaic or in shades of grey, or (H, W, 3).
        compression: of each tile; the lossy ones are for linear light in three colours.
        is_mosaic: whether values next to each other are of different colours.
    """
    H, W = values.shape[:2]
    h, w = tile_shape(H, W, compression)
    if is_mosaic and compression == "jxl":
        values = separate_colours(values)
    for top in range(0, H, h):
        for left in range(0, W, w):
            tile = values[top : top + h, left : left + w]
            match compression:
                case "jpeg" if is_mosaic:
                    yield _lossless_jpeg(_extended(_as_pairs(tile), h, w // 2, "constant"))
                case "jpeg":
                    yield _lossless_jpeg(_extended(tile, h, w, "constant"))
                case "lossy-jpeg":
                    yield _lossy_jpeg(_extended(tile, h, w, "edge"))
                case _:
                    yield _jpeg_xl(_extended(tile, h, w, "edge"), is_lossy=compression == "lossy-jxl")


def separate_colours(mosaic: Numbers) -> Numbers:
    """A mosaic, (H, W), as four pictures side by side, each of one colour.

    >>> separate_colours(np.array([[0, 1, 0], [2, 3, 2], [0, 1, 0]], np.uint16)).tolist()
    [[0, 0, 1], [0, 0, 1], [2, 2, 3]]
    """
    rows = np.concatenate([mosaic[field::FIELDS] for field in range(FIELDS)])
    return np.concatenate([rows[:, field::FIELDS] for field in range(FIELDS)], axis=1)


def squares(H: int, W: int, colours: int) -> bytes:
    """An OpcodeList that squares each colour of a picture, H x W: lossy JPEG holds the square roots of linear light."""
    opcodes = []
    for colour in range(colours):
        area, polynomial = (0, 0, H, W, colour, 1, 1, 1), (0.0, 0.0, 1.0)
        body = struct.pack(f">8II{len(polynomial)}d", *area, len(polynomial) - 1, *polynomial)
        opcodes.append(struct.pack(">I4sII", MAP_POLYNOMIAL, OPCODE_VERSION, 0, len(body)) + body)
    return struct.pack(">I", colours) + b"".join(opcodes)


def _as_pairs(tile: Numbers) -> Numbers:
    """The two colours in each row of a mosaic as two components: (h, w) becomes (h, w / 2, 2)."""
    even = np.pad(tile, ((0, 0), (0, tile.shape[1] % 2)), mode="edge")
    return even.reshape(len(even), -1, 2)


def _extended(tile: Numbers, h: int, w: int, rows: Literal["edge", "constant"]) -> Numbers:
    """A tile at the edge of the picture, brought to h x w; longer rows take no room, nor do rows of zeros in JPEG."""
    unchanged = [(0, 0)] * (tile.ndim - 2)
    wide = np.pad(tile, [(0, 0), (0, w - tile.shape[1]), *unchanged], mode="edge")
    return np.pad(wide, [(0, h - len(tile)), (0, 0), *unchanged], mode=rows)


def _lossless_jpeg(tile: Numbers) -> bytes:
    space = "rgb" if tile.shape[2:] == (3,) else None
    encoded = load_imagecodecs().jpeg_encode(
        tile, colorspace=space, outcolorspace=space, lossless=True, predictor=LEFT, bitspersample=16
    )
    return bytes(encoded)


def _lossy_jpeg(tile: Numbers) -> bytes:
    roots = np.rint(np.sqrt(tile / np.float32(WHITE)) * SQUARE_ROOT_WHITE).astype(np.uint8)
    return bytes(load_imagecodecs().jpeg_encode(roots, level=QUALITY, subsampling="444"))


def _jpeg_xl(tile: Numbers, is_lossy: bool) -> bytes:
    return bytes(
        load_imagecodecs().jpegxl_encode(tile, effort=EFFORT, distance=DISTANCE if is_lossy else None, numthreads=1)
    )
