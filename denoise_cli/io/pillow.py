"""JPEG, WebP and AVIF, and reading PNG, BMP and GIF, by Pillow; more than 8 bits by imagecodecs, which keeps them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from threading import Lock
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin

from denoise_cli.imaging.pixels import inverted, strips
from denoise_cli.imaging.transfer import LINEAR
from denoise_cli.io import (
    auxiliary,
    avif_repair,
    bmp_colours,
    c2pa,
    companions,
    deep_jpeg,
    gif,
    item_properties,
    mastering,
    photoshop,
    png,
    webp,
)
from denoise_cli.io.cicp import SRGB_PRIMARIES, CodePoints
from denoise_cli.io.codecs import count_threads_for_avif, load_imagecodecs
from denoise_cli.io.companions import Companions
from denoise_cli.io.exif import MAKER_NOTE, PREFIX, Exif, pack, parse
from denoise_cli.io.jpeg import (
    APP13,
    COMMENT_MARKER,
    MAX_SEGMENT,
    START,
    packed,
    refuse_too_many_scans,
    rejoined,
)
from denoise_cli.io.jpeg_compression import JpegCompression, compression_of
from denoise_cli.io.jpeg_damage import repaired
from denoise_cli.io.limits import MAX_METADATA, refuse_too_large
from denoise_cli.io.mastering import Mastering
from denoise_cli.io.metadata import (
    COMMENT,
    ORIENTATION,
    TRANSPOSED,
    UPRIGHT,
    Metadata,
    dpi_of,
    exif_for_result,
    split_orientation,
    swap_resolution,
    undo_orientation,
)
from denoise_cli.io.photo import Photo, scale_to_16_bits, split_alpha
from denoise_cli.io.png import KEYWORDS_WRITTEN_ANEW, kept_chunks
from denoise_cli.io.profiles import are_of_srgb
from denoise_cli.io.xmp import XMP_PREFIX

READERS = ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF"]
KINDS = {"MPO": "jpeg"} | {reader: reader.lower() for reader in READERS}
FIRST_FRAME_IS_THE_PHOTO = {"MPO"}  # a JPEG followed by a preview or by a stereo pair's second picture
CMYK = "CMYK"

DEFAULT_QUALITY = 95
PADDING = b"\x00\xff"  # that harmlessly stands between segments
STRAY_BYTES = "a part of its header is damaged and is left out: try another copy of it"
EXIF_NAMES = {MAKER_NOTE: "maker's note", 37510: "user comment"}  # of tags that are sometimes very long
BYTES_PER_VALUE = 2  # of a JPEG, at most: white noise of the best quality takes 1.4
ROOM = Lock()  # Pillow has one setting for all threads

Compression = JpegCompression | Literal["lossless"] | None


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode a still picture.

    Args:
        data: the file.
        max_pixels: larger pictures are refused.

    Raises:
        PIL.UnidentifiedImageError: the file is of another format, or damaged at its start.
        ValueError: the picture is too large or of an unsupported kind; with a message for the user.
        OSError and others: the file is damaged.
    """
    # Pillow does not skip all stray bytes, and the search for damage in pixels ends at them.
    joined, stray = rejoined(data) if data.startswith(START) else (data, b"")
    photo, orientation, repairs = _decoded(joined if stray else data, max_pixels)
    if stray.strip(PADDING):
        repairs = (STRAY_BYTES, *repairs)
    kind, metadata, compression = photo.kind, photo.metadata, photo.compression
    notes = c2pa.notes_on(data, kind) + (auxiliary.notes_on(data) if kind == "avif" else ())
    if kind == "jpeg":
        found = companions.read(data, metadata.xmp, orientation)
        metadata = replace(metadata, xmp=found.xmp, companions=found.companions)
        notes += found.notes
    if isinstance(compression, JpegCompression):
        compression = compression.turned(orientation)
    notes += _notes_on(data, kind) + repairs
    return replace(photo.turned(orientation), metadata=metadata, notes=notes, compression=compression, repairs=repairs)


def _with_own(meta: Metadata, data: bytes, kind: str) -> Metadata:
    """Metadata with what Pillow does not return of a format."""
    if kind == "png":
        return replace(meta, chunks=kept_chunks(data), natives=png.natives_of(data))
    if kind == "gif":
        extensions = gif.extensions_of(data)
        return replace(meta, xmp=extensions.xmp, icc=extensions.icc)
    return bmp_colours.with_colours(meta, data)[0] if kind == "bmp" else meta


def _notes_on(data: bytes, kind: str) -> tuple[str, ...]:
    """What the user should hear of what a file holds besides, and a result does not."""
    if kind == "png":
        return png.notes_on(data)
    if kind == "bmp":
        return bmp_colours.with_colours(Metadata(), data)[1]
    lost = list(gif.extensions_of(data).others) if kind == "gif" else webp.unknown_chunks(data) * (kind == "webp")
    return (f"left out: {', '.join(lost)}",) if lost else ()


