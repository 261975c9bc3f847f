"""HEIF and AVIF of kinds that no library at hand writes, built by hand."""

import struct

from denoise_cli.io.boxes import box, boxes_of
from denoise_cli.io.item_properties import Property
from denoise_cli.io.uncompressed import PLANES


def heif(kind: bytes, item: bytes, properties: list[Property], brand: bytes = b"mif1") -> bytes:
    """A file with one item."""
    full = bytes(4)
    numbers = bytes(range(1, len(properties) + 1))
    owners = struct.pack(">IIHB", 0, 1, 1, len(numbers)) + numbers
    head = box(b"ftyp", brand, full, b"mif1heif")
    after = [
        box(b"hdlr", bytes(8), b"pict", bytes(13)),
        box(b"pitm", full, struct.pack(">H", 1)),
        box(
            b"iinf", full, struct.pack(">H", 1), box(b"infe", b"\x02", bytes(3), struct.pack(">HH", 1, 0), kind, b"\0")
        ),
        box(b"iprp", box(b"ipco", *(box(*each) for each in properties)), box(b"ipma", owners)),
    ]
    size = len(box(b"meta", full, *after)) + len(box(b"iloc", bytes(22)))
    place = len(head) + size + 8
    iloc = box(b"iloc", full, struct.pack(">HHHHHII", 0x4400, 1, 1, 0, 1, place, len(item)))
    return head + box(b"meta", full, *after, iloc) + box(b"mdat", item)


def uncompressed(
    item: bytes,
    size: tuple[int, int],
    components: tuple[int, ...],
    bits: int = 8,
    align: int = 0,
    interleave: int = PLANES,
    sampling: int = 0,
    tiles: tuple[int, int] = (1, 1),
    row_align: int = 0,
    tile_align: int = 0,
    flags: int = 0,
    more: tuple[Property, ...] = (),
) -> bytes:
    entries = b"".join(struct.pack(">HBBB", index, bits - 1, 0, align) for index in range(len(components)))
    layout = struct.pack(">4B5I", sampling, interleave, 0, flags, 0, row_align, tile_align, tiles[0] - 1, tiles[1] - 1)
    known: list[Property] = [
        (b"ispe", struct.pack(">3I", 0, *size)),
        (b"cmpd", struct.pack(f">I{len(components)}H", len(components), *components)),
        (b"uncC", bytes(8) + struct.pack(">I", len(components)) + entries + layout),
    ]
    return heif(b"unci", item, [*known, *more])


def avif_grid(tile: bytes, columns: int, rows: int, size: tuple[int, int]) -> bytes:
    """An AVIF of this size, (W, H), that is made up of a tile, an AVIF without metadata, again and again."""
    inside = dict(boxes_of(tile))
    described = dict(boxes_of(dict(boxes_of(inside[b"meta"][4:]))[b"iprp"]))
    properties = [*boxes_of(described[b"ipco"]), (b"ispe", struct.pack(">3I", 0, *size))]
    count, full = columns * rows, bytes(4)
    of_tiles = range(1, len(properties))
    of_grid = [len(properties), *(n for n, (name, _) in enumerate(properties, 1) if name in (b"pixi", b"colr"))]
    numbers = range(1, count + 2)  # the last one is the grid
    owners = [of_grid if number > count else of_tiles for number in numbers]
    ipma = b"".join(struct.pack(">HB", n, len(own)) + bytes(own) for n, own in zip(numbers, owners, strict=True))
    kinds = [b"grid" if number > count else b"av01" for number in numbers]
    infos = [box(b"infe", b"\x02", full[:3], struct.pack(">HH", n, 0), kinds[n - 1], b"\0") for n in numbers]
    payload = struct.pack(">4B2H", 0, 0, rows - 1, columns - 1, *size)
    head = box(b"ftyp", b"avif", full, b"avifmif1miaf")
    before = [
        box(b"hdlr", bytes(8), b"pict", bytes(13)),
        box(b"pitm", full, struct.pack(">H", count + 1)),
        box(b"iinf", full, struct.pack(">H", len(numbers)), *infos),
        box(b"iref", full, box(b"dimg", struct.pack(f">{count + 2}H", count + 1, count, *range(1, count + 1)))),
        box(
            b"iprp",
            box(b"ipco", *(box(*each) for each in properties)),
            box(b"ipma", full, bytes(3), bytes([count + 1]), ipma),
        ),
    ]
    item = inside[b"mdat"]
    size_of_iloc = 8 + 4 + 2 + 2 + 14 * len(numbers)
    place = len(head) + len(box(b"meta", full, *before)) + size_of_iloc + 8
    places = [(place, len(item))] * count + [(place + len(item), len(payload))]
    entries = b"".join(struct.pack(">HHHII", n, 0, 1, *where) for n, where in zip(numbers, places, strict=True))
    iloc = box(b"iloc", full, struct.pack(">HH", 0x4400, len(numbers)), entries)
    return head + box(b"meta", full, *before, iloc) + box(b"mdat", item, payload)
