"""The outcome of denoising a clip, as a record of plain data, and what is measured for it meanwhile."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import TypeVar

from denoise_cli.pipeline.outcome import Outcome
from denoise_cli.pipeline.threads import Stopwatch

Progress = Callable[[int, float], None]  # frames done, and the fraction of the clip

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Result(Outcome):
    """The outcome for a clip.

    Attributes:
        made: frames that this run has denoised; the others come from a run that was interrupted.
        sigma: the median noise level of the frames, on the scale of 255; None if the model found it itself.
        complete: whether all of the source could be read; a note says what is missing.
    """

    frames: int | None = None
    made: int | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    pixel_format: str | None = None
    sigma: float | None = None
    complete: bool = True


class Work:
    """What is known of a clip or a sequence while it is denoised, from now on.

    Args:
        progress: called after each frame.

    Attributes:
        expected: the number of frames; 0 if it is not known.
        levels: the noise levels of frames, on [0, 1], as far as they are known.
        reading: measures how long it takes to decode the frames.
        waiting: how long denoising waits for them.
        working: how long it takes to denoise them, with this waiting.
        seconds_writing: how long it took to encode and write them.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self.expected = 0
        self.levels: list[float] = []
        self.reading, self.waiting, self.working = Stopwatch(), Stopwatch(), Stopwatch()
        self.seconds_writing = 0.0
        self._progress = progress
        self._began = time.perf_counter()

    def count(self, done: int, level: float | None) -> None:
        """Note that so many frames are done, and the noise level of the last of them."""
        self.levels.extend([] if level is None else [level])
        if self._progress is not None:
            self._progress(done, min(done / self.expected, 1.0) if self.expected else 0.0)

    def write(self, write: Callable[[Iterator[Item]], Value], items: Iterable[Item]) -> Value:
        """What a function returns that writes the items. Its time counts, but not that in which it waits for them."""
        started, supply = time.perf_counter(), Stopwatch()
        value = write(supply.over(items))
        self.seconds_writing += time.perf_counter() - started - supply.seconds
        return value

    def result(
        self,
        source: Path,
        target: Path,
        model: str,
        *,
        frames: int,
        made: int,
        size: tuple[int, int],
        codec: str,
        pixel_format: str,
        notes: Iterable[str],
        complete: bool,
        has_stages: bool = True,
    ) -> Result:
        """The record of what has been done, in frames of a `size` (width, height).

        Without `has_stages`, reading, denoising and writing were not measured.
        """
        return Result(
            source=str(source),
            target=str(target),
            model=model,
            frames=frames,
            made=made,
            megapixels=round(made * size[0] * size[1] / 1e6, 6),
            width=size[0],
            height=size[1],
            codec=codec,
            pixel_format=pixel_format,
            sigma=round(median_low(self.levels) * 255, 3) if self.levels else None,
            seconds=round(time.perf_counter() - self._began, 3),
            seconds_reading=round(self.reading.seconds, 3) if has_stages else None,
            seconds_denoising=round(self.working.seconds - self.waiting.seconds, 3) if has_stages else None,
            seconds_writing=round(self.seconds_writing, 3) if has_stages else None,
            notes=tuple(notes),
            complete=complete,
        )