def _decoded(data: bytes, max_pixels: int) -> tuple[Photo, int, tuple[str, ...]]:
    """A photo as its file stores it, its orientation, 1 to 8, and what was repaired in it."""
    Image.init()  # registers the readers that are not imported by default
    deep = deep_jpeg.sample_precision(data)
    # Pillow does not open such a JPEG at all, but knows its metadata and its size if it is told that it has 8 bits.
    opened = data if deep is None else data[:deep] + bytes([8]) + data[deep + 1 :]
    with _without_pillow_limits(), Image.open(BytesIO(opened), formats=READERS) as picture:
        refuse_too_large(picture.size, max_pixels)
        frames = getattr(picture, "n_frames", 1)
        if frames > 1 and picture.format not in FIRST_FRAME_IS_THE_PHOTO:
            raise ValueError(f"an animation of {frames} frames: use denoise video")
        kind = KINDS[picture.format or ""]
        if kind == "jpeg":
            refuse_too_many_scans(data)
        colours = _colours_of(data, kind)
        values = _deep_values(data, kind) if deep is None else deep_jpeg.decode(data)
        if values is None:
            values = _pixel_values(picture)
        elif deep is None:
            picture.load()  # for metadata that follows the pixels, and to find damage that the other decoder ignores
        metadata, orientation = _read_metadata(picture)
        metadata = _with_colours(metadata, *colours)
        metadata = _with_own(replace(metadata, texts=tuple(_texts(picture, kind))), data, kind)
        repairs: tuple[str, ...] = ()
        compression: Compression = "lossless" if kind == "webp" and webp.is_lossless(data) else None
        if kind == "jpeg":
            compression = compression_of(picture)
        if kind == "jpeg" and deep is None:
            repairs = repaired(data, picture.mode)
        is_cmyk, is_bilevel = picture.mode == CMYK, picture.mode == "1" and values.shape[2] == 1
    if is_cmyk:
        inks = inverted(values)
        photo = Photo(inks[..., :3], None, kind, metadata, black=inks[..., 3], compression=compression)
        return photo, orientation, repairs
    if kind == "avif":  # Pillow turns a picture, but does not cut it
        properties = item_properties.properties_of(data)
        values = values[avif_repair.shown(values.shape[1::-1], properties)]
    pixels, alpha = split_alpha(values)
    if kind == "avif" and item_properties.is_monochrome(properties):
        pixels = pixels[..., :1]  # Pillow reads it as RGB if there is transparency
    depth = None if deep is None else deep_jpeg.BITS
    if kind == "avif" and pixels.dtype == np.uint16:
        depth = avif_bits(data)
    photo = Photo(pixels, alpha, kind, metadata, compression=compression, depth=depth, is_bilevel=is_bilevel)
    return photo, orientation, repairs


def encode(photo: Photo, kind: str, software: str, quality: int | None) -> bytes:
    """The bytes of a file with 8 bits per value, or of a JPEG with 12 if the photo has more than 8.

    Args:
        photo: what to write; its `compression` is that of the format to write.
        kind: the format.
        software: see `image.write`.
        quality: see `image.write`; None for the photo's own compression.
    """
    own = photo.compression if quality is None else None
    if quality is None:
        quality = 100 if own == "lossless" else DEFAULT_QUALITY
    values = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    if photo.black is not None:
        values = np.dstack([inverted(photo.pixels), inverted(photo.black)])
    orientation, is_deep = photo.metadata.orientation, values.dtype == np.uint16
    values = undo_orientation(values, orientation)
    picture = _picture_of(values, photo.black is not None)
    meta = photo.metadata
    exif = exif_for_result(meta, software, values.shape[1], values.shape[0])
    if orientation != UPRIGHT:
        exif.main[ORIENTATION] = exif.short(orientation)
    if orientation in TRANSPOSED:
        swap_resolution(exif)
        meta = replace(meta, dpi=meta.dpi and meta.dpi[::-1])
    if kind == "jpeg":
        _fit_jpeg(exif)
    options: dict[str, Any] = {"exif": pack(exif), "quality": quality}
    if meta.icc:
        options["icc_profile"] = meta.icc
    if meta.xmp:
        options["xmp"] = meta.xmp
    if kind == "jpeg":
        own = own.turned(orientation) if isinstance(own, JpegCompression) else None
        options |= _jpeg_options(meta, quality, None if is_deep else own)
        if photo.black is not None:
            options["subsampling"] = 0  # else all inks but the first would lose resolution
        options["exif"] = PREFIX + pack(exif)
    elif kind == "webp":
        options |= {"lossless": quality == 100, "method": 4, "exact": True}
    elif kind == "avif":
        options |= {
            "max_threads": count_threads_for_avif(),
            "speed": 6,
            "subsampling": "4:0:0" if picture.mode in ("L", "LA") else "4:4:4",
        }
    buffer = BytesIO()
    with room_for(values.size if options.get("progressive") else 0):
        picture.save(buffer, kind.upper(), **options)
    encoded = buffer.getvalue()
    if is_deep:
        encoded = deep_jpeg.encode(values, own if isinstance(own, JpegCompression) else quality, encoded)
    return _with_companions(encoded, meta) if kind == "jpeg" else encoded


