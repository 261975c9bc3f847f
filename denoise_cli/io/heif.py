"""HEIF through libheif: read in the file's bit depth, written with 8 or 10 bits per value."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np

from denoise_cli.io import auxiliary, c2pa, item_properties, mastering, pillow, uncompressed
from denoise_cli.io.codecs import load_library
from denoise_cli.io.decoding import REJECTIONS, UNNOTICED_DAMAGE
from denoise_cli.io.exif import PREFIX, pack, parse
from denoise_cli.io.heif_grid import refuse_too_large_inside
from denoise_cli.io.heif_items import primary_item
from denoise_cli.io.item_properties import PROFILES
from denoise_cli.io.limits import refuse_too_large
from denoise_cli.io.metadata import Metadata, dpi_of, exif_for_result, split_orientation
from denoise_cli.io.photo import Photo, from_16_bits, scale_to_16_bits, split_alpha, unpremultiply

BITS = 10  # what the decoders of phones and browsers take beside 8
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
# Of libheif's scale. The errors are those of a JPEG of quality 95, whose size libheif's 95 is twice as large as.
DEFAULT_QUALITY = 75
FULL_COLOUR_QUALITY = 90  # from which colours have the resolution of the picture, as in JPEG
# Sides of tiles, in pixels. Pictures that are larger than the largest are cut up, as phones do, whose decoders take no
# larger ones.
SMALLEST_TILE, LARGEST_TILE, TILE_STEP = 512, 2048, 64
MAX_TILES = 990  # libheif takes 1000 items: tiles, the picture that they make up, and metadata
SRGB = {"color_primaries": 1, "transfer_characteristics": 13}
UNCOMPRESSED = b"unci"  # the kind of an item
JPEG = b"jpeg"
BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", JPEG}


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
    if any(kind in data[: item_properties.SEARCHED] for kind in (UNCOMPRESSED, JPEG)):
        kind, item = primary_item(data)
        if kind in (UNCOMPRESSED, JPEG):
            return _without_libheif(data, kind, item, max_pixels)
    refuse_too_large_inside(data, max_pixels)
    container = load("reading HEIF").open_heif(data, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    if not len(container):
        raise ValueError("holds no picture that libheif can decode")
    picture = container[container.primary_index]
    info: dict[str, Any] = picture.info
    refuse_too_large(picture.size, max_pixels)
    properties = item_properties.properties_of(data)
    pixels, alpha = split_alpha(scale_to_16_bits(np.atleast_3d(np.asarray(picture)), info["bit_depth"]))
    if item_properties.is_monochrome(properties):  # read as RGB if there is transparency
        pixels = pixels[..., :1]
    if alpha is not None and picture.premultiplied_alpha:
        pixels = unpremultiply(pixels, alpha)
    exif = parse(info.get("exif") or b"")
    _, packed = split_orientation(exif)  # libheif has already turned the picture upright
    dpi = dpi_of(exif)
    metadata = Metadata(
        exif=packed,
        xmp=info.get("xmp") or None,
        icc=info.get("icc_profile") or None,
        cicp=item_properties.colours_of(data, properties),
        dpi=dpi,
        mastering=mastering.of_boxes(properties),
    )
    others = [other for index, other in enumerate(container) if index != container.primary_index]
    kept, damaged = _kept(others, max_pixels)
    metadata = replace(metadata, pictures=kept)
    repairs = (f"damaged and left out: {auxiliary.more_pictures(damaged)}",) if damaged else ()
    left_out = len(others) - len(kept) - damaged
    notes = auxiliary.notes_on(data, left_out) + repairs + c2pa.notes_on(data, "heif")
    depth = info["bit_depth"] if pixels.dtype == np.uint16 else None
    return Photo(pixels, alpha, "heif", metadata, notes, depth=depth, repairs=repairs)


def _kept(pictures: Sequence[Any], max_pixels: int) -> tuple[tuple[Any, ...], int]:
    """Those of a file's other pictures that can be written again, decoded; and how many are damaged."""
    kept, damaged = [], 0
    room = MAX_TILES // 2  # the rest is for the photo itself
    for picture in pictures:
        tiles = -(-picture.size[0] // SMALLEST_TILE) * -(-picture.size[1] // SMALLEST_TILE)
        if picture.size[0] * picture.size[1] > max_pixels or tiles > room:
            continue
        try:
            picture.load()
        except (*REJECTIONS, *UNNOTICED_DAMAGE):
            damaged += 1
        else:
            kept.append(picture)
            room -= tiles
    return tuple(kept), damaged


def _without_libheif(data: bytes, kind: bytes, item: bytes, max_pixels: int) -> Photo:
    """The primary picture of a kind that libheif is built without: not compressed, or as a JPEG."""
    properties = item_properties.properties_of(data)
    if kind == JPEG:
        if turned := uncompressed.TURNED & dict(properties).keys():
            raise ValueError(f"a JPEG in HEIF, to be turned or cut ({min(turned).decode()}): convert it first")
        photo = pillow.decode(item, max_pixels)
        pixels, alpha, depth = photo.pixels, photo.alpha, None
    else:
        values, bits = uncompressed.decode(item, properties, max_pixels)
        pixels, alpha = split_alpha(_scaled(values, bits))
        depth = bits if 8 < bits < 16 else None
    profiles = [contents[4:] for name, contents in properties if name == b"colr" and contents[:4] in PROFILES]
    cicp = item_properties.colours_of(data, properties)
    notes = auxiliary.notes_on(data) + c2pa.notes_on(data, "heif")
    if any(name in data[: item_properties.SEARCHED] for name in (b"Exif", b"application/rdf+xml")):
        notes += ("left out: EXIF and XMP",)
    metadata = Metadata(icc=next(iter(profiles), None), cicp=cicp, mastering=mastering.of_boxes(properties))
    return Photo(pixels, alpha, "heif", metadata, notes, depth=depth)


def _scaled(values: np.ndarray, bits: int) -> np.ndarray:
    """Values of fewer than 8 bits to 8, of more to 16."""
    if bits < 8:
        return np.rint(values * (255 / (2**bits - 1))).astype(np.uint8)
    return scale_to_16_bits(values, bits)


def encode(photo: Photo, software: str, quality: int) -> bytes:
    """The bytes of a file with 8 bits per value, or 10 if the photo has more, compressed as HEVC.

    Arguments are those of `image.write`.

    Raises:
        MissingDependency: pillow-heif is not installed.
    """
    pillow_heif = load("writing HEIF")
    values = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    H, W, C = values.shape
    mode = MODES[C]
    if photo.bits > 8:
        values, mode = from_16_bits(values, BITS), f"{mode};{BITS}"
    meta = photo.metadata
    picture = pillow_heif.from_bytes(mode, (W, H), values.tobytes())
    picture.info["icc_profile"] = None if meta.cicp else meta.icc
    buffer = BytesIO()
    picture.save(
        buffer,
        quality=quality,
        chroma="444" if quality >= FULL_COLOUR_QUALITY else "420",
        exif=PREFIX + pack(exif_for_result(meta, software, W, H)),
        xmp=meta.xmp,
        tile_size=tile_side(W, H),
        append_images=list(meta.pictures),
        **_numbers(meta),
    )
    return buffer.getvalue()


def tile_side(width: int, height: int) -> int:
    """The side of the square tiles that fill a picture with the least padding, in pixels; the largest of several.

    >>> tile_side(2048, 1400)
    2048
    >>> tile_side(2100, 1400)
    704
    >>> tile_side(8192, 4096)
    2048
    """
    if max(width, height) <= LARGEST_TILE:
        return LARGEST_TILE
    counts = {
        side: -(-width // side) * -(-height // side)
        for side in range(LARGEST_TILE, SMALLEST_TILE - TILE_STEP, -TILE_STEP)
    }
    allowed = [side for side, count in counts.items() if count <= MAX_TILES]
    return min(allowed, key=lambda side: counts[side] * side**2, default=2 * LARGEST_TILE)


def load(purpose: str) -> ModuleType:
    """Import pillow-heif; see `load_library`."""
    return load_library("pillow_heif", "pillow-heif", purpose)


def _numbers(meta: Metadata) -> dict[str, int]:
    """The code points of the colours, for the encoder; none if a profile says them."""
    if meta.cicp is None:
        return {} if meta.icc else SRGB
    return {
        "color_primaries": meta.cicp.primaries,
        "transfer_characteristics": meta.cicp.transfer,
        "matrix_coefficients": meta.cicp.matrix_for_lightness,
    }
