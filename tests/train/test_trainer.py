"""The training loop, on a network of two layers and a handful of tiny crops."""

import csv
import dataclasses
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from torch import nn

from denoise_cli.data.examples import GaussianNoise
from denoise_cli.errors import (
    DamagedWeights,
    OutOfMemory,
    TrainingError,
    UnknownModel,
    UnreadableFile,
    UnwritableFile,
    UsageError,
)
from denoise_cli.inference import device as device_module
from denoise_cli.models import registry
from denoise_cli.models.checkpoint import load_weights, read_tensors, write_tensors
from denoise_cli.models.weight_file import read_metadata
from denoise_cli.train import run_folder, trainer
from denoise_cli.train.distributed import ProcessGroup, device_for
from denoise_cli.train.recipe import Recipe
from denoise_cli.train.run_folder import LOG_COLUMNS
from denoise_cli.train.trainer import Report, Trainer
from tests.train.conftest import Start
from tests.train.tiny import RECIPE, SPECS, TinyNet, differences


def train_until(step: int, run: Trainer) -> None:
    """Train until the report of a step, then abandon the run as a kill before the next step would."""
    reports = run.run()
    while next(reports).step < step:
        pass
    reports.close()


def rows_of(run: Trainer) -> list[list[str]]:
    with (run.folder / "log.csv").open(newline="") as file:
        return list(csv.reader(file))


def state_of(run: Trainer) -> dict[str, str]:
    return read_metadata(run.folder / "state.safetensors")


