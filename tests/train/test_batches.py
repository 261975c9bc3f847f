"""Which examples a run learns from, and that its crops do not depend on the process that prepares them."""

import dataclasses
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from denoise_cli.data.drawings import Drawings, Stars
from denoise_cli.data.examples import GaussianNoise, Pairs, PhotoNoise, SensorNoise
from denoise_cli.data.recolour import Recoloured
from denoise_cli.data.reduce import Reduced
from denoise_cli.errors import TrainingError
from denoise_cli.train.batches import Batch, find_examples, load_batches
from denoise_cli.train.distributed import ProcessGroup
from tests.train.conftest import Start
from tests.train.tiny import RECIPE, SPECS, differences

ALONE = ProcessGroup()


def batches_of(photos: Path, first_step: int = 0, processes: ProcessGroup = ALONE, workers: int = 0) -> list[Batch]:
    examples = find_examples([photos], SPECS["tiny"], photos, RECIPE)
    return list(load_batches(examples, RECIPE, processes, first_step, workers))


def assert_same(some: list[Batch], others: list[Batch]) -> None:
    for (tensors, _), (its, _) in zip(some, others, strict=True):
        assert all(torch.equal(*both) for both in zip(tensors, its, strict=True))


@pytest.mark.parametrize(("model", "kind"), [("tiny", GaussianNoise), ("blind", PhotoNoise), ("linear", SensorNoise)])
def test_the_model_decides_which_noise_clean_photos_get(start: Start, model: str, kind: type) -> None:
    run = start(recipe=dataclasses.replace(RECIPE, model=model, steps=1))
    assert isinstance(run._examples, kind)
    (report,) = run.run()
    assert 0 < report.loss < 1


def test_a_recipe_varies_colours_and_adds_drawings(photos: Path) -> None:
    whole = find_examples([photos], SPECS["tiny"], photos, RECIPE).draw(np.random.default_rng(2), 32)
    varied = find_examples([photos], SPECS["tiny"], photos, dataclasses.replace(RECIPE, recolour=1.0))
    assert isinstance(varied.crops, Recoloured)
    assert not np.array_equal(varied.draw(np.random.default_rng(2), 32).clean, whole.clean)
    sharper = find_examples([photos], SPECS["tiny"], photos, dataclasses.replace(RECIPE, reduce=1.0, recolour=0.5))
    assert isinstance(sharper.crops, Recoloured)
    assert isinstance(sharper.crops.source, Reduced)
    drawn = find_examples([photos], SPECS["tiny"], photos, dataclasses.replace(RECIPE, drawings=1.0))
    assert np.array_equal(drawn.draw(np.random.default_rng(2), 32).clean, _first_drawing(Drawings(), 2, 32))
    starry = find_examples([photos], SPECS["tiny"], photos, dataclasses.replace(RECIPE, stars=1.0))
    assert np.array_equal(starry.draw(np.random.default_rng(2), 32).clean, _first_drawing(Stars(), 2, 32))


def _first_drawing(source: Drawings | Stars, seed: int, patch: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    rng.random()  # the choice between photos, drawings and stars
    return source.draw(rng, patch)


@pytest.mark.parametrize(("model", "sees"), [("tiny", False), ("blind", True)])
def test_only_a_model_that_sees_the_noise_is_not_told_that_of_pairs(
    start: Start, pairs: Path, model: str, sees: bool
) -> None:
    run = start(recipe=dataclasses.replace(RECIPE, model=model, steps=1), data=pairs)
    assert isinstance(run._examples, Pairs)
    assert run._examples.is_blind is sees
    (report,) = run.run()
    assert report.loss == pytest.approx((2 / np.pi) ** 0.5 * 20 / 255, rel=0.3)


def test_pairs_and_clean_photos_do_not_go_together(photos: Path, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as error:
        find_examples([pairs, photos], SPECS["tiny"], tmp_path, RECIPE)
    assert str(error.value) == f"{photos}: has no pairs, unlike the other folders: give folders of one kind only"


def test_a_model_for_linear_light_does_not_learn_from_encoded_pairs(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="works in linear light"):
        find_examples([pairs], SPECS["linear"], tmp_path, RECIPE)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_unreadable_photos_are_named_once_and_drawn_around(start: Start, photos: Path, workers: int) -> None:
    bad = [photos / name for name in ("0.png", "d.jpg")]
    for path in bad:
        path.write_bytes(b"no photo")
    longer = dataclasses.replace(RECIPE, steps=20)
    run, other = start("run", longer, workers=workers), start("other", longer)
    reports = list(run.run())
    assert sorted(line.split(":")[0] for report in reports for line in report.skipped) == list(map(str, bad))
    list(other.run())
    assert differences(run, other) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_of_unreadable_photos_is_said_in_one_line(start: Start, tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"no photo")
    with pytest.raises(TrainingError) as error:
        list(start(data=folder, workers=workers).run())
    assert str(error.value) in [
        f"no photo can be read: {folder / name}: not a photo of a known format, or damaged at its start"
        for name in ("a.png", "b.png")
    ]


def test_each_step_has_the_crops_that_the_recipe_says(photos: Path) -> None:
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors, _ in batches_of(photos)]
    early = [(2, 3, 16, 16), (2, 3, 16, 16), (2, 1, 16, 16)]
    assert shapes == [early] * 4 + [[(1, 3, 32, 32), (1, 3, 32, 32), (1, 1, 32, 32)]] * 2


def test_a_step_sees_the_same_whichever_was_the_first(photos: Path) -> None:
    assert_same(batches_of(photos)[3:], batches_of(photos, first_step=3))


def test_crops_that_another_process_prepares_are_the_same(photos: Path) -> None:
    assert_same(batches_of(photos), batches_of(photos, workers=1))


def test_processes_that_share_a_batch_have_its_crops_between_them(photos: Path) -> None:
    whole, *shares = (
        batches_of(photos, processes=group)[:4] for group in (ALONE, ProcessGroup(0, 2), ProcessGroup(1, 2))
    )
    together = [
        ([torch.cat(pair) for pair in zip(first, second, strict=True)], [])
        for (first, _), (second, _) in zip(*shares, strict=True)
    ]
    assert_same(whole, together)


def test_those_who_prepare_crops_leave_signals_to_the_run(start: Start) -> None:
    run = start(workers=1, save_every=1)
    reports = run.run()
    next(reports)
    (helper,) = multiprocessing.active_children()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(int(helper.pid or 0), number)
    assert [report.step for report in reports] == [2, 3, 4, 5, 6]
