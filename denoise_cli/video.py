"""One clip, from its file to another: decoded, denoised and encoded at the same time, in parts that outlive a kill."""

import dataclasses
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from queue import Full, Queue
from statistics import median_low
from typing import TypeVar

from denoise_cli import __version__
from denoise_cli.clip import denoised
from denoise_cli.denoiser import Denoiser
from denoise_cli.errors import DenoiseError, UnreadableFile, UnwritableFile, UsageError
from denoise_cli.files import move_into_place, write_atomically
from denoise_cli.io.video import (
    CONTAINERS,
    USUAL_CONTAINER,
    Encoding,
    Frame,
    Reader,
    Writer,
    assemble,
    choose_encoding,
    count_frames,
    join,
)

Item = TypeVar("Item")
Progress = Callable[[int, float], None]  # frames that are done, and the share of the clip

PART = 240  # frames; what a kill can cost
QUEUED = 4  # frames that wait between two threads
WAIT = 0.2  # seconds between two looks at whether anybody still wants what a thread has made
MOST_FRAMES = 9
STDOUT = Path("-")


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
    seconds: float = float("inf")
    deinterlace: bool = False


@dataclass(frozen=True)
class Result:
    """What became of a clip; `sigma` is the noise of most of its frames, on the scale of 255."""

    source: str
    target: str
    model: str
    frames: int
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
        progress: called after each frame.

    Raises:
        DenoiseError: something that the user can act upon. Nothing stands under the target's name that was not there
            before; what is finished of it is kept for `resume`.
    """
    began = time.perf_counter()
    check(source, target, overwrite)
    with Reader(source) as clip, closing(clip.frames(settings.start, settings.seconds, settings.deinterlace)) as frames:
        first = next(frames, None)
        if first is None:
            raise UnreadableFile(source, "has no frames" + (f" after {settings.start:g} s" if settings.start else ""))
        extension = ".y4m" if target == STDOUT else target.suffix.lower()
        encoding = choose_encoding(
            clip, first, extension, settings.codec, settings.crf, settings.preset, settings.pixel_format
        )
        notes = ("interlaced: --deinterlace makes whole frames of the fields",) if first.is_interlaced else ()
        width, height = first.picture.width, first.picture.height
        parts = None if target == STDOUT else Parts(target, clip, first, encoding, settings, overwrite, resume)
        done = parts.frames if parts else 0
        expected = max(clip.expected_frames(settings.start, settings.seconds), done + 1)
        decoded = _ahead(chain([first], frames))
        cleaned = _ahead(denoised(decoded, denoise, settings.frames, settings.sigma, settings.strength, done))
        levels: list[float] = []

        def shown() -> Iterator[Frame]:
            for place, (frame, level) in enumerate(cleaned, start=done + 1):
                levels.extend([] if level is None else [level])
                yield frame
                if progress is not None:
                    progress(place, min(place / expected, 1.0))

        with closing(decoded), closing(cleaned):
            if parts:
                parts.write(shown())
                parts.finish(overwrite)
                done = parts.frames
            else:
                done = _write_all(shown(), Writer(STDOUT, clip, encoding))
    return Result(
        source=str(source),
        target=str(target),
        model=settings.model,
        frames=done,
        width=width,
        height=height,
        codec=encoding.encoder,
        pixel_format=encoding.pixel_format,
        sigma=round(median_low(levels) * 255, 3) if levels else None,
        seconds=round(time.perf_counter() - began, 3),
        notes=notes,
    )


class Parts:
    """The finished parts of a result, in a folder beside it.

    Args:
        target: the result.
        clip: the source.
        first: the first frame that is taken from it.
        encoding: of the video.
        settings: what else the parts depend on.
        overwrite: begin again where there are some.
        resume: go on after those that there are.

    Attributes:
        folder: where they are.
        frames: how many there are in the parts that are finished.

    Raises:
        UsageError: there are parts and neither is wanted, or those that there are were made otherwise.
        UnwritableFile: the folder cannot be made.
    """

    def __init__(
        self,
        target: Path,
        clip: Reader,
        first: Frame,
        encoding: Encoding,
        settings: Settings,
        overwrite: bool,
        resume: bool,
    ) -> None:
        self.folder = target.with_name(f"{target.name}.parts")
        self.frames = 0
        self._target = target
        self._clip, self._encoding, self._settings = clip, encoding, settings
        plan = self._plan()
        if self.folder.exists() and resume:
            if self._read_plan() != plan:
                raise UsageError(f"{self.folder}: made of another source or with other settings: leave --resume away")
            self.frames = sum(count_frames(part) for part in self._finished())
        elif self.folder.exists() and not overwrite:
            raise UsageError(
                f"{self.folder}: of an interrupted run: add --resume to go on, or --overwrite to begin again"
            )
        else:
            with suppress(FileNotFoundError):
                shutil.rmtree(self.folder)
            try:
                self.folder.mkdir()
            except OSError as error:
                raise UnwritableFile(self.folder, f"cannot make the folder: {error.strerror}") from error
            try:
                self._rehearse(first)
            except DenoiseError:
                shutil.rmtree(self.folder, ignore_errors=True)
                raise
            write_atomically(self._plan_file, json.dumps(plan, indent=1).encode(), overwrite=True)

    def _rehearse(self, first: Frame) -> None:
        """Put a file together from the first frame and a second of the rest: better fail now than after the work."""
        video, whole = self.folder / "rehearsal", self.folder / self._target.name
        _write_all([first], Writer(video, self._clip, self._encoding))
        try:
            assemble(self._clip, video, whole, self._encoding, self._settings.start, min(self._settings.seconds, 1.0))
        except UnwritableFile as error:
            raise UnwritableFile(self._target, error.reason) from error
        for path in (video, whole):
            path.unlink()

    def write(self, frames: Iterable[Frame]) -> None:
        """Add frames, a part after another; what is not a whole part when it ends early is lost."""
        coming = iter(frames)
        for number in range(len(self._finished()), 10**9):
            first = next(coming, None)
            if first is None:
                return
            path = self._part(number)
            growing = path.with_suffix(".growing")
            self.frames += _write_all(
                chain([first], islice(coming, PART - 1)), Writer(growing, self._clip, self._encoding)
            )
            os.replace(growing, path)

    def finish(self, overwrite: bool) -> None:
        """Make the result, and take the parts away."""
        joined, whole = self.folder / "joined", self.folder / self._target.name
        join(self._finished(), joined, self._encoding)
        assemble(self._clip, joined, whole, self._encoding, self._settings.start, self._settings.seconds)
        move_into_place(whole, self._target, overwrite)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _plan_file(self) -> Path:
        return self.folder / "plan.json"

    def _part(self, number: int) -> Path:
        return self.folder / f"{number:05d}.part"

    def _finished(self) -> list[Path]:
        return sorted(self.folder.glob("*.part"))

    def _plan(self) -> dict[str, object]:
        state = self._clip.path.stat()
        plan: dict[str, object] = {
            "version": __version__,
            "source": str(self._clip.path.resolve()),
            "bytes": state.st_size,
            "changed": state.st_mtime_ns,
            "settings": dataclasses.asdict(self._settings),
            "encoding": dataclasses.asdict(self._encoding),
        }
        return json.loads(json.dumps(plan))  # as it will be read

    def _read_plan(self) -> object:
        try:
            return json.loads(self._plan_file.read_bytes())
        except (OSError, ValueError):
            return None


def _write_all(frames: Iterable[Frame], writer: Writer) -> int:
    written = 0
    with closing(writer):
        for frame in frames:
            writer.write(frame)
            written += 1
    return written


def _ahead(items: Iterable[Item]) -> Iterator[Item]:
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
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        unwanted.set()
        thread.join()
