"""Clips through standard input and output; what is in the results is told by the ffmpeg program."""

import os
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from denoise_cli.errors import UnreadableFile
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import pipes
from denoise_cli.io.encode import NUT_FORMATS, RAW_FORMATS
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Result, Settings
from tests.conftest import FFmpeg

PIPE = Path("-")
Y4M = ("-f", "yuv4mpegpipe", "-strict", "-1")
NUT = ("-c:v", "rawvideo", "-f", "nut")
VARIABLE = ("-vf", "setpts='N*1001+if(mod(N,3),0,417)',settb=1/30000", "-fps_mode", "passthrough",
            "-enc_time_base", "1/30000")  # fmt: skip
ODD = ("-vf", "format=yuv444p,crop=97:63")
Through = Callable[..., tuple[Path, Result]]


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", "cpu", "fp32")


@pytest.fixture
def through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, denoise: Denoiser) -> Through:
    """Run a clip from standard input to standard output, or to a target; the name of the result, and what is said."""

    def run(data: bytes, target: Path = PIPE, **settings: object) -> tuple[Path, Result]:
        given, made = tmp_path / "given", tmp_path / "made"
        given.write_bytes(data)
        options = Settings("mallenet-s", 1, **({"strength": 0.0} | settings))  # type: ignore[arg-type]
        with given.open("rb") as stdin, made.open("wb") as stdout:
            monkeypatch.setattr(pipes, "STDIN", stdin.fileno())
            monkeypatch.setattr(pipes, "STDOUT", stdout.fileno())
            result = pipeline.run(PIPE, target, denoise, options)
        return made if target == PIPE else target, result

    return run


def header(data: bytes) -> set[str]:
    """What the first line of YUV4MPEG2 states."""
    return set(data.partition(b"\n")[0].decode().split()[1:])


@pytest.mark.parametrize(
    ("size", "options", "stated"),
    [
        ("96x64", ("-pix_fmt", "yuv420p", "-chroma_sample_location", "left"), {"C420mpeg2", "XYSCSS=420MPEG2"}),
        ("96x64", ("-pix_fmt", "yuv420p", "-chroma_sample_location", "center"), {"C420jpeg", "XYSCSS=420JPEG"}),
        ("96x64", ("-pix_fmt", "yuv420p", "-chroma_sample_location", "topleft"), {"C420paldv", "XYSCSS=420PALDV"}),
        ("98x64", (*ODD, "-pix_fmt", "yuv420p"), {"W97", "H63"}),
        ("98x64", (*ODD, "-pix_fmt", "yuv422p"), {"W97", "H63", "C422", "XYSCSS=422"}),
        ("98x64", (*ODD, "-pix_fmt", "yuv444p"), {"W97", "H63", "C444", "XYSCSS=444"}),
        ("98x64", (*ODD, "-pix_fmt", "yuv411p"), {"W97", "H63", "C411", "XYSCSS=411"}),
        ("98x64", (*ODD, "-pix_fmt", "gray"), {"W97", "H63", "Cmono"}),
        ("96x64", ("-pix_fmt", "gray16le"), {"Cmono16"}),
        ("96x64", ("-pix_fmt", "yuv420p10le"), {"C420p10", "XYSCSS=420P10"}),
        ("96x64", ("-pix_fmt", "yuv444p12le"), {"C444p12", "XYSCSS=444P12"}),
        ("98x64", (*ODD, "-pix_fmt", "yuv422p16le"), {"W97", "H63", "C422p16", "XYSCSS=422P16"}),
        ("96x64", ("-vf", "scale=out_range=pc", "-pix_fmt", "yuv420p", "-color_range", "pc"), {"XCOLORRANGE=FULL"}),
        ("96x64", ("-pix_fmt", "yuv420p", "-color_range", "tv"), {"XCOLORRANGE=LIMITED"}),
        ("96x64", ("-vf", "setfield=tff", "-pix_fmt", "yuv420p", "-field_order", "tt"), {"It"}),
        ("96x64", ("-vf", "setfield=bff", "-pix_fmt", "yuv420p", "-field_order", "bb"), {"Ib"}),
        ("96x64", ("-vf", "setsar=16/11", "-pix_fmt", "yuv420p"), {"A16:11"}),
        ("96x64", ("-r", "30000/1001", "-pix_fmt", "yuv420p"), {"F30000:1001"}),
    ],
)
def test_raw_frames_stay_what_they_are(
    size: str, options: tuple[str, ...], stated: set[str], tmp_path: Path, ffmpeg: FFmpeg, through: Through
) -> None:
    source = ffmpeg.make(tmp_path / "a.y4m", *options, *Y4M, size=size)
    assert header(source.read_bytes()) >= stated
    made, result = through(source.read_bytes())
    assert header(made.read_bytes()) == header(source.read_bytes())
    assert ffmpeg.frames(made) == ffmpeg.frames(source)
    assert result.complete


