"""Clips from file to file; what is in the results is told by the ffmpeg program."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import pytest

from denoise_cli import video
from denoise_cli.denoiser import Denoiser, load_denoiser
from denoise_cli.errors import UnreadableFile, UnwritableFile, UsageError
from denoise_cli.io.video import Reader
from denoise_cli.video import Settings
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
        context = clip.stream.codec_context
        return {tag: getattr(frame, tag) for tag in TAGS} | {
            "size": (frame.width, frame.height),
            "format": frame.format.name,
            "aspect": context.sample_aspect_ratio or 1,
            "rotation": frame.rotation,
        }


CLIPS: dict[str, tuple[str, tuple[object, ...]]] = {
    "plain": ("a.mp4", ()),
    "b-frames": ("a.mp4", ("-c:v", "libx264", "-bf", "3")),
    "odd": ("a.mp4", ("-vf", "crop=53:37", "-pix_fmt", "yuv420p")),
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
    "vp9": ("a.webm", ("-c:v", "libvpx-vp9")),
    "av1": ("a.mkv", ("-c:v", "libaom-av1", "-cpu-used", "8")),
}  # fmt: skip


@pytest.mark.parametrize("kind", CLIPS)
def test_frames_times_and_tags_stay(kind: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    name, options = CLIPS[kind]
    source = ffmpeg.make(tmp_path / name, *options)
    target = tmp_path / f"out{video.target_beside(source).suffix}"
    result = video.run(source, target, denoise, Settings("mallenet-s", sigma=10 / 255))
    assert result.frames == 8
    assert ffmpeg.times(target) == ffmpeg.times(source)
    assert tags(target) == tags(source) | ({"format": "yuvj420p"} if kind == "jpeg" else {})


@pytest.mark.parametrize(
    "form", ["yuv420p", "yuv422p10le", "yuv444p12le", "gray", "gray16le", "gbrp10le", "yuv410p", "yuva420p"]
)
def test_without_strength_every_sample_stays(form: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", form, size="98x66")
    target = tmp_path / "b.mkv"
    video.run(source, target, denoise, Settings("mallenet-s", strength=0))
    assert ffmpeg.frames(target) == ffmpeg.frames(source)


def test_noise_goes(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    lossless = ("-c:v", "ffv1", "-pix_fmt", "yuv420p")
    dim, noise = "lutyuv=y=64+val/4", "noise=alls=30:allf=t"  # far from black and white, where noise would be cut off
    clean = ffmpeg.make(tmp_path / "clean.mkv", "-vf", dim, *lossless, frames=3)
    noisy = ffmpeg.make(tmp_path / "noisy.mkv", "-vf", f"{dim},{noise}", *lossless, frames=3)
    target = tmp_path / "out.mkv"
    result = video.run(noisy, target, denoise, Settings("mallenet-s"))
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
    video.run(source, target, denoise, Settings("mallenet-s", strength=0))
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
    video.run(source, target, denoise, Settings("mallenet-s", strength=0))
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
    assert video.run(source, tmp_path / "b.mp4", denoise, Settings("mallenet-s")).frames == 1


def test_a_part_of_a_clip_has_its_own_sound(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4", *SOUND, "-c:a", "aac", frames=25)
    target = tmp_path / "b.mp4"
    video.run(source, target, denoise, Settings("mallenet-s", strength=0, start=0.4, seconds=0.2))
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
    plain = video.run(source, tmp_path / "b.mp4", denoise, Settings("mallenet-s", strength=0))
    assert plain.notes == ("interlaced: --deinterlace makes whole frames of the fields",)
    whole = video.run(source, tmp_path / "c.mp4", denoise, Settings("mallenet-s", strength=0, deinterlace=True))
    assert whole.notes == ()
    assert ffmpeg.times(tmp_path / "c.mp4") == ffmpeg.times(source)


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "PART", 3)


def stop_at(number: int) -> Callable[[int, float], None]:
    def progress(done: int, _share: float) -> None:
        if done == number:
            raise KeyboardInterrupt

    return progress


@pytest.mark.usefixtures("short_parts")
@pytest.mark.parametrize("kills", [(1,), (3,), (4,), (4, 7), (8,)])
def test_an_interrupted_run_goes_on_to_the_same_result(
    kills: tuple[int, ...], tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4", *SOUND, "-vf", "noise=alls=20:allf=t", "-c:v", "libx264", "-bf", "2")
    whole, target = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    settings = Settings("mallenet-s")
    video.run(source, whole, denoise, settings)
    for place, kill in enumerate(kills):
        with pytest.raises(KeyboardInterrupt):
            video.run(source, target, denoise, settings, resume=place > 0, progress=stop_at(kill))
        assert not target.exists()
    video.run(source, target, denoise, settings, resume=True)
    assert ffmpeg.frames(target) == ffmpeg.frames(whole)
    assert ffmpeg.packets(target, "a:0") == ffmpeg.packets(whole, "a:0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "out.mp4", "whole.mp4"]


@pytest.mark.usefixtures("short_parts")
def test_what_an_interrupted_run_has_left_is_not_thrown_away_in_silence(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source, target = ffmpeg.make(tmp_path / "a.mp4"), tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        video.run(source, target, denoise, Settings("mallenet-s"), progress=stop_at(5))
    with pytest.raises(UsageError, match="of an interrupted run: add --resume to go on, or --overwrite"):
        video.run(source, target, denoise, Settings("mallenet-s"))
    with pytest.raises(UsageError, match="with other settings"):
        video.run(source, target, denoise, Settings("mallenet-s", strength=0.5), resume=True)
    video.run(source, target, denoise, Settings("mallenet-s", strength=0.5), overwrite=True)
    assert target.exists()


def test_parts_do_not_show_in_the_times(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part's encoder begins with frames that are far apart, or near; packets must be due in order all the same."""
    spread = "setpts='if(mod(N,7),N*100+N*N*40,N*100+N*N*40-35)',settb=1/1000"
    source = ffmpeg.make(tmp_path / "a.mkv", "-vf", spread, "-fps_mode", "passthrough", "-bf", "3", frames=40)
    target = tmp_path / "b.mkv"
    monkeypatch.setattr(video, "PART", 7)
    video.run(source, target, denoise, Settings("mallenet-s", strength=0))
    assert ffmpeg.times(target) == ffmpeg.times(source)
    with av.open(str(target)) as opened:
        due = [packet.dts for packet in opened.demux(video=0) if packet.dts is not None]
    assert all(one < next_ for one, next_ in pairwise(due))


