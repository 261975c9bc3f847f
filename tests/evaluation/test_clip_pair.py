from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from denoise_cli.errors import UnreadableFile, UsageError
from denoise_cli.evaluation.clip_pair import ClipPair
from tests.conftest import FFmpeg


def test_each_frame_comes_with_its_truth_whatever_the_time_and_the_bits(tmp_path: Path, ffmpeg: FFmpeg) -> None:
    clean = ffmpeg.make(tmp_path / "clean.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", frames=3)
    box = ["-vf", "drawbox=w=iw/2:t=fill:c=black,setpts=2*PTS", "-c:v", "ffv1", "-pix_fmt", "yuv420p"]
    clip = tmp_path / "clip.mkv"
    ffmpeg("-i", clean, *box, clip)
    pair = ClipPair(clip, clean)
    assert [path.parent for path in pair.frames] == [clip] * 3
    samples = [pair.sample(path, index) for index, path in enumerate(pair.frames)]
    assert [sample.path for sample in samples] == pair.frames
    for sample in samples:
        assert np.abs(sample.noisy[:, :40]).max() < 2 / 255
        np.testing.assert_allclose(sample.noisy[:, 56:].clip(0, 1), sample.clean[:, 56:], atol=3 / 255)
    for before, after in pairwise(samples):
        assert np.abs(after.clean - before.clean)[:, 56:].max() > 0.5  # the shapes move


def test_clips_that_do_not_match_are_refused_before_anything_is_scored(tmp_path: Path, ffmpeg: FFmpeg) -> None:
    lossless = ["-c:v", "ffv1", "-pix_fmt", "yuv420p"]
    clip = ffmpeg.make(tmp_path / "clip.mkv", *lossless, frames=4)
    others = {
        "short": (ffmpeg.make(tmp_path / "short.mkv", *lossless, frames=3), "4 frames", "3 frames"),
        "small": (
            ffmpeg.make(tmp_path / "small.mkv", *lossless, frames=4, size="64x64"),
            "coloured frames of 96 x 64",
            "coloured frames of 64 x 64",
        ),
        "grey": (
            ffmpeg.make(tmp_path / "grey.mkv", "-c:v", "ffv1", "-pix_fmt", "gray", frames=4),
            "coloured frames of 96 x 64",
            "grey frames of 96 x 64",
        ),
    }
    for other, own, its in others.values():
        with pytest.raises(UnreadableFile) as refused:
            ClipPair(clip, other)
        assert str(refused.value) == f"{clip}: has {own}, but {other} has {its}: name two clips with the same frames"


def test_a_damaged_clip_is_refused(tmp_path: Path, ffmpeg: FFmpeg) -> None:
    clean = ffmpeg.make(tmp_path / "clean.avi", "-c:v", "png", frames=4)
    data = bytearray(clean.read_bytes())
    at = data.find(b"\x89PNG", data.find(b"\x89PNG") + 1)
    data[at : at + 64] = bytes(64)
    damaged = tmp_path / "damaged.avi"
    damaged.write_bytes(data)
    with pytest.raises(UnreadableFile, match=r"damaged\.avi: is damaged"):
        ClipPair(damaged, clean)


def test_standard_input_cannot_be_read_twice() -> None:
    with pytest.raises(UsageError, match="standard input"):
        ClipPair(Path("-"), Path("clean.mkv"))
