"""Libraries that need not be installed; above all imagecodecs, which knows more than Pillow does, such as deep PNG."""

import importlib
from types import ModuleType

from denoise_cli.errors import MissingDependency


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
    purpose = "writing DNG, JPEG XL, JPEG 2000, and more than 8 bits in PNG and AVIF"
    return load_library("imagecodecs", "imagecodecs", purpose)
