"""TIFF: any bit depth in; 8, 16 and floating point out, with EXIF and GPS directories."""

import struct
from io import BytesIO
from typing import Any

import numpy as np
import tifffile
from PIL import ExifTags, Image

from denoise_cli.io.metadata import EXIF_IFD, GPS_IFD, Metadata, exif_directory, exif_of_tiff, signed_exif, turn, upright
from denoise_cli.io.photo import Photo, Pixels

XMP_TAG, IPTC_TAG, ICC_TAG = 700, 33723, 34675
RESOLUTION_UNIT_CM = 3
DNG_VERSION_TAG = 50706
DIRECTORY_TAGS = {EXIF_IFD.value, GPS_IFD.value}
PLACEHOLDER = 1  # tifffile writes no directory pointers itself; the number above sorts into the same place


def is_dng(data: bytes) -> bool:
    """Whether a TIFF structure is a digital negative."""
    return DNG_VERSION_TAG in _first_tags(data)


def decode(data: bytes, max_pixels: int) -> Photo:
    """Read a single-picture TIFF.

    Raises:
        ValueError: not a picture that fits into a `Photo`, in the words that the user reads.
        tifffile.TiffFileError, OSError and others: damaged.
    """
    with tifffile.TiffFile(BytesIO(data)) as file:
        page = _only_page(file)
        if page.imagewidth * page.imagelength > max_pixels:
            raise ValueError(f"{page.imagewidth} x {page.imagelength} pixels, more than --max-pixels allows")
        pixels, alpha = _split_alpha(_values(page), page)
        orientation, exif = upright(exif_of_tiff(data))
        metadata = Metadata(
            exif=exif,
            xmp=_bytes_of(page, XMP_TAG),
            icc=_bytes_of(page, ICC_TAG),
            iptc=_bytes_of(page, IPTC_TAG),
            dpi=_dpi(page),
        )
    return Photo(
        pixels=turn(pixels, orientation),
        alpha=None if alpha is None else turn(alpha, orientation),
        kind="tiff",
        metadata=metadata,
    )


def encode(photo: Photo, software: str) -> bytes:
    """Write a photo in its own bit depth, losslessly compressed."""
    pixels = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    H, W, C = pixels.shape
    meta = photo.metadata
    exif = signed_exif(meta.exif, software, W, H)
    extra: list[tuple[int, int, int, Any, bool]] = [
        (tag, 7 if tag != XMP_TAG else 1, len(value), value, True)
        for tag, value in ((XMP_TAG, meta.xmp), (IPTC_TAG, meta.iptc))
        if value
    ]
    extra += [
        (tag, 2, 0, value, True)
        for tag, value in exif.items()
        if isinstance(value, str) and value and tag != ExifTags.Base.Software and value.isascii()
    ]
    extra += [(tag + PLACEHOLDER, 4, 1, 0, True) for tag in DIRECTORY_TAGS if exif.get_ifd(tag)]

    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, byteorder="<", bigtiff=False) as writer:
        writer.write(
            pixels if C > 1 else pixels[..., 0],
            photometric="rgb" if C >= 3 else "minisblack",
            planarconfig="contig" if C > 1 else None,
            extrasamples=None if photo.alpha is None else ["unassalpha"],
            compression="adobe_deflate",
            predictor=True,
            rowsperstrip=64,
            resolution=meta.dpi,
            resolutionunit="inch" if meta.dpi else None,
            iccprofile=meta.icc,
            software=software,
            metadata=None,
            extratags=extra,
        )
    return _with_directories(buffer.getvalue(), exif)


def _with_directories(data: bytes, exif: Image.Exif) -> bytes:
    """Append the EXIF and GPS directories, and turn their placeholders into the tags that point at them."""
    buffer = BytesIO(data)
    with tifffile.TiffFile(BytesIO(data)) as file:
        places = {tag.code - PLACEHOLDER: tag.offset for tag in file.pages[0].aspage().tags}
    for tag in DIRECTORY_TAGS & set(places):
        start = buffer.seek(0, 2)
        start += buffer.write(b"\x00" * (start % 2))
        buffer.write(exif_directory(exif, tag, start))
        buffer.seek(places[tag])
        buffer.write(struct.pack("<HHII", tag, 4, 1, start))
    return buffer.getvalue()


