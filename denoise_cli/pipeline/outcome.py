"""The outcome for one file, as a record of plain data, and the sum of the outcomes of a run."""

import time
from dataclasses import dataclass, field
from typing import Any

STAGES = ("reading", "denoising", "writing")


def counted(number: int, noun: str) -> str:
    """How many there are, in words.

    >>> counted(1, "frame"), counted(2, "frame")
    ('1 frame', '2 frames')
    """
    return f"{number} {noun}{'s' * (number != 1)}"


@dataclass(frozen=True)
class Outcome:
    """What is known of every job, of photos and of clips; what is not known is None.

    Attributes:
        source, target: the files, as they were named.
        model: the name of the model, or the path of its file; None if the job failed before one was chosen.
        error: why the job failed; None if it did not.
        megapixels: that were denoised.
        seconds: spent on the file.
        seconds_reading, seconds_denoising, seconds_writing: of these; in clips, the three go on at the same time.
        notes: what the user should hear.
        skipped: whether the file was left alone, since its result is done.
        dry_run: whether nothing was denoised.
    """

    source: str
    target: str
    model: str | None
    error: str | None = None
    megapixels: float | None = None
    seconds: float | None = None
    seconds_reading: float | None = None
    seconds_denoising: float | None = None
    seconds_writing: float | None = None
    notes: tuple[str, ...] = ()
    skipped: bool = False
    dry_run: bool = False


@dataclass
class Summary:
    """Counts of a run, which take no more memory as it goes on, except for what failed.

    Attributes:
        dry_run: whether nothing is denoised.
        total: number of files; 0 if that is not known.
        interrupted: whether the run was ended before it was done with them.
        done, skipped: numbers of files.
        incomplete: how many of them could not be read to their end.
        failures: the source and the error of each file that failed.
        megapixels: that were denoised.
        stages: seconds that were spent in each of `STAGES`, some of them at the same time.
        began: when the run did, by the clock of `time.monotonic`.
    """

    dry_run: bool = False
    total: int = 0
    interrupted: bool = False
    done: int = 0
    skipped: int = 0
    incomplete: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    megapixels: float = 0.0
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    began: float = field(default_factory=time.monotonic)

    def add(self, outcome: Outcome, complete: bool = True) -> None:
        """Count a file; `complete` says whether all of it could be read."""
        self.incomplete += not complete
        if outcome.error is not None:
            self.failures.append((outcome.source, outcome.error))
        elif outcome.skipped:
            self.skipped += 1
        else:
            self.done += 1
            self.megapixels += outcome.megapixels or 0.0
            for stage in STAGES:
                self.stages[stage] += getattr(outcome, f"seconds_{stage}") or 0.0

    @property
    def left(self) -> int:
        """How many files the run was not done with, as far as it knew."""
        return max(0, self.total - self.done - self.skipped - len(self.failures)) if self.interrupted else 0

    def line(self) -> str:
        """The sum for the user."""
        left = f", {self.left} left" * self.interrupted
        if self.dry_run:
            return f"{self.done} to denoise, {self.skipped} done already, {len(self.failures)} would fail{left}"
        seconds = time.monotonic() - self.began
        line = f"{self.done} done, {self.skipped} skipped, {len(self.failures)} failed"
        line = f"interrupted after {seconds:.1f} s: {line}{left}" if self.interrupted else f"{line} in {seconds:.1f} s"
        line += f", {self.incomplete} incomplete" * bool(self.incomplete)
        if not self.done:
            return line
        stages = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in self.stages.items())
        return f"{line}: {self.megapixels / seconds:.2f} megapixels/s; {stages}"

    def record(self) -> dict[str, Any]:
        """The sum as the last record of a run."""
        seconds = time.monotonic() - self.began
        return {
            "summary": True,
            "done": self.done,
            "skipped": self.skipped,
            "failed": len(self.failures),
            "incomplete": self.incomplete,
            "interrupted": self.interrupted,
            "left": self.left,
            "failures": [{"source": source, "error": error} for source, error in self.failures],
            "megapixels": round(self.megapixels, 6),
            "megapixels_per_second": round(self.megapixels / seconds, 3) if seconds else 0.0,
            "seconds": round(seconds, 3),
            **{f"seconds_{stage}": round(spent, 3) for stage, spent in self.stages.items()},
            "dry_run": self.dry_run,
        }
