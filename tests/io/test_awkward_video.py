"""Clips made by other programs and by cameras keep everything but their samples."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from denoise_cli.errors import UnreadableFile
from denoise_cli.inference.denoiser import load_denoiser
from denoise_cli.io.video import Reader
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings
from denoise_cli.pipeline.clip_targets import extension_for
from tests.conftest import DATA, FFmpeg

CLIPS = sorted(path.name for path in (DATA / "awkward" / "video").glob("*.*"))
BROKEN = ("androidx_media__vp9__invalid-bitstream.webm",)


@pytest.mark.parametrize("name", CLIPS or ["none"])
def test_all_but_the_samples_stays(name: str, shared_data: Path, tmp_path: Path, ffmpeg: FFmpeg) -> None:
    source = shared_data / "awkward" / "video" / name
    target = tmp_path / f"{source.stem}-denoised{extension_for(source)}"
    denoise = load_denoiser("mallenet-s", "cpu", "fp32")
    if name in BROKEN:
        with pytest.raises(UnreadableFile):
            pipeline.run(source, target, denoise, Settings("mallenet-s"))
        assert list(tmp_path.iterdir()) == []
        return
    pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0))
    with Reader(source) as before, Reader(target) as after:
        video = before.stream.index
        assert [kind for kind, _ in after.streams] == [kind for kind, _ in before.streams]
        one, other = (next(iter(clip.frames())) for clip in (before, after))
        assert other.picture.rotation == one.picture.rotation
        assert other.layout == one.layout
        for tag in ("color_primaries", "color_trc", "width", "height"):
            assert getattr(other.picture, tag) == getattr(one.picture, tag)
        assert (after.stream.sample_aspect_ratio or 1) == (before.stream.sample_aspect_ratio or 1)
    times = ffmpeg.times(source, str(video))
    with av.open(str(source)) as opened:  # streams start anywhere, and their results at zero
        begin = Fraction(opened.start_time or 0, av.time_base) if source.suffix == ".ts" else Fraction(0)
    shifted = [time - Fraction(round(begin * 90000), 90000) for time in times] if begin else times
    assert ffmpeg.times(target, str(video)) == shifted
    for place in range(len(before.streams)):
        # Raw AAC in a transport stream has headers that other containers do without.
        if place != video and source.suffix != ".ts":
            assert ffmpeg.packets(target, str(place)) == ffmpeg.packets(source, str(place))
