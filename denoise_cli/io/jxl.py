"""JPEG XL through imagecodecs: integers of up to 16 bits and floating point, with metadata in boxes.

imagecodecs neither reads nor writes colour profiles, and takes values of more than 8 bits for linear light. So the
header of the codestream, which says what the colours are, is read and rewritten here.

Source: ISO/IEC 18181-2.
"""

from typing import Literal

import numpy as np

from denoise_cli.imaging.pixels import Pixels, from_float, strips, to_float
from denoise_cli.imaging.transfer import HLG, LINEAR, PQ, srgb_to_linear
from denoise_cli.io import c2pa, cicp
from denoise_cli.io.boxes import box, boxes_of
from denoise_cli.io.cicp import CodePoints
from denoise_cli.io.codecs import count_threads, load_imagecodecs
from denoise_cli.io.exif import pack, parse
from denoise_cli.io.jxl_header import (
    ALPHA,
    BLACK,
    BT709,
    BT2100,
    CODESTREAM,
    D65,
    DCI,
    DCI_CURVE,
    GREY,
    P3,
    PRIMARIES,
    RGB,
    SPOT,
    SRGB,
    SRGB_CURVE,
    WHITES,
    Colours,
    Header,
    is_lossless,
    peak_of,
    read_header,
    tone_mapping_for,
    with_colours,
)
from denoise_cli.io.jxl_light import DCI_GAMMA, PEAKS, light_of
from denoise_cli.io.limits import MAX_METADATA, refuse_too_large
from denoise_cli.io.mastering import Mastering
from denoise_cli.io.metadata import UPRIGHT, Metadata, dpi_of, exif_for_result, split_orientation
from denoise_cli.io.native import Native, still_true
from denoise_cli.io.photo import Photo, from_16_bits, scale_to_16_bits, split_alpha, unpremultiply
from denoise_cli.io.profiles import BT709_CURVE, icc_profile, is_srgb
from denoise_cli.io.xmp_claims import GAIN_MAP

CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
FILE_TYPE = box(b"ftyp", b"jxl \x00\x00\x00\x00jxl ")
COMPRESSED = b"brob"  # a box with the name and the compressed contents of another one
READ = (b"Exif", b"xml ")
LAYOUT = (b"JXL ", b"ftyp", b"jxll", b"jxlc", b"jxlp", b"jxli")
JUMBF, GAIN_MAP_BOX = b"jumb", b"jhgm"
WORDS = {b"jbrd": "what restores the JPEG that it was (jbrd)"}
MAX_EXTRA = 8  # channels besides the colours; more are refused before they are decoded
LOSSLESS = 100  # as a quality
# White and primaries by code points, and the transfer functions that both kinds of numbers have.
PRIMARIES_OF_CICP = {
    cicp.SRGB_PRIMARIES: (WHITES[D65], PRIMARIES[SRGB]),
    cicp.BT2020: (WHITES[D65], PRIMARIES[BT2100]),
    cicp.DISPLAY_P3: (WHITES[D65], PRIMARIES[P3]),
    cicp.DCI_P3: (WHITES[DCI], PRIMARIES[P3]),
}
TRANSFERS = (BT709, LINEAR, SRGB_CURVE, PQ, DCI_CURVE, HLG)


def holds(numbers: CodePoints) -> bool:
    """Whether a file can state these colours, by numbers or by a profile."""
    return numbers.primaries in PRIMARIES_OF_CICP or not numbers.is_hdr


