"""The folder of a training run: its results, and the state from which an interrupted run continues.

It has `run.json` (the settings), `state.safetensors` (everything that the next step depends on), `level.safetensors`
(the state when the learning rate began to fall, from which a longer run continues), `log.csv` (for plots) and
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
from denoise_cli.models.checkpoint import read_tensors, write_tensors
from denoise_cli.models.weight_file import read_metadata
from denoise_cli.train.recipe import read_settings

LOG_COLUMNS = ("step", "loss", "learning_rate", "psnr", "seconds", "megapixels_per_second", "waiting")


class RunFolder:
    """The files of one run.

    Args:
        path: the folder, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._settings, self._log = path / "run.json", path / "log.csv"
        self._state, self._level = path / "state.safetensors", path / "level.safetensors"
        self._weights, self._curve = path / "weights.safetensors", path / "curve.png"

    @property
    def holds_state(self) -> bool:
        """Whether a run has been saved here that can be continued."""
        return self._state.exists()

    def check_free(self) -> None:
        """Check that a new run would overwrite nothing.

        Raises:
            TrainingError: the folder has another run, or unrelated files with names that a run uses.
        """
        if self.holds_state:
            raise TrainingError(f"{self.path}: already has a run: add --resume to continue it, or choose another --out")
        with suppress(OSError, ValueError, TypeError, KeyError):
            read_settings(self.path)["model"]  # of a run that was killed before its first state: it may be overwritten
            return
        for file in (self._settings, self._log, self._curve, self._level, self._weights):
            if file.exists():
                raise TrainingError(f"{file}: a run would overwrite this file: choose another --out")

    def changes(self, settings: Mapping[str, object]) -> tuple[str, ...]:
        """Describe every setting that differs from the run's previous ones, except the number of steps."""
        try:
            before = read_settings(self.path)
        except (OSError, ValueError, TypeError):  # a run can continue without them: it needs only the state
            return ()
        names = [name for name in settings if name not in ("steps", "folders")]
        changed = [name for name in names if before.get(name, settings[name]) != settings[name]]
        return tuple(f"{name} changed from {_words(before[name])} to {_words(settings[name])}" for name in changed)

    def open(self, settings: Mapping[str, object], step: int) -> None:
        """Create the folder, or remove what an interrupted run left unfinished, and write the settings.

        Args:
            settings: the content of `run.json`.
            step: the number of steps already done; later lines of the log are removed.

        Raises:
            UnwritableFile: the folder or a file cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnwritableFile(self.path, f"cannot create the folder: {error.strerror}") from error
        write_atomically(self._settings, (json.dumps(settings, indent=2) + "\n").encode(), overwrite=True)
        for partial in self.path.glob(".denoise-*.part"):  # from a run that was killed while writing
            partial.unlink(missing_ok=True)
        self._trim_log(step)

    def load(self, model: str, steps: int, fall_begins: int) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Read the state to continue from, and its note.

        It is the last state, or, if the learning rate had already begun to fall and should now fall later, the state
        from just before that fall.

        Args:
            model: the model that the run trains.
            steps: the total number of steps.
            fall_begins: the step at which the learning rate begins to fall.

        Raises:
            TrainingError: there is no state, it belongs to another model, or it has more than `steps` steps.
            DamagedWeights: the state cannot be read.
        """
        if not self.holds_state:
            raise TrainingError(f"{self.path}: no run to continue: omit --resume to start one")
        path, note = self._state, read_metadata(self._state)
        began = int(note.get("fall_begins", 0))
        if int(note.get("step", 0)) > began and fall_begins > began and self._level.exists():
            path, note = self._level, read_metadata(self._level)
        if note.get("model") != model:
            raise TrainingError(f"{self.path}: this run trains {note.get('model')}, not {model}: choose another --out")
        if int(note["step"]) > steps:
            raise TrainingError(f"{self.path}: {note['step']} steps are already done: give more --steps")
        return read_tensors(path), note

    def save(self, state: dict[str, Tensor], weights: dict[str, Tensor], note: dict[str, str]) -> None:
        """Write a state and the averaged weights; also keep the state at which the learning rate begins to fall.

        Args:
            state: everything that the next step depends on.
            weights: the averaged weights.
            note: metadata of both files; `load` reads `model`, `step` and `fall_begins`.

        Raises:
            UnwritableFile: a file cannot be written; its previous version is kept.
        """
        if note["step"] == note["fall_begins"]:  # written first: a run that is killed in between repeats this step
            write_tensors(self._level, state, note)
        write_tensors(self._state, state, note)
        write_tensors(self._weights, weights, note)

    def log(self, row: Sequence[object]) -> None:
        """Append a row to the log, with a cell for each of `LOG_COLUMNS`.

        Raises:
            UnwritableFile: the log cannot be written.
        """
        try:
            with self._log.open("a", newline="") as file:
                csv.writer(file).writerow(row)
        except OSError as error:
            raise UnwritableFile(self._log, f"cannot write: {error.strerror}") from error

    def _trim_log(self, step: int) -> None:
        """Create the log, or remove the rows that a killed run wrote after its last saved state."""
        rows = list(csv.reader(self._log.read_text().splitlines()))[1:] if self._log.exists() else []
        kept = [row for row in rows if len(row) == len(LOG_COLUMNS) and row[0].isdecimal() and int(row[0]) <= step]
        buffer = StringIO(newline="")
        csv.writer(buffer).writerows([LOG_COLUMNS, *kept])
        write_atomically(self._log, buffer.getvalue().encode(), overwrite=True)


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value) or "none"
