"""Errors of decoders, translated into the one error that a user sees."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from denoise_cli.errors import MissingDependency, UnreadableFile, raise_signal_behind
from denoise_cli.io.limits import MAX_METADATA

# What decoders raise when they reject data, and when they fail to notice that data is damaged.
REJECTIONS = (OSError, ValueError, RuntimeError, SyntaxError, Image.DecompressionBombError)
UNNOTICED_DAMAGE = (ArithmeticError, AttributeError, EOFError, LookupError, TypeError, struct.error, zlib.error)
PILLOW_ON_PIXELS = "when reading image file"  # the end of what it says of damage of any kind in them
PILLOW_ON_TEXTS = "MAX_TEXT_"  # in what it says of compressed ones that become too large
TIFFFILE_ON_CODECS = "requires the 'imagecodecs' package"  # the end of what it says of a compression
TIFFFILE_TRIES = ("compression", "compression.zstd", "backports", "backports.zstd")
MAX_REASON_LENGTH = 200  # characters


@contextmanager
def decoder_errors(name: object) -> Iterator[None]:
    """Translate errors raised inside into `UnreadableFile`.

    Args:
        name: the file's name in the message.

    Raises:
        UnreadableFile: the file is damaged, not a photo, or does not fit into memory.
        MissingDependency: it is compressed in a way for which a library is not installed.
    """
    try:
        yield
    except UnidentifiedImageError as error:
        raise UnreadableFile(name, "not a photo of a known format, or damaged at its start") from error
    except MemoryError as error:
        raise UnreadableFile(name, "does not fit into memory") from error
    except MissingDependency as error:
        raise error.about(name) from None
    except ImportError as error:
        raise_signal_behind(error)
        # tifffile looks for other codecs where imagecodecs is missing.
        if error.name not in (*TIFFFILE_TRIES, "imagecodecs"):
            raise
        raise MissingDependency("decoding it", "imagecodecs", name) from error
    except REJECTIONS as error:
        if isinstance(error, RuntimeError):
            raise_signal_behind(error)
        reason = one_line(error)
        if reason.endswith(TIFFFILE_ON_CODECS):
            raise MissingDependency("decoding it", "imagecodecs", name) from error
        if reason.endswith(PILLOW_ON_PIXELS):
            reason = "its pixel data is damaged"
        elif PILLOW_ON_TEXTS in reason:
            reason = f"a text or a colour profile in it becomes more than {MAX_METADATA / 1e6:.1f} MB"
        elif isinstance(error, (SyntaxError, OSError, RuntimeError)):  # a library's; readers here raise `ValueError`
            reason = f"it may be damaged ({reason})"
        raise UnreadableFile(name, f"cannot be decoded: {reason}") from error
    except UNNOTICED_DAMAGE as error:
        raise UnreadableFile(name, "cannot be decoded: it is damaged") from error


def one_line(error: BaseException) -> str:
    """An error's message on one line of at most `MAX_REASON_LENGTH`; the name of its type if it has no message.

    Of an error of the system or of FFmpeg, without its number and the name of the file.

    >>> one_line(FileNotFoundError(2, "No such file or directory", "a.png"))
    'No such file or directory'
    """
    words = getattr(error, "strerror", None) or str(error)
    return " ".join(words.split())[:MAX_REASON_LENGTH] or type(error).__name__
