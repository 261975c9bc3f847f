"""File formats of photos: their extensions, and what each can hold."""

from dataclasses import dataclass
from pathlib import Path

from denoise_cli.errors import UsageError
from denoise_cli.io import raw_formats


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        extensions: with the dot; new files get the first.
        depths: bits per value that can be written, ascending; empty for formats that are only read.
        alpha: whether it can hold transparency.
        grey: whether it can hold a single channel; if not, grey photos are written with three equal ones.
        colour: whether it can hold RGB; if not, photos in colour are refused.
        profile: whether it can hold a colour profile; if not, photos with one that is not sRGB's are refused.
        code_points: whether it can hold code points for its colours (CICP); if not, they become a profile, and photos
            with HDR are refused.
        inks: whether it can hold CMYK; if not, photos with these inks are refused.
        pages: whether it can hold several pictures; if not, files with several pages are refused.
        longest: pixels, the largest width or height.
        lossless: whether it is always written without loss.
    """

    extensions: tuple[str, ...]
    depths: tuple[int, ...] = ()
    alpha: bool = True
    grey: bool = True
    colour: bool = True
    profile: bool = True
    code_points: bool = False
    inks: bool = False
    pages: bool = False
    longest: int = 2**31 - 1
    lossless: bool = False


FORMATS = {
    "jpeg": Format((".jpg", ".jpeg", ".jpe", ".jfif"), (8,), alpha=False, inks=True, longest=65500),
    "png": Format((".png",), (8, 16), code_points=True, lossless=True),
    "tiff": Format((".tif", ".tiff"), (8, 16, 32), inks=True, pages=True, lossless=True),
    "webp": Format((".webp",), (8,), grey=False, longest=16383),
    "avif": Format((".avif",), (8, 16), code_points=True, longest=65535),
    "heif": Format((".heic", ".heif", ".hif"), (8, 16), code_points=True, longest=65535),
    "jxl": Format((".jxl",), (8, 16, 32), code_points=True),
    "jp2": Format((".jp2", ".jpx", ".jpf"), (8, 16), inks=True),
    "ppm": Format((".ppm",), (8, 16), alpha=False, grey=False, profile=False, lossless=True),
    "pgm": Format((".pgm",), (8, 16), alpha=False, colour=False, profile=False, lossless=True),
    "pnm": Format((".pnm",), (8, 16), alpha=False, profile=False, lossless=True),
    "pfm": Format((".pfm",), (32,), alpha=False, profile=False),
    "hdr": Format((".hdr", ".rgbe"), (32,), alpha=False, grey=False, profile=False),
    "exr": Format((".exr",), (32,), profile=False),
    "bmp": Format((".bmp", ".dib")),
    "gif": Format((".gif",)),
    "pbm": Format((".pbm",)),
    "j2k": Format((".j2k", ".j2c", ".jpc")),
    "dng": Format((".dng",)),
}
WRITABLE = [name for name, known in FORMATS.items() if known.depths]
TARGETS = [*WRITABLE, "dng"]  # a DNG can only be made from camera RAW
EXTENSIONS = {extension for known in FORMATS.values() for extension in known.extensions} | raw_formats.EXTENSIONS


BESIDE_PHOTOS = ("._", ".#")  # macOS's attributes on foreign disks; Emacs's locks
OF_FOLDERS = {".ds_store", "desktop.ini", "ehthumbs.db", "thumbs.db"}


def is_photo(path: Path) -> bool:
    """Whether a file has the extension of a photo or of a RAW file that can be read, and is not left by a system."""
    return path.suffix.lower() in EXTENSIONS and not is_left_by_system(path)


def is_left_by_system(path: Path) -> bool:
    """Whether a file has a name under which systems keep facts about others: `._a.jpg` beside `a.jpg`, `Thumbs.db`."""
    return path.name.startswith(BESIDE_PHOTOS) or path.name.lower() in OF_FOLDERS


def target_called(name: str) -> str:
    """The format, a name from `TARGETS`, that a user calls so, perhaps by an extension; other names stay as they are.

    >>> target_called("JPG"), target_called("tif"), target_called("gif")
    ('jpeg', 'tiff', 'gif')
    """
    return name if name in TARGETS else kind_named(Path(f"a.{name}")) or name


def names_a_format(path: Path) -> bool:
    """Whether a file has the extension of a photo, of camera RAW or not."""
    return path.suffix.lower() in EXTENSIONS


def kind_named(path: Path) -> str | None:
    """The format that a file name stands for, a name from `TARGETS`; None if it is not one that can be written."""
    return next((name for name in TARGETS if path.suffix.lower() in FORMATS[name].extensions), None)


def kind_for(path: Path) -> str:
    """The format that a target's file name stands for, a name from `TARGETS`.

    >>> kind_for(Path("photo.JPG"))
    'jpeg'
    >>> kind_for(Path("photo.tif"))
    'tiff'

    Raises:
        UsageError: it is not a format that can be written.
    """
    if kind := kind_named(path):
        return kind
    written = ", ".join(extension for name in TARGETS for extension in FORMATS[name].extensions[:1])
    raise UsageError(f"{path}: cannot write {path.suffix or 'a file without extension'}: choose one of {written}")
