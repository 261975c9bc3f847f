import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from denoise_cli.checkpoint import load_weights, read_note, read_tensors
from denoise_cli.errors import TrainingError, UnknownModel, UnreadableFile
from denoise_cli.train import LOG_COLUMNS, Report, TrainConfig, Trainer
from denoise_cli.zoo import find_model

CPU = torch.device("cpu")


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Three smooth photos; one is smaller than the crops."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, (width, height) in {"a": (150, 170), "b": (140, 133), "c": (90, 200)}.items():
        coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def config(photos: Path) -> TrainConfig:
    return TrainConfig("mallenet-s", (photos,), steps=6, batch=2, patch=64, warmup=2, save_every=2)


def train(config: TrainConfig, folder: Path) -> list[Report]:
    return list(Trainer(config, folder, CPU).run())


def train_until(step: int, config: TrainConfig, folder: Path) -> None:
    """Stop after the report of a step, as a kill does that comes before the next."""
    run = Trainer(config, folder, CPU).run()
    while next(run).step < step:
        pass
    run.close()


def resume(config: TrainConfig, folder: Path) -> list[Report]:
    return list(Trainer(config, folder, CPU, resume=True).run())


def rows_of(folder: Path) -> list[list[str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.reader(file))


def differences(one: Path, other: Path, name: str = "state.safetensors") -> list[str]:
    first, second = read_tensors(one / name), read_tensors(other / name)
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def test_a_run_ends_at_its_last_step_with_all_of_its_files(config: TrainConfig, tmp_path: Path) -> None:
    reports = train(config, tmp_path / "run")
    assert [report.step for report in reports] == [2, 4, 6]
    assert all(0 < report.loss < 1 and report.psnr is None for report in reports)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"run.json", "state.safetensors", "log.csv", "weights.safetensors"}


def test_the_weights_are_the_averaged_ones_and_fit_the_model(config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path)
    weights, state = read_tensors(tmp_path / "weights.safetensors"), read_tensors(tmp_path / "state.safetensors")
    load_weights(find_model(config.model).config.build(), weights, "weights")
    assert all(torch.equal(tensor, state[f"average.{name}"]) for name, tensor in weights.items())
    assert any(not torch.equal(tensor, state[f"net.{name}"]) for name, tensor in weights.items())


def test_the_settings_are_on_disk(config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path)
    settings = json.loads((tmp_path / "run.json").read_text())
    assert settings.keys() == {field.name for field in dataclasses.fields(TrainConfig)}
    assert settings["model"] == "mallenet-s"
    assert settings["steps"] == 6
    assert settings["data"] == [str(config.data[0])]
    assert read_note(tmp_path / "weights.safetensors")["step"] == "6"


def test_a_short_run_already_takes_noise_away(config: TrainConfig, photos: Path, tmp_path: Path) -> None:
    longer = dataclasses.replace(config, steps=80, warmup=10, save_every=80, late=1.0, validation=photos)
    (report,) = train(longer, tmp_path / "run")
    noisy = -20 * np.log10(25 / 255)
    assert report.psnr is not None
    assert report.psnr > noisy + 3


@pytest.mark.parametrize("stop", [2, 4])
def test_a_continued_run_ends_bit_for_bit_as_one_that_was_never_stopped(
    config: TrainConfig, tmp_path: Path, stop: int
) -> None:
    train(config, tmp_path / "whole")
    train_until(stop, config, tmp_path / "stopped")
    reports = resume(config, tmp_path / "stopped")
    assert [report.step for report in reports] == [step for step in (2, 4, 6) if step > stop]
    assert differences(tmp_path / "whole", tmp_path / "stopped") == []
    assert differences(tmp_path / "whole", tmp_path / "stopped", "weights.safetensors") == []


def test_a_run_that_was_stopped_by_the_clock_continues_too(config: TrainConfig, tmp_path: Path) -> None:
    assert list(Trainer(config, tmp_path / "stopped", CPU).run(minutes=0)) == []
    assert read_note(tmp_path / "stopped" / "state.safetensors")["step"] == "0"
    train(config, tmp_path / "whole")
    resume(config, tmp_path / "stopped")
    assert differences(tmp_path / "whole", tmp_path / "stopped") == []