def _picture_of(values: np.ndarray, is_cmyk: bool) -> Image.Image:
    """Values, (H, W, C), for Pillow; of 16 bits, which it does not write, a picture of one pixel for the metadata."""
    H, W, C = values.shape
    if values.dtype == np.uint16:
        return Image.new("L" if C == 1 else "RGB", (1, 1))
    if is_cmyk:
        return Image.frombuffer(CMYK, (W, H), values, "raw", CMYK, 0, 1)
    return Image.fromarray(values[..., 0] if C == 1 else values)


def _jpeg_options(meta: Metadata, quality: int, own: JpegCompression | None) -> dict[str, Any]:
    """Pillow's options for a JPEG, compressed as the photo's own file if that is given."""
    # Without "optimize": for that Pillow has to guess the file's size, and noisy pictures exceed its guess.
    options: dict[str, Any] = {"subsampling": 0 if quality >= 90 else 2}
    if own is not None:
        options = {"qtables": own.tables, "subsampling": own.subsampling, "progressive": own.is_progressive}
        options["quality"] = -1  # Pillow's word for none
    if meta.dpi:
        options["dpi"] = meta.dpi
    if meta.iptc:
        options["extra"] = _iptc_segment(meta.iptc)
    if meta.xmp and not _xmp_fits_jpeg(meta.xmp):
        options["xmp"] = None
    return options


def _fit_jpeg(exif: Exif) -> list[int]:
    """Remove the longest tags about the shot until a JPEG can hold EXIF; returns them."""
    removed = []
    while len(PREFIX + pack(exif)) > MAX_SEGMENT and exif.exif:
        removed.append(max(exif.exif, key=lambda tag: len(exif.exif[tag].data)))
        del exif.exif[removed[-1]]
    return removed


def too_long_for_jpeg(meta: Metadata) -> list[str]:
    """The names of what a JPEG cannot hold because it has more bytes than a segment."""
    names = [EXIF_NAMES.get(tag, f"EXIF tag {tag}") for tag in _fit_jpeg(exif_for_result(meta, "", 0, 0))]
    names += ["IPTC"] if meta.iptc and not _iptc_segment(meta.iptc) else []
    return names + (["XMP"] if meta.xmp and not _xmp_fits_jpeg(meta.xmp) else [])


def _xmp_fits_jpeg(xmp: bytes) -> bool:
    """Whether a packet fits into a segment of a JPEG."""
    return len(XMP_PREFIX + xmp) <= MAX_SEGMENT


def text_fits_jpeg(keyword: str, text: str) -> bool:
    """Whether a JPEG can hold a text: as a comment."""
    return keyword == COMMENT and len(_as_comment(text)) <= MAX_SEGMENT


def _with_companions(jpeg: bytes, meta: Metadata) -> bytes:
    carried = meta.companions or Companions()
    texts = (text for keyword, text in meta.texts if text_fits_jpeg(keyword, text))
    comments = (packed(COMMENT_MARKER, _as_comment(text)) for text in texts)
    return replace(carried, segments=(*carried.segments, *comments)).attached_to(jpeg)


