"""LibRaw, through rawpy: its errors are translated, and what it prints can be discarded."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType

from denoise_cli.errors import MissingDependency
from denoise_cli.io.decoding import decoder_errors


@contextmanager
def libraw(name: object) -> Iterator[ModuleType]:
    """The module rawpy, for calls inside the `with` statement.

    Args:
        name: the file's name in error messages.

    Raises:
        MissingDependency: rawpy is not installed.
        UnreadableFile: LibRaw, or anything else inside, rejects the file.
    """
    try:
        import rawpy
    except ImportError as error:
        raise MissingDependency("reading camera RAW", "rawpy") from error
    with decoder_errors(name):
        try:
            yield rawpy
        except rawpy.LibRawError as error:
            reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
            raise ValueError(f"LibRaw cannot read it ({reason})") from error


@contextmanager
def silenced_stderr() -> Iterator[None]:
    """Discard what is written to file descriptor 2; if that is closed, it stays closed.

    The descriptor is the whole process's: two threads must not be in here at once, nor may another one write there.
    """
    # LibRaw, and libjpeg inside it, print there about damaged data when they decode it, and rawpy offers no switch: the
    # user is promised one line per failure. They do not print when they develop what is decoded.
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
