"""Temporary files and folders, removed at the end of a run or by a later one if it was killed; locks between runs."""

import atexit
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from denoise_cli.errors import UnwritableFile

PREFIX, PART, PARTS = ".denoise-", ".part", ".parts"  # of the names of temporary files, and of folders with them
PLAN = "plan.json"  # in the folder of a clip in progress, which is named like the clip, with PARTS
# A temporary file is locked while its run lives, but not in the moment after it was created, and not for the other
# machines that use some network drives: nothing as young as this is swept away.
YOUNG = 60.0  # seconds

_unfinished: set[Path] = set()  # the temporary files and folders of this process


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for files that are needed for a while, removed at the end of the `with` statement.

    Raises:
        UnwritableFile: the system's folders for temporary files take no more.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="denoise-")
    except OSError as error:
        what = f"no room for temporary files ({error.strerror}): set TMPDIR to a folder that has some"
        raise UnwritableFile(os.environ.get("TMPDIR", "/tmp"), what) from error  # noqa: S108 - for the message alone
    with folder as name:
        yield Path(name)


@contextmanager
def temporary_path(path: Path, suffix: str) -> Iterator[Path]:
    """A name for a temporary file or folder beside a file; what bears it in the end is removed.

    The name is known before there is anything to remove, so that a signal at any moment leaves nothing.
    """
    part = path.with_name(f"{PREFIX}{os.urandom(6).hex()}{suffix}")
    _unfinished.add(part)
    try:
        yield part
    finally:
        _remove(part)
        _unfinished.discard(part)


def _remove(part: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


@atexit.register
def remove_unfinished() -> None:
    """Remove what a signal has kept from being removed: one that came while another was being obeyed."""
    for part in list(_unfinished):
        _remove(part)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unfinished.clear)  # they are the parent's


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A hidden temporary folder on a file's own disk, in which to prepare the file; it is deleted with its contents.

    So are those that killed runs have left.

    Raises:
        UnwritableFile: the folder or the disk does not allow it.
    """
    sweep(path.parent)
    with temporary_path(path, PARTS) as folder:
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise folder_error(path, error) from error
        with _held(folder):
            yield folder


@cache
def sweep(folder: Path) -> None:
    """Remove the temporary files in a folder that killed runs have left; once, and not those of runs that go on."""
    with suppress(OSError):
        left = [entry for entry in os.scandir(folder) if entry.name.startswith(PREFIX)]
        for entry in left:
            path = Path(entry.path)
            with suppress(OSError):
                about = entry.stat(follow_symlinks=False)
                is_part = stat.S_ISREG(about.st_mode) and entry.name.endswith(PART)
                is_parts = stat.S_ISDIR(about.st_mode) and entry.name.endswith(PARTS)
                if not (is_part or is_parts) or time.time() - about.st_mtime < YOUNG:
                    continue
                handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
                try:
                    if try_lock(handle):
                        path.unlink() if is_part else shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(handle)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Mark a temporary folder as one of a run that goes on."""
    if os.name != "posix":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try_lock(handle)
        yield
    finally:
        os.close(handle)


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
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait for other processes that are in a `with` statement for the same folder, where there are locks.

    The system drops the lock of a process that ends in whatever way.

    Raises:
        OSError: the folder cannot be opened.
    """
    try:
        import fcntl
    except ImportError:  # on Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network drives have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _locked(lock: Path, path: Path) -> int:
    """The handle of a lock file, locked for the file `path`."""
    import fcntl  # which only POSIX systems have

    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise folder_error(path, error) from error
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


def try_lock(handle: int) -> bool:
    """Lock an open file until it is closed, by a kill as well; whether nobody else had, and there are locks."""
    try:
        import fcntl
    except ImportError:  # on Windows
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def folder_error(path: Path, error: OSError) -> UnwritableFile:
    """The error for a file whose folder does not accept new files."""
    if not path.parent.exists():
        return UnwritableFile(path, f"there is no folder {path.parent}: create it first")
    return UnwritableFile(path, f"cannot write into {path.parent}: {error.strerror}")
