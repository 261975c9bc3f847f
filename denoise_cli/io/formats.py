"""The formats of photos: by which extensions they are known, and what each can hold."""

from dataclasses import dataclass
from pathlib import Path

from denoise_cli.errors import UsageError
from denoise_cli.io import raw


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        extensions: with the dot, the first is the one that is given to new files.
        depths: the bits per value that can be written, best last; empty for formats that are only read.
        alpha: whether it can hold transparency.
        grey: whether it can hold a single channel; three equal ones are written where it cannot.
        longest: the most pixels in a row or a column.
    """

    extensions: tuple[str, ...]
    depths: tuple[int, ...] = ()
    alpha: bool = True
    grey: bool = True
    longest: int = 2**31 - 1


FORMATS = {
    "jpeg": Format((".jpg", ".jpeg", ".jpe", ".jfif"), (8,), alpha=False, longest=65500),
    "png": Format((".png",), (8, 16)),
    "tiff": Format((".tif", ".tiff"), (8, 16, 32)),
    "webp": Format((".webp",), (8,), grey=False, longest=16383),
    "avif": Format((".avif",), (8,), longest=65535),
    "heif": Format((".heic", ".heif", ".hif")),
    "bmp": Format((".bmp", ".dib")),
    "dng": Format((".dng",)),
}
WRITABLE = [name for name, known in FORMATS.items() if known.depths]
TARGETS = [*WRITABLE, "dng"]  # the last of camera RAW alone
EXTENSIONS = {extension for known in FORMATS.values() for extension in known.extensions} | raw.EXTENSIONS


def is_photo(path: Path) -> bool:
    """Whether a file's name is that of a photo that is read here."""
    return path.suffix.lower() in EXTENSIONS


def kind_named(path: Path) -> str | None:
    """The format that a name asks for; None where it is none that is written here."""
    return next((name for name in TARGETS if path.suffix.lower() in FORMATS[name].extensions), None)


def kind_for(path: Path) -> str:
    """The format that a target's name asks for.

    Raises:
        UsageError: none that is written here.
    """
    if kind := kind_named(path):
        return kind
    written = ", ".join(extension for name in TARGETS for extension in FORMATS[name].extensions[:1])
    raise UsageError(f"{path}: cannot write {path.suffix or 'a name without extension'}: choose one of {written}")
