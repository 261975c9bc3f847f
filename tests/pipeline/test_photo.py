import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from denoise_cli.errors import UnreadableFile
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import image
from denoise_cli.io.photo import Photo
from denoise_cli.io.raw import Numbers, Picture, RawFile
from denoise_cli.pipeline import photo
from denoise_cli.pipeline.jobs import Job
from tests.io.phone_files import gain_map, ultra_hdr

SETTINGS = photo.Settings("mallenet-s", 0.1, strength=1.0, quality=95, overwrite=False, max_pixels=10**6)
AUTO = replace(SETTINGS, model="auto", noise=None)
PATIENCE = 60  # seconds until a test fails that waits for another thread
RAW = Path(__file__).parents[2] / "docs" / "images" / "noisy.dng"


@pytest.fixture
def jobs(tmp_path: Path, rng: np.random.Generator) -> list[Job]:
    for name in "abc":
        pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        image.write(tmp_path / f"{name}.png", Photo(pixels, None, "png"), "png", "test")
    return [Job(tmp_path / f"{name}.png", tmp_path / f"{name}-clean.png", None) for name in "abc"]


def load(name: str) -> Denoiser:
    return load_denoiser(name, "cpu", "fp32")


def ignore(_job: Job) -> None:
    pass


def test_a_photo_is_written_while_the_next_one_is_denoised(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    denoising_second, write = threading.Event(), image.write

    def write_late(target: Path, *rest: object) -> None:
        if target == jobs[0].target:
            assert denoising_second.wait(PATIENCE)
        write(target, *rest)  # type: ignore[arg-type]

    def begin(job: Job) -> None:
        if job is jobs[1]:
            denoising_second.set()

    monkeypatch.setattr(image, "write", write_late)
    results = list(photo.run_all(jobs, load, SETTINGS, begin))
    assert [result.error for result in results] == [None] * 3
    assert all(job.target.exists() for job in jobs)


def test_the_result_keeps_the_time_of_the_photo(jobs: list[Job]) -> None:
    taken = 1_234_567_890_000_000_000
    os.utime(jobs[0].source, ns=(taken, taken))

    photo.run(jobs[0], load, SETTINGS)

    assert jobs[0].target.stat().st_mtime_ns == taken


def test_what_the_target_cannot_hold_is_said_beforehand_and_afterwards(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    source = tmp_path / "photo.jpg"
    source.write_bytes(ultra_hdr(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8), gain_map(rng)))
    to_png, to_jpeg = (Job(source, tmp_path / f"clean.{kind}", kind) for kind in ("png", "jpeg"))

    assert photo.preview(to_png, load, SETTINGS).notes == ("not carried over to png: HDR gain map",)
    assert photo.run(to_png, load, SETTINGS).notes == ("not carried over to png: HDR gain map",)
    assert photo.run(to_jpeg, load, SETTINGS).notes == ()


@pytest.mark.parametrize(("kind", "expected"), [("jpeg", b"6"), ("png", b"1")])
def test_a_sidecar_says_how_its_photo_is_turned(
    kind: str, expected: bytes, tmp_path: Path, rng: np.random.Generator
) -> None:
    source = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    source.write_bytes(ultra_hdr(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8), gain_map(rng), exif=exif))
    source.with_suffix(".xmp").write_bytes(b'<x tiff:Orientation="6"/>')
    target = tmp_path / f"clean.{kind}"

    photo.run(Job(source, target, kind), load, SETTINGS)

    assert target.with_suffix(".xmp").read_bytes() == b'<x tiff:Orientation="' + expected + b'"/>'


@pytest.fixture
def raw_jobs(tmp_path: Path) -> list[Job]:
    for name in "abc":
        shutil.copy(RAW, tmp_path / f"{name}.dng")
    return [Job(tmp_path / f"{name}.dng", tmp_path / f"{name}-developed.png", "png") for name in "abc"]


def intercept_development(monkeypatch: pytest.MonkeyPatch, before: Callable[[RawFile], None]) -> None:
    """Call a function before each development of given numbers."""
    develop = RawFile.develop

    def intercepted(raw: RawFile, numbers: Numbers | None = None) -> Picture:
        assert numbers is not None
        before(raw)
        return develop(raw, numbers)

    monkeypatch.setattr(RawFile, "develop", intercepted)


