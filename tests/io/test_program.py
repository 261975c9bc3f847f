"""The ffmpeg program."""

import os
import sys
from pathlib import Path

import pytest

from denoise_cli.io import program
from denoise_cli.io.program import run_ffmpeg


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes of this kind")
def test_a_program_that_writes_nothing_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "PATIENCE", 0.5)
    silent = tmp_path / "silent"
    os.mkfifo(silent)
    target = tmp_path / "out.mov"
    assert run_ffmpeg("-i", f"file:{silent}", f"file:{target}", target=target) == "no progress for 0.5 s"


def test_a_program_that_goes_on_may_take_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "PATIENCE", 3.0)
    target = tmp_path / "out.nut"
    slow = ("-re", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=7")  # as slowly as it is shown
    assert run_ffmpeg(*slow, "-c:v", "rawvideo", f"file:{target}", target=target) is None
    assert target.stat().st_size > 100 * 320 * 240
