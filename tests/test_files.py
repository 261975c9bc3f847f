import errno
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from denoise_cli.errors import UnreadableFile, UnwritableFile
from denoise_cli.files import check_target, move_both_into_place, read_regular, write_atomically
from denoise_cli.temporary_files import folder_beside, only_writer

posix = pytest.mark.skipif(os.name != "posix", reason="permission bits and SIGKILL exist on POSIX only")

OLD, NEW = b"old" * 1_000_000, b"new" * 1_500_000
REWRITE_FOREVER = """
import itertools, sys
from contextlib import suppress
from pathlib import Path
from denoise_cli.files import write_atomically

for count in itertools.count():
    write_atomically(Path(sys.argv[1]), b"new" * 1_500_000 if count % 2 else b"old" * 1_000_000, overwrite=True)
    print(count, flush=True)
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(b"old")
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("data", [b"", b"new", bytes(range(256)) * 10_000])
def test_a_new_file_holds_what_was_written_and_stands_alone(tmp_path: Path, data: bytes, overwrite: bool) -> None:
    write_atomically(tmp_path / "photo.png", data, overwrite)
    assert (tmp_path / "photo.png").read_bytes() == data
    assert files(tmp_path) == ["photo.png"]


def test_an_existing_file_is_not_replaced(old: Path) -> None:
    with pytest.raises(UnwritableFile) as error:
        write_atomically(old, b"new", overwrite=False)
    assert str(error.value) == f"{old}: already exists: use --overwrite to replace it"
    assert old.read_bytes() == b"old"
    assert files(old.parent) == ["photo.png"]


def test_an_existing_file_is_replaced_when_asked(old: Path) -> None:
    write_atomically(old, b"new", overwrite=True)
    assert old.read_bytes() == b"new"
    assert files(old.parent) == ["photo.png"]


def test_without_hard_links_an_existing_file_is_still_not_replaced(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(UnwritableFile, match="already exists"):
        write_atomically(old, b"new", overwrite=False)
    assert old.read_bytes() == b"old"
    write_atomically(old.with_name("other.png"), b"new", overwrite=False)
    assert files(old.parent) == ["other.png", "photo.png"]


@posix
@pytest.mark.parametrize("bits", [0o600, 0o644, 0o640, 0o777])
def test_a_replaced_file_keeps_its_permission_bits(old: Path, bits: int) -> None:
    old.chmod(bits)
    write_atomically(old, b"new", overwrite=True)
    assert mode(old) == bits


@posix
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_a_new_file_gets_the_bits_of_any_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "photo.png", b"new", overwrite=False)
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert mode(tmp_path / "photo.png") == 0o666 & ~umask


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    target = tmp_path / "none" / "photo.png"
    with pytest.raises(UnwritableFile) as error:
        write_atomically(target, b"new", overwrite=False)
    assert str(error.value) == f"{target}: there is no folder {target.parent}: create it first"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that refuses files although it exists: /proc")
def test_a_folder_that_refuses_files_is_not_called_missing() -> None:
    with pytest.raises(UnwritableFile, match="cannot write into /proc: "):
        check_target(Path("/proc/photo.png"), overwrite=False)


def test_a_file_is_not_a_folder(old: Path) -> None:
    with pytest.raises(UnwritableFile, match="cannot write into"):
        write_atomically(old / "photo.png", b"new", overwrite=True)
    assert old.read_bytes() == b"old"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "photo.png").mkdir()
    with pytest.raises(UnwritableFile):
        write_atomically(tmp_path / "photo.png", b"new", overwrite)
    assert (tmp_path / "photo.png").is_dir()
    assert files(tmp_path) == ["photo.png"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    old: Path, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UnwritableFile, match="cannot write: No space left on device"):
        write_atomically(old, b"new", overwrite)
    assert old.read_bytes() == b"old"
    assert files(old.parent) == ["photo.png"]


@pytest.mark.parametrize("name", ["x" * 251 + ".png", "写" * 83 + ".png"], ids=["latin", "chinese"])
def test_the_longest_name_that_the_disk_takes_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    write_atomically(tmp_path / name, b"new", overwrite=True)
    assert (tmp_path / name).read_bytes() == b"new"


@posix
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "photo.png"
    for moment in range(12):
        command = [sys.executable, "-c", REWRITE_FOREVER, str(target)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"0\n"
            time.sleep(moment * 0.0037)
            writer.kill()
        assert target.read_bytes() in {OLD, NEW}, f"torn by the kill after moment {moment}"


def staged(folder: Path) -> tuple[Path, Path]:
    """Two complete files that belong together, in a staging folder."""
    parts = folder / "weights", folder / "model"
    for part in parts:
        part.write_bytes(b"new")
    return parts


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """The final names of the two files."""
    return tmp_path / "net.bin", tmp_path / "net.xml"


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_files_appear_together_and_stand_alone(pair: tuple[Path, Path], overwrite: bool) -> None:
    with folder_beside(pair[1]) as folder:
        move_both_into_place(staged(folder), pair, overwrite)
    assert [path.read_bytes() for path in pair] == [b"new", b"new"]
    assert files(pair[1].parent) == ["net.bin", "net.xml"]


@pytest.mark.parametrize("there", [0, 1])
def test_neither_of_two_appears_where_one_exists(pair: tuple[Path, Path], there: int) -> None:
    pair[there].write_bytes(b"old")
    with pytest.raises(UnwritableFile) as error, folder_beside(pair[1]) as folder:
        move_both_into_place(staged(folder), pair, overwrite=False)
    assert str(error.value) == f"{pair[there]}: already exists: use --overwrite to replace it"
    assert pair[there].read_bytes() == b"old"
    assert files(pair[1].parent) == [pair[there].name]


@posix
def test_two_existing_files_are_replaced_when_asked_and_keep_their_bits(pair: tuple[Path, Path]) -> None:
    for path, bits in zip(pair, (0o640, 0o600), strict=True):
        path.write_bytes(b"old")
        path.chmod(bits)
    with folder_beside(pair[1]) as folder:
        move_both_into_place(staged(folder), pair, overwrite=True)
    assert [path.read_bytes() for path in pair] == [b"new", b"new"]
    assert [mode(path) for path in pair] == [0o640, 0o600]
    assert files(pair[1].parent) == ["net.bin", "net.xml"]


def test_where_the_first_of_two_cannot_be_replaced_the_second_stays(pair: tuple[Path, Path]) -> None:
    pair[0].mkdir()
    pair[1].write_bytes(b"old")
    with pytest.raises(UnwritableFile), folder_beside(pair[1]) as folder:
        move_both_into_place(staged(folder), pair, overwrite=True)
    assert pair[1].read_bytes() == b"old"
    assert files(pair[1].parent) == ["net.bin", "net.xml"]


def test_where_the_second_of_two_cannot_be_replaced_the_first_goes(pair: tuple[Path, Path]) -> None:
    pair[1].mkdir()
    with pytest.raises(UnwritableFile), folder_beside(pair[1]) as folder:
        move_both_into_place(staged(folder), pair, overwrite=True)
    assert files(pair[1].parent) == ["net.xml"]


@pytest.mark.parametrize("renamed", range(4))
def test_an_interruption_leaves_old_ones_new_ones_or_no_second(
    pair: tuple[Path, Path], renamed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, left = os.replace, iter([True] * renamed)

    def interrupted(source: Path, target: Path) -> None:
        if not next(left, False):
            raise KeyboardInterrupt
        rename(source, target)

    for path in pair:
        path.write_bytes(b"old")
    with monkeypatch.context() as patch, folder_beside(pair[1]) as folder:
        parts = staged(folder)
        patch.setattr(os, "replace", interrupted)
        try:
            move_both_into_place(parts, pair, overwrite=True)
        except KeyboardInterrupt:
            assert renamed < 3
    assert not pair[1].exists() or pair[0].read_bytes() == pair[1].read_bytes() == (b"new" if renamed == 3 else b"old")


def test_no_folder_is_made_beside_a_file_without_one(tmp_path: Path) -> None:
    target = tmp_path / "no" / "net.xml"
    with pytest.raises(UnwritableFile) as error, folder_beside(target):
        pass
    assert str(error.value) == f"{target}: there is no folder {target.parent}: create it first"


def test_targets_that_cannot_succeed_are_refused_at_once(old: Path, tmp_path: Path) -> None:
    check_target(old, overwrite=True)
    check_target(tmp_path / "new.png", overwrite=False)
    check_target(tmp_path / "no" / "new.png", overwrite=False, creates_folder=True)
    for target, reason in (
        (old, "already exists: use --overwrite to replace it"),
        (tmp_path, "is a folder: name a file"),
        (tmp_path / "no" / "new.png", f"there is no folder {tmp_path / 'no'}: create it first"),
    ):
        with pytest.raises(UnwritableFile) as error:
            check_target(target, overwrite=False)
        assert str(error.value) == f"{target}: {reason}"
    assert files(tmp_path) == [old.name]


def test_a_source_is_never_its_own_target(old: Path) -> None:
    with pytest.raises(UnwritableFile, match="is the input itself"):
        check_target(old, overwrite=True, inputs=[old.parent / "." / old.name])


@posix
def test_a_folder_that_refuses_files_is_named_with_its_own_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(UnwritableFile) as error:
        check_target(tmp_path / "new.csv", overwrite=False)
    assert str(error.value) == f"{tmp_path / 'new.csv'}: cannot write into {tmp_path}: Read-only file system"
    with pytest.raises(UnwritableFile) as error:
        check_target(tmp_path / "a" / "b" / "new.csv", overwrite=False, creates_folder=True)
    assert str(error.value) == f"{tmp_path / 'a' / 'b'}: cannot make the folder: Read-only file system"


@posix
def test_a_folder_that_cannot_be_made_is_refused_at_once(old: Path) -> None:
    with pytest.raises(UnwritableFile) as error:
        check_target(old / "a" / "new.png", overwrite=False, creates_folder=True)
    assert str(error.value) == f"{old / 'a'}: cannot make the folder: Not a directory"


def test_a_file_gets_the_time_that_is_asked_for_or_that_of_now(tmp_path: Path) -> None:
    before = time.time_ns()

    write_atomically(tmp_path / "old.jpg", b"", overwrite=False, modified=1_234_567_890_000_000_000)
    write_atomically(tmp_path / "new.jpg", b"", overwrite=False)

    assert (tmp_path / "old.jpg").stat().st_mtime_ns == 1_234_567_890_000_000_000
    assert (tmp_path / "new.jpg").stat().st_mtime_ns >= before - 10_000_000  # the clock of files is coarser


def test_a_disk_that_keeps_no_times_gets_the_file_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)

    write_atomically(tmp_path / "photo.jpg", b"new", overwrite=False, modified=1)

    assert (tmp_path / "photo.jpg").read_bytes() == b"new"


HOLD = """
import sys, time
from contextlib import suppress
from pathlib import Path
from denoise_cli.temporary_files import only_writer

