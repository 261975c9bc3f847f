"""TIFF: reads any bit depth, and writes 8 bits, 16 bits and floating point with EXIF and GPS directories."""

import struct
from io import BytesIO

import numpy as np
import tifffile

from denoise_cli.imaging.pixels import Pixels, white_value
from denoise_cli.io import c2pa
from denoise_cli.io.exif import BYTE, EXIF_IFD, GPS_IFD, LONG, UNDEFINED, Exif, directory_bytes, parse
from denoise_cli.io.metadata import (
    DESCRIPTIVE_TAGS,
    IPTC_TAG,
    SOFTWARE,
    XMP_TAG,
    Metadata,
    apply_orientation,
    dpi_of,
    exif_for_result,
    keep_descriptive,
    split_orientation,
)
from denoise_cli.io.photo import Photo, unpremultiply

ICC_TAG = 34675
PLACEHOLDER = 1  # added to the tag of a directory pointer, which tifffile cannot write; sorts into the same position
MAX_CHANNELS = 5  # more are refused before they are decoded

COLOURS = {
    tifffile.PHOTOMETRIC.MINISBLACK,
    tifffile.PHOTOMETRIC.MINISWHITE,
    tifffile.PHOTOMETRIC.RGB,
    tifffile.PHOTOMETRIC.PALETTE,
}
JPEG = {tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG}  # YCbCr is decoded to RGB only in these
TRANSPARENCY = {tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA}


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode a TIFF that holds a single picture.

    Args:
        data: the file.
        max_pixels: larger pictures are refused.

    Raises:
        ValueError: the picture is too large or of an unsupported kind; with a message for the user.
        tifffile.TiffFileError, OSError and others: the file is damaged.
    """
    with tifffile.TiffFile(BytesIO(data)) as file:
        page = _only_page(file)
        _refuse_too_large(page, max_pixels)
        _refuse_truncated(page, len(data))
        pixels, alpha, notes = _split_alpha(_values(page), page)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels = np.subtract(white_value(pixels.dtype), pixels, dtype=pixels.dtype)
    exif = parse(data)
    xmp, icc, iptc = (exif.main[tag].data if tag in exif.main else None for tag in (XMP_TAG, ICC_TAG, IPTC_TAG))
    dpi = dpi_of(exif)
    orientation, packed = split_orientation(keep_descriptive(exif), xmp)
    return Photo(
        pixels=apply_orientation(pixels, orientation),
        alpha=None if alpha is None else apply_orientation(alpha, orientation),
        kind="tiff",
        metadata=Metadata(exif=packed, xmp=xmp, icc=icc, iptc=iptc, dpi=dpi),
        notes=notes + c2pa.notes_on(data, "tiff"),
    )


def encode(photo: Photo, software: str) -> bytes:
    """The bytes of a losslessly compressed TIFF in the photo's own bit depth; arguments are those of `image.write`."""
    pixels = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    H, W, C = pixels.shape
    meta = photo.metadata
    exif = exif_for_result(meta, software, W, H)
    extra = [
        (tag, kind, len(value), value, True)
        for tag, kind, value in ((XMP_TAG, BYTE, meta.xmp), (IPTC_TAG, UNDEFINED, meta.iptc))
        if value
    ]
    extra += [
        (tag, value.kind, value.count, value.data, True)
        for tag, value in exif.main.items()
        if tag in DESCRIPTIVE_TAGS and tag != SOFTWARE
    ]
    extra += placeholders(exif)

    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=exif.order, bigtiff=False) as writer:
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
            software=software.encode(),
            metadata=None,
            extratags=extra,
        )
    add_directories(buffer, exif)
    return buffer.getvalue()


def placeholders(exif: Exif) -> list[tuple[int, int, int, bytes, bool]]:
    """Tags for tifffile that reserve room for pointers to the EXIF and GPS directories: see `add_directories`."""
    return [
        (tag + PLACEHOLDER, LONG, 1, exif.long(0).data, True)
        for tag in (EXIF_IFD, GPS_IFD)
        if directory_bytes(exif, tag, 0)
    ]


