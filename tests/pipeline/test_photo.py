import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import image
from denoise_cli.io.photo import Photo
from denoise_cli.pipeline import photo
from denoise_cli.pipeline.jobs import Job

SETTINGS = photo.Settings("mallenet-s", 0.1, strength=1.0, quality=95, overwrite=False, max_pixels=10**6)
PATIENCE = 60  # seconds until a test fails that waits for another thread


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


def test_no_more_than_two_photos_are_held(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Job] = []
    held: list[int] = []
    write = image.write

    def count(target: Path, *rest: object) -> None:
        write(target, *rest)  # type: ignore[arg-type]
        held.append(len(begun) - len(held))

    monkeypatch.setattr(image, "write", count)
    list(photo.run_all(jobs, load, SETTINGS, begun.append))
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
