"""A clip as numbered pictures: one for each frame, as the ffmpeg program decodes it; what is left out is named."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoise_cli.errors import UnreadableFile, UnwritableFile, UsageError
from denoise_cli.imaging.yuv import to_rgb
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import image
from denoise_cli.io.video import Reader
from denoise_cli.pipeline import clip_pictures, sequence
from denoise_cli.pipeline.clip import Settings
from tests.conftest import FFmpeg

UNCHANGED = Settings("mallenet-s", strength=0)
SOUND = ("-f", "lavfi", "-i", "sine=frequency=440:duration=1", "-shortest")


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", "cpu", "fp32")


# By zimg: FFmpeg's own scaler makes 65406 of white in 16 bits, where the standards have 65535.
YCBCR = "zscale=matrixin=170m:rangein=limited:matrix=gbr:range=full"
RGB, DEEP = "format=gbrp,format=rgb24", "format=gbrp16le,format=rgb48le"


def decoded(ffmpeg: FFmpeg, clip: Path, folder: Path, filters: str) -> list[np.ndarray]:
    """The frames of a clip by the ffmpeg program, upright."""
    folder.mkdir()
    ffmpeg("-i", clip, "-vf", filters, folder / "%d.png")
    return [image.read(folder / f"{number}.png").pixels for number in range(1, 1 + len(list(folder.iterdir())))]


@pytest.mark.parametrize(
    ("extension", "options", "filters", "pixel_format"),
    [
        (".mp4", ("-pix_fmt", "yuv444p", "-c:v", "libx264"), f"{YCBCR},{RGB}", "rgb8"),
        (".mkv", ("-pix_fmt", "yuv444p10le", "-c:v", "ffv1"), f"{YCBCR},{DEEP}", "rgb16"),
        (".mkv", ("-pix_fmt", "gbrp10le", "-c:v", "ffv1"), f"zscale,{DEEP}", "rgb16"),
        (".mkv", ("-vf", "format=gray", "-color_range", "pc", "-c:v", "ffv1"), "format=gray", "grey8"),
        (".gif", (), RGB, "rgb8"),
    ],
)
@pytest.mark.parametrize("target", ["png", "tif"])
def test_every_frame_is_a_picture_with_its_values(
    target: str,
    extension: str,
    options: tuple[str, ...],
    filters: str,
    pixel_format: str,
    tmp_path: Path,
    ffmpeg: FFmpeg,
    denoise: Denoiser,
) -> None:
    source = ffmpeg.make(tmp_path / f"a{extension}", *options, frames=3)
    expected = decoded(ffmpeg, source, tmp_path / "expected", filters)
    result = clip_pictures.run(source, tmp_path / "out" / f"f%03d.{target}", denoise, UNCHANGED)
    assert (result.frames, result.pixel_format, result.complete) == (3, pixel_format, True)
    names = [f"f{number:03d}.{target}" for number in (1, 2, 3)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    for name, truth in zip(names, expected, strict=True):
        made = image.read(tmp_path / "out" / name)
        assert made.pixels.dtype == truth.dtype
        assert made.alpha is None
        assert np.abs(made.pixels.astype(int) - truth).max() <= 1


def test_pictures_of_a_denoised_clip_are_those_of_the_clip_that_it_becomes(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    from denoise_cli.pipeline import clip

    source = ffmpeg.make(tmp_path / "a.mkv", "-vf", "noise=alls=20:allf=t", "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    settings = Settings("mallenet-s", sigma=20 / 255)
    clip.run(source, tmp_path / "b.mkv", denoise, settings)
    clip_pictures.run(tmp_path / "b.mkv", tmp_path / "of-clip/%d.png", denoise, UNCHANGED)
    result = clip_pictures.run(source, tmp_path / "direct/%d.png", denoise, settings)
    assert result.sigma == pytest.approx(20, abs=0.01)
    for number in range(1, 9):
        one, other = (image.read(tmp_path / folder / f"{number}.png").pixels for folder in ("of-clip", "direct"))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_pictures_are_upright(rotation: int, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    ffmpeg.make(tmp_path / "plain.mp4", "-pix_fmt", "yuv444p", "-c:v", "libx264", frames=1)
    source = tmp_path / "a.mp4"
    ffmpeg("-display_rotation", rotation, "-i", tmp_path / "plain.mp4", "-c", "copy", source)
    (expected,) = decoded(ffmpeg, source, tmp_path / "expected", f"{YCBCR},{RGB}")
    clip_pictures.run(source, tmp_path / "%d.png", denoise, UNCHANGED)
    assert np.abs(image.read(tmp_path / "1.png").pixels.astype(int) - expected).max() <= 1


def test_what_pictures_do_not_hold_is_named(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4", *SOUND, "-metadata", "title=A test", "-vf", "setsar=4/3", frames=2)
    said: list[str] = []
    result = clip_pictures.run(source, tmp_path / "%d.jpg", denoise, UNCHANGED, notice=said.append)
    assert said == [
        "track 1 (audio, aac) is left out: pictures have none",
        "metadata are left out (title): numbered pictures do not hold them",
        "pictures state no times: 25 frames per second",
        "pixels of 4:3 become square: pictures have no others",
    ]
    assert result.notes[:4] == tuple(said)
    assert clip_pictures.preview(source, tmp_path / "a%d.jpg", UNCHANGED, False).notes == tuple(said)


def test_hdr_keeps_its_colours_where_pictures_can_state_them(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(
        tmp_path / "a.mkv", "-vf", "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc",
        "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", frames=1,
    )  # fmt: skip
    clip_pictures.run(source, tmp_path / "%d.png", denoise, UNCHANGED)
    colours = image.read(tmp_path / "1.png").metadata.cicp
    assert colours is not None
    assert (colours.primaries, colours.transfer) == (9, 16)
    with pytest.raises(UnwritableFile, match="it cannot hold HDR"):
        clip_pictures.run(source, tmp_path / "%d.jpg", denoise, UNCHANGED)


@pytest.mark.parametrize("pixel_format", ["gbrp", "gbrp12le", "gray10le"])
def test_openexr_has_the_light_of_the_frames(
    pixel_format: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    pytest.importorskip("OpenEXR")
    source = ffmpeg.make(
        tmp_path / "a.mkv", "-vf", f"format={pixel_format}", "-color_range", "pc", "-c:v", "ffv1", frames=2
    )
    is_grey = pixel_format == "gray10le"
    result = clip_pictures.run(source, tmp_path / "out/%d.exr", denoise, UNCHANGED)
    assert (result.frames, result.pixel_format) == (2, "grey32" if is_grey else "rgb32")
    with Reader(source) as clip:
        frames = [to_rgb(frame.planes, frame.layout) for frame in clip.frames()]
    for number, encoded in enumerate(frames, start=1):
        file = tmp_path / "out" / f"{number}.exr"
        form = "grayf32le" if is_grey else "gbrpf32le"
        command = [ffmpeg.program, "-v", "error", "-i", file, "-f", "rawvideo", "-pix_fmt", form, "-"]
        raw = subprocess.run(command, capture_output=True, check=True).stdout
        planes = np.frombuffer(raw, "<f4").reshape(encoded.shape[2], *encoded.shape[:2])
        light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
        made = (planes if is_grey else planes[[2, 0, 1]]).transpose(1, 2, 0)
        assert np.abs(made - light).max() < 1e-4


def test_openexr_of_hdr_is_refused(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    pytest.importorskip("OpenEXR")
    source = ffmpeg.make(
        tmp_path / "a.mkv", "-vf", "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc",
        "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", frames=1,
    )  # fmt: skip
    with pytest.raises(UnwritableFile, match="HDR"):
        clip_pictures.run(source, tmp_path / "%d.exr", denoise, UNCHANGED)
    assert not list(tmp_path.glob("*.exr"))


def test_transparency_stays_or_is_refused(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    look = "format=rgba,colorchannelmixer=aa=0.5"
    source = ffmpeg.make(tmp_path / "a.apng", "-vf", look, "-pix_fmt", "rgba", frames=2)
    clip_pictures.run(source, tmp_path / "%d.png", denoise, UNCHANGED)
    with Image.open(tmp_path / "2.png") as made:
        assert np.asarray(made)[..., 3].mean() == pytest.approx(127.5, abs=1)
    with pytest.raises(UnwritableFile, match="cannot hold transparency"):
        clip_pictures.run(source, tmp_path / "%d.jpg", denoise, UNCHANGED)


def test_pictures_that_are_there_are_not_replaced_in_silence(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source, target = ffmpeg.make(tmp_path / "a.mp4", frames=2), tmp_path / "out/%d.png"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "3.png").write_bytes(b"old")
    with pytest.raises(UnwritableFile, match=r"3\.png: already exists"):
        clip_pictures.run(source, target, denoise, UNCHANGED)
    result = clip_pictures.run(source, target, denoise, UNCHANGED, overwrite=True)
    assert result.notes[-1] == f"{tmp_path}/out/3.png and those after it are of an earlier run"
    with pytest.raises(UsageError, match="expected a single number"):
        clip_pictures.run(source, tmp_path / "%d_%d.png", denoise, UNCHANGED)
    with pytest.raises(UsageError, match=r"cannot write \.gif"):
        clip_pictures.run(source, tmp_path / "%d.gif", denoise, UNCHANGED)


def test_nothing_is_left_of_a_clip_that_cannot_be_read(tmp_path: Path, denoise: Denoiser) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(UnreadableFile):
        clip_pictures.run(tmp_path / "a.mp4", tmp_path / "out/%d.png", denoise, UNCHANGED)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_the_pictures_are_a_sequence(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4", frames=3)
    clip_pictures.run(source, tmp_path / "out/%04d.png", denoise, UNCHANGED)
    assert len(sequence.plan(tmp_path / "out").jobs) == 3
    with Reader(tmp_path / "out") as clip:
        assert sum(1 for _ in clip.frames()) == 3