with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@posix
def test_a_second_writer_is_refused_until_the_first_one_ends_in_whatever_way(tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    (tmp_path / "real").mkdir()
    (tmp_path / "other").symlink_to("real")
    for one, other in ((target, target), (tmp_path / "real" / "a.mp4", tmp_path / "other" / "a.mp4")):
        first = subprocess.Popen([sys.executable, "-c", HOLD, one], stdout=subprocess.PIPE, text=True)
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(UnwritableFile, match="is being written by another run"), only_writer(other):
            pass
        first.kill()
        first.wait()
        with only_writer(other):
            pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["other", "real"]


@posix
def test_many_writers_never_write_at_once(tmp_path: Path) -> None:
    """Also at the moment when one deletes the lock that the next one has already opened."""
    script = """
import os, sys
from contextlib import suppress
from pathlib import Path
from denoise_cli.errors import UnwritableFile
from denoise_cli.temporary_files import only_writer

target, done = Path(sys.argv[1]), 0
while done < 300:
    try:
        with only_writer(target):
            os.close(os.open(target.with_name("inside"), os.O_CREAT | os.O_EXCL))
            target.with_name("inside").unlink()
            done += 1
    except UnwritableFile:
        pass
"""
    running = [subprocess.Popen([sys.executable, "-c", script, tmp_path / "clip.mp4"]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


@posix
def test_a_new_file_is_like_its_input_and_a_replaced_one_stays_as_it_is(old: Path) -> None:
    old.chmod(0o640)
    target = old.with_name("result.png")
    write_atomically(target, b"new", overwrite=False, like=old)
    assert mode(target) == 0o640
    target.chmod(0o600)
    write_atomically(target, b"newer", overwrite=True, like=old)
    assert mode(target) == 0o600


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="extended attributes are set by Python on Linux only")
def test_a_new_file_has_the_extended_attributes_of_its_input(old: Path) -> None:
    try:
        os.setxattr(old, "user.xdg.tags", b"holiday")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    write_atomically(old.with_name("result.png"), b"new", overwrite=False, like=old)
    assert os.getxattr(old.with_name("result.png"), "user.xdg.tags") == b"holiday"


@pytest.mark.parametrize("bits", [0o444, 0o400])
def test_a_read_only_file_is_not_replaced_even_when_asked(old: Path, bits: int) -> None:
    old.chmod(bits)
    for attempt in (lambda: check_target(old, overwrite=True), lambda: write_atomically(old, b"new", overwrite=True)):
        with pytest.raises(UnwritableFile) as error:
            attempt()
        reason = "is read-only, and is not replaced: make it writable first (chmod u+w)"
        assert str(error.value) == f"{old}: {reason}"
    assert old.read_bytes() == b"old"
    assert files(old.parent) == ["photo.png"]


@pytest.mark.parametrize("refused", ["chmod", "chown", "fsync", "setxattr"])
def test_what_a_file_system_does_not_offer_is_left_out(
    old: Path, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, refused, refuse, raising=False)
    write_atomically(old, b"new", overwrite=True)
    write_atomically(old.with_name("result.png"), b"newer", overwrite=False, like=old)
    assert old.read_bytes() == b"new"
    assert old.with_name("result.png").read_bytes() == b"newer"
    assert files(old.parent) == ["photo.png", "result.png"]


def test_a_disk_that_fails_is_told(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UnwritableFile, match="cannot write: Input/output error"):
        write_atomically(old, b"new", overwrite=True)


@posix
def test_what_killed_runs_have_left_is_swept_and_what_others_write_is_not(tmp_path: Path) -> None:
    hold = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'wb'); fcntl.flock(file, fcntl.LOCK_EX);"
        "print(flush=True); time.sleep(60)"
    )
    names = ".denoise-a", ".denoise-b", ".denoise-c", "d"
    stale, held, young, foreign = (tmp_path / f"{name}.part" for name in names)
    folder = tmp_path / ".denoise-e.parts"
    folder.mkdir()
    (folder / "weights").write_bytes(b"")
    for path in (stale, held, young, foreign):
        path.write_bytes(b"")
    with subprocess.Popen([sys.executable, "-c", hold, str(held)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        for path in (stale, held, foreign, folder):
            os.utime(path, (time.time() - 100, time.time() - 100))
        write_atomically(tmp_path / "photo.png", b"new", overwrite=False)
        writer.kill()
    assert files(tmp_path) == [held.name, young.name, foreign.name, "photo.png"]


@pytest.mark.skipif(os.name != "posix", reason="pipes, devices and links by name")
class TestWhatIsNoRegularFile:
    @pytest.fixture(params=["pipe", "socket", "link", "dangling link"])
    def odd(self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)  # the name of a socket must be short
        path, kept = Path("odd.png"), Path("kept.png")
        kept.write_bytes(b"kept")
        if request.param == "pipe":
            os.mkfifo(path)
        elif request.param == "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))
        else:
            path.symlink_to(kept if request.param == "link" else "nowhere.png")
        return path

    def test_is_not_replaced(self, odd: Path) -> None:
        before = odd.lstat()
        with pytest.raises(UnwritableFile, match="which is not replaced"):
            check_target(odd, overwrite=True)
        with pytest.raises(UnwritableFile, match="which is not replaced"):
            write_atomically(odd, b"new", overwrite=True)
        assert odd.lstat() == before
        assert Path("kept.png").read_bytes() == b"kept"
        assert {path.name for path in Path().iterdir()} == {"kept.png", "odd.png"}

    def test_devices_are_not_replaced(self) -> None:
        with pytest.raises(UnwritableFile, match="is a device, which is not replaced"):
            check_target(Path(os.devnull), overwrite=True)

    def test_pipes_and_devices_are_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(UnreadableFile, match="is a pipe, not a file"):
            read_regular(tmp_path / "pipe")
        with pytest.raises(UnreadableFile, match="is a device, not a file"):
            read_regular(Path("/dev/zero"))


def test_no_input_is_replaced_whatever_name_it_has(tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_bytes(b"input")
    os.link(one, other)
    with pytest.raises(UnwritableFile, match=f"{other}: is the input {one}: choose another name"):
        check_target(other, overwrite=True, inputs=[tmp_path / "missing", one])


def test_a_name_that_is_too_long_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnwritableFile, match="cannot write: File name too long"):
        check_target(tmp_path / ("n" * 300), overwrite=False)


def test_a_file_that_is_replaced_keeps_a_second_name(old: Path) -> None:
    backup = old.with_name("photo.png.orig")
    old.chmod(0o640)
    write_atomically(old, b"new", overwrite=False, backup=backup, modified=5)
    assert (old.read_bytes(), backup.read_bytes()) == (b"new", b"old")
    assert (mode(old), mode(backup)) == (0o640, 0o640)
    assert old.stat().st_mtime_ns == 5
    with pytest.raises(
        UnwritableFile, match=r"photo.png: not replaced: its backup .* exists already and holds something else"
    ):
        write_atomically(old, b"newer", overwrite=True, backup=backup)
    assert (old.read_bytes(), backup.read_bytes()) == (b"new", b"old")
    assert files(old.parent) == ["photo.png", "photo.png.orig"]


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("step", ["link", "copyfile", "fsync", "replace"])
def test_the_original_is_there_at_every_step(
    old: Path, step: str, has_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = old.with_name("photo.png.orig")

    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if not has_links:
            patch.setattr(os, "link", no_links)
        patch.setattr(shutil if step == "copyfile" else os, step, stop)
        with suppress(KeyboardInterrupt):
            write_atomically(old, b"new", overwrite=False, backup=backup)
    if old.read_bytes() == b"old":  # the run was stopped; what it has left is no obstacle
        write_atomically(old, b"new", overwrite=False, backup=backup)
    assert (old.read_bytes(), backup.read_bytes()) == (b"new", b"old")
    assert files(old.parent) == ["photo.png", "photo.png.orig"]


def test_a_backup_is_made_where_the_file_system_has_neither_links_nor_permissions(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    os.utime(old, (1e9, 1e9))
    backup = old.with_name("photo.png.orig")
    with monkeypatch.context() as patch:
        for name in ("link", "chmod", "chown", "setxattr"):
            patch.setattr(os, name, refuse, raising=False)
        write_atomically(old, b"new", overwrite=False, backup=backup)
    assert (old.read_bytes(), backup.read_bytes()) == (b"new", b"old")
    assert backup.stat().st_mtime == 1e9


@posix
@pytest.mark.parametrize("make", ["write", "folder"])
def test_a_signal_that_comes_while_another_is_obeyed_leaves_nothing(tmp_path: Path, make: str) -> None:
    script = """
import os, signal, sys
from contextlib import suppress
from pathlib import Path
from denoise_cli import files, temporary_files

def end(*_):
    sys.exit(143)

def strike(*_):
    os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGTERM, end)
remove, hits = temporary_files._remove, []
temporary_files._remove = lambda part: (hits or (hits.append(1), strike()), remove(part))
target = Path(sys.argv[1]) / "photo.png"
if sys.argv[2] == "write":
    os.fsync = strike
    files.write_atomically(target, b"new", overwrite=False)
else:
    with temporary_files.folder_beside(target) as folder:
        (folder / "part").touch()
        strike()
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path, make], check=False)
    assert done.returncode == 143
    assert files(tmp_path) == []
