"""AVIF: read by Pillow, and by imagecodecs what that refuses; written by imagecodecs with 10 or 12 bits per value, or
with colours by code points.

imagecodecs writes no metadata: that is added to the file here.

Source: ISO/IEC 14496-12, section 8.11; ISO/IEC 23008-12, section 6 and annex A.
"""

import struct

import numpy as np
from PIL import UnidentifiedImageError

from denoise_cli.io import avif_repair, pillow
from denoise_cli.io.boxes import box, boxes_of
from denoise_cli.io.codecs import count_threads_for_avif, load_imagecodecs
from denoise_cli.io.exif import pack
from denoise_cli.io.heif_grid import refuse_too_large_inside
from denoise_cli.io.item_properties import Property
from denoise_cli.io.metadata import Metadata, exif_for_result
from denoise_cli.io.photo import Photo, from_16_bits

DEPTHS = (10, 12)
SRGB = {"primaries": 1, "transfer": 13}
SPEED = 6
PICTURE = 1  # the number of the item that is the photo
ITEM_INFO = 2  # version of a box
FIELD_SIZES = 0x44, 0x00  # of the box with places: four bytes each for a place and a length, none for others


def is_avif(data: bytes) -> bool:
    """Whether a file is AVIF, by its first bytes."""
    return data[4:11] == b"ftypavi"


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode a still picture.

    Args:
        data: the file.
        max_pixels: larger pictures are refused.

    Raises:
        MissingDependency: imagecodecs is not installed, and needed.
        ValueError: the picture is too large, damaged or of an unsupported kind; with a message for the user.
        OSError and others: the file is damaged.
    """
    refuse_too_large_inside(data, max_pixels)
    data = avif_repair.repaired(data)
    try:
        return pillow.decode(data, max_pixels)
    except UnidentifiedImageError:
        return avif_repair.decode(data, pillow.avif_bits(data), max_pixels)


def encode(photo: Photo, software: str, quality: int) -> bytes:
    """The bytes of a file in the photo's own depth, up to 12 bits per value; arguments are those of `image.write`."""
    meta = photo.metadata
    if photo.bits == 8 and meta.cicp is None and meta.mastering is None:
        return pillow.encode(photo, "avif", software, quality)
    values = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    H, W, C = values.shape
    bits = 8 if photo.bits == 8 else min(depth for depth in DEPTHS if depth >= min(photo.depth or 16, max(DEPTHS)))
    values = values if bits == 8 else from_16_bits(values, bits)
    codecs = load_imagecodecs()
    plain = codecs.avif_encode(
        values if C > 1 else values[..., 0],
        level=quality,
        speed=SPEED,
        bitspersample=bits,
        pixelformat=codecs.AVIF.PIXEL_FORMAT.YUV444,  # not "444", which newer versions do not know
        numthreads=count_threads_for_avif(),
        **_numbers(meta),
    )
    items = [(b"Exif", b"Exif\x00", bytes(4) + pack(exif_for_result(meta, software, W, H)))]
    if meta.xmp:
        items.append((b"mime", b"XMP\x00application/rdf+xml\x00", meta.xmp))
    properties = [] if meta.mastering is None else meta.mastering.boxes()
    if meta.icc and meta.cicp is None:
        properties.append((b"colr", b"prof" + meta.icc))
    return _with_items(bytes(plain), items, properties)


def _numbers(meta: Metadata) -> dict[str, int]:
    """The code points of the colours, for the encoder; none if a profile says them."""
    if meta.cicp is not None:
        cicp = meta.cicp
        return {"primaries": cicp.primaries, "transfer": cicp.transfer, "matrix": cicp.matrix_to_write}
    return {} if meta.icc else SRGB


def _with_items(avif: bytes, items: list[tuple[bytes, bytes, bytes]], properties: list[Property]) -> bytes:
    """A file with further items (type, name and the bytes), which describe the picture, and properties for it."""
    parts = list(boxes_of(avif))
    old = next(contents for name, contents in parts if name == b"meta")
    meta = list(boxes_of(old[4:]))
    entries = _places(next(contents for name, contents in meta if name == b"iloc"))
    first = 1 + max(number for number, _, _ in entries)
    numbers = range(first, first + len(items))

    def rebuilt(shift: int) -> bytes:
        """The box that describes the items, if those that were there move by so many bytes."""
        places = [(number, place + shift, length) for number, place, length in entries]
        place = len(avif) + shift + len(box(b"mdat"))
        for number, (_, _, body) in zip(numbers, items, strict=True):
            places.append((number, place, len(body)))
            place += len(body)
        changed = [box(name, _changed(name, contents, places, numbers, items, properties)) for name, contents in meta]
        if b"iref" not in dict(meta):
            changed.append(box(b"iref", bytes(4), *_references(numbers)))
        return box(b"meta", old[:4], *changed)

    shift = len(rebuilt(0)) - len(box(b"meta", old))
    return b"".join(
        [
            *(rebuilt(shift) if name == b"meta" else box(name, contents) for name, contents in parts),
            box(b"mdat", *(body for _, _, body in items)),
        ]
    )


def _places(contents: bytes) -> list[tuple[int, int, int]]:
    """The number, the place in the file and the length of each item, as libavif writes them."""
    if contents[:6] != bytes([0, 0, 0, 0, *FIELD_SIZES]):
        raise ValueError("libavif has written places of items in an unexpected way")
    return [(number, place, length) for number, _, _, place, length in struct.iter_unpack(">HHHII", contents[8:])]


def _changed(
    name: bytes,
    contents: bytes,
    places: list[tuple[int, int, int]],
    numbers: range,
    items: list[tuple[bytes, bytes, bytes]],
    properties: list[Property],
) -> bytes:
    """What a box inside the one that describes the items holds, with the new ones."""
    if name == b"iloc":
        entries = [struct.pack(">HHHII", number, 0, 1, place, length) for number, place, length in places]
        return b"".join([contents[:6], struct.pack(">H", len(places)), *entries])
    if name == b"iinf":
        infos = [
            box(b"infe", struct.pack(">BxxxHH", ITEM_INFO, number, 0), kind, title)
            for number, (kind, title, _) in zip(numbers, items, strict=True)
        ]
        return b"".join([contents[:4], struct.pack(">H", len(places)), contents[6:], *infos])
    if name == b"iref":
        return b"".join([contents, *_references(numbers)])
    if name == b"iprp" and properties:
        (_, known), (_, owners) = boxes_of(contents)
        first = 1 + sum(1 for _ in boxes_of(known))
        added = range(first, first + len(properties))
        boxes = (box(title, body) for title, body in properties)
        return box(b"ipco", known, *boxes) + box(b"ipma", _with_properties(owners, added))
    return contents


def _references(numbers: range) -> list[bytes]:
    """What says that items describe the picture."""
    return [box(b"cdsc", struct.pack(">HHH", number, 1, PICTURE)) for number in numbers]


def _with_properties(owners: bytes, numbers: range) -> bytes:
    """The list of which item has which properties, with more of the picture, the first in the list."""
    start = 4 + 4 + 2  # the version, the number of items, and the first item's
    count = owners[start]
    end = start + 1 + count
    return owners[:start] + bytes([count + len(numbers)]) + owners[start + 1 : end] + bytes(numbers) + owners[end:]
