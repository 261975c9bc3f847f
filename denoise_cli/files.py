"""Atomic file writing: a file appears complete, or not at all."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from denoise_cli.errors import UnwritableFile


def check_target(path: Path, overwrite: bool, source: Path | None = None, creates_folder: bool = False) -> None:
    """Check that a file can be written, before any work is done for it.

    Args:
        path: the file to write.
        overwrite: whether the file may exist.
        source: a file that must not be the target.
        creates_folder: whether a missing folder, and those above it, will be created.

    Raises:
        UnwritableFile: the target exists, or is a folder or the source, or its folder is missing or refuses new files.
    """
    if path.is_dir():
        raise UnwritableFile(path, "is a folder: name a file")
    if path.exists():
        if source is not None and source.exists() and path.samefile(source):
            raise UnwritableFile(path, "is the input itself: choose another name for the output")
        if not overwrite:
            raise UnwritableFile(path, "already exists: use --overwrite to replace it")
    if creates_folder and not path.parent.exists():
        _check_can_make(path.parent)
        return
    try:
        with tempfile.TemporaryFile(dir=path.parent):  # permission bits do not show a read-only disk
            pass
    except OSError as error:
        raise _folder_error(path, error) from error


def write_atomically(path: Path, data: bytes, overwrite: bool, modified: int | None = None) -> None:
    """Write data to a file so that a kill at any moment leaves either the old file or the complete new one.

    The data are written to a temporary file in the same folder, flushed to the disk and renamed.

    Args:
        path: the file to write.
        data: its contents.
        overwrite: whether an existing file is replaced.
        modified: the file's modification time, in nanoseconds since 1970; None for now.

    Raises:
        UnwritableFile: the folder or the disk does not allow it, or the file exists and `overwrite` is false.

    Examples:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "photo.png"
        ...     write_atomically(path, b"old", overwrite=False)
        ...     write_atomically(path, b"new", overwrite=True)
        ...     path.read_bytes()
        b'new'
    """
    try:
        handle, name = tempfile.mkstemp(prefix=".denoise-", suffix=".part", dir=path.parent)
    except OSError as error:
        raise _folder_error(path, error) from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
        os.chmod(part, _mode_of(path))
        if modified is not None:
            with suppress(OSError):  # some network drives refuse it, and the file matters more than its time
                os.utime(part, ns=(time.time_ns(), modified))
        move_into_place(part, path, overwrite)
    except OSError as error:
        raise UnwritableFile(path, f"cannot write: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def move_into_place(part: Path, path: Path, overwrite: bool) -> None:
    """Flush a complete file to the disk and give it its final name.

    Args:
        part: the complete file, on the same disk as `path`.
        path: its final name.
        overwrite: whether an existing file is replaced.

    Raises:
        UnwritableFile: the folder or the disk does not allow it, or the file exists and `overwrite` is false.
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
def only_writer(path: Path) -> Iterator[None]:
    """Keep other runs of the program from writing the same file, by a hidden locked file beside it.

    The system drops the lock of a process that ends in whatever way, so what a killed run leaves does not block.

    Raises:
        UnwritableFile: another run is writing the file, or the folder or the disk does not allow the lock.
    """
    if os.name != "posix":  # another kind of locks, for systems on which the program is not tested
        yield
        return
    lock = path.with_name(f".{path.name}.lock")
    handle = _locked(lock, path)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A hidden temporary folder on a file's own disk, in which to prepare the file; it is deleted with its contents.

    Raises:
        UnwritableFile: the folder or the disk does not allow it.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=".denoise-", suffix=".parts", dir=path.parent)
    except OSError as error:
        raise _folder_error(path, error) from error
    with folder as name:
        yield Path(name)


def move_both_into_place(parts: tuple[Path, Path], paths: tuple[Path, Path], overwrite: bool) -> None:
    """Give two complete files their final names; the second needs the first, so it never exists without it.

    A kill at any moment leaves both old files, both new files, or no second file.

    Args:
        parts: the complete files, on the same disk as `paths`.
        paths: their final names.
        overwrite: whether existing files are replaced.

    Raises:
        UnwritableFile: the folder or the disk does not allow it, or one of the files exists and `overwrite` is false.
    """
    (first_part, second_part), (first, second) = parts, paths
    old_second = second_part.with_suffix(".old")
    try:
        for part, path in zip(parts, paths, strict=True):
            os.chmod(part, _mode_of(path))
        if overwrite and second.is_file():
            os.replace(second, old_second)
    except OSError as error:
        raise UnwritableFile(second, f"cannot write: {error.strerror}") from error
    try:
        move_into_place(first_part, first, overwrite)
    except UnwritableFile:
        if old_second.exists():
            os.replace(old_second, second)
        raise
    try:
        move_into_place(second_part, second, overwrite)
    except UnwritableFile:
        first.unlink()
        raise


def packaged_folder(name: str) -> Path:
    """The path of one of the project's folders: inside the installed package, or beside it in a source tree."""
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


def _locked(lock: Path, path: Path) -> int:
    """The handle of a lock file, locked for the file `path`."""
    import fcntl  # which only POSIX systems have

    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise _folder_error(path, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise UnwritableFile(
                path, "is being written by another run: wait until it ends, or choose another name for the output"
            ) from error
        except OSError:  # a file system without locks, on which runs cannot know of each other
            return handle
        if os.fstat(handle).st_nlink:
            return handle
        os.close(handle)  # another run has ended and deleted it between our two steps


def _check_can_make(folder: Path) -> None:
    existing = next(parent for parent in folder.parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UnwritableFile(folder, f"cannot make the folder: {error.strerror}") from error


def _folder_error(path: Path, error: OSError) -> UnwritableFile:
    """The error for a file whose folder does not accept new files."""
    if not path.parent.exists():
        return UnwritableFile(path, f"there is no folder {path.parent}: create it first")
    return UnwritableFile(path, f"cannot write into {path.parent}: {error.strerror}")


def _rename_to_new(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # unlike a rename, a link fails if the target has appeared in the meantime
    except FileExistsError as error:
        raise UnwritableFile(path, "already exists: use --overwrite to replace it") from error
    except OSError:  # a file system without hard links
        if path.exists():
            raise UnwritableFile(path, "already exists: use --overwrite to replace it") from None
        os.replace(part, path)


def _mode_of(path: Path) -> int:
    """The permission bits that the file has, or that a new file would get."""
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
