"""Atomic file writing: a file appears complete, or not at all."""

import errno
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from denoise_cli.errors import UnreadableFile, UnwritableFile
from denoise_cli.temporary_files import PART, folder_error, sweep, temporary_path, try_lock

# What a file system answers that does not offer to flush a file or a folder; a folder may also not be readable.
NOT_OFFERED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.EACCES}
# Extended attributes that are the user's: tags and comments, and lists of who may do what.
OWN_ATTRIBUTES = ("user.", "system.posix_acl_access")

# What is no regular file, in words for the user.
KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
CHUNK = 1 << 20  # bytes that are read at a time


def check_target(path: Path, overwrite: bool, inputs: Iterable[Path] = (), creates_folder: bool = False) -> None:
    """Check that a file can be written, before any work is done for it.

    Args:
        path: the file to write.
        overwrite: whether the file may exist.
        inputs: files that must not be the target.
        creates_folder: whether a missing folder, and those above it, will be created.

    Raises:
        UnwritableFile: the target exists, or is a folder, a link, a device, one of the inputs or read-only, or its
            folder is missing or refuses new files.
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
        check_is_no_input(path, inputs)
        _refuse_irregular(path)
        if not overwrite:
            raise UnwritableFile(path, "already exists: use --overwrite to replace it")
        _check_is_writable(path)
    if creates_folder and not path.parent.exists():
        _check_can_make(path.parent)
        return
    try:
        with tempfile.TemporaryFile(dir=path.parent):  # permission bits do not show a read-only disk
            pass
    except OSError as error:
        raise folder_error(path, error) from error


def check_is_no_input(path: Path, inputs: Iterable[Path]) -> None:
    """Check that a file to write is none of those that are read, under whatever name.

    Raises:
        UnwritableFile: it is one of them.
    """
    for file in inputs:
        if is_same_file(path, file):
            what = "the input itself" if path == file else f"the input {file}"
            raise UnwritableFile(path, f"is {what}: choose another name for the output")


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file; not if one of them leads to none."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def check_replaced_in_place(path: Path, backup: Path) -> None:
    """Check that a file can be replaced and kept under a second name, before any work is done for it.

    Raises:
        UnwritableFile: there is a file of the second name that holds something else, or what `check_target` refuses.
    """
    check_target(path, overwrite=True)
    if os.path.lexists(backup) and not _holds_the_same(path, backup):
        raise _other_backup(path, backup)


def write_atomically(
    path: Path,
    data: bytes,
    overwrite: bool,
    modified: int | None = None,
    like: Path | None = None,
    backup: Path | None = None,
) -> None:
    """Write data to a file so that a kill at any moment leaves either the old file or the complete new one.

    The data are written to a temporary file in the same folder, flushed to the disk and renamed. What the file system
    does not offer, such as permissions, is left out. Temporary files in the folder that killed runs have left are
    removed.

    Args:
        path: the file to write.
        data: its contents.
        overwrite: whether an existing file is replaced.
        modified: the file's modification time, in nanoseconds since 1970; None for now.
        like: a file whose permissions, owner and extended attributes a new file gets, as far as the user may give
            them; a file that is replaced keeps its own.
        backup: a second name for the file that is replaced, which it gets before it loses the first; it is then
            replaced whatever `overwrite` is.

    Raises:
        UnwritableFile: the folder or the disk does not allow it, or the file exists and `overwrite` is false, or it is
            read-only.

    Examples:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "photo.png"
        ...     write_atomically(path, b"old", overwrite=False)
        ...     write_atomically(path, b"new", overwrite=True)
        ...     path.read_bytes()
        b'new'
    """
    sweep(path.parent)
    with temporary_path(path, PART) as part:
        try:
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as error:
            raise folder_error(path, error) from error
        try:
            with os.fdopen(handle, "wb") as file:
                is_held = try_lock(handle)
                file.write(data)
                file.flush()
                if is_held:  # elsewhere, as on Windows, an open file can perhaps not be renamed
                    move_into_place(part, path, overwrite, modified, like, backup)
            if not is_held:
                move_into_place(part, path, overwrite, modified, like, backup)
        except OSError as error:
            raise UnwritableFile(path, f"cannot write: {error.strerror}") from error


def move_into_place(
    part: Path,
    path: Path,
    overwrite: bool,
    modified: int | None = None,
    like: Path | None = None,
    backup: Path | None = None,
) -> None:
    """Flush a complete file to the disk and give it its final name.

    Args:
        part: the complete file, on the same disk as `path`.
        path: its final name.
        overwrite: whether an existing file is replaced.
        modified: its modification time, in nanoseconds since 1970; None for that which it has.
        like: a file whose permissions, owner and extended attributes it gets if it replaces none, see
            `write_atomically`.
        backup: a second name for the file that is replaced, see `write_atomically`.

    Raises:
        UnwritableFile: the folder or the disk does not allow it, or the file exists and `overwrite` is false, or it is
            read-only.
    """
    replaces = overwrite or backup is not None
    if replaces:
        _check_is_writable(path)
    _copy_attributes(path if path.exists() else like, part)
    if modified is not None:
        with suppress(OSError):  # some network drives refuse it, and the file matters more than its time
            os.utime(part, ns=(time.time_ns(), modified))
    try:
        with part.open("rb") as file:
            _flush(file.fileno())
        if replaces:
            _refuse_irregular(path)
            if backup is not None:
                _keep_as(path, backup)
            os.replace(part, path)
        else:
            _rename_to_new(part, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise UnwritableFile(path, f"cannot write: {error.strerror}") from error


def _keep_as(path: Path, backup: Path) -> None:
    """Give a file a second name, or a copy where the file system has no second names."""
    if os.path.lexists(backup):  # an interrupted run has left it, or it is somebody else's
        if not _holds_the_same(path, backup):
            raise _other_backup(path, backup)
        return
    try:
        os.link(path, backup)
    except FileExistsError as error:
        raise _other_backup(path, backup) from error
    except OSError:
        with temporary_path(backup, PART) as copy:
            shutil.copyfile(path, copy)
            _copy_attributes(path, copy)
            about = path.stat()
            with suppress(OSError):
                os.utime(copy, ns=(about.st_atime_ns, about.st_mtime_ns))
            with copy.open("rb") as file:
                _flush(file.fileno())
            _rename_to_new(copy, backup)
    _flush_folder(backup.parent)


def _other_backup(path: Path, backup: Path) -> UnwritableFile:
    return UnwritableFile(
        path,
        f"not replaced: its backup {backup.name} exists already and holds something else, perhaps the original of an "
        "earlier run: move that file away, or choose another --backup",
    )


def _holds_the_same(one: Path, other: Path) -> bool:
    """Whether two names are of one file, or of two regular files with the same contents."""
    if irregular(other) is not None:
        return False
    try:
        same_size = one.stat().st_size == other.stat().st_size
        return is_same_file(one, other) or (same_size and checksum(one) == checksum(other))
    except OSError:
        return False


def modified_at(path: Path) -> int | None:
    """When a file was last changed, in nanoseconds since 1970; None if it has gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless it is there.

    Raises:
        UnwritableFile: the folder above or the disk does not allow it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableFile(folder, f"cannot make the folder: {error.strerror}") from error


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """A folder for results; with those above it, it is removed at the end of the `with` if it was made for nothing.

    Raises:
        UnwritableFile: it cannot be made.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        make_folder(folder)
        yield
    finally:
        with suppress(OSError):  # one that holds results, and those above it
            for each in missing:
                each.rmdir()


def checksum(path: Path) -> str:
    """The SHA-256 of a file's contents, of which little is in memory at a time.

    Raises:
        OSError: it cannot be read.
    """
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
    return total.hexdigest()


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
        if overwrite:
            for path in paths:
                _check_is_writable(path)
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
        move_into_place(second_part, second, overwrite, like=old_second)
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


def _check_is_writable(path: Path) -> None:
    """Refuse to replace a file that its owner protects; the bits are looked at, as root may write to any file."""
    try:
        is_protected = not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    except OSError:  # it does not exist
        return
    if is_protected:
        raise UnwritableFile(path, "is read-only, and is not replaced: make it writable first (chmod u+w)")


def _copy_attributes(source: Path | None, target: Path) -> None:
    """Give a file the owner, the extended attributes and the permissions of another, or the permissions of a new file.

    What the user may not give, or the file system does not hold, is left out: the file matters more.
    """
    try:
        about = None if source is None else source.stat()
    except OSError:
        about = None
    if source is None or about is None:
        with suppress(OSError):
            os.chmod(target, _mode_of_new())
        return
    if hasattr(os, "chown"):
        for owner, group in ((about.st_uid, -1), (-1, about.st_gid)):
            with suppress(OSError):
                os.chown(target, owner, group)
    if hasattr(os, "listxattr"):  # Linux
        with suppress(OSError):
            for name in os.listxattr(source):
                if name.startswith(OWN_ATTRIBUTES):
                    with suppress(OSError):
                        os.setxattr(target, name, os.getxattr(source, name))
    with suppress(OSError):
        os.chmod(target, about.st_mode & 0o777)


def _mode_of_new() -> int:
    """The permission bits that a new file gets."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _flush(handle: int) -> None:
    """Flush a file or folder to the disk, if the file system offers it."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise
        return  # one may write into it, but not list it
    try:
        _flush(handle)
    finally:
        os.close(handle)
