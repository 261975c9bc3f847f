"""Atomic file writing: a file appears complete, or not at all."""

import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from denoise_cli.errors import UnreadableFile, UnwritableFile

# What is no regular file, in words for the user.
KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_target(path: Path, overwrite: bool, inputs: Iterable[Path] = (), creates_folder: bool = False) -> None:
    """Check that a file can be written, before any work is done for it.

    Args:
        path: the file to write.
        overwrite: whether the file may exist.
        inputs: files that must not be the target.
        creates_folder: whether a missing folder, and those above it, will be created.

    Raises:
        UnwritableFile: the target exists, or is a folder, a link, a device or one of the inputs, or its folder is
            missing or refuses new files.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        found = None
    except (OSError, ValueError) as error:
        raise UnwritableFile(path, f"cannot write: {getattr(error, 'strerror', error)}") from error
    if found is not None:
        if path.is_dir():
            raise UnwritableFile(path, "is a folder: name a file")
        for file in inputs:
            if is_same_file(path, file):
                what = "the input itself" if path == file else f"the input {file}"
                raise UnwritableFile(path, f"is {what}: choose another name for the output")
        _refuse_irregular(path)
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


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file; not if one of them leads to none."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


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
            _refuse_irregular(path)
            os.replace(part, path)
        else:
            _rename_to_new(part, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise UnwritableFile(path, f"cannot write: {error.strerror}") from error


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


def irregular(path: Path) -> str | None:
    """What a path is if it is neither a regular file nor missing, in words for the user; None otherwise."""
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError):
        return None
    return next((words for is_one, words in KINDS if is_one(mode)), None)


def read_regular(path: Path) -> bytes:
    """The contents of a file; a pipe would be waited for, and a device may never end.

    Raises:
        UnreadableFile: it is a pipe, a device or a socket.
        OSError: it cannot be read.
    """
    # Without O_NONBLOCK, opening a pipe waits for a program at its other end.
    with os.fdopen(
        os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb"
    ) as file:
        mode = os.fstat(file.fileno()).st_mode
        for is_one, words in KINDS:
            if is_one(mode):
                raise UnreadableFile(path, f"is {words}, not a file: give its contents as standard input, by -")
        return file.read()


def packaged_folder(name: str) -> Path:
    """The path of one of the project's folders: inside the installed package, or beside it in a source tree."""
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


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


def _refuse_irregular(path: Path) -> None:
    """Refuse to put a file in the place of what is none: devices do not come back, and links may be wanted as such."""
    if (what := irregular(path)) is not None:
        advice = "the file that it leads to" if what == "a symbolic link" else "a file, or - for standard output"
        raise UnwritableFile(path, f"is {what}, which is not replaced: name {advice}")


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
