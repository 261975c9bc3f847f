"""Sequences of numbered pictures: kept like photos, denoised like clips, continued after an interruption."""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from denoise_cli.errors import UnreadableFile, UnwritableFile, UsageError
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.io import dng, image
from denoise_cli.io.exif import ASCII, BYTE, SRATIONAL, Exif, Value
from denoise_cli.io.photo import Photo
from denoise_cli.io.raw import RawFile
from denoise_cli.io.video import Reader
from denoise_cli.pipeline import clip, photo, sequence
from denoise_cli.pipeline.jobs import Job
from denoise_cli.pipeline.sequence import Settings
from denoise_cli.pipeline.task import Settings as PhotoSettings

H, W = 48, 64
UNCHANGED = Settings("mallenet-s", 1, 0.1, strength=0.0)
SENSOR = Sensor(ShotRead(3e-3, 6e-3))


@pytest.fixture
def load(shared_denoisers: Callable[..., Denoiser]) -> Callable[[str], Denoiser]:
    return lambda name: shared_denoisers(name, "cpu", "fp32")


def scene(place: int) -> NDArray[np.float32]:
    """A frame of a smooth scene that moves, (H, W, 3) on [0, 1]."""
    y, x = np.mgrid[:H, :W].astype(np.float32)
    return np.stack([0.5 + 0.2 * np.sin((x + 2 * place) / 9), 0.4 + 0.2 * np.sin(y / 7), 0.3 + x / 200], axis=-1)


def frames(count: int, dtype: type = np.uint16, sigma: float = 0.05) -> list[NDArray[np.generic]]:
    rng = np.random.default_rng(0)
    noisy = [scene(place) + rng.normal(0, sigma, (H, W, 3)).astype(np.float32) for place in range(count)]
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    return [(one.clip(0, 1) * white).astype(dtype) for one in noisy]


def write(folder: Path, count: int = 5, kind: str = "png", dtype: type = np.uint16) -> Path:
    """A folder with frames 1, 2, 3 ..."""
    folder.mkdir()
    for number, pixels in enumerate(frames(count, dtype), start=1):
        name = f"{number:04d}{image.FORMATS[kind].extensions[0]}"
        image.write(folder / name, Photo(pixels, None, kind), kind, "test")  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("png", np.uint8), ("png", np.uint16), ("tiff", np.uint8), ("tiff", np.uint16), ("tiff", np.float32),
     ("jpeg", np.uint8), ("exr", np.float32)],
)  # fmt: skip
def test_every_frame_is_kept_as_a_photo_is(
    kind: str, dtype: type, tmp_path: Path, load: Callable[[str], Denoiser]
) -> None:
    folder = write(tmp_path / "in", 2, kind, dtype)
    planned = sequence.plan(folder)
    result = sequence.run(planned, load, UNCHANGED)
    assert (result.frames, result.made, result.complete, result.codec) == (2, 2, True, kind)
    assert planned.target == tmp_path / "in-denoised"
    for job in planned.jobs.values():
        alone = job.target.with_name(f"alone_{job.target.name}")
        photo.run(Job(job.source, alone, kind), load, UNCHANGED.for_photos(overwrite=False))
        assert job.target.read_bytes() == alone.read_bytes()
        assert job.target.stat().st_mtime_ns == job.source.stat().st_mtime_ns


def test_metadata_profile_and_transparency_stay(tmp_path: Path, load: Callable[[str], Denoiser]) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    alpha = np.tile(np.arange(W, dtype=np.uint8) * 4, (H, 1))
    (tmp_path / "in").mkdir()
    for number, pixels in enumerate(frames(3, np.uint8), start=8):
        picture = Image.fromarray(np.dstack([pixels, alpha]))
        picture.save(tmp_path / "in" / f"{number}.png", icc_profile=profile, exif=exif)
    sequence.run(sequence.plan(tmp_path / "in" / "%d.png"), load, replace(UNCHANGED, strength=1.0))
    assert sorted(path.name for path in (tmp_path / "in-denoised").iterdir()) == ["10.png", "8.png", "9.png"]
    with Image.open(tmp_path / "in-denoised" / "9.png") as made:
        assert made.info["icc_profile"] == profile
        assert made.getexif()[0x010F] == "A camera"
        np.testing.assert_array_equal(np.asarray(made)[..., 3], alpha)


