"""Timecodes of clips that were trimmed in QuickTime: an edit list skips their beginning."""

import struct
from pathlib import Path

import av
import pytest

from denoise_cli.inference.denoiser import load_denoiser
from denoise_cli.io.boxes import box, boxes_of
from denoise_cli.io.data_tracks import inside, movie_of
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings
from tests.conftest import FFmpeg


def trim(path: Path, seconds: int) -> None:
    """Have an edit list skip so many seconds of each track; the rest lasts for one."""
    place, movie = movie_of(path)

    def trimmed(trak: bytes) -> bytes:
        (ticks,) = struct.unpack_from(">I", inside(trak, b"mdia", b"mdhd"), 12)
        edits = box(b"edts", box(b"elst", struct.pack(">IIIiI", 0, 1, 1000, seconds * ticks, 1 << 16)))
        header, *others = (box(*part) for part in boxes_of(trak) if part[0] != b"edts")
        return b"".join([header, edits, *others])

    parts = [box(name, trimmed(body) if name == b"trak" else body) for name, body in boxes_of(movie)]
    with path.open("r+b") as file:
        file.seek(place)
        file.truncate()
        file.write(box(b"moov", *parts))


@pytest.mark.parametrize(("start", "expected"), [(0.0, "10:00:01:00"), (0.2, "10:00:01:05")])
@pytest.mark.parametrize("name", ["b.mov", "b.mkv"])
def test_the_timecode_is_that_of_the_first_frame(
    name: str, start: float, expected: str, tmp_path: Path, ffmpeg: FFmpeg
) -> None:
    source, target = tmp_path / "a.mov", tmp_path / name
    ffmpeg.make(source, "-g", "25", "-timecode", "10:00:00:00", frames=50)
    trim(source, 1)
    denoise = load_denoiser("mallenet-s", "cpu", "fp32")
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0, start=start))
    with av.open(target) as clip:
        tags = {key.lower(): value for stream in clip.streams for key, value in stream.metadata.items()}
        tags |= {key.lower(): value for key, value in clip.metadata.items()}
    assert tags["timecode"] == expected
