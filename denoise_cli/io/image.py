"""Photos in and out: files of every supported format to a `Photo` or a `RawFile`, and back, with their metadata."""

import dataclasses
import shlex
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from types import ModuleType

from PIL import UnidentifiedImageError

from denoise_cli.errors import DenoiseError, MissingDependency, UnreadableFile, UnwritableFile
from denoise_cli.files import read_regular, write_atomically
from denoise_cli.io import (
    avif,
    bmp,
    damage,
    development,
    dng,
    exr,
    heif,
    jp2,
    jxl,
    pillow,
    png,
    pnm,
    radiance,
    raw_formats,
    tiff,
)
from denoise_cli.io.camera_exif import CR3
from denoise_cli.io.codecs import load_imagecodecs
from denoise_cli.io.decoding import decoder_errors, one_line
from denoise_cli.io.formats import (
    FORMATS,
    TARGETS,
    WRITABLE,
    is_left_by_system,
    is_photo,
    kind_for,
    kind_named,
    names_a_format,
)
from denoise_cli.io.held import as_held, conversions, losses, orientation_in, pixel_format, refuse_unheld, type_held
from denoise_cli.io.limits import MAX_PIXELS
from denoise_cli.io.metadata import within_limit
from denoise_cli.io.missing import check_exists
from denoise_cli.io.photo import Photo
from denoise_cli.io.raw import RawFile
from denoise_cli.io.srgb import to_srgb

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "STDIN",
    "TARGETS",
    "WRITABLE",
    "check",
    "check_library",
    "conversions",
    "encode",
    "encode_pages",
    "encoder_errors",
    "has_quality",
    "is_left_by_system",
    "is_lossless",
    "is_photo",
    "kind_for",
    "kind_in",
    "kind_named",
    "losses",
    "names_a_format",
    "opened",
    "orientation_in",
    "pixel_format",
    "read",
    "save",
    "to_srgb",
    "type_held",
    "write",
]

STDIN = "-"
LOSSLESS_AT_BEST = ("webp", "jxl", "jp2")  # at a quality of 100
# Formats that Pillow does not read: how each is recognised and decoded.
DECODERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes, int], Photo]], ...] = (
    (heif.is_heif, heif.decode),
    (jxl.is_jpeg_xl, jxl.decode),
    (jp2.is_jpeg_2000, jp2.decode),
    (pnm.is_netpbm, pnm.decode),
    (radiance.is_radiance, radiance.decode),
    (exr.is_exr, exr.decode),
    (bmp.is_unusual, bmp.decode),
    (avif.is_avif, avif.decode),
)
# Formats that Pillow does not write, or not well enough, by their names in `FORMATS`: without loss, with a quality, and
# those that hold pixels alone.
LOSSLESS_ENCODERS: dict[str, Callable[[Photo, str], bytes]] = {"tiff": tiff.encode, "png": png.encode}
LOSSY_ENCODERS: dict[str, Callable[[Photo, str, int], bytes]] = {
    "avif": avif.encode,
    "heif": heif.encode,
    "jxl": jxl.encode,
    "jp2": jp2.encode,
}
BARE_ENCODERS: dict[str, Callable[[Photo], bytes]] = {
    "hdr": radiance.encode,
    "exr": exr.encode,
    **dict.fromkeys(("ppm", "pgm", "pnm", "pfm"), pnm.encode),
}
# Libraries that formats cannot be written without, besides Pillow.
NEEDED: dict[str, Callable[[], ModuleType]] = {
    "heif": partial(heif.load, "writing HEIF"),
    "exr": partial(exr.load, "writing OpenEXR"),
    **dict.fromkeys(("dng", "png", "tiff", "jxl", "jp2"), load_imagecodecs),
}
NEED_NONE = {("png", 8), ("tiff", 8), ("tiff", 16)}  # with so many bits for each value