@pytest.mark.parametrize(
    ("stream", "form"), [*((NUT, form) for form in NUT_FORMATS), *((Y4M, form) for form in RAW_FORMATS)], ids=str
)
def test_a_pipe_has_every_format_that_is_written_in_it(
    stream: tuple[str, ...], form: str, tmp_path: Path, ffmpeg: FFmpeg, through: Through
) -> None:
    source = ffmpeg.make(tmp_path / "a", "-pix_fmt", form, *stream, size="70x50", frames=2)
    made, result = through(source.read_bytes())
    assert result.pixel_format == form
    assert ffmpeg.frames(made) == ffmpeg.frames(source)


@pytest.mark.parametrize("stream", [None, "mkv"])
def test_a_variable_rate_stays(stream: str | None, tmp_path: Path, ffmpeg: FFmpeg, through: Through) -> None:
    source = ffmpeg.make(tmp_path / "a.nut", *VARIABLE, *NUT, frames=10)
    made, _ = through(source.read_bytes(), stream=stream)
    tick = Fraction(0) if stream is None else Fraction(1, 1000)  # of Matroska
    times = ffmpeg.times(source)
    assert len({after - before for before, after in pairwise(times)}) > 1
    assert ffmpeg.times(made) == pytest.approx(times, abs=float(tick))


def test_frames_of_a_variable_rate_become_raw_with_a_line(tmp_path: Path, ffmpeg: FFmpeg, through: Through) -> None:
    source = ffmpeg.make(tmp_path / "a.nut", *VARIABLE, *NUT)
    made, result = through(source.read_bytes(), stream="y4m")
    assert "raw frames have a constant rate: 25 per second" in result.notes
    assert len(ffmpeg.frames(made)) == 8


@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_a_pipe_becomes_a_file(extension: str, tmp_path: Path, ffmpeg: FFmpeg, through: Through) -> None:
    source = ffmpeg.make(tmp_path / "a.nut", *VARIABLE, "-metadata", "title=Birds", *NUT)
    target = tmp_path / f"b{extension}"
    _, result = through(source.read_bytes(), target)
    tick = Fraction(1, 1000) if extension == ".mkv" else Fraction(0)
    assert ffmpeg.times(target) == pytest.approx(ffmpeg.times(source), abs=float(tick))
    with pipeline.Reader(target) as clip:
        assert clip.metadata["title"] == "Birds"
    assert (result.frames, result.complete) == (8, True)
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize("kind", [Y4M, NUT])
@pytest.mark.parametrize(("left", "whole"), [(1, 7), (5000, 7), (9300, 6)])  # a frame has 9216 bytes
def test_a_pipe_that_is_cut_off_gives_its_whole_frames(
    kind: tuple[str, ...], left: int, whole: int, tmp_path: Path, ffmpeg: FFmpeg, through: Through
) -> None:
    source = ffmpeg.make(tmp_path / "a", "-pix_fmt", "yuv420p", *kind)
    data = source.read_bytes()
    end = len(data) if kind == Y4M else data.rindex(b"NX\xdd\x67\x2f\x23\xe6\x4e")  # where the index begins
    made, result = through(data[: end - left])
    assert (result.frames, result.complete) == (whole, False)
    assert any("it may be cut off" in note for note in result.notes)
    assert ffmpeg.frames(made) == ffmpeg.frames(source)[:whole]
    made, result = through(data)
    assert (result.frames, result.complete, result.notes) == (8, True, ())


def test_nut_without_its_end_is_cut_off(tmp_path: Path, ffmpeg: FFmpeg, through: Through) -> None:
    data = ffmpeg.make(tmp_path / "a", "-pix_fmt", "yuv420p", *NUT).read_bytes()
    _, result = through(data[: data.rindex(b"NX\xdd\x67\x2f\x23\xe6\x4e")])
    assert (result.frames, result.complete) == (8, False)


def test_a_part_of_a_pipe(tmp_path: Path, ffmpeg: FFmpeg, through: Through) -> None:
    for name, kind in (("a.y4m", Y4M), ("a.nut", NUT)):
        source = ffmpeg.make(tmp_path / name, "-pix_fmt", "yuv420p", *kind)
        made, result = through(source.read_bytes(), start=0.08, seconds=0.12)
        assert [checksum for _, checksum in ffmpeg.frames(made)] == [
            checksum for _, checksum in ffmpeg.frames(source)[2:5]
        ]
        assert ffmpeg.times(made) == [Fraction(0), Fraction(1, 25), Fraction(2, 25)]
        assert result.complete