def full_disk(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_run_ends_at_its_last_step_with_all_of_its_files(start: Start) -> None:
    run = start(recipe=dataclasses.replace(RECIPE, steps=5))
    reports = list(run.run())
    assert [report.step for report in reports] == [2, 3, 4, 5]  # the learning rate begins to fall at 3
    assert all(0 < report.loss < 1 and report.psnr is None and not report.skipped for report in reports)
    names = {path.name for path in run.folder.iterdir()}
    assert names == {"run.json", "state.safetensors", "level.safetensors", "log.csv", "weights.safetensors"}


def test_the_weights_are_the_averaged_ones_and_fit_the_model(start: Start) -> None:
    run = start()
    list(run.run())
    weights, state = (read_tensors(run.folder / f"{name}.safetensors") for name in ("weights", "state"))
    load_weights(run.spec.config.build(), weights, "weights")
    assert all(torch.equal(tensor, state[f"average.{name}"]) for name, tensor in weights.items())
    assert any(not torch.equal(tensor, state[f"net.{name}"]) for name, tensor in weights.items())


def test_the_average_keeps_little_of_the_first_weights(start: Start) -> None:
    run = start(recipe=dataclasses.replace(RECIPE, steps=1))
    first = [one.detach().clone() for one in run.net.parameters()]
    list(run.run())
    for before, after, average in zip(first, run.net.parameters(), run.average.parameters(), strict=True):
        torch.testing.assert_close(average, before.lerp(after, 0.9))


def test_the_settings_are_on_disk(start: Start, photos: Path) -> None:
    run = start()
    list(run.run())
    settings = json.loads((run.folder / "run.json").read_text())
    assert settings == dataclasses.asdict(RECIPE) | {"data": [str(photos)], "folders": [], "photos": 3}
    assert read_metadata(run.folder / "weights.safetensors").items() >= {"model": "tiny", "step": "6"}.items()


def test_a_short_run_already_takes_noise_away(start: Start, photos: Path) -> None:
    longer = dataclasses.replace(RECIPE, model="wider", steps=150, batch=4, warmup=10, learning_rate=1e-2, fall=0.3)
    *_, report = start(recipe=longer, save_every=150, validation=photos).run()
    assert report.psnr is not None
    assert report.psnr > -20 * np.log10(25 / 255) + 3


@pytest.mark.parametrize("model", ["mosaic", "developed"])
def test_networks_for_raw_learn_and_are_scored_on_what_they_learn_from(
    start: Start, photos: Path, tmp_path: Path, model: str
) -> None:
    first = dataclasses.replace(SPECS[model].config, channels=3, outputs=3).build()
    write_tensors(tmp_path / "rgb.safetensors", first.state_dict(), {"model": "developed"})
    recipe = Recipe(model, start=str(tmp_path / "rgb.safetensors"), steps=2, batch=2, patch=64, warmup=1)
    run = start(recipe=recipe, validation=photos, validate_every=1)
    scores = [report.psnr for report in run.run()]
    assert len(scores) == 2
    assert all(score is not None and 10 < score < 60 for score in scores)


@pytest.mark.parametrize("stop", [2, 4, 5])
def test_a_continued_run_ends_bit_for_bit_as_one_that_was_never_stopped(start: Start, stop: int) -> None:
    whole, stopped = start("whole"), start("stopped", save_every=1)
    list(whole.run())
    train_until(stop, stopped)
    continued = start("stopped", resume=True, save_every=1)
    assert [report.step for report in continued.run()] == list(range(stop + 1, 7))
    assert differences(whole, continued) == []
    assert differences(whole, continued, "weights.safetensors") == []


@pytest.mark.parametrize("stop", [3, 4, 5, 6])
def test_a_longer_run_is_made_of_a_shorter_one_bit_for_bit(start: Start, stop: int) -> None:
    longer = dataclasses.replace(RECIPE, steps=10)
    whole, short = start("whole", longer), start("short", save_every=1)
    list(whole.run())
    train_until(stop, short)
    continued = start("short", longer, resume=True)
    assert continued.step == min(stop, 4)  # what was learnt in the fall is not part of a longer run
    list(continued.run())
    assert differences(whole, continued) == []
    assert [row[0] for row in rows_of(continued)][1:] == sorted({row[0] for row in rows_of(continued)[1:]}, key=int)


def test_a_longer_run_may_grow_out_of_one_that_was_killed_as_the_fall_began(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = dataclasses.replace(RECIPE, steps=10)
    whole, short = start("whole", longer), start("short")
    list(whole.run())

    def killed(path: Path, *arguments: Any) -> None:
        write_tensors(path, *arguments)
        if short.step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "write_tensors", killed)
        with pytest.raises(KeyboardInterrupt):
            list(short.run())
    list(start("short", resume=True).run())
    continued = start("short", longer, resume=True)
    assert continued.step == 4
    list(continued.run())
    assert differences(whole, continued) == []


def test_a_run_that_was_stopped_by_the_clock_continues_too(start: Start) -> None:
    whole, stopped = start("whole"), start("stopped")
    assert list(stopped.run(minutes=0)) == []
    assert state_of(stopped)["step"] == "0"
    list(whole.run())
    continued = start("stopped", resume=True)
    list(continued.run())
    assert differences(whole, continued) == []


def test_a_run_that_is_told_to_stop_ends_its_step_and_continues_too(start: Start) -> None:
    whole, stopped = start("whole"), start("stopped")
    list(whole.run())
    assert list(stopped.run(progress=lambda _: stopped.stop())) == []
    assert state_of(stopped)["step"] == "1"
    continued = start("stopped", resume=True)
    list(continued.run())
    assert differences(whole, continued) == []


def test_the_clock_is_only_agreed_upon_where_it_matters(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(ProcessGroup, "leader_decides", lambda _, decision: asked.append(decision) or decision)
    list(start("free").run())
    assert asked == []
    list(start("timed").run(minutes=60))
    assert asked == [False] * 6


def test_continuing_a_finished_run_changes_nothing(start: Start) -> None:
    run = start()
    list(run.run())
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    continued = start(resume=True)
    assert list(continued.run()) == []
    after = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    assert after.keys() == before.keys()
    assert after["log.csv"] == before["log.csv"]
    assert all(torch.equal(*pair) for pair in zip(run.net.parameters(), continued.net.parameters(), strict=True))


def test_fewer_steps_than_are_done_are_refused(start: Start) -> None:
    run = start()
    list(run.run())
    with pytest.raises(TrainingError) as error:
        start(recipe=dataclasses.replace(RECIPE, steps=5), resume=True)
    assert str(error.value) == f"{run.folder}: 6 steps are already done: give more --steps"


def test_the_seed_decides_the_run(start: Start) -> None:
    one, again, other = (
        start(name, dataclasses.replace(RECIPE, seed=seed, steps=2))
        for name, seed in {"one": 1, "again": 1, "other": 2}.items()
    )
    for run in (one, again, other):
        list(run.run())
    assert differences(one, again) == []
    assert differences(one, other) != []


def test_progress_counts_pixels_and_ends_at_one(start: Start) -> None:
    seen: list[float] = []
    list(start().run(progress=seen.append))
    assert seen == pytest.approx([1 / 8, 2 / 8, 3 / 8, 4 / 8, 6 / 8, 1])  # late batches hold twice the pixels


def test_the_log_has_a_row_for_every_report(start: Start, photos: Path) -> None:
    run = start(validation=photos, validate_every=4)
    reports = list(run.run())
    header, *rows = rows_of(run)
    assert tuple(header) == LOG_COLUMNS
    assert [int(row[0]) for row in rows] == [2, 4, 6]
    for row, report in zip(rows, reports, strict=True):
        assert float(row[1]) == pytest.approx(report.loss, abs=1e-6)
        assert float(row[2]) == pytest.approx(report.learning_rate, rel=1e-3)
        assert float(row[5]) == pytest.approx(report.megapixels_per_second, abs=1e-3)
        assert float(row[6]) == pytest.approx(report.waiting, abs=1e-3)
        assert 0 < report.waiting < 1
    assert [bool(row[3]) for row in rows] == [False, True, True]


def test_scores_and_saved_states_need_no_common_steps(start: Start, photos: Path) -> None:
    run = start(validation=photos, validate_every=3, save_every=5)
    seen = [(report.step, report.psnr is not None, state_of(run)["step"]) for report in run.run()]
    assert seen == [(3, True, "3"), (4, False, "4"), (5, False, "5"), (6, True, "6")]


def test_a_run_that_is_not_scored_reports_no_oftener_for_it(start: Start) -> None:
    run = start(validate_every=1, save_every=5)
    assert [report.step for report in run.run()] == [4, 5, 6]


def test_a_run_that_is_killed_between_its_log_and_its_state_has_no_row_twice(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = start("whole"), start("killed")
    list(whole.run())
    train_until(2, killed)
    with (killed.folder / "log.csv").open("a", newline="") as file:
        file.write("4,0.500000,1.000e-03,,9.0,1.000\r\n1,0.4")  # the last line was being written
    continued = start("killed", resume=True)
    list(continued.run())
    assert [row[0] for row in rows_of(continued)] == [row[0] for row in rows_of(whole)] == ["step", "2", "4", "6"]
    assert differences(whole, continued) == []
    seconds = [float(row[4]) for row in rows_of(continued)[1:]]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_said_and_the_last_state_stays(start: Start, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    whole, run = start("whole"), start("run")
    list(whole.run())
    reports = run.run()
    next(reports)
    before = {path.name: path.read_bytes() for path in run.folder.iterdir() if path.suffix == ".safetensors"}
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full_disk)
        with pytest.raises(UnwritableFile) as error:
            next(reports)
    assert str(error.value) == f"{run.folder / 'level.safetensors'}: cannot write: No space left on device"
    assert {path.name: path.read_bytes() for path in run.folder.iterdir() if path.suffix == ".safetensors"} == before
    assert not list(run.folder.glob("*.part"))
    continued = start("run", resume=True)
    list(continued.run())
    assert differences(whole, continued) == []


def test_a_log_that_cannot_be_written_is_said(start: Start) -> None:
    run = start()
    (run.folder / "log.csv").unlink()
    (run.folder / "log.csv").mkdir()
    with pytest.raises(UnwritableFile) as error:
        list(run.run())
    assert str(error.value) == f"{run.folder / 'log.csv'}: cannot write: Is a directory"


def test_a_folder_that_cannot_be_made_is_said(start: Start, photos: Path) -> None:
    with pytest.raises(UnwritableFile) as error:
        start("photos/a.png/run")
    assert str(error.value) == f"{photos / 'a.png' / 'run'}: cannot create the folder: Not a directory"


def test_a_second_start_in_the_same_folder_is_refused_and_touches_nothing(start: Start) -> None:
    run = start()
    list(run.run())
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    with pytest.raises(TrainingError) as error:
        start()
    assert str(error.value) == f"{run.folder}: already has a run: add --resume to continue it, or choose another --out"
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before


@pytest.mark.parametrize("name", ["run.json", "log.csv", "weights.safetensors"])
def test_a_folder_with_files_of_someone_else_is_refused_and_spared(start: Start, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).write_text('["mine"]')
    with pytest.raises(TrainingError) as error:
        start()
    assert str(error.value) == f"{folder / name}: a run would overwrite this file: choose another --out"
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(name, '["mine"]')]


def test_a_run_that_was_killed_before_its_first_state_is_started_again(start: Start) -> None:
    start()
    assert [report.step for report in start().run()][-1] == 6


def test_lines_of_a_log_that_are_no_reports_are_dropped(start: Start) -> None:
    run = start()
    train_until(4, run)
    rows = rows_of(run)
    with (run.folder / "log.csv").open("a", newline="") as file:
        csv.writer(file).writerow("x" * len(LOG_COLUMNS))
    start(resume=True)
    assert rows_of(run) == rows


def test_there_is_nothing_to_continue_in_an_empty_folder(start: Start, tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as error:
        start(resume=True)
    assert str(error.value) == f"{tmp_path / 'run'}: no run to continue: omit --resume to start one"
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_continued_with_another_model(start: Start) -> None:
    run = start()
    train_until(2, run)
    with pytest.raises(TrainingError) as error:
        start(recipe=dataclasses.replace(RECIPE, model="wider"), resume=True)
    assert str(error.value) == f"{run.folder}: this run trains tiny, not wider: choose another --out"


def test_a_continued_run_says_what_is_set_otherwise(start: Start, photos: Path, pairs: Path) -> None:
    run = start()
    train_until(2, run)
    assert run.changes == ()
    assert start(recipe=dataclasses.replace(RECIPE, steps=8), resume=True).changes == ()
    other = dataclasses.replace(RECIPE, batch=4, seed=5)
    assert start(recipe=other, data=pairs, resume=True).changes == (
        f"data changed from {photos} to {pairs}",
        "batch changed from 2 to 4",
        "seed changed from 0 to 5",
    )
    shutil.copy(photos / "a.png", photos / "d.png")
    assert start(recipe=other, data=photos, resume=True).changes == (
        f"data changed from {pairs} to {photos}",
        "photos changed from 3 to 4",
    )
    (run.folder / "run.json").write_text("{")
    assert start(resume=True).changes == ()


def test_what_a_kill_left_of_a_file_is_swept_away(start: Start) -> None:
    train_until(2, start())
    run = start("run", resume=True)
    part = run.folder / ".denoise-0123.part"
    part.touch()
    start("run", resume=True)
    assert not part.exists()


def test_an_unknown_model_missing_photos_and_a_wrong_patch_leave_no_folder(start: Start, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel):
        start(recipe=dataclasses.replace(RECIPE, model="none"))
    with pytest.raises(UnreadableFile):
        start(data=tmp_path / "none")
    with pytest.raises(UsageError, match="--patch 20: tiny needs a multiple of 8"):
        start(recipe=dataclasses.replace(RECIPE, patch=20))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("steps", "retry"), [(2, "--resume"), (0, "start again")])
def test_weights_that_explode_end_the_run_in_one_line(start: Start, steps: int, retry: str) -> None:
    run = start()
    reports = run.run()
    for _ in range(steps // 2):
        next(reports)
    nn.init.constant_(run.net.get_parameter("to_noise.bias"), float("nan"))
    with pytest.raises(TrainingError) as error:
        next(reports)
    assert str(error.value) == f"training diverged at step {steps}: {retry} with a lower --learning-rate"


@pytest.mark.parametrize("place", ["step", "crops"])
@pytest.mark.parametrize("kind", [MemoryError, torch.OutOfMemoryError])
def test_too_little_memory_is_said_with_what_takes_less(
    start: Start, monkeypatch: pytest.MonkeyPatch, place: str, kind: type[Exception]
) -> None:
    def fail(*_: object) -> NoReturn:
        raise kind("no memory")

    run = start()
    monkeypatch.setattr(TinyNet if place == "step" else GaussianNoise, "features" if place == "step" else "draw", fail)
    with pytest.raises(OutOfMemory) as error:
        list(run.run())
    assert str(error.value) == "out of memory on cpu with 2 crops of 16 x 16 pixels: lower --batch or --patch"


def test_other_errors_are_not_taken_for_too_little_memory(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("a bug")

    run = start()
    monkeypatch.setattr(TinyNet, "features", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        list(run.run())


@pytest.mark.parametrize(("model", "differ"), [("tiny", True), ("linear", False)])
def test_the_recipe_decides_the_loss_of_encoded_photos(start: Start, model: str, differ: bool) -> None:
    recipe = dataclasses.replace(RECIPE, model=model)
    one, other = (start(loss, dataclasses.replace(recipe, loss=loss)) for loss in ("rms", "l1"))
    losses = [[report.loss for report in run.run()] for run in (one, other)]
    assert (losses[0] != losses[1]) == differ
    assert bool(differences(one, other)) == differ


# The initial weights of a run.


def test_a_run_may_begin_with_a_models_weights(start: Start) -> None:
    run = start(recipe=Recipe("mallenet-s", start="mallenet-s"))
    known = registry.load_net("mallenet-s").state_dict()
    for net in (run.net, run.average):
        assert all(torch.equal(tensor, known[name]) for name, tensor in net.state_dict().items())


def test_a_run_may_begin_with_the_weights_of_another_run(start: Start) -> None:
    first = start("first")
    list(first.run())
    second = start("second", dataclasses.replace(RECIPE, start=str(first.folder / "weights.safetensors")))
    expected = first.average.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in second.net.state_dict().items())


@pytest.mark.parametrize("larger", ["larger u", "mosaic u"])
def test_a_run_may_begin_with_the_weights_of_a_smaller_network(start: Start, tmp_path: Path, larger: str) -> None:
    small, large = (tmp_path / f"{size}.safetensors" for size in ("small", "large"))
    for model, path in (("u", small), ("larger u", large)):
        write_tensors(path, registry.MODELS[model].config.build().state_dict(), {"model": model})
    run = start("grown", dataclasses.replace(RECIPE, model=larger, start=str(small), patch=64))
    assert [report.step for report in run.run()] == [2, 4, 6]
    with pytest.raises(TrainingError, match=r"large.safetensors': u cannot start from it: expected .* nothing smaller"):
        start("shrunk", dataclasses.replace(RECIPE, model="u", start=str(large), patch=64))


def test_a_network_for_clips_may_learn_the_level_only(start: Start) -> None:
    recipe = Recipe("mallenet-vr", start="mallenet-v", only="level.", steps=3, batch=2, patch=64, warmup=1)
    train_until(2, start(recipe=recipe, save_every=2))
    continued = start(recipe=recipe, resume=True)
    list(continued.run())
    told = registry.load_net("mallenet-v").state_dict()
    for name, weights in continued.average.state_dict().items():
        assert torch.equal(weights, told[name]) if name in told else name.startswith("level.")
    assert all(weights.any() for name, weights in continued.net.named_parameters() if name not in told)


def test_a_part_that_a_network_does_not_have_cannot_learn(start: Start) -> None:
    with pytest.raises(TrainingError, match=r"only = 'level\.': no weights of tiny have such names"):
        start(recipe=dataclasses.replace(RECIPE, only="level."))


def test_a_run_continues_without_the_weights_that_it_began_with(start: Start) -> None:
    first = start("first")
    train_until(2, first)
    weights = first.folder / "weights.safetensors"
    recipe = dataclasses.replace(RECIPE, start=str(weights))
    train_until(2, start("second", recipe))
    weights.unlink()
    assert [report.step for report in start("second", recipe, resume=True).run()] == [4, 6]


@pytest.mark.parametrize("model", ["wider", "tiny"])
def test_weights_of_another_network_are_refused(start: Start, tmp_path: Path, model: str) -> None:
    path = tmp_path / "weights.safetensors"
    note = {"model": "wider"}
    write_tensors(path, registry.MODELS["wider" if model == "tiny" else "tiny"].config.build().state_dict(), note)
    with pytest.raises(DamagedWeights) as error:
        start(recipe=dataclasses.replace(RECIPE, model=model, start=str(path)))
    inside, outside = ("4x4x3x3", "8x4x3x3") if model == "tiny" else ("8x4x3x3", "4x4x3x3")
    assert str(error.value) == (f"{path}: weights of another network: body.0.weight should be {inside}, is {outside}")


# Validation.


def untrained(run: Trainer) -> Report:
    *_, last = run.run()
    return last


STILL = dataclasses.replace(RECIPE, steps=1, learning_rate=0.0)


def test_photos_that_cannot_be_scored_are_named_once_and_left_out(start: Start, photos: Path, tmp_path: Path) -> None:
    held_back = shutil.copytree(photos, tmp_path / "held-back")
    expected = untrained(start("whole", STILL, validation=held_back)).psnr
    bad = held_back / "z.png"  # the last: the others keep their noise
    bad.write_bytes(b"no photo")
    run = start(recipe=dataclasses.replace(STILL, steps=2), validation=held_back, validate_every=1)
    first, second = run.run()
    assert [line.split(":")[0] for line in first.skipped] == [str(bad)]
    assert second.skipped == ()
    assert first.psnr == second.psnr == pytest.approx(expected)


def test_the_state_is_saved_before_it_is_scored(start: Start, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    run = start(recipe=STILL, validation=photos)
    monkeypatch.setattr(trainer, "mean_psnr", killed)
    with pytest.raises(KeyboardInterrupt):
        list(run.run())
    assert state_of(run)["step"] == "1"


# Several processes.


@pytest.mark.parametrize(("batch", "size", "shared"), [(4, 3, 4), (6, 2, 3), (1, 2, 1)])
def test_a_batch_that_cannot_be_shared_is_refused(
    start: Start, monkeypatch: pytest.MonkeyPatch, batch: int, size: int, shared: int
) -> None:
    monkeypatch.setattr(ProcessGroup, "from_torchrun", lambda _: ProcessGroup(0, size))
    with pytest.raises(TrainingError) as error:
        start(recipe=dataclasses.replace(RECIPE, batch=batch))
    assert str(error.value) == f"{shared} crops cannot be divided among {size} processes: change --batch"


@pytest.mark.parametrize(
    ("name", "rank", "device"),
    [
        ("auto", None, "cuda"),
        ("auto", "1", "cuda:1"),
        ("cuda", "1", "cuda:1"),
        ("cuda:0", "1", "cuda:0"),
        ("cpu", "1", "cpu"),
    ],
)
def test_each_process_has_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, name: str, rank: str | None, device: str
) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(device_module, "has_gpu_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    if rank is None:
        monkeypatch.delenv("LOCAL_RANK", raising=False)
    else:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert device_for(name) == torch.device(device)
    assert chosen == ([torch.device(device)] if ":" in device else [])  # PyTorch refuses one without a number


# Without bfloat16, in which the rounding of a gradient depends on how many crops it is averaged over. The program names
# the threads of the process group that are still alive at exit, because they can abort the process.
PROGRAM = """
import atexit
import sys
from pathlib import Path

from denoise_cli.cli import exit_codes
from denoise_cli.train import trainer


@atexit.register
def name_threads():
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    sys.stderr.writelines(f"still alive: {name}" for name in names if "gloo" in name)


trainer.has_native_bf16 = lambda device: False
exit_codes.run()
"""


def test_two_processes_make_the_weights_of_one(
    start: Start, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "has_native_bf16", lambda _: False)
    bad = {photos / f"bad-{index}.png" for index in range(20)}  # so many that the leader does not draw all of them
    for path in bad:
        path.write_bytes(b"no photo")
    one = start("one", Recipe("mallenet-s", steps=3, batch=4, warmup=1), save_every=1)
    before = {name: tensor.clone() for name, tensor in one.net.state_dict().items()}
    reports = list(one.run())

    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "mallenet-s"\nsteps = 3\nbatch = 4\nwarmup = 1\n')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        2,
        "--master-addr",
        "127.0.0.1",
        "--master-port",
        port,
    ]
    options = ["--recipe", recipe, "--save-every", 1, "--device", "cpu"]
    command = [sys.executable, *torchrun, program, "train", "--data", photos, "--out", tmp_path / "two", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    lines = done.stderr.splitlines()
    assert [line[:6] for line in lines if line.startswith("step")] == ["step 1", "step 2", "step 3"]  # the leader's
    skipped = [f"denoise: {line}: skipped" for report in reports for line in report.skipped]
    assert sorted(line for line in lines if line.endswith(": skipped")) == sorted(skipped)
    assert lines[-1] == f"{tmp_path / 'two'}: 3 steps done, unreadable photos: {len(skipped)}"
    assert "destroy_process_group" not in done.stderr
    assert "still alive: " not in done.stderr
    with (tmp_path / "two" / "log.csv").open(newline="") as file:
        _, *rows = csv.reader(file)
    assert [int(row[0]) for row in rows] == [1, 2, 3]
    assert [float(row[1]) for row in rows] == pytest.approx([report.loss for report in reports], rel=1e-3)
    together, alone = read_tensors(tmp_path / "two" / "weights.safetensors"), one.average.state_dict()
    difference, change = (
        torch.cat([(alone[name] - other[name]).flatten() for name in alone]).norm() for other in (together, before)
    )
    assert difference < 1e-2 * change  # sums are taken in another order, which Muon can amplify
