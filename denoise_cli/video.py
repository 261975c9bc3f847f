"""One clip, from its file to another: decoded, denoised and encoded at the same time, in parts that outlive a kill."""

import dataclasses
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from queue import Full, Queue
from statistics import median_low
from typing import Any, TypeVar

import av

from denoise_cli import __version__
from denoise_cli.clip import denoised
from denoise_cli.denoiser import Denoiser
from denoise_cli.errors import UnreadableFile, UnwritableFile, UsageError
from denoise_cli.files import move_into_place, write_atomically
from denoise_cli.io.encode import CONTAINERS, STDOUT, USUAL_CONTAINER, Encoding, Writer, choose_encoding
from denoise_cli.io.mux import assemble, count_frames, join
from denoise_cli.io.video import Frame, Reader, has_alpha
from denoise_cli.zoo import checksum_of

Item = TypeVar("Item")
Progress = Callable[[int, float], None]  # frames that are done, and the share of the clip

PART = 240  # frames; what a kill can cost
QUEUED = 4  # frames that wait between two threads
WAIT = 0.2  # seconds between two looks at whether anybody still wants what a thread has made
MOST_FRAMES = 9
REHEARSED = 1.0  # seconds


@dataclass(frozen=True)
class Settings:
    """How to denoise and encode.

    Attributes:
        model: a name from the zoo, or the path of a weight file.
        frames: the window, odd.
        sigma: noise level on [0, 1]; None to estimate it for each scene, or to leave it to the model.
        strength: 0 to 1, how much of the noise goes.
        codec, crf, preset, pixel_format: as `choose_encoding` takes them.
        start, seconds: what to take of the clip; infinite for all that follows.
        deinterlace: make whole frames of fields.
    """

    model: str
    frames: int = 5
    sigma: float | None = None
    strength: float = 1.0
    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pixel_format: str | None = None
    start: float = 0.0
    seconds: float = math.inf
    deinterlace: bool = False


@dataclass(frozen=True)
class Result:
    """What became of a clip.

    Attributes:
        made: how many frames were made in this run, the others in one that was interrupted.
        sigma: the noise of most of them, on the scale of 255.
    """

    source: str
    target: str
    model: str
    frames: int
    made: int
    width: int
    height: int
    codec: str
    pixel_format: str
    sigma: float | None
    seconds: float
    notes: tuple[str, ...] = ()


def target_beside(source: Path) -> Path:
    """Where a result goes if nothing is said."""
    extension = source.suffix if source.suffix.lower() in CONTAINERS else USUAL_CONTAINER
    return source.with_name(f"{source.stem}-denoised{extension}")


def check(source: Path, target: Path, overwrite: bool) -> None:
    """Refuse what could not end well, before any work is done.

    Raises:
        UsageError: a target whose container is not written here.
        UnwritableFile: the target is the source itself, a folder, in no folder, or exists and `overwrite` is false.
    """
    if target == STDOUT:
        return
    if target.is_dir():
        raise UnwritableFile(target, "is a folder: name a file")
    if target.suffix.lower() not in CONTAINERS:
        raise UsageError(f"{target}: expected a name that ends in {', '.join(CONTAINERS)}")
    if target.exists():
        if source.exists() and target.samefile(source):
            raise UnwritableFile(target, "is the input itself: choose another name for the output")
        if not overwrite:
            raise UnwritableFile(target, "exists already: use --overwrite to replace it")
    if not target.parent.is_dir():
        raise UnwritableFile(target, f"there is no folder {target.parent}: make it first")


