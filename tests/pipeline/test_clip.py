"""Clips from file to file; what is in the results is told by the ffmpeg program."""

import json
import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from denoise_cli.errors import UnreadableFile, UnwritableFile, UsageError
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import segments
from denoise_cli.io.encode import Encoding
from denoise_cli.io.mux import join
from denoise_cli.io.video import Reader
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings
from denoise_cli.pipeline.clip_targets import extension_for
from tests.conftest import FFmpeg

SOUND = ("-f", "lavfi", "-i", "sine=frequency=440:duration=1")
TAGS = ("color_range", "color_primaries", "color_trc", "colorspace")


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", "cpu", "fp32")


def tags(path: Path) -> dict[str, object]:
    """What says how a clip's samples are to be shown."""
    with Reader(path) as clip:
        frame = next(iter(clip.frames())).picture
        return {tag: getattr(frame, tag) for tag in TAGS} | {
            "size": (frame.width, frame.height),
            "format": frame.format.name,
            "aspect": clip.stream.sample_aspect_ratio or 1,
            "rotation": frame.rotation,
        }


CLIPS: dict[str, tuple[str, tuple[object, ...]]] = {
    "plain": ("a.mp4", ()),
    "b-frames": ("a.mp4", ("-c:v", "libx264", "-bf", "3")),
    "odd": ("a.mp4", ("-vf", "format=yuv444p,crop=53:37", "-pix_fmt", "yuv420p", "-c:v", "mpeg4")),
    "odd vp9": ("a.webm", ("-vf", "format=yuv444p,crop=53:37", "-pix_fmt", "yuv420p", "-c:v", "libvpx-vp9")),
    "coarse": (
        "a.mp4",
        ("-vf", "settb=1/25,setpts=N+5", "-fps_mode", "passthrough", "-c:v", "libx264", "-bf", "3",
         "-video_track_timescale", "25"),
    ),
    "avi": ("a.avi", ("-c:v", "mpeg4", "-bf", "2")),
    "avi of h264": ("a.avi", ("-c:v", "libx264", "-bf", "3")),
    "ntsc": ("a.mov", ("-r", "30000/1001")),
    "variable": ("a.mp4", ("-vf", "setpts='N*1001+if(mod(N,3),0,417)',settb=1/30000", "-fps_mode", "passthrough")),
    "late": ("a.mkv", ("-vf", "setpts=PTS+2.5/TB", "-fps_mode", "passthrough")),
    "ten bits": ("a.mkv", ("-c:v", "libx264", "-pix_fmt", "yuv420p10le")),
    "hevc": ("a.mp4", ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=error")),
    "4:2:2": ("a.mov", ("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le")),
    "4:4:4": ("a.mkv", ("-c:v", "libx264", "-pix_fmt", "yuv444p")),
    "grey": ("a.mkv", ("-c:v", "ffv1", "-pix_fmt", "gray")),
    "rgb": ("a.mkv", ("-c:v", "ffv1", "-pix_fmt", "gbrp10le")),
    "full": ("a.mp4", ("-vf", "scale=out_range=pc", "-color_range", "pc", "-pix_fmt", "yuv420p")),
    "jpeg": ("a.avi", ("-c:v", "mjpeg")),
    "hlg": (
        "a.mp4",
        ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-color_primaries", "bt2020", "-color_trc", "arib-std-b67",
         "-colorspace", "bt2020nc", "-color_range", "tv", "-x265-params", "log-level=error"),
    ),
    "wide": ("a.mp4", ("-vf", "setsar=16/11")),
    "wide ffv1": ("a.mkv", ("-vf", "setsar=4/3", "-c:v", "ffv1", "-pix_fmt", "yuv420p")),
    "wide prores": ("a.mov", ("-vf", "setsar=12/11", "-c:v", "prores_ks", "-pix_fmt", "yuv422p10le")),
    "wide vp9": ("a.webm", ("-vf", "setsar=2", "-c:v", "libvpx-vp9")),
    "vp9": ("a.webm", ("-c:v", "libvpx-vp9")),
    "av1": ("a.mkv", ("-c:v", "libaom-av1", "-cpu-used", "8")),
}  # fmt: skip


@pytest.mark.parametrize("kind", CLIPS)
def test_frames_times_and_tags_stay(kind: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    name, options = CLIPS[kind]
    source = ffmpeg.make(tmp_path / name, *options)
    target = tmp_path / f"out{extension_for(source)}"
    result = pipeline.run(source, target, denoise, Settings("mallenet-s", sigma=10 / 255))
    assert (result.frames, result.made) == (8, 8)
    assert ffmpeg.times(target) == ffmpeg.times(source)
    # H.264 has no odd sides where one colour stands for two pixels.
    changed = {"jpeg": {"format": "yuvj420p"}, "odd": {"format": "yuv444p"}}
    assert tags(target) == tags(source) | changed.get(kind, {})


@pytest.mark.parametrize(
    "form", ["yuv420p", "yuv422p10le", "yuv444p12le", "gray", "gray16le", "gbrp10le", "yuv410p", "yuva420p"]
)
def test_without_strength_every_sample_stays(form: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", form, size="98x66")
    target = tmp_path / "b.mkv"
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0))
    assert ffmpeg.frames(target) == ffmpeg.frames(source)


