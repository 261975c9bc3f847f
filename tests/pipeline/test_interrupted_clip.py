"""Clips whose run is killed within a segment: what is denoised is kept, and the result is that of a run in one go."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.errors import UnwritableFile, UsageError
from denoise_cli.files import move_into_place
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import kept_frames, segments
from denoise_cli.io.video import Reader
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings
from denoise_cli.pipeline.frames import STEADY_FRAMES
from tests.conftest import FFmpeg

LENGTH = 11  # frames
SETTINGS = Settings("mallenet-s", sigma=20 / 255)
NOISE = ("-vf", "noise=alls=20:allf=t")

KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "h264": ("a.mp4", (*NOISE, "-c:v", "libx264", "-bf", "2")),
    "full range": ("a.avi", (*NOISE, "-c:v", "mjpeg")),
    "rgb": ("a.mkv", (*NOISE, "-c:v", "libx264rgb", "-pix_fmt", "rgb24")),
    "alpha": ("a.mkv", (*NOISE, "-c:v", "ffv1", "-pix_fmt", "yuva420p")),
    "rgb with alpha": ("a.mkv", (*NOISE, "-c:v", "ffv1", "-pix_fmt", "bgra")),
    "deep": ("a.mkv", (*NOISE, "-c:v", "ffv1", "-pix_fmt", "yuv422p12le")),
    "grey": ("a.mkv", (*NOISE, "-c:v", "ffv1", "-pix_fmt", "gray16le")),
    "variable": (
        "a.mp4",
        ("-vf", "noise=alls=20:allf=t,setpts='N*1001+if(mod(N,3),0,417)',settb=1/30000", "-fps_mode", "passthrough"),
    ),
    "animation": ("a.gif", NOISE),
}


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", "cpu", "fp32")


@pytest.fixture
def all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every frame is kept in a file of its own."""
    monkeypatch.setattr(kept_frames, "INTERVAL", 0.0)


class Killed(BaseException):
    """As final as a signal: nothing catches it."""


def killed_at(number: int) -> Callable[[int, float], None]:
    def progress(done: int, _share: float) -> None:
        if done == number:
            raise Killed

    return progress


class Counting:
    """A denoiser that counts the frames which it is given."""

    def __init__(self, denoise: Denoiser) -> None:
        self._denoise, self.calls = denoise, 0

    def __call__(self, *arguments: object, **options: object) -> NDArray[np.float32]:
        self.calls += 1
        return self._denoise(*arguments, **options)  # type: ignore[arg-type,return-value]

    def __getattr__(self, name: str) -> object:
        return getattr(self._denoise, name)


def kept(target: Path) -> int:
    """How many frames of the unfinished segment a run has left."""
    files = target.with_name(f"{target.name}.parts").glob("*.kept")
    total = 0
    for file in files:
        with Reader(file) as reader:
            total += sum(1 for _ in reader.frames())
    return total