def _as_comment(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # the bytes that it had, in whatever encoding


def _colours_of(data: bytes, kind: str) -> tuple[bool, CodePoints | None, Mastering | None]:
    """Whether code points override a profile; what they say, if they decide; and what the file says of HDR."""
    if kind == "png":
        return png.colours_of(data)
    if kind == "avif":
        properties = item_properties.properties_of(data)
        return False, item_properties.colours_of(data, properties), mastering.of_boxes(properties)
    return False, None, None


def _with_colours(meta: Metadata, overrides: bool, cicp: CodePoints | None, display: Mastering | None) -> Metadata:
    has_srgb_primaries = meta.chromaticities is None or are_of_srgb(meta.chromaticities)
    if cicp is None and meta.transfer == LINEAR and meta.icc is None and has_srgb_primaries and not overrides:
        cicp = CodePoints(SRGB_PRIMARIES, LINEAR)
    is_srgb = overrides and cicp is None  # whatever a profile says
    return replace(
        meta,
        icc=None if is_srgb else meta.icc,
        cicp=cicp,
        gamma=None if overrides else meta.gamma,  # it need not say the same
        chromaticities=None if overrides else meta.chromaticities,
        mastering=display,
    )


def _deep_values(data: bytes, kind: str) -> np.ndarray | None:
    """(H, W, C) uint16, for files that Pillow would reduce to 8 bits: 16-bit PNG, deep AVIF; None for others."""
    if kind == "png" and data[24] == 16:
        return np.atleast_3d(load_imagecodecs().png_decode(data))
    if kind == "avif" and (bits := avif_bits(data)) > 8:
        return scale_to_16_bits(np.atleast_3d(load_imagecodecs().avif_decode(data)), bits)
    return None


def avif_bits(data: bytes) -> int:
    """Bits per value: two flags in the codec's configuration (AV1-ISOBMFF 2.3.3) stand for more than 8 and for 12."""
    at = data.find(b"av1C")
    flags = data[at + 6] if 0 <= at < len(data) - 6 else 0
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8


def _pixel_values(picture: Image.Image) -> np.ndarray:
    """(H, W, C), C = 1 to 4."""
    grey = picture.mode in ("1", "L", "LA")
    if picture.mode in ("LAB", "YCbCr", "HSV", "F", "I"):
        raise ValueError(f"{picture.mode} colours: convert it to RGB or grey first")
    transparent = "transparency" in picture.info or picture.mode in ("LA", "RGBA", "PA")
    mode = ("LA" if grey else "RGBA") if transparent else ("L" if grey else "RGB")
    if picture.mode == CMYK:
        mode = CMYK
    if picture.mode != mode:
        picture = picture.convert(mode)
    values = np.empty((picture.height, picture.width, len(mode)), np.uint8)
    for rows in strips(picture.height):  # of the whole, Pillow would make two more copies
        strip = picture.crop((0, rows.start, picture.width, min(rows.stop, picture.height)))
        values[rows] = np.atleast_3d(np.asarray(strip))
    return values


def _read_metadata(picture: Image.Image) -> tuple[Metadata, int]:
    info = picture.info
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    exif = parse(info.get("exif") or _exif_in_text(info) or b"")
    dpi = info.get("dpi") if "jfif_unit" not in info or info["jfif_unit"] else None
    orientation, packed = split_orientation(exif, xmp)
    stated = (float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None
    if stated is not None and orientation in TRANSPOSED:
        stated = stated[::-1]
    photoshop = info.get("photoshop")
    has_own_colours = "srgb" not in info and not info.get("icc_profile")
    return Metadata(
        exif=packed,
        xmp=xmp,
        icc=info.get("icc_profile") or None,
        iptc=photoshop.get(0x0404) if isinstance(photoshop, dict) else None,
        dpi=stated or dpi_of(exif),
        gamma=info.get("gamma") or None if has_own_colours else None,
        chromaticities=info.get("chromaticity") if has_own_colours else None,
    ), orientation


def _exif_in_text(info: dict[str | tuple[int, int], Any]) -> bytes | None:
    """EXIF from a PNG by an older ImageMagick, which wrote it as hexadecimal text below a two-line heading."""
    text = info.get("Raw profile type exif") or info.get("Raw profile type APP1")
    try:
        return bytes.fromhex("".join(text.split("\n")[3:])) if text else None
    except ValueError:
        return None


def _iptc_segment(iptc: bytes) -> bytes:
    """IPTC records as a segment of a JPEG; empty if they are too long for one."""
    body = photoshop.PREFIX + photoshop.iptc_resource(iptc)
    return packed(APP13, body) if len(body) <= MAX_SEGMENT else b""


def _texts(picture: Image.Image, kind: str) -> Iterator[tuple[str, str]]:
    """Comments and texts, with their keywords."""
    if kind == "jpeg":
        for name, body in getattr(picture, "applist", []):
            if name == "COM":
                yield COMMENT, body.decode(errors="surrogateescape")
    if kind == "gif" and (comment := picture.info.get("comment")):
        yield COMMENT, comment.decode(errors="surrogateescape")
    if kind == "png":
        for keyword, text in getattr(picture, "text", {}).items():
            if keyword not in KEYWORDS_WRITTEN_ANEW:
                yield keyword, str(text)


@contextmanager
def _without_pillow_limits() -> Iterator[None]:
    """Turn off Pillow's own limits: ours on pixels is checked before anything is decoded, that on texts is larger."""
    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = None, MAX_METADATA
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = before


@contextmanager
def room_for(values: int) -> Iterator[None]:
    """Have Pillow reserve room for so many values of a JPEG that it writes at once, whose size it guesses too low."""
    with ROOM:
        before = ImageFile.MAXBLOCK
        ImageFile.MAXBLOCK = max(before, BYTES_PER_VALUE * values + 2 * MAX_SEGMENT)
        try:
            yield
        finally:
            ImageFile.MAXBLOCK = before
