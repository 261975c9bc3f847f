"""The result of a clip while it is made: in finished parts, which outlive a kill."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from denoise_cli.errors import UnwritableFile, UsageError
from denoise_cli.files import move_into_place, write_atomically
from denoise_cli.io.encode import Encoding, Writer
from denoise_cli.io.mux import assemble, count_frames, join
from denoise_cli.io.video import Frame, Reader

SEGMENT_LENGTH = 240  # frames; what a kill can cost
CHECK_DURATION = 1.0  # seconds


class Segments:
    """The finished parts of a result, in a folder beside it.

    Args:
        target: the result.
        clip: the source.
        first: the first frame that is taken from it.
        encoding: of the video.
        plan: all that the parts depend on, but for their length.
        seconds: how much is taken of the source.

    Attributes:
        folder: where they are.
        frames: how many there are in the parts that are finished.
    """

    def __init__(
        self, target: Path, clip: Reader, first: Frame, encoding: Encoding, plan: dict[str, Any], seconds: float
    ) -> None:
        self.folder = segments_folder(target)
        self.frames = 0
        self._target, self._clip, self._first, self._encoding, self._seconds = target, clip, first, encoding, seconds
        self._plan = json.loads(json.dumps(plan | {"part": SEGMENT_LENGTH}))  # as it will be read
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
        with self._naming_target():
            if self.folder.exists():
                shutil.rmtree(self.folder)
            self.folder.mkdir()
        try:
            with self._naming_target():
                write_atomically(self._plan_file, json.dumps(self._plan, indent=1).encode(), overwrite=True)
                self._check_container()
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
            with self._naming_target():
                written += write_all(
                    chain([first], islice(coming, SEGMENT_LENGTH - 1)), growing, self._clip, self._encoding
                )
                os.replace(growing, part)
        return written

    def close(self) -> None:
        """Leave nothing behind where there is nothing to go on with."""
        if not self._finished():
            shutil.rmtree(self.folder, ignore_errors=True)

    def finish(self, overwrite: bool) -> None:
        """Make the result, and take the parts away.

        Raises:
            UnwritableFile: the disk refuses; the parts stay.
        """
        with self._naming_target():
            whole = self._assemble(self._finished(), self._seconds)
        move_into_place(whole, self._target, overwrite)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check_container(self) -> None:
        """Put a file together from the first frame and a second of the rest: better fail now than after the work."""
        part = self.folder / "rehearsal"
        write_all([self._first], part, self._clip, self._encoding)
        self._assemble([part], min(self._seconds, CHECK_DURATION)).unlink()
        part.unlink()

    def _assemble(self, parts: Sequence[Path], seconds: float) -> Path:
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
    def _naming_target(self) -> Iterator[None]:
        """The names of the files within are of no use to anybody."""
        try:
            yield
        except UnwritableFile as error:
            raise UnwritableFile(self._target, error.reason) from error
        except OSError as error:
            raise UnwritableFile(self._target, f"cannot be written ({error.strerror})") from error


def segments_folder(target: Path) -> Path:
    """Where the parts of a result are."""
    return target.with_name(f"{target.name}.parts")


def write_all(frames: Iterable[Frame], path: Path, clip: Reader, encoding: Encoding) -> int:
    """Encode frames into a file, or to standard output, and say how many there were.

    Raises:
        UnwritableFile: the disk refuses, or the encoder.
    """
    written = 0
    with Writer(path, clip, encoding) as writer:
        for frame in frames:
            writer.write(frame)
            written += 1
    return written
