"""Photos on a Ray cluster: who does what, and that every photo is done or named whatever ends in the meantime."""

import errno
import itertools
import os
import pickle
import socket
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoise_cli.errors import DenoiseError, DeviceUnavailable, MissingDependency, UsageError
from denoise_cli.pipeline import cluster
from denoise_cli.pipeline.cluster import Share, share_out
from denoise_cli.pipeline.jobs import STDIO, Job
from denoise_cli.pipeline.photo import NoRoom, Result
from denoise_cli.pipeline.task import Settings
from denoise_cli.pipeline.worker import Loading
from denoise_cli.version import __version__

SETTINGS = Settings("mallenet-s", 20 / 255)
LAPTOP, SERVER, HEAD = {"CPU": 4.0}, {"CPU": 16.0, "GPU": 4.0}, {"memory": 1e9}


@pytest.mark.parametrize(
    ("nodes", "device", "workers", "expected"),
    [
        ([LAPTOP], "auto", None, Share(2, 0, 2)),
        ([LAPTOP, LAPTOP, HEAD], "auto", None, Share(2, 0, 4)),
        ([LAPTOP, {"CPU": 1.0}], "auto", None, Share(1, 0, 5)),
        ([{"CPU": 3.0}, LAPTOP], "cpu", None, Share(2, 0, 3)),
        ([LAPTOP, SERVER], "auto", None, Share(4, 1, 4)),
        ([SERVER], "cpu", None, Share(2, 0, 8)),
        ([SERVER], "cuda", 3, Share(4, 1, 3)),
        ([SERVER], "cuda", 9, Share(4, 1, 4)),
        ([{"CPU": 2.0, "GPU": 4.0}], "auto", None, Share(0, 1, 4)),
        ([LAPTOP, {"CPU": 6.0}], "cpu", 2, Share(4, 0, 2)),
        ([LAPTOP, {"CPU": 6.0}], "cpu", 10, Share(1, 0, 10)),
        ([LAPTOP], "cpu", 7, Share(0.5, 0, 7)),
    ],
)
def test_processes_share_the_gpus_or_else_the_cores(
    nodes: list[dict[str, float]], device: str, workers: int | None, expected: Share
) -> None:
    assert share_out(nodes, device, workers) == expected


def test_devices_that_the_cluster_does_not_give_are_refused() -> None:
    with pytest.raises(DeviceUnavailable, match="--device cuda: no node of the cluster has a GPU"):
        share_out([LAPTOP], "cuda")
    with pytest.raises(DeviceUnavailable, match="no node of the cluster has a core"):
        share_out([HEAD], "auto")
    with pytest.raises(UsageError, match=r"--device cuda:1: .* choose auto, cuda or cpu"):
        share_out([SERVER], "cuda:1")


def test_without_ray_a_line_says_what_to_install(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependency, match=r"^--engine ray needs ray, .* pip install ray$"):
        list(cluster.run_all(jobs, Loading(), SETTINGS, ignore, "auto"))


def test_what_other_processes_do_not_see_is_refused() -> None:
    for job in (Job(STDIO, Path("a.png"), None), Job(Path("a.png"), STDIO, None)):
        with pytest.raises(UsageError, match="--engine ray: standard input and output are not seen"):
            list(cluster.run_all([job], Loading(), SETTINGS, ignore))