def test_noise_goes_and_frames_are_denoised_together(tmp_path: Path, load: Callable[[str], Denoiser]) -> None:
    planned = sequence.plan(write(tmp_path / "in", 5), tmp_path / "out_%d.tif")
    result = sequence.run(planned, load, Settings("mallenet-v", 5))
    assert result.sigma == pytest.approx(0.05 * 255, rel=0.2)
    alone = photo.run(Job(tmp_path / "in/0003.png", tmp_path / "alone.png", "png"), load, PhotoSettings("mallenet-s"))
    assert alone.error is None

    def error(path: Path) -> float:
        return float(np.sqrt(np.mean((image.read(path).as_float() - scene(2)) ** 2)))

    assert error(tmp_path / "out_3.tif") < error(tmp_path / "alone.png") < 0.5 * error(tmp_path / "in/0003.png")


def test_a_clip_of_the_same_frames_is_denoised_alike(tmp_path: Path, load: Callable[[str], Denoiser]) -> None:
    folder = write(tmp_path / "in", 5)
    settings = Settings("mallenet-s", 3, 0.05)
    sequence.run(sequence.plan(folder), load, settings)
    made = clip.run(
        folder, tmp_path / "out.mkv", load("mallenet-s"), clip.Settings("mallenet-s", 3, 0.05, codec="ffv1")
    )
    assert (made.frames, made.complete, made.pixel_format) == (5, True, "gbrp16le")
    assert "25 frames per second: --fps names another rate" in made.notes
    with Reader(tmp_path / "out.mkv") as reader:
        for number, frame in enumerate(reader.frames(), start=1):
            green, blue, red = (plane.astype(int) for plane in frame.planes)
            expected = image.read(tmp_path / "in-denoised" / f"{number:04d}.png").pixels
            assert np.abs(np.stack([red, green, blue], axis=-1) - expected).max() <= 1


def test_linear_light_beyond_white_stays_beyond_it(tmp_path: Path, load: Callable[[str], Denoiser]) -> None:
    (tmp_path / "in").mkdir()
    for number, pixels in enumerate(frames(3, np.float32)):
        pixels[10:14, 10:14] = 40
        image.write(tmp_path / "in" / f"{number}.exr", Photo(pixels, None, "exr"), "exr", "test")  # type: ignore[arg-type]
    sequence.run(sequence.plan(tmp_path / "in"), load, Settings("mallenet-s", 1, 0.05))
    before = image.read(tmp_path / "in/1.exr").as_float()
    after = image.read(tmp_path / "in-denoised/1.exr").as_float()
    assert np.abs(after[11:13, 11:13] / before[11:13, 11:13] - 1).max() < 0.1
    assert np.abs(np.diff(after[20:], axis=1)).mean() < 0.5 * np.abs(np.diff(before[20:], axis=1)).mean()


def test_a_frame_that_cannot_be_read_costs_itself_alone(tmp_path: Path, load: Callable[[str], Denoiser]) -> None:
    folder = write(tmp_path / "in", 6)
    (folder / "0001.png").write_bytes(b"no picture")
    (folder / "0003.png").write_bytes((folder / "0003.png").read_bytes()[:300])
    Image.new("RGB", (20, 10)).save(folder / "0005.png")
    lines: list[str] = []
    result = sequence.run(sequence.plan(folder), load, UNCHANGED, failed=lines.append)
    assert not result.complete
    assert sorted(path.name for path in (tmp_path / "in-denoised").iterdir()) == ["0002.png", "0004.png", "0006.png"]
    assert [line.partition(":")[0] for line in lines] == [str(folder / f"000{number}.png") for number in (1, 3, 5)]
    assert lines[2].endswith("is 20 x 10 RGB, but the frames before 64 x 48 RGB")
    assert result.notes[-1] == "left out 3 that could not be denoised: frames 1, 3, 5"


def test_a_clip_of_pictures_counts_those_that_cannot_be_read(tmp_path: Path, load: Callable[[str], Denoiser]) -> None:
    folder = write(tmp_path / "in", 4)
    (folder / "0002.png").write_bytes(b"no picture")
    settings = clip.Settings("mallenet-s", 1, strength=0.0)
    result = clip.run(folder / "%04d.png", tmp_path / "a.mp4", load("mallenet-s"), settings)
    assert (result.frames, result.complete) == (3, False)
    assert any(note.startswith(f"left out 1 of 4 frames: {folder}/0002.png: ") for note in result.notes)