def run(
    source: Path,
    target: Path,
    denoise: Denoiser,
    settings: Settings,
    *,
    overwrite: bool = False,
    resume: bool = False,
    compare: Path | None = None,
    progress: Progress | None = None,
) -> Result:
    """Denoise a clip; all else in its file stays as it is.

    Args:
        source: anything that FFmpeg reads.
        target: a file with one of the extensions of `CONTAINERS`, or "-" for raw frames (YUV4MPEG2) on standard output.
        denoise: for clips, or for photos.
        settings: how.
        overwrite: replace a target that exists, and what an interrupted run has left.
        resume: go on where an interrupted run with the same settings has stopped.
        compare: a second clip to write, without sound: as it was on the left, as it is on the right. After `resume` it
            has only what this run makes.
        progress: called after each frame.

    Raises:
        DenoiseError: something that the user can act upon. Nothing stands under the target's name that was not there
            before; what is finished of it is kept for `resume`.
    """
    began = time.perf_counter()
    check(source, target, overwrite)
    if compare is not None:
        check(source, compare, overwrite)
        if compare in (STDOUT, target):
            raise UsageError(f"--compare {compare}: expected another file")
    with Reader(source) as clip, closing(clip.frames(settings.start, settings.seconds, settings.deinterlace)) as frames:
        first = next(frames, None)
        if first is None:
            after = f" after {settings.start:g} s" if settings.start else ""
            raise UnreadableFile(source, f"has no frames that can be decoded{after}")
        encoding = choose_encoding(
            clip,
            first,
            ".y4m" if target == STDOUT else target.suffix.lower(),
            settings.codec,
            settings.crf,
            settings.preset,
            settings.pixel_format,
        )
        picture, notes = first.picture, _notes(first, encoding)
        parts = None
        if target != STDOUT:
            parts = Parts(target, clip, first, encoding, _plan(clip, denoise, encoding, settings), settings.seconds)
            parts.open(overwrite, resume)
        before = parts.frames if parts else 0
        expected = max(clip.expected_frames(settings.start, settings.seconds), before + 1)
        decoded = _ahead(chain([first], frames))
        cleaned = _ahead(denoised(decoded, denoise, settings.frames, settings.sigma, settings.strength, before))
        levels: list[float] = []

        def shown() -> Iterator[Frame]:
            for place, (frame, level) in enumerate(cleaned, start=before + 1):
                levels.extend([] if level is None else [level])
                yield frame
                if progress is not None:
                    progress(place, min(place / expected, 1.0))

        with closing(decoded), closing(cleaned), _Comparison(compare, clip, encoding, overwrite) as comparison:
            frames_out = comparison.seeing(shown())
            made = parts.write(frames_out) if parts else _write_all(frames_out, STDOUT, clip, encoding)
        if parts:
            parts.finish(overwrite)
        if clip.damaged:
            notes.append(f"left out {clip.damaged} damaged packets")
    return Result(
        source=str(source),
        target=str(target),
        model=settings.model,
        frames=before + made,
        made=made,
        width=picture.width,
        height=picture.height,
        codec=encoding.encoder,
        pixel_format=encoding.pixel_format,
        sigma=round(median_low(levels) * 255, 3) if levels else None,
        seconds=round(time.perf_counter() - began, 3),
        notes=tuple(notes),
    )


class Parts:
    """The finished parts of a result, in a folder beside it.

    Args:
        target: the result.
        clip: the source.
        first: the first frame that is taken from it.
        encoding: of the video.
        plan: all that the parts depend on.
        seconds: how much is taken of the source.

    Attributes:
        folder: where they are.
        frames: how many there are in the parts that are finished.
    """

    def __init__(
        self, target: Path, clip: Reader, first: Frame, encoding: Encoding, plan: dict[str, Any], seconds: float
    ) -> None:
        self.folder = target.with_name(f"{target.name}.parts")
        self.frames = 0
        self._target, self._clip, self._first, self._encoding, self._seconds = target, clip, first, encoding, seconds
        self._plan = json.loads(json.dumps(plan))  # as it will be read
        self._plan_file = self.folder / "plan.json"

    def open(self, overwrite: bool, resume: bool) -> None:
        """Take up the parts that there are, or begin with none.

        Args:
            overwrite: throw away those that there are.
            resume: go on after them.

        Raises:
            UsageError: there are parts and neither is wanted, or they were made otherwise.
            UnwritableFile: the folder is another one, or cannot be made, or the container cannot hold the streams.
        """
        if self.folder.exists() and not (self.folder.is_dir() and self._is_ours()):
            raise UnwritableFile(self.folder, "is in the way: move it, or choose another name for the output")
        if self._finished() and resume:
            if self._read_plan() != self._plan:
                raise UsageError(f"{self.folder}: of another source or other settings: --overwrite begins again")
            self.frames = sum(count_frames(part) for part in self._finished())
            return
        if self._finished() and not overwrite:
            raise UsageError(f"{self.folder}: of an interrupted run: --resume goes on, --overwrite begins again")
        with self._said_of_the_target():
            if self.folder.exists():
                shutil.rmtree(self.folder)
            self.folder.mkdir()
        try:
            with self._said_of_the_target():
                write_atomically(self._plan_file, json.dumps(self._plan, indent=1).encode(), overwrite=True)
                self._rehearse()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def write(self, frames: Iterable[Frame]) -> int:
        """Add frames, a part after another, and say how many; a part that does not become whole is lost.

        Raises:
            UnwritableFile: the disk refuses; the finished parts stay.
        """
        coming, written = iter(frames), 0
        for number in range(len(self._finished()), 10**9):
            first = next(coming, None)
            if first is None:
                break
            growing, part = self.folder / "growing", self.folder / f"{number:05d}.part"
            with self._said_of_the_target():
                written += _write_all(chain([first], islice(coming, PART - 1)), growing, self._clip, self._encoding)
                os.replace(growing, part)
        return written

    def finish(self, overwrite: bool) -> None:
        """Make the result, and take the parts away.

        Raises:
            UnwritableFile: the disk refuses; the parts stay.
        """
        with self._said_of_the_target():
            whole = self._put_together(self._finished(), self._seconds)
        move_into_place(whole, self._target, overwrite)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _rehearse(self) -> None:
        """Put a file together from the first frame and a second of the rest: better fail now than after the work."""
        part = self.folder / "rehearsal"
        _write_all([self._first], part, self._clip, self._encoding)
        self._put_together([part], min(self._seconds, REHEARSED)).unlink()
        part.unlink()

    def _put_together(self, parts: Sequence[Path], seconds: float) -> Path:
        joined, whole = self.folder / "joined", self.folder / self._target.name
        join(parts, joined, self._encoding)
        assemble(self._clip, joined, whole, self._encoding, seconds)
        return whole

    def _finished(self) -> list[Path]:
        return sorted(self.folder.glob("*.part"))

    def _is_ours(self) -> bool:
        return self._plan_file.exists() or not any(self.folder.iterdir())

    def _read_plan(self) -> object:
        try:
            return json.loads(self._plan_file.read_bytes())
        except (OSError, ValueError):
            return None

    @contextmanager
    def _said_of_the_target(self) -> Iterator[None]:
        """The names of the files within are of no use to anybody."""
        try:
            yield
        except UnwritableFile as error:
            raise UnwritableFile(self._target, error.reason) from error
        except OSError as error:
            raise UnwritableFile(self._target, f"cannot be written ({error.strerror})") from error


