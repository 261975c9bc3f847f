"""Every container that tells where it ends: what is cut is told, and what is whole is not."""

from pathlib import Path

import pytest

from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io.clip_end import is_cut
from denoise_cli.io.video import Reader
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings
from tests.conftest import FFmpeg

SOUND = ("-f", "lavfi", "-i", "sine=duration=1.6", "-shortest")
# By the name of the file: FFmpeg's options.
KINDS = {
    "a.flv": (*SOUND, "-c:v", "libx264", "-g", "5", "-ar", "44100"),
    "a.wmv": (*SOUND, "-c:v", "wmv2", "-c:a", "wmav2"),
    "a.mpg": (*SOUND, "-c:v", "mpeg2video", "-g", "5"),
    "b.mpg": (*SOUND, "-c:v", "mpeg1video", "-f", "mpeg"),
    "a.vob": (*SOUND, "-c:v", "mpeg2video", "-c:a", "ac3", "-f", "vob"),
    "a.gif": (),
    "a.png": ("-f", "apng"),
    "a.avi": (*SOUND, "-c:v", "mjpeg"),
    "a.mp4": (*SOUND, "-movflags", "+faststart"),
    "b.mp4": (*SOUND, "-g", "5", "-movflags", "frag_keyframe+empty_moov"),
    "a.mkv": (*SOUND, "-c:v", "libx264"),
    "a.ogg": (*SOUND, "-c:v", "libtheora", "-c:a", "libvorbis"),
    "a.ivf": ("-c:v", "libvpx"),
    "a.dv": ("-s", "720x576", "-pix_fmt", "yuv420p"),
    "a.webp": (),
}


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", "cpu", "fp32")


def make(folder: Path, ffmpeg: FFmpeg, name: str) -> Path:
    noisy = ("-filter:v", "noise=alls=20:allf=t")
    return ffmpeg.make(folder / name, *KINDS[name], *noisy, frames=7 if name == "a.dv" else 40)


@pytest.mark.parametrize("name", KINDS)
def test_the_end_of_a_clip_is_missed_if_it_is_missing(name: str, tmp_path: Path, ffmpeg: FFmpeg) -> None:
    source = make(tmp_path, ffmpeg, name)
    data = source.read_bytes()
    for share in (1.0, 0.99, 0.6):
        source.write_bytes(data[: round(len(data) * share)])
        with Reader(source) as clip:
            assert sum(1 for _ in clip.frames()) > 1
            told = clip.ends_early or clip.incomplete or clip.damaged or clip.concealed
            assert bool(told) == (share < 1)


@pytest.mark.parametrize("name", ["a.flv", "a.wmv", "a.mpg", "a.gif", "a.png"])
def test_the_line_and_the_record_are_those_of_any_clip_that_is_cut_off(
    name: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = make(tmp_path, ffmpeg, name)
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 6 // 10])
    result = pipeline.run(source, tmp_path / "b.mkv", denoise, Settings("mallenet-s", strength=0))
    assert 0 < result.frames < 40
    assert not result.complete
    assert "it may be cut off" in result.notes[-1]


def test_a_cut_between_two_packs_shows_in_the_last_frame(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    """Which the decoder had to complete: the container does not know of it."""
    source = ffmpeg.make(tmp_path / "a.mpg", "-vf", "noise=alls=50:allf=t", "-c:v", "mpeg2video", "-q:v", "2")
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 6 // 10 // 2048 * 2048])
    assert not is_cut(source, "mpeg")
    result = pipeline.run(source, tmp_path / "b.mkv", denoise, Settings("mallenet-s", strength=0))
    assert not result.complete
    assert result.notes[-2] == "the decoder made up parts of 1 damaged frame"
    assert "it may be cut off" in result.notes[-1]


def test_what_was_appended_to_a_file_is_no_part_of_it(tmp_path: Path, ffmpeg: FFmpeg) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4")
    source.write_bytes(source.read_bytes() + b"\x7f\xff\xff\xffjunk from a camera")
    assert not is_cut(source, "mov,mp4,m4a,3gp,3g2,mj2")
