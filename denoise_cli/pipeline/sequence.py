"""A sequence of numbered pictures from files to files: read and written like photos, denoised like a clip's frames.

Camera RAW, such as Cinema DNG, is denoised file by file: no model here looks at several mosaics together.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise_cli.errors import DenoiseError, UnreadableFile, UnwritableFile, UsageError
from denoise_cli.files import check_target, made_folder
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.io import image, numbered, raw_formats
from denoise_cli.io.photo import Photo
from denoise_cli.io.picture_stream import check_frame
from denoise_cli.models.registry import checksum_of
from denoise_cli.pipeline import photo as photos
from denoise_cli.pipeline.clip_result import Progress, Result, Work
from denoise_cli.pipeline.clip_targets import EXTENSIONS
from denoise_cli.pipeline.denoising import notes_on_result
from denoise_cli.pipeline.developed import as_frame, white_of, without_noise
from denoise_cli.pipeline.done import Done
from denoise_cli.pipeline.frames import find_noise
from denoise_cli.pipeline.jobs import DNG, MARK, Job, into_folder, kind_of
from denoise_cli.pipeline.model_choice import AUTO
from denoise_cli.pipeline.sequence_record import Record
from denoise_cli.pipeline.sidecar import foretell
from denoise_cli.pipeline.task import Settings as PhotoSettings
from denoise_cli.pipeline.task import Task, checked
from denoise_cli.pipeline.threads import consume_in_thread, prefetch
from denoise_cli.temporary_files import only_writer
from denoise_cli.version import __version__

MOST_NOTES = 10  # different ones that a result lists
Report = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """Which file becomes which.

    Attributes:
        source: a pattern or a folder.
        target: a pattern, or the folder in which results have the names of their frames.
        jobs: each frame and its result, by its number, ascending.
        is_raw: whether the frames are camera RAW, by their names.
        notes: what the user should hear about the sequence.
    """

    source: Path
    target: Path
    jobs: Mapping[int, Job]
    is_raw: bool
    notes: tuple[str, ...]

    @property
    def first(self) -> Job:
        """The first frame and its result."""
        return next(iter(self.jobs.values()))

    @property
    def folder(self) -> Path:
        """Where the results are written; made if it is missing."""
        return self.first.target.parent

    @property
    def record(self) -> Record:
        """What a run that was interrupted has left."""
        return Record(self.target, self.jobs)


@dataclass(frozen=True)
class Settings:
    """How to denoise.

    Attributes:
        model: a name from the registry, or the path of a weight file; "auto" for camera RAW.
        frames: length of the window, odd; of no meaning for camera RAW.
        noise: the level on [0, 1]; of camera RAW, also a sensor's noise; None to estimate it.
        strength: 0 to 1, the share of the noise that is removed.
    """

    model: str
    frames: int = 5
    noise: float | ShotRead | None = None
    strength: float = 1.0

    def for_photos(self, overwrite: bool) -> PhotoSettings:
        """The same for a single file."""
        return PhotoSettings(self.model, self.noise, self.strength, overwrite=overwrite)


def becomes_clip(output: Path | None) -> bool:
    """Whether the target of a sequence is the file of a clip, or standard output."""
    if output is None or numbered.is_pattern(output) or output.is_dir():
        return False
    return output.suffix.lower() in EXTENSIONS or str(output) == image.STDIN


def plan(source: Path, output: Path | None = None) -> Plan:
    """Decide which file becomes which.

    Args:
        source: a pattern or a folder.
        output: a pattern or a folder; None for a folder beside that of the frames.

    Raises:
        UsageError: the source is not one sequence, or the output names none.
        UnreadableFile: there are no frames.
    """
    found = numbered.find(source)
    is_raw = next(iter(found.files.values())).suffix.lower() in raw_formats.EXTENSIONS
    target = output or _folder_beside(source)
    if numbered.is_pattern(target):
        kind = kind_of(target, None)
        numbered.named(target, 0)  # raises if it is not right
        jobs = {n: Job(file, numbered.named(target, n), kind, makes_folder=True) for n, file in found.files.items()}
    elif target.suffix and not target.is_dir():
        raise UsageError(f"{target}: expected a number for each frame, such as {target.stem}_%04d{target.suffix}")
    else:
        form = DNG if is_raw else None
        jobs = {n: into_folder(target, file, form) for n, file in found.files.items()}
    return Plan(source, target, jobs, is_raw, tuple(numbered.notes_on(found)))


def check(planned: Plan, overwrite: bool, resume: bool = False) -> None:
    """Refuse targets that cannot be written, before any work is done; also by a run that is continued.

    Raises:
        UnwritableFile: a result exists and `overwrite` is false, or it is an input, or no place for a file.
    """
    done = planned.record.done(overwrite) if resume else set()
    for number, job in planned.jobs.items():
        if number not in done and (job is planned.first or job.target.exists()):
            inputs = [other.source for other in planned.jobs.values()] if job is planned.first else [job.source]
            check_target(job.target, overwrite, inputs, creates_folder=True)


def run(
    planned: Plan,
    load: photos.Load,
    settings: Settings,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    notice: Report | None = None,
    failed: Report | None = None,
) -> Result:
    """Denoise a sequence; each result is a file of its own, which appears whole.

    Args:
        planned: which file becomes which.
        load: returns the denoiser of a model, given its name.
        settings: how to denoise.
        overwrite: whether to replace existing results.
        resume: whether to keep the results of an interrupted run with the same settings.
        progress: called after each frame.
        notice: called, before the work begins, with a line for everything that the results will lack.
        failed: called with a line for each frame that cannot be read. The others are denoised without it.

    Raises:
        DenoiseError: something that the user can act upon. Results that are finished stay, for `resume`.
    """
    outcome = _Outcome(planned, progress, failed)
    check(planned, overwrite, resume)
    for note in planned.notes:
        outcome.announce(note, notice)
    record = planned.record
    with made_folder(planned.folder), only_writer(record.place):
        outcome.done = record.begin(_all_that_matters(planned, load, settings), overwrite, resume)
        denoise = _denoise_raw if planned.is_raw else _denoise_pictures
        try:
            denoise(planned, load, settings, overwrite, outcome, notice)
            outcome.check()
        except BaseException:
            if not (outcome.made or outcome.done):
                record.finish()
            raise
        record.finish()
    return outcome.result(settings)


def what_is_kept(planned: Plan) -> str:
    """What a run that was interrupted has left, and how to go on, in words."""
    if not planned.record.exists:
        return "nothing is kept of it: begin again"
    return f"the frames that are finished are kept in {planned.folder}: continue with --resume"


def preview(planned: Plan, load: Callable[[str], object], settings: Settings, overwrite: bool) -> photos.Result:
    """What `run` would do with the first frame, which stands for all, with notes on the whole; nothing is written.

    Raises:
        DenoiseError: what `run` would raise before it begins to denoise.
    """
    check(planned, overwrite)
    result = photos.preview(planned.first, load, settings.for_photos(overwrite))
    return dataclasses.replace(result, notes=(*planned.notes, *result.notes))


@dataclass
class _Outcome:
    """What becomes of the frames.

    Attributes:
        done: numbers of the frames that an interrupted run has denoised.
        made: number of frames that this run has written.
    """

    planned: Plan
    progress: Progress | None
    failed: Report | None
    done: set[int] = field(default_factory=set)
    made: int = 0
    model: str = ""
    size: tuple[int, int] = (0, 0)
    pixel_format: str = ""
    work: Work = field(default_factory=Work)
    failures: list[int] = field(default_factory=list)
    notes: dict[str, list[int] | None] = field(default_factory=dict)  # with the frames that each is about

    def announce(self, note: str, notice: Report | None) -> None:
        """Show a note on the whole before the work begins."""
        self.notes[note] = None
        if notice is not None:
            notice(note)

    def add(self, number: int, result: photos.Result) -> None:
        """Count a frame that was written."""
        self.made += 1
        for note in result.notes:
            about = self.notes.setdefault(note, [])
            if about is not None:
                about.append(number)
        self.report()

    def fail(self, number: int, words: str) -> None:
        """Count a frame that cannot be read."""
        self.failures.append(number)
        if self.failed is not None:
            self.failed(words)

    def check(self) -> None:
        """Refuse to end a run in which there was nothing to denoise."""
        if not (self.made or self.done):
            raise UnreadableFile(self.planned.source, "holds no frame that can be denoised")

    def report(self) -> None:
        """Show the progress."""
        finished, total = len(self.done) + self.made, len(self.planned.jobs)
        if self.progress is not None:
            self.progress(finished, (finished + len(self.failures)) / total)

    def result(self, settings: Settings) -> Result:
        """The record of the run."""
        return self.work.result(
            self.planned.source,
            self.planned.target,
            self.model or settings.model,
            frames=len(self.done) + self.made,
            made=self.made,
            size=(self.size[1], self.size[0]),
            codec=self.planned.first.kind or "",
            pixel_format=self.pixel_format,
            notes=self._notes(),
            complete=not self.failures,
            has_stages=False,
        )

    def _notes(self) -> Iterator[str]:
        listed = list(self.notes.items())
        for note, about in listed[:MOST_NOTES]:
            yield note if about is None or len(about) == self.made else f"{_frames(about)}: {note}"
        if len(listed) > MOST_NOTES:
            yield f"{len(listed) - MOST_NOTES} more notes like these"
        if self.failures:
            yield f"left out {len(self.failures)} that could not be denoised: {_frames(self.failures)}"


@dataclass(frozen=True)
class _Frame:
    """A frame that was read.

    Attributes:
        number: its number in the sequence.
        picture: what was read.
        task: how it is written; its own source is the same picture.
    """

    number: int
    job: Job
    picture: Photo
    task: Task


def _denoise_pictures(
    planned: Plan,
    load: photos.Load,
    settings: Settings,
    overwrite: bool,
    outcome: _Outcome,
    notice: Report | None,
) -> None:
    denoise = load(settings.model)
    outcome.model = settings.model
    ours, ignoring = settings.for_photos(overwrite), settings.for_photos(overwrite=True)
    reader = _Reader(planned, ignoring, outcome)
    with closing(prefetch(reader.frames())) as frames:
        first = next(frames, None)
        if first is None:
            return
        outcome.size, outcome.pixel_format = first.picture.shape, image.pixel_format(first.picture, first.task.kind)
        white, bright = white_of(first.picture.as_srgb())
        bright = bright if first.picture.pixels.dtype == np.float32 else ()  # other types say themselves what is white
        notes = (*bright, *first.picture.notes, *first.task.notes)
        lost = notes_on_result(first.picture, first.task.kind, notes)
        for note in (*notes, *lost, *foretell(first.job.source, first.job.target, overwrite)):
            outcome.announce(note, notice)

        def pictures() -> Iterator[tuple[_Frame, NDArray[np.float32]]]:
            yield first, as_frame(first.picture, white)
            for frame in frames:
                yield frame, as_frame(frame.picture, white)

        def denoised() -> Iterator[tuple[int, photos.Denoised]]:
            skip = _leading(planned, outcome.done)
            sigma = settings.noise if isinstance(settings.noise, float) else None
            found = find_noise(pictures(), denoise, settings.frames, sigma, settings.strength, skip)
            for frame, level, noise in found:
                assert not isinstance(level, ShotRead)  # because sigma is not
                outcome.work.levels.extend([] if level is None else [level])
                if frame.number not in outcome.done:
                    values = noise() if noise is not None and not frame.picture.is_bilevel else None
                    yield frame.number, _cleaned(frame, values, level, white, denoise, ours)

        def write(results: Iterator[tuple[int, photos.Denoised]]) -> None:
            for number, result in results:
                outcome.add(number, photos.write(result, ours))

        consume_in_thread(write, denoised())


def _cleaned(
    frame: _Frame,
    noise: NDArray[np.float32] | None,
    level: float | None,
    white: float,
    denoise: Denoiser,
    settings: PhotoSettings,
) -> photos.Denoised:
    """A frame without its noise, which the thread that writes it subtracts."""
    dither = settings.dither and image.is_lossless(frame.picture, frame.task.kind, settings.quality)

    def finish() -> Done:
        picture = frame.picture if noise is None else without_noise(frame.picture, noise, white, dither)
        noise_from = None if level is None else "estimated" if settings.noise is None else "given"
        return Done(picture, level, noise_from, picture.notes)

    return photos.Denoised(
        frame.job, settings.model, frame.task.kind, {}, False, finish, ExitStack(), 0.0, 0.0, None, denoise.notes
    )


class _Reader:
    """Reads the frames; what is wrong with one of them costs no other, but what is wrong with the first costs all."""

    def __init__(self, planned: Plan, settings: PhotoSettings, outcome: _Outcome) -> None:
        self._planned, self._settings, self._outcome = planned, settings, outcome
        self._shape: tuple[int, ...] | None = None

    def frames(self) -> Iterator[_Frame]:
        """The frames that can be read.

        Raises:
            DenoiseError: the format of the results cannot hold the first frame.
        """
        for number, job in self._planned.jobs.items():
            try:
                frame = self._read(number, job)
            except Exception as error:  # whatever happens to one frame, the others are denoised
                if self._shape is None and isinstance(error, DenoiseError) and not isinstance(error, UnreadableFile):
                    raise
                self._outcome.fail(number, photos.words_of(job, error))
                continue
            yield frame

    def _read(self, number: int, job: Job) -> _Frame:
        with checked(job, self._settings) as task:
            picture = check_frame(job.source, task.source, self._shape)
        self._shape = picture.pixels.shape
        return _Frame(number, job, picture, task)


def _denoise_raw(
    planned: Plan,
    load: photos.Load,
    settings: Settings,
    overwrite: bool,
    outcome: _Outcome,
    notice: Report | None,
) -> None:
    left = {number: job for number, job in planned.jobs.items() if number not in outcome.done}
    ours = settings.for_photos(overwrite)
    for job in list(left.values())[:1]:  # what is wrong with the target or the options is wrong with all frames
        with suppress(UnreadableFile):
            for note in photos.preview(job, load, ours).notes:
                outcome.announce(note, notice)
    results = photos.run_all(left.values(), load, ours, lambda _: None)
    for number, result in zip(left, results, strict=True):
        if result.error is not None and result.error.startswith(f"{result.target}: "):
            raise UnwritableFile(result.target, result.error.removeprefix(f"{result.target}: "))
        if result.error is not None:
            outcome.fail(number, result.error)
            continue
        outcome.model, outcome.size = result.model or "", (result.height or 0, result.width or 0)
        outcome.add(number, result)


def _folder_beside(source: Path) -> Path:
    folder = source if source.is_dir() else source.parent
    if folder.name in ("", ".."):
        folder = folder.resolve()
    return folder.with_name(folder.name + MARK)


def _frames(numbers: list[int]) -> str:
    whose = "frame" if len(numbers) == 1 else "frames"
    return f"{whose} {numbered.in_words(numbered.ranges(numbers))}"


def _leading(planned: Plan, done: set[int]) -> int:
    """The number of frames, from the first one on, that need not be denoised again."""
    return next((place for place, number in enumerate(planned.jobs) if number not in done), len(planned.jobs))


def _all_that_matters(planned: Plan, load: photos.Load, settings: Settings) -> dict[str, Any]:
    """Everything that the results depend on."""
    names = [settings.model] if settings.model != AUTO else []
    frames = hashlib.sha256()
    for job in planned.jobs.values():
        with suppress(OSError):  # it costs its frame, later
            about = job.source.stat()
            frames.update(f"{job.source}\0{about.st_size}\0{about.st_mtime_ns}\n".encode(errors="surrogateescape"))
    denoisers = [load(name) for name in names]
    return {
        "version": __version__,
        "frames": frames.hexdigest(),
        "settings": dataclasses.asdict(settings),
        "weights": [checksum_of(name) for name in names],
        "computed": [[str(one.device), str(one.precision), one.tile] for one in denoisers],
    }
