"""Camera RAW through LibRaw: demosaiced in linear light, then encoded as sRGB."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from denoise_cli.errors import MissingDependency
from denoise_cli.imaging.transfer import linear_to_srgb
from denoise_cli.io.exif import PREFIX, Exif, parse
from denoise_cli.io.limits import refuse_too_large
from denoise_cli.io.metadata import Metadata, descriptive, upright
from denoise_cli.io.photo import Photo, from_float

if TYPE_CHECKING:
    from rawpy import RawPy

EXTENSIONS = {
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw",
    ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
}  # fmt: skip


def decode(data: bytes, max_pixels: int) -> Photo:
    """Develop a RAW file: camera white balance, LibRaw's demosaic, sRGB primaries and gamma, 16 bits, upright.

    Raises:
        MissingDependency: rawpy is not installed.
        ValueError: a file that LibRaw cannot read, or too many pixels, in the words that the user reads.
    """
    try:
        import rawpy
    except ImportError as error:
        raise MissingDependency("reading camera RAW", "rawpy") from error
    try:
        with _silence(), rawpy.imread(BytesIO(data)) as raw:
            sizes = raw.sizes
            refuse_too_large((sizes.width, sizes.height), max_pixels)
            linear = raw.postprocess(
                use_camera_wb=True, no_auto_bright=True, gamma=(1, 1), output_bps=16, output_color=rawpy.ColorSpace.sRGB
            )
            exif = descriptive(parse(data)) or _exif_of_preview(raw)
    except rawpy.LibRawError as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"LibRaw cannot read it ({reason})") from error

    # 65536 possible values: a table costs less than 36 million powers.
    table = from_float(linear_to_srgb(np.linspace(0, 1, 65536, dtype=np.float32)), np.dtype(np.uint16))
    _, packed = upright(exif)  # LibRaw has turned the picture already
    return Photo(pixels=table[linear], alpha=None, kind="raw", metadata=Metadata(exif=packed))


def _exif_of_preview(raw: "RawPy") -> Exif:
    """The EXIF that LibRaw finds, or makes, for the embedded JPEG of a RAW that is not laid out as a TIFF."""
    import rawpy

    try:
        preview = raw.extract_thumb()
    except rawpy.LibRawError:
        return Exif()
    jpeg = bytes(preview.data) if preview.format == rawpy.ThumbFormat.JPEG else b""
    start = jpeg.find(PREFIX)
    return parse(jpeg[start:]) if start >= 0 else Exif()


@contextmanager
def _silence() -> Iterator[None]:
    """Nobody sees what is written to file descriptor 2 meanwhile; one that is closed stays so."""
    # LibRaw, and libjpeg inside it, print there about damaged data, and rawpy offers no switch: the user is promised
    # one line per failure. The descriptor is the whole process's, so two threads must not be in here at once.
    with ExitStack() as restored:
        with suppress(OSError, ValueError):
            if sys.stderr is not None:
                sys.stderr.flush()
            stderr = os.dup(2)
            restored.callback(os.close, stderr)
            with Path(os.devnull).open("wb") as nowhere:
                restored.callback(os.dup2, stderr, 2)
                os.dup2(nowhere.fileno(), 2)
        yield
