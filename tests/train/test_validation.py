"""What the averaged weights are scored on. An untrained network returns its input."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from denoise_cli.imaging.metrics import psnr
from denoise_cli.inference.denoiser import denoiser_of
from denoise_cli.pipeline.frames import find_noise
from denoise_cli.train.validation import SENSOR_NOISE, WHITE_NOISE, find_validation, mean_psnr
from tests.train.tiny import CPU, SPECS


def untrained(folder: Path, model: str = "tiny") -> tuple[float | None, list[str]]:
    spec = SPECS[model]
    denoise = denoiser_of(spec.config.build(), spec, CPU, torch.float32)
    return mean_psnr(denoise, spec, find_validation(folder, spec))


def test_clean_photos_are_scored_at_sigma_25(photos: Path) -> None:
    score, unread = untrained(photos)
    assert score == pytest.approx(20.5, abs=0.4)  # after clipping
    assert unread == []


def test_pairs_are_scored_as_they_are(pairs: Path) -> None:
    scores = []
    for path in (pairs / "noisy").iterdir():
        noisy, clean = (np.asarray(Image.open(pairs / side / path.name)) / 255 for side in ("noisy", "clean"))
        scores.append(psnr(noisy, clean))
    score, _ = untrained(pairs)
    assert score == pytest.approx(np.mean(scores), abs=1e-3)


def test_a_model_for_linear_light_is_scored_on_a_sensors_noise(photos: Path) -> None:
    score, _ = untrained(photos, "linear")
    samples = [SENSOR_NOISE.sample(path, index) for index, path in enumerate(sorted(photos.iterdir()))]
    expected = np.mean([psnr(sample.noisy.clip(0, 1), sample.clean) for sample in samples])
    assert score == pytest.approx(expected, abs=1e-2)


def test_a_model_for_clips_is_scored_on_what_becomes_of_clips(photos: Path, tmp_path: Path) -> None:
    held_back = tmp_path / "held-back"
    held_back.mkdir()
    for place in range(4):
        shutil.copy(photos / "a.png", held_back / f"{place}.png")
    spec = SPECS["clips"]
    denoise = denoiser_of(spec.config.build(), spec, CPU, torch.float32)
    score, _ = mean_psnr(denoise, spec, find_validation(held_back, spec))
    samples = [WHITE_NOISE.sample(path, index) for index, path in enumerate(sorted(held_back.iterdir()))]
    pictures = [(sample, sample.noisy) for sample in samples]
    scores = [
        psnr((sample.noisy - noise()).clip(0, 1), sample.clean)
        for sample, _, noise in find_noise(pictures, denoise, spec.window, WHITE_NOISE.sigma)
    ]
    assert score == pytest.approx(np.mean(scores), abs=1e-3)
    assert score > 22  # noise that is not removed leaves 20.5 dB


def test_without_a_photo_that_can_be_scored_there_is_no_score(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no photo")
    score, unread = untrained(tmp_path)
    assert score is None
    assert [line.split(":")[0] for line in unread] == [str(tmp_path / "a.png")]
