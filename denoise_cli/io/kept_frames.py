"""The denoised frames of a segment that is not finished, without loss, so that a kill costs no more than seconds.

What an encoder makes of a frame depends on where its segment begins, so a run that is continued encodes the segment
again from its first frame on; but it does not denoise again what is kept here.
"""

import math
import os
import time
from collections.abc import Generator, Iterator
from itertools import chain, count, islice
from pathlib import Path

from denoise_cli.imaging.yuv import Plane
from denoise_cli.io.encode import Writer, choose_encoding
from denoise_cli.io.mux import count_frames
from denoise_cli.io.video import Reader
from denoise_cli.io.video_frame import Frame

INTERVAL = 5.0  # seconds of work that a file is about
CODEC, CONTAINER = "ffv1", ".mkv"
SUFFIX = ".kept"


class KeptFrames:
    """Files beside the segments of a result, each with the frames of some seconds of work.

    Args:
        folder: where the files are.
        clip: the source.
        first: its first frame, for the kind of samples.
    """

    def __init__(self, folder: Path, clip: Reader, first: Frame) -> None:
        self._folder, self._clip = folder, clip
        self._encoding = choose_encoding(clip, first, CONTAINER, CODEC)
        self._took = math.inf  # seconds for the last segment

    @property
    def files(self) -> list[Path]:
        """All files, of whichever segment."""
        return sorted(self._folder.glob(f"*{SUFFIX}"))

    def count(self, segment: int) -> int:
        """How many frames of a segment are kept.

        Raises:
            UnreadableFile: a file is damaged.
        """
        return sum(count_frames(file) for file in self._files_of(segment))

    def planes(self, segment: int) -> Iterator[list[Plane]]:
        """The samples of the frames of a segment that are kept, as `Frame.planes` has them.

        Raises:
            UnreadableFile: a file is damaged.
        """
        for file in self._files_of(segment):
            with Reader(file) as reader:
                for frame in reader.frames():
                    yield frame.planes

    def keeping(self, frames: Iterator[Frame], segment: int, known: int) -> Iterator[Frame]:
        """The frames of a segment, which are kept while they go by.

        Where a whole segment takes less than the seconds that a file is about, the next one is not kept.

        Args:
            frames: in display order.
            segment: its number.
            known: number of frames, from the first one on, that are kept already.

        Raises:
            UnwritableFile: a file cannot be written.
        """
        started = time.monotonic()
        yield from islice(frames, known)
        if self._took >= INTERVAL:
            for number in count(len(self._files_of(segment))):
                if not (yield from self._keeping_some(frames, self._folder / f"{segment:05d}.{number:03d}{SUFFIX}")):
                    break
        yield from frames
        self._took = time.monotonic() - started

    def discard(self) -> None:
        """Remove all files."""
        for file in self.files:
            file.unlink()

    def _keeping_some(self, frames: Iterator[Frame], file: Path) -> Generator[Frame, None, bool]:
        """Frames of some seconds, which are kept in a file that appears whole; returns whether there were any."""
        due, growing = time.monotonic() + INTERVAL, self._folder / "keeping"
        first = next(frames, None)
        if first is None:
            return False
        with Writer(growing, self._clip, self._encoding) as writer:
            for frame in chain([first], frames):
                yield frame
                writer.write(frame)
                if time.monotonic() >= due:
                    break
        os.replace(growing, file)
        return True

    def _files_of(self, segment: int) -> list[Path]:
        return sorted(self._folder.glob(f"{segment:05d}.*{SUFFIX}"))
