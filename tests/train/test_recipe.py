import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoise_cli.errors import DamagedWeights, TrainingError, UnknownModel
from denoise_cli.models.checkpoint import write_tensors
from denoise_cli.models.registry import MODELS
from denoise_cli.train.recipe import Recipe, fine_tuning, read_recipe, recipe_of, recipes_folder, settings_of

RECIPE = Recipe("mallenet-s", steps=1000, warmup=100, learning_rate=2e-3, batch=16, patch=64, fall=0.4)
RATES = np.array([RECIPE.learning_rate_at(step) for step in range(1000)])


def test_the_learning_rate_rises_in_even_steps_stays_and_falls_in_even_steps_to_zero() -> None:
    assert RATES[0] == pytest.approx(2e-5)
    np.testing.assert_allclose(np.diff(RATES[:100]), 2e-5)
    assert (RATES[99:601] == 2e-3).all()
    np.testing.assert_allclose(np.diff(RATES[600:]), -2e-3 / 400)
    assert RATES[-1] == pytest.approx(2e-3 / 400)


@pytest.mark.parametrize("steps", [700, 1000, 5000])
def test_what_comes_before_the_fall_does_not_depend_on_the_steps(steps: int) -> None:
    other = dataclasses.replace(RECIPE, steps=steps)
    level = range(min(RECIPE.fall_begins, other.fall_begins))
    assert [other.learning_rate_at(step) for step in level] == list(RATES[: len(level)])
    assert {other.shape_at(step) for step in level} == {(16, 64)}


def test_the_warm_up_may_be_left_out() -> None:
    assert dataclasses.replace(RECIPE, warmup=0).learning_rate_at(0) == 2e-3


def test_a_fall_that_meets_the_warm_up_still_ends_at_zero() -> None:
    short = dataclasses.replace(RECIPE, steps=50)
    rates = [short.learning_rate_at(step) for step in range(51)]
    assert max(rates) < 2e-3
    assert rates[-1] == 0


@pytest.mark.parametrize(("fall", "begins"), [(0.0, 1000), (0.4, 600), (1.0, 0)])
def test_the_fall_is_a_share_of_the_steps(fall: float, begins: int) -> None:
    recipe = dataclasses.replace(RECIPE, fall=fall, warmup=0)
    assert recipe.fall_begins == begins
    rates = [recipe.learning_rate_at(step) for step in range(1000)]
    assert sum(rate < 2e-3 for rate in rates) == max(1000 - begins - 1, 0)  # its first step is still at the height


def test_crops_in_the_fall_are_twice_as_wide_and_half_as_many() -> None:
    shapes = [RECIPE.shape_at(step) for step in (0, 599, 600, 999)]
    assert shapes == [(16, 64), (16, 64), (8, 128), (8, 128)]
    assert dataclasses.replace(RECIPE, batch=1).shape_at(999) == (1, 128)


def test_pixels_are_those_of_all_crops_so_far() -> None:
    shapes = [RECIPE.shape_at(step) for step in range(1000)]
    summed = np.cumsum([0] + [count * patch**2 for count, patch in shapes])
    assert [RECIPE.pixels_until(step) for step in range(1001)] == list(summed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "expected 1 or more"),
        ({"batch": 0}, "expected 1 or more"),
        ({"fall": 1.5}, "fall: expected"),
        ({"seed": -1}, "seed: expected"),
        ({"seed": 2**63}, "seed: expected"),
        ({"ema": 7.0}, "ema: expected"),
        ({"clip": -1.0}, "clip: expected"),
        ({"warmup": -5}, "warmup: expected"),
        ({"learning_rate": -1.0}, "learning_rate: expected"),
        ({"learning_rate": float("nan")}, "learning_rate: expected"),
        ({"weight_decay": float("inf")}, "weight_decay: expected"),
        ({"loss": "l7"}, "loss: expected one of rms, l1"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, **change)


def test_every_published_recipe_is_that_of_the_model_of_its_name() -> None:
    names = [path.stem for path in recipes_folder().glob("*.toml")]
    assert names
    for name in names:
        recipe = read_recipe(name)
        assert recipe.model == name
        assert name in MODELS
        assert recipe.data


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(UnknownModel) as error:
        read_recipe("mallenet-z")
    known = ", ".join(sorted(path.stem for path in recipes_folder().glob("*.toml")))
    assert str(error.value) == f"no recipe is called 'mallenet-z': choose from {known}, or give a .toml file"


def test_a_recipe_may_be_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('model = "mallenet-m"\ndata = ["a", "b"]\nsteps = 10\nlearning_rate = 1\n')
    assert read_recipe(str(path)) == Recipe("mallenet-m", ("a", "b"), steps=10, learning_rate=1.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("model = ", "Invalid value"),
        ("steps = 10", "model is missing"),
        ('model = "mallenet-s"\nstep = 10', "unknown setting 'step'"),
        ('model = "mallenet-s"\nsteps = 10.5', "steps: expected int, got 10.5"),
        ('model = "mallenet-s"\nsteps = true', "steps: expected int, got True"),
        ('model = "mallenet-s"\nsteps = 0', "expected 1 or more, got 0"),
        ('model = "mallenet-s"\nlearning_rate = "fast"', "learning_rate: expected float, got 'fast'"),
        ('model = "mallenet-s"\ndata = "photos"', "data: expected a list of folders, got 'photos'"),
        ('model = "mallenet-s"\ndata = [1]', "data: expected a list of folders, got [1]"),
        ("\xff", "can't decode"),
    ],
)
def test_a_file_that_is_no_recipe_is_named_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(TrainingError) as error:
        read_recipe(str(path))
    assert str(error.value).startswith(f"{path}: not a recipe: ")
    assert reason in str(error.value)


def test_fine_tuning_begins_with_weights_and_is_gentle(tmp_path: Path) -> None:
    gentle, fresh = fine_tuning("mallenet-s"), Recipe("mallenet-s")
    assert (gentle.model, gentle.start) == ("mallenet-s", "mallenet-s")
    assert gentle.steps < fresh.steps
    assert gentle.learning_rate < fresh.learning_rate
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {}, {"model": "mallenet-m"})
    assert (fine_tuning(str(path)).model, fine_tuning(str(path)).start) == ("mallenet-m", str(path))


def test_fine_tuning_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel):
        fine_tuning("mallenet-z")
    with pytest.raises(DamagedWeights):
        fine_tuning(str(tmp_path / "none.safetensors"))


def test_a_run_remembers_its_recipe(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, data=("a", "b"), seed=7)
    settings = settings_of(recipe, [tmp_path / "a", tmp_path / "b"], 9)
    (tmp_path / "run.json").write_text(json.dumps(settings))
    assert settings["data"] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert settings["photos"] == 9
    assert recipe_of(tmp_path) == recipe


@pytest.mark.parametrize(("text", "reason"), [("{", "Expecting"), ("3", "not iterable"), ("{}", "model is missing")])
def test_settings_that_are_none_are_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(TrainingError, match="no run to continue: omit --resume to start one"):
        recipe_of(tmp_path)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(TrainingError, match=reason) as error:
        recipe_of(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'run.json'}: not a run's settings (")
