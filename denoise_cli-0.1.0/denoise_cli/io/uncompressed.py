"""Uncompressed pictures in HEIF, which libheif is built without: integers of up to 16 bits, in the plain layouts.

Source: ISO/IEC 23001-17, sections 5.2 (what components there are) and 5.3 (how they are laid out).

Legend: H x W pixels, C components.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.io.item_properties import Property
from denoise_cli.io.limits import refuse_too_large

MONO, Y, CB, CR, R, G, B, ALPHA = range(8)  # components
NAMES = {MONO: "grey", Y: "Y", CB: "Cb", CR: "Cr", R: "R", G: "G", B: "B", ALPHA: "alpha"}
FULL, HALF_BOTH = 0, 2  # resolution of colours: that of the picture, or half of it in both directions
PLANES, PIXELS, MIXED, ROWS, PLANES_OF_TILES = range(5)  # what follows what
PROFILES = {b"rgb3": (R, G, B), b"rgba": (R, G, B, ALPHA)}  # of 8 bits, pixel by pixel
TURNED = {b"irot", b"imir", b"clap"}
COMPRESSED = b"cmpC"
MOST_BITS = 16


@dataclass(frozen=True)
class Layout:
    """How a picture is stored.

    Attributes:
        size: width and height.
        tile: width and height of its tiles.
        components: what they are, in their order.
        bits: of each value.
        padded: bits that each value takes.
        interleave: what follows what.
        subsampling: of the colours.
        pixel_bits: that each pixel takes, if they are stored pixel by pixel; 0 for as many as its values take.
        row_align: bytes, of which rows take a multiple; 0 for any number.
        tile_align: the same for tiles.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    components: tuple[int, ...]
    bits: int
    padded: int
    interleave: int
    subsampling: int = FULL
    pixel_bits: int = 0
    row_align: int = 0
    tile_align: int = 0


def decode(data: bytes, properties: list[Property], max_pixels: int) -> tuple[NDArray[np.generic], int]:
    """The values of a picture, and how many bits each has.

    Args:
        data: of the item.
        properties: of the picture.
        max_pixels: larger pictures are refused.

    Returns:
        (H, W, C), uint8 or uint16; C = 1 (grey) to 4 (RGB with alpha).

    Raises:
        ValueError: it is of a kind that is not read; with a message for the user.
    """
    known = dict(properties)
    if turned := TURNED & known.keys():
        raise ValueError(f"an uncompressed picture to be turned or cut ({min(turned).decode()}): convert it first")
    if COMPRESSED in known:
        raise ValueError("an uncompressed picture that was compressed all the same (cmpC): convert it first")
    try:
        layout = _layout(known, max_pixels)
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError("the description of its uncompressed picture is damaged") from error
    planes = _planes(data, layout)
    if Y in planes:
        return _rgb(planes), 8
    order = [name for name in (MONO, R, G, B, ALPHA) if name in planes]
    values = np.stack([planes[name] for name in order], axis=-1)
    return values.astype(np.uint8 if layout.bits <= 8 else np.uint16), layout.bits


def _layout(known: Mapping[bytes, bytes], max_pixels: int) -> Layout:
    size: tuple[int, int] = struct.unpack(">2I", known[b"ispe"][4:12])
    refuse_too_large(size, max_pixels)
    if not min(size):
        raise ValueError(f"{size[0]} x {size[1]} pixels: it is damaged")
    uncc = known[b"uncC"]
    if uncc[0]:
        profile = uncc[4:8]
        if profile not in PROFILES:
            raise ValueError(f"an uncompressed picture of the profile {profile.decode('latin-1')!r}: convert it first")
        return Layout(size, size, PROFILES[profile], 8, 8, PIXELS)
    (count,) = struct.unpack_from(">I", uncc, 8)
    if count > len(NAMES):
        raise ValueError(f"an uncompressed picture of {count} components: only grey and RGB, with alpha, are read")
    entries = [struct.unpack_from(">HBBB", uncc, 12 + 5 * number) for number in range(count)]
    sampling, interleave, block, flags, pixel, row, tile, columns, rows = struct.unpack_from(
        ">4B5I", uncc, 12 + 5 * count
    )
    kinds = [kind for (kind,) in struct.iter_unpack(">H", known[b"cmpd"][4:])]
    components = tuple(kinds[index] for index, _, _, _ in entries)
    names = ", ".join(NAMES.get(kind, str(kind)) for kind in components)
    if set(components) - {ALPHA} not in ({MONO}, {R, G, B}, {Y, CB, CR}) or len(set(components)) < count:
        raise ValueError(f"an uncompressed picture of {names}: only grey and RGB, with alpha, are read")
    if len({entry[1:] for entry in entries}) > 1 or entries[0][2]:
        raise ValueError(f"an uncompressed picture whose components ({names}) are not integers of one depth")
    bits, align = entries[0][1] + 1, 8 * entries[0][3]
    is_colour_difference = Y in components and (bits, len(components)) == (8, 3)
    if (
        bits > MOST_BITS
        or (align and align < bits)
        or block
        or (flags & 0x80 and max(bits, align) > 8)
        or interleave not in (PLANES, PIXELS, ROWS, PLANES_OF_TILES, *((MIXED,) if is_colour_difference else ()))
        or sampling != (HALF_BOTH if is_colour_difference else FULL)
        or (is_colour_difference and (interleave not in (PLANES, MIXED) or row or tile or columns or rows))
        or (interleave == ROWS and row)
        or (Y in components and not is_colour_difference)
        or any(length % (number + 1) for length, number in zip(size, (columns, rows), strict=True))
    ):
        kind = f"{names} of {bits} bits, interleaving {interleave}, sampling {sampling}, blocks of {block} bytes"
        raise ValueError(f"an uncompressed picture in a layout that is not read ({kind}): convert it first")
    tile_size = size[0] // (columns + 1), size[1] // (rows + 1)
    return Layout(size, tile_size, components, bits, align or bits, interleave, sampling, 8 * pixel, row, tile)


