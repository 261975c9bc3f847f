"""`denoise train`, `denoise eval` and `denoise bench`, on next to nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Cli = Callable[..., Any]


@pytest.fixture
def photos(tmp_path: Path, astronaut: np.ndarray) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(astronaut[index * 128 : index * 128 + 128, 100:260]).save(folder / f"{index}.png")
    return folder


def test_a_run_stops_resumes_and_ends(cli: Cli, photos: Path, tmp_path: Path) -> None:
    run = ["train", "--data", photos, "--out", tmp_path / "run", "--steps", "3", "--batch", "2", "--device", "cpu"]
    done = cli(*run, "--minutes", "0")
    assert done.code == 0
    assert done.err == f"{tmp_path}/run: 0 steps done: 3 steps left, continue with --resume\n"
    done = cli(*run)
    assert done.code == 1
    assert "holds a run already: add --resume to continue it" in done.err
    done = cli(*run, "--resume", "--validation", photos)
    assert done.code == 0
    assert "dB at sigma 25" in done.err
    assert done.err.endswith(f"{tmp_path}/run: 3 steps done\n")
    assert (tmp_path / "run" / "weights.safetensors").is_file()


def test_training_without_photos_is_said(cli: Cli, tmp_path: Path) -> None:
    done = cli("train", "--data", tmp_path / "none", "--out", tmp_path / "run")
    assert (done.code, done.err) == (1, f"denoise: {tmp_path}/none: no such folder\n")


def test_a_model_is_scored_on_a_folder(cli: Cli, photos: Path) -> None:
    done = cli("eval", "--data", photos, "--sigma", "25", "--json", "-q")
    record = json.loads(done.out)
    assert record["photos"] == 2
    assert record["noisy"] == pytest.approx(20.17, abs=0.05)  # 10 log10 (255^2 / 25^2)
    assert record["denoised"] > record["noisy"] + 8
    assert "mallenet-s dB" in cli("eval", "--data", photos, "--sigma", "25", "-q").out


def test_a_photo_is_timed_beside_non_local_means(cli: Cli, photos: Path) -> None:
    done = cli("bench", photos / "0.png", "--megapixels", "0.02", "--json", "-q", "--device", "cpu")
    rival, ours = map(json.loads, done.out.splitlines())
    assert (rival["program"], ours["program"]) == ("OpenCV non-local means", "mallenet-s")
    assert rival["width"] * rival["height"] == pytest.approx(20_000, rel=0.02)
    for record in (rival, ours):
        assert record["seconds"] > 0
        assert record["peak_bytes"] > 10e6
