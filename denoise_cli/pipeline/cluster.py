"""Photos denoised by the processes of a Ray cluster: paths go there, and the results of photos come back.

Each process is an actor with a GPU or with some cores, which loads its models once. Ray Data is not used: it drops what
fails, and passes data through Ray's object store. Nor does Ray try anything again by itself: it does not know that a
process may have written its photo before it ended.
"""

import math
import os
import pickle
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from denoise_cli.errors import DenoiseError, DeviceUnavailable, MissingDependency, UsageError
from denoise_cli.inference.device import choose_precision, count_threads
from denoise_cli.io.decoding import one_line
from denoise_cli.pipeline.jobs import STDIO, Job
from denoise_cli.pipeline.memory import keep_freed_memory
from denoise_cli.pipeline.photo import NoRoom, Result, failed, not_begun
from denoise_cli.pipeline.task import Settings
from denoise_cli.pipeline.worker import Loading, Worker
from denoise_cli.version import __version__

if TYPE_CHECKING:
    from types import ModuleType

CORES = 2  # of each process, if it has no GPU and nothing else is asked for
IN_FLIGHT = 2  # photos of each process: one that is denoised, and one that need not be waited for after it
MOST_TRIES = 2  # of a photo during which a process ends
MOST_DEATHS = 3  # of processes in the same place, with no photo finished between them
POLL_INTERVAL = 0.5  # seconds between two looks at what else may have happened
HEAD_INTERVAL = 5.0  # seconds between two looks at whether the cluster's head is there
CONNECTING = 10.0  # seconds for a cluster's head to answer
HEAD_PATIENCE = 30.0  # seconds without a head, which may be restarted; after 60, Ray would end this process
GRACE = 10.0  # seconds for processes to remove their temporary files
PATIENCE = 60.0  # seconds to wait for a node, if there is none on which a process would have room
OBJECT_STORE = 75 << 20  # bytes, the least that Ray accepts: no photo passes through it
LONGEST_TEMPORARY = 24  # characters of a folder's name, below which the names of Ray's sockets are not too long
# For the processes, before they load NumPy and PyTorch: see `cli.exit_codes.run`.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


@dataclass(frozen=True)
class Share:
    """What each process takes of a cluster.

    Attributes:
        cores: that it has for itself; less than one if processes share one.
        gpus: 1 or 0.
        count: the number of processes.
    """

    cores: float
    gpus: int
    count: int


def share_out(nodes: Sequence[Mapping[str, float]], device: str, workers: int | None = None) -> Share:
    """How the processes share a cluster: each has a GPU, or some cores of a node.

    Args:
        nodes: how much there is of each of Ray's resources ("CPU", "GPU") on each node.
        device: "auto" for GPUs if there are any, "cuda" or "cpu".
        workers: the number of processes; None for one on each GPU, or on every `CORES` cores.

    Raises:
        UsageError: a device that is none of these.
        DeviceUnavailable: the cluster has none.
    """
    if device not in ("auto", "cuda", "cpu"):
        raise UsageError(f"--device {device}: the cluster gives each process its GPU: choose auto, cuda or cpu")
    with_gpus = [node for node in nodes if node.get("GPU", 0) >= 1]
    if device == "cuda" and not with_gpus:
        raise DeviceUnavailable("--device cuda: no node of the cluster has a GPU")
    if with_gpus and device != "cpu":
        gpus = sum(int(node["GPU"]) for node in with_gpus)
        cores = min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpus)
        return Share(cores, 1, min(gpus, workers or gpus))
    cores_of_nodes = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    if not cores_of_nodes:
        raise DeviceUnavailable("no node of the cluster has a core for a process")

    def fit(cores: float) -> int:
        return sum(math.floor(each / cores) for each in cores_of_nodes)

    if workers is None:
        least = min(CORES, *cores_of_nodes)
        return Share(least, 0, fit(least))
    whole = next((cores for cores in range(max(cores_of_nodes), 0, -1) if fit(cores) >= workers), None)
    return Share(whole or 1 / math.ceil(workers / fit(1)), 0, workers)