def _planes(data: bytes, layout: Layout) -> dict[int, NDArray[np.uint16]]:
    """What each component is, (H, W), half of that for colours of half the resolution."""
    (width, height), (tile_width, tile_height) = layout.size, layout.tile
    if layout.subsampling == HALF_BOTH:
        return _halved(data, layout)
    planes = {name: np.empty((height, width), np.uint16) for name in layout.components}
    tiles = [
        (slice(y, y + tile_height), slice(x, x + tile_width))
        for y in range(0, height, tile_height)
        for x in range(0, width, tile_width)
    ]
    count, whole = len(layout.components), layout.tile_align
    if layout.interleave == PIXELS:
        pixel = layout.pixel_bits or count * layout.padded
        if pixel < count * layout.padded:
            raise ValueError("the description of its uncompressed picture is damaged")
        sources = _rows(data, len(tiles), tile_height, tile_width * pixel, layout.row_align, whole)
        for place, rows in zip(tiles, sources, strict=True):
            bits = np.unpackbits(rows, axis=1, count=tile_width * pixel).reshape(tile_height, tile_width, pixel)
            # Values stand at the end of a pixel.
            values = bits[..., pixel - count * layout.padded :].reshape(tile_height, tile_width, count, layout.padded)
            for number, name in enumerate(layout.components):
                planes[name][place] = _numbers(values[:, :, number], layout.bits)
        return planes
    length = tile_width * layout.padded
    if layout.interleave == PLANES_OF_TILES:
        order = [(name, place) for name in layout.components for place in tiles]
        sources = _rows(data, len(order), tile_height, length, layout.row_align, whole)
        for (name, place), rows in zip(order, sources, strict=True):
            planes[name][place] = _values(rows, tile_width, layout)
        return planes
    sources = _rows(data, len(tiles), count * tile_height, length, layout.row_align, whole)
    for place, rows in zip(tiles, sources, strict=True):
        by_row = layout.interleave == ROWS
        shape = (tile_height, count) if by_row else (count, tile_height)
        parts = rows.reshape(*shape, -1).swapaxes(0, int(by_row))
        for name, part in zip(layout.components, parts, strict=True):
            planes[name][place] = _values(part, tile_width, layout)
    return planes


def _rows(
    data: bytes, tiles: int, rows: int, bits: int, row_align: int, tile_align: int
) -> Iterator[NDArray[np.uint8]]:
    """The bytes of each tile, by its rows, each of which begins at a byte."""
    stride = _aligned(-(-bits // 8), row_align)
    step = _aligned(rows * stride, tile_align)
    if step * tiles > _aligned(len(data), tile_align):
        raise ValueError("the file ends before its pixel data does")
    for start in range(0, step * tiles, step):
        yield np.frombuffer(data, np.uint8, rows * stride, start).reshape(rows, stride)


def _aligned(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple if multiple else length


def _values(rows: NDArray[np.uint8], width: int, layout: Layout) -> NDArray[np.uint16]:
    """(H, W) values from the bytes of rows."""
    bits = np.unpackbits(np.ascontiguousarray(rows), axis=1, count=width * layout.padded)
    return _numbers(bits.reshape(len(rows), width, layout.padded), layout.bits)


def _numbers(bits: NDArray[np.uint8], count: int) -> NDArray[np.uint16]:
    """Numbers from their bits, the last axis, of which the last ones count."""
    values: NDArray[np.uint16] = np.zeros(bits.shape[:-1], np.uint16)
    for place in range(bits.shape[-1] - count, bits.shape[-1]):
        values = (values << 1 | bits[..., place]).astype(np.uint16)
    return values


def _halved(data: bytes, layout: Layout) -> dict[int, NDArray[np.uint16]]:
    """Lightness, and colours of half the width and height, of 8 bits."""
    width, height = layout.size
    if width % 2 or height % 2:
        raise ValueError("an uncompressed picture with half as many colours, but an odd size: convert it first")
    if len(data) < width * height * 3 // 2:
        raise ValueError("the file ends before its pixel data does")
    values = np.frombuffer(data, np.uint8, width * height * 3 // 2).astype(np.uint16)
    light, colours = values[: width * height].reshape(height, width), values[width * height :]
    if layout.components[0] != Y:
        raise ValueError("an uncompressed picture with its colours before its lightness: convert it first")
    both = colours.reshape(-1, 2).T if layout.interleave == MIXED else colours.reshape(2, -1)
    small = (plane.reshape(height // 2, width // 2) for plane in both)
    return {Y: light} | dict(zip(layout.components[1:], small, strict=True))


def _rgb(planes: dict[int, NDArray[np.uint16]]) -> NDArray[np.uint8]:
    """RGB, by the matrix that files are read with that state none: that of JPEG."""
    H, W = planes[Y].shape
    wide = [planes[name].repeat(H // len(planes[name]), 0) for name in (Y, CB, CR)]
    wide = [plane.repeat(W // plane.shape[1], 1) for plane in wide]
    bands = [Image.fromarray(plane.astype(np.uint8)) for plane in wide]
    return np.asarray(Image.merge("YCbCr", bands).convert("RGB"))
