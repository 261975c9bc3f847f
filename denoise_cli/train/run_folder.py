"""A run's folder: what a killed run continues from, and what is left of a finished one.

It holds `run.json` (the settings), `state.safetensors` (all that the next step depends on), `level.safetensors` (the
state when the learning rate began to fall, from which a longer run goes on), `log.csv` (for plots) and
`weights.safetensors` (the averaged weights, ready for use).
"""

import csv
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path

from torch import Tensor

from denoise_cli.errors import TrainingError, UnwritableFile
from denoise_cli.files import write_atomically
from denoise_cli.models.checkpoint import read_metadata, read_tensors, write_tensors
from denoise_cli.train.recipe import read_settings

LOG_COLUMNS = ("step", "loss", "learning_rate", "psnr", "seconds", "megapixels_per_second", "waiting")


class RunFolder:
    """One run's files.

    Args:
        path: the folder, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._settings, self._log = path / "run.json", path / "log.csv"
        self._state, self._level = path / "state.safetensors", path / "level.safetensors"
        self._weights, self._curve = path / "weights.safetensors", path / "curve.png"

    @property
    def holds_state(self) -> bool:
        """Whether there is something to continue."""
        return self._state.exists()

    def check_free(self) -> None:
        """See that a new run harms nothing here.

        Raises:
            TrainingError: there is another run, or a file that is not of a run and has a name that one would use.
        """
        if self.holds_state:
            raise TrainingError(f"{self.path}: holds a run already: add --resume to continue it, or choose another")
        with suppress(OSError, ValueError, TypeError, KeyError):
            read_settings(self.path)["model"]  # of a run that was killed before its first state
            return
        for file in (self._settings, self._log, self._curve, self._level, self._weights):
            if file.exists():
                what = f"holds another {file.name}, which a run would replace"
                raise TrainingError(f"{self.path}: {what}: choose another")

    def changes(self, settings: Mapping[str, object]) -> tuple[str, ...]:
        """What is set otherwise than it was here, in words, the steps left out."""
        try:
            before = read_settings(self.path)
        except (OSError, ValueError, TypeError):  # the state is what a run cannot do without
            return ()
        names = [name for name in settings if name not in ("steps", "folders")]
        differ = [name for name in names if before.get(name, settings[name]) != settings[name]]
        return tuple(f"{name} {_words(before[name])} is now {_words(settings[name])}" for name in differ)

    def open(self, settings: Mapping[str, object], step: int) -> None:
        """Make or clear the folder for a run that has done so many steps.

        Raises:
            UnwritableFile: the disk or the folder refuses.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnwritableFile(self.path, f"cannot make the folder: {error.strerror}") from error
        write_atomically(self._settings, (json.dumps(settings, indent=2) + "\n").encode(), overwrite=True)
        for part in self.path.glob(".denoise-*.part"):  # what a kill left of a file
            part.unlink(missing_ok=True)
        self._trim_log(step)

    def load(self, model: str, steps: int, fall_begins: int) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The state to continue from, and its note.

        It is the last one, unless more steps are wanted and its learning rate has begun to fall for fewer.

        Args:
            model: what the run should train.
            steps: how many it should take in all.
            fall_begins: the step at which its learning rate should begin to fall.

        Raises:
            TrainingError: there is none, or it is of another model, or of a later step.
            DamagedWeights: it cannot be read.
        """
        if not self.holds_state:
            raise TrainingError(f"{self.path}: holds no run to continue: leave --resume away to start one")
        path, note = self._state, read_metadata(self._state)
        began = int(note.get("fall_begins", 0))
        if int(note.get("step", 0)) > began and fall_begins > began and self._level.exists():
            path, note = self._level, read_metadata(self._level)
        if note.get("model") != model:
            raise TrainingError(f"{self.path}: trains {note.get('model')}, not {model}")
        if int(note["step"]) > steps:
            raise TrainingError(f"{self.path}: has done {note['step']} steps already: ask for more")
        return read_tensors(path), note

    def save(self, state: dict[str, Tensor], weights: dict[str, Tensor], note: dict[str, str]) -> None:
        """Write a state and the averaged weights; the state twice where the learning rate begins to fall.

        Args:
            state: all that the next step depends on.
            weights: the averaged ones.
            note: strings; `model`, `step` and `fall_begins` are what `load` reads.

        Raises:
            UnwritableFile: the disk or the folder refuses; what was there stays.
        """
        if note["step"] == note["fall_begins"]:  # first: a run that is killed here comes by again
            write_tensors(self._level, state, note)
        write_tensors(self._state, state, note)
        write_tensors(self._weights, weights, note)

    def log(self, row: Sequence[object]) -> None:
        """Add a line to the log, a cell for each of `LOG_COLUMNS`.

        Raises:
            UnwritableFile: the disk or the folder refuses.
        """
        try:
            with self._log.open("a", newline="") as file:
                csv.writer(file).writerow(row)
        except OSError as error:
            raise UnwritableFile(self._log, f"cannot write: {error.strerror}") from error

    def _trim_log(self, step: int) -> None:
        """Start the log, or drop the lines that a killed run wrote after its last saved state."""
        rows = list(csv.reader(self._log.read_text().splitlines()))[1:] if self._log.exists() else []
        kept = [row for row in rows if len(row) == len(LOG_COLUMNS) and row[0].isdecimal() and int(row[0]) <= step]
        buffer = StringIO(newline="")
        csv.writer(buffer).writerows([LOG_COLUMNS, *kept])
        write_atomically(self._log, buffer.getvalue().encode(), overwrite=True)


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value) or "none"