def test_a_comparison_of_a_pipe(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, both = ffmpeg.make(tmp_path / "a.nut", *NUT), tmp_path / "both.mkv"
    with source.open("rb") as stdin:
        monkeypatch.setattr(pipes, "STDIN", stdin.fileno())
        pipeline.run(PIPE, tmp_path / "b.mkv", denoise, Settings("mallenet-s", 1, strength=0), compare=both)
    assert len(ffmpeg.frames(both)) == len(ffmpeg.frames(tmp_path / "b.mkv")) == 8


def test_what_is_no_clip_is_said_in_one_line(through: Through, tmp_path: Path, ffmpeg: FFmpeg) -> None:
    with pytest.raises(UnreadableFile, match=r"^-: no data came: the program before it may have failed$"):
        through(b"")
    instead = (
        r"name the file instead of -, or pipe a clip into it, as in  "
        r"ffmpeg -i FILE -c:v rawvideo -f nut - \| denoise video -"
    )
    expected = f"^-: cannot be read as video: standard input takes YUV4MPEG2, NUT or Matroska: {instead}$"
    script = f"ffconcat version 1.0\nfile {ffmpeg.make(tmp_path / 'a.mkv')}\n".encode()
    needs_seeking = ffmpeg.make(tmp_path / "a.mp4").read_bytes()  # but for its size, which fits into a buffer
    for data in (b"nothing of the kind", script, needs_seeking):
        with pytest.raises(UnreadableFile, match=expected):
            through(data)


def test_an_interrupted_run_from_a_pipe_leaves_nothing(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("denoise_cli.io.segments.SEGMENT_LENGTH", 2)
    source, target = ffmpeg.make(tmp_path / "a.nut", *NUT, frames=20), tmp_path / "b.mkv"

    def interrupt(done: int, _: float) -> None:
        if done == 12:
            assert list((tmp_path / "b.mkv.parts").glob("*.part"))
            raise KeyboardInterrupt

    settings = Settings("mallenet-s", 1, strength=0)
    with source.open("rb") as stdin:
        monkeypatch.setattr(pipes, "STDIN", stdin.fileno())
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(PIPE, target, denoise, settings, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nut"]


def test_a_read_that_waits_ends_when_nobody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    end, other = os.pipe()
    monkeypatch.setattr(pipes, "STDIN", end)
    reader = pipes.PipeReader()
    os.write(other, b"abc")
    assert (reader.read(2), reader.read(2), reader.total) == (b"ab", b"c", 3)
    reader.close()
    assert reader.read(2) == b""
    os.close(other)
    os.close(end)


def contents(path: Path, kind: str) -> list[bytes]:
    """The packets of a track, without their side data, which some containers have in their headers."""
    with av.open(str(path)) as container:
        track = next(stream for stream in container.streams if stream.type == kind)
        return [bytes(packet) for packet in container.demux(track) if packet.size]


@pytest.fixture
def with_sound(tmp_path: Path, ffmpeg: FFmpeg) -> Callable[..., Path]:
    """A clip of two seconds with sound and subtitles, in Matroska or NUT."""

    def make(name: str, *options: object) -> Path:
        words = tmp_path / "words.srt"
        words.write_text("1\n00:00:00,200 --> 00:00:00,900\nfirst\n\n2\n00:00:01,200 --> 00:00:01,900\nsecond\n")
        inputs = ("-f", "lavfi", "-i", "sine=duration=2", *(("-i", words) if name.endswith(".mkv") else ()))
        maps = ("-map", "0", "-map", "1", *(("-map", "2") if name.endswith(".mkv") else ()))
        return ffmpeg.make(tmp_path / name, *inputs, *maps, "-metadata:s:a:0", "language=deu", *options, frames=50)

    return make


H264 = ("-c:v", "libx264", "-bf", "2", "-c:a", "aac", "-c:s", "srt")


def times_of(path: Path, kind: str) -> list[Fraction]:
    """When the packets of a track are due, in seconds."""
    with av.open(str(path)) as container:
        track = next(stream for stream in container.streams if stream.type == kind)
        return [packet.pts * packet.time_base for packet in container.demux(track) if packet.size]


def test_matroska_goes_through_with_sound_and_subtitles(
    with_sound: Callable[..., Path], ffmpeg: FFmpeg, through: Through
) -> None:
    source = with_sound("a.mkv", *H264)
    made, result = through(source.read_bytes(), crf=0)
    assert (result.complete, result.codec, result.notes) == (True, "libx264", ())
    assert ffmpeg.frames(made) == ffmpeg.frames(source)
    for stream, kind in (("a:0", "audio"), ("s:0", "subtitle")):
        assert ffmpeg.packets(made, stream) == ffmpeg.packets(source, stream)
        assert times_of(made, kind) == times_of(source, kind)
    with av.open(str(made), metadata_errors="ignore") as container:
        assert container.streams.audio[0].metadata["language"] == "deu"
        order = [packet.stream.type for packet in container.demux() if packet.size]
    assert "audio" in order[:5]  # not all of it behind the video
    assert "video" in order[-8:]


def test_tracks_of_a_file_that_standard_output_does_not_have_are_named(
    with_sound: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, denoise: Denoiser
) -> None:
    source = with_sound("a.mkv", *H264)
    with (tmp_path / "made").open("wb") as stdout:
        monkeypatch.setattr(pipes, "STDOUT", stdout.fileno())
        result = pipeline.run(source, PIPE, denoise, Settings("mallenet-s", 1, strength=0.0, stream="mkv"))
    left = "tracks 1 (audio, aac), 2 (subtitle, subrip) left out: standard output has those of clips from"
    assert [note for note in result.notes if "left out" in note] == [f"{left} standard input only"]
    with av.open(str(tmp_path / "made")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("extension", [".mkv", ".mp4"])
def test_sound_from_standard_input_gets_into_a_file(
    extension: str, with_sound: Callable[..., Path], tmp_path: Path, ffmpeg: FFmpeg, through: Through
) -> None:
    source = with_sound("a.mkv", *H264)
    target, result = through(source.read_bytes(), tmp_path / f"b{extension}")
    refused = "track 2 (subtitle, subrip) left out: mp4 takes no such track from a pipe"
    assert (refused in result.notes) == (extension == ".mp4")
    assert contents(target, "audio") == contents(source, "audio")
    assert ffmpeg.times(target) == ffmpeg.times(source)
    with av.open(str(target)) as container:
        assert container.streams.audio[0].metadata["language"] == "deu"
        assert len(container.streams.subtitles) == (extension == ".mkv")
    assert not list(tmp_path.glob("*.parts"))


def test_raw_frames_become_a_file_without_a_word_about_their_compression(
    tmp_path: Path, ffmpeg: FFmpeg, through: Through
) -> None:
    for name, kind in (("a.y4m", Y4M), ("a.nut", NUT)):
        source = ffmpeg.make(tmp_path / name, "-pix_fmt", "yuv420p", *kind)
        assert through(source.read_bytes(), tmp_path / f"{name}.mp4")[1].notes == ()


def test_sound_in_nut_stays_in_nut(with_sound: Callable[..., Path], ffmpeg: FFmpeg, through: Through) -> None:
    source = with_sound("a.nut", "-c:v", "rawvideo", "-pix_fmt", "yuv420p", "-c:a", "pcm_s16le")
    made, result = through(source.read_bytes())
    assert (result.complete, result.notes) == (True, ())
    assert ffmpeg.packets(made, "a:0") == ffmpeg.packets(source, "a:0")
    assert ffmpeg.frames(made) == ffmpeg.frames(source)
    _, result = through(source.read_bytes(), stream="y4m")
    assert "track 1 (audio, pcm_s16le) left out: raw frames have none" in result.notes


def test_a_part_of_a_pipe_has_its_sound_and_the_subtitle_that_is_shown(
    with_sound: Callable[..., Path], ffmpeg: FFmpeg, through: Through
) -> None:
    source = with_sound("a.mkv", *H264)
    made, result = through(source.read_bytes(), start=0.4, seconds=1)
    assert (result.frames, ffmpeg.times(made)[0]) == (25, 0)
    times = [time + Fraction("0.4") for time in times_of(made, "audio")]
    assert times == [time for time in times_of(source, "audio") if Fraction("0.4") <= time < Fraction("1.4")]
    with av.open(str(made)) as container:
        shown = [(packet.pts, packet.duration) for packet in container.demux(subtitles=0) if packet.size]
    assert shown == [(0, 500), (800, 700)]


def test_matroska_that_is_cut_off_says_so(with_sound: Callable[..., Path], through: Through) -> None:
    data = with_sound("a.mkv", *H264, "-g", "5").read_bytes()
    _, result = through(data[: len(data) // 2])
    assert not result.complete
    assert any("it may be cut off" in note for note in result.notes)
