"""Tracks that FFmpeg has no codec for, in clips made here; what is in the results is told by ffmpeg and exiftool."""

import json
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from denoise_cli.errors import UnwritableFile
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io.boxes import box, boxes_of
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings
from tests.conftest import FFmpeg

AS_IT_IS = Settings("mallenet-s", strength=0, frames=1)
STILL_IMAGE = struct.pack(">IIb", 9, 1, -1)  # a value of the first key of `MEBX`
MEBX = box(
    b"keys",
    box(
        struct.pack(">I", 1),
        box(b"keyd", b"mdta", b"com.apple.quicktime.still-image-time"),
        box(b"dtyp", struct.pack(">II", 0, 65)),  # a signed number of 8 bits
    ),
)
# By the four letters of their format: what describes the samples, beside these letters.
DATA_TRACKS = {"mebx": MEBX, "gpmd": b"\0\0\0\0", "camm": b"", "djmd": b"", "fdsc": b"\0\0\0\0"}


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", "cpu", "fp32")


def changed(body: bytes, path: tuple[bytes, ...], change: Callable[[bytes], bytes]) -> bytes:
    """The contents of a box, with those of the boxes at a path inside it changed."""
    if not path:
        return change(body)
    return b"".join(box(name, changed(b, path[1:], change) if name == path[0] else b) for name, b in boxes_of(body))


