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
from typing import Any

import numpy as np
from PIL import UnidentifiedImageError

from denoise_cli.errors import DenoiseError, UnreadableFile, UnwritableFile
from denoise_cli.files import read_regular, write_atomically
from denoise_cli.imaging.pixels import convert, white_value
from denoise_cli.io import (
    avif,
    bmp,
    damage,
    deep_jpeg,
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
from denoise_cli.io.auxiliary import more_pictures
from denoise_cli.io.camera_exif import CR3
from denoise_cli.io.cicp import CodePoints
from denoise_cli.io.codecs import load_imagecodecs
from denoise_cli.io.companions import OTHER_PICTURE
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
from denoise_cli.io.limits import MAX_PIXELS
from denoise_cli.io.metadata import UPRIGHT, Metadata, reset_xmp, within_limit
from denoise_cli.io.missing import check_exists
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import COLOUR_SPACE, GREY, RGB, grey_to_srgb, is_srgb, numbers_of
from denoise_cli.io.raw import RawFile
from denoise_cli.io.srgb import to_srgb, without_lab
from denoise_cli.io.xmp_claims import claims_of, without_claims, without_provenance

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
    "read",
    "save",
    "to_srgb",
    "type_held",
    "write",
]

STDIN = "-"
LOSSLESS_AT_BEST = ("webp", "jxl", "jp2")  # at a quality of 100
HOLD_IPTC = ("jpeg", "tiff", "jp2")
MAX_NAMES = 5  # of texts, in one note
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
    **dict.fromkeys(("dng", "png", "jxl", "jp2"), load_imagecodecs),
}


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
    """Translate errors raised inside, while a target is encoded in a format, into `UnwritableFile`."""
    try:
        yield
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
        _refuse_unheld(photo, kind)
    check_library(kind, 8 * type_held(photo, kind).itemsize)


def check_library(kind: str, bits: int = 16) -> None:
    """Check that the library that writes a format, a name from `TARGETS`, is installed.

    Args:
        kind: the format.
        bits: of each value; PNG of 8 bits is written without a library.

    Raises:
        MissingDependency: it is not.
    """
    if kind in NEEDED and (kind, bits) != ("png", 8):
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
    photo = _as_held(photo, kind)
    if kind in BARE_ENCODERS:
        return BARE_ENCODERS[kind](photo)
    if kind in LOSSLESS_ENCODERS:
        return LOSSLESS_ENCODERS[kind](photo, software)
    if kind in LOSSY_ENCODERS:
        default = heif.DEFAULT_QUALITY if kind == "heif" else pillow.DEFAULT_QUALITY
        default = jxl.LOSSLESS if kind == "jxl" and photo.compression == "lossless" else default
        return LOSSY_ENCODERS[kind](photo, software, default if quality is None else quality)
    return pillow.encode(photo, kind, software, quality)


def losses(meta: Metadata, kind: str, said: Sequence[str] = ()) -> tuple[str, ...]:
    """What the user should hear of metadata that a format does not hold.

    Args:
        meta: of a photo.
        kind: the format to write, a name from `WRITABLE`.
        said: what the user has heard already, which is not repeated.
    """
    carried = meta.companions if kind == "jpeg" else None
    lost = [] if carried else sorted(claims_of(meta.xmp).what | set(meta.companions.what if meta.companions else ()))
    if kind in BARE_ENCODERS:
        lost += [name for name, value in (("EXIF", meta.exif), ("XMP", meta.xmp)) if value]
    if meta.pictures and kind != "heif":
        lost.append(more_pictures(len(meta.pictures)))
    if meta.mastering is not None:
        lost += meta.mastering.lost_in(kind)
    if kind != "png" and not FORMATS[kind].profile and meta.icc is None and meta.profile(is_grey=False):
        lost.append("colours of their own (gAMA, cHRM)")
    if meta.iptc and kind not in HOLD_IPTC:
        lost.append("IPTC")
    if kind == "jpeg" and meta.xmp and not pillow.xmp_fits_jpeg(meta.xmp):
        lost.append("XMP")
    texts = [keyword for keyword, text in meta.texts if kind != "jpeg" or not pillow.text_fits_jpeg(keyword, text)]
    if texts and kind != "png":
        lost.append(f"text ({', '.join(texts[:MAX_NAMES])}{', ...' if len(texts) > MAX_NAMES else ''})")
    lost = [name for name in lost if not any(name in note for note in said)]
    notes: tuple[str, ...] = (_printable(f"not carried over to {kind}: {', '.join(lost)}"),) if lost else ()
    if carried and OTHER_PICTURE in carried.what:
        notes += ("second picture carried over as it is",)
    if meta.pictures and kind == "heif":
        notes += (f"{more_pictures(len(meta.pictures))} carried over, not denoised but compressed again",)
    return notes