def is_jpeg_xl(data: bytes) -> bool:
    """Whether a file is JPEG XL, by its first bytes."""
    return data.startswith((CODESTREAM, CONTAINER))


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode a still picture.

    Args:
        data: the file.
        max_pixels: larger pictures are refused.

    Raises:
        MissingDependency: imagecodecs is not installed.
        ValueError: the picture is too large or of an unsupported kind; with a message for the user.
        RuntimeError and others: the file is damaged.
    """
    boxes = _boxes_of(data)
    codestream = _joined(boxes)
    header = read_header(codestream)
    refuse_too_large(header.size, max_pixels)
    _refuse_unsupported(header)
    notes: tuple[str, ...] = ()
    numbers = None if header.colours is None else _cicp_of(header.colours)
    icc = header.profile
    if header.colours is not None and numbers is None:
        icc = _profile_of(header.colours)
    is_converted = header.colours is None and header.is_xyb
    if is_converted:
        # The decoder cannot convert to a profile, and would return linear light, of which 8 bits are too few.
        codestream = with_colours(codestream, None, _is_grey(header))
        notes, icc = ("converted from the colours of its profile to sRGB",), None
    if any(channel.kind not in (ALPHA, SPOT) for channel in header.extra):
        notes += ("an extra channel that is not transparency is left out",)
    values = load_imagecodecs().jpegxl_decode(codestream, index=0)
    pixels, alpha = split_alpha(_as_photo_type(_in_rows(values, header), header))
    if alpha is not None and any(channel.premultiplied for channel in header.extra):
        pixels = unpremultiply(pixels, alpha)
    found, lost = _others_of(boxes)
    natives, untrue = still_true(found, header.orientation != UPRIGHT, is_converted)
    notes += untrue + lost
    exif_block, xmp = _metadata_of(boxes)
    exif = parse(exif_block or b"")
    _, packed = split_orientation(exif)  # the decoder has already turned the picture upright
    dpi = dpi_of(exif)
    usual = None if numbers is None else _usual_tone_mapping(numbers)
    display = None if header.tone_mapping in (None, usual) else Mastering(tone_mapping=header.tone_mapping)
    meta = Metadata(exif=packed, xmp=xmp, icc=icc, cicp=numbers, dpi=dpi, mastering=display, natives=natives)
    depth = header.bits if pixels.dtype == np.uint16 and header.bits < 16 else None
    compression: Literal["lossless"] | None = "lossless" if is_lossless(codestream) else None
    return Photo(pixels, alpha, "jxl", meta, notes, compression, depth)


def encode(photo: Photo, software: str, quality: int) -> bytes:
    """The bytes of a file in the photo's own bit depth; arguments are those of `image.write`.

    Colours of a profile that is not sRGB's are compressed without loss, whatever the quality: decoders cannot convert
    to them. So is greyscale whose white is not D65, to which they convert it.
    """
    pixels, alpha, meta = photo.pixels, photo.alpha, photo.metadata
    H, W, C = pixels.shape
    colours = _colours_to_write(meta, C == 1, quality)
    without_loss = quality == LOSSLESS or isinstance(colours, bytes)
    without_loss |= C == 1 and isinstance(colours, Colours) and colours.white != WHITES[D65]
    depth, stated = None if photo.bits == 32 else photo.depth or photo.bits, None
    if not without_loss and not isinstance(colours, bytes) and (colours or _peak(meta)):
        light = light_of(pixels, colours or Colours(GREY if C == 1 else RGB), _peak(meta))
        pixels, alpha, stated = light, None if alpha is None else to_float(alpha), depth
    elif not without_loss and photo.bits > 8:
        pixels, stated = _linear(pixels), depth  # linear: the encoder takes deep values for it
    values = pixels if alpha is None else np.dstack([pixels, alpha])
    if without_loss and photo.bits == 16 and photo.depth is not None:
        values = from_16_bits(values, photo.depth)
    encoded = bytes(
        load_imagecodecs().jpegxl_encode(
            values if values.shape[2] > 1 else values[..., 0],
            level=None if without_loss else quality,
            lossless=without_loss,
            bitspersample=photo.depth if without_loss and photo.bits == 16 else None,
            numthreads=count_threads(),
        )
    )
    boxes = list(boxes_of(encoded)) if encoded.startswith(CONTAINER) else [(b"jxlc", encoded)]
    codestream = b"".join(part for name, part in boxes if name == b"jxlc")
    parts = [box(name, part) for name, part in boxes if name == b"jxll"]  # what a decoder must be able to do
    parts.append(box(b"Exif", bytes(4), pack(exif_for_result(meta, software, W, H))))
    if meta.xmp:
        parts.append(box(b"xml ", meta.xmp))
    parts += [box(*native.data) for native in meta.natives if native.kind == "jxl"]
    codestream = with_colours(codestream, colours, C == 1, _tone_mapping(meta), stated)
    return b"".join([CONTAINER, FILE_TYPE, *parts, box(b"jxlc", codestream)])


def metadata_of(data: bytes) -> Metadata:
    """EXIF and XMP of a file, and the profile of its pixels as decoders return them.

    Raises:
        ValueError: the file is damaged.
        RuntimeError: what is compressed of it is.
    """
    boxes = _boxes_of(data)
    header = read_header(_joined(boxes))
    exif, xmp = _metadata_of(boxes)
    _, packed = split_orientation(parse(exif or b""))
    return Metadata(exif=packed, xmp=xmp, icc=None if header.is_xyb else header.profile)


def codestream_of(data: bytes) -> bytes:
    """The codestream in a file.

    Raises:
        ValueError: the file is damaged.
    """
    return _joined(_boxes_of(data))


def _boxes_of(data: bytes) -> list[tuple[bytes, bytes]]:
    return list(boxes_of(data)) if data.startswith(CONTAINER) else [(b"jxlc", data)]


def _joined(boxes: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(part if name == b"jxlc" else part[4:] for name, part in boxes if name in (b"jxlc", b"jxlp"))


def _others_of(boxes: list[tuple[bytes, bytes]]) -> tuple[tuple[Native, ...], tuple[str, ...]]:
    """What else a file holds, as the name and the contents of boxes; and what to tell the user of the rest."""
    natives, lost, notes, seen = list[Native](), list[str](), set[str](), set[bytes]()
    for box_name, contents in boxes:
        name = contents[:4] if box_name == COMPRESSED else box_name
        if name in LAYOUT or (name in READ and name not in seen):
            seen.add(name)
        elif name == JUMBF and c2pa.LABEL in _expanded(box_name, contents):
            notes.add(c2pa.REMOVED)
        elif name == JUMBF:
            natives.append(Native("jxl", "JUMBF", (box_name, contents)))
        elif name == GAIN_MAP_BOX:
            natives.append(Native("jxl", GAIN_MAP, (box_name, contents), lies_over=True, of_colours=True))
        else:
            lost.append(WORDS.get(name) or f"box {name.decode('latin-1').strip()}")
    return tuple(natives), (*((f"left out: {', '.join(dict.fromkeys(lost))}",) if lost else ()), *notes)


def _expanded(name: bytes, contents: bytes) -> bytes:
    if name != COMPRESSED:
        return contents
    return bytes(load_imagecodecs().brotli_decode(contents[4:], out=MAX_METADATA))


def _refuse_unsupported(header: Header) -> None:
    if header.is_animation:
        raise ValueError("an animation: use denoise video")
    if len(header.extra) > MAX_EXTRA:
        raise ValueError(
            f"{len(header.extra)} channels besides its colours: only grey or RGB, with or without alpha, are read"
        )
    if any(channel.kind == BLACK for channel in header.extra):
        raise ValueError("CMYK colours: convert it to RGB or grey first")
    if header.colours is not None and header.colours.transfer in PEAKS and _cicp_of(header.colours) is None:
        raise ValueError("HDR with primaries of its own: convert it to those of Rec. 2020 first")


def _is_grey(header: Header) -> bool:
    if header.colours is not None:
        return header.colours.space == GREY
    return header.profile is not None and header.profile[16:20] == b"GRAY"


def _cicp_of(colours: Colours) -> CodePoints | None:
    """The code points of colours; None if they are sRGB's, or if there are none for them."""
    if colours.transfer not in TRANSFERS:
        return None
    if colours.space == GREY:
        primaries = cicp.BT2020 if colours.transfer in PEAKS else cicp.SRGB_PRIMARIES
        return cicp.stated(primaries, colours.transfer) if colours.white == WHITES[D65] else None
    own = colours.white, colours.primaries
    found = [name for name, known in PRIMARIES_OF_CICP.items() if known == own]
    return cicp.stated(found[0], colours.transfer) if found else None


