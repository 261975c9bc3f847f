"""Recipes: all that decides a training run, but for the photos."""

import dataclasses
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from denoise_cli.errors import TrainingError, UnknownModel
from denoise_cli.models.manifest import weights_folder
from denoise_cli.models.registry import name_of
from denoise_cli.train.losses import LOSSES

LARGEST_SEED = 2**63 - 1  # of PyTorch


@dataclass(frozen=True)
class Recipe:
    """A run's settings; a step is one batch.

    The learning rate rises to its height, stays there, and falls to zero over the last steps. Nothing before that fall
    depends on the number of steps, so that a longer run begins as a shorter one did, and can be made out of it.

    Attributes:
        model: a name from the registry, which says what noise is learnt.
        data: folders under the one that the user names; empty for that folder itself. Among photos, those of one
            that is named twice are drawn twice as often.
        start: a model, or a file, whose weights are the first; empty for fresh ones.
        steps: in all.
        batch, patch: crops in a batch, and their side in pixels, a multiple of the network's.
        fall: the share of the steps, at the end, in which the learning rate falls; crops are twice as wide there and
            half as many, since what a network sees of a crop is the less affected by its border.
        learning_rate, warmup: its height, and the steps that lead there.
        weight_decay: keeps the weights bounded while the learning rate is high; without it long runs explode.
        clip: the largest norm of a gradient.
        ema: how much of the averaged weights a step keeps.
        loss: of encoded photos, a name of `losses.LOSSES`; that of linear light is always `gamma_l1`.
        seed: of weights, crops and noise.

    Raises:
        ValueError: a value out of its range.
    """

    model: str
    data: tuple[str, ...] = ()
    start: str = ""
    steps: int = 20_000
    batch: int = 16
    patch: int = 64
    fall: float = 0.4
    learning_rate: float = 1e-3
    warmup: int = 300
    weight_decay: float = 0.3
    clip: float = 0.5
    ema: float = 0.999
    loss: str = "rms"
    seed: int = 0

    def __post_init__(self) -> None:
        least = min(self.steps, self.batch, self.patch)
        if least < 1:
            raise ValueError(f"steps, batch, patch: expected 1 or more, got {least}")
        for name in ("fall", "ema"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, got {share}")
        for name in ("learning_rate", "warmup", "weight_decay", "clip"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}: expected a finite number, 0 or more, got {value}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, got {self.loss}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ValueError(f"seed: expected 0 to {LARGEST_SEED}, got {self.seed}")

    @property
    def fall_begins(self) -> int:
        """The first step with a lower learning rate."""
        return round(self.steps * (1 - self.fall))

    def learning_rate_at(self, step: int) -> float:
        """Up, level, down."""
        up = (step + 1) / max(self.warmup, 1)
        down = (self.steps - step) / max(self.steps - self.fall_begins, 1)
        return self.learning_rate * min(up, 1.0, down)

    def shape_at(self, step: int) -> tuple[int, int]:
        """Crops in the batch, and their side in pixels."""
        if step < self.fall_begins:
            return self.batch, self.patch
        return max(self.batch // 2, 1), self.patch * 2

    def pixels_until(self, step: int) -> int:
        """How many pixels a run has learnt from: what its time is spent on."""
        level, fall = (count * patch**2 for count, patch in (self.shape_at(0), self.shape_at(self.steps)))
        return min(step, self.fall_begins) * level + max(step - self.fall_begins, 0) * fall


def fine_tuning(start: str) -> Recipe:
    """The usual settings to fit a model's weights to other photos: short and gentle, so that little is forgotten.

    Args:
        start: the name of a registered model, or a file that training has written.

    Raises:
        UnknownModel: no such model.
        DamagedWeights: no such file, or one that says not which model it is.
    """
    return Recipe(name_of(start), start=start, steps=4000, learning_rate=3e-4)


def recipes_folder() -> Path:
    """Where the recipes of the published weights are."""
    return weights_folder() / "recipes"


def read_recipe(name: str) -> Recipe:
    """A recipe of the project by its name, or any other by its file.

    Raises:
        UnknownModel: no such recipe.
        TrainingError: a file that makes no sense.
    """
    path = Path(name) if name.endswith(".toml") else recipes_folder() / f"{name}.toml"
    try:
        return _from_table(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        known = ", ".join(sorted(path.stem for path in recipes_folder().glob("*.toml")))
        raise UnknownModel(f"no recipe is called {name!r}: choose from {known}, or name a .toml file") from error
    except (ValueError, TypeError) as error:  # of TOML, too
        raise TrainingError(f"{path}: not a recipe: {error}") from error


def settings_of(recipe: Recipe, data: Sequence[Path], photos: int) -> dict[str, object]:
    """What a run's `run.json` holds: the recipe, but `data` is where the photos are, and `folders` the recipe's own.

    Which photos a step sees depends on how many (or how many pairs) there are: so that, too.
    """
    places = [str(folder) for folder in data]
    return dataclasses.asdict(recipe) | {"data": places, "folders": list(recipe.data), "photos": photos}


def read_settings(run: Path) -> dict[str, object]:
    """What `settings_of` gave when a run was last started or continued; OSError, ValueError and TypeError pass."""
    return dict(json.loads((run / "run.json").read_text(encoding="utf-8")))


def recipe_of(run: Path) -> Recipe:
    """The settings of a run, to continue it.

    Raises:
        TrainingError: the folder holds none, or some that make no sense.
    """
    try:
        settings = read_settings(run)
        settings.pop("photos", None)
        return _from_table(settings | {"data": settings.pop("folders", [])})
    except OSError as error:
        raise TrainingError(f"{run}: holds no run to continue: leave --resume away to start one") from error
    except (ValueError, TypeError) as error:
        raise TrainingError(f"{run / 'run.json'}: not a run's settings ({error}): name them with --recipe") from error


def _from_table(table: Mapping[str, object]) -> Recipe:
    """Check each value's type against its default's; a whole number may stand for a fraction."""
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    values: dict[str, object] = {}
    for name, value in table.items():
        if name not in fields:
            raise TypeError(f"it has no setting called {name}")
        if name == "data":
            if not (isinstance(value, list) and all(isinstance(folder, str) for folder in value)):
                raise TypeError(f"data should be a list of folders, is {value!r}")
            values[name] = tuple(value)
            continue
        expected = fields[name].type
        exact = float(value) if expected is float and type(value) is int else value
        if type(exact) is not expected:
            raise TypeError(f"{name} should be of type {getattr(expected, '__name__', expected)}, is {value!r}")
        values[name] = exact
    if "model" not in values:
        raise TypeError("it names no model")
    return Recipe(**values)  # type: ignore[arg-type]