def _only_page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    """The one picture that is not a thumbnail of another."""
    pages: list[tifffile.TiffPage] = []
    seen: set[int] = set()
    for page in file.pages:
        if page.offset in seen:  # a damaged file can lead back to an earlier page, for ever
            break
        seen.add(page.offset)
        if not page.is_reduced:
            pages.append(page.aspage())
        if len(pages) > 1:
            raise ValueError("holds several pages: split it into single pictures")
    if not pages:
        raise ValueError("holds no picture")
    return pages[0]


def _values(page: tifffile.TiffPage) -> np.ndarray:
    """(H, W, S) in uint8, uint16 or float32, black at 0."""
    allowed = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE, tifffile.PHOTOMETRIC.RGB)
    allowed += (tifffile.PHOTOMETRIC.PALETTE, tifffile.PHOTOMETRIC.YCBCR)
    if page.photometric not in allowed:
        raise ValueError(f"{tifffile.PHOTOMETRIC(page.photometric).name} colours: convert it to RGB or grey first")
    values = page.asarray()
    if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and values.ndim == 3:
        values = np.moveaxis(values, 0, -1)
    if values.ndim not in (2, 3):
        raise ValueError(f"holds {values.ndim}-dimensional data, not a picture")
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        if values.ndim != 2:
            raise ValueError("a palette with transparency: convert it to RGB first")
        colours = (page.colormap >> 8).astype(np.uint8)  # 16 bits by the standard, 8 in every palette that is made
        return np.moveaxis(colours, 0, -1)[values.astype(np.intp)]
    values = _to_photo_type(np.atleast_3d(values), int(page.bitspersample))
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        values = (1 if values.dtype == np.float32 else np.iinfo(values.dtype).max) - values
    return values


def _to_photo_type(values: np.ndarray, bits: int) -> np.ndarray:
    if values.dtype.kind == "f":
        values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError("holds values that are not numbers (NaN or infinity)")
        return values
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind != "u":
        raise ValueError(f"{values.dtype} values: convert it to unsigned integers or floating point first")
    top = 2**bits - 1
    if bits < 8:
        return (values.astype(np.uint16) * 255 // top).astype(np.uint8)
    if bits in (8, 16):
        return values.astype(np.uint8 if bits == 8 else np.uint16)
    return np.rint(values.astype(np.float64) * (65535 / top)).astype(np.uint16)


def _split_alpha(values: np.ndarray, page: tifffile.TiffPage) -> tuple[Pixels, Pixels | None]:
    colours = 3 if values.shape[2] >= 3 else 1
    extra = values.shape[2] - colours
    if extra > 1:
        raise ValueError(f"{values.shape[2]} channels: only grey or RGB, with or without alpha, are read")
    pixels = values[..., :colours]
    if not extra:
        return pixels, None
    alpha = values[..., colours]
    if tifffile.EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
        top = 1 if values.dtype == np.float32 else np.iinfo(values.dtype).max
        straight = pixels / np.maximum(alpha[..., None], 1e-6 * top) * top
        pixels = np.clip(np.rint(straight), 0, top).astype(values.dtype) if top != 1 else straight.astype(np.float32)
    return pixels, alpha


def _dpi(page: tifffile.TiffPage) -> tuple[float, float] | None:
    unit = page.tags.get("ResolutionUnit")
    tags = page.tags.get("XResolution"), page.tags.get("YResolution")
    if None in tags or (unit is not None and unit.value == 1):
        return None
    scale = 2.54 if unit is not None and unit.value == RESOLUTION_UNIT_CM else 1.0
    values = [tag.value[0] * scale / tag.value[1] if tag.value[1] else 0 for tag in tags]
    return (values[0], values[1]) if min(values) > 0 else None


def _bytes_of(page: tifffile.TiffPage, number: int) -> bytes | None:
    tag = page.tags.get(number)
    if tag is None:
        return None
    value = tag.value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, tuple):  # IPTC is often stored as 32-bit words
        return np.array(value, dtype=f"{page.parent.byteorder}u4").tobytes()
    return bytes(value)


def _first_tags(data: bytes) -> list[int]:
    try:
        with tifffile.TiffFile(BytesIO(data)) as file:
            return [tag.code for tag in file.pages[0].aspage().tags]
    except (tifffile.TiffFileError, ValueError, IndexError, struct.error, KeyError, TypeError):
        return []