def read(source: Path, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photo of any format, recognised by its content; camera RAW is developed.

    Arguments and errors are those of `opened`.
    """
    with opened(source, max_pixels) as found:
        return found if isinstance(found, Photo) else development.developed(found)


@contextmanager
def opened(source: Path, max_pixels: int = MAX_PIXELS, strict: bool = False) -> Iterator[Photo | RawFile]:
    """Read a photo of any format, recognised by its content, or open a RAW file for the length of the `with` statement.

    Args:
        source: a file, or "-" for standard input.
        max_pixels: larger photos are refused before they are decoded.
        strict: whether a photo is refused in which a decoder makes up what is damaged, instead of noted.

    Raises:
        UnreadableFile: missing, damaged, a clip, an animation, not a regular file, or too large.
        MissingDependency: the format's library is not installed.
    """
    name = "standard input" if str(source) == STDIN else source
    if str(source) != STDIN:
        check_exists(source)
    try:
        data = sys.stdin.buffer.read() if str(source) == STDIN else read_regular(source)
    except OSError as error:
        raise UnreadableFile(name, f"cannot read: {error.strerror}") from error
    except MemoryError as error:
        raise UnreadableFile(name, "does not fit into memory") from error
    if not data:
        raise UnreadableFile(name, "is empty")
    with decoder_errors(name):
        found = _decode(data, source.suffix.lower(), max_pixels, name)
        if isinstance(found, Photo):
            found = _with_metadata_within_limit(found)
    del data  # a large file need not stay in memory beside its pixels
    if isinstance(found, Photo):
        _refuse_damaged(name, found.repairs, strict)
        others = enumerate(found.others, 2)
        pages = tuple(partial(_read_page, f"{name}, page {number}", decode, strict) for number, decode in others)
        yield dataclasses.replace(found, others=pages)
    else:
        with found:
            _refuse_damaged(name, found.damage, strict)
            yield found


def kind_in(source: Path) -> str | None:
    """The format of a photo by its content; None if it is none of `WRITABLE`, or the photo cannot be read."""
    try:
        with opened(source) as found:
            return found.kind if found.kind in WRITABLE else None
    except DenoiseError:
        return None


def _read_page(name: str, decode: Callable[[], Photo], strict: bool) -> Photo:
    with decoder_errors(name):
        page = _with_metadata_within_limit(decode())
    _refuse_damaged(name, page.repairs, strict)
    return page


def _with_metadata_within_limit(photo: Photo) -> Photo:
    metadata, notes = within_limit(photo.metadata)
    return dataclasses.replace(photo, metadata=metadata, notes=photo.notes + notes) if notes else photo


def _refuse_damaged(name: object, damage: Sequence[str], strict: bool) -> None:
    if strict and damage:
        raise UnreadableFile(name, damage[0])


def write(
    target: Path,
    photo: Photo | dng.DigitalNegative,
    kind: str,
    software: str,
    quality: int | None = None,
    overwrite: bool = False,
) -> int:
    """Write a photo. The file appears when it is complete, or not at all.

    Args:
        target: a file, or "-" for standard output.
        photo: what to write.
        kind: a name from `WRITABLE`, or "dng" for a digital negative.
        software: the name of the program, for the metadata.
        quality: 1 to 100 for lossy formats; 100 makes WebP, JPEG XL and JPEG 2000 lossless. None for that of the
            photo's own file, if it is a JPEG that becomes a JPEG, or a lossless WebP or JPEG XL that stays one;
            else 95, or 75 for HEIF.
        overwrite: whether an existing file is replaced.

    Returns:
        The size of the file in bytes.

    Raises:
        UnwritableFile: the format cannot hold the photo, the file cannot be written, or it exists.
    """
    with encoder_errors(target, kind):
        data = encode(photo, kind, software, quality)
    return save(target, data, overwrite)


@contextmanager
def encoder_errors(target: Path, kind: str) -> Iterator[None]:
    """Translate errors raised inside, while a target is encoded in a format, into `UnwritableFile`.

    Raises:
        MissingDependency: a library is not installed, with the target's name.
    """
    try:
        yield
    except MissingDependency as error:
        raise error.about(_name_of(target)) from None
    except (OSError, ValueError, struct.error, RuntimeError, MemoryError) as error:
        raise UnwritableFile(_name_of(target), f"cannot be encoded as {kind}: {one_line(error)}") from error


def save(
    target: Path,
    data: bytes,
    overwrite: bool = False,
    modified: int | None = None,
    like: Path | None = None,
    backup: Path | None = None,
) -> int:
    """Write the bytes of a photo's file.

    Args:
        target: a file, or "-" for standard output.
        data: its contents.
        overwrite: whether an existing file is replaced.
        modified: the file's modification time, in nanoseconds since 1970; None for now.
        like: a file whose permissions, owner and extended attributes a new file gets.
        backup: a second name for the file that is replaced, see `files.write_atomically`.

    Returns:
        The size of the file in bytes.

    Raises:
        UnwritableFile: the file cannot be written, or it exists.
    """
    if str(target) != STDIN:
        write_atomically(target, data, overwrite, modified, like, backup)
        return len(data)
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise UnwritableFile(_name_of(target), f"cannot write: {error.strerror}") from error
    return len(data)


def _name_of(target: Path) -> str | Path:
    return "standard output" if str(target) == STDIN else target


def check(target: Path, photo: Photo, kind: str) -> None:
    """Refuse, before it is denoised, a photo that a format cannot hold; arguments are those of `write`.

    Of a file with several pages, which no format but TIFF holds, the first one stands for all.

    Raises:
        UnwritableFile: the format cannot hold the photo.
        MissingDependency: the format's library is not installed.
    """
    with encoder_errors(target, kind):
        refuse_unheld(photo, kind)
        check_library(kind, 8 * type_held(photo, kind).itemsize)


def check_library(kind: str, bits: int = 16) -> None:
    """Check that the library that writes a format, a name from `TARGETS`, is installed.

    Args:
        kind: the format.
        bits: of each value; some formats need a library only if there are many.

    Raises:
        MissingDependency: it is not.
    """
    if kind in NEEDED and (kind, bits) not in NEED_NONE:
        NEEDED[kind]()


def encode(photo: Photo | dng.DigitalNegative, kind: str, software: str, quality: int | None = None) -> bytes:
    """The bytes of a photo's file, in its own bit depth if the format can hold it, else in the format's largest.

    Arguments are those of `write`.

    Raises:
        ValueError: the format cannot hold the photo; with a message for the user.
    """
    if isinstance(photo, dng.DigitalNegative):
        return dng.encode(photo, software)
    if kind == "dng":
        raise ValueError("it can only be made from camera RAW: choose .tif or .png")
    if photo.others and FORMATS[kind].pages:
        return encode_pages((page, software) for page in chain([photo], (decode() for decode in photo.others)))
    photo = as_held(photo, kind)
    if kind in BARE_ENCODERS:
        return BARE_ENCODERS[kind](photo)
    if kind in LOSSLESS_ENCODERS:
        return LOSSLESS_ENCODERS[kind](photo, software)
    if kind in LOSSY_ENCODERS:
        default = heif.DEFAULT_QUALITY if kind == "heif" else pillow.DEFAULT_QUALITY
        default = jxl.LOSSLESS if kind == "jxl" and photo.compression == "lossless" else default
        return LOSSY_ENCODERS[kind](photo, software, default if quality is None else quality)
    return pillow.encode(photo, kind, software, quality)


def encode_pages(pages: Iterable[tuple[Photo, str]]) -> bytes:
    """The bytes of a TIFF with several pages.

    Args:
        pages: each with the name of the program, for its metadata; the next one is asked for when one is compressed.

    Raises:
        ValueError: a page cannot be held; with a message for the user.
    """
    return tiff.encode_pages((as_held(photo, "tiff"), software) for photo, software in pages)


def is_lossless(photo: Photo, kind: str, quality: int | None) -> bool:
    """Whether `write` compresses a photo without loss; arguments are those of `write`."""
    stays_lossless = quality is None and photo.kind == kind and photo.compression == "lossless"
    return FORMATS[kind].lossless or (kind in LOSSLESS_AT_BEST and quality == 100) or stays_lossless


def has_quality(kind: str) -> bool:
    """Whether a format, a name from `TARGETS`, can be compressed with a quality."""
    return kind in ("jpeg", "webp", *LOSSY_ENCODERS)


def _decode(data: bytes, extension: str, max_pixels: int, name: object) -> Photo | RawFile:
    if data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        if extension in raw_formats.EXTENSIONS or dng.is_dng(data) or raw_formats.is_tiff_of_camera(data):
            return RawFile(data, max_pixels, name)
        return tiff.decode(data, max_pixels)
    for is_its, decode in DECODERS:
        if is_its(data):
            return decode(data, max_pixels)
    if data.startswith(raw_formats.SIGNATURES) or data[4:12] == CR3:
        return RawFile(data, max_pixels, name)
    try:
        return pillow.decode(data, max_pixels)
    except UnidentifiedImageError as error:
        if container := damage.container_of(data):
            file = "FILE" if isinstance(name, str) else shlex.quote(str(name))
            raise UnreadableFile(name, f"is a clip ({container}), not a photo: use denoise video {file}") from error
        if extension not in raw_formats.EXTENSIONS:
            if what := damage.described(data):
                raise ValueError(what) from error
            raise
    return RawFile(data, max_pixels, name)