def conversions(photo: Photo, kind: str) -> tuple[str, ...]:
    """What the user should hear of pixels that a format holds in another way than the photo's own file.

    Args:
        photo: what is written.
        kind: the format, a name from `WRITABLE`.
    """
    if photo.lab is not None and kind != "tiff":
        return ("Lab becomes sRGB, and colours outside of that are clipped: .tif keeps them",)
    notes: tuple[str, ...] = ()
    meta = _with_colours_held(photo, kind)
    is_grey = photo.pixels.shape[2] == 1
    if meta.icc is not None and is_grey and _is_for_rgb(meta.icc):
        notes += ("greyscale becomes RGB, which its colour profile is for",)
    elif meta.icc is not None and meta.icc[COLOUR_SPACE] != _space_of(photo, is_grey):
        notes += ("a colour profile that is not for its colours is left out",)
    return notes


def orientation_in(meta: Metadata, kind: str) -> int:
    """The orientation, 1 to 8, in which a format stores the upright photo that this metadata belongs to."""
    return meta.orientation if kind == "jpeg" else UPRIGHT


def _printable(text: str) -> str:
    """A text, parts of which come from a file, on one line."""
    return "".join(character if character.isprintable() else "?" for character in text)


def encode_pages(pages: Iterable[tuple[Photo, str]]) -> bytes:
    """The bytes of a TIFF with several pages.

    Args:
        pages: each with the name of the program, for its metadata; the next one is asked for when one is compressed.

    Raises:
        ValueError: a page cannot be held; with a message for the user.
    """
    return tiff.encode_pages((_as_held(photo, "tiff"), software) for photo, software in pages)


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


def _refuse_unheld(photo: Photo, kind: str) -> None:
    """Refuse a photo that a format cannot hold.

    Raises:
        ValueError: with a message for the user.
    """
    known = FORMATS[kind]
    if photo.others and not known.pages:
        raise ValueError(f"it holds a single picture, and there are {len(photo.others) + 1} pages: choose .tif")
    if photo.black is not None and not known.inks:
        raise ValueError("it cannot hold CMYK: choose .tif or .jpg, or add --to-srgb")
    if photo.is_signed and kind != "tiff":
        raise ValueError("it cannot hold integers with a sign: choose .tif")
    meta = _with_colours_held(photo, kind)  # raises if it is HDR
    if max(photo.pixels.shape) > known.longest:
        raise ValueError(f"it holds at most {known.longest} pixels in a row or a column: choose .png or .tif")
    dtype = type_held(photo, kind)
    if photo.alpha is not None and not known.alpha and (convert(photo.alpha, dtype) < white_value(dtype)).any():
        raise ValueError("it cannot hold transparency: choose .png, .tif, .webp, .avif, .heic or .jxl")
    is_from_exr = kind == "exr" and meta.exr is not None  # which has said its colours
    if meta.icc is not None and not (known.profile or is_from_exr or is_srgb(meta.icc)):
        raise ValueError("it cannot hold the photo's colour profile: choose .png or .tif")
    if not known.colour and photo.pixels.shape[2] == 3:
        raise ValueError("it holds greyscale alone: choose .ppm or .png")
    if meta.icc is not None and not known.grey and photo.pixels.shape[2] == 1 and not _is_for_rgb(meta.icc):
        grey_to_srgb(meta.icc)  # raises if the profile is damaged


def type_held(photo: Photo, kind: str) -> np.dtype[Any]:
    """The type of a photo's pixels in a format: its own, or the format's largest."""
    if kind == photo.kind == "jpeg" and photo.depth == deep_jpeg.BITS:
        return photo.pixels.dtype
    depths, own = FORMATS[kind].depths, photo.pixels.dtype.itemsize * 8  # of Lab, more than its file has
    depth = min((bits for bits in depths if bits >= own), default=max(depths))
    return np.dtype({8: np.uint8, 16: np.uint16, 32: np.float32}[depth])