def with_data_track(plain: Path, path: Path, form: str, samples: int = 8) -> Path:
    """A clip with one more track, of `samples` samples; their times are those of frames of a clip with 25 a second."""
    with av.open(str(plain)) as clip, av.open(str(path), "w", format="mp4") as result:
        streams = [result.add_stream_from_template(stream) for stream in clip.streams]
        data = result.add_data_stream("bin_data")
        data.time_base = Fraction(1, 1000)
        for packet in clip.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                result.mux(packet)
        for number in range(samples):
            packet = av.Packet(STILL_IMAGE + bytes([number]) * (form != "mebx"))
            packet.stream, packet.time_base = data, Fraction(1, 1000)
            packet.pts = packet.dts = 40 * number
            packet.duration = 40
            result.mux(packet)

    def described(body: bytes) -> bytes:
        entry = struct.pack(">6xH", 1) + DATA_TRACKS[form]
        return struct.pack(">II", 0, 1) + box(form.encode(), entry) if b"gpmd" in body else body

    whole = path.read_bytes()  # with its header behind the samples, which therefore stay where they are
    whole = changed(whole, (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"), described)
    path.write_bytes(whole if path.suffix == ".mp4" else whole.replace(b"ftypisom", b"ftypqt  ", 1))
    return path


def descriptions(path: Path) -> list[bytes]:
    """Of all tracks: the contents of their `stsd`."""
    found: list[bytes] = []
    steps = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    changed(path.read_bytes(), steps, lambda body: found.append(body) or body)  # type: ignore[func-returns-value]
    return found


def references(path: Path) -> list[list[tuple[bytes, int]]]:
    """Of all tracks: the kinds of their references, and the track that each refers to."""
    traks: list[bytes] = []
    changed(path.read_bytes(), (b"moov", b"trak"), lambda body: traks.append(body) or body)  # type: ignore[func-returns-value]
    return [
        [(kind, struct.unpack(">I", body)[0]) for kind, body in boxes_of(dict(boxes_of(trak)).get(b"tref", b""))]
        for trak in traks
    ]


@pytest.mark.parametrize("extension", [".mp4", ".mov"])
@pytest.mark.parametrize("form", DATA_TRACKS)
def test_data_tracks_stay_with_their_descriptions(
    form: str, extension: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = with_data_track(ffmpeg.make(tmp_path / "plain.mp4"), tmp_path / f"a{extension}", form)
    for target in (tmp_path / "b.mp4", tmp_path / "b.mov"):
        result = pipeline.run(source, target, denoise, AS_IT_IS)
        assert result.notes == ()
        assert descriptions(target)[1] == descriptions(source)[1]
        assert ffmpeg.packets(target, "1") == ffmpeg.packets(source, "1")
        assert len(ffmpeg.packets(target, "1")) == 8
        assert ffmpeg.times(target) == ffmpeg.times(source)


@pytest.mark.parametrize("extension", [".mp4", ".mov"])
def test_data_of_other_containers_does_not_become_a_track_without_a_description(
    extension: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    plain, source = ffmpeg.make(tmp_path / "plain.ts"), tmp_path / "a.ts"
    with av.open(str(plain)) as clip, av.open(str(source), "w", format="mpegts") as result:
        stream = result.add_stream_from_template(clip.streams.video[0])
        data = result.add_data_stream("klv")
        for packet in clip.demux(video=0):
            if packet.size:
                packet.stream = stream
                result.mux(packet)
        for number in range(4):
            packet = av.Packet(bytes([number]) * 16)
            packet.stream, packet.time_base = data, Fraction(1, 90000)
            packet.pts = packet.dts = 130000 + 3600 * number
            result.mux(packet)
    target = tmp_path / f"b{extension}"
    with pytest.raises(UnwritableFile, match=r"QuickTime have no description for it.*--drop-data leaves it out"):
        pipeline.run(source, target, denoise, AS_IT_IS)
    result = pipeline.run(source, target, denoise, replace(AS_IT_IS, drop_data=True))
    assert any("is left out" in note for note in result.notes)
    assert len(descriptions(target)) == 1


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
def test_exiftool_reads_timed_metadata(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = with_data_track(ffmpeg.make(tmp_path / "plain.mp4"), tmp_path / "a.mov", "mebx")
    target = tmp_path / "b.mov"
    pipeline.run(source, target, denoise, AS_IT_IS)
    before, after = (
        subprocess.run(["exiftool", "-ee", "-G3", "-a", "-StillImageTime", "-SampleTime", "-j", path],
                       capture_output=True, check=True).stdout
        for path in (source, target)
    )  # fmt: skip
    tags = [
        {key: value for key, value in json.loads(text)[0].items() if key != "SourceFile"} for text in (before, after)
    ]
    assert sum(key.endswith("StillImageTime") for key in tags[0]) == 8
    assert tags[1] == tags[0]


def test_a_cut_takes_the_data_with_it(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = with_data_track(ffmpeg.make(tmp_path / "plain.mp4"), tmp_path / "a.mp4", "gpmd")
    target = tmp_path / "b.mp4"
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0, frames=1, start=0.12, seconds=0.08))
    assert ffmpeg.packets(target, "1") == ffmpeg.packets(source, "1")[3:5]
    with av.open(str(target)) as clip:
        assert [(packet.pts or 0) * packet.time_base for packet in clip.demux(1) if packet.size] == [0, Fraction(1, 25)]


@pytest.mark.parametrize("rate", ["25", "30000/1001"])
@pytest.mark.parametrize("extensions", [(".mp4", ".mp4"), (".mov", ".mp4"), (".mp4", ".mov"), (".mov", ".mov")])
def test_a_timecode_stays_and_is_counted_on(
    extensions: tuple[str, str], rate: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source, target = tmp_path / f"a{extensions[0]}", tmp_path / f"b{extensions[1]}"
    ffmpeg.make(source, "-timecode", "10:00:00:20", rate=rate)
    pipeline.run(source, target, denoise, AS_IT_IS)
    assert ffmpeg.packets(target, "1") == ffmpeg.packets(source, "1")
    assert descriptions(target)[1] == descriptions(source)[1]
    assert references(target) == references(source) == [[(b"tmcd", 2)], []]
    cut = Settings("mallenet-s", strength=0, frames=1, start=0.2)
    pipeline.run(source, target, denoise, cut, overwrite=True)
    with av.open(str(target)) as clip:  # whose first frame is number 5 or, at 0.2002 s, number 6
        assert clip.streams.video[0].metadata["timecode"] == ("10:00:01:00" if rate == "25" else "10:00:00:26")


def test_a_container_without_data_tracks_is_refused_before_the_work(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = with_data_track(ffmpeg.make(tmp_path / "plain.mp4"), tmp_path / "a.mp4", "camm")
    complaint = r"b\.mkv: cannot hold track 1 \(data, camm\) \(.*\): try \.mp4 or \.mov, or --drop-data leaves it out$"
    for do in (
        lambda target: pipeline.run(source, target, denoise, AS_IT_IS),
        lambda target: pipeline.preview(source, target, AS_IT_IS),
    ):
        with pytest.raises(UnwritableFile, match=complaint):
            do(tmp_path / "b.mkv")
    settings = Settings("mallenet-s", strength=0, frames=1, drop_data=True)
    expected = ("track 1 (data, camm) is left out: .mkv cannot hold it",)
    assert pipeline.preview(source, tmp_path / "b.mkv", settings)[1] == list(expected)
    told: list[str] = []
    assert pipeline.run(source, tmp_path / "b.mkv", denoise, settings, notice=told.append).notes == expected
    assert told == list(expected)
    with av.open(str(tmp_path / "b.mkv")) as clip:
        assert [stream.type for stream in clip.streams] == ["video"]


def test_a_timecode_becomes_a_tag_where_there_are_no_tracks_for_it(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4", "-timecode", "10:00:00:20")
    result = pipeline.run(source, tmp_path / "b.mkv", denoise, AS_IT_IS)
    assert result.notes == ("the timecode 10:00:00:20 becomes a tag: .mkv has no tracks for it",)
    later = replace(AS_IT_IS, start=0.2)
    result = pipeline.run(source, tmp_path / "c.mkv", denoise, later)
    assert result.notes == ("the timecode 10:00:01:00 becomes a tag: .mkv has no tracks for it",)
    pipeline.run(tmp_path / "b.mkv", tmp_path / "d.mkv", denoise, later)
    for name in ("c.mkv", "d.mkv"):
        with av.open(str(tmp_path / name)) as clip:
            tags = {key.lower(): value for key, value in (clip.metadata | clip.streams.video[0].metadata).items()}
        assert tags["timecode"] == "10:00:01:00"
    with av.open(str(tmp_path / "b.mkv")) as clip:
        assert clip.streams.video[0].metadata["TIMECODE"] == "10:00:00:20"


@pytest.mark.parametrize("extension", [".mkv", ".mp4"])
@pytest.mark.parametrize("picture", ["cover.jpg", "cover.png"])
def test_a_cover_stays_a_cover_in_matroska(
    picture: str, extension: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    cover, words, font = ffmpeg.make(tmp_path / picture, frames=1), tmp_path / "words.srt", tmp_path / "a.ttf"
    words.write_text("1\n00:00:00,000 --> 00:00:00,200\nHello\n")
    font.write_bytes(b"\0\1\0\0" + bytes(200))
    source, target = tmp_path / f"a{extension}", tmp_path / "b.mkv"
    mime_type = "image/jpeg" if picture == "cover.jpg" else "image/png"
    plain = ffmpeg.make(tmp_path / "plain.mp4")
    if extension == ".mkv":
        attached = ["-attach", cover, "-metadata:s:2", f"mimetype={mime_type}", "-attach", font]
        ffmpeg("-i", plain, "-i", words, *attached, "-metadata:s:3", "mimetype=font/ttf", "-c:v", "copy", source)
    else:
        ffmpeg("-i", plain, "-i", cover, "-map", 0, "-map", 1, "-c", "copy", "-disposition:v:1", "attached_pic", source)
    pipeline.run(source, target, denoise, AS_IT_IS)
    with av.open(str(source)) as before, av.open(str(target)) as after:
        kinds = [
            sorted((s.type, bool(s.disposition & av.stream.Disposition.attached_pic)) for s in clip.streams)
            for clip in (before, after)
        ]
        found = next(s for s in after.streams.video if s.disposition & av.stream.Disposition.attached_pic)
        assert (found.metadata["filename"], found.metadata["mimetype"]) == (picture, mime_type)
    assert kinds[1] == kinds[0]
    assert ffmpeg.packets(target, "v:1") == ffmpeg.packets(source, "v:1")
    assert sorted(path.name for path in tmp_path.glob("b.mkv*")) == ["b.mkv"]


@pytest.mark.parametrize(("before", "codec", "after"), [(".mkv", "ass", ".mp4"), (".mp4", "mov_text", ".mkv")])
def test_converted_subtitles_keep_their_times_behind_a_cut(
    before: str, codec: str, after: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    words = tmp_path / "words.srt"
    words.write_text("1\n00:00:00,100 --> 00:00:00,600\nfirst\n\n2\n00:00:01,000 --> 00:00:01,500\nsecond\n")
    plain, source, target = ffmpeg.make(tmp_path / "p.mp4", frames=50), tmp_path / f"a{before}", tmp_path / f"b{after}"
    ffmpeg("-i", plain, "-i", words, "-c:v", "copy", "-c:s", codec, source)

    result = pipeline.run(source, target, denoise, replace(AS_IT_IS, start=0.4))

    assert len(result.notes) == 1
    shown = ffmpeg("-i", target, "-map", "0:s:0", "-c:s", "srt", "-f", "srt", "-")
    assert re.sub("<.*?>", "", shown).split("\n")[1:3] == ["00:00:00,000 --> 00:00:00,200", "first"]
    assert "00:00:00,600 --> 00:00:01,100" in shown