def test_noise_goes(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    lossless = ("-c:v", "ffv1", "-pix_fmt", "yuv420p")
    dim, noise = "lutyuv=y=64+val/4", "noise=alls=30:allf=t"  # far from black and white, where noise would be cut off
    clean = ffmpeg.make(tmp_path / "clean.mkv", "-vf", dim, *lossless, frames=3)
    noisy = ffmpeg.make(tmp_path / "noisy.mkv", "-vf", f"{dim},{noise}", *lossless, frames=3)
    target = tmp_path / "out.mkv"
    result = pipeline.run(noisy, target, denoise, Settings("mallenet-s"))
    with Reader(clean) as first, Reader(noisy) as second:
        truth, seen = (next(iter(clip.frames())).planes[0].astype(float) for clip in (first, second))
    # Of the mean of three channels, each with noise of its own.
    assert result.sigma == pytest.approx((seen - truth).std() * 255 / 219 * 3**0.5, rel=0.2)
    assert difference(target, clean) < 0.7 * difference(noisy, clean)


def difference(one: Path, other: Path) -> float:
    total = 0.0
    with Reader(one) as first, Reader(other) as second:
        for a, b in zip(first.frames(), second.frames(), strict=True):
            total += sum(abs(x.astype(float) - y).mean() for x, y in zip(a.planes, b.planes, strict=True))
    return total


def test_a_picture_that_is_turned_stays_turned(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    upright = ffmpeg.make(tmp_path / "a.mp4")
    source, target = tmp_path / "turned.mp4", tmp_path / "out.mp4"
    ffmpeg("-display_rotation", 90, "-i", upright, "-c", "copy", source)
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0))
    assert tags(source)["rotation"] == 90
    assert tags(target) == tags(source)


@pytest.mark.parametrize("extension", [".mp4", ".mkv", ".mov"])
def test_all_other_streams_are_copied_bit_for_bit(
    extension: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    words = tmp_path / "words.srt"
    words.write_text("1\n00:00:00,000 --> 00:00:00,200\nHello\n")
    source, target = tmp_path / f"a{extension}", tmp_path / f"b{extension}"
    subtitles = "srt" if extension == ".mkv" else "mov_text"
    maps = [word for stream in ("1:a", "0:v", "2:s", "1:a") for word in ("-map", stream)]
    ffmpeg.make(
        source, *SOUND, "-i", words, *maps, "-c:a:0", "aac", "-c:a:1", "flac" if extension == ".mkv" else "alac",
        "-c:s", subtitles, "-metadata", "title=A test", "-metadata:s:a:0", "language=deu",
        "-disposition:a:1", "default",
    )  # fmt: skip
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0))
    with Reader(source) as before, Reader(target) as after:
        assert [kind for kind, _ in before.streams] == ["audio", "video", "subtitle", "audio"]
        assert after.streams == before.streams
        assert after.stream.container.metadata["title"] == "A test"
        assert after.stream.container.streams[0].language == before.stream.container.streams[0].language
        dispositions = [[s.disposition for s in clip.stream.container.streams] for clip in (before, after)]
        assert dispositions[0] == dispositions[1]
    for stream in ("a:0", "a:1", "s:0"):
        assert ffmpeg.packets(target, stream) == ffmpeg.packets(source, stream)


def test_one_frame_is_a_clip(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4", frames=1)
    assert pipeline.run(source, tmp_path / "b.mp4", denoise, Settings("mallenet-s")).frames == 1


def test_a_part_of_a_clip_has_its_own_sound(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4", *SOUND, "-c:a", "aac", frames=25)
    target = tmp_path / "b.mp4"
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0, start=0.4, seconds=0.2))
    times = ffmpeg.times(target)
    assert len(times) == 5
    assert times[0] == 0
    whole, part = ffmpeg.packets(source, "a:0"), ffmpeg.packets(target, "a:0")
    assert len(part) == 8  # of 1024 samples, 23 ms
    assert part[:-1] == whole[19:26]  # the last is marked as cut


