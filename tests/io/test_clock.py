"""Clocks that start anywhere, jump back or run over; times in the results are told by ffmpeg and a box of the file."""

import struct
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io.boxes import boxes_of
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings
from tests.conftest import FFmpeg

AS_IT_IS = Settings("mallenet-s", strength=0, frames=1)
SOUND = ("-f", "lavfi", "-i", "sine=frequency=440:duration=0.8", "-shortest")
FRAME = Fraction(1, 25)


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", "cpu", "fp32")


def said_length(path: Path) -> float:
    """Of an MP4, in seconds, by its `mvhd`."""
    header = dict(boxes_of(dict(boxes_of(path.read_bytes()))[b"moov"]))[b"mvhd"]
    return float(Fraction(*reversed(struct.unpack_from(">II", header, 12))))


def near(times: list[Fraction], expected: list[Fraction]) -> bool:
    return len(times) == len(expected) and all(
        abs(a - b) < Fraction(1, 500) for a, b in zip(times, expected, strict=True)
    )


@pytest.mark.parametrize("extension", [".ts", ".m2ts", ".mpg", ".vob"])
@pytest.mark.parametrize("target", ["b.mp4", "b.mkv"])
def test_a_stream_that_starts_anywhere_starts_at_zero(
    extension: str, target: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = ffmpeg.make(tmp_path / f"a{extension}", *SOUND, "-output_ts_offset", "30000", frames=20)
    result = tmp_path / target
    assert pipeline.run(source, result, denoise, AS_IT_IS).notes == ()
    for kind in ("v:0", "a:0"):
        with av.open(str(source)) as clip:
            begin = Fraction(clip.start_time or 0, av.time_base)
        assert near(ffmpeg.times(result, kind)[:1], [ffmpeg.times(source, kind)[0] - begin])
    assert near([b - a for a, b in pairwise(ffmpeg.times(result))], [FRAME] * 19)
    if target == "b.mp4":
        assert said_length(result) < 1.1


@pytest.mark.parametrize("extension", [".ts", ".vob"])
@pytest.mark.parametrize("target", ["b.mp4", "b.mkv"])
def test_times_go_on_where_the_clock_jumps_back(
    extension: str, target: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    once = ffmpeg.make(tmp_path / f"once{extension}", *SOUND, "-g", "5", "-ar", "48000", frames=20)
    source, result = tmp_path / f"a{extension}", tmp_path / target
    source.write_bytes(once.read_bytes() * 3)
    run = pipeline.run(source, result, denoise, AS_IT_IS)
    assert run.notes == ("the clock jumps back 2 times: times go on from where they were",)
    assert near([b - a for a, b in pairwise(ffmpeg.times(result))], [FRAME] * 59)
    picture, sound = ffmpeg.times(once), ffmpeg.times(once, "a:0")
    apart, per_file = sound[0] - picture[0], len(sound)
    heard, seen = ffmpeg.times(result, "a:0"), ffmpeg.times(result)
    assert len(heard) == 3 * per_file
    for part in range(3):  # in step, to a packet of sound
        assert abs(heard[part * per_file] - seen[part * 20] - apart) < Fraction(25, 1000)


@pytest.mark.parametrize("target", ["b.mp4", "b.mkv"])
def test_no_frame_is_lost_where_the_clock_starts_again(
    target: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    wrap = 2**33 / 90000 - 0.4
    source = ffmpeg.make(
        tmp_path / "a.ts", *SOUND, "-muxdelay", "0", "-muxpreload", "0", "-output_ts_offset", f"{wrap:.3f}", frames=20
    )
    run = pipeline.run(source, tmp_path / target, denoise, AS_IT_IS)
    assert run.notes == ("the clock starts again at zero in the clip: times go on from where they were",)
    times = ffmpeg.times(tmp_path / target)
    assert 0 <= times[0] < FRAME
    assert near([b - a for a, b in pairwise(times)], [FRAME] * 19)
    assert len(ffmpeg.packets(tmp_path / target, "a:0")) == len(ffmpeg.packets(source, "a:0"))


@pytest.mark.parametrize("place", [3, 6, 10])
def test_a_pause_does_not_make_the_clip_longer(place: int, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    pause = f"setpts='(N+if(gt(N,{place}),75,0))/25/TB'"
    source = ffmpeg.make(tmp_path / "a.mp4", "-vf", pause, "-fps_mode", "passthrough", "-bf", "3", frames=12)
    target = tmp_path / "b.mp4"
    pipeline.run(source, target, denoise, AS_IT_IS)
    assert ffmpeg.times(target) == ffmpeg.times(source)
    assert said_length(target) == pytest.approx(float(ffmpeg.times(source)[-1] + FRAME), abs=0.002)


@pytest.mark.parametrize("target", ["b.mp4", "b.mov", "b.mkv"])
def test_dv_has_its_real_rate(target: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(
        tmp_path / "a.dv", "-f", "lavfi", "-i", "sine=sample_rate=48000:duration=0.2", "-ac", "2",
        "-pix_fmt", "yuv420p", size="720x576", frames=4,
    )  # fmt: skip
    pipeline.run(source, tmp_path / target, denoise, AS_IT_IS)
    assert ffmpeg.times(tmp_path / target) == ffmpeg.times(source)
    with av.open(str(tmp_path / target)) as clip:
        assert clip.streams.video[0].average_rate == 25


@pytest.mark.parametrize(("extension", "start"), [(".ts", 0.39), (".ts", 1.19), (".vob", 1.19)])
def test_a_cut_counts_times_on_where_the_clock_jumps_back(
    extension: str, start: float, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    once = ffmpeg.make(tmp_path / f"once{extension}", *SOUND, "-g", "5", "-ar", "48000", frames=20)
    source, target = tmp_path / f"a{extension}", tmp_path / "b.mkv"
    source.write_bytes(once.read_bytes() * 3)
    settings = Settings("mallenet-s", strength=0, frames=1, start=start, codec="ffv1", seconds=0.79)
    pipeline.run(source, target, denoise, settings)
    skipped = round(start / 0.04)
    every = [checksum for _, checksum in ffmpeg.frames(once)] * 3
    assert [checksum for _, checksum in ffmpeg.frames(target)] == every[skipped : skipped + 20]
    assert near([b - a for a, b in pairwise(ffmpeg.times(target))], [FRAME] * 19)
    heard = ffmpeg.times(target, "a:0")
    assert 0 <= heard[0] < Fraction(5, 100)
    assert Fraction(70, 100) < heard[-1] < Fraction(80, 100)
