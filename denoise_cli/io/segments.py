"""A clip's result while it is being made: in finished segments, which survive a kill."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

from denoise_cli.errors import UnwritableFile, UsageError
from denoise_cli.files import is_same_file, move_into_place, write_atomically
from denoise_cli.imaging.yuv import Plane
from denoise_cli.io.animation import write as write_animation
from denoise_cli.io.encode import Encoding, Writer
from denoise_cli.io.kept_frames import KeptFrames
from denoise_cli.io.mux import OTHERS, Tracks, assemble, count_frames, join
from denoise_cli.io.passing import Passing
from denoise_cli.io.video import Reader
from denoise_cli.io.video_frame import Frame
from denoise_cli.temporary_files import PARTS, PLAN, PREFIX

SEGMENT_LENGTH = 240  # frames: encoders begin a new group about as often by themselves
CHECK_DURATION = 1.0  # seconds of the source that are copied to check the container


class Segments:
    """The finished segments of a result, in a folder beside it, and what is done of the one that follows them.

    Args:
        target: the result.
        clip: the source.
        first: the first frame of the source that is denoised.
        encoding: of the video.
        plan: everything that the segments depend on, except their length.
        seconds: the length of the source that is denoised.
        tracks: the source's tracks that the result has.

    Attributes:
        folder: where the segments are.
        frames: number of frames in the segments of the run that is resumed; 0 without one.
        kept: number of frames after these that are denoised, but not in a finished segment.
    """

    def __init__(
        self,
        target: Path,
        clip: Reader,
        first: Frame,
        encoding: Encoding,
        plan: dict[str, Any],
        seconds: float,
        tracks: Tracks,
    ) -> None:
        self.folder = segments_folder(target)
        self.frames = self.kept = 0
        self._unfinished = KeptFrames(self.folder, clip, first)
        self._target, self._clip, self._first, self._encoding, self._seconds = target, clip, first, encoding, seconds
        self._tracks = tracks
        self._plan = json.loads(json.dumps(plan | {"part": SEGMENT_LENGTH}))  # as it will be read back
        self._plan_file = self.folder / PLAN

    def open(self, overwrite: bool, resume: bool) -> None:
        """Continue after existing segments, or make an empty folder.

        Args:
            overwrite: whether existing segments are deleted, unless they are continued.
            resume: whether they are continued if they come from this source and these settings.

        Raises:
            UsageError: there are segments, and what is set allows neither.
            UnwritableFile: the folder is not of this program or cannot be made, or the container cannot hold the
                streams.
        """
        if self.folder.exists() and not (self.folder.is_dir() and self._is_ours()):
            raise UnwritableFile(self.folder, "is in the way: move it, or choose another name for the output")
        if self._holds_work() and resume:
            left = self._read_plan()
            if left != self._plan and not overwrite:
                other = "with another source or other settings"
                if _version(left) != _version(self._plan):
                    other = "of another version, which cannot be continued"
                raise UsageError(f"{self.folder}: left by a run {other}: --overwrite starts again")
            if left == self._plan:
                self.frames = sum(count_frames(segment) for segment in self._finished())
                self.kept = self._unfinished.count(len(self._finished()))
                return
        if self._holds_work() and not overwrite:
            raise UsageError(
                f"{self.folder}: left by an interrupted run: --resume continues it, --overwrite starts again"
            )
        with self._naming_target():
            if self.folder.exists():
                self._remove()
            self.folder.mkdir()
        try:
            with self._naming_target():
                write_atomically(self._plan_file, json.dumps(self._plan, indent=1).encode(), overwrite=True)
                self._check_container()
        except BaseException:
            self.discard()
            raise

    def kept_planes(self) -> Iterator[list[Plane]]:
        """The samples of the frames that are denoised, but not in a finished segment."""
        return self._unfinished.planes(len(self._finished()))

    def write(self, frames: Iterable[Frame], passing: Passing) -> int:
        """Encode frames into segments. Of one that is interrupted, the frames are kept, unless they come from a pipe.

        Args:
            frames: in display order, without those of the finished segments.
            passing: tracks of standard input, which are written beside the segments.

        Returns:
            The number of frames.

        Raises:
            UnwritableFile: a file cannot be written. Finished segments are kept.
        """
        recorded = passing.recording(frames, self.folder / OTHERS, "nut" if self._clip.is_nut else "matroska")
        remaining, written, known = iter(recorded), 0, self.kept
        for number in count(len(self._finished())):
            first = next(remaining, None)
            if first is None:
                break
            growing, segment = self.folder / "growing", self.folder / f"{number:05d}.part"
            part: Iterator[Frame] = chain([first], islice(remaining, SEGMENT_LENGTH - 1))
            if self._clip.pipe is None:
                part = self._unfinished.keeping(part, number, known)
            with self._naming_target():
                written += write_all(part, growing, self._clip, self._encoding)
                os.replace(growing, segment)
                self._unfinished.discard()
            known = 0
        return written

    def close(self) -> None:
        """Remove the folder if it holds no frames that a run could continue from."""
        if not self._holds_work():
            self.discard()

    def discard(self) -> None:
        """Remove the folder with everything in it, as far as the system allows."""
        with suppress(OSError):
            self._remove()

    def finish(
        self,
        overwrite: bool,
        modified: int | None = None,
        like: Path | None = None,
        backup: Path | None = None,
        inspect: Callable[[Path], None] | None = None,
    ) -> None:
        """Assemble the result, and remove the segments.

        Args:
            overwrite: whether an existing file is replaced.
            modified: the result's modification time, in nanoseconds since 1970; None for now.
            like: a file whose permissions, owner and extended attributes a new file gets.
            backup: a second name for the file that is replaced, see `files.write_atomically`.
            inspect: called with the whole result, before it gets its name.

        Raises:
            UnwritableFile: the result cannot be written. The segments are kept.
        """
        with self._naming_target():
            whole = self._assemble(self._finished(), self._seconds)
        if inspect is not None:
            inspect(whole)
        try:
            move_into_place(whole, self._target, overwrite, modified, like, backup)
        finally:
            if not whole.exists() or is_same_file(whole, self._target):  # done, even if the run is interrupted now
                self.discard()

    def _check_container(self) -> None:
        """Assemble a file from the first frame and a second of the source: it is better to fail now than at the end."""
        segment = self.folder / "check"
        write_all([self._first], segment, self._clip, self._encoding)
        self._assemble([segment], min(self._seconds, CHECK_DURATION)).unlink()
        segment.unlink()

    def _assemble(self, segments: Sequence[Path], seconds: float) -> Path:
        joined, whole = self.folder / "joined", self.folder / self._target.name
        last = join(segments, joined, self._encoding)
        if self._encoding.animation:
            write_animation(self._clip, joined, whole, self._encoding.animation, self._clip.end_of(seconds))
            return whole
        assemble(self._clip, joined, whole, self._encoding, self._tracks, last, seconds)
        return whole

    def _finished(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.part"))

    def _holds_work(self) -> bool:
        return bool(self._finished() or self._unfinished.files)

    def _is_ours(self) -> bool:
        """Whether the folder has a plan, or nothing but what a run leaves that is killed before the plan is there."""
        return self._plan_file.exists() or all(entry.name.startswith(PREFIX) for entry in self.folder.iterdir())

    def _remove(self) -> None:
        """Remove the folder, the plan last, by which the next run knows it if this one is killed meanwhile."""
        for entry in self.folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != self._plan_file:
                entry.unlink()
        shutil.rmtree(self.folder)

    def _read_plan(self) -> dict[str, Any]:
        try:
            plan = json.loads(self._plan_file.read_bytes())
        except (OSError, ValueError):
            return {}
        return plan if isinstance(plan, dict) else {}

    @contextmanager
    def _naming_target(self) -> Iterator[None]:
        """Make errors name the target, because names of files in the folder mean nothing to the user."""
        try:
            yield
        except UnwritableFile as error:
            raise UnwritableFile(self._target, error.reason) from error
        except OSError as error:
            raise UnwritableFile(self._target, f"cannot be written ({error.strerror})") from error


def _version(plan: dict[str, Any]) -> object:
    """What of a plan changes with the program and with FFmpeg's libraries, not with the clip or the options."""
    settings = plan.get("settings")
    return plan.get("version"), plan.get("libraries"), set(plan), set(settings) if isinstance(settings, dict) else None


def segments_folder(target: Path) -> Path:
    """The folder for the segments of a result."""
    return target.with_name(target.name + PARTS)


def write_all(
    frames: Iterable[Frame], path: Path, clip: Reader, encoding: Encoding, passing: Passing | None = None
) -> int:
    """Encode frames to a file or to standard output, with other tracks if they are `passing` through.

    Returns:
        The number of frames.

    Raises:
        UsageError: the encoder does not accept its settings.
        UnwritableFile: the file cannot be written.
    """
    written = 0
    with Writer(path, clip, encoding, passing) as writer:
        for frame in frames:
            writer.write(frame)
            written += 1
    return written
