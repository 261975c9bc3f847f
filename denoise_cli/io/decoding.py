"""What decoders raise about files that they cannot read, as the one error that a user sees."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from denoise_cli.errors import UnreadableFile

# What decoders raise when they refuse data, and what escapes them when they mistake damaged data for sound.
REFUSALS = (OSError, ValueError, RuntimeError, SyntaxError, Image.DecompressionBombError)
ESCAPES = (ArithmeticError, AttributeError, EOFError, LookupError, TypeError, struct.error, zlib.error)
MAX_REASON_LENGTH = 200  # characters


@contextmanager
def decoder_errors(name: object) -> Iterator[None]:
    """Turn what is raised inside into `UnreadableFile`.

    Args:
        name: the file, as the message should call it.

    Raises:
        UnreadableFile: the file is damaged, not a photo, or does not fit into memory.
    """
    try:
        yield
    except UnidentifiedImageError as error:
        raise UnreadableFile(name, "not a photo that is read here, or damaged at its start") from error
    except MemoryError as error:
        raise UnreadableFile(name, "does not fit into memory") from error
    except REFUSALS as error:
        raise UnreadableFile(name, f"cannot be decoded: {one_line(error)}") from error
    except ESCAPES as error:
        raise UnreadableFile(name, "cannot be decoded: it is damaged") from error


def one_line(error: BaseException) -> str:
    """An error's message without line breaks, and not too long; its type's name if it has none."""
    return " ".join(str(error).split())[:MAX_REASON_LENGTH] or type(error).__name__