def test_continuing_a_finished_run_changes_nothing(config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path)
    before = read_tensors(tmp_path / "state.safetensors")
    assert resume(config, tmp_path) == []
    after = read_tensors(tmp_path / "state.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_seed_decides_the_run(config: TrainConfig, tmp_path: Path) -> None:
    for name, seed in {"one": 1, "again": 1, "other": 2}.items():
        train(dataclasses.replace(config, seed=seed, steps=2), tmp_path / name)
    assert differences(tmp_path / "one", tmp_path / "again") == []
    assert differences(tmp_path / "one", tmp_path / "other") != []


def test_the_log_has_a_row_for_every_report(config: TrainConfig, photos: Path, tmp_path: Path) -> None:
    reports = train(dataclasses.replace(config, validation=photos, validate_every=4), tmp_path / "run")
    header, *rows = rows_of(tmp_path / "run")
    assert tuple(header) == LOG_COLUMNS
    assert [int(row[0]) for row in rows] == [2, 4, 6]
    for row, report in zip(rows, reports, strict=True):
        assert float(row[1]) == pytest.approx(report.loss, abs=1e-6)
        assert float(row[2]) == pytest.approx(report.learning_rate, rel=1e-3)
    assert [bool(row[3]) for row in rows] == [False, True, True]


def test_a_continued_log_has_no_row_twice(config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "whole")
    train_until(2, config, tmp_path / "stopped")
    with (tmp_path / "stopped" / "log.csv").open("a", newline="") as file:
        csv.writer(file).writerow([4, 0.5, 1e-3, "", 9.0])  # killed between the log and the state
    resume(config, tmp_path / "stopped")
    whole, stopped = rows_of(tmp_path / "whole"), rows_of(tmp_path / "stopped")
    assert [row[0] for row in stopped] == [row[0] for row in whole] == ["step", "2", "4", "6"]
    seconds = [float(row[4]) for row in stopped[1:]]
    assert seconds == sorted(seconds)


def test_a_second_start_in_the_same_folder_is_refused_and_touches_nothing(config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(TrainingError) as error:
        Trainer(config, tmp_path / "run", CPU)
    assert str(error.value) == (
        f"{tmp_path / 'run'}: holds a run already: add --resume to continue it, or choose another"
    )
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_there_is_nothing_to_continue_in_an_empty_folder(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as error:
        Trainer(config, tmp_path / "run", CPU, resume=True)
    assert str(error.value) == f"{tmp_path / 'run'}: holds no run to continue: leave --resume away to start one"
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_continued_with_another_model(config: TrainConfig, tmp_path: Path) -> None:
    train_until(2, config, tmp_path / "run")
    with pytest.raises(TrainingError) as error:
        Trainer(dataclasses.replace(config, model="mallenet-s-paper"), tmp_path / "run", CPU, resume=True)
    assert str(error.value) == f"{tmp_path / 'run'}: trains mallenet-s, not mallenet-s-paper"


def test_an_unknown_model_and_missing_photos_leave_no_folder(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel):
        Trainer(dataclasses.replace(config, model="none"), tmp_path / "run", CPU)
    with pytest.raises(UnreadableFile):
        Trainer(dataclasses.replace(config, data=(tmp_path / "none",)), tmp_path / "run", CPU)
    assert not (tmp_path / "run").exists()


def test_the_learning_rate_warms_up_in_even_steps_and_falls_to_zero() -> None:
    config = TrainConfig("mallenet-s", (), steps=1000, warmup=100, learning_rate=2e-3)
    rates = np.array([config.learning_rate_at(step) for step in range(1000)])
    assert rates[0] == pytest.approx(2e-5)
    np.testing.assert_allclose(np.diff(rates[:100]), 2e-5)
    assert rates.max() == rates[99] == pytest.approx(2e-3)
    assert (np.diff(rates[100:]) < 0).all()
    assert rates[550] == pytest.approx(1e-3)
    assert 0 < rates[-1] < 1e-5 * rates.max()


def test_the_warm_up_may_be_left_out() -> None:
    assert TrainConfig("mallenet-s", (), steps=10, warmup=0).learning_rate_at(0) == 1e-3


def test_late_crops_are_twice_as_wide_and_half_as_many() -> None:
    config = TrainConfig("mallenet-s", (), steps=100, batch=16, patch=64, late=0.6)
    assert [config.shape_at(step) for step in (0, 59, 60, 99)] == [(16, 64), (16, 64), (8, 128), (8, 128)]
    assert dataclasses.replace(config, batch=1).shape_at(99) == (1, 128)
