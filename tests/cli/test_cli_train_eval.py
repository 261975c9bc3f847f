"""`denoise train` and `denoise eval`, on a few tiny photos."""

import dataclasses
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from denoise_cli.cli import console
from tests.cli.conftest import run_in_room

Cli = Callable[..., Any]


# A run short enough for a test: two steps of one crop.
LITTLE = ["--steps", "2", "--batch", "1", "--patch", "64", "--device", "cpu"]


def settings_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


def test_a_recipe_says_which_folders_it_needs(cli: Cli, photos: Path, tmp_path: Path) -> None:
    done = cli("train", "--recipe", "mallenet-s", "--data", photos, "--out", tmp_path / "run")
    assert done.code == 2
    assert f"{photos}: the recipe needs the folders photos-1, photos-2, bsd432, and there is no photos-1" in done.err
    assert not (tmp_path / "run").exists()


def test_a_run_stops_resumes_and_ends(cli: Cli, photos: Path, tmp_path: Path) -> None:
    run = ["train", "--model", "mallenet-s", "--data", photos, "--out", tmp_path / "run", *LITTLE]
    done = cli(*run, "--minutes", "0")
    assert done.code == 0
    assert done.err == f"{tmp_path}/run: 0 steps done: 2 left, continue with --resume\n"
    done = cli(*run)
    assert done.code == 1
    assert "already has a run: add --resume to continue it" in done.err
    done = cli(*run, "--resume", "--validation", photos)
    assert done.code == 0
    first, last, end = done.err.splitlines()
    assert first.startswith("step 1 of 2: loss 0.")  # where the learning rate begins to fall
    assert re.fullmatch(
        r"step 2 of 2: loss 0\.\d{5}, validation \d\d\.\d\d dB, \d+\.\d\d MP/s \(\d+% waiting for crops\), "
        r"\d+\.\d minutes, 0 to go",
        last,
    )
    assert end == f"{tmp_path}/run: 2 steps done"
    assert (tmp_path / "run" / "weights.safetensors").is_file()


def test_photos_of_a_folder_that_a_recipe_names_twice_are_drawn_twice_as_often(
    cli: Cli, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "others")
    own = tmp_path / "own.toml"
    own.write_text('model = "mallenet-s"\ndata = ["photos", "photos", "others"]\n')
    run = tmp_path / "run"
    done = cli("train", "--recipe", own, "--data", tmp_path, "--out", run, *LITTLE, "--minutes", "0")
    assert done.code == 0
    assert settings_of(run)["photos"] == 3 * len(list(photos.iterdir()))


