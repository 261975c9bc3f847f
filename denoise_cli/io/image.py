"""Photos in and out: which formats there are, and how each is read and written without losing anything."""

import dataclasses
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from denoise_cli.errors import MissingDependency, UnreadableFile, UnwritableFile, UsageError
from denoise_cli.files import write_atomically
from denoise_cli.io import raw, tiff
from denoise_cli.io.exif import PREFIX, pack, parse
from denoise_cli.io.metadata import Metadata, dpi_of, signed_exif, turn, upright, upright_xmp
from denoise_cli.io.photo import Photo, Pixels, convert, straighten, to_float

MAX_PIXELS = 200_000_000
STDIN = "-"

# What decoders say about data that they refuse, and what they let slip where they took damaged data for sound.
REFUSALS = (OSError, ValueError, RuntimeError, SyntaxError, Image.DecompressionBombError)
SLIPS = (ArithmeticError, AttributeError, EOFError, LookupError, TypeError, struct.error, zlib.error)


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        extensions: with the dot, the first is the one that is given to new files.
        depths: the bits per value that can be written, best last; empty for formats that are only read.
        alpha: whether it can hold transparency.
        grey: whether it can hold a single channel; three equal ones are written where it cannot.
        longest: the most pixels in a row or a column.
    """

    extensions: tuple[str, ...]
    depths: tuple[int, ...] = ()
    alpha: bool = True
    grey: bool = True
    longest: int = 2**31 - 1


FORMATS = {
    "jpeg": Format((".jpg", ".jpeg", ".jpe", ".jfif"), (8,), alpha=False, longest=65500),
    "png": Format((".png",), (8, 16)),
    "tiff": Format((".tif", ".tiff"), (8, 16, 32)),
    "webp": Format((".webp",), (8,), grey=False, longest=16383),
    "avif": Format((".avif",), (8,), longest=65535),
    "heif": Format((".heic", ".heif", ".hif")),
    "bmp": Format((".bmp", ".dib")),
}
WRITABLE = [name for name, known in FORMATS.items() if known.depths]
EXTENSIONS = {extension for known in FORMATS.values() for extension in known.extensions} | raw.EXTENSIONS
PILLOW_READERS = ["JPEG", "PNG", "WEBP", "AVIF", "BMP"]
PILLOW_KINDS = {"MPO": "jpeg"} | {reader: reader.lower() for reader in PILLOW_READERS}
FIRST_FRAME_IS_THE_PHOTO = {"MPO"}  # a JPEG with a preview or a second eye behind it

HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
# CICP code points (ITU-T H.273) that read as sRGB does: unspecified, BT.709 and its equals, sRGB.
ORDINARY_PRIMARIES = {1, 2, 5, 6}
ORDINARY_TRANSFERS = {1, 2, 6, 13, 14, 15}

MAKER_NOTE = 37500
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\x00"
MOST_IN_A_JPEG_SEGMENT = 65533


def is_photo(path: Path) -> bool:
    """Whether a file's name is that of a photo that is read here."""
    return path.suffix.lower() in EXTENSIONS


def kind_for(path: Path) -> str:
    """The format that a target's name asks for.

    Raises:
        UsageError: none that is written here.
    """
    for name in WRITABLE:
        if path.suffix.lower() in FORMATS[name].extensions:
            return name
    written = ", ".join(extension for name in WRITABLE for extension in FORMATS[name].extensions[:1])
    raise UsageError(f"{path}: cannot write {path.suffix or 'a name without extension'}: choose one of {written}")