def test_interlaced_clips_are_told_and_can_be_made_whole(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(
        tmp_path / "a.mp4", "-vf", "tinterlace=interleave_top", "-c:v", "libx264", "-flags", "+ilme+ildct", frames=6
    )
    plain = pipeline.run(source, tmp_path / "b.mp4", denoise, Settings("mallenet-s", strength=0))
    assert plain.notes == ("interlaced: --deinterlace combines fields into whole frames",)
    whole = pipeline.run(source, tmp_path / "c.mp4", denoise, Settings("mallenet-s", strength=0, deinterlace=True))
    assert whole.notes == ()
    assert ffmpeg.times(tmp_path / "c.mp4") == ffmpeg.times(source)


@pytest.mark.parametrize("deinterlace", [False, True])
def test_fields_that_begin_later_are_named(
    deinterlace: bool, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    whole = ffmpeg.make(tmp_path / "a.ts", "-c:v", "libx264", frames=4)
    look = ("-vf", "tinterlace=interleave_top", "-c:v", "libx264", "-flags", "+ilme+ildct", "-x264-params", "tff=1")
    fields = ffmpeg.make(tmp_path / "b.ts", *look, frames=4)
    (tmp_path / "both.ts").write_bytes(whole.read_bytes() + fields.read_bytes())
    settings = Settings("mallenet-s", strength=0, deinterlace=deinterlace)
    result = pipeline.run(tmp_path / "both.ts", tmp_path / "c.mkv", denoise, settings)
    assert result.frames > 4
    named = [note for note in result.notes if note.startswith("fields, which begin at 0.2 s, are no longer marked")]
    assert len(named) == (0 if deinterlace else 1)


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_LENGTH", 3)


def stop_at(number: int) -> Callable[[int, float], None]:
    def progress(done: int, _share: float) -> None:
        if done == number:
            raise KeyboardInterrupt

    return progress


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("kills", [(1,), (3,), (4,), (4, 7), (8,)])
def test_an_interrupted_run_goes_on_to_the_same_result(
    kills: tuple[int, ...], tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4", *SOUND, "-vf", "noise=alls=20:allf=t", "-c:v", "libx264", "-bf", "2")
    whole, target = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    settings = Settings("mallenet-s")
    pipeline.run(source, whole, denoise, settings)
    for place, kill in enumerate(kills):
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(source, target, denoise, settings, resume=place > 0, progress=stop_at(kill))
        assert not target.exists()
    pipeline.run(source, target, denoise, settings, resume=True)
    assert ffmpeg.frames(target) == ffmpeg.frames(whole)
    assert ffmpeg.packets(target, "a:0") == ffmpeg.packets(whole, "a:0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "out.mp4", "whole.mp4"]


@pytest.mark.usefixtures("short_segments")
def test_what_an_interrupted_run_has_left_is_not_thrown_away_in_silence(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source, target = ffmpeg.make(tmp_path / "a.mp4"), tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(source, target, denoise, Settings("mallenet-s"), progress=stop_at(5))
    with pytest.raises(UsageError, match="left by an interrupted run: --resume continues it, --overwrite starts again"):
        pipeline.run(source, target, denoise, Settings("mallenet-s"))
    with pytest.raises(
        UsageError, match="left by a run with another source or other settings: --overwrite starts again"
    ):
        pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0.5), resume=True)
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0.5), overwrite=True)
    assert target.exists()


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("change", ["version", "settings", "damage"])
def test_what_another_version_has_left_is_told(change: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source, target = ffmpeg.make(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(source, target, denoise, Settings("mallenet-s"), progress=stop_at(5))
    plan_file = tmp_path / "b.mp4.parts" / "plan.json"
    plan = json.loads(plan_file.read_text())
    plan["version"] = "0.0.1" if change == "version" else plan["version"]
    if change == "settings":  # an option that did not exist then
        del plan["settings"]["drop_data"]
    plan_file.write_text("{" if change == "damage" else json.dumps(plan))
    with pytest.raises(UsageError, match="left by a run of another version, which cannot be continued: --overwrite"):
        pipeline.run(source, target, denoise, Settings("mallenet-s"), resume=True)
    assert (tmp_path / "b.mp4.parts" / "00000.part").exists()


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_a_second_run_on_one_output_is_refused_and_the_first_goes_on(
    options: dict[str, bool], tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source, target, compared = ffmpeg.make(tmp_path / "a.mp4"), tmp_path / "b.mp4", tmp_path / "c.mp4"
    refused: list[str] = []

    def second(done: int, _share: float) -> None:
        if done not in (1, 5):
            return
        for name, compare in ((target, None), (tmp_path / "d.mp4", compared)):
            with pytest.raises(UnwritableFile, match="is being written by another run") as error:
                pipeline.run(source, name, denoise, Settings("mallenet-s"), compare=compare, **options)
            refused.append(str(error.value).partition(":")[0])
        with pytest.raises(UnwritableFile, match="is being written by another run"):
            pipeline.preview(source, target, Settings("mallenet-s"))

    result = pipeline.run(source, target, denoise, Settings("mallenet-s"), compare=compared, progress=second)
    assert (result.frames, refused) == (8, [str(target), str(compared)] * 2)
    assert ffmpeg.times(target) == ffmpeg.times(source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "c.mp4"]


def test_parts_do_not_show_in_the_times(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part's encoder begins with frames that are far apart, or near; packets must be due in order all the same."""
    spread = "setpts='if(mod(N,7),N*100+N*N*40,N*100+N*N*40-35)',settb=1/1000"
    source = ffmpeg.make(tmp_path / "a.mkv", "-vf", spread, "-fps_mode", "passthrough", "-bf", "3", frames=40)
    target = tmp_path / "b.mkv"
    monkeypatch.setattr(segments, "SEGMENT_LENGTH", 7)
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0))
    assert ffmpeg.times(target) == ffmpeg.times(source)
    with av.open(str(target)) as opened:
        due = [packet.dts for packet in opened.demux(video=0) if packet.dts is not None]
    assert all(one < next_ for one, next_ in pairwise(due))


def test_a_stream_that_the_container_cannot_hold_is_named(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", *SOUND, "-c:a", "pcm_s24le")
    with pytest.raises(UnwritableFile, match=r"b\.webm: cannot hold track 1 \(audio, pcm_s24le\) \(Only VP8 or VP9"):
        pipeline.run(source, tmp_path / "b.webm", denoise, Settings("mallenet-s"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv"]


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("a.mp4", None, "does not exist"),
        ("a.mp4", b"", "cannot be read as video"),
        ("a.mp4", b"not a clip" * 100, "cannot be read as video"),
    ],
)
def test_what_is_no_clip_is_refused(
    name: str, data: bytes | None, complaint: str, tmp_path: Path, denoise: Denoiser
) -> None:
    source = tmp_path / name
    if data is not None:
        source.write_bytes(data)
    with pytest.raises(UnreadableFile, match=complaint):
        pipeline.run(source, tmp_path / "b.mp4", denoise, Settings("mallenet-s"))
    assert not (tmp_path / "b.mp4").exists()


def test_sound_alone_is_no_clip(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    ffmpeg(*SOUND, tmp_path / "a.m4a")
    with pytest.raises(UnreadableFile, match="holds no video"):
        pipeline.run(tmp_path / "a.m4a", tmp_path / "b.mp4", denoise, Settings("mallenet-s"))


def test_targets_that_would_do_harm_are_refused(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4")
    before = source.read_bytes()
    (tmp_path / "folder").mkdir()
    (tmp_path / "b.mp4").write_bytes(b"precious")
    for target, complaint in (
        (source, "is the input itself"),
        (tmp_path / "folder", "is a folder"),
        (tmp_path / "b.mp4", "already exists"),
        (tmp_path / "none" / "b.mp4", "there is no folder"),
    ):
        with pytest.raises(UnwritableFile, match=complaint):
            pipeline.run(source, target, denoise, Settings("mallenet-s"))
    with pytest.raises(UsageError, match="expected a name that ends in"):
        pipeline.run(source, tmp_path / "b.txt", denoise, Settings("mallenet-s"))
    assert source.read_bytes() == before
    assert (tmp_path / "b.mp4").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "name", ["12:30:00.mp4", "-dash.mp4", "100%d.mp4", "a?b&c#d.mp4", "späß 雪.mp4", "concat:x.mp4"]
)
def test_names_are_names_whatever_is_in_them(
    name: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ffmpeg.make(tmp_path / "plain.mp4").rename(name)
    pipeline.run(Path(name), Path(f"{name}-out.mp4"), denoise, Settings("mallenet-s", strength=0))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name}-out.mp4"])


@pytest.mark.parametrize("rate", ["30", "24000/1001"])
@pytest.mark.parametrize("extension", [".ts", ".mp4"])
def test_no_first_frame_is_lost_to_rounding(
    rate: str, extension: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    for ticks in (1, 100, 123457, 132000):
        late = f"setpts=PTS+{ticks}/90000/TB"
        source = ffmpeg.make(
            tmp_path / f"a{extension}", "-vf", f"settb=1/90000,{late}", "-fps_mode", "passthrough", frames=4, rate=rate
        )
        target = tmp_path / "b.mp4"
        assert pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0), overwrite=True).frames == 4
        times = ffmpeg.times(source)
        # Transport streams start anywhere.
        assert ffmpeg.times(target) == [time - (times[0] if extension == ".ts" else 0) for time in times]


def test_sound_and_picture_stay_together_where_no_frame_is_at_the_cut(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    """Frames at 0, 0.25, 0.5 ...; cut at 0.3, the first one is that of 0.5, and so is the sound."""
    source = ffmpeg.make(tmp_path / "a.mov", "-f", "lavfi", "-i", "anoisesrc=duration=2", "-c:a", "pcm_s16le", rate="4")
    target = tmp_path / "b.mov"
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0, start=0.3))
    assert ffmpeg.times(target)[0] == 0
    whole, part = ffmpeg.frames(source, "a:0"), ffmpeg.frames(target, "a:0")
    offset = next(time for time, checksum in whole if checksum == part[0][1])
    assert abs(offset - part[0][0] - Fraction(1, 2)) < Fraction(1, 1000)


def test_damaged_packets_are_left_out_and_counted(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", "-c:v", "ffv1", "-slicecrc", "1", frames=6)
    with av.open(str(source)) as opened:
        fourth = [packet.pos for packet in opened.demux(video=0) if packet.size][3]
    data = bytearray(source.read_bytes())
    data[fourth + 20 : fourth + 60] = bytes(40)
    source.write_bytes(data)
    result = pipeline.run(source, tmp_path / "b.mkv", denoise, Settings("mallenet-s", strength=0))
    assert result.frames >= 5
    assert result.notes == (() if result.frames == 6 else ("left out 1 damaged packets",))


@pytest.mark.parametrize(
    ("target", "settings"),
    [("b.webm", {"codec": "h264"}), ("b.mp4", {"codec": "prores"}), ("b.mp4", {"codec": "aac"}),
     ("b.mp4", {"codec": "vc1"}), ("b.mp4", {"codec": "rawvideo"}), ("b.mp4", {"preset": "bogus"})],
)  # fmt: skip
def test_encoders_that_do_not_fit_are_a_mistake_of_the_command_line(
    target: str, settings: dict[str, str], tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4")
    with pytest.raises(UsageError):
        pipeline.run(source, tmp_path / target, denoise, Settings("mallenet-s", **settings))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_hevc_is_what_apples_programs_play(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    target = tmp_path / "b.mov"
    pipeline.run(ffmpeg.make(tmp_path / "a.mp4"), target, denoise, Settings("mallenet-s", strength=0, codec="hevc"))
    with av.open(str(target)) as opened:
        assert opened.streams.video[0].codec_context.codec_tag == "hvc1"


def test_chapters_and_the_cover_stay(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    words, cover, source, target = (tmp_path / name for name in ("chapters.txt", "cover.png", "a.mp4", "b.mp4"))
    words.write_text(";FFMETADATA1\n" + "".join(
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={start + 160}\ntitle=Part {start}\n" for start in (0, 160)
    ))  # fmt: skip
    ffmpeg.make(cover, frames=1)
    ffmpeg.make(tmp_path / "plain.mp4")
    ffmpeg(
        "-i", tmp_path / "plain.mp4", "-i", cover, "-i", words, "-map", "0", "-map", "1", "-map_metadata", "2",
        "-c", "copy", "-disposition:v:1", "attached_pic", source,
    )  # fmt: skip
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0))
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert [chapter["metadata"]["title"] for chapter in after.chapters()] == ["Part 0", "Part 160"]
        assert after.chapters() == before.chapters()
        assert len(after.streams) == len(before.streams)
        covers = [
            [bool(s.disposition & av.stream.Disposition.attached_pic) for s in c.streams.video] for c in (before, after)
        ]
        assert covers[1] == covers[0] == [False, True]
    assert ffmpeg.packets(target, "v:1") == ffmpeg.packets(source, "v:1")


@pytest.fixture
def hdr(tmp_path: Path, ffmpeg: FFmpeg) -> Path:
    display = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    return ffmpeg.make(
        tmp_path / "a.mp4", "-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-color_primaries", "bt2020",
        "-color_trc", "smpte2084", "-colorspace", "bt2020nc",
        "-x265-params", f"log-level=error:{display}:max-cll=1000,400", frames=3,
    )  # fmt: skip


@pytest.mark.parametrize("codec", ["hevc", "h264", "av1"])
def test_hdr_stays_hdr(codec: str, hdr: Path, tmp_path: Path, denoise: Denoiser) -> None:
    target = tmp_path / "b.mp4"
    result = pipeline.run(hdr, target, denoise, Settings("mallenet-s", strength=0, codec=codec))
    with Reader(hdr) as before, Reader(target) as after:
        one, other = (next(iter(clip.frames())) for clip in (before, after))
    assert sorted(one.mastering) == ["CONTENT_LIGHT_LEVEL", "MASTERING_DISPLAY_METADATA"]
    assert other.mastering["CONTENT_LIGHT_LEVEL"] == one.mastering["CONTENT_LIGHT_LEVEL"]
    was, told = (np.frombuffer(frame.mastering["MASTERING_DISPLAY_METADATA"], np.int32) for frame in (one, other))
    np.testing.assert_allclose(told[0:20:2] / told[1:20:2], was[0:20:2] / was[1:20:2], rtol=0, atol=1e-4)
    assert result.notes == ()


def test_hdr_that_has_no_place_is_told(hdr: Path, tmp_path: Path, denoise: Denoiser) -> None:
    told: list[str] = []
    settings = Settings("mallenet-s", strength=0, codec="vp9")
    result = pipeline.run(hdr, tmp_path / "b.mp4", denoise, settings, notice=told.append)
    assert told[-1] == "the mastering-display metadata is lost: libvpx-vp9 cannot store it"
    assert result.notes == tuple(told)


def test_players_are_told_the_rate(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    """And not the tick of the source's clock, of which Matroska has a thousand a second."""
    source, target = ffmpeg.make(tmp_path / "a.mkv", "-c:v", "libx264", "-bf", "3"), tmp_path / "b.mkv"
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0))
    with Reader(target) as clip:
        assert (clip.stream.average_rate, clip.stream.base_rate) == (25, 25)


@pytest.mark.parametrize("stream", ["y4m", "nut"])
def test_a_rotation_that_standard_output_does_not_hold_is_told(
    stream: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    upright, source = ffmpeg.make(tmp_path / "upright.mp4", frames=2), tmp_path / "a.mp4"
    ffmpeg("-display_rotation", "90", "-i", upright, "-c", "copy", source)
    where = "raw frames" if stream == "y4m" else "rawvideo in nut"
    _, notes = pipeline.preview(source, pipeline.STDOUT, Settings("mallenet-s", stream=stream))
    assert f"the rotation for display is lost: {where} cannot hold it" in notes


def test_raw_frames_are_told_the_rate(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4")
    assert pipeline.run(source, pipeline.STDOUT, denoise, Settings("mallenet-s", strength=0)).notes == ()
    assert b" F25:1 " in capfdbinary.readouterr().out.splitlines()[0]
    varies = "setpts='N*1001+if(mod(N,3),0,417)',settb=1/30000"
    source = ffmpeg.make(tmp_path / "b.mp4", "-vf", varies, "-fps_mode", "passthrough")
    (note,) = pipeline.run(source, pipeline.STDOUT, denoise, Settings("mallenet-s", strength=0)).notes
    assert note.startswith("raw frames have a constant rate")


def test_a_file_that_is_cut_off_is_told(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4", "-movflags", "+faststart", "-vf", "noise=alls=50:allf=t", frames=40)
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 6 // 10])
    result = pipeline.run(source, tmp_path / "b.mp4", denoise, Settings("mallenet-s", strength=0))
    assert 0 < result.frames < 40
    assert not result.complete
    assert f"the clip ends at {result.frames / 25:.1f} s of 1.6 s: it may be cut off" in result.notes


@pytest.mark.parametrize("cut_off", [False, True])
def test_mxf_that_is_cut_off_is_told(cut_off: bool, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mxf", "-c:v", "mpeg2video", "-vf", "noise=alls=50:allf=t", "-g", "5", frames=40)
    if cut_off:
        source.write_bytes(source.read_bytes()[: source.stat().st_size * 6 // 10])
    result = pipeline.run(source, tmp_path / "b.mkv", denoise, Settings("mallenet-s", strength=0))
    assert (result.frames == 40) != cut_off
    assert result.complete != cut_off
    assert any("of 1.6 s: it may be cut off" in note for note in result.notes) == cut_off


@pytest.mark.parametrize("keep_tags", [True, False])
def test_matroska_that_is_cut_off_is_told(keep_tags: bool, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", "-vf", "noise=alls=50:allf=t", "-g", "5", frames=80)
    data = source.read_bytes()
    if not keep_tags:  # mkvmerge writes them at the end
        data = data.replace(b"DURATION", b"SOMETHIN")
    source.write_bytes(data[: len(data) * 6 // 10])
    result = pipeline.run(source, tmp_path / "b.mkv", denoise, Settings("mallenet-s", strength=0))
    assert 0 < result.frames < 80
    assert not result.complete
    assert any("of 3.2 s: it may be cut off" in note for note in result.notes)


def test_a_video_that_is_shorter_than_its_sound_is_whole(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", "-f", "lavfi", "-i", "sine=duration=3", frames=8)
    source.write_bytes(source.read_bytes().replace(b"DURATION", b"SOMETHIN"))
    result = pipeline.run(source, tmp_path / "b.mkv", denoise, Settings("mallenet-s", strength=0))
    assert (result.frames, result.notes, result.complete) == (8, (), True)


def test_a_lossless_cut_is_whole(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    """Its edit list hides frames, which the file still has."""
    whole = ffmpeg.make(tmp_path / "whole.mp4", "-g", "25", frames=50)
    source = tmp_path / "a.mp4"
    ffmpeg("-ss", "0.72", "-i", whole, "-c", "copy", source)
    result = pipeline.run(source, tmp_path / "b.mp4", denoise, Settings("mallenet-s", strength=0))
    assert (result.frames, result.notes, result.complete) == (32, (), True)


@pytest.mark.parametrize("damage", ["cut off", "a hole"])
def test_a_damaged_transport_stream_is_told(damage: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.ts", "-vf", "noise=alls=50:allf=t", "-g", "5", frames=20)
    data = source.read_bytes()
    packets = len(data) // 188
    middle = packets // 2 * 188
    source.write_bytes(data[: middle + 90] if damage == "cut off" else data[:middle] + data[middle + 3 * 188 :])
    result = pipeline.run(source, tmp_path / "b.mp4", denoise, Settings("mallenet-s", strength=0))
    assert not result.complete
    assert ("may be cut off" in result.notes[-1]) == (damage == "cut off")
    assert ("1 packets are incomplete" in result.notes[-1]) == (damage == "a hole")


def test_what_failed_early_leaves_nothing(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4")
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(source, tmp_path / "b.mp4", denoise, Settings("mallenet-s"), progress=stop_at(3))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_comparison_is_compressed_as_its_own_container_wants(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = ffmpeg.make(tmp_path / "a.mov", "-c:v", "prores_ks", "-pix_fmt", "yuv422p10le", frames=3)
    pipeline.run(source, tmp_path / "b.mov", denoise, Settings("mallenet-s"), compare=tmp_path / "c.mp4")
    with Reader(tmp_path / "c.mp4") as clip:
        assert (clip.codec, clip.stream.width) == ("h264", 192)


def test_fields_stay_fields(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(
        tmp_path / "a.mp4", "-vf", "tinterlace=interleave_top", "-c:v", "libx264", "-flags", "+ilme+ildct", frames=6
    )
    target = tmp_path / "b.mp4"
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0))
    with Reader(target) as clip:
        assert all(frame.is_interlaced for frame in clip.frames())


@pytest.mark.parametrize(("form", "expected"), [("yuva420p", ()), ("rgba", ())])
def test_transparency_stays_where_the_encoder_has_it(
    form: str, expected: tuple[str, ...], tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    codec, stored = ("qtrle", "argb") if form == "rgba" else ("ffv1", form)
    source = ffmpeg.make(
        tmp_path / ("a.mov" if codec == "qtrle" else "a.mkv"),
        "-vf", f"format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='X*2',format={stored}",
        "-c:v", codec, frames=2,
    )  # fmt: skip
    target = tmp_path / "b.mkv"
    result = pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0, codec="ffv1"))
    assert result.notes == expected
    alphas = [ffmpeg("-i", path, "-vf", "alphaextract,format=gray", "-f", "framemd5", "-") for path in (source, target)]
    checksums = [[line.split(",")[-1] for line in text.splitlines() if line[0] != "#"] for text in alphas]
    assert checksums[0] == checksums[1]


def test_transparency_that_is_lost_is_told(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    half = "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='X*2',format=yuva420p"
    source = ffmpeg.make(tmp_path / "a.mkv", "-vf", half, "-c:v", "ffv1", frames=2)
    result = pipeline.run(source, tmp_path / "b.mp4", denoise, Settings("mallenet-s", strength=0))
    assert result.notes[0] == "transparency is lost: libx264 in mp4 does not hold it"


def test_a_run_that_was_killed_before_its_first_part_begins_again(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source, target = ffmpeg.make(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(source, target, denoise, Settings("mallenet-s"), progress=stop_at(2))
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0.5))
    target.unlink()
    (tmp_path / "b.mp4.parts").mkdir()
    (tmp_path / "b.mp4.parts" / ".denoise-1234.part").write_bytes(b"{")  # of the plan
    pipeline.run(source, target, denoise, Settings("mallenet-s"), resume=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("removals", [1, 3, 4, 5, 6, 7])
def test_a_run_that_is_killed_while_it_removes_its_parts_leaves_nothing_in_the_way(
    removals: int, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = ffmpeg.make(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    monkeypatch.setattr(segments, "SEGMENT_LENGTH", 3)
    removed = 0

    def killed(remove: Callable[..., None], path: Path | str, **more: int) -> None:
        nonlocal removed
        removed += ".parts" in str(path)
        if removed >= removals and (".parts" in str(path) or more):  # a name alone is in the folder that is removed
            raise KeyboardInterrupt
        remove(path, **more)

    with monkeypatch.context() as patched:
        for name in ("unlink", "rmdir"):
            patched.setattr(os, name, partial(killed, getattr(os, name)))
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(source, target, denoise, Settings("mallenet-s"))
    pipeline.run(source, target, denoise, Settings("mallenet-s"), overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_somebody_elses_folder_is_left_alone(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source, target = ffmpeg.make(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    (tmp_path / "b.mp4.parts").mkdir()
    (tmp_path / "b.mp4.parts" / "thesis.txt").write_text("all of it")
    with pytest.raises(UnwritableFile, match="is in the way"):
        pipeline.run(source, target, denoise, Settings("mallenet-s"), overwrite=True)
    assert (tmp_path / "b.mp4.parts" / "thesis.txt").read_text() == "all of it"


def test_a_full_disk_is_said_and_costs_no_part(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = ffmpeg.make(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    monkeypatch.setattr(segments, "SEGMENT_LENGTH", 3)

    def full(parts: Sequence[Path], target: Path, encoding: Encoding) -> int:
        if len(parts) > 1:
            raise OSError(28, "No space left on device")
        return join(parts, target, encoding)

    with monkeypatch.context() as patched:
        patched.setattr(segments, "join", full)
        with pytest.raises(UnwritableFile, match=r"b\.mp4: cannot be written \(No space left on device\)"):
            pipeline.run(source, target, denoise, Settings("mallenet-s"))
    assert not target.exists()
    result = pipeline.run(source, target, denoise, Settings("mallenet-s"), resume=True)
    assert (result.frames, result.made) == (8, 0)


@pytest.mark.parametrize(("size", "width"), [("96x64", 192), ("53x37", 104)])
def test_before_and_after_side_by_side(
    size: str, width: int, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = ffmpeg.make(
        tmp_path / "a.mkv", "-vf", "noise=alls=20:allf=t", "-c:v", "ffv1", "-pix_fmt", "yuv420p", size=size
    )
    target, both = tmp_path / "b.mkv", tmp_path / "both.mkv"
    pipeline.run(source, target, denoise, Settings("mallenet-s"), compare=both)
    assert ffmpeg.times(both) == ffmpeg.times(source)
    with Reader(source) as noisy, Reader(target) as clean, Reader(both) as pairs:
        for before, after, pair in zip(noisy.frames(), clean.frames(), pairs.frames(), strict=True):
            for left, right, whole in zip(before.planes, after.planes, pair.planes, strict=True):
                half = whole.shape[1] // 2
                np.testing.assert_array_equal(whole[:, :half], left[:, :half])
                np.testing.assert_array_equal(whole[:, half:], right[:, :half])
            assert pair.picture.width == width
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv", "b.mkv", "both.mkv"]


def test_an_interrupted_comparison_is_not_there(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4")
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(
            source, tmp_path / "b.mp4", denoise, Settings("mallenet-s"), compare=tmp_path / "c.mp4", progress=stop_at(3)
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4"]  # nor parts, of which none was whole


@pytest.mark.parametrize("kind", ["gif", "png", "avif", "webp"])
def test_an_animation_becomes_a_clip_with_its_frames_and_their_times(
    kind: str, rng: np.random.Generator, tmp_path: Path, denoise: Denoiser
) -> None:
    shown = [40, 80, 120, 40]  # milliseconds
    pictures = [Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)) for _ in shown]
    source, target = tmp_path / f"a.{kind}", tmp_path / "b.mkv"
    pictures[0].save(source, save_all=True, append_images=pictures[1:], duration=shown, loop=0)

    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0))

    with av.open(str(target)) as clip:
        assert len(clip.streams.video) == 1
        assert [round(1000 * frame.time) for frame in clip.decode(video=0)] == [0, 40, 120, 240]


@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_a_subtitle_that_began_before_the_cut_is_shown_for_the_rest_of_its_time(
    extension: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    words, source, target = tmp_path / "words.srt", tmp_path / f"a{extension}", tmp_path / f"b{extension}"
    words.write_text("1\n00:00:00,100 --> 00:00:00,800\nHello\n\n2\n00:00:00,850 --> 00:00:00,950\nagain\n")
    codec = "srt" if extension == ".mkv" else "mov_text"
    ffmpeg.make(source, *SOUND, "-i", words, "-c:s", codec, frames=25)
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0, start=0.4))
    with av.open(str(target)) as clip:
        packets = [p for p in clip.demux(subtitles=0) if p.size > 2]  # MP4 fills pauses with empty ones
        shown = [(round(p.pts * p.time_base, 2), round(p.duration * p.time_base, 2)) for p in packets]
    assert shown == [(0, Fraction("0.4")), (Fraction("0.45"), Fraction("0.1"))]
    assert ffmpeg.times(target)[0] == 0


def test_a_clip_whose_size_changes_is_refused_at_its_place(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    parts = [
        ffmpeg.make(tmp_path / f"{size}.ts", "-c:v", "libx264", size=size).read_bytes() for size in ("96x64", "64x48")
    ]
    source, target = tmp_path / "a.ts", tmp_path / "b.mp4"
    source.write_bytes(b"".join(parts))

    with pytest.raises(UnreadableFile, match=r"changes from 96 x 64 \w+ to 64 x 48 \w+ at 0\.3 s$"):
        pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0))
    assert not list(tmp_path.glob("b.mp4*"))
