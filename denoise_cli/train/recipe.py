"""Recipes: everything that determines a training run, except the photos."""

import dataclasses
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from denoise_cli.errors import TrainingError, UnknownModel
from denoise_cli.files import read_regular
from denoise_cli.models.manifest import weights_folder
from denoise_cli.models.registry import name_of
from denoise_cli.train.losses import LOSSES

LARGEST_SEED = 2**63 - 1  # that PyTorch accepts


@dataclass(frozen=True)
class Recipe:
    """The settings of a training run; a step is one batch.

    The learning rate rises to its peak, stays there, and falls to zero over the last steps. Nothing before that fall
    depends on the number of steps, so a longer run begins exactly as a shorter one did and can be continued from it.

    Attributes:
        model: a name from the registry; it determines the kind of noise.
        data: folders below the one that the user gives; empty to use that folder itself. Photos in a folder that is
            listed twice are drawn twice as often as others.
        start: the initial weights, as a model's name or a weight file; empty to initialise them at random.
        only: the part of the network that learns, as the beginning of its weights' names; the rest stays as it starts.
            By default, all of it learns.
        steps: total number of steps.
        batch: crops in a batch.
        patch: side of a crop in pixels, a multiple of the network's.
        fall: share of the steps, at the end, over which the learning rate falls. Crops are twice as wide and high
            there and half as many, because the border affects less of what the network computes on a large crop.
        learning_rate: its peak.
        warmup: steps over which the learning rate rises to the peak.
        weight_decay: keeps the weights bounded while the learning rate is high; without it, long runs diverge.
        clip: maximum norm of the gradient.
        ema: the decay of the exponential moving average of the weights: the share of it that a step keeps.
        loss: the loss for encoded photos, a name in `losses.LOSSES`; in linear light it is always `gamma_l1`.
        reduce: share of the crops that are reduced to half their size (`data.reduce`), [0, 1].
        recolour: share of the crops whose colours are varied (`data.recolour`), [0, 1].
        drawings: share of the crops that are drawn by code (`data.drawings`) instead of taken from photos, [0, 1].
        stars: share of the crops that are drawn stars, in addition to those among the drawings, [0, 1].
        seed: for the initial weights, the crops and the noise.

    Raises:
        ValueError: a value is out of its range.

    Example:
        >>> recipe = Recipe("mallenet-s", steps=1000, warmup=100, learning_rate=1e-3, fall=0.4)
        >>> [recipe.learning_rate_at(step) for step in (0, 99, 500, 800, 1000)]
        [1e-05, 0.001, 0.001, 0.0005, 0.0]
        >>> recipe.fall_begins
        600
        >>> recipe.shape_at(0), recipe.shape_at(800)
        ((16, 64), (8, 128))
    """

    model: str
    data: tuple[str, ...] = ()
    start: str = ""
    only: str = ""
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
    reduce: float = 0.0
    recolour: float = 0.0
    drawings: float = 0.0
    stars: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        smallest = min(self.steps, self.batch, self.patch)
        if smallest < 1:
            raise ValueError(f"steps, batch, patch: expected 1 or more, got {smallest}")
        for name in ("fall", "ema", "reduce", "recolour", "drawings", "stars"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, got {share}")
        for name in ("learning_rate", "warmup", "weight_decay", "clip"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}: expected a finite number, 0 or more, got {value}")
        if self.drawings + self.stars > 1:
            raise ValueError(f"drawings, stars: expected at most all crops, got {self.drawings} and {self.stars}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, got {self.loss}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ValueError(f"seed: expected 0 to {LARGEST_SEED}, got {self.seed}")

    @property
    def fall_begins(self) -> int:
        """The step at which the learning rate begins to fall."""
        return round(self.steps * (1 - self.fall))

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step: it rises evenly, stays at its peak, and falls evenly to zero."""
        up = (step + 1) / max(self.warmup, 1)
        down = (self.steps - step) / max(self.steps - self.fall_begins, 1)
        return self.learning_rate * min(up, 1.0, down)

    def shape_at(self, step: int) -> tuple[int, int]:
        """The number of crops in a step's batch, and their side in pixels."""
        if step < self.fall_begins:
            return self.batch, self.patch
        return max(self.batch // 2, 1), self.patch * 2

    def pixels_until(self, step: int) -> int:
        """The number of pixels in all crops before a step; a run's time is roughly proportional to it."""
        peak, fall = (count * patch**2 for count, patch in (self.shape_at(0), self.shape_at(self.steps)))
        return min(step, self.fall_begins) * peak + max(step - self.fall_begins, 0) * fall


def fine_tuning(start: str) -> Recipe:
    """The default settings for fine-tuning on other photos: few steps and a low learning rate, to forget little.

    Args:
        start: a model from the registry, or the path of a weight file written by training.

    Raises:
        UnknownModel: there is no such model.
        DamagedWeights: there is no such file, or it does not name its model.
    """
    return Recipe(name_of(start), start=start, steps=4000, learning_rate=3e-4)


def recipes_folder() -> Path:
    """The folder with the recipes of the published weights."""
    return weights_folder() / "recipes"


def read_recipe(name: str) -> Recipe:
    """Read a recipe.

    Args:
        name: the name of one that comes with the project, or the path of a .toml file.

    Raises:
        UnknownModel: there is no such recipe.
        UnreadableFile: it is a pipe or a device.
        TrainingError: the file is not a valid recipe.
    """
    path = Path(name) if name.endswith(".toml") else recipes_folder() / f"{name}.toml"
    try:
        return _from_table(tomllib.loads(read_regular(path).decode()))
    except OSError as error:
        known = ", ".join(sorted(path.stem for path in recipes_folder().glob("*.toml")))
        raise UnknownModel(f"no recipe is called {name!r}: choose from {known}, or give a .toml file") from error
    except (ValueError, TypeError) as error:  # including those of tomllib
        raise TrainingError(f"{path}: not a recipe: {error}") from error


def settings_of(recipe: Recipe, data: Sequence[Path], photos: int) -> dict[str, object]:
    """The content of `run.json`: the recipe, but with whole paths as `data`, and the recipe's own as `folders`.

    It includes the number of photos (or of pairs), because that determines which photos a step draws.
    """
    paths = [str(folder) for folder in data]
    return dataclasses.asdict(recipe) | {"data": paths, "folders": list(recipe.data), "photos": photos}


def read_settings(run: Path) -> dict[str, object]:
    """Read the settings with which a run was last started or continued, as `settings_of` returned them.

    Raises:
        OSError: `run.json` cannot be read.
        ValueError, TypeError: it is not a JSON object.
    """
    return dict(json.loads((run / "run.json").read_text(encoding="utf-8")))


def recipe_of(run: Path) -> Recipe:
    """The recipe of a run, with which to continue it.

    Raises:
        TrainingError: the folder has no run, or its settings are not valid.
    """
    try:
        settings = read_settings(run)
        settings.pop("photos", None)
        return _from_table(settings | {"data": settings.pop("folders", [])})
    except OSError as error:
        raise TrainingError(f"{run}: no run to continue: omit --resume to start one") from error
    except (ValueError, TypeError) as error:
        raise TrainingError(f"{run / 'run.json'}: not a run's settings ({error}): give them with --recipe") from error


def _from_table(table: Mapping[str, object]) -> Recipe:
    """Check each value's type; an integer is accepted for a float."""
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    values: dict[str, object] = {}
    for name, value in table.items():
        if name not in fields:
            raise TypeError(f"unknown setting {name!r}")
        if name == "data":
            if not (isinstance(value, list) and all(isinstance(folder, str) for folder in value)):
                raise TypeError(f"data: expected a list of folders, got {value!r}")
            values[name] = tuple(value)
            continue
        expected = fields[name].type
        converted = float(value) if expected is float and type(value) is int else value
        if type(converted) is not expected:
            raise TypeError(f"{name}: expected {getattr(expected, '__name__', expected)}, got {value!r}")
        values[name] = converted
    if "model" not in values:
        raise TypeError("model is missing")
    return Recipe(**values)  # type: ignore[arg-type]
