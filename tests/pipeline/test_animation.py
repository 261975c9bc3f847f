"""Animations as results: their times, repetitions and transparency, as Pillow reads them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image
from scipy.ndimage import gaussian_filter

from denoise_cli.errors import UsageError
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io.boxes import box
from denoise_cli.io.jxl import CONTAINER, FILE_TYPE
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings
from denoise_cli.pipeline.clip_targets import extension_for
from tests.conftest import FFmpeg

SHOWN = [100, 40, 250, 330]  # milliseconds
UNCHANGED = Settings("mallenet-s", strength=0)


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", "cpu", "fp32")


@pytest.fixture
def frames(rng: np.random.Generator) -> list[Image.Image]:
    """Four noisy frames, transparent on the right."""
    pictures = rng.integers(60, 200, (len(SHOWN), 48, 64, 4), dtype=np.uint8)
    pictures[..., :32, 3], pictures[..., 32:, 3] = 255, 0
    return [Image.fromarray(picture) for picture in pictures]


def save(path: Path, frames: list[Image.Image], **options: object) -> Path:
    kind = {".gif": {"disposal": 2}, ".webp": {"lossless": True, "exact": True}}.get(path.suffix, {})
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=SHOWN, loop=3, **kind, **options)
    return path


def read(path: Path) -> tuple[list[int], object, list[NDArray[np.uint8]]]:
    """How long each frame is shown, in milliseconds; the number in the file of how often; and the frames, in RGBA."""
    shown, pictures = [], []
    with Image.open(path) as animation:
        for number in range(animation.n_frames):
            animation.seek(number)
            animation.load()
            shown.append(round(animation.info["duration"]))
            pictures.append(np.asarray(animation.convert("RGBA")))
        return shown, animation.info.get("loop"), pictures


@pytest.mark.parametrize("extension", [".gif", ".png", ".webp", ".avif"])
def test_an_animation_stays_one_with_its_times_repetitions_and_transparency(
    extension: str, frames: list[Image.Image], tmp_path: Path, denoise: Denoiser
) -> None:
    source = save(tmp_path / f"a{extension}", frames)
    target = tmp_path / f"a-denoised{extension_for(source)}"

    pipeline.run(source, target, denoise, UNCHANGED)

    before, after = read(source), read(target)
    assert target.suffix == extension
    assert after[0] == before[0] == SHOWN
    assert after[1] == before[1]
    for old, new in zip(before[2], after[2], strict=True):
        np.testing.assert_array_equal(new[..., 3] > 127, old[..., 3] > 127)
        limit = {".png": 0, ".webp": 0, ".avif": 4, ".gif": 16}[extension]
        assert np.abs(new[:, :32, :3].astype(int) - old[:, :32, :3]).mean() <= limit


def test_webp_compressed_with_loss_says_that_it_is_transparent(
    frames: list[Image.Image], tmp_path: Path, denoise: Denoiser
) -> None:
    source = save(tmp_path / "a.avif", frames)

    pipeline.run(source, tmp_path / "b.webp", denoise, UNCHANGED)

    assert {picture[0, 40, 3] for picture in read(tmp_path / "b.webp")[2]} == {0}


def test_avif_that_is_shown_more_often_than_its_source_is_named(
    frames: list[Image.Image], tmp_path: Path, denoise: Denoiser
) -> None:
    source = save(tmp_path / "a.png", frames)

    result = pipeline.run(source, tmp_path / "b.avif", denoise, UNCHANGED)

    assert any("shown for ever, not 3 times" in note for note in result.notes)


def test_a_gif_of_a_smooth_clip_is_closer_to_it_than_pillows(tmp_path: Path, denoise: Denoiser) -> None:
    rows, columns = np.mgrid[:96, :128]
    smooth = np.stack([120 + 80 * np.sin(columns / 40), 110 + 70 * np.sin(rows / 30), 90 + rows], axis=-1)
    pictures = [Image.fromarray(np.roll(smooth, 3 * step, axis=1).astype(np.uint8)) for step in range(4)]
    source = save(tmp_path / "a.png", pictures)
    save(tmp_path / "pillow.gif", pictures)

    pipeline.run(source, tmp_path / "b.gif", denoise, UNCHANGED)

    def error(path: Path) -> float:
        seen = zip(read(path)[2], pictures, strict=True)
        blurred = [gaussian_filter(gif[..., :3] - np.asarray(true, float), (1.5, 1.5, 0)) for gif, true in seen]
        return float(np.sqrt(np.mean(np.square(blurred))))

    assert error(tmp_path / "b.gif") < 0.7 * error(tmp_path / "pillow.gif")


def test_a_clip_becomes_an_animation_without_its_sound(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4", "-f", "lavfi", "-i", "sine", "-shortest")

    result = pipeline.run(source, tmp_path / "b.png", denoise, UNCHANGED)

    shown, plays, _ = read(tmp_path / "b.png")
    assert (shown, plays) == ([40] * 8, 0)
    assert any(note.startswith("track 1 (audio") for note in result.notes) == (len(ffmpeg.packets(source, "a?")) > 0)


def test_an_animation_in_jpeg_xl_is_read_with_its_times(rng: np.random.Generator, tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pictures = rng.integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    source = tmp_path / "a.jxl"
    source.write_bytes(imagecodecs.jpegxl_encode(pictures, lossless=True, photometric="rgb"))

    with pipeline.Reader(source) as clip:
        found = list(clip.frames())

    assert [round(1000 * frame.picture.time) for frame in found] == [0, 100, 200]
    for frame, picture in zip(found, pictures, strict=True):
        np.testing.assert_array_equal(np.stack(frame.planes, axis=-1)[..., [2, 0, 1]], picture)


@pytest.mark.parametrize("option", ["codec", "crf", "preset", "pixel_format"])
def test_options_of_encoders_are_refused(
    option: str, frames: list[Image.Image], tmp_path: Path, denoise: Denoiser
) -> None:
    source = save(tmp_path / "a.gif", frames)

    with pytest.raises(UsageError, match=r"an animation \(\.gif\) has no such setting"):
        pipeline.run(source, tmp_path / "b.gif", denoise, Settings("mallenet-s", **{option: 1}))  # type: ignore[arg-type]
    assert not (tmp_path / "b.gif").exists()


def test_opaque_webp_has_no_transparency_to_lose(frames: list[Image.Image], tmp_path: Path, denoise: Denoiser) -> None:
    source = save(tmp_path / "a.webp", [frame.convert("RGB") for frame in frames])

    result = pipeline.run(source, tmp_path / "b.gif", denoise, UNCHANGED)
    pipeline.run(source, tmp_path / "b.webp", denoise, UNCHANGED)

    assert result.notes == ("a GIF holds only 256 colours: .webp and .png keep them all",)
    for old, new in zip(read(source)[2], read(tmp_path / "b.webp")[2], strict=True):
        np.testing.assert_array_equal(new, old)


def test_metadata_of_an_animation_in_jpeg_xl_stay(rng: np.random.Generator, tmp_path: Path, denoise: Denoiser) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pictures = rng.integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "A camera"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    codestream = imagecodecs.jpegxl_encode(pictures, lossless=True, photometric="rgb", usecontainer=False)
    parts = (box(b"jxlc", codestream), box(b"Exif", bytes(4), exif.tobytes().removeprefix(b"Exif\0\0")))
    (tmp_path / "a.jxl").write_bytes(b"".join([CONTAINER, FILE_TYPE, *parts, box(b"xml ", xmp)]))

    result = pipeline.run(tmp_path / "a.jxl", tmp_path / "b.png", denoise, UNCHANGED)
    lossy = pipeline.run(tmp_path / "a.jxl", tmp_path / "b.gif", denoise, UNCHANGED)

    assert result.notes == ()
    assert "not carried over to gif: EXIF, XMP" in lossy.notes
    with Image.open(tmp_path / "b.png") as made:
        assert made.getexif()[ExifTags.Base.Make] == "A camera"
        assert made.info["XML:com.adobe.xmp"].encode() == xmp