def read(source: Path, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photo, whatever its extension says it is.

    Args:
        source: a file, or "-" for standard input.
        max_pixels: refuse more, before they are decoded.

    Raises:
        UnreadableFile: missing, damaged, not a still photo, or too large.
        MissingDependency: the format's library is not installed.
    """
    name = "standard input" if str(source) == STDIN else source
    try:
        data = sys.stdin.buffer.read() if str(source) == STDIN else source.read_bytes()
    except OSError as error:
        raise UnreadableFile(name, f"cannot read: {error.strerror}") from error
    except MemoryError as error:
        raise UnreadableFile(name, "does not fit into memory") from error
    if not data:
        raise UnreadableFile(name, "is empty")
    try:
        return _decode(data, source.suffix.lower(), max_pixels)
    except UnidentifiedImageError as error:
        raise UnreadableFile(name, "not a photo that is read here, or damaged at its start") from error
    except MemoryError as error:
        raise UnreadableFile(name, "does not fit into memory") from error
    except REFUSALS as error:
        raise UnreadableFile(name, f"cannot be decoded: {_in_one_line(error)}") from error
    except SLIPS as error:
        raise UnreadableFile(name, "cannot be decoded: it is damaged") from error


def write(target: Path, photo: Photo, kind: str, software: str, quality: int = 95, overwrite: bool = False) -> None:
    """Write a photo; the file appears when it is complete, or not at all.

    Args:
        target: a file, or "-" for standard output.
        photo: what to write.
        kind: a name from `WRITABLE`.
        software: what made the picture, for its metadata.
        quality: 1 to 100 for lossy formats; 100 makes WebP lossless.
        overwrite: replace a file that is there.

    Raises:
        UnwritableFile: the format cannot hold it, the folder or the disk refuses, or the file exists.
    """
    name = "standard output" if str(target) == STDIN else target
    try:
        data = encode(photo, kind, software, quality)
    except (OSError, ValueError, struct.error, RuntimeError, MemoryError) as error:
        raise UnwritableFile(name, f"cannot be encoded as {kind}: {_in_one_line(error)}") from error
    if str(target) != STDIN:
        write_atomically(target, data, overwrite)
        return
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise UnwritableFile(name, f"cannot write: {error.strerror}") from error


def encode(photo: Photo, kind: str, software: str, quality: int = 95) -> bytes:
    """A photo as the bytes of a file: in its own bit depth where the format can hold it, else in the format's best.

    Raises:
        ValueError: the format cannot hold it, in the words that the user reads.
    """
    known = FORMATS[kind]
    if max(photo.pixels.shape) > known.longest:
        raise ValueError(f"it holds at most {known.longest} pixels in a row or a column: choose .png or .tif")
    depth = min((bits for bits in known.depths if bits >= photo.bits), default=max(known.depths))
    dtype = np.dtype({8: np.uint8, 16: np.uint16, 32: np.float32}[depth])
    alpha = None if photo.alpha is None else convert(photo.alpha, dtype)
    if alpha is not None and not known.alpha:
        if (to_float(alpha) < 1).any():
            raise ValueError("it cannot hold transparency: choose .png, .tif, .webp or .avif")
        alpha = None
    pixels = convert(photo.pixels, dtype)
    if not known.grey:
        pixels = np.repeat(pixels, 3 // pixels.shape[2], axis=2)  # type: ignore[assignment]
    photo = Photo(pixels, alpha, kind, _for_output(photo.metadata, pixels.shape[2]))
    if kind == "tiff":
        return tiff.encode(photo, software)
    if depth == 16:
        return _encode_png16(photo, software)
    return _encode_with_pillow(photo, kind, software, quality)


def _decode(data: bytes, extension: str, max_pixels: int) -> Photo:
    if data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        if extension in raw.EXTENSIONS or tiff.is_dng(data):
            return raw.decode(data, max_pixels)
        return tiff.decode(data, max_pixels)
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS and b"av01" not in data[:4096]:
        return _decode_heif(data, max_pixels)
    try:
        return _decode_with_pillow(data, max_pixels)
    except UnidentifiedImageError:
        if extension not in raw.EXTENSIONS:
            raise
    return raw.decode(data, max_pixels)


def _decode_with_pillow(data: bytes, max_pixels: int) -> Photo:
    Image.init()  # registers the readers that are not imported by default
    with _own_pixel_limit(), Image.open(BytesIO(data), formats=PILLOW_READERS) as picture:
        _refuse_too_large(picture.size, max_pixels)
        if getattr(picture, "n_frames", 1) > 1 and picture.format not in FIRST_FRAME_IS_THE_PHOTO:
            raise ValueError(f"an animation of {picture.n_frames} frames: only still pictures are denoised")
        kind = PILLOW_KINDS[picture.format or ""]
        if kind in ("png", "avif"):
            _refuse_unusual_colours(_cicp_of_png(data) if kind == "png" else _cicp_of(data))
        values = _deep_values(data, kind)
        if values is None:
            values = _values_of(picture)
        else:
            picture.load()  # for the metadata behind the pixels, and damage that the other decoder passes over
        metadata, orientation = _metadata_of(picture)
    pixels, alpha = _split_alpha(values)
    return Photo(turn(pixels, orientation), None if alpha is None else turn(alpha, orientation), kind, metadata)


def _decode_heif(data: bytes, max_pixels: int) -> Photo:
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingDependency("reading HEIF", "pillow-heif") from error
    container = pillow_heif.open_heif(data, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    if not len(container):
        raise ValueError("holds no picture of a kind that libheif decodes")
    picture = container[container.primary_index]
    info: dict[str, Any] = picture.info
    _refuse_too_large(picture.size, max_pixels)
    _refuse_unusual_colours(None if info.get("icc_profile") else _cicp_of(data))
    pixels, alpha = _split_alpha(_in_16_bits(np.atleast_3d(np.asarray(picture)), info["bit_depth"]))
    if alpha is not None and picture.premultiplied_alpha:
        pixels = straighten(pixels, alpha)
    exif = parse(info.get("exif") or b"")
    dpi = dpi_of(exif)
    _, packed = upright(exif)  # the library has turned the picture already
    metadata = Metadata(exif=packed, xmp=info.get("xmp") or None, icc=info.get("icc_profile") or None, dpi=dpi)
    return Photo(pixels, alpha, "heif", metadata)


def _deep_values(data: bytes, kind: str) -> np.ndarray | None:
    """What Pillow would cut to 8 bits: 16-bit PNG, 10- and 12-bit AVIF; (H, W, C) in uint16, or None."""
    if kind == "png" and data[24] == 16:
        return np.atleast_3d(imagecodecs.png_decode(data))
    if kind == "avif" and (bits := _avif_bits(data)) > 8:
        return _in_16_bits(np.atleast_3d(imagecodecs.avif_decode(data)), bits)
    return None


def _avif_bits(data: bytes) -> int:
    """From the codec's configuration (AV1-ISOBMFF 2.3.3): two flags, for more than 8 bits and for 12."""
    at = data.find(b"av1C")
    flags = data[at + 6] if 0 <= at < len(data) - 6 else 0
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8


def _in_16_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """The same picture with 65535 as white, if it has more than 8 bits."""
    return values if values.dtype == np.uint8 else np.rint(values * (65535 / (2**bits - 1))).astype(np.uint16)


def _values_of(picture: Image.Image) -> np.ndarray:
    """(H, W, C), C = 1 to 4."""
    grey = picture.mode in ("1", "L", "LA")
    if picture.mode in ("CMYK", "LAB", "YCbCr", "HSV", "F", "I"):
        raise ValueError(f"{picture.mode} colours: convert it to RGB or grey first")
    transparent = "transparency" in picture.info or picture.mode in ("LA", "RGBA", "PA")
    picture = picture.convert(("LA" if grey else "RGBA") if transparent else ("L" if grey else "RGB"))
    return np.atleast_3d(np.asarray(picture))


def _split_alpha(values: np.ndarray) -> tuple[Pixels, Pixels | None]:
    if values.shape[2] in (2, 4):
        return values[..., :-1], values[..., -1]
    return values, None


def _metadata_of(picture: Image.Image) -> tuple[Metadata, int]:
    info = picture.info
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    exif = parse(info.get("exif") or _exif_in_text(info) or b"")
    dpi = info.get("dpi") if "jfif_unit" not in info or info["jfif_unit"] else None
    dpi = (float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else dpi_of(exif)
    orientation, packed = upright(exif, xmp)
    photoshop = info.get("photoshop")
    gamma = info.get("gamma")
    return Metadata(
        exif=packed,
        xmp=xmp,
        icc=info.get("icc_profile") or None,
        iptc=photoshop.get(0x0404) if isinstance(photoshop, dict) else None,
        dpi=dpi,
        gamma=gamma if gamma and "srgb" not in info and not info.get("icc_profile") else None,
    ), orientation


def _exif_in_text(info: dict[str | tuple[int, int], Any]) -> bytes | None:
    """How ImageMagick wrote EXIF into PNG before there was a chunk for it: hexadecimal, after two lines of heading."""
    text = info.get("Raw profile type exif")
    try:
        return bytes.fromhex("".join(text.split("\n")[3:])) if text else None
    except ValueError:
        return None


def _for_output(meta: Metadata, channels: int) -> Metadata:
    """The metadata as it is true of the result."""
    colours = b"GRAY" if channels == 1 else b"RGB "
    return dataclasses.replace(
        meta,
        xmp=meta.xmp and upright_xmp(meta.xmp),
        icc=meta.icc if meta.icc and meta.icc[16:20] == colours else None,
    )


def _encode_with_pillow(photo: Photo, kind: str, software: str, quality: int) -> bytes:
    values = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    picture = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    meta = photo.metadata
    exif = signed_exif(meta, software, picture.width, picture.height)
    if kind == "jpeg" and len(PREFIX + pack(exif)) > MOST_IN_A_JPEG_SEGMENT:
        exif.exif.pop(MAKER_NOTE, None)  # the one part that can be this long
    options: dict[str, Any] = {"exif": pack(exif)}
    if meta.icc:
        options["icc_profile"] = meta.icc
    if meta.dpi and kind in ("jpeg", "png"):
        options["dpi"] = meta.dpi
    if meta.xmp and kind != "png":
        options["xmp"] = meta.xmp
    if kind == "jpeg":
        # Not "optimize": for that, Pillow must guess the file's size, and a noisy picture's is larger.
        options |= {"quality": quality, "subsampling": 0 if quality >= 90 else 2, "exif": PREFIX + pack(exif)}
        if meta.iptc:
            options["extra"] = _iptc_segment(meta.iptc)
        if meta.xmp and len(XMP_PREFIX + meta.xmp) > MOST_IN_A_JPEG_SEGMENT:
            del options["xmp"]
    elif kind == "png":
        options["pnginfo"] = _png_chunks(meta, software)
    elif kind == "webp":
        options |= {"quality": quality, "lossless": quality == 100, "method": 4, "exact": True}
    elif kind == "avif":
        grey = picture.mode in ("L", "LA")
        options |= {"quality": quality, "speed": 6, "subsampling": "4:0:0" if grey else "4:4:4"}
    buffer = BytesIO()
    picture.save(buffer, kind.upper(), **options)
    return buffer.getvalue()


def _encode_png16(photo: Photo, software: str) -> bytes:
    """Pillow writes no 16-bit RGB: another encoder writes the pixels, Pillow the chunks around them."""
    values = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    H, W, C = values.shape
    pixels = bytes(imagecodecs.png_encode(np.ascontiguousarray(values[..., 0] if C == 1 else values), level=6))
    meta = photo.metadata
    carrier = BytesIO()
    options: dict[str, Any] = {"icc_profile": meta.icc} if meta.icc else {}
    if meta.dpi:
        options["dpi"] = meta.dpi
    exif = pack(signed_exif(meta, software, W, H))
    Image.new("L", (1, 1)).save(carrier, "PNG", pnginfo=_png_chunks(meta, software), exif=exif, **options)

    chunks = list(_chunks_of(pixels))
    carried = [chunk for name, chunk in _chunks_of(carrier.getvalue()) if name not in (b"IHDR", b"IDAT", b"IEND")]
    header, rest = chunks[0][1], [chunk for name, chunk in chunks[1:] if name in (b"IDAT", b"IEND")]
    return b"".join([pixels[:8], header, *carried, *rest])


def _chunks_of(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each chunk's name, and the whole of it."""
    start = 8
    while start < len(png):
        stop = start + 12 + int.from_bytes(png[start : start + 4], "big")
        yield png[start + 4 : start + 8], png[start:stop]
        start = stop


def _png_chunks(meta: Metadata, software: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    if meta.gamma:
        info.add(b"gAMA", struct.pack(">I", round(meta.gamma * 100_000)))
    info.add_text("Software", software)
    if meta.xmp:
        info.add_itxt("XML:com.adobe.xmp", meta.xmp.decode("utf-8", "replace"))
    return info


def _iptc_segment(iptc: bytes) -> bytes:
    """IPTC records as a JPEG's APP13 segment."""
    resource = b"8BIM\x04\x04\x00\x00" + struct.pack(">I", len(iptc)) + iptc + b"\x00" * (len(iptc) % 2)
    body = b"Photoshop 3.0\x00" + resource
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body if len(body) < 65_000 else b""


def _cicp_of(data: bytes) -> tuple[int, int] | None:
    """Primaries and transfer of an AVIF or HEIF that names its colours by number; None where a profile does it."""
    at = data.find(b"colrnclx", 0, 1 << 20)
    if at < 0 or b"colrprof" in data[: 1 << 20]:
        return None
    return struct.unpack(">HH", data[at + 8 : at + 12])


def _cicp_of_png(data: bytes) -> tuple[int, int] | None:
    """The same of a PNG, where the numbers come before any profile."""
    for name, chunk in _chunks_of(data):
        if name == b"cICP":
            return chunk[8], chunk[9]
        if name == b"IDAT":
            break
    return None


def _refuse_unusual_colours(cicp: tuple[int, int] | None) -> None:
    if cicp is not None and (cicp[0] not in ORDINARY_PRIMARIES or cicp[1] not in ORDINARY_TRANSFERS):
        raise ValueError(f"HDR, linear or wide-gamut colours (CICP {cicp[0]}/{cicp[1]}): convert it to sRGB first")


def _refuse_too_large(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise ValueError(f"{size[0]} x {size[1]} pixels, more than --max-pixels allows")


@contextmanager
def _own_pixel_limit() -> Iterator[None]:
    """Pillow's own guard off: ours is asked before anything is decoded."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _in_one_line(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return words[:200] or type(error).__name__
