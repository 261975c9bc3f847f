"""imagecodecs, which writes PNG, and knows formats and bit depths that Pillow does not."""

from types import ModuleType

from denoise_cli.errors import MissingDependency


def load_imagecodecs() -> ModuleType:
    """Import imagecodecs and return the module.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import imagecodecs
    except ImportError as error:
        raise MissingDependency(
            "writing PNG, JPEG XL, JPEG 2000, and more than 8 bits in PNG and AVIF", "imagecodecs"
        ) from error
    return imagecodecs
