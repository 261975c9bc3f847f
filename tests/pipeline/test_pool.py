import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from denoise_cli.errors import DenoiseError
from denoise_cli.io import image
from denoise_cli.io.photo import Photo
from denoise_cli.pipeline import photo, pool
from denoise_cli.pipeline.jobs import Job
from denoise_cli.pipeline.task import Settings
from denoise_cli.pipeline.worker import Loading, Worker
from tests.pipeline.awkward_workers import PATIENCE, Copying, Refusing, Single, Stillborn, wait_for

SETTINGS = Settings("mallenet-s", 0.1)
CPU = Loading("cpu", "fp32")
HALF_WRITTEN = ".denoise-*"
posix = pytest.mark.skipif(os.name != "posix", reason="signals and processes are those of POSIX")


class Run:
    """A run of a pool, and what it has told."""

    def __init__(self) -> None:
        self.begun: list[Job] = []
        self.finished: list[Job] = []
        self.notices: list[str] = []

    def __call__(self, jobs: list[Job], workers: int, make: type[Worker] = Copying) -> list[photo.Result]:
        return list(self.results(jobs, workers, make))

    def results(
        self, jobs: list[Job], workers: int, make: type[Worker] = Copying
    ) -> Generator[photo.Result, None, None]:
        return pool.run_all(jobs, CPU, SETTINGS, workers, self.begun.append, self.finished.append, self.hear, make)

    def hear(self, notice: str) -> None:
        self.notices.append(notice)
        Path("noticed").touch()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return Run()


def files(*contents: str) -> list[Job]:
    """Jobs whose files tell a worker what to do, in the working folder."""
    for index, content in enumerate(contents):
        Path(f"{index}.in").write_text(content)
    return [Job(Path(f"{index}.in"), Path(f"{index}.out"), None) for index in range(len(contents))]


def test_several_processes_write_what_one_writes(run: Run, tmp_path: Path, rng: np.random.Generator) -> None:
    for index in range(4):
        pixels = rng.integers(0, 256, (20, 30 + index, 3), dtype=np.uint8)
        image.write(tmp_path / f"{index}.png", Photo(pixels, None, "png"), "png", "test")
    jobs = [Job(Path(f"{index}.png"), Path(f"{index}-several.png"), None) for index in range(4)]
    alone = [Job(job.source, job.source.with_name(f"{job.source.stem}-alone.png"), None) for job in jobs]
    worker = Worker(CPU, SETTINGS)
    expected = list(photo.run_all(alone, worker.load, SETTINGS, run.begun.append))
    run.begun.clear()

    results = run(jobs, 2, Worker)

    assert [result.error for result in results] == [None] * 4
    assert [(result.source, result.width, result.sigma) for result in results] == [
        (result.source, result.width, result.sigma) for result in expected
    ]
    assert [job.target.read_bytes() for job in jobs] == [job.target.read_bytes() for job in alone]
    assert run.begun == jobs
    assert sorted(run.finished, key=str) == jobs
    assert run.notices == []


def test_results_come_in_the_order_of_the_photos_and_are_counted_as_they_finish(run: Run) -> None:
    jobs = files("wait 2.out", "", "")
    assert [result.source for result in run(jobs, 2)] == ["0.in", "1.in", "2.in"]
    assert run.finished == [jobs[1], jobs[2], jobs[0]]


@posix
def test_a_process_that_is_lost_costs_its_photo_alone(run: Run) -> None:
    fates = {
        "signal 9": "was killed by signal 9 (perhaps out of memory)",
        "signal 11": "was ended by signal 11 (Segmentation fault)",
        "signal 15": "was ended by signal 15 (Terminated)",
        "exit 3": "ended with exit code 3",
    }
    jobs = files("", *fates, "")
    results = run(jobs, 2)
    lost = [f"{index}.in: the process that denoised it {fate}" for index, fate in enumerate(fates.values(), start=1)]
    assert [result.error for result in results] == [None, *lost, None]
    assert [job.target.exists() for job in jobs] == [True, False, False, False, False, True]
    assert sorted(run.finished, key=str) == jobs


@posix
def test_processes_that_die_as_they_start_are_not_started_for_ever(run: Run) -> None:
    with pytest.raises(DenoiseError, match=r"a worker's process was killed by signal 9 .* before it took a photo"):
        run(files(*"abcdefgh"), 2, Stillborn)
    assert len(Path("marks").read_text()) == 2 + pool.MOST_FRUITLESS
    assert run.begun == []