@pytest.fixture
def jobs(tmp_path: Path, rng: np.random.Generator) -> list[Job]:
    for name in "abcdef":
        noisy = (120 + rng.normal(0, 20, (64, 64, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(tmp_path / f"{name}.png")
    return [Job(tmp_path / f"{name}.png", tmp_path / f"{name}-clean.png", None) for name in "abcdef"]


def ignore(_job: Job) -> None:
    pass


def test_a_process_denoises_until_it_is_stopped(jobs: list[Job]) -> None:
    process = cluster._Process()
    plan = pickle.dumps((Loading("cpu", "fp32", threads=1), SETTINGS))
    assert process.begin(__version__, None, plan) == (socket.gethostname(), "")
    done = process.run(jobs[0])
    assert done is not None
    assert done.error is None
    assert jobs[0].target.exists()
    process.stop()
    assert process.run(jobs[1]) is None
    assert not jobs[1].target.exists()


def test_a_process_of_another_version_or_without_the_folder_says_so() -> None:
    process = cluster._Process()
    _, obstacle = process.begin("0.0.1", None, b"nothing that could be read")
    assert obstacle == f"has denoise {__version__}, and not 0.0.1: install the same on all nodes"
    _, obstacle = process.begin(__version__, "/there/is/none", b"")
    assert obstacle.startswith("does not see /there/is/none (No such file or directory)")


class Died(Exception):
    """What stands for Ray's errors."""


class FakeRay:
    """A cluster in this process, whose processes do what a function says."""

    def __init__(self, do: Callable[[Job], Result], obstacle: str = "") -> None:
        self.do, self.obstacle = do, obstacle
        self.exceptions = SimpleNamespace(RayError=Died)
        self.given: list[str] = []
        self.started = 0

    def remote(self, **_options: object) -> Callable[[object], Any]:
        return lambda _: SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self.start))

    def start(self) -> Any:
        self.started += 1
        state = SimpleNamespace(died=False)

        def run(job: Job) -> Any:
            if state.died:  # before it began
                raise Died("the process has died")
            self.given.append(job.source.stem)
            try:
                return self.do(job)
            except Died:
                state.died = True
                raise

        def begin(*_: object) -> tuple[str, str]:
            return socket.gethostname(), self.obstacle

        return SimpleNamespace(
            begin=SimpleNamespace(remote=Answer.of(begin)), run=SimpleNamespace(remote=Answer.of(run))
        )

    def get(self, answer: "Answer", timeout: float | None = None) -> Any:
        return answer.future().result(timeout)

    def kill(self, _actor: object) -> None:
        pass

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": LAPTOP}]


class Answer:
    """What will come of a call."""

    def __init__(self, future: "Future[Any]") -> None:
        self._future = future

    @staticmethod
    def of(function: Callable[..., Any]) -> "Callable[..., Answer]":
        def call(*arguments: object) -> Answer:
            future: Future[Any] = Future()
            try:
                future.set_result(function(*arguments))
            except Died as error:
                future.set_exception(error)
            return Answer(future)

        return call

    def future(self) -> "Future[Any]":
        return self._future


def results_of(ray: FakeRay, jobs: list[Job], count: int = 2) -> list[Result]:
    with socket.create_server(("127.0.0.1", 0)) as head:
        return results_with(head, ray, jobs, count)


def results_with(head: socket.socket, ray: FakeRay, jobs: list[Job], count: int = 2) -> list[Result]:
    address = f"127.0.0.1:{head.getsockname()[1]}"
    run = cluster._Run(ray, jobs, Loading(), SETTINGS, Share(1, 0, count), ignore, address)  # type: ignore[arg-type]
    try:
        return list(run.results())
    finally:
        run.stop()


def done(job: Job) -> Result:
    return Result(str(job.source), str(job.target), "mallenet-s")


def names(results: list[Result]) -> list[str]:
    return [Path(result.source).stem for result in results]


def test_results_come_in_the_order_of_the_photos(jobs: list[Job]) -> None:
    ray = FakeRay(done)
    results = results_of(ray, jobs)
    assert names(results) == list("abcdef")
    assert sorted(ray.given) == list("abcdef")
    assert all(result.error is None for result in results)
    assert ray.started == 2


def test_a_photo_that_ends_its_process_is_tried_twice_and_named(jobs: list[Job]) -> None:
    def do(job: Job) -> Result:
        if job.source.stem == "b":
            raise Died("page after page")
        return done(job)

    ray = FakeRay(do)
    results = results_of(ray, jobs)

    assert names(results) == list("abcdef")
    assert [Path(result.source).stem for result in results if result.error] == ["b"]
    assert results[1].error == (f"{jobs[1].source}: the process that denoised it ended unexpectedly, 2 times (Died)")
    assert ray.given.count("b") == 2
    assert all(ray.given.count(name) == 1 for name in "acdef")


def test_a_photo_that_was_written_before_its_process_ended_is_done(jobs: list[Job]) -> None:
    deaths = itertools.count()

    def do(job: Job) -> Result:
        if job.source.stem == "c" and next(deaths) == 0:
            job.target.write_bytes(b"a whole result")
            raise Died
        return done(job)

    ray = FakeRay(do)
    results = results_of(ray, jobs)
    assert [result.error for result in results] == [None] * 6
    assert results[2].notes == ("its process ended after it was written: a sidecar may be missing",)
    assert ray.given.count("c") == 1


def test_without_the_head_of_the_cluster_every_photo_is_named(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "HEAD_PATIENCE", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as head:

        def do(job: Job) -> Result:
            if job is jobs[0]:
                return done(job)
            head.close()
            job.target.write_bytes(b"result")
            raise Died("the process has died")

        results = results_with(head, FakeRay(do), jobs, count=1)
    lost = "the head of the cluster does not answer any longer"
    assert names(results) == [job.source.stem for job in jobs]
    assert [result.error for result in results[:2]] == [None, None]
    assert results[1].notes == (f"{lost}: a sidecar may be missing",)
    assert [result.error for result in results[2:]] == [
        *(f"{job.source}: whether it is denoised is not known: {lost}" for job in jobs[2:3]),
        *(f"{job.source}: not denoised: {lost}" for job in jobs[3:]),
    ]


def test_processes_that_always_end_are_not_started_for_ever(jobs: list[Job]) -> None:
    def do(_job: Job) -> Result:
        raise Died

    ray = FakeRay(do)
    results = results_of(ray, jobs)
    assert names(results) == list("abcdef")
    assert all(result.error for result in results)
    assert ray.started <= 2 * cluster.MOST_DEATHS


def test_a_cluster_that_cannot_denoise_names_every_photo(jobs: list[Job]) -> None:
    results = results_of(FakeRay(done, "has denoise 0, and not 1: install the same on all nodes"), jobs)
    assert names(results) == list("abcdef")
    machine = socket.gethostname()
    assert results[0].error == (
        f"{jobs[0].source}: not denoised: {machine} has denoise 0, and not 1: install the same on all nodes"
    )


def test_a_full_disk_ends_the_work(jobs: list[Job]) -> None:
    def do(job: Job) -> Result:
        return NoRoom(str(job.source), str(job.target), "mallenet-s", error=os.strerror(errno.ENOSPC))

    ray = FakeRay(do)
    results = results_of(ray, jobs)
    assert names(results) == list("abcdef")
    assert len(ray.given) <= 2 * cluster.IN_FLIGHT
    assert "not denoised, since the disk was full" in str(results[-1].error)


@pytest.mark.parametrize("address", ["nonsense", "6379", ":6379", "head:x", "ray://head:10001"])
def test_an_address_that_is_none_is_refused(jobs: list[Job], address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match=f"^--address {address}: expected HOST:PORT of the cluster's head, or auto$"):
        list(cluster.run_all(jobs, Loading(), SETTINGS, ignore, address))


def test_an_address_at_which_nobody_listens_is_refused_at_once(jobs: list[Job]) -> None:
    pytest.importorskip("ray")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DenoiseError, match=f"^--address {address}: cannot join it: .*refused"):
            list(cluster.run_all(jobs, Loading(), SETTINGS, ignore, address))


def test_ray_tells_nobody_that_it_is_used(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = pytest.importorskip("ray._common.usage.usage_lib")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    with pytest.raises(UsageError):
        list(cluster.run_all(jobs, Loading(), SETTINGS, ignore, "nonsense"))
    assert not usage.usage_stats_enabled()
