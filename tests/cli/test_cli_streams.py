"""Closed and full standard streams, and file names that a terminal would obey: one line each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from denoise_cli.cli.console import harmless

pytestmark = pytest.mark.skipif(os.name != "posix", reason="shells elsewhere cannot close a stream")


def run(arguments: str) -> tuple[int, str]:
    """The exit code of a command line for a shell, and what it says on standard error."""
    command = f"{sys.executable} -m denoise_cli {arguments}"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(["sh", "-c", command], check=False, stderr=subprocess.PIPE, text=True, env=buffered)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--version >&-", "standard output: cannot write: Bad file descriptor"),
        ("image - -o result.png <&-", "standard input: cannot read: Bad file descriptor"),
    ],
)
def test_a_closed_stream_is_named_in_a_line(arguments: str, line: str) -> None:
    assert run(arguments) == (1, f"denoise: {line}\n")


def test_results_without_standard_error_are_still_results() -> None:
    assert run("--version >/dev/null 2>&-")[0] == 0


def test_without_standard_streams_workers_write_to_no_file_but_their_own(photos: Path, tmp_path: Path) -> None:
    options = "--model mallenet-s --noise 20 --device cpu --workers 2"
    assert run(f"image {photos} -o {tmp_path}/out/ {options} <&- >&- 2>&-") == (0, "")
    for name in ("0.png", "1.png"):
        with Image.open(tmp_path / "out" / name) as result:
            assert result.size == (160, 128)
            result.load()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("arguments", ["--version", "--help", "models", "models --json"])
def test_a_full_device_is_named_in_a_line(arguments: str) -> None:
    code, said = run(f"{arguments} >/dev/full")
    assert code == 1
    assert said.startswith("denoise: standard output: ")
    assert said.endswith("No space left on device\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b[31mb\nc\rd.jpg", r"a\x1b[31mb\nc\rd.jpg"),
        ("\x9b2J\u2028\u202egpj.exe", r"\x9b2J\u2028\u202egpj.exe"),
        ("\udcff.jpg", r"\udcff.jpg"),
        ("Grün 日本 🌄.jpg", "Grün 日本 🌄.jpg"),
    ],
)
def test_names_are_shown_harmless(name: str, shown: str) -> None:
    assert harmless(name) == shown