class _Comparison:
    """Writes what passes beside what it was; without a path, it lets all pass."""

    def __init__(self, path: Path | None, clip: Reader, encoding: Encoding, overwrite: bool) -> None:
        self._path, self._overwrite = path, overwrite
        if path is not None:
            self._growing, self._whole = (path.with_name(f".{path.name}.{state}") for state in ("growing", "whole"))
            self._encoding = dataclasses.replace(encoding, container=CONTAINERS[path.suffix.lower()][0])
            self._writer = Writer(self._growing, clip, self._encoding)

    def __enter__(self) -> "_Comparison":
        return self

    def seeing(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            if self._path is not None:
                self._writer.write(frame.beside_itself())
            yield frame

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if self._path is None:
            return
        try:
            self._writer.__exit__(kind, error, trace)
            if kind is None:
                join([self._growing], self._whole, self._encoding)
                move_into_place(self._whole, self._path, self._overwrite)
        finally:
            for path in (self._growing, self._whole):
                path.unlink(missing_ok=True)


def _plan(clip: Reader, denoise: Denoiser, encoding: Encoding, settings: Settings) -> dict[str, Any]:
    """All that a part depends on, its number apart."""
    state = clip.path.stat()
    return {
        "version": __version__,
        "libraries": {name: list(version) for name, version in av.library_versions.items()},
        "source": str(clip.path.resolve()),
        "bytes": state.st_size,
        "changed": state.st_mtime_ns,
        "settings": dataclasses.asdict(settings),
        "encoding": dataclasses.asdict(encoding),
        "weights": checksum_of(settings.model),
        "device": str(denoise.device),
        "precision": str(denoise.precision),
        "tile": denoise.tile,
        "part": PART,
    }


def _notes(first: Frame, encoding: Encoding) -> list[str]:
    notes = []
    if first.is_interlaced:
        notes.append("interlaced: --deinterlace makes whole frames of the fields")
    if has_alpha(first.picture.format) and not has_alpha(av.VideoFormat(encoding.pixel_format, 16, 16)):
        notes.append(f"transparency is lost: {encoding.encoder} has none")
    return notes


def _write_all(frames: Iterable[Frame], path: Path, clip: Reader, encoding: Encoding) -> int:
    written = 0
    with Writer(path, clip, encoding) as writer:
        for frame in frames:
            writer.write(frame)
            written += 1
    return written


def _ahead(items: Iterable[Item]) -> Generator[Item, None, None]:
    """The same items, made in a thread of their own, a few ahead."""
    waiting: Queue[tuple[Item | None, BaseException | None]] = Queue(QUEUED)
    unwanted = threading.Event()

    def hand_over(item: Item | None, error: BaseException | None = None) -> None:
        while not unwanted.is_set():
            with suppress(Full):
                waiting.put((item, error), timeout=WAIT)
                return

    def make() -> None:
        try:
            for item in items:
                hand_over(item)
                if unwanted.is_set():
                    return
            hand_over(None)
        except BaseException as error:  # noqa: BLE001 - raised again where the items are used
            hand_over(None, error)

    thread = threading.Thread(target=make, daemon=True)
    try:
        thread.start()
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        unwanted.set()
        _wait_for(thread)


def _wait_for(thread: threading.Thread) -> None:
    """Until a thread has ended, however often Ctrl-C is pressed meanwhile: it holds what is to be closed next."""
    interrupt: KeyboardInterrupt | None = None
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt as pressed:
            interrupt = pressed
    if interrupt is not None:
        raise interrupt
