"""What the table of tracks in the documentation says, tried."""

import re
from pathlib import Path

import av
import pytest

from denoise_cli.errors import UnwritableFile
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings
from tests.conftest import FFmpeg
from tests.io.test_tracks import DATA_TRACKS, with_data_track

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"
CODECS = {".mp4": "h264", ".mov": "h264", ".mkv": "h264", ".webm": "vp9"}
SOUNDS = ("aac", "pcm_s16le", "libopus", "flac")
SUBTITLES = {"mov_text": "mov_text", "SubRip": "srt", "ASS": "ass", "WebVTT": "webvtt"}


def table() -> list[tuple[str, str, str]]:
    """The rows' names, the extensions and what the table says."""
    text = DOCS.read_text(encoding="utf-8").split("<!-- tracks -->")[1].split("<!-- end -->")[0]
    header, _, *rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\|.*\|$", text, re.MULTILINE)
    ]
    return [(row[0], extension, cell) for row in rows for extension, cell in zip(header[1:], row[1:], strict=True)]


def made(row: str, folder: Path, ffmpeg: FFmpeg) -> Path:
    """A clip of two frames with such a track behind its video."""
    name = re.findall(r"`(\w+)|(\w+)$", row)[0]
    key = name[0] or name[1]
    if row.startswith("timecode"):
        return ffmpeg.make(folder / "a.mp4", "-timecode", "10:00:00:20", frames=2)
    plain = ffmpeg.make(folder / "plain.mkv", "-c:v", "libx264", frames=2)
    if key in DATA_TRACKS:
        return with_data_track(plain, folder / "a.mov", key, samples=2)
    if key in SOUNDS:
        sound = ("-f", "lavfi", "-i", "sine=duration=0.2:sample_rate=48000", "-c:a", key)
        return ffmpeg.make(folder / "a.mkv", *sound, "-c:v", "libx264", frames=2)
    source = folder / ("a.mp4" if key == "mov_text" else "a.mkv")
    if key in SUBTITLES:
        (folder / "words.srt").write_text("1\n00:00:00,000 --> 00:00:00,080\nHello\n")
        ffmpeg("-i", plain, "-i", folder / "words.srt", "-c:v", "copy", "-c:s", SUBTITLES[key], source)
    elif row == "cover":
        cover = ffmpeg.make(folder / "cover.jpg", frames=1)
        ffmpeg("-i", plain, "-attach", cover, "-metadata:s:1", "mimetype=image/jpeg", "-c", "copy", source)
    else:
        (folder / "a.ttf").write_bytes(b"\0\1\0\0" + bytes(200))
        ffmpeg("-i", plain, "-attach", folder / "a.ttf", "-metadata:s:1", "mimetype=font/ttf", "-c", "copy", source)
    return source


def packets(path: Path) -> list[bytes]:
    """Of the second track, by their contents; the side data of sound are in the headers of some containers."""
    with av.open(str(path)) as clip:
        return [bytes(packet) for packet in clip.demux(clip.streams[1]) if packet.size]


def words(path: Path, ffmpeg: FFmpeg) -> list[str]:
    """The lines of the subtitles, as SubRip has them."""
    return ffmpeg("-i", path, "-map", "0:s:0", "-c:s", "srt", "-f", "srt", "-").splitlines()


@pytest.mark.parametrize(("row", "extension", "said"), table())
def test_the_table_of_tracks_is_right(row: str, extension: str, said: str, tmp_path: Path, ffmpeg: FFmpeg) -> None:
    denoise: Denoiser = load_denoiser("mallenet-s", "cpu", "fp32")
    source, target = made(row, tmp_path, ffmpeg), tmp_path / f"b{extension}"
    settings = Settings("mallenet-s", strength=0, frames=1, sigma=0.1, codec=CODECS[extension])
    found, notes = "kept", ()
    try:
        notes = pipeline.run(source, target, denoise, settings).notes
    except UnwritableFile:
        found = "refused"
    if any("becomes a tag" in note for note in notes):
        found, notes = "as a tag", ()
    if any(note.startswith("track 1 (subtitle, ") and " becomes " in note for note in notes):
        found, notes = "converted", ()
        assert [text for text in words(target, ffmpeg) if text == "Hello"]
    assert (found, notes) == (said, ())
    if found == "kept":
        with av.open(str(source)) as before, av.open(str(target)) as after:
            assert [stream.type for stream in after.streams] == [stream.type for stream in before.streams]
            assert [s.disposition & av.stream.Disposition.attached_pic for s in after.streams] == [
                s.disposition & av.stream.Disposition.attached_pic for s in before.streams
            ]
        assert packets(target) == packets(source)
