"""`denoise video` between two programs."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import FFmpeg

PHOTO_MODEL = ("--model", "mallenet-s")
Y4M = ("-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe")
NUT = ("-pix_fmt", "yuva420p", "-c:v", "rawvideo", "-f", "nut")


TAKEN = (
    "standard input takes YUV4MPEG2, NUT or Matroska: name the file instead of -, or pipe a clip into it, as in  "
    "ffmpeg -i FILE -c:v rawvideo -f nut - | denoise video -"
)


def command(*options: object) -> list[str]:
    return [sys.executable, "-m", "denoise_cli", "video", "-", *map(str, options)]


@pytest.mark.parametrize("kind", [Y4M, NUT])
def test_between_two_programs(kind: tuple[str, ...], tmp_path: Path, ffmpeg: FFmpeg) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", kind[1])
    target = tmp_path / "b.mkv"
    read = [ffmpeg.program, "-v", "error", "-i", source, *kind, "-"]
    write = [ffmpeg.program, "-v", "error", "-i", "-", "-c:v", "ffv1", target]
    with subprocess.Popen(read, stdout=subprocess.PIPE) as before:
        ours = command("-o", "-", *PHOTO_MODEL, "--strength", "0", "--frames", "1")
        with subprocess.Popen(ours, stdin=before.stdout, stdout=subprocess.PIPE) as denoise:
            assert before.stdout is not None
            before.stdout.close()
            subprocess.run(write, stdin=denoise.stdout, check=True)
    assert (before.returncode, denoise.returncode) == (0, 0)
    assert ffmpeg.frames(target) == ffmpeg.frames(source)


def test_the_first_frame_comes_before_the_last_is_known(tmp_path: Path, ffmpeg: FFmpeg) -> None:
    for name, kind in (("a.y4m", Y4M), ("a.nut", NUT)):
        data = ffmpeg.make(tmp_path / name, "-vf", "noise=alls=20:allf=t", *kind, frames=16).read_bytes()
        ours = command("-o", "-", *PHOTO_MODEL, "--noise", "10")
        with subprocess.Popen(ours, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as denoise:
            assert denoise.stdin is not None
            assert denoise.stdout is not None
            denoise.stdin.write(data)
            denoise.stdin.flush()
            assert len(denoise.stdout.read(10000)) == 10000  # standard input is still open
            denoise.stdin.close()
            denoise.stdout.read()
        assert denoise.returncode == 0


@pytest.mark.parametrize("kind", ["y4m", "nut", "mkv"])
def test_a_reader_that_stops_ends_the_run_without_a_word(kind: str, tmp_path: Path, ffmpeg: FFmpeg) -> None:
    data = ffmpeg.make(tmp_path / "a.y4m", "-vf", "noise=alls=80:allf=t", *Y4M, frames=60).read_bytes()
    ours = command("-o", "-", "--format", kind, *PHOTO_MODEL, "--strength", "0", "--frames", "1", "-q")
    with subprocess.Popen(ours, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as denoise:
        assert denoise.stdin is not None
        assert denoise.stdout is not None
        assert denoise.stderr is not None
        denoise.stdout.close()
        with suppress(BrokenPipeError):  # if the run has ended
            denoise.stdin.write(data)  # and stays open: the run does not wait for more
            denoise.stdin.flush()
        assert denoise.wait(300) == 141
        assert denoise.stderr.read() == b""
        with suppress(BrokenPipeError):
            denoise.stdin.close()


def test_memory_does_not_grow_with_the_clip(tmp_path: Path, ffmpeg: FFmpeg) -> None:
    data = ffmpeg.make(tmp_path / "a.y4m", *Y4M, size="160x90", frames=50).read_bytes()
    first, _, frames = data.partition(b"\n")

    def peak(times: int) -> int:
        ours = command("-o", "-", *PHOTO_MODEL, "--strength", "0", "-q")
        denoise = subprocess.Popen(ours, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert denoise.stdin is not None
        with denoise.stdin:
            denoise.stdin.write(first + b"\n")
            for _ in range(times):
                denoise.stdin.write(frames)
        _, status, usage = os.wait4(denoise.pid, 0)
        denoise.returncode = os.waitstatus_to_exitcode(status)
        assert denoise.returncode == 0
        return usage.ru_maxrss

    assert peak(20) == pytest.approx(peak(2), rel=0.05)


def test_what_is_cut_off_is_written_and_ends_with_1(tmp_path: Path, ffmpeg: FFmpeg) -> None:
    data = ffmpeg.make(tmp_path / "a.y4m", *Y4M).read_bytes()
    ours = command("-o", "-", *PHOTO_MODEL, "--strength", "0", "--frames", "1")
    done = subprocess.run(ours, input=data[:-100], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stdout == data[: len(done.stdout)]
    assert data[len(done.stdout) :].startswith(b"FRAME\n")
    assert done.stderr.decode().splitlines()[-1].endswith("the clip ends at 0.3 s: it may be cut off")


def test_a_dry_run_reads_nothing(tmp_path: Path, ffmpeg: FFmpeg) -> None:
    source = ffmpeg.make(tmp_path / "a.y4m", *Y4M)
    with source.open("rb") as stdin:
        done = subprocess.run(command("-o", "b.mkv", "--dry-run"), stdin=stdin, capture_output=True, check=True)
        assert os.lseek(stdin.fileno(), 0, os.SEEK_CUR) == 0
    assert done.stdout.decode() == (
        "- -> b.mkv: mallenet-vr; how it is encoded depends on frames, and none are read now\n"
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), f"a clip from standard input needs a target: add -o FILE, or -o - for standard output; {TAKEN}"),
        (
            ("-o", "b.mkv", "--resume"),
            "--resume: a clip from standard input cannot be read again: leave out --resume",
        ),
    ],
)
def test_what_a_pipe_cannot_do_is_said_in_one_line(options: tuple[str, ...], complaint: str) -> None:
    done = subprocess.run(command(*options), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"denoise: {complaint}\n")


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_is_told_what_is_expected() -> None:
    ours, terminal = os.openpty()
    done = subprocess.run(command("-o", "b.mkv"), stdin=terminal, capture_output=True, text=True, check=False)
    os.close(ours)
    os.close(terminal)
    assert (done.returncode, done.stderr) == (2, f"denoise: -: is a terminal: {TAKEN}\n")
