"""A photo from file to file: read, denoised and written, with a record of the outcome."""

import errno
import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from denoise_cli.errors import DenoiseError, OutOfMemory, UnwritableFile
from denoise_cli.files import make_folder, modified_at
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.inference.tiles import Progress
from denoise_cli.io import image
from denoise_cli.io.decoding import one_line
from denoise_cli.io.metadata import UPRIGHT
from denoise_cli.io.photo import Photo
from denoise_cli.io.raw import RawFile
from denoise_cli.pipeline import records
from denoise_cli.pipeline.before_after import write_before_after
from denoise_cli.pipeline.denoising import denoise_source, notes_on_result, software, undenoised
from denoise_cli.pipeline.done import Done
from denoise_cli.pipeline.jobs import DNG, STDIO, Job
from denoise_cli.pipeline.memory import return_freed_memory
from denoise_cli.pipeline.model_choice import AUTO
from denoise_cli.pipeline.outcome import Outcome
from denoise_cli.pipeline.sidecar import carry, carry_missing, foretell
from denoise_cli.pipeline.task import Settings, checked, facts_before

Load = Callable[[str], Denoiser]
FULL_DISK = {errno.ENOSPC, errno.EDQUOT}
MIDDLE_GREY = 0.18  # of white


@dataclass(frozen=True)
class Result(Outcome):
    """The outcome for a photo. If `skipped` or `dry_run`, nothing was denoised or written.

    The noise is `sigma`, on the scale of 255, or `shot` and `read`, as shares of white; `noise_from` is "given",
    "file" or "estimated". docs/cli.md describes every attribute, as `denoise image --json` prints them.
    """

    width: int | None = None
    height: int | None = None
    encoding: str | None = None
    pages: int | None = None
    strength: float | None = None
    luma: float | None = None
    chroma: float | None = None
    detail: float | None = None
    sigma: float | None = None
    shot: float | None = None
    read: float | None = None
    noise_from: str | None = None
    device: str | None = None
    precision: str | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None

    @property
    def noise_words(self) -> str:
        """The noise, in words for the user."""
        if self.shot is not None:
            origins = {"given": "", "file": " (from the file)", "estimated": " (estimated)"}
            return f"shot {self.shot:.2e}, read {self.read:.2e}{origins[self.noise_from or 'given']}"
        if self.sigma == 0 and self.noise_from == "estimated":
            return "no noise found (left as it is)"
        if self.luma == self.chroma == 0:
            return "strength 0 (left as it is)"
        if self.sigma is not None:
            return f"noise {self.sigma:.1f}" + (" (estimated)" if self.noise_from == "estimated" else "")
        return "noise level left to the model"

    @property
    def noise_at_grey(self) -> float | None:
        """A number to sort by: the standard deviation on the scale of 255; a sensor's, of MIDDLE_GREY in its light."""
        if self.shot is None or self.read is None:
            return self.sigma
        return 255 * math.sqrt(self.shot * MIDDLE_GREY + self.read**2)


class NoRoom(Result):
    """The outcome for a photo that was not written because a disk is full: those that are left would not be, either."""


def run(job: Job, load: Load, settings: Settings, progress: Progress | None = None) -> Result:
    """Read a photo, denoise it and write the result, unless it is done.

    Args:
        job: the photo and its target.
        load: returns the denoiser of a model, given its name.
        settings: how to denoise.
        progress: called with the fraction done.

    Returns:
        The result, also if it failed; then nothing was written, unless a sidecar is what failed.
    """
    try:
        return _skipped(job, settings) or write(_denoise(job, load, settings, progress), settings)
    except Exception as error:  # noqa: BLE001 - whatever happens to one photo, the others are denoised
        return failed(job, settings, error)


