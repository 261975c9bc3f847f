"""What an interrupted run over a sequence of numbered pictures leaves, by which the next one continues it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from denoise_cli.errors import UsageError
from denoise_cli.files import write_atomically
from denoise_cli.io import numbered
from denoise_cli.pipeline.clip_targets import refuse_finished
from denoise_cli.pipeline.jobs import Job


class Record:
    """A hidden file beside the results of a run that is not complete: what they depend on, so that it can be continued.

    Results that have changed since it was written are those of the run.

    Args:
        target: a pattern, or a folder.
        jobs: each frame and its result, by its number.

    Attributes:
        place: what only one run at a time may write.
    """

    def __init__(self, target: Path, jobs: Mapping[int, Job]) -> None:
        self._target, self._jobs = target, jobs
        folder = next(iter(jobs.values())).target.parent
        name = target.name if numbered.is_pattern(target) else "sequence"
        self.place = folder / name
        self._file = folder / f".{name}.run.json"

    @property
    def exists(self) -> bool:
        """Whether a run has begun and not ended."""
        return self._file.exists()

    def done(self, overwrite: bool) -> set[int]:
        """The numbers of the frames that the run has denoised; none without a run.

        Raises:
            UnwritableFile: there are results, but no run has left them, and `overwrite` is false.
        """
        try:
            began = self._file.stat().st_mtime_ns
        except OSError:
            if not overwrite:
                refuse_finished(self._target, (job.target for job in self._jobs.values()))
            return set()
        return {number for number, job in self._jobs.items() if _changed(job.target) >= began}

    def begin(self, matters: Mapping[str, Any], overwrite: bool, resume: bool) -> set[int]:
        """Note what the results depend on; the numbers of the frames that an earlier run has denoised.

        Raises:
            UsageError: they depend on something else, or there is an earlier run, and neither flag is set.
        """
        text = json.dumps(matters, indent=1, sort_keys=True)
        try:
            left = self._file.read_text(encoding="utf-8")
        except (OSError, ValueError):
            left = None
        if resume and left is not None:
            if left != text:
                raise UsageError(
                    f"{self._target}: left by a run with other frames, settings or version: --overwrite starts again"
                )
            return self.done(overwrite)
        if left is not None and not overwrite:
            raise UsageError(
                f"{self._target}: left by an interrupted run: --resume continues it, --overwrite starts again"
            )
        write_atomically(self._file, text.encode(), overwrite=True)
        return set()

    def finish(self) -> None:
        """Forget the run: it is complete."""
        self._file.unlink(missing_ok=True)


def _changed(path: Path) -> int:
    """When a file last changed in any way, its name included, in nanoseconds since 1970; 0 if there is none."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0
