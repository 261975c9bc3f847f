"""Which results are done: a small record of each, by which a later run knows it and leaves it alone.

The record of `out/a.jpg` is `out/.denoise/a.jpg.json`, in a hidden folder beside the results, so that it goes where
their folder goes. It says what the result was made from, how, and what it holds. It is written before the result gets
its name: a kill in between leaves a record without a result, which is then made, and never a result without its record.
"""

import hashlib
import json
import os
import stat
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from denoise_cli.errors import DamagedWeights, UnwritableFile
from denoise_cli.files import checksum, is_same_file, make_folder, write_atomically
from denoise_cli.models.registry import checksum_of, is_weight_file
from denoise_cli.version import __version__

FOLDER = ".denoise"
LONGEST_NAME = 255  # bytes, on most file systems
SUFFIX = ".json"

weights_of = cache(checksum_of)
_checksum_once = cache(checksum)


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        size: in bytes.
        sha256: of all of them.
        modified: when it was last changed, in nanoseconds since 1970; None if that says nothing.
    """

    size: int
    sha256: str
    modified: int | None = None

    @classmethod
    def of_bytes(cls, data: bytes) -> "Contents":
        """Those of a file that is to be written."""
        return cls(len(data), hashlib.sha256(data).hexdigest())

    @classmethod
    def of_file(cls, path: Path) -> "Contents":
        """Those of a file.

        Raises:
            OSError: it cannot be read, or is none.
        """
        about = path.stat()
        return cls(about.st_size, checksum(path), about.st_mtime_ns)

    def are_in(self, path: Path) -> bool:
        """Whether a file holds them: it is read, unless its size and its time say enough."""
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode) or about.st_size != self.size:
                return False
            return about.st_mtime_ns == self.modified or checksum(path) == self.sha256
        except (OSError, ValueError):
            return False


@dataclass(frozen=True)
class Record:
    """What is known of a result.

    Attributes:
        source, result: what the two files hold. The result is always read, and so known to be whole.
        model: the name of the one that made it.
        weights: their checksum.
        settings: everything else that it depends on, as `settings_of` gives it.
        facts: what a later run tells of it.
        program: the version that made it, which is not compared.
    """

    source: Contents
    result: Contents
    model: str
    weights: str
    settings: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    program: str = __version__


def settings_of(model: str, others: dict[str, Any]) -> dict[str, Any]:
    """What a result depends on besides its source, as it is written and read back.

    Args:
        model: what the user asked for: a name, "auto", or the path of a weight file, which stands for its contents.
        others: settings by their names; a path stands for what its file holds.

    Raises:
        OSError: one of these files cannot be read.
    """
    asked = weights_of(model) if is_weight_file(model) else model
    found = {name: _checksum_once(value) if isinstance(value, Path) else value for name, value in others.items()}
    plain: dict[str, Any] = json.loads(json.dumps({"model": asked, **found}))
    return plain


def write(target: Path, record: Record) -> None:
    """Write the record of a result, before the result.

    Raises:
        UnwritableFile: the folder or the disk does not allow it.
    """
    path = _path_of(target)
    make_folder(path.parent)
    plain = vars(record) | {"source": vars(record.source), "result": vars(record.result)}
    write_atomically(path, (json.dumps(plain) + "\n").encode(), overwrite=True)


def find(target: Path, source: Path | None, settings: dict[str, Any]) -> Record | None:
    """The record of a result, if it is there, whole, and made from this source with these settings and weights.

    Args:
        target: the result.
        source: what it would be made from; None if the result has taken its place, of which no more can be known.
        settings: as `settings_of` gives them.
    """
    try:
        kept = json.loads(_path_of(target).read_bytes())
        source_then, result_then = (Contents(**kept.pop(name)) for name in ("source", "result"))
        record = Record(source_then, result_then, **kept)
        current = weights_of(record.model)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, DamagedWeights):  # none, or not one of ours
        return None
    if (record.settings, record.weights) != (settings, current):
        return None
    if source is not None and not record.source.are_in(source):
        return None
    return record if record.result.are_in(target) else None


def check_free(target: Path, source: Path) -> None:
    """Refuse a target that exists, of which nothing is known.

    Raises:
        UnwritableFile: it does.
    """
    if target.is_file() and not is_same_file(target, source):
        unknown = "already exists, and no record says that it is this input's result with these settings"
        raise UnwritableFile(target, f"{unknown}: use --overwrite to replace it")


def _path_of(target: Path) -> Path:
    name = target.name
    if len(os.fsencode(name + SUFFIX)) > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.parent / FOLDER / (name + SUFFIX)
