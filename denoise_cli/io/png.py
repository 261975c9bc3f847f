"""PNG as Pillow does not write it: 16 bits per value in RGB, and compressed by all processors at once.

Source: W3C, "Portable Network Graphics (PNG) Specification", third edition.

Legend: H x W pixels of C values.
"""

import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from denoise_cli.errors import MissingDependency
from denoise_cli.io.cicp import CodePoints, stated
from denoise_cli.io.codecs import count_threads, load_imagecodecs
from denoise_cli.io.exif import pack
from denoise_cli.io.mastering import Mastering, of_chunks
from denoise_cli.io.metadata import Metadata, exif_for_result
from denoise_cli.io.native import Native
from denoise_cli.io.photo import Photo

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SAFE_TO_COPY = 0x20  # a bit of the last letter of a chunk's name, which makes it a small letter
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
WRITTEN_ANEW = (b"pHYs", b"eXIf", b"mDCv", b"cLLi")  # the last two by the names that a draft gave them
COLOURS = b"cICP"
MASTERING = (b"mdcv", b"clli")  # in small letters: drafts of the standard differ in the last one
# Chunks that are read, or are about the pixels as they were compressed; by names of which drafts differ.
READ = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sRGB", b"cICP", *WRITTEN_ANEW}
READ |= {b"mDCV", b"cLLI", b"acTL", b"fcTL", b"fdAT", b"iDOT", b"caBX"}
BITS, BACKGROUND = b"sBIT", b"bKGD"
WORDS = {
    BITS: "significant bits (sBIT)",
    b"tIME": "time of the last change (tIME)",
    b"hIST": "histogram (hIST)",
    b"sPLT": "suggested palette (sPLT)",
}
# Texts that are metadata of other kinds, or that name the program.
KEYWORDS_WRITTEN_ANEW = {"XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type APP1", "Software"}
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of values in a pixel
PALETTE = 3  # as a colour type
OF_COLOUR = (COLOUR_TYPES[3], COLOUR_TYPES[4])
ZLIB_HEADER = b"\x78\x01"
LAST_BLOCK = b"\x03\x00"  # of a deflate stream: it is empty
STRIP_BYTES = 2**21  # of pixels that one thread compresses at a time
PNG_OVERHEAD = 4096  # bytes, more than the chunks of a strip need apart from its pixels


@dataclass(frozen=True)
class Compression:
    """How rows are filtered and compressed.

    Attributes:
        level, strategy: zlib's.
        filter: libpng's, for imagecodecs; None to choose one for each row.
    """

    level: int
    strategy: int
    filter: int | None


# Bytes of a photo hardly ever repeat, least of all the lower ones of 16 bits: looking for repetitions took four fifths
# of the time and made files no smaller. Drawings and text repeat themselves.
LIKE_PHOTOS = Compression(level=1, strategy=zlib.Z_RLE, filter=128)  # Paeth's
LIKE_DRAWINGS = Compression(level=6, strategy=zlib.Z_DEFAULT_STRATEGY, filter=None)
WORTH_SEARCHING = 0.95  # of the size of a sample, BANDS bands of BAND_ROWS rows
BANDS = 4
BAND_ROWS = 16


def encode(photo: Photo, software: str) -> bytes:
    """The bytes of a PNG with 8 or 16 bits per value, as the photo has them."""
    values: np.ndarray = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    H, W, C = values.shape
    header = struct.pack(">IIBBBBB", W, H, 8 * values.itemsize, COLOUR_TYPES[C], 0, 0, 0)
    return b"".join(
        [
            SIGNATURE,
            _chunk(b"IHDR", header),
            *_colour_chunks(photo.metadata),
            *_metadata_chunks(photo.metadata, software, W, H),
            photo.metadata.chunks,
            *_native_chunks(photo),
            *_pixel_chunks(values),
            _chunk(b"IEND", b""),
        ]
    )


