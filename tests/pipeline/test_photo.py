import errno
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from denoise_cli.errors import UnreadableFile, UnwritableFile
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import image
from denoise_cli.io.photo import Photo
from denoise_cli.io.raw import Numbers, Picture, RawFile
from denoise_cli.pipeline import photo, task
from denoise_cli.pipeline.jobs import Job
from denoise_cli.pipeline.task import Settings
from tests.io.phone_files import gain_map, ultra_hdr

SETTINGS = Settings("mallenet-s", 0.1, strength=1.0, quality=95, overwrite=False, max_pixels=10**6)
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
    denoising_second, write = threading.Event(), image.save

    def write_late(target: Path, *rest: object) -> None:
        if target == jobs[0].target:
            assert denoising_second.wait(PATIENCE)
        write(target, *rest)  # type: ignore[arg-type]

    def begin(job: Job) -> None:
        if job is jobs[1]:
            denoising_second.set()

    monkeypatch.setattr(image, "save", write_late)
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

    notes = ("--quality has no effect on PNG", "not carried over to png: HDR gain map")
    assert photo.preview(to_png, load, SETTINGS).notes == notes
    assert photo.run(to_png, load, SETTINGS).notes == notes
    assert photo.run(to_jpeg, load, replace(SETTINGS, strength=0.0)).notes == ()


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
    write = image.save

    def count(target: Path, *rest: object) -> None:
        write(target, *rest)  # type: ignore[arg-type]
        held.append(len(begun) - len(held))

    monkeypatch.setattr(image, "save", count)
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


@pytest.mark.parametrize("error", [MemoryError(), ValueError("unforeseen"), OSError(5, "Input/output error")])
# Before and after a photo is denoised.
@pytest.mark.parametrize(("module", "stage"), [(task, "model_for"), (photo, "carry")])
def test_whatever_happens_to_one_photo_the_others_are_denoised(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, module: ModuleType, stage: str, error: Exception
) -> None:
    original = getattr(module, stage)

    def failing(*arguments: Any, **options: Any) -> Any:
        if jobs[1].source in arguments:
            raise error
        return original(*arguments, **options)

    monkeypatch.setattr(module, stage, failing)
    results = list(photo.run_all(jobs, load, SETTINGS, ignore))

    assert [result.error is None for result in results] == [True, False, True]
    assert str(results[1].error).startswith(f"{jobs[1].source}: ")
    assert len(str(results[1].error).splitlines()) == 1


def test_a_full_disk_ends_the_work_and_every_photo_has_a_result(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(target: Path, *_: object) -> int:
        raise UnwritableFile(target, "cannot write: No space left on device") from OSError(errno.ENOSPC, "full")

    begun: list[str] = []
    original = task.model_for
    monkeypatch.setattr(image, "save", full)
    monkeypatch.setattr(task, "model_for", lambda *args: begun.append(str(args[1])) or original(*args))
    many = [replace(jobs[index % 3], target=Path(f"{index}.png")) for index in range(6)]
    results = list(photo.run_all(many, load, SETTINGS, ignore))

    assert len(results) == 6
    assert all(result.error for result in results)
    assert len(begun) <= 2  # the second is denoised while the first is written
    assert "not denoised, since the disk was full" in str(results[-1].error)