def run_all(
    jobs: Sequence[Job],
    loading: Loading,
    settings: Settings,
    begin: Callable[[Job], None],
    address: str | None = None,
    workers: int | None = None,
) -> Iterator[Result]:
    """Run jobs on a cluster, whose nodes see the files under the same paths.

    Args:
        jobs: the photos and their targets.
        loading: how models are loaded; its number of threads is ignored.
        settings: how to denoise.
        begin: called before each job.
        address: of the cluster's head, or "auto" for the one that this machine belongs to; None to start a cluster of
            this machine, which ends with the work.
        workers: the number of processes; None for one on each GPU, or on some cores of each node.

    Yields:
        The result of each job, in their order, also of those that failed. Once a disk is full, none of those that are
        left is begun. If a process ends while it denoises, the photo is tried once more.

    Raises:
        MissingDependency: Ray is not installed.
        UsageError: a photo comes from standard input or goes to standard output, the address is none, or the device
            is not left to the cluster.
        DeviceUnavailable: the cluster has no such device.
        DenoiseError: the cluster cannot be joined or started.
    """
    if any(STDIO in (job.source, job.target) for job in jobs):
        raise UsageError("--engine ray: standard input and output are not seen by other processes: name files")
    with _joined(address) as ray:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        share = share_out(nodes, loading.device, workers)
        device = "cuda" if share.gpus else "cpu"
        if device == "cpu":
            choose_precision(device, loading.precision)
        loading = replace(loading, device=device, threads=max(1, int(share.cores)))
        run = _Run(ray, jobs, loading, settings, share, begin, ray.get_runtime_context().gcs_address)
        try:
            yield from run.results()
        finally:
            run.stop()


@contextmanager
def _joined(address: str | None) -> "Iterator[ModuleType]":
    """Ray, connected to a cluster."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent
    if address is None:
        # Ray listens to the network, too: only those who know this may have it run something. Ray reads it once.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
        import ray.exceptions
        from ray._private import utils, worker
    except ImportError as error:
        raise MissingDependency("--engine ray", "ray") from error
    # It prints that a process has died on standard output, whatever it is told, among the records of --json; and it
    # would replace the program's handler of SIGTERM.
    worker.print_to_stdstream = utils.set_sigterm_handler = lambda *_, **__: None
    options = {"log_to_driver": False, "logging_level": "CRITICAL", "address": address or "local"}
    folder = None
    if address is None:
        folder = tempfile.mkdtemp(prefix="denoise-ray-", dir=_temporary_folder())
        options |= {"num_cpus": count_threads(), "include_dashboard": False, "object_store_memory": OBJECT_STORE}
        options |= {"_temp_dir": folder}
    elif address != "auto":
        _check_answers(address)
    try:
        with _signals_later():
            try:
                ray.init(**options)
            except Exception as error:  # Ray raises all sorts of errors, and plain Exception, too
                what = "--engine ray: cannot start Ray" if address is None else f"--address {address}: cannot join it"
                raise DenoiseError(f"{what}: {one_line(error)}") from error
        yield ray
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _signals_later() -> Iterator[None]:
    """Let signals that end the program wait: Ray stops only what it has started completely."""
    came: list[int] = []
    kept = {}
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if callable(handler := signal.getsignal(number)):
            kept[number] = handler
            signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def _check_answers(address: str) -> None:
    """Refuse an address at which nobody listens, for which Ray would wait for minutes.

    Raises:
        UsageError: it is none.
        DenoiseError: nobody does.
    """
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdecimal()) or "/" in host:
        raise UsageError(f"--address {address}: expected HOST:PORT of the cluster's head, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECTING).close()
    except (OSError, OverflowError) as error:
        raise DenoiseError(f"--address {address}: cannot join it: {one_line(error)}") from error


def _temporary_folder() -> str:
    """The system's folder for temporary files, unless names of sockets in it would be too long."""
    folder = tempfile.gettempdir()
    return folder if len(folder) <= LONGEST_TEMPORARY else "/tmp"  # noqa: S108 - what is made there is the user's alone


class _Stopped(BaseException):
    """Work that is abandoned."""