def pixel_format(photo: Photo, kind: str) -> str:
    """What a file of a format holds of a photo in words of the style of FFmpeg's: grey8, rgb16 or rgba32."""
    colours, bits = "grey" if photo.pixels.shape[2] == 1 else "rgb", 8 * type_held(photo, kind).itemsize
    return f"{colours}{'' if photo.alpha is None else 'a'}{bits}"


def _as_held(photo: Photo, kind: str) -> Photo:
    """The photo as a format can hold it."""
    _refuse_unheld(photo, kind)
    if photo.lab is not None and kind != "tiff":
        photo = without_lab(photo, photo.lab)
    known, dtype = FORMATS[kind], type_held(photo, kind)
    alpha = None if photo.alpha is None or not known.alpha else convert(photo.alpha, dtype)
    pixels, meta = convert(photo.pixels, dtype), _with_colours_held(photo, kind)
    is_for_rgb = meta.icc is not None and _is_for_rgb(meta.icc)
    if pixels.shape[2] == 1 and (is_for_rgb or not known.grey):
        if meta.icc is not None and not is_for_rgb and not is_srgb(meta.icc):  # which RGB cannot have
            pixels = grey_to_srgb(meta.icc)[pixels]
        pixels = np.repeat(pixels, 3, axis=2)  # type: ignore[assignment]
    return dataclasses.replace(
        photo,
        pixels=pixels,
        alpha=alpha,
        kind=kind,
        metadata=_for_output(meta, _space_of(photo, pixels.shape[2] == 1), kind),
        compression=photo.compression if photo.kind == kind else None,
        black=None if photo.black is None else convert(photo.black, dtype),
    )


def _with_colours_held(photo: Photo, kind: str) -> Metadata:
    """A photo's metadata; code points that a format does not hold are said by a profile.

    Greyscale has no profile for RGB in it if that says the same of greys as none.

    Raises:
        ValueError: no profile says them; with a message for the user.
    """
    meta, is_grey = photo.metadata, photo.pixels.shape[2] == 1
    if meta.cicp is not None and not _holds_numbers(kind, meta.cicp):
        icc = meta.icc
        if icc is None or numbers_of(icc) != (meta.cicp.primaries, meta.cicp.transfer):  # which are stronger than it
            if meta.cicp.is_hdr:
                able = [known.extensions[0] for name, known in FORMATS.items() if _holds_numbers(name, meta.cicp)]
                raise ValueError(f"it cannot hold HDR ({meta.cicp.name}): choose one of {', '.join(able)}")
            icc = meta.cicp.profile(is_grey)
        meta = dataclasses.replace(meta, cicp=None, icc=icc)
    elif kind != "png" and (FORMATS[kind].profile or meta.transfer is not None) and not photo.is_bilevel:
        meta = dataclasses.replace(meta, icc=meta.profile(is_grey))
    if is_grey and meta.icc is not None and _is_for_rgb(meta.icc):
        # Black and white are the same in every profile, and numbers are stronger than one.
        is_needless = photo.is_bilevel or meta.cicp is not None or is_srgb(meta.icc, neutral=True)
        return dataclasses.replace(meta, icc=None) if is_needless else meta
    return meta


def _holds_numbers(kind: str, numbers: CodePoints) -> bool:
    """Whether a format can state colours by these code points, or in a way of its own."""
    return FORMATS[kind].code_points and (kind != "jxl" or jxl.holds(numbers))


def _space_of(photo: Photo, is_grey: bool) -> bytes:
    """The colour space of a photo as the header of a profile names it."""
    if photo.lab is not None:
        return b"Lab "
    return b"CMYK" if photo.black is not None else GREY if is_grey else RGB


def _is_for_rgb(icc: bytes) -> bool:
    return icc[COLOUR_SPACE] == RGB


def _for_output(meta: Metadata, colours: bytes, kind: str) -> Metadata:
    """The metadata without what does not apply to the result, or does not fit into it.

    Args:
        meta: of the photo.
        colours: the colour space of the result, as the header of a profile names it.
        kind: the format.
    """
    companions = meta.companions if kind == "jpeg" else None
    xmp = meta.xmp and without_provenance(meta.xmp)
    if xmp and companions is None:
        xmp = without_claims(xmp, claims_of(xmp).what)
    return dataclasses.replace(
        meta,
        xmp=xmp and reset_xmp(xmp, orientation_in(meta, kind)),
        icc=meta.icc if meta.icc and meta.icc[16:20] == colours else None,
        companions=companions,
    )