def test_gaps_are_named_and_every_result_has_the_number_of_its_frame(
    tmp_path: Path, load: Callable[[str], Denoiser]
) -> None:
    folder = write(tmp_path / "in", 4)
    (folder / "0002.png").unlink()
    notices: list[str] = []
    sequence.run(sequence.plan(folder, tmp_path / "out/a%d.tif"), load, UNCHANGED, notice=notices.append)
    assert notices == ["the numbering has gaps (2): the frames around them are taken to follow each other"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a1.tif", "a3.tif", "a4.tif"]


class Stop(Exception):
    pass


def test_an_interrupted_run_is_continued(tmp_path: Path, load: Callable[[str], Denoiser]) -> None:
    folder, settings = write(tmp_path / "in", 12), Settings("mallenet-s", 3)
    whole, planned = sequence.plan(folder, tmp_path / "whole"), sequence.plan(folder, tmp_path / "out")
    sequence.run(whole, load, settings)

    def stop(done: int, _fraction: float) -> None:
        if done == 4:
            raise Stop

    with pytest.raises(Stop):
        sequence.run(planned, load, settings, progress=stop)
    finished = {job.target: job.target.stat().st_ino for job in planned.jobs.values() if job.target.exists()}
    assert len(finished) == 4
    assert planned.record.exists
    assert not whole.record.exists
    with pytest.raises(UnwritableFile, match="already exists"):
        sequence.run(planned, load, settings)
    with pytest.raises(UsageError, match="left by a run with other frames, settings or version"):
        sequence.run(planned, load, replace(settings, strength=0.5), resume=True)
    result = sequence.run(planned, load, settings, resume=True)
    assert (result.frames, result.made) == (12, 8)
    assert {path: path.stat().st_ino for path in finished} == finished
    for one, other in zip(whole.jobs.values(), planned.jobs.values(), strict=True):
        assert one.target.read_bytes() == other.target.read_bytes()
    assert all(not path.name.startswith(".") for path in (tmp_path / "out").iterdir())


def test_results_that_no_run_has_left_are_not_continued(tmp_path: Path, load: Callable[[str], Denoiser]) -> None:
    planned = sequence.plan(write(tmp_path / "in", 2))
    sequence.run(planned, load, UNCHANGED)
    with pytest.raises(UnwritableFile, match="already exists, and there is no interrupted run to continue"):
        sequence.run(planned, load, UNCHANGED, resume=True)
    assert sequence.run(planned, load, UNCHANGED, overwrite=True, resume=True).made == 2


def test_older_results_do_not_count_as_those_of_an_interrupted_run(
    tmp_path: Path, load: Callable[[str], Denoiser]
) -> None:
    planned = sequence.plan(write(tmp_path / "in", 4))
    sequence.run(planned, load, UNCHANGED)
    settings = replace(UNCHANGED, strength=1.0)

    def stop(_done: int, _fraction: float) -> None:
        raise Stop

    with pytest.raises(Stop):
        sequence.run(planned, load, settings, overwrite=True, progress=stop)
    result = sequence.run(planned, load, settings, overwrite=True, resume=True)
    assert (result.frames, result.made) == (4, 3)


def test_a_result_that_exists_is_refused_before_any_work(tmp_path: Path, load: Callable[[str], Denoiser]) -> None:
    planned = sequence.plan(write(tmp_path / "in", 3))
    (tmp_path / "in-denoised").mkdir()
    (tmp_path / "in-denoised/0003.png").touch()
    with pytest.raises(UnwritableFile, match=r"0003\.png: already exists"):
        sequence.run(planned, load, UNCHANGED)
    assert [path.name for path in (tmp_path / "in-denoised").iterdir()] == ["0003.png"]
    with pytest.raises(UnwritableFile, match="is the input itself"):
        sequence.run(sequence.plan(tmp_path / "in", tmp_path / "in"), load, UNCHANGED, overwrite=True)


def test_what_the_first_frame_cannot_become_is_refused_at_once(tmp_path: Path, load: Callable[[str], Denoiser]) -> None:
    (tmp_path / "in").mkdir()
    for number in (1, 2):
        Image.new("RGBA", (W, H), (90, 90, 90, 50)).save(tmp_path / "in" / f"{number}.png")
    with pytest.raises(UnwritableFile, match="cannot hold transparency"):
        sequence.run(sequence.plan(tmp_path / "in", tmp_path / "out/%d.jpg"), load, UNCHANGED)
    assert not (tmp_path / "out").exists()
    for number in (1, 2):
        (tmp_path / "in" / f"{number}.png").write_bytes(b"nothing")
    with pytest.raises(UnreadableFile, match="holds no frame that can be denoised"):
        sequence.run(sequence.plan(tmp_path / "in"), load, UNCHANGED)


def test_memory_does_not_grow_with_the_sequence(tmp_path: Path, load: Callable[[str], Denoiser]) -> None:
    most = 0

    def count(_done: int, _fraction: float) -> None:
        nonlocal most
        most = max(most, sum(type(one) is Photo for one in gc.get_objects()))

    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(60):
        Image.new("L", (16, 16), 4 * number).save(folder / f"{number}.png")
    assert sequence.run(sequence.plan(folder), load, replace(UNCHANGED, frames=5), progress=count).frames == 60
    assert most < 40


TIMED = {
    51044: Exif().packed(SRATIONAL, [23.976]),  # FrameRate
    51105: Value(ASCII, b"A camera\0"),  # CameraLabel
}


@pytest.fixture
def takes(tmp_path: Path) -> Path:
    """A folder of Cinema DNG: each frame with its time code, beside the sound."""
    folder = tmp_path / "A001"
    folder.mkdir()
    for number in range(3):
        picture = scene(number)
        numbers = SENSOR.capture(np.ascontiguousarray(picture), np.random.default_rng(number))
        made = dng.simulated_dng(SENSOR, numbers, (picture[::4, ::4] * 255).astype(np.uint8))
        time_code = {51043: Value(BYTE, bytes([number, 0, 0, 0x10, 0, 0, 0, 0]))}
        made = replace(made, camera=made.camera | TIMED | time_code)
        (folder / f"A001_{number:06d}.dng").write_bytes(dng.encode(made, "test"))
    (folder / "A001.wav").touch()
    return folder


def test_cinema_dng_stays_that_with_its_times(takes: Path, load: Callable[[str], Denoiser]) -> None:
    result = sequence.run(sequence.plan(takes), load, Settings("auto"))
    assert (result.model, result.frames, result.codec, result.complete) == ("mallenet-raw", 3, "dng", True)
    assert result.notes[0] == "left out what is no frame: A001.wav"
    for number in range(3):
        name = f"A001_{number:06d}.dng"
        tags = []
        for folder in (takes, takes.with_name("A001-denoised")):
            with RawFile((folder / name).read_bytes(), 10**6) as raw:
                found = dng.tags_to_keep(raw.data, True)[0]
                tags.append({key: found[key] for key in (51043, 51044, 51105)})
                light = raw.mosaic.light
                tags[-1][0] = float(np.abs(light[:, 2:] - light[:, :-2]).mean())  # type: ignore[assignment]
        before, after = tags
        assert after.pop(0) < 0.6 * before.pop(0)  # type: ignore[operator]
        assert after == before
        assert after[51043].data[0] == number


def test_a_damaged_dng_costs_itself_alone_and_a_run_of_raw_is_continued(
    takes: Path, load: Callable[[str], Denoiser]
) -> None:
    planned = sequence.plan(takes, takes.with_name("out") / "%d.tif")

    def stop(_done: int, _fraction: float) -> None:
        raise Stop

    (takes / "A001_000001.dng").write_bytes(b"II*\0nothing")
    with pytest.raises(Stop):
        sequence.run(planned, load, Settings("auto"), progress=stop)
    lines: list[str] = []
    result = sequence.run(planned, load, Settings("auto"), resume=True, failed=lines.append)
    assert (result.frames, result.made, result.complete) == (2, 1, False)
    assert len(lines) == 1
    assert lines[0].startswith(str(takes / "A001_000001.dng"))
    assert sorted(path.name for path in takes.with_name("out").iterdir()) == ["0.tif", "2.tif"]


def test_raw_does_not_become_a_clip(takes: Path, tmp_path: Path, load: Callable[[str], Denoiser]) -> None:
    with pytest.raises(UsageError, match=r"camera RAW becomes \.dng or pictures first"):
        clip.run(takes, tmp_path / "a.mp4", load("mallenet-s"), clip.Settings("mallenet-s"))


def test_what_is_wrong_with_all_raw_frames_is_said_once(takes: Path, load: Callable[[str], Denoiser]) -> None:
    lines: list[str] = []
    with pytest.raises(UnwritableFile, match="--noise is a single number: write --noise SHOT,READ"):
        sequence.run(sequence.plan(takes), load, Settings("auto", noise=0.1), failed=lines.append)
    assert not lines
    assert not takes.with_name("A001-denoised").exists()