def test_a_process_says_why_it_cannot_start(run: Run) -> None:
    with pytest.raises(DenoiseError, match=r"^weights: damaged$"):
        run(files(*"abcd"), 2, Refusing)
    assert len(Path("marks").read_text()) <= 2
    assert run.notices == []


def test_those_that_can_start_do_the_work_of_those_that_cannot(run: Run) -> None:
    results = run(files("wait noticed", *"abc"), 2, Single)
    assert run.notices == ["the GPU is in use: fewer workers go on"]
    assert [result.error for result in results] == [None] * 4


@posix
def test_when_nobody_is_left_every_photo_has_its_line(run: Run) -> None:
    results = run(files("", "exit 1", "", ""), 1, Single)
    assert [result.error for result in results] == [
        None,
        "1.in: the process that denoised it ended with exit code 1",
        "2.in: not denoised, since the GPU is in use",
        "3.in: not denoised, since the GPU is in use",
    ]


def test_once_a_disk_is_full_no_photo_is_begun(run: Run) -> None:
    results = run(files("", "full", *"abcdef"), 2)
    assert results[1].error == "no room"
    assert "7.in: not denoised, since the disk was full (no room)" in [result.error for result in results]
    assert len(run.begun) <= 4
    assert len(run.finished) == 8


def test_every_process_has_its_share_of_the_cores(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "count_threads", lambda: 7)
    assert [result.notes for result in run(files(*"abc"), 3)] == [("2",)] * 3
    monkeypatch.setattr(pool, "count_threads", lambda: 1)
    assert [result.notes for result in run(files(*"ab"), 2)] == [("1",)] * 2


def test_processes_take_gpus_in_turns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(pool, "device_of_worker", lambda *args: str(asked.append(args) or "cpu"))
    run(files(*"ab"), 2)
    assert asked == [("cpu", 0), ("cpu", 1)]


@posix
def test_what_is_half_written_is_removed_when_the_run_is_ended(run: Run, tmp_path: Path) -> None:
    results = run.results(files(f"wait {HALF_WRITTEN}", "hold", "hold"), 2)
    next(results)
    wait_for(HALF_WRITTEN, 2)
    results.close()
    assert not list(tmp_path.glob(HALF_WRITTEN))
    assert not Path("1.out").exists()


SCRIPT = """
from pathlib import Path
from denoise_cli.pipeline import photo, pool
from denoise_cli.pipeline.jobs import Job
from denoise_cli.pipeline.worker import Loading
from denoise_cli.pipeline.task import Settings
from tests.pipeline.awkward_workers import Copying

if __name__ == "__main__":
    jobs = [Job(Path(f"{index}.in"), Path(f"{index}.out"), None) for index in range(2)]
    settings, told = Settings("mallenet-s", 0.1), [lambda _: None] * 3
    list(pool.run_all(jobs, Loading("cpu", "fp32"), settings, 2, *told, Copying))
"""


@posix
def test_when_the_program_is_killed_its_processes_end_and_leave_nothing(run: Run, tmp_path: Path) -> None:
    files("hold", "hold")
    Path("script.py").write_text(SCRIPT)
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "script.py"], stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths}
    )
    wait_for(HALF_WRITTEN, 2)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=PATIENCE)  # until no process holds its standard error any longer
    assert said == ""
    assert not list(tmp_path.glob(HALF_WRITTEN))


@pytest.mark.parametrize(
    ("photos", "device", "memory", "expected"),
    [
        (1, "cpu", None, 1),
        (pool.FEWEST_PHOTOS * 2, "cpu", None, 2),
        (1000, "cpu", None, 6),
        (1000, "cpu", 3 * pool.WORKER_MEMORY, 3),
        (1000, "cpu", 1000, 1),
        (1000, "cuda", None, 4),
        (1000, "cuda:1", None, 1),
    ],
)
def test_automatic_is_one_for_each_core_or_gpu_unless_memory_or_photos_are_few(
    monkeypatch: pytest.MonkeyPatch, photos: int, device: str, memory: int | None, expected: int
) -> None:
    answers = {"choose_device": device, "count_gpus": 4, "count_threads": 6, "available_memory": memory}
    for name, answer in answers.items():
        monkeypatch.setattr(pool, name, lambda *_, answer=answer: answer)
    assert pool.count_workers(photos, device) == expected