def _colours_to_write(meta: Metadata, is_grey: bool, quality: int) -> bytes | Colours | None:
    """Numbers or a profile for the header; None for sRGB, which lossy compression knows."""
    if meta.cicp is None:
        return None if meta.icc and quality < LOSSLESS and is_srgb(meta.icc) else meta.icc
    if meta.cicp.is_like_srgb and quality < LOSSLESS:
        return None
    known = PRIMARIES_OF_CICP.get(meta.cicp.primaries)
    transfer = BT709 if meta.cicp.transfer in cicp.LIKE_BT709 else meta.cicp.transfer
    if known is not None and transfer in TRANSFERS:
        white, primaries = known
        return Colours(GREY if is_grey else RGB, white, primaries, transfer)
    return meta.cicp.profile(is_grey)


def _tone_mapping(meta: Metadata) -> int | None:
    if meta.mastering is not None and meta.mastering.tone_mapping is not None:
        return meta.mastering.tone_mapping
    return None if meta.cicp is None else _usual_tone_mapping(meta.cicp)


def _peak(meta: Metadata) -> float | None:
    """cd/m2 of the largest value, where a file states it."""
    stated = None if meta.mastering is None else meta.mastering.tone_mapping
    return None if stated is None else peak_of(stated) or None


def _usual_tone_mapping(numbers: CodePoints) -> int | None:
    peak = PEAKS.get(numbers.transfer)
    return None if peak is None else tone_mapping_for(peak)


