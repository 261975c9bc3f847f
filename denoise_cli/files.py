"""Files that appear whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from denoise_cli.errors import UnwritableFile


def check_target(path: Path, overwrite: bool, source: Path | None = None, folder_is_made: bool = False) -> None:
    """Refuse a target before the work for it is done.

    Args:
        path: the file to write.
        overwrite: whether it may exist.
        source: a file that it must not be.
        folder_is_made: whether the folder will be made if it is missing.

    Raises:
        UnwritableFile: it exists, is a folder or the source, or its folder is missing or refuses new files.
    """
    if path.is_dir():
        raise UnwritableFile(path, "is a folder: name a file")
    if path.exists():
        if source is not None and source.exists() and path.samefile(source):
            raise UnwritableFile(path, "is the input itself: choose another name for the output")
        if not overwrite:
            raise UnwritableFile(path, "exists already: use --overwrite to replace it")
    if folder_is_made and not path.parent.exists():
        return
    try:
        with tempfile.TemporaryFile(dir=path.parent):  # asking for permission is not enough on a read-only disk
            pass
    except OSError as error:
        raise _refused(path, error) from error


def write_atomically(path: Path, data: bytes, overwrite: bool) -> None:
    """Write beside the target, flush to the disk, rename. A kill at any moment leaves the old file or the new one.

    Raises:
        UnwritableFile: the folder or the disk refuses, or the file exists and `overwrite` is false.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=".denoise-", suffix=".part", dir=path.parent)
    except OSError as error:
        raise _refused(path, error) from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
        os.chmod(part, _mode_of(path))
        move_into_place(part, path, overwrite)
    except OSError as error:
        raise UnwritableFile(path, f"cannot write: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def move_into_place(part: Path, path: Path, overwrite: bool) -> None:
    """Give a complete file its final name, which is on the same disk.

    Raises:
        UnwritableFile: the folder or the disk refuses, or the file exists and `overwrite` is false.
    """
    try:
        with part.open("rb") as file:
            os.fsync(file.fileno())
        if overwrite:
            os.replace(part, path)
        else:
            _rename_to_new(part, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise UnwritableFile(path, f"cannot write: {error.strerror}") from error


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A hidden folder on a file's own disk, for what is to become the file; it goes with all that is left in it.

    Raises:
        UnwritableFile: the folder or the disk refuses.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=".denoise-", suffix=".parts", dir=path.parent)
    except OSError as error:
        raise _refused(path, error) from error
    with folder as name:
        yield Path(name)


def move_both_into_place(parts: tuple[Path, Path], paths: tuple[Path, Path], overwrite: bool) -> None:
    """Give two complete files their final names; the second is of no use without the first, and never stands without.

    A kill at any moment leaves both old files, both new ones, or no second.

    Raises:
        UnwritableFile: the folder or the disk refuses, or one of the files exists and `overwrite` is false.
    """
    (part, last_part), (path, last) = parts, paths
    old = last_part.with_suffix(".old")
    try:
        for complete, target in zip(parts, paths, strict=True):
            os.chmod(complete, _mode_of(target))
        if overwrite and last.is_file():
            os.replace(last, old)
    except OSError as error:
        raise UnwritableFile(last, f"cannot write: {error.strerror}") from error
    try:
        move_into_place(part, path, overwrite)
    except UnwritableFile:
        if old.exists():
            os.replace(old, last)
        raise
    try:
        move_into_place(last_part, last, overwrite)
    except UnwritableFile:
        path.unlink()
        raise


def _refused(path: Path, error: OSError) -> UnwritableFile:
    """What a file's folder had against a new one in it."""
    if isinstance(error, FileNotFoundError):
        return UnwritableFile(path, f"there is no folder {path.parent}: make it first")
    return UnwritableFile(path, f"cannot write into {path.parent}: {error.strerror}")


def _rename_to_new(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # unlike a rename, fails when the target appeared in the meantime
    except FileExistsError as error:
        raise UnwritableFile(path, "exists already: use --overwrite to replace it") from error
    except OSError:  # a file system without hard links
        if path.exists():
            raise UnwritableFile(path, "exists already: use --overwrite to replace it") from None
        os.replace(part, path)


def _mode_of(path: Path) -> int:
    """What the file has now, or what a newly made one would get."""
    if path.exists():
        return path.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def packaged_folder(name: str) -> Path:
    """A folder of the project's: inside an installed package, beside the package in a source tree."""
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name