def test_a_stream_that_the_container_cannot_hold_is_named(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", *SOUND, "-c:a", "pcm_s24le")
    with pytest.raises(UnwritableFile, match=r"b\.webm: FFmpeg cannot write it: Only VP8 or VP9"):
        video.run(source, tmp_path / "b.webm", denoise, Settings("mallenet-s"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv"]


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("a.mp4", None, "No such file"),
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
        video.run(source, tmp_path / "b.mp4", denoise, Settings("mallenet-s"))
    assert not (tmp_path / "b.mp4").exists()


def test_sound_alone_is_no_clip(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    ffmpeg(*SOUND, tmp_path / "a.m4a")
    with pytest.raises(UnreadableFile, match="holds no video"):
        video.run(tmp_path / "a.m4a", tmp_path / "b.mp4", denoise, Settings("mallenet-s"))


def test_targets_that_would_do_harm_are_refused(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4")
    before = source.read_bytes()
    (tmp_path / "folder").mkdir()
    (tmp_path / "b.mp4").write_bytes(b"precious")
    for target, complaint in (
        (source, "is the input itself"),
        (tmp_path / "folder", "is a folder"),
        (tmp_path / "b.mp4", "exists already"),
        (tmp_path / "none" / "b.mp4", "there is no folder"),
    ):
        with pytest.raises(UnwritableFile, match=complaint):
            video.run(source, target, denoise, Settings("mallenet-s"))
    with pytest.raises(UsageError, match="expected a name that ends in"):
        video.run(source, tmp_path / "b.gif", denoise, Settings("mallenet-s"))
    assert source.read_bytes() == before
    assert (tmp_path / "b.mp4").read_bytes() == b"precious"
