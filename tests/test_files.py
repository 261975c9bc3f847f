import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from denoise_cli.errors import UnwritableFile
from denoise_cli.files import write_atomically

posix = pytest.mark.skipif(os.name != "posix", reason="permission bits and SIGKILL are of POSIX")

OLD, NEW = b"old" * 1_000_000, b"new" * 1_500_000
REWRITE_FOREVER = """
import itertools, sys
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
    assert str(error.value) == f"{old}: exists already: use --overwrite to replace it"
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
    with pytest.raises(UnwritableFile, match="exists already"):
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
    assert str(error.value) == f"{target}: there is no folder {target.parent}: make it first"


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