def chunks_of(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The name and the complete bytes of each chunk."""
    start = len(SIGNATURE)
    while start < len(png):
        stop = start + 12 + int.from_bytes(png[start : start + 4], "big")
        yield png[start + 4 : start + 8], png[start:stop]
        start = stop


def colours_of(png: bytes) -> tuple[bool, CodePoints | None, Mastering | None]:
    """Whether a PNG states its colours by code points, which override its profile; these, and what it says of HDR.

    Raises:
        ValueError: the colours are of a kind that is not read; with a message for the user.
    """
    colours, mastering = None, []
    for name, chunk in chunks_of(png):
        if name == COLOURS and len(chunk) == 12 + 4:
            colours = chunk[8:12]
        elif name.lower() in MASTERING:
            mastering.append((name, chunk[8:-4]))
        elif name == b"IDAT":
            break
    if colours is None:
        return False, None, of_chunks(mastering)
    primaries, transfer, matrix, is_full = colours
    if matrix or not is_full:
        raise ValueError("values in video range, or not red, green and blue (CICP): convert it to full range first")
    return True, stated(primaries, transfer), of_chunks(mastering)


def kept_chunks(png: bytes) -> bytes:
    """The chunks that are marked as safe to copy to an edited picture, without those that a result has anew."""
    return b"".join(chunk for name, chunk in chunks_of(png) if _is_kept(name, chunk))


def names_of_kept(chunks: bytes) -> list[str]:
    """The names of chunks that are no texts, for the user."""
    names = dict.fromkeys(name for name, _ in chunks_of(SIGNATURE + chunks) if name not in TEXTS)
    return [f"chunk {name.decode('latin-1')}" for name in names]


def natives_of(png: bytes) -> tuple[Native, ...]:
    """What else a PNG holds that stays true of a result: the colour of its background, as `_background` has it."""
    bodies = {name: chunk[8:-4] for name, chunk in chunks_of(png)}
    colour = _background(bodies, png[24], png[25])
    return () if colour is None else (Native("png", "background colour (bKGD)", colour, of_colours=True),)


def notes_on(png: bytes) -> tuple[str, ...]:
    """What the user should hear of chunks that are not true of a result, or depend on pixels in an unknown way."""
    lost = []
    for name, chunk in chunks_of(png):
        is_safe = bool(name[3:4]) and bool(name[3] & SAFE_TO_COPY)
        if name in READ or is_safe or name == BACKGROUND or not name.isalpha():
            continue
        if name != BITS or set(chunk[8:-4]) != {8 if png[25] == PALETTE else png[24]}:  # else it says nothing
            lost.append(WORDS.get(name) or f"chunk {name.decode('ascii')}")
    return (f"left out: {', '.join(dict.fromkeys(lost))}",) if lost else ()


def _background(bodies: dict[bytes, bytes], bits: int, colour_type: int) -> tuple[int, ...] | None:
    """The colour behind the picture: grey, or red, green and blue, of 8 or 16 bits as the photo; None without any."""
    stored = bodies.get(BACKGROUND, b"")
    if colour_type == PALETTE:
        entry = bodies.get(b"PLTE", b"")[3 * stored[0] :][:3] if len(stored) == 1 else b""
        return tuple(entry) if len(entry) == 3 else None
    if len(stored) != (6 if colour_type in OF_COLOUR else 2):
        return None
    values = struct.unpack(f">{len(stored) // 2}H", stored)
    return tuple(value * 255 // (2**bits - 1) for value in values) if bits < 8 else values


def _native_chunks(photo: Photo) -> Iterator[bytes]:
    for native in photo.metadata.natives:
        if native.kind == "png":
            values = native.data if len(native.data) == photo.pixels.shape[2] else native.data[:1] * 3
            yield _chunk(BACKGROUND, struct.pack(f">{len(values)}H", *values))


def _is_kept(name: bytes, chunk: bytes) -> bool:
    if len(chunk) < 12 or len(chunk) != 12 + int.from_bytes(chunk[:4], "big") or not name[3] & SAFE_TO_COPY:
        return False
    keyword = chunk[8:88].partition(b"\x00")[0].decode("latin-1")
    return name not in WRITTEN_ANEW and not (name in TEXTS and keyword in KEYWORDS_WRITTEN_ANEW)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def _colour_chunks(meta: Metadata) -> list[bytes]:
    """Code points, and what is said of HDR; both have to stand before a profile and the pixels."""
    chunks = []
    if meta.cicp is not None:
        chunks.append(_chunk(COLOURS, bytes([meta.cicp.primaries, meta.cicp.transfer, 0, 1])))
    if meta.mastering is not None:
        chunks += [_chunk(name, body) for name, body in meta.mastering.chunks()]
    return chunks


def _metadata_chunks(meta: Metadata, software: str, width: int, height: int) -> list[bytes]:
    """What Pillow writes around the pixels of a picture of one pixel."""
    info = PngImagePlugin.PngInfo()
    if meta.gamma:
        info.add(b"gAMA", struct.pack(">I", round(meta.gamma * 100_000)))
    if meta.chromaticities:
        info.add(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in meta.chromaticities)))
    info.add_text("Software", software)
    for keyword, text in meta.texts if not meta.chunks else ():
        info.add_text(keyword, text.encode(errors="surrogateescape").decode(errors="replace"))
    if meta.xmp:
        info.add_itxt("XML:com.adobe.xmp", meta.xmp.decode("utf-8", "replace"))
    options: dict[str, Any] = {"icc_profile": meta.icc} if meta.icc else {}
    if meta.dpi:
        options["dpi"] = meta.dpi
    carrier = BytesIO()
    exif = pack(exif_for_result(meta, software, width, height))
    Image.new("L", (1, 1)).save(carrier, "PNG", pnginfo=info, exif=exif, **options)
    return [chunk for name, chunk in chunks_of(carrier.getvalue()) if name not in (b"IHDR", b"IDAT", b"IEND")]


def _pixel_chunks(values: np.ndarray) -> list[bytes]:
    """Pixels, (H, W, C), filtered and compressed strip by strip."""
    how = _compression_for(values)
    rows = max(STRIP_BYTES // values[0].nbytes, 1)

    def compressed(top: int) -> tuple[bytes, bytes]:
        filtered = _filtered(values, top, top + rows, how)
        return filtered, _chunk(b"IDAT", _deflated(filtered, how))

    checksum, chunks = zlib.adler32(b""), [_chunk(b"IDAT", ZLIB_HEADER)]
    with ThreadPoolExecutor(count_threads()) as threads:
        for filtered, chunk in threads.map(compressed, range(0, len(values), rows)):
            checksum = zlib.adler32(filtered, checksum)
            chunks.append(chunk)
    return [*chunks, _chunk(b"IDAT", LAST_BLOCK + struct.pack(">I", checksum))]


def _compression_for(values: np.ndarray) -> Compression:
    """What suits a sample: a few bands of rows, evenly spread over the picture, one below the other."""
    starts = np.linspace(0, max(len(values) - BAND_ROWS, 0), BANDS).astype(int)
    sample = np.concatenate([values[start : start + BAND_ROWS] for start in starts])
    photo, drawing = (
        len(_deflated(_filtered(sample, 0, len(sample), how), how)) for how in (LIKE_PHOTOS, LIKE_DRAWINGS)
    )
    return LIKE_DRAWINGS if drawing < WORTH_SEARCHING * photo else LIKE_PHOTOS


def _filtered(values: np.ndarray, top: int, bottom: int, how: Compression) -> bytes:
    """Rows from `top` to `bottom`, each behind the number of its filter: those of an uncompressed PNG by libpng."""
    above = min(top, 1)  # a row that the filters compare with
    strip = np.ascontiguousarray(values[top - above : bottom])
    strip = strip[..., 0] if strip.shape[2] == 1 else strip
    try:
        png = load_imagecodecs().png_encode(
            strip,
            level=0,
            filter=how.filter,
            out=2 * strip.nbytes + 2 * len(strip) + PNG_OVERHEAD,  # its own estimate forgets the filters of narrow rows
        )
    except MissingDependency:
        if strip.dtype != np.uint8:
            raise
        png = _filtered_by_pillow(strip)
    rows = zlib.decompress(b"".join(chunk[8:-4] for name, chunk in chunks_of(bytes(png)) if name == b"IDAT"))
    return rows[above * len(rows) // len(strip) :]


def _filtered_by_pillow(strip: np.ndarray) -> bytes:
    """An uncompressed PNG of 8 bits, whose filters Pillow chooses."""
    buffer = BytesIO()
    Image.fromarray(strip).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def _deflated(filtered: bytes, how: Compression) -> bytes:
    """A part of a deflate stream, which ends with a whole byte."""
    stream = zlib.compressobj(how.level, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, how.strategy)
    return stream.compress(filtered) + stream.flush(zlib.Z_SYNC_FLUSH)