def test_a_raw_file_is_developed_while_the_next_one_is_denoised(
    raw_jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    denoising_second = threading.Event()

    def wait_for_second(raw: RawFile) -> None:
        if raw.name == raw_jobs[0].source:
            assert denoising_second.wait(PATIENCE)

    def begin(job: Job) -> None:
        if job is raw_jobs[1]:
            denoising_second.set()

    intercept_development(monkeypatch, wait_for_second)
    results = list(photo.run_all(raw_jobs, load, AUTO, begin))
    assert [result.error for result in results] == [None] * 3
    together = [job.target.read_bytes() for job in raw_jobs]
    raw_jobs[0].target.unlink()
    photo.run(raw_jobs[0], load, AUTO)
    assert together == [raw_jobs[0].target.read_bytes()] * 3


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_raw_file_that_cannot_be_developed_is_closed_and_does_not_stop_the_others(
    raw_jobs: list[Job], failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[object] = []
    close = RawFile.close

    def fail(raw: RawFile) -> None:
        if raw.name == raw_jobs[failing].source:
            raise UnreadableFile(raw.name, "LibRaw cannot read it (in this test)")

    def record(raw: RawFile) -> None:
        close(raw)
        closed.append(raw.name)

    intercept_development(monkeypatch, fail)
    monkeypatch.setattr(RawFile, "close", record)
    results = list(photo.run_all(raw_jobs, load, AUTO, ignore))
    expected: list[str | None] = [None] * 3
    expected[failing] = f"{raw_jobs[failing].source}: LibRaw cannot read it (in this test)"
    assert [result.error for result in results] == expected
    assert closed == [job.source for job in raw_jobs]


@pytest.mark.parametrize("kind", ["png", "raw"])
def test_no_more_than_two_photos_are_held(
    kind: str, jobs: list[Job], raw_jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Job] = []
    held: list[int] = []
    write = image.write

    def count(target: Path, *rest: object) -> None:
        write(target, *rest)  # type: ignore[arg-type]
        held.append(len(begun) - len(held))

    monkeypatch.setattr(image, "write", count)
    list(photo.run_all(raw_jobs if kind == "raw" else jobs, load, AUTO, begun.append))
    assert len(held) == 3
    assert max(held) <= 2


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_photo_that_cannot_be_read_or_written_does_not_stop_the_others(jobs: list[Job], failing: int) -> None:
    job = jobs[failing]
    jobs[failing] = replace(job, target=job.target.parent / "missing" / "x.png")
    jobs.append(replace(jobs[failing], source=job.source.parent / "none.png"))
    results = list(photo.run_all(jobs, load, SETTINGS, ignore))
    assert [result.source for result in results] == [str(job.source) for job in jobs]
    assert [index for index, result in enumerate(results) if result.error] == [failing, 3]


def test_the_result_is_the_same_as_that_of_a_photo_alone(jobs: list[Job]) -> None:
    list(photo.run_all(jobs, load, SETTINGS, ignore))
    together = [job.target.read_bytes() for job in jobs]
    for job in jobs:
        job.target.unlink()
        photo.run(job, load, SETTINGS)
    assert [job.target.read_bytes() for job in jobs] == together


def test_a_dry_run_goes_on_after_a_failure(jobs: list[Job]) -> None:
    jobs[0] = replace(jobs[0], source=jobs[0].source.parent / "none.png")
    check: Callable[[str], object] = len
    results = list(photo.preview_all(jobs, check, SETTINGS, ignore))
    assert [result.error is None for result in results] == [False, True, True]
    assert all(result.dry_run for result in results)
    assert not any(job.target.exists() for job in jobs)


def floating_point(light: float, rng: np.random.Generator) -> Photo:
    """A photo of noise around middle grey, with a light in it."""
    pixels = (0.5 + rng.normal(0, 15 / 255, (200, 200, 3))).astype(np.float32)
    pixels[100:103, 100:103] = light
    return Photo(pixels, None, "tiff")


@pytest.mark.parametrize("noise", [None, 15 / 255])
def test_a_light_beyond_white_keeps_its_brightness_and_changes_nothing_else(noise: float | None) -> None:
    settings = photo.Settings("mallenet-s", noise)
    results = [
        photo.denoise_photo(floating_point(light, np.random.default_rng(0)), load("mallenet-s"), settings)[0].pixels
        for light in (1.5, 20, 2000)
    ]
    elsewhere = np.ones(results[0].shape, bool)
    elsewhere[100:103, 100:103] = False
    assert results[0][:90].std() < 0.3 * 15 / 255
    for light, result in zip((1.5, 20, 2000), results, strict=True):
        assert result[elsewhere] == pytest.approx(results[0][elsewhere], abs=0.002)
        assert result[100:103, 100:103] == pytest.approx(light, abs=0.1)


def test_floating_point_is_untouched_at_no_strength(rng: np.random.Generator) -> None:
    original = floating_point(7.3, rng)
    settings = photo.Settings("mallenet-s", 0.1, strength=0)
    assert np.array_equal(photo.denoise_photo(original, load("mallenet-s"), settings)[0].pixels, original.pixels)


def test_another_scale_of_floating_point_is_seen_and_said(rng: np.random.Generator) -> None:
    original = floating_point(0.9, rng)
    scaled = replace(original, pixels=original.pixels * 255)
    results = [
        photo.denoise_photo(one, load("mallenet-s"), photo.Settings("mallenet-s"))[0] for one in (original, scaled)
    ]
    assert results[0].notes == ()
    (note,) = results[1].notes
    assert re.fullmatch(r"most values are above 1: 1\d\d\.?\d* is taken for white", note)
    assert results[1].pixels[:90].std() / 255 < 0.3 * 15 / 255


def test_pixels_that_cannot_be_seen_do_not_count_for_the_level(rng: np.random.Generator) -> None:
    pixels = np.rint((0.5 + rng.normal(0, 15 / 255, (200, 200, 3))) * 255).astype(np.uint8)
    alpha = np.full((200, 200), 255, np.uint8)
    alpha[:, :100] = 0
    pixels[:, :100] = rng.integers(0, 256, (200, 100, 3))
    _, level = photo.denoise_photo(Photo(pixels, alpha, "png"), load("mallenet-s"), photo.Settings("mallenet-s"))
    assert isinstance(level, float)
    assert level * 255 == pytest.approx(15, abs=1.5)


def test_a_drawing_is_left_as_it_is_by_the_default_model() -> None:
    pixels = np.full((200, 300, 3), 255, np.uint8)
    pixels[20:180:9, 20:280] = pixels[20:180, 20:280:11] = (30, 60, 90)
    drawing = Photo(pixels, None, "png")
    result, level = photo.denoise_photo(drawing, load("mallenet-r"), photo.Settings("auto"))
    assert level == 0
    assert np.array_equal(result.pixels, pixels)
