"""Inputs that are not there."""

import os
import re
from pathlib import Path

from denoise_cli.errors import UnreadableFile

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.+)", re.DOTALL)  # `Path` takes two slashes for one


def check_exists(path: Path) -> None:
    """Refuse an input that is not there.

    >>> check_exists(Path("https://example.org/a.jpg"))
    Traceback (most recent call last):
    ...
    denoise_cli.errors.UnreadableFile: https://example.org/a.jpg: files on the network are not opened: download it first

    Raises:
        UnreadableFile: neither file nor folder has that name, which may be an address on the network.
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
        is_link = os.path.lexists(path)
        raise UnreadableFile(path, "leads to a file that does not exist" if is_link else "does not exist") from error
    except (OSError, ValueError) as error:
        raise UnreadableFile(path, f"cannot read: {getattr(error, 'strerror', error)}") from error
