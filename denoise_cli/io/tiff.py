"""TIFF: reads any bit depth and CMYK, Lab and several pages, and writes them with EXIF and GPS directories."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO

import numpy as np
import tifffile

from denoise_cli.imaging.lab import from_srgb
from denoise_cli.imaging.pixels import convert, inverted
from denoise_cli.io import c2pa
from denoise_cli.io.exif import (
    BYTE,
    EXIF_IFD,
    GPS_IFD,
    LONG,
    RATIONAL,
    SRATIONAL,
    UNDEFINED,
    Directory,
    Exif,
    Value,
    directory_bytes,
    pack,
    parse,
)
from denoise_cli.io.metadata import (
    IPTC_TAG,
    RESOLUTION_UNIT,
    X_RESOLUTION,
    XMP_TAG,
    Y_RESOLUTION,
    Metadata,
    dpi_of,
    exif_for_result,
    keep_descriptive,
    split_orientation,
)
from denoise_cli.io.photo import Photo
from denoise_cli.io.photoshop import iptc_in
from denoise_cli.io.tiff_pages import (
    BUFFER,
    has_other_values,
    pages_of,
    read_values,
    repairs_of,
    whole,
    with_sign,
)
from denoise_cli.io.tiff_tags import (
    ICC_TAG,
    LAYOUT,
    NO_UNIT,
    READ,
    RESOURCES_TAG,
    TAGS_OF_DNG,
    left_out_of,
    natives_of,
    tags_for,
)

PLACEHOLDER = 1  # added to the tag of a directory pointer, which tifffile cannot write; sorts into the same position
RESOLUTION = (X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT)
PAGE_OF_SEVERAL = 2  # NewSubfileType
MOST_LARGE_PAGES = 100  # as large as --max-pixels allows: a small file can state many thousands of them


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode a TIFF: its first page, with the others to be decoded one by one, and messages about those that are lost.

    Args:
        data: the file.
        max_pixels: larger pages are refused, also if they are not the first.

    Raises:
        ValueError: a page is too large or of an unsupported kind; with a message for the user.
        tifffile.TiffFileError, OSError and others: the file is damaged.
    """
    with BytesIO(data) as contents, tifffile.TiffFile(contents) as file:
        pages, notes, unreached = pages_of(file)
        pages, damaged = whole(pages, max_pixels, data)
        lost = damaged + unreached
        area = sum(page.imagewidth * page.imagelength for page in pages)
        if area > MOST_LARGE_PAGES * max_pixels:
            raise ValueError(
                f"{len(pages)} pages of {area} pixels together, at most {MOST_LARGE_PAGES} times --max-pixels: split it"
            )
        notes += lost + c2pa.notes_on(data, "tiff")
        first = _photo_of(data, pages[0], notes, len(pages) > 1)
        others = [partial(_page_at, data, page.index, notes) for page in pages[1:]]
    return replace(first, others=tuple(others), repairs=lost + first.repairs)


def encode(photo: Photo, software: str) -> bytes:
    """The bytes of a losslessly compressed TIFF in the photo's own bit depth; arguments are those of `image.write`."""
    return _encoded([(photo, software)], subfiletype=0)


def encode_pages(pages: Iterable[tuple[Photo, str]]) -> bytes:
    """The bytes of a TIFF with several pages, of which only one is needed at a time.

    Args:
        pages: at least one, each as for `encode`.
    """
    return _encoded(pages, PAGE_OF_SEVERAL)


def _encoded(pages: Iterable[tuple[Photo, str]], subfiletype: int) -> bytes:
    exifs = []
    with BytesIO() as buffer:  # closed, since tifffile's own objects keep it
        writer = None
        for photo, software in pages:
            H, W = photo.shape
            exif = exif_for_result(photo.metadata, software, W, H)
            if writer is None:
                writer = tifffile.TiffWriter(buffer, byteorder=exif.order, bigtiff=False)
            _add(writer, photo, exif, software, subfiletype)
            exifs.append(exif)
            del photo  # the next one may need its memory
        if writer is None:
            raise ValueError("expected at least one page, got none")
        writer.close()
        add_directories(buffer, exifs)
        return buffer.getvalue()


def _add(writer: tifffile.TiffWriter, photo: Photo, exif: Exif, software: str, subfiletype: int) -> None:
    meta = photo.metadata
    values, photometric = _stored(photo)
    channels = values.shape[2]
    extra: list[tuple[int, int, int, bytes | tuple[int, ...], bool]] = [
        (tag, kind, len(value), value, True)
        for tag, kind, value in ((XMP_TAG, BYTE, meta.xmp), (IPTC_TAG, UNDEFINED, meta.iptc))
        if value
    ]
    extra += [
        (tag, value.kind, value.count, _for_tifffile(value, exif.order), True)
        for tag, value in (_descriptive(exif) | tags_for(meta.natives, exif.order)).items()
    ]
    extra += placeholders(exif)
    writer.write(
        values if channels > 1 else values[..., 0],
        photometric=photometric,
        planarconfig="contig" if channels > 1 else None,
        extrasamples=None if photo.alpha is None else ["unassalpha"],
        compression="adobe_deflate",
        predictor=values.dtype != np.bool_,
        rowsperstrip=64,
        buffersize=BUFFER,
        subfiletype=subfiletype,
        resolution=meta.dpi or _resolution_without_unit(exif),
        resolutionunit="inch" if meta.dpi else "none",
        iccprofile=meta.icc,
        software=software.encode(),
        metadata=None,
        extratags=extra,
    )


