"""imagecodecs, which keeps the bits that Pillow cuts to eight."""

from types import ModuleType

from denoise_cli.errors import MissingDependency


def load_imagecodecs() -> ModuleType:
    """The library.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import imagecodecs
    except ImportError as error:
        raise MissingDependency("more than 8 bits in PNG and AVIF", "imagecodecs") from error
    return imagecodecs
