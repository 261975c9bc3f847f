"""Photos in several processes, each with its own models and its share of the cores.

A process that crashes, or that the system kills for want of memory, costs the photo that it was at: that has a result
which says so, and another process takes its place.
"""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from denoise_cli.errors import DenoiseError
from denoise_cli.inference.device import choose_device, count_gpus, count_threads, device_of_worker, is_gpu
from denoise_cli.pipeline import photo
from denoise_cli.pipeline.jobs import Job
from denoise_cli.pipeline.memory import available_memory
from denoise_cli.pipeline.task import Settings
from denoise_cli.pipeline.worker import Loading, Worker
from denoise_cli.pipeline.worker_process import ENDING, SIGNALLED, serve

# The threads of OpenVINO and OpenMP do not survive a fork.
CONTEXT = get_context("spawn")
FEWEST_PHOTOS = 8  # for each worker, or starting it takes longer than it saves
WORKER_MEMORY = 2 << 30  # bytes; a photo of 12 megapixels takes 1.4 GB
MOST_FRUITLESS = 3  # processes in a row that end before they take a photo
PATIENCE = 30.0  # seconds for processes that are to end, until they are killed


def count_workers(photos: int, device: str) -> int:
    """How many processes `--workers auto` stands for.

    One for each core or GPU: a network gains less from a second thread than from a second photo beside it, and while
    one process decodes or encodes, the others compute. Fewer if memory is short, or if there are few photos.

    Args:
        photos: how many there are.
        device: as `choose_device` takes it.

    Raises:
        DeviceUnavailable: this machine has no such device.
    """
    chosen = choose_device(device)
    most = count_gpus() if chosen == "cuda" else 1 if is_gpu(chosen) else count_threads()
    memory = available_memory()
    fitting = most if memory is None else memory // WORKER_MEMORY
    return max(1, min(most, fitting, photos // FEWEST_PHOTOS))


def run_all(
    jobs: Sequence[Job],
    loading: Loading,
    settings: Settings,
    workers: int,
    begin: Callable[[Job], None],
    finish: Callable[[Job], None],
    notice: Callable[[str], None],
    make: Callable[[Loading, Settings], Worker] = Worker,
) -> Generator[photo.Result, None, None]:
    """Run jobs in several processes; when the iterator is closed, they end and remove what they have half written.

    Args:
        jobs: the photos and their targets.
        loading: how each process loads its models. Its threads are shared out, and so are GPUs, if there are several.
        settings: how to denoise.
        workers: how many processes.
        begin: called when a job is given to one of them.
        finish: called when a job has its result.
        notice: called with what the user should hear.
        make: makes what works, in its process; it is sent there by its name.

    Yields:
        The result of each job, in their order, also of those that failed. Once a disk is full, none of those that are
        left is begun.

    Raises:
        DenoiseError: no process can start.
    """
    pool = _Pool(jobs, loading, settings, begin, finish, notice, make)
    try:
        pool.start(min(workers, len(jobs)))
        for place in range(len(jobs)):
            while place not in pool.results:
                pool.advance()
            yield pool.results.pop(place)
    finally:
        pool.end()


@dataclass
class _Member:
    """A process of the pool.

    Attributes:
        number: from 0, by which it has its GPU.
        place: of the job that it is at, among all; None if it is at none.
        is_ready: whether it has loaded what it needs.
    """

    number: int
    process: BaseProcess
    connection: Connection
    place: int | None = None
    is_ready: bool = False


class _Pool:
    """Gives jobs to processes, and puts others in the place of those that are lost.

    Attributes:
        results: of jobs, by their places, until somebody takes them.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        loading: Loading,
        settings: Settings,
        begin: Callable[[Job], None],
        finish: Callable[[Job], None],
        notice: Callable[[str], None],
        make: Callable[[Loading, Settings], Worker],
    ) -> None:
        self.results: dict[int, photo.Result] = {}
        self._jobs, self._loading, self._settings, self._make = jobs, loading, settings, make
        self._begin, self._finish, self._notice = begin, finish, notice
        self._left = deque(range(len(jobs)))
        self._members: list[_Member] = []
        self._dismissed: list[BaseProcess] = []
        self._fruitless = 0
        self._has_worked = False
        self._missing: str | None = None  # why a process could not start, until that is said

    def start(self, count: int) -> None:
        """Start the processes."""
        cores = count_threads()
        self._loading = replace(self._loading, threads=max(1, cores // count))
        for number in range(count):
            self._add(number)

    def advance(self) -> None:
        """Wait for a message of a process, or its end, and act on it.

        Raises:
            DenoiseError: no process is left, and none has ever been ready.
        """
        ready = wait([member.connection for member in self._members])
        for member in [member for member in self._members if member.connection in ready]:
            try:
                message = member.connection.recv()
            except (EOFError, OSError):
                self._replace(member)
                continue
            if member.is_ready:
                self._keep(member, message)
            elif message is not None:
                self._dismiss(member)
                self._do_without(message)
                continue
            else:
                member.is_ready = self._has_worked = True
                self._say_who_is_missing()
            self._give(member)

    def end(self) -> None:
        """End all processes: those that are at work by a signal, on which they remove what they have half written."""
        for member in self._members:
            if member.place is not None or not member.is_ready:
                member.process.terminate()
            member.connection.close()
        _wait_for([*self._dismissed, *(member.process for member in self._members)])

    def _add(self, number: int) -> None:
        """Start a process."""
        loading = replace(self._loading, device=device_of_worker(self._loading.device, number))
        try:
            ours, theirs = CONTEXT.Pipe()
            process = CONTEXT.Process(target=serve, args=(theirs,), daemon=True)
            with _without_signals():
                process.start()
                member = _Member(number, process, ours)
                self._members.append(member)
            theirs.close()
        except OSError as error:
            self._do_without(f"the system starts no further process: {error.strerror}")
            return
        with suppress(OSError):  # if it is dead already, reading from it shows it
            ours.send((self._make, loading, self._settings))

    def _give(self, member: _Member) -> None:
        """Give a process its next job, or let it go if there is none."""
        if not self._left:
            self._dismiss(member)
            return
        place = self._left.popleft()
        try:
            member.connection.send(self._jobs[place])
        except OSError:  # it has died, which reading from it shows
            self._left.appendleft(place)
            return
        member.place = place
        self._begin(self._jobs[place])

    def _keep(self, member: _Member, result: photo.Result) -> None:
        assert member.place is not None
        self._note(member.place, result)
        member.place, self._fruitless = None, 0
        if isinstance(result, photo.NoRoom):
            self._give_up(lambda job: photo.not_begun(job, self._settings, result))

    def _note(self, place: int, result: photo.Result) -> None:
        self.results[place] = result
        self._finish(self._jobs[place])

    def _dismiss(self, member: _Member) -> None:
        """Let a process go, which ends by itself."""
        self._members.remove(member)
        member.connection.close()
        self._dismissed.append(member.process)

    def _replace(self, member: _Member) -> None:
        """Note the loss of a process, and start another one in its place."""
        self._members.remove(member)
        member.connection.close()
        _wait_for([member.process])
        fate = _fate(member.process.exitcode)
        member.process.close()
        if member.place is None:
            self._fruitless += 1
        else:
            job, self._fruitless = self._jobs[member.place], 0
            error = DenoiseError(f"{job.source}: the process that denoised it {fate}")
            self._note(member.place, photo.failed(job, self._settings, error))
        if self._fruitless > MOST_FRUITLESS:
            self._do_without(f"a worker's process {fate} before it took a photo")
        elif self._left:
            self._add(member.number)

    def _do_without(self, reason: str) -> None:
        """Go on with one process less.

        Raises:
            DenoiseError: none is left, and none has ever been ready.
        """
        if self._members:
            self._missing = reason
            self._say_who_is_missing()
        elif not self._has_worked:
            raise DenoiseError(reason)
        else:
            self._give_up(lambda job: self._not_begun(job, reason))

    def _say_who_is_missing(self) -> None:
        """Tell the user of processes that could not start, once others could: until then it may be an error."""
        if self._missing and self._has_worked and self._left:
            self._notice(f"{self._missing}: fewer workers go on")
            self._missing = None

    def _not_begun(self, job: Job, reason: str) -> photo.Result:
        return photo.failed(job, self._settings, DenoiseError(f"{job.source}: not denoised, since {reason}"))

    def _give_up(self, result_of: Callable[[Job], photo.Result]) -> None:
        """Begin none of the jobs that are left."""
        while self._left:
            place = self._left.popleft()
            self._note(place, result_of(self._jobs[place]))


def _fate(code: int | None) -> str:
    """What has become of a process, by its exit code."""
    number = -code if code is not None and code < 0 else signal.SIGTERM if code == SIGNALLED + signal.SIGTERM else 0
    if number == getattr(signal, "SIGKILL", None):
        return f"was killed by signal {number:d} (perhaps out of memory)"
    return f"was ended by signal {number:d} ({signal.strsignal(number)})" if number else f"ended with exit code {code}"


def _wait_for(processes: Sequence[BaseProcess]) -> None:
    """Wait until processes have ended, however often Ctrl-C is pressed meanwhile; kill those that take too long."""
    deadline, interrupt = time.monotonic() + PATIENCE, None
    for process in processes:
        while process.is_alive():
            try:
                process.join(max(0.0, deadline - time.monotonic()))
                if time.monotonic() >= deadline:
                    process.kill()
                    process.join()
            except (KeyboardInterrupt, SystemExit) as pressed:
                interrupt = pressed
    if interrupt is not None:
        raise interrupt


@contextmanager
def _without_signals() -> Iterator[None]:
    """Keep signals from interrupting the start of a process, which comes into being with them blocked.

    Python answers Ctrl-C by a traceback as soon as it runs, before the process can say otherwise.
    """
    if os.name != "posix":
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # or starting the process would start it, and unblock the signals after that
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