def run_all(
    jobs: Iterable[Job], load: Load, settings: Settings, begin: Callable[[Job], None], progress: Progress | None = None
) -> Iterator[Result]:
    """Run jobs one after another, but develop (RAW) and write each photo while the next one is read and denoised.

    Args:
        jobs: the photos and their targets.
        load: returns the denoiser of a model, given its name; called by this thread.
        settings: how to denoise.
        begin: called before each job.
        progress: called with the fraction of the job that is done.

    Yields:
        The result of each job, in their order, also of those that failed. Once a disk is full, none of those that are
        left is begun. If a job is interrupted, the one before it is still finished.
    """
    with ThreadPoolExecutor(1) as writer:
        writing: tuple[Job, Future[Result]] | None = None
        full: NoRoom | None = None
        for job in jobs:
            begin(job)
            outcome: Future[Result] = Future()
            try:
                known = _skipped(job, settings) if full is None else not_begun(job, settings, full)
                denoised = None if known else _denoise(job, load, settings, progress)
            except (KeyboardInterrupt, SystemExit):
                if writing is not None:  # which goes on to its end
                    yield _result_of(*writing, settings)
                raise
            except Exception as error:  # noqa: BLE001 - whatever happens to one photo, the others are denoised
                outcome.set_exception(error)
            else:
                if known:
                    outcome.set_result(known)
                if denoised:
                    wait([writing[1]] if writing else [])  # so that there are never more than two photos in memory
                    outcome = writer.submit(write, denoised, settings)
                del denoised
            if writing is not None:
                result = _result_of(*writing, settings)
                full = full or (result if isinstance(result, NoRoom) else None)
                yield result
            writing = job, outcome
        if writing is not None:
            yield _result_of(*writing, settings)


def not_begun(job: Job, settings: Settings, full: NoRoom) -> Result:
    """The outcome for one of the photos that are left when a disk is full."""
    return failed(job, settings, UnwritableFile(job.source, f"not denoised, since the disk was full ({full.error})"))


def _skipped(job: Job, settings: Settings) -> Result | None:
    """The result of a job that is done; None if it has to be done.

    Raises:
        UnwritableFile: there is a file with the target's name that is something else, and may not be replaced.
    """
    record = _record_of(job, settings)
    if record is None:
        return None
    carried = {name: bool(record.facts.get(name)) for name in ("turned", "developed", "marked")}
    notes = tuple(carry_missing(job.source, job.target, **carried))  # which a kill may have kept from being written
    return Result(str(job.source), str(job.target), record.model, notes=notes, skipped=True)


def _record_of(job: Job, settings: Settings) -> records.Record | None:
    """The record of a job that is done, if such jobs are skipped; errors as of `_skipped`."""
    if not settings.skip_done or job.obstacle is not None or job.rival is not None:
        return None
    record = records.find(job.target, job.source if job.backup is None else None, _dependences(job.kind, settings))
    if record is None and job.backup is None and not settings.overwrite:
        records.check_free(job.target, job.source)
    return record


@cache  # the same for all photos of a run, and asked twice for each
def _dependences(kind: str | None, settings: Settings) -> dict[str, Any]:
    """What a result depends on besides its photo; `kind` is the format that was asked for."""
    others = asdict(settings) | {"kind": kind}
    for name in ("model", "overwrite", "max_pixels", "skip_done", "touch"):
        del others[name]
    return records.settings_of(settings.model, others)


@dataclass(frozen=True)
class Denoised:
    """A photo that is denoised and not yet written.

    Attributes:
        job: the photo and its target.
        model: the name of the one that denoised it.
        kind: the format to write.
        facts: what the record says about the photo that was read, the strength, and where it was denoised.
        is_raw: whether that was camera RAW.
        finish: develops what is not yet a picture.
        opened: what that needs, to be closed after it.
        reading, denoising: seconds that each took.
        made_from: what the photo's file holds, if that is to be recorded.
        notes: what the user should hear about how it was computed.
    """

    job: Job
    model: str
    kind: str
    facts: dict[str, Any]
    is_raw: bool
    finish: Callable[[], Done]
    opened: ExitStack
    reading: float
    denoising: float
    made_from: records.Contents | None
    notes: tuple[str, ...]