@pytest.mark.usefixtures("all_kept")
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_killed_within_a_segment_goes_on_to_the_same_file(
    kind: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    name, options = KINDS[kind]
    source = ffmpeg.make(tmp_path / name, *options, frames=LENGTH)
    extension = ".gif" if kind == "animation" else ".mkv" if kind != "h264" else ".mp4"
    whole, target = tmp_path / f"whole{extension}", tmp_path / f"out{extension}"
    pipeline.run(source, whole, denoise, SETTINGS)
    with pytest.raises(Killed):
        pipeline.run(source, target, denoise, SETTINGS, progress=killed_at(7))
    left, counting = kept(target), Counting(denoise)
    assert 1 <= left <= 7

    result = pipeline.run(source, target, counting, SETTINGS, resume=True)  # type: ignore[arg-type]

    assert (result.frames, result.made) == (LENGTH, LENGTH - left)
    assert counting.calls <= LENGTH - left + STEADY_FRAMES // 2 + 2  # and those that steady the first
    assert ffmpeg.frames(target) == ffmpeg.frames(whole)
    assert same_bytes(target, whole)
    assert {path.name for path in tmp_path.iterdir()} == {name, whole.name, target.name}


def same_bytes(one: Path, other: Path) -> bool:
    """Whether two files are equal; Matroska has random numbers by which files are told apart."""
    if one.suffix != ".mkv":
        return one.read_bytes() == other.read_bytes()
    return one.stat().st_size == other.stat().st_size


@pytest.mark.usefixtures("all_kept")
def test_kills_again_and_again_change_nothing(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_LENGTH", 4)
    source = ffmpeg.make(tmp_path / "a.mp4", *NOISE, "-c:v", "libx264", "-bf", "2", frames=LENGTH)
    whole, target = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    pipeline.run(source, whole, denoise, SETTINGS)
    made = 0
    for attempt in count():
        before = made
        try:
            made = (pipeline.run(source, target, denoise, SETTINGS, resume=attempt > 0, progress=after(2))).frames or 0
            break
        except Killed:
            made = frames_left(target)
            assert made >= before
        assert attempt < 20
    assert attempt > 2
    assert made == LENGTH
    assert target.read_bytes() == whole.read_bytes()


def after(calls: int) -> Callable[[int, float], None]:
    """Kills a run at its so-manieth frame."""
    numbers: Iterator[int] = count(1)

    def progress(_done: int, _share: float) -> None:
        if next(numbers) > calls:
            raise Killed

    return progress


def frames_left(target: Path) -> int:
    parts = target.with_name(f"{target.name}.parts").glob("*.part")
    total = kept(target)
    for part in parts:
        with Reader(part) as reader:
            total += sum(1 for _ in reader.frames())
    return total


@pytest.mark.usefixtures("all_kept")
def test_what_is_kept_is_not_thrown_away_in_silence(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source, target = ffmpeg.make(tmp_path / "a.mp4", *NOISE), tmp_path / "b.mp4"
    with pytest.raises(Killed):
        pipeline.run(source, target, denoise, SETTINGS, progress=killed_at(5))
    assert pipeline.is_resumable(target)
    with pytest.raises(UsageError, match="left by an interrupted run: --resume continues it, --overwrite starts again"):
        pipeline.run(source, target, denoise, SETTINGS)
    assert pipeline.run(source, target, denoise, SETTINGS, overwrite=True).made == 8


@pytest.mark.usefixtures("all_kept")
def test_a_comparison_begins_with_what_is_kept(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source, both, target = ffmpeg.make(tmp_path / "a.mp4", *NOISE), tmp_path / "both.mp4", tmp_path / "b.mp4"
    pipeline.run(source, tmp_path / "whole.mp4", denoise, SETTINGS, compare=both)
    with pytest.raises(Killed):
        pipeline.run(source, target, denoise, SETTINGS, progress=killed_at(6))
    pipeline.run(source, target, denoise, SETTINGS, resume=True, compare=tmp_path / "again.mp4")
    assert ffmpeg.frames(tmp_path / "again.mp4") == ffmpeg.frames(both)


def test_nothing_is_kept_of_segments_that_take_less_than_a_file_is_about(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_LENGTH", 4)
    monkeypatch.setattr(kept_frames, "INTERVAL", 1e9)
    source, target = ffmpeg.make(tmp_path / "a.mp4", *NOISE), tmp_path / "b.mp4"
    seen: list[Sequence[str]] = []

    def look(_done: int, _share: float) -> None:
        seen.append([path.name for path in (tmp_path / "b.mp4.parts").glob("keep*")])

    pipeline.run(source, target, denoise, SETTINGS, progress=look)
    assert seen[-1] == []


@pytest.mark.usefixtures("all_kept")
def test_a_full_disk_costs_no_more_than_a_kill(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = ffmpeg.make(tmp_path / "a.mp4", *NOISE), tmp_path / "b.mp4"
    writes = count(1)

    class Filling(kept_frames.Writer):
        def write(self, frame: object) -> None:
            if next(writes) == 4:
                raise UnwritableFile(self.path, "cannot be written (No space left on device)")
            super().write(frame)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(kept_frames, "Writer", Filling)
        with pytest.raises(UnwritableFile, match=r"b\.mp4: cannot be written \(No space left on device\)"):
            pipeline.run(source, target, denoise, SETTINGS)
    assert kept(target) == 3
    assert pipeline.run(source, target, denoise, SETTINGS, resume=True).made == 5


def test_a_finished_run_is_not_continued(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source, target = ffmpeg.make(tmp_path / "a.mp4", frames=2), tmp_path / "b.mp4"
    assert pipeline.run(source, target, denoise, SETTINGS, resume=True).made == 2
    with pytest.raises(UnwritableFile, match=r"b\.mp4: already exists, and there is no interrupted run to"):
        pipeline.run(source, target, denoise, SETTINGS, resume=True)
    assert pipeline.run(source, target, denoise, SETTINGS, overwrite=True, resume=True).made == 2


def test_an_interruption_after_the_result_has_its_name_leaves_no_segments(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        move_into_place(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    source = ffmpeg.make(tmp_path / "a.mp4", frames=2)
    monkeypatch.setattr(segments, "move_into_place", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(source, tmp_path / "b.mp4", denoise, SETTINGS)
    assert ffmpeg.frames(tmp_path / "b.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
