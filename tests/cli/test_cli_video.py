import json
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

from denoise_cli.io import segments
from tests.cli.conftest import Cli
from tests.conftest import FFmpeg


@pytest.fixture
def clip(tmp_path: Path, ffmpeg: FFmpeg) -> Path:
    return ffmpeg.make(tmp_path / "clip.mp4", "-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac")


def test_a_clip_is_denoised_beside_the_source(cli: Cli, clip: Path, ffmpeg: FFmpeg) -> None:
    done = cli("video", clip, "--model", "mallenet-s", "--noise", "10", "--json")
    assert done.code == 0, done.err
    target = clip.with_name("clip-denoised.mp4")
    record = json.loads(done.out)
    assert record["target"] == str(target)
    assert record["frames"] == 8
    assert record["sigma"] == 10
    assert f"{clip} -> {target}: mallenet-s, noise 10.0, 8 frames" in done.err
    assert ffmpeg.times(target) == ffmpeg.times(clip)


def test_raw_frames_go_to_standard_output(tmp_path: Path, clip: Path, ffmpeg: FFmpeg) -> None:
    command = [
        sys.executable,
        "-m",
        "denoise_cli",
        "video",
        clip,
        "--model",
        "mallenet-s",
        "--strength",
        "0",
        "-o",
        "-",
    ]
    done = subprocess.run(command, capture_output=True, check=True)
    raw = tmp_path / "raw.y4m"
    raw.write_bytes(done.stdout)
    assert [checksum for _, checksum in ffmpeg.frames(raw)] == [checksum for _, checksum in ffmpeg.frames(clip)]


def test_a_dry_run_writes_nothing(cli: Cli, clip: Path) -> None:
    done = cli("video", clip, "--dry-run", "--codec", "hevc")
    target = clip.with_name("clip-denoised.mp4")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{clip} -> {target}: mallenet-v, libx265 in yuv420p\n"
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mp4"]
    assert cli("video", clip, "-o", clip, "--dry-run").code == 1


def test_a_dry_run_prints_json_if_asked(cli: Cli, clip: Path) -> None:
    done = cli("video", clip, "--dry-run", "--json")
    assert (done.code, done.err) == (0, "")
    record = json.loads(done.out)
    assert {name: value for name, value in record.items() if value is not None} == {
        "source": str(clip),
        "target": str(clip.with_name("clip-denoised.mp4")),
        "model": "mallenet-v",
        "codec": "libx264",
        "pixel_format": "yuv420p",
        "notes": [],
        "complete": True,
        "skipped": False,
        "dry_run": True,
    }


def test_a_preview(cli: Cli, clip: Path, ffmpeg: FFmpeg) -> None:
    target = clip.with_name("preview.mkv")
    done = cli("video", clip, "-o", target, "--model", "mallenet-s", "--start", "0.08", "--duration", "0.12", "-q")
    assert (done.code, done.err) == (0, "")
    assert ffmpeg.times(target) == [Fraction(0), Fraction(1, 25), Fraction(2, 25)]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--frames", "4"), "--frames 4: expected an odd number from 1 to 9"),
        (("--frames", "11"), "--frames 11: expected an odd number from 1 to 9"),
        (
            ("--codec", "h266"),
            "--codec h266: no such encoder is available: choose one of "
            + ", ".join(["libx264", "libx264rgb", "libx265", "libsvtav1", "libvpx-vp9"]),
        ),
        (
            ("--pix-fmt", "yuv411p"),
            "--pix-fmt yuv411p: not supported in mp4 by libx264 or libx264rgb or libx265 or libsvtav1 or libvpx-vp9",
        ),
        (("--crf", "99"), "--crf 99: libx264 takes 0 to 51"),
        (("--codec", "vp9", "--crf", "70"), "--crf 70: libvpx-vp9 takes 0 to 63"),
        (("--codec", "av1", "--preset", "slow"), "--preset slow: libsvtav1 takes " + ", ".join(map(str, range(14)))),
        (("--codec", "h264", "-o", "-"), "--codec h264: y4m on standard output is not compressed: try --format mkv"),
        (("--codec", "mpeg4", "--crf", "-1"), "--crf -1: mpeg4 has no such setting"),
        (("--codec", "mpeg4", "--crf", "20"), "--crf 20: mpeg4 has no such setting"),
        (("--noise", "loud"), "--noise loud: expected auto or a number from 0 to 255"),
        (
            ("-o", "clip.txt"),
            "clip.txt: expected a name that ends in .mp4, .m4v, .mov, .mkv, .webm, .gif, .png, .apng, .webp, .avif",
        ),
        (("-o", "-", "--resume"), "--resume: nothing is kept of what goes to standard output: name an output file"),
        (("-o", "-", "--format", "avi"), "--format avi: choose one of y4m, nut, mkv"),
        (("-o", "a.mkv", "--format", "mkv"), "--format mkv: only for standard output: leave it out, or write -o -"),
        (("-o", "-", "--json"), "--json and -o - both write to standard output: choose one"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(
    cli: Cli, clip: Path, options: tuple[str, ...], complaint: str
) -> None:
    done = cli("video", clip, "--model", "mallenet-s", *options)
    assert (done.code, done.err) == (2, f"denoise: {complaint}\n")
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mp4"]


def test_damage_is_said_in_one_line(cli: Cli, tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    source.write_bytes(b"nothing of the kind")
    done = cli("video", source, "--model", "mallenet-s")
    assert done.code == 1
    assert done.err == f"denoise: {source}: cannot be read as video (Invalid data found when processing input)\n"


WITH_SHORT_SEGMENTS = """
from denoise_cli.__main__ import main
from denoise_cli.io import segments

segments.SEGMENT_LENGTH = 20
main()
"""


def test_killed_and_resumed_it_gives_the_same_frames(
    cli: Cli, tmp_path: Path, ffmpeg: FFmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_LENGTH", 20)
    source = ffmpeg.make(tmp_path / "clip.mp4", "-vf", "noise=alls=20:allf=t", frames=50)
    whole, target = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    options = ("--model", "mallenet-s", "--noise", "20", "-q")
    assert cli("video", source, "-o", whole, *options).code == 0
    running = subprocess.Popen([sys.executable, "-c", WITH_SHORT_SEGMENTS, "video", source, "-o", target, *options])
    part = tmp_path / "out.mp4.parts" / "00000.part"
    for _ in range(600):
        if part.exists():
            break
        time.sleep(0.1)
    running.kill()
    running.wait()
    assert not target.exists()
    assert cli("video", source, "-o", target, *options, "--resume").code == 0
    assert ffmpeg.frames(target) == ffmpeg.frames(whole)


@pytest.mark.parametrize(("frames", "model"), [(5, "mallenet-v"), (3, "mallenet-v"), (1, "mallenet-s")])
def test_the_usual_model_is_one_for_as_many_frames(cli: Cli, clip: Path, frames: int, model: str) -> None:
    done = cli("video", clip, "--frames", frames, "--noise", "10", "--json", "-q")
    assert done.code == 0, done.err
    assert json.loads(done.out)["model"] == model


def test_a_clip_that_is_cut_off_is_written_and_ends_with_1(cli: Cli, tmp_path: Path, ffmpeg: FFmpeg) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", "-vf", "noise=alls=50:allf=t", "-g", "5", frames=40)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    done = cli("video", source, "--model", "mallenet-s", "--strength", "0", "--json")
    assert done.code == 1
    assert "of 1.6 s: it may be cut off" in done.err
    record = json.loads(done.out)
    assert record["complete"] is False
    assert Path(record["target"]).is_file()