class _Process:
    """What a process of the cluster does: it denoises one photo after another."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._working = threading.Lock()
        self._worker: Worker | None = None

    def begin(self, version: str, folder: str | None, plan: bytes) -> tuple[str, str]:
        """Prepare for the work of a driver, if that has the same version.

        Args:
            version: of the driver.
            folder: in which relative paths begin; None if there are none.
            plan: how to load and to denoise, pickled, since other versions may not know what it is.

        Returns:
            The name of the machine, and why it cannot denoise anything; "" if it can.
        """
        machine = socket.gethostname()
        if version != __version__:
            return machine, f"has denoise {__version__}, and not {version}: install the same on all nodes"
        try:
            if folder is not None:
                os.chdir(folder)
        except OSError as error:
            return machine, f"does not see {folder} ({error.strerror}): all nodes have to share a file system"
        keep_freed_memory()
        self._worker = Worker(*pickle.loads(plan))  # noqa: S301 - Ray itself runs what a driver sends
        return machine, ""

    def run(self, job: Job) -> Result | None:
        """Denoise a photo; None if that was abandoned."""
        assert self._worker is not None
        with self._working:
            try:
                self._go_on(0)
                return self._worker.run(job, self._go_on)
            except _Stopped:
                return None

    def stop(self) -> None:
        """Abandon the photo that is denoised, and wait until its temporary files are removed; from another thread."""
        self._stopped.set()
        with self._working:
            pass

    def _go_on(self, _fraction: float) -> None:
        if self._stopped.is_set():
            raise _Stopped


@dataclass
class _Seat:
    """A place for a process, which has another one when it ends.

    Attributes:
        actor: the process.
        beginning: what it answers when it has been started.
        machine: the name of that on which it was.
        given: what it answers when it has denoised a photo, and the number of the photo, in their order.
        deaths: how many processes have ended here since a photo was finished.
    """

    actor: Any
    beginning: Any
    machine: str = ""
    given: dict[Any, int] = field(default_factory=dict)
    deaths: int = 0


class _Run:
    """The photos of a run, and the processes of the cluster that denoise them."""

    def __init__(
        self,
        ray: "ModuleType",
        jobs: Sequence[Job],
        loading: Loading,
        settings: Settings,
        share: Share,
        begin: Callable[[Job], None],
        head: str,
    ) -> None:
        self._ray, self._jobs, self._settings, self._share, self._begin = ray, jobs, settings, share, begin
        self._head = head
        self._head_seen = time.monotonic()
        self._plan = pickle.dumps((loading, settings))
        self._folder = str(Path.cwd()) if _has_relative_paths(jobs, settings) else None
        self._waiting = deque(range(len(jobs)))
        self._done: dict[int, Result] = {}
        self._tries = [0] * len(jobs)
        self._before: dict[int, _State] = {}
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._full: NoRoom | None = None
        self._obstacle = ""  # why nothing else can be denoised
        self._stranded_since: float | None = None
        self._seats = [_Seat(*self._start()) for _ in range(min(share.count, len(jobs)))]

    def results(self) -> Iterator[Result]:
        """The result of each job, in their order."""
        for index in range(len(self._jobs)):
            while index not in self._done:
                self._give()
                if index not in self._done:
                    self._collect()
            yield self._done.pop(index)

    def stop(self) -> None:
        """Abandon what is not finished."""
        ray = self._ray
        stopping = [seat.actor.stop.options(concurrency_group="control").remote() for seat in self._seats if seat.given]
        if stopping:
            ray.wait(stopping, num_returns=len(stopping), timeout=GRACE)
        for seat in self._seats:
            ray.kill(seat.actor)

    def _start(self) -> tuple[Any, Any]:
        """A new process, and what it answers to the driver."""
        actor_class = self._ray.remote(concurrency_groups={"control": 1})(_Process)
        actor = actor_class.options(
            num_cpus=self._share.cores,
            num_gpus=self._share.gpus,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": ENVIRONMENT},
        ).remote()
        return actor, self._listen(actor.begin.remote(__version__, self._folder, self._plan))

    def _give(self) -> None:
        """Give photos to processes that have fewer than they may, or a result to all, if nothing else can be done."""
        while self._waiting and (self._full is not None or self._obstacle):
            index = self._waiting.popleft()
            job = self._jobs[index]
            self._begin(job)
            if self._full is not None:
                self._done[index] = not_begun(job, self._settings, self._full)
            else:
                self._done[index] = self._failed(job, f"not denoised: {self._obstacle}")
        for _ in range(IN_FLIGHT):  # in turns, so that the last photos are not all given to the same
            for seat in self._seats:
                if self._waiting and seat.machine and len(seat.given) < IN_FLIGHT:
                    index = self._waiting.popleft()
                    job = self._jobs[index]
                    if index not in self._before:
                        self._begin(job)
                        self._before[index] = _state(job.target)
                    seat.given[self._listen(seat.actor.run.remote(job))] = index

    def _collect(self) -> None:
        """Wait for an answer, and take what it brings."""
        if not self._seats:
            self._obstacle = self._obstacle or "no process of the cluster is left"
        try:
            answer = self._answers.get(timeout=POLL_INTERVAL)
        except Empty:
            if time.monotonic() - self._head_seen > HEAD_INTERVAL:
                self._look_for_head()
            self._look_for_nodes()
            return
        for seat in self._seats:
            if answer is seat.beginning:
                self._seat_taken(seat)
                return
            if answer in seat.given:
                self._take(seat, answer)
                return

    def _listen(self, answer: Any) -> Any:
        """Have an answer put among those that have come; Ray's own wait would not let the program end by a signal."""
        answer.future().add_done_callback(lambda _: self._answers.put(answer))
        return answer

    def _seat_taken(self, seat: _Seat) -> None:
        beginning, seat.beginning = seat.beginning, None
        try:
            seat.machine, obstacle = self._ray.get(beginning)
        except self._ray.exceptions.RayError as error:
            self._bury(seat, error)
            return
        if obstacle:
            self._obstacle = f"{seat.machine} {obstacle}"

    def _take(self, seat: _Seat, answer: Any) -> None:
        try:
            result = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            self._bury(seat, error)
            return
        self._finish(seat, seat.given.pop(answer), result)

    def _finish(self, seat: _Seat, index: int, result: Result) -> None:
        seat.deaths = 0
        if result.error is not None and seat.machine != socket.gethostname():
            result = replace(result, error=f"{result.error} (on {seat.machine})")
        if isinstance(result, NoRoom):
            self._full = self._full or result
        self._done[index] = result

    def _bury(self, seat: _Seat, error: Exception) -> None:
        """See to the photos of a process that has ended, and start another one in its place."""
        self._look_for_head()
        if not self._seats:  # the work has been given up
            return
        ray = self._ray
        ray.kill(seat.actor)  # if it cannot be reached any longer, but works on
        given, seat.given = seat.given, {}
        seat.deaths += 1
        lost = []
        for answer, index in given.items():
            try:
                self._finish(seat, index, ray.get(answer, timeout=POLL_INTERVAL))
            except ray.exceptions.RayError:
                lost.append(index)
        for place, index in enumerate(lost):
            self._tries[index] += place == 0  # the others had not been begun
            if self._is_written(index):
                self._done[index] = self._written(index, "its process ended after it was written")
            elif self._tries[index] >= MOST_TRIES:
                why = f"the process that denoised it ended unexpectedly, {MOST_TRIES} times ({_words(error)})"
                self._done[index] = self._failed(self._jobs[index], why)
        self._waiting.extendleft(index for index in reversed(lost) if index not in self._done)
        seat.machine = ""
        if seat.deaths < MOST_DEATHS:
            seat.actor, seat.beginning = self._start()
        else:
            self._seats.remove(seat)
            if not self._seats:
                self._obstacle = self._obstacle or f"the cluster's processes end at once ({_words(error)})"

    def _look_for_head(self) -> None:
        """Wait until the cluster's head answers, since without it no call of Ray's returns; give up after a while."""
        until = time.monotonic() + HEAD_PATIENCE
        while not self._is_head_there():
            if time.monotonic() > until:
                self._give_up("the head of the cluster does not answer any longer")
                return
            time.sleep(POLL_INTERVAL)
        self._head_seen = time.monotonic()

    def _is_head_there(self) -> bool:
        try:
            _check_answers(self._head)
        except DenoiseError:
            return False
        return True

    def _give_up(self, obstacle: str) -> None:
        """Expect nothing of any process any longer, not even its end."""
        self._obstacle = obstacle
        for index in (index for seat in self._seats for index in seat.given.values()):
            if self._is_written(index):
                self._done[index] = self._written(index, obstacle)
            else:
                self._done[index] = self._failed(self._jobs[index], f"whether it is denoised is not known: {obstacle}")
        self._seats.clear()

    def _look_for_nodes(self) -> None:
        """Give up if for a while there has been no node with room for a process."""
        if any(seat.machine for seat in self._seats) or self._obstacle:
            self._stranded_since = None
            return
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        share = self._share
        if any(node.get("CPU", 0) >= share.cores and node.get("GPU", 0) >= share.gpus for node in nodes):
            self._stranded_since = None
        elif self._stranded_since is None:
            self._stranded_since = time.monotonic()
        elif time.monotonic() - self._stranded_since > PATIENCE:
            self._obstacle = "no node of the cluster that could is left"

    def _is_written(self, index: int) -> bool:
        """Whether a photo that was given to a process has a result that was not there before."""
        return _state(self._jobs[index].target) not in (None, self._before[index])

    def _written(self, index: int, why: str) -> Result:
        """The result of a photo of which no more is known than that it is written."""
        note = f"{why}: a sidecar may be missing"
        return replace(self._failed(self._jobs[index], note), error=None, notes=(note,))

    def _failed(self, job: Job, why: str) -> Result:
        return failed(job, self._settings, DenoiseError(f"{job.source}: {why}"))


_State = tuple[int, int, int] | None


def _state(path: Path) -> _State:
    """What changes when a file is replaced; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _has_relative_paths(jobs: Sequence[Job], settings: Settings) -> bool:
    files = [file for job in jobs for file in (job.source, job.target, job.backup) if file is not None]
    others = [settings.hot_pixels] if isinstance(settings.hot_pixels, Path) else []
    weights = [Path(settings.model)] if settings.model.endswith(".safetensors") else []
    return any(not path.is_absolute() for path in (*files, *others, *weights))


def _words(error: Exception) -> str:
    """What an error of Ray's says, as far as it is about this: its texts are pages long."""
    if type(error).__name__ == "OutOfMemoryError":
        return "out of memory"
    lines = [line.strip() for line in str(error).splitlines()]
    for line in reversed(lines):
        if line.startswith(("ModuleNotFoundError", "ImportError")):
            return line
    return type(error).__name__