@contextmanager
def _out_of_memory_named(job: Job) -> Iterator[None]:
    """Make a lack of memory outside the network, for which no tile can be smaller, an error of this photo alone."""
    try:
        yield
    except MemoryError as error:
        return_freed_memory()
        raise OutOfMemory(
            f"{job.source}: out of memory: the photo is too large for what this process may use"
        ) from error


def _denoise(job: Job, load: Load, settings: Settings, progress: Progress | None) -> Denoised:
    with _out_of_memory_named(job):
        return _denoise_opened(job, load, settings, progress)


def _denoise_opened(job: Job, load: Load, settings: Settings, progress: Progress | None) -> Denoised:
    started = time.perf_counter()
    with ExitStack() as source:
        task = source.enter_context(checked(job, settings))
        made_from = _contents(job.source) if settings.skip_done else None
        read = time.perf_counter()
        model, kind, is_raw = task.model, task.kind, isinstance(task.source, RawFile)
        denoiser = load(model)
        facts = {"device": denoiser.device, "precision": denoiser.precision, **facts_before(job, task, settings)}
        finish = denoise_source(task, denoiser, settings, progress)
        opened = source.pop_all() if is_raw else ExitStack()  # a photo's pixels need not stay in memory
    denoising = time.perf_counter() - read
    return Denoised(
        job, model, kind, facts, is_raw, finish, opened, read - started, denoising, made_from, denoiser.notes
    )


def _contents(source: Path) -> records.Contents | None:
    try:
        return records.Contents.of_file(source)
    except OSError:  # it was read, and has been moved or deleted since
        return None


def write(denoised: Denoised, settings: Settings) -> Result:
    """Develop (RAW) and write what was denoised, with its sidecars.

    Raises:
        DenoiseError: it cannot be developed, encoded or written.
    """
    with _out_of_memory_named(denoised.job):
        return _write_opened(denoised, settings)


def _write_opened(denoised: Denoised, settings: Settings) -> Result:
    started = time.perf_counter()
    job, model, kind = denoised.job, denoised.model, denoised.kind
    with denoised.opened:
        finished = denoised.finish()
    picture, notes = finished.picture, finished.notes + denoised.notes
    return_freed_memory(picture.pixels.nbytes if isinstance(picture, Photo) else None)
    if job.makes_folder:
        make_folder(job.target.parent)
    turned, developed, marked = kind != DNG, denoised.is_raw and kind != DNG, kind == DNG and settings.strength > 0
    if isinstance(picture, Photo):
        notes += notes_on_result(picture, kind, notes)
        turned = image.orientation_in(picture.metadata, kind) == UPRIGHT
    if isinstance(picture, bytes):
        data = picture
    else:
        with image.encoder_errors(job.target, kind):
            data = image.encode(picture, kind, software(model, finished, settings), settings.quality)
    if denoised.made_from is not None:
        facts = {"turned": turned, "developed": developed, "marked": marked}
        weights, result = records.weights_of(model), records.Contents.of_bytes(data)
        depends_on = _dependences(job.kind, settings)
        records.write(job.target, records.Record(denoised.made_from, result, model, weights, depends_on, facts))
    modified = None if settings.touch or job.source == STDIO else modified_at(job.source)
    like = None if job.source == STDIO else job.source
    bytes_written = image.save(job.target, data, settings.overwrite, modified, like, job.backup)
    sidecars = carry(job.source, job.target, settings.overwrite, turned=turned, developed=developed, marked=marked)
    notes += tuple(sidecars)
    writing = time.perf_counter() - started
    return Result(
        source=str(job.source),
        target=str(job.target),
        model=model,
        bytes_written=bytes_written,
        seconds=round(denoised.reading + denoised.denoising + writing, 3),
        seconds_reading=round(denoised.reading, 3),
        seconds_denoising=round(denoised.denoising, 3),
        seconds_writing=round(writing, 3),
        notes=notes,
        **denoised.facts,
        **finished.facts(),
    )


