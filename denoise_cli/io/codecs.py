"""Libraries that need not be installed; above all imagecodecs, which knows more than Pillow does, such as deep PNG."""

import importlib
import os
from types import ModuleType

from PIL import AvifImagePlugin

from denoise_cli.errors import MissingDependency

# libaom compresses otherwise with one thread than with several, of which the number does not matter.
FEWEST_FOR_AVIF = 2

_share: list[int] = []  # how many threads this process may start for a codec, the last counts; empty for no bound


def limit_threads(count: int) -> None:
    """Have the codecs of this process compute with so many threads, since other processes use the other cores."""
    _share[:] = [count]
    os.environ["TIFFFILE_NUM_THREADS"] = str(count)  # which tifffile reads when it first compresses
    AvifImagePlugin.DEFAULT_MAX_THREADS = count  # with which Pillow reads AVIF


def count_threads() -> int:
    """How many threads a codec may start; what it writes does not depend on it."""
    return _share[0] if _share else os.cpu_count() or 1


def count_threads_for_avif() -> int:
    """The same for AVIF."""
    return max(count_threads(), FEWEST_FOR_AVIF)


def load_library(module: str, package: str, purpose: str) -> ModuleType:
    """Import a library.

    Args:
        module: its name in Python.
        package: its name for pip.
        purpose: what it is needed for, for the message.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(purpose, package) from error


def load_imagecodecs() -> ModuleType:
    """Import imagecodecs and return the module.

    Raises:
        MissingDependency: it is not installed.
    """
    purpose = "reading or writing JPEG XL, JPEG 2000, DNG, more than 8 bits in PNG and AVIF, and floating point in TIFF"
    return load_library("imagecodecs", "imagecodecs", purpose)
