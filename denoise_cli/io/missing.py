"""Inputs that are not there."""

import os
import re
from pathlib import Path

from denoise_cli.errors import UnreadableFile

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.+)", re.DOTALL)  # `Path` takes two slashes for one
GLOB = re.compile(r"[*?]")  # what shells replace


def check_exists(path: Path, advice: str = "") -> None:
    """Refuse an input that is not there.

    Args:
        path: as the user gave it.
        advice: what may have been meant.

    >>> check_exists(Path("https://example.org/a.jpg"))
    Traceback (most recent call last):
    ...
    denoise_cli.errors.UnreadableFile: https://example.org/a.jpg: files on the network are not opened: download it first

    Raises:
        UnreadableFile: it does not exist, cannot be looked up, or is an address on the network.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        if address := ADDRESS.fullmatch(str(path)):
            scheme, rest = address.groups()
            if scheme.lower() == "file":
                raise UnreadableFile(path, f"is an address, not a path: name the file as /{rest}") from error
            name = f"{scheme}://{rest}"
            raise UnreadableFile(name, "files on the network are not opened: download it first") from error
        words = "leads to a file that does not exist" if os.path.lexists(path) else "does not exist"
        if GLOB.search(path.name):
            words = "matches no file; if the name is in quotes, leave them out, so that the shell finds files"
        raise UnreadableFile(path, f"{words}; {advice}" if advice else words) from error
    except (OSError, ValueError) as error:
        raise UnreadableFile(path, f"cannot read: {getattr(error, 'strerror', error)}") from error
