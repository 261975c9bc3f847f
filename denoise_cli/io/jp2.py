"""JPEG 2000 through imagecodecs: 8 and 16 bits, with colours and metadata in boxes.

imagecodecs is given the codestream alone: from a whole file it would convert the colours of a profile to sRGB, in 8
bits, and would not return the profile. So the boxes around the codestream are read and written here.

Source: ISO/IEC 15444-1, annexes A and I; Adobe, "XMP Specification" part 3 (2016), section 1.1.4.
"""

import math
import struct
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from denoise_cli.imaging.pixels import Pixels, inverted
from denoise_cli.io import c2pa, photoshop
from denoise_cli.io.boxes import box, boxes_of
from denoise_cli.io.codecs import count_threads, load_imagecodecs
from denoise_cli.io.companions import RESOURCES
from denoise_cli.io.exif import pack, parse
from denoise_cli.io.limits import refuse_too_large
from denoise_cli.io.metadata import TRANSPOSED, Metadata, dpi_of, exif_for_result, split_orientation
from denoise_cli.io.native import Native
from denoise_cli.io.photo import Photo, scale_to_16_bits, unpremultiply
from denoise_cli.io.profiles import COLOUR_SPACE

SIGNATURE = box(b"jP  ", b"\r\n\x87\n")
CODESTREAM = b"\xff\x4f\xff\x51"
FILE_TYPE = box(b"ftyp", b"jp2 \x00\x00\x00\x00jp2 ")
EXIF_UUID = b"JpgTiffExif->JP2"
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
IPTC_UUID = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
# Photoshop's own for EXIF and IPTC, and for its resources, which have a thumbnail of the old picture.
EXIF_BY_PHOTOSHOP = bytes.fromhex("0537cdab9d0c4431a72afa561f2a113e")
IPTC_BY_PHOTOSHOP = bytes.fromhex("09a14e97c0b442e0bebf36df6f0ce36f")
RESOURCES_UUID = bytes.fromhex("2c4c0100850440b9a03e562148d6dfeb")
WRITTEN_ANEW = (EXIF_UUID, XMP_UUID, IPTC_UUID, EXIF_BY_PHOTOSHOP, IPTC_BY_PHOTOSHOP)
GEO_UUID = bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03")
JUMBF = b"jumb"
# Boxes outside of the header: those that say how the file is laid out, and those that are carried, in words for the
# user.
LAYOUT = {b"jP  ", b"ftyp", b"jp2h", b"jp2c", b"rreq", b"jpch", b"jplh", b"free"}
CARRIED = {b"xml ": "XML", b"uuid": "data of another program (UUID)", b"uinf": "list of UUIDs", b"asoc": "associations"}
CARRIED |= {JUMBF: "JUMBF"}
READ_IN_HEADER = {b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef", b"res "}
RESOLUTIONS = (b"resd", b"resc")  # to show it in, before that it was captured in
METRES_PER_INCH = 0.0254
DIVISOR, POWER = 254, 4  # of dots per inch and of ten, to make dots per metre
LARGEST = 2**16 - 1  # of the numbers of a fraction
MAX_CHANNELS = 5  # more are refused before they are decoded
# The decoder takes 6 kB for each tile before it decodes anything. More tiles are refused if they are smaller.
MOST_TILES, SMALL_TILE = 1024, 4096
# Colour spaces by number, of a box whose first byte is `BY_NUMBER`.
BY_NUMBER = 1
BY_PROFILE = (2, 3)
CMYK, SRGB, GREY, SYCC = 12, 16, 17, 18
NUMBERS = {1: GREY, 3: SRGB, 4: CMYK}  # by channels
CMYK_CHANNELS = 4
CMYK_PROFILE = b"CMYK"
COLOUR, ALPHA, PREMULTIPLIED = range(3)  # types of channels
WHOLE_PICTURE = 0  # what a channel of transparency is about
THROUGH_PALETTE = 1  # how a channel is made
WAVELETS = 7  # as the compression
LOSSLESS = 100  # as a quality


def is_jpeg_2000(data: bytes) -> bool:
    """Whether a file is JPEG 2000, by its first bytes."""
    return data.startswith((SIGNATURE, CODESTREAM))


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode a still picture.

    Args:
        data: the file, or a codestream alone.
        max_pixels: larger pictures are refused.

    Raises:
        MissingDependency: imagecodecs is not installed.
        ValueError: the picture is too large or of an unsupported kind; with a message for the user.
        RuntimeError and others: the file is damaged.
    """
    boxes = _boxes_of(data)
    codestream = _codestream_in(boxes)
    size = size_of(codestream)
    refuse_too_large((size.width, size.height), max_pixels)
    refuse_many_tiles(size)
    if size.channels > MAX_CHANNELS:
        raise ValueError(f"{size.channels} channels: only grey or RGB, with or without alpha, are read")
    header = next((list(boxes_of(contents)) for name, contents in boxes if name == b"jp2h"), [])
    number, icc = _colours(header)
    is_cmyk = icc[COLOUR_SPACE] == CMYK_PROFILE if icc is not None else number == CMYK
    if is_cmyk and size.channels < CMYK_CHANNELS:
        raise ValueError(f"{size.channels} channels of CMYK: it is damaged")
    if size.is_signed:
        raise ValueError("signed values: convert it to unsigned integers first")
    values = load_imagecodecs().jpeg2k_decode(data if number == SYCC and icc is None else codestream)
    values, bits = _with_palette(np.atleast_3d(values), size.bits, header)
    pixels, alpha, notes = _split(_to_photo_type(values, bits), header, CMYK_CHANNELS if is_cmyk else None)
    black: Pixels | None = None
    if is_cmyk:
        pixels, black = inverted(pixels[..., :3]), inverted(pixels[..., 3])
    exif_block, xmp, iptc = _metadata_of(boxes)
    natives, lost = _others_of(boxes, header)
    notes += (f"left out: {', '.join(lost)}",) if lost else ()
    notes += (c2pa.REMOVED,) if any(map(_is_manifest, boxes)) else ()
    exif = parse(exif_block or b"")
    orientation, packed = split_orientation(exif, xmp)
    stated = _dots_per_inch(header)
    dpi = dpi_of(exif) or (stated[::-1] if stated and orientation in TRANSPOSED else stated)
    metadata = Metadata(exif=packed, xmp=xmp, icc=icc, iptc=iptc, dpi=dpi, natives=natives)
    return Photo(pixels, alpha, "jp2", metadata, notes, black=black).turned(orientation)


def encode(photo: Photo, software: str, quality: int) -> bytes:
    """The bytes of a file with 8 or 16 bits per value, as the photo has them; arguments are those of `image.write`."""
    inks = None if photo.black is None else [inverted(photo.pixels), inverted(photo.black)]
    opacity = [] if photo.alpha is None else [photo.alpha]
    values = np.dstack([*(inks or [photo.pixels]), *opacity])
    H, W, C = values.shape
    meta = photo.metadata
    codestream = load_imagecodecs().jpeg2k_encode(
        values if C > 1 else values[..., 0],
        level=0 if quality == LOSSLESS else _signal_to_noise(quality),
        codecformat="j2k",
        planar=False,
        numthreads=count_threads(),
    )
    return b"".join(
        [
            SIGNATURE,
            FILE_TYPE,
            box(b"jp2h", *_header_boxes(photo, H, W, C)),
            box(b"uuid", EXIF_UUID, pack(exif_for_result(meta, software, W, H))),
            *(box(b"uuid", name, body) for name, body in ((XMP_UUID, meta.xmp), (IPTC_UUID, meta.iptc)) if body),
            *(box(*native.data) for native in meta.natives if native.kind == "jp2"),
            box(b"jp2c", bytes(codestream)),
        ]
    )


@dataclass(frozen=True)
class Size:
    """What a codestream says first: width and height in pixels, values of each pixel and their bits, and tiles."""

    width: int
    height: int
    channels: int
    bits: int
    is_signed: bool
    tiles: int


def codestream_of(data: bytes) -> bytes:
    """The codestream of a file; empty if it has none.

    Raises:
        ValueError: its boxes are damaged.
    """
    return _codestream_in(_boxes_of(data))


def size_of(codestream: bytes) -> Size:
    """What a codestream says first.

    Raises:
        ValueError: it is no codestream.
        struct.error, IndexError: it ends too soon.
    """
    if not codestream.startswith(CODESTREAM):
        raise ValueError("holds no JPEG 2000 codestream")
    right, bottom, left, top, across, down, from_left, from_top = struct.unpack_from(">8I", codestream, 8)
    (channels,) = struct.unpack_from(">H", codestream, 40)
    depth = codestream[42]
    if not across * down:
        raise ValueError("tiles without pixels: it is damaged")
    tiles = math.ceil(max(right - from_left, 0) / across) * math.ceil(max(bottom - from_top, 0) / down)
    width, height = max(right - left, 0), max(bottom - top, 0)
    return Size(width, height, channels, (depth & 127) + 1, bool(depth & 128), tiles)


def refuse_many_tiles(size: Size) -> None:
    """Refuse a picture whose tiles would take far more memory than its pixels.

    Raises:
        ValueError: with a message for the user.
    """
    if size.tiles > max(MOST_TILES, size.width * size.height // SMALL_TILE):
        raise ValueError(f"{size.tiles} tiles in {size.width} x {size.height} pixels: it is damaged")


def _boxes_of(data: bytes) -> list[tuple[bytes, bytes]]:
    return list(boxes_of(data)) if data.startswith(SIGNATURE) else [(b"jp2c", data)]


def _codestream_in(boxes: list[tuple[bytes, bytes]]) -> bytes:
    return next((contents for name, contents in boxes if name == b"jp2c"), b"")


def _colours(header: list[tuple[bytes, bytes]]) -> tuple[int | None, bytes | None]:
    """The colour space by its number, and the profile; None for what the file does not state."""
    number, icc = None, None
    for name, contents in header:
        if name == b"colr" and contents[0] in BY_PROFILE:
            icc = icc or contents[3:]
        if name == b"colr" and contents[0] == BY_NUMBER and number is None:
            (number,) = struct.unpack_from(">I", contents, 3)
    space = b"RGB " if icc is None else icc[COLOUR_SPACE]
    if space not in (b"RGB ", b"GRAY", CMYK_PROFILE):
        raise ValueError(f"{space.decode('ascii', 'replace').strip()} colours: convert it to RGB or grey first")
    if icc is None and number not in (None, SRGB, GREY, SYCC, CMYK):
        raise ValueError(f"unusual (number {number}) colours: convert it to RGB or grey first")
    return number, icc


def _with_palette(values: np.ndarray, bits: int, header: list[tuple[bytes, bytes]]) -> tuple[np.ndarray, int]:
    """The channels that a palette makes of indices, (H, W, 1), and their bits; other values as they are."""
    palette = next((contents for name, contents in header if name == b"pclr"), None)
    if palette is None:
        return values, bits
    entries, columns = struct.unpack_from(">HB", palette)
    depths = set(palette[3 : 3 + columns])
    mapped = next((contents for name, contents in header if name == b"cmap"), b"")
    if mapped != b"".join(struct.pack(">HBB", 0, THROUGH_PALETTE, column) for column in range(columns)):
        raise ValueError("an unusual palette: convert it to RGB first")
    if len(depths) != 1 or max(depths) > 15 or columns > MAX_CHANNELS or values.shape[2] > 1:
        raise ValueError("an unusual palette: convert it to RGB first")
    depth = 1 + max(depths)
    table = np.frombuffer(palette, ">u1" if depth <= 8 else ">u2", entries * columns, 3 + columns)
    colours = table.reshape(entries, columns).astype(np.uint8 if depth <= 8 else np.uint16)
    return colours[np.minimum(values[..., 0], entries - 1)], depth


def _to_photo_type(values: np.ndarray, bits: int) -> np.ndarray:
    """(H, W, C) in uint8 or uint16, with the type's maximum as white."""
    if bits < 8:
        return (values.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8)
    return values if bits == 16 else scale_to_16_bits(values, bits)


def _split(
    values: np.ndarray, header: list[tuple[bytes, bytes]], inks: int | None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Colours, (H, W, 1, 3 or as many as inks), transparency, (H, W), and what to tell the user of other channels."""
    channels = values.shape[2]
    colours = inks or (3 if channels >= 3 else 1)
    definitions = _definitions(header)
    order = [definitions.get((COLOUR, colour + 1), colour) for colour in range(colours)]
    pixels = np.ascontiguousarray(values[..., order if max(order) < channels else range(colours)])
    if channels == colours:
        return pixels, None, ()
    straight, premultiplied = (definitions.get((kind, WHOLE_PICTURE)) for kind in (ALPHA, PREMULTIPLIED))
    alpha = straight if premultiplied is None else premultiplied
    if not definitions and channels == colours + 1:
        alpha = colours  # what else it may be is not said
    left_out = channels - colours - (alpha is not None)
    notes = ("an extra channel that is not transparency is left out",) if left_out else ()
    if alpha is None or alpha >= channels:
        return pixels, None, notes
    opacity = np.ascontiguousarray(values[..., alpha])
    return pixels if premultiplied is None else unpremultiply(pixels, opacity), opacity, notes


def _definitions(header: list[tuple[bytes, bytes]]) -> dict[tuple[int, int], int]:
    """The channel for each type and what it is about: a colour, counted from 1, or the whole picture."""
    definitions = next((contents for name, contents in header if name == b"cdef"), b"\x00\x00")
    (count,) = struct.unpack_from(">H", definitions)
    return {(kind, about): one for one, kind, about in struct.iter_unpack(">HHH", definitions[2 : 2 + 6 * count])}


def _metadata_of(boxes: list[tuple[bytes, bytes]]) -> tuple[bytes | None, bytes | None, bytes | None]:
    """EXIF, XMP and IPTC."""
    found = {contents[:16]: contents[16:] for name, contents in reversed(boxes) if name == b"uuid"}
    exif = found.get(EXIF_UUID) or found.get(EXIF_BY_PHOTOSHOP)
    return exif, found.get(XMP_UUID), found.get(IPTC_UUID) or found.get(IPTC_BY_PHOTOSHOP)


def _others_of(
    boxes: list[tuple[bytes, bytes]], header: list[tuple[bytes, bytes]]
) -> tuple[tuple[Native, ...], list[str]]:
    """What else a file holds, as the name and the contents of boxes; and what is not carried, in words for the user."""
    natives: list[Native] = []
    lost = [name.decode("latin-1").strip() for name, _ in header if name not in READ_IN_HEADER]
    resolutions = next((dict(boxes_of(contents)) for name, contents in header if name == b"res "), {})
    lost += ["resc"] if len({resolutions[name] for name in RESOLUTIONS if name in resolutions}) > 1 else []
    for name, contents in boxes:
        uuid = contents[:16] if name == b"uuid" else b""
        if uuid in WRITTEN_ANEW or _is_manifest((name, contents)):
            continue
        if uuid == RESOURCES_UUID:
            kept = uuid + photoshop.other_resources(contents[16:])
            natives.append(Native("jp2", RESOURCES, (name, kept), lies_over=True))
        elif name in CARRIED:
            what = "GeoJP2" if uuid == GEO_UUID else CARRIED[name]
            natives.append(Native("jp2", what, (name, contents), lies_over=True))
        elif name not in LAYOUT:
            lost.append(name.decode("latin-1").strip())
    return tuple(natives), [f"box {name}" for name in dict.fromkeys(lost)]


def _is_manifest(named: tuple[bytes, bytes]) -> bool:
    name, contents = named
    return (name == b"uuid" and contents.startswith(c2pa.BOX)) or (name == JUMBF and c2pa.LABEL in contents)


def _dots_per_inch(header: list[tuple[bytes, bytes]]) -> tuple[float, float] | None:
    """The resolution, horizontal and vertical, as a box states it in dots per metre."""
    stated = next((contents for name, contents in header if name == b"res "), b"")
    found = {name: contents for name, contents in boxes_of(stated) if len(contents) == 10}
    for name in RESOLUTIONS:
        if name in found:
            above, below, above_across, below_across, power, power_across = struct.unpack(">4H2b", found[name])
            if above and below and above_across and below_across:
                across = above_across / below_across * 10.0**power_across * METRES_PER_INCH
                return across, above / below * 10.0**power * METRES_PER_INCH
    return None


def _resolution(across: float, down: float) -> bytes:
    """The contents of a box with dots per inch as fractions of dots per metre, exact for whole numbers."""
    numbers = [Fraction(dots).limit_denominator(LARGEST // DIVISOR) for dots in (down, across)]
    parts = [(min(dots.numerator, LARGEST), dots.denominator * DIVISOR) for dots in numbers]
    return struct.pack(">4H2b", *parts[0], *parts[1], POWER, POWER)


def _header_boxes(photo: Photo, H: int, W: int, C: int) -> list[bytes]:
    icc = photo.metadata.icc
    colours = photo.pixels.shape[2] if photo.black is None else CMYK_CHANNELS
    parts = [box(b"ihdr", struct.pack(">IIHBBBB", H, W, C, photo.bits - 1, WAVELETS, 0, 0))]
    if icc:
        parts.append(box(b"colr", bytes([BY_PROFILE[0], 0, 0]), icc))
    else:
        parts.append(box(b"colr", struct.pack(">BBBI", BY_NUMBER, 0, 0, NUMBERS[colours])))
    if photo.alpha is not None:
        definitions = [(one, COLOUR, one + 1) for one in range(colours)] + [(colours, ALPHA, WHOLE_PICTURE)]
        parts.append(box(b"cdef", struct.pack(">H", C), *(struct.pack(">HHH", *one) for one in definitions)))
    if photo.metadata.dpi is not None:
        resolution = _resolution(*photo.metadata.dpi)
        parts.append(box(b"res ", *(box(name, resolution) for name in RESOLUTIONS)))
    return parts


def _signal_to_noise(quality: int) -> float:
    """Decibels that lossy compression keeps: about those of a JPEG of this quality."""
    return 28 + quality / 5