def _for_tifffile(value: Value, order: str) -> bytes | tuple[int, ...]:
    """A value as `extratags` take it: of bytes, tifffile takes each half of a fraction for a whole one."""
    if value.kind not in (RATIONAL, SRATIONAL):
        return value.data
    halves: tuple[int, ...] = struct.unpack(
        f"{order}{2 * value.count}{'I' if value.kind == RATIONAL else 'i'}", value.data
    )
    return halves


def _descriptive(exif: Exif) -> Directory:
    """Tags about the picture: EXIF of other formats also describes the layout of their files."""
    return {tag: value for tag, value in exif.main.items() if tag not in LAYOUT | READ and tag not in TAGS_OF_DNG}


def _resolution_without_unit(exif: Exif) -> tuple[float, float] | None:
    """Numbers whose ratio is that of a pixel's height and width; None if they are not stated, or in a unit."""
    if exif.number(exif.main.get(RESOLUTION_UNIT)) != NO_UNIT:
        return None
    horizontal, vertical = (exif.fraction(exif.main.get(tag)) for tag in (X_RESOLUTION, Y_RESOLUTION))
    return (horizontal, vertical) if min(horizontal, vertical) > 0 else None


def _stored(photo: Photo) -> tuple[np.ndarray, str]:
    """A photo's values as a file stores them, (H, W, S), and what they mean."""
    planes: list[np.ndarray] = [photo.pixels]
    photometric = "rgb" if photo.pixels.shape[2] == 3 else "minisblack"
    if photo.lab is not None:
        planes, photometric = [from_srgb(photo.as_float(), photo.lab)], photo.lab.convention
    elif photo.black is not None:
        planes, photometric = [inverted(photo.pixels), inverted(photo.black)], "separated"
    elif photo.is_signed:
        planes = [with_sign(photo.pixels)]
    elif photo.is_bilevel:
        planes = [photo.pixels > 0]
    if photo.alpha is not None:
        planes.append(photo.alpha if photo.lab is None else convert(photo.alpha, photo.lab.dtype))
    return np.dstack(planes) if len(planes) > 1 else planes[0], photometric


def placeholders(exif: Exif) -> list[tuple[int, int, int, bytes, bool]]:
    """Tags for tifffile that reserve room for pointers to the EXIF and GPS directories: see `add_directories`."""
    return [
        (tag + PLACEHOLDER, LONG, 1, exif.long(0).data, True)
        for tag in (EXIF_IFD, GPS_IFD)
        if directory_bytes(exif, tag, 0)
    ]


def add_directories(buffer: BytesIO, exifs: Sequence[Exif]) -> None:
    """Append the EXIF and GPS directories of each page to a TIFF file, and make its placeholders point at them."""
    buffer.seek(0)
    with tifffile.TiffFile(buffer) as file:
        places = [{tag.code - PLACEHOLDER: tag.offset for tag in page.aspage().tags} for page in file.pages]
    for exif, place in zip(exifs, places, strict=True):
        for tag in {EXIF_IFD, GPS_IFD} & set(place):
            start = buffer.seek(0, 2)
            start += buffer.write(b"\x00" * (start % 2))
            buffer.write(directory_bytes(exif, tag, start))
            buffer.seek(place[tag])
            buffer.write(struct.pack(exif.order + "HHII", tag, LONG, 1, start))


def _page_at(data: bytes, index: int, notes: tuple[str, ...]) -> Photo:
    with BytesIO(data) as contents, tifffile.TiffFile(contents) as file:
        return _photo_of(data, file.pages[index].aspage(), notes, of_several=True)


def _photo_of(data: bytes, page: tifffile.TiffPage, notes: tuple[str, ...], of_several: bool) -> Photo:
    values, repairs = read_values(page), repairs_of(page)
    exif = parse(data, page.offset)
    xmp, icc, iptc = (exif.main[tag].data if tag in exif.main else None for tag in (XMP_TAG, ICC_TAG, IPTC_TAG))
    resources = exif.main[RESOURCES_TAG].data if RESOURCES_TAG in exif.main else b""
    natives = natives_of(exif, has_other_values(page))
    lost = left_out_of(page, exif, natives)
    notes += (f"tags that are left out: {', '.join(lost)}",) if lost else ()
    described = keep_descriptive(exif)
    described.main |= {tag: exif.main[tag] for tag in RESOLUTION if tag in exif.main}
    orientation, packed = split_orientation(described, xmp)
    dpi = dpi_of(described)
    if packed is None and of_several:
        packed = pack(Exif(exif.order))  # other pages of the file have tags, and theirs is the order of all
    photo = Photo(
        pixels=values.pixels,
        alpha=values.alpha,
        kind="tiff",
        metadata=Metadata(exif=packed, xmp=xmp, icc=icc, iptc=iptc or iptc_in(resources), dpi=dpi, natives=natives),
        notes=values.notes + notes + repairs,
        black=values.black,
        lab=values.lab,
        is_signed=values.is_signed,
        is_bilevel=values.is_bilevel,
        repairs=repairs,
    )
    return photo.turned(orientation)