def add_directories(buffer: BytesIO, exif: Exif) -> None:
    """Append the EXIF and GPS directories to a TIFF file, and make its placeholders point at them."""
    buffer.seek(0)
    with tifffile.TiffFile(buffer) as file:
        places = {tag.code - PLACEHOLDER: tag.offset for tag in file.pages[0].aspage().tags}
    for tag in {EXIF_IFD, GPS_IFD} & set(places):
        start = buffer.seek(0, 2)
        start += buffer.write(b"\x00" * (start % 2))
        buffer.write(directory_bytes(exif, tag, start))
        buffer.seek(places[tag])
        buffer.write(struct.pack(exif.order + "HHII", tag, LONG, 1, start))


def _only_page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    """The only picture in the file that is not a thumbnail."""
    pages: list[tifffile.TiffPage] = []
    seen: set[int] = set()
    for page in file.pages:
        if page.offset in seen:  # in a damaged file, the chain of pages can loop
            break
        seen.add(page.offset)
        if not page.aspage().is_reduced:
            pages.append(page.aspage())
        if len(pages) > 1:
            raise ValueError("holds several pages: split it into single pictures")
    if not pages:
        raise ValueError("holds no picture")
    return pages[0]


def _refuse_too_large(page: tifffile.TiffPage, max_pixels: int) -> None:
    if page.imagewidth * page.imagelength > max_pixels:
        raise ValueError(f"{page.imagewidth} x {page.imagelength} pixels, more than --max-pixels allows")
    if page.is_tiled and page.tilewidth * page.tilelength > max_pixels:
        raise ValueError(f"tiles of {page.tilewidth} x {page.tilelength} pixels, more than --max-pixels allows")
    if page.samplesperpixel > MAX_CHANNELS:
        raise ValueError(f"{page.samplesperpixel} channels: only grey or RGB, with or without alpha, are read")
    if page.imagedepth > 1:
        raise ValueError(f"{page.imagedepth} slices of a volume: split it into single pictures")


def _refuse_truncated(page: tifffile.TiffPage, length: int) -> None:
    """Refuse files with missing data, which the JPEG decoder would fill with grey."""
    if any(start + size > length for start, size in zip(page.dataoffsets, page.databytecounts, strict=False)):
        raise ValueError("the file ends before its pixel data does")


def _values(page: tifffile.TiffPage) -> np.ndarray:
    """(H, W, S) in uint8, uint16 or float32."""
    allowed = COLOURS | ({tifffile.PHOTOMETRIC.YCBCR} if page.compression in JPEG else set())
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
        # 16 bits by the standard, but palettes only use the upper 8.
        colours = (np.asarray(page.colormap) >> 8).astype(np.uint8)
        return np.moveaxis(colours, 0, -1)[values.astype(np.intp)]
    return _to_photo_type(np.atleast_3d(values), int(page.bitspersample))


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
        return values.astype(np.uint8 if bits == 8 else np.uint16, copy=False)
    return np.rint(values.astype(np.float64) * (65535 / top)).astype(np.uint16)


def _split_alpha(values: np.ndarray, page: tifffile.TiffPage) -> tuple[Pixels, Pixels | None, tuple[str, ...]]:
    colours = 3 if values.shape[2] >= 3 else 1
    extra = values.shape[2] - colours
    if extra > 1:
        raise ValueError(f"{values.shape[2]} channels: only grey or RGB, with or without alpha, are read")
    pixels = values[..., :colours]
    if not extra:
        return pixels, None, ()
    if page.extrasamples and not TRANSPARENCY & set(page.extrasamples):
        return pixels, None, ("an extra channel that is not transparency is left out",)
    alpha = values[..., colours]
    if tifffile.EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
        pixels = unpremultiply(pixels, alpha)
    return pixels, alpha, ()