def test_a_run_is_continued_by_its_folder_alone(cli: Cli, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    own = tmp_path / "own.toml"
    own.write_text('model = "mallenet-s"\nstart = "mallenet-s"\ndata = ["photos"]\nbatch = 1\nsteps = 9\n')
    where = ["--data", tmp_path, "--out", run, "--device", "cpu", "--minutes", "0"]
    assert cli("train", "--recipe", own, "--seed", "3", "--steps", "2", *where).code == 0
    begun = settings_of(run)
    assert (begun["seed"], begun["data"]) == (3, [str(photos)])
    done = cli("train", "--resume", *where)
    assert (done.code, done.err) == (0, f"{run}: 0 steps done: 2 left, continue with --resume\n")
    assert settings_of(run) == begun
    done = cli("train", "--resume", "--model", "mallenet-s", "--batch", "2", *where)
    assert done.err.splitlines()[0] == f"{run}: batch changed from 1 to 2"
    done = cli("train", "--resume", "--recipe", own, *where)
    assert done.err.splitlines()[0] == f"{run}: batch changed from 2 to 1, seed changed from 3 to 0"
    assert settings_of(run) == begun | {"steps": 9, "seed": 0}
    for other in (["--model", "mallenet-m"], ["--from", "mallenet-m"]):
        done = cli("train", "--resume", *other, *where)
        assert (done.code, done.err) == (
            1,
            f"denoise: {run}: this run trains mallenet-s, not mallenet-m: choose another --out\n",
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_its_step_saves_and_says_so(
    cli: Cli, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    from denoise_cli.train.trainer import Trainer

    step = Trainer._step

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(number)
        return step(*arguments)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    run = tmp_path / "run"
    done = cli("train", "--model", "mallenet-s", "--data", photos, "--out", run, *LITTLE, "--steps", "3")
    assert (done.code, done.err) == (130, f"{run}: 1 steps done: 2 left, continue with --resume\n")
    assert signal.getsignal(signal.SIGINT) is before
    assert (run / "state.safetensors").exists()
    assert not (run / "curve.png").exists()  # nothing was reported


def test_a_second_interruption_ends_a_run_at_once(
    cli: Cli, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from denoise_cli.train.trainer import Trainer

    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    run = tmp_path / "run"
    assert cli("train", "--model", "mallenet-s", "--data", photos, "--out", run, *LITTLE).code == 130
    assert not (run / "state.safetensors").exists()


def test_the_bar_counts_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = StringIO()
    monkeypatch.setattr(console, "stderr", Console(file=screen, force_terminal=True, width=100))
    with console.progress_bar(20_000, quiet=False) as bar:
        bar.start("mallenet-s")
        bar.jump_to(1200, 0.05)
        bar.progress.refresh()
    assert "1200/20000" in screen.getvalue()


def test_a_quiet_run_says_nothing(cli: Cli, photos: Path, tmp_path: Path) -> None:
    done = cli("train", "--model", "mallenet-s", "--data", photos, "--out", tmp_path / "run", *LITTLE, "-q")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_curve_is_drawn_where_matplotlib_is(
    cli: Cli, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    run = ["train", "--model", "mallenet-s", "--data", photos, *LITTLE, "--steps", "1"]
    assert cli(*run, "--out", tmp_path / "with").code == 0
    assert Image.open(tmp_path / "with" / "curve.png").width > 500
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli(*run, "--out", tmp_path / "without").code == 0
    assert not (tmp_path / "without" / "curve.png").exists()


def test_a_published_recipe_is_repeated(cli: Cli, photos: Path, tmp_path: Path) -> None:
    from denoise_cli.train.recipe import read_recipe

    recipe = read_recipe("mallenet-s")
    for name in recipe.data:
        shutil.copytree(photos, tmp_path / "data" / name)
    run = ["train", "--recipe", "mallenet-s", "--data", tmp_path / "data", "--out", tmp_path / "run"]
    assert cli(*run, "--minutes", "0", "--seed", "7").code == 0
    folders = [str(tmp_path / "data" / name) for name in recipe.data]
    expected = dataclasses.asdict(recipe) | {"data": folders, "folders": list(recipe.data)}
    assert settings_of(tmp_path / "run") == expected | {"photos": 6, "seed": 7}


def test_weights_are_fitted_to_ones_own_photos_and_used(cli: Cli, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = cli("train", "--from", "mallenet-s", "--data", photos, "--out", run, *LITTLE)
    assert done.code == 0
    settings = settings_of(run)
    assert (settings["model"], settings["start"], settings["steps"]) == ("mallenet-s", "mallenet-s", 2)
    weights = run / "weights.safetensors"
    done = cli("image", photos / "0.png", "-o", tmp_path / "out.png", "--model", weights, "--noise", "10")
    assert done.code == 0
    assert f"{weights}, noise 10.0" in done.err
    assert str(tmp_path) not in (tmp_path / "out.png").read_bytes().decode("latin-1")
    assert Image.open(tmp_path / "out.png").size == (160, 128)
    shown = json.loads(cli("models", "show", weights, "--json").out)
    assert shown.items() >= {"name": str(weights), "model": "mallenet-s", "step": "2"}.items()
    again = ["train", "--from", weights, "--data", photos, "--out", tmp_path / "again", *LITTLE, "--minutes", "0"]
    assert cli(*again).code == 0
    assert settings_of(tmp_path / "again")["start"] == str(weights)
    weights.unlink()
    assert cli(*again, "--resume").code == 0


def test_folders_may_come_from_the_environment(
    cli: Cli, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(photos, tmp_path / "other")
    monkeypatch.setenv("DENOISE_DATA", f"{photos}{os.pathsep}{other}")
    done = cli("train", "--model", "mallenet-s", "--out", tmp_path / "run", *LITTLE, "--minutes", "0")
    assert done.code == 0
    assert settings_of(tmp_path / "run")["data"] == [str(photos), str(other)]


def test_unreadable_photos_are_named_and_counted(cli: Cli, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_bytes(b"no photo")
    run = ["train", "--model", "mallenet-s", "--data", photos, "--out", tmp_path / "run", "--seed", "3"]
    done = cli(*run, *LITTLE, "--steps", "6")
    assert done.code == 0
    named = [line for line in done.err.splitlines() if "bad.png" in line]
    assert named == [f"denoise: {photos / 'bad.png'}: not a photo of a known format, or damaged at its start: skipped"]
    assert done.err.endswith("6 steps done, unreadable photos: 1\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "choose one of --recipe (repeat a run), --model (start a run) and --from (fine-tune)"),
        (["--model", "mallenet-s", "--from", "mallenet-s"], 2, "choose one of --recipe"),
        (["--recipe", "mallenet-s", "--model", "mallenet-s"], 2, "choose one of --recipe"),
        (["--model", "mallenet-s", "--patch", "100"], 2, "--patch 100: mallenet-s needs a multiple of 64"),
        (["--model", "mallenet-s", "--seed", str(2**63)], 2, "seed: expected 0 to 9223372036854775807, got 9223372"),
        (["--model", "mallenet-s", "--learning-rate", "inf"], 2, "learning_rate: expected a finite number, 0 or more"),
        (["--model", "best"], 2, "no model is called 'best': choose from mallenet-s, "),
        (["--from", "mallenet-xl"], 2, "mallenet-xl has no trained weights yet"),
        (["--from", "none.safetensors"], 1, "none.safetensors: No such file or directory"),
        (["--recipe", "mallenet-z"], 2, "no recipe is called 'mallenet-z': choose from "),
        (["--recipe", "none.toml"], 2, "or give a .toml file"),
        (["--resume"], 1, "run: no run to continue: omit --resume to start one"),
        (["--resume", "--recipe", "mallenet-s", "--model", "mallenet-s"], 2, "choose one of --recipe"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(
    cli: Cli, photos: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    done = cli("train", "--data", photos, "--out", tmp_path / "run", *arguments)
    assert done.code == code
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_training_without_photos_is_said(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = cli("train", "--model", "mallenet-s", "--data", tmp_path / "none", "--out", tmp_path / "run")
    assert (done.code, done.err) == (1, f"denoise: {tmp_path}/none: no such folder\n")
    monkeypatch.delenv("DENOISE_DATA", raising=False)
    done = cli("train", "--model", "mallenet-s", "--out", tmp_path / "run")
    assert done.code == 2
    assert "--data" in done.err


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is that of Linux")
@pytest.mark.parametrize("megabytes", [700, 950])
def test_training_with_too_little_address_space_ends_with_a_line(megabytes: int, photos: Path, tmp_path: Path) -> None:
    """The libraries that it imports would not all end if there were no room for them."""
    done = run_in_room(megabytes, "train", "--model", "mallenet-s", "--data", photos, "--out", tmp_path)
    assert (done.code, done.err) == (1, "denoise: out of memory: the program needs more than this process may use\n")


def test_a_model_is_scored_on_a_folder(cli: Cli, photos: Path) -> None:
    done = cli("eval", "--data", photos, "--sigma", "25", "--json", "-q")
    record = json.loads(done.out)
    assert record["photos"] == 2
    assert record["noisy"] == pytest.approx(20.17, abs=0.05)  # 10 log10 (255^2 / 25^2)
    assert record["denoised"] > record["noisy"] + 8
    assert "mallenet-s" in cli("eval", "--data", photos, "--sigma", "25", "-q").out