def _profile_of(colours: Colours) -> bytes | None:
    """A profile for colours that are stated by numbers; None if they are sRGB's."""
    is_grey = colours.space == GREY
    srgb = Colours(colours.space, transfer=colours.transfer)
    if colours.gamma is None and colours.transfer not in (LINEAR, BT709, DCI_CURVE):
        if colours == srgb:
            return None
        return icc_profile(colours.white, None if is_grey else colours.primaries)
    curve: np.ndarray | float = 1.0
    if colours.gamma is not None:
        curve = 1 / colours.gamma
    elif colours.transfer == DCI_CURVE:
        curve = DCI_GAMMA
    elif colours.transfer == BT709:
        curve = BT709_CURVE
    return icc_profile(colours.white, None if is_grey else colours.primaries, curve)


def _in_rows(values: np.ndarray, header: Header) -> np.ndarray:
    """(H, W, C): the decoder returns grey with channels that are not transparency plane by plane."""
    is_planar = _is_grey(header) and header.extra and all(channel.kind != ALPHA for channel in header.extra)
    return np.atleast_3d(values[0] if is_planar else values)


def _as_photo_type(values: np.ndarray, header: Header) -> Pixels:
    if values.dtype.kind == "f":
        values = values.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise ValueError("holds values that are not numbers (NaN or infinity)")
        return values
    if header.bits < 8:
        return (values.astype(np.uint16) * 255 // (2**header.bits - 1)).astype(np.uint8)
    return values if header.bits == 16 else scale_to_16_bits(values, header.bits)


def _linear(pixels: Pixels) -> Pixels:
    """Linear light of sRGB-encoded pixels, (H, W, C), of the same type."""
    linear = np.empty_like(pixels)
    for rows in strips(len(pixels)):
        linear[rows] = from_float(srgb_to_linear(to_float(pixels[rows])), pixels.dtype)
    return linear


def _metadata_of(boxes: list[tuple[bytes, bytes]]) -> tuple[bytes | None, bytes | None]:
    """EXIF and XMP, from plain or compressed boxes; the first of each."""
    found: dict[bytes, bytes] = {}
    for name, contents in boxes:
        inner = contents[:4] if name == COMPRESSED else name
        if inner in READ and inner not in found:
            found[inner] = _expanded(name, contents)
    exif = found.get(b"Exif")
    if exif is not None:
        exif = exif[4 + int.from_bytes(exif[:4], "big") :]  # a distance to the TIFF structure goes ahead
    return exif, found.get(b"xml ") or None
