"""JPEG XL through imagecodecs: integers of up to 16 bits and floating point, with metadata in boxes.

imagecodecs neither reads nor writes colour profiles, and takes values of more than 8 bits for linear light. So the
header of the codestream, which says what the colours are, is read and rewritten here.

Source: ISO/IEC 18181-2.
"""

import os

import numpy as np

from denoise_cli.imaging.pixels import Pixels, from_float, strips, to_float
from denoise_cli.imaging.transfer import srgb_to_linear
from denoise_cli.io.boxes import box, boxes_of
from denoise_cli.io.cicp import refuse_unusual_colours
from denoise_cli.io.codecs import load_imagecodecs
from denoise_cli.io.exif import pack, parse
from denoise_cli.io.jxl_header import (
    ALPHA,
    BLACK,
    BT709,
    CODESTREAM,
    DCI_CURVE,
    GREY,
    HLG,
    LINEAR,
    PQ,
    SPOT,
    Colours,
    Header,
    read_header,
    with_colours,
)
from denoise_cli.io.limits import refuse_too_large
from denoise_cli.io.metadata import Metadata, dpi_of, exif_for_result, split_orientation
from denoise_cli.io.photo import Photo, scale_to_16_bits, split_alpha, unpremultiply
from denoise_cli.io.profiles import CURVE_POINTS, icc_profile, is_srgb

CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
FILE_TYPE = box(b"ftyp", b"jxl \x00\x00\x00\x00jxl ")
MAX_METADATA = 2**24  # bytes that a compressed box may hold
MAX_EXTRA = 8  # channels besides the colours; more are refused before they are decoded
LOSSLESS = 100  # as a quality
UNSPECIFIED = 2  # primaries, as a code point
DCI_GAMMA = 2.6


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
    boxes = list(boxes_of(data)) if data.startswith(CONTAINER) else [(b"jxlc", data)]
    codestream = b"".join(part if name == b"jxlc" else part[4:] for name, part in boxes if name in (b"jxlc", b"jxlp"))
    header = read_header(codestream)
    refuse_too_large(header.size, max_pixels)
    _refuse_unsupported(header)
    notes: tuple[str, ...] = ()
    icc = header.profile if header.colours is None else _profile_of(header.colours)
    if header.colours is None and header.is_xyb:
        # The decoder cannot convert to a profile, and would return linear light, of which 8 bits are too few.
        codestream = with_colours(codestream, None, _is_grey(header))
        notes, icc = ("converted from the colours of its profile to sRGB",), None
    if any(channel.kind not in (ALPHA, SPOT) for channel in header.extra):
        notes += ("an extra channel that is not transparency is left out",)
    values = load_imagecodecs().jpegxl_decode(codestream, index=0)
    pixels, alpha = split_alpha(_as_photo_type(_in_rows(values, header), header))
    if alpha is not None and any(channel.premultiplied for channel in header.extra):
        pixels = unpremultiply(pixels, alpha)
    exif_block, xmp = _metadata_of(boxes)
    exif = parse(exif_block or b"")
    dpi = dpi_of(exif)
    _, packed = split_orientation(exif)  # the decoder has already turned the picture upright
    return Photo(pixels, alpha, "jxl", Metadata(exif=packed, xmp=xmp, icc=icc, dpi=dpi), notes)


def encode(photo: Photo, software: str, quality: int) -> bytes:
    """The bytes of a file in the photo's own bit depth; arguments are those of `image.write`.

    Colours that are not sRGB's are compressed without loss, whatever the quality: the encoder's lossy mode knows sRGB
    alone.
    """
    pixels, alpha, meta = photo.pixels, photo.alpha, photo.metadata
    H, W, C = pixels.shape
    icc = None if meta.icc and quality < LOSSLESS and is_srgb(meta.icc) else meta.icc
    is_lossless = quality == LOSSLESS or icc is not None
    if not is_lossless and photo.bits > 8:
        pixels = _linear(pixels)  # for which the encoder takes values of more than 8 bits
    values = pixels if alpha is None else np.dstack([pixels, alpha])
    encoded = bytes(
        load_imagecodecs().jpegxl_encode(
            values if values.shape[2] > 1 else values[..., 0],
            level=None if is_lossless else quality,
            lossless=is_lossless,
            numthreads=os.cpu_count(),
        )
    )
    boxes = list(boxes_of(encoded)) if encoded.startswith(CONTAINER) else [(b"jxlc", encoded)]
    codestream = b"".join(part for name, part in boxes if name == b"jxlc")
    parts = [box(name, part) for name, part in boxes if name == b"jxll"]  # what a decoder must be able to do
    parts.append(box(b"Exif", bytes(4), pack(exif_for_result(meta, software, W, H))))
    if meta.xmp:
        parts.append(box(b"xml ", meta.xmp))
    return b"".join([CONTAINER, FILE_TYPE, *parts, box(b"jxlc", with_colours(codestream, icc, C == 1))])


def _refuse_unsupported(header: Header) -> None:
    if header.is_animation:
        raise ValueError("an animation: only still pictures are denoised")
    if len(header.extra) > MAX_EXTRA:
        raise ValueError(
            f"{len(header.extra)} channels besides its colours: only grey or RGB, with or without alpha, are read"
        )
    if any(channel.kind == BLACK for channel in header.extra):
        raise ValueError("CMYK colours: convert it to RGB or grey first")
    if header.colours is not None and header.colours.transfer in (PQ, HLG):
        refuse_unusual_colours((UNSPECIFIED, header.colours.transfer))


def _is_grey(header: Header) -> bool:
    if header.colours is not None:
        return header.colours.space == GREY
    return header.profile is not None and header.profile[16:20] == b"GRAY"


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
        values = np.linspace(0, 1, CURVE_POINTS)
        curve = np.where(values < 0.081, values / 4.5, ((values + 0.099) / 1.099) ** (1 / 0.45))
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
        if name in (b"Exif", b"xml "):
            found.setdefault(name, contents)
        elif name == b"brob" and contents[:4] in (b"Exif", b"xml "):
            found.setdefault(contents[:4], load_imagecodecs().brotli_decode(contents[4:], out=MAX_METADATA))
    exif = found.get(b"Exif")
    if exif is not None:
        exif = exif[4 + int.from_bytes(exif[:4], "big") :]  # a distance to the TIFF structure goes ahead
    return exif, found.get(b"xml ") or None