def _result_of(job: Job, outcome: Future[Result], settings: Settings) -> Result:
    try:
        return outcome.result()
    except Exception as error:  # noqa: BLE001 - whatever happens to one photo, the others are denoised
        return failed(job, settings, error)


def failed(job: Job, settings: Settings, error: Exception) -> Result:
    """The outcome for a photo that an error has kept from being done."""
    kind = NoRoom if _is_full_disk(error) else Result
    model = None if settings.model == AUTO else settings.model  # which one that is, is not known before it is read
    return kind(str(job.source), str(job.target), model, error=words_of(job, error))


def _is_full_disk(error: Exception) -> bool:
    """Whether a photo was not written because a disk is full."""
    cause = error.__cause__
    return isinstance(error, UnwritableFile) and isinstance(cause, OSError) and cause.errno in FULL_DISK


def words_of(job: Job, error: Exception) -> str:
    """An error about a photo in one line that names the file."""
    if isinstance(error, DenoiseError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{job.source}: does not fit into memory: choose a smaller --tile"
    if isinstance(error, OSError) and error.strerror:
        return f"{job.source}: {error.strerror}"
    return f"{job.source}: failed in a way that is not foreseen ({type(error).__name__}: {one_line(error)})"


def preview_all(
    jobs: Iterable[Job], load: Callable[[str], object], settings: Settings, begin: Callable[[Job], None]
) -> Iterator[Result]:
    """What `run_all` would do: see `preview`. Yields the result of each job, also of those that would fail."""
    for job in jobs:
        begin(job)
        try:
            yield preview(job, load, settings)
        except Exception as error:  # noqa: BLE001 - whatever happens to one photo, the others are shown
            yield replace(failed(job, settings, error), dry_run=True)


def preview(job: Job, load: Callable[[str], object], settings: Settings) -> Result:
    """What `run` would do: nothing is denoised or written, but the photo is read and checked in the same way.

    Args:
        job: the photo and its target.
        load: called with the name of the model; raises if that cannot be used.
        settings: how to denoise.

    Raises:
        DenoiseError: what `run` would raise before it begins to denoise.
    """
    if (record := _record_of(job, settings)) is not None:
        return Result(str(job.source), str(job.target), record.model, skipped=True, dry_run=True)
    with checked(job, settings) as task:
        load(task.model)
        facts = facts_before(job, task, settings)
        source = task.source
        lost = notes_on_result(source, task.kind, source.notes) if isinstance(source, Photo) else ()
        notes = (*source.notes, *task.notes, *lost, *foretell(job.source, job.target, settings.overwrite))
    return Result(str(job.source), str(job.target), task.model, notes=notes, dry_run=True, **facts)


def show_before_after(job: Job, load: Load, settings: Settings, progress: Progress | None = None) -> Result:
    """Write a photo before and after, side by side, instead of the result.

    Args:
        job: the photo, and the PNG to write.
        load: returns the denoiser of a model, given its name.
        settings: how to denoise.
        progress: called with the fraction done.

    Returns:
        The result, also if it failed; then nothing was written.
    """
    try:
        return _show_before_after(job, load, settings, progress)
    except Exception as error:  # noqa: BLE001 - as in `run_all`
        return failed(job, settings, error)


def _show_before_after(job: Job, load: Load, settings: Settings, progress: Progress | None) -> Result:
    started = time.perf_counter()
    with checked(job, settings, is_shown=True) as task:
        denoiser = load(task.model)
        done = denoise_source(task, denoiser, settings, progress)()
        before = undenoised(task.source, settings)
        facts = {"device": denoiser.device, "precision": denoiser.precision, **facts_before(job, task, settings)}
    assert isinstance(done.picture, Photo)  # a PNG is made from nothing else
    bytes_written = write_before_after(job.target, before, done.picture, settings.overwrite)
    return Result(
        source=str(job.source),
        target=str(job.target),
        model=task.model,
        bytes_written=bytes_written,
        seconds=round(time.perf_counter() - started, 3),
        notes=done.notes,
        **facts,
        **done.facts(),
    )
