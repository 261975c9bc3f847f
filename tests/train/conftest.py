"""Photos and pairs to learn from, and runs on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoise_cli.models import registry
from denoise_cli.train.recipe import Recipe
from denoise_cli.train.trainer import Trainer
from tests.train.tiny import CPU, RECIPE, SPECS

Start = Callable[..., Trainer]


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Three smooth photos; one is narrower than the late crops."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, (width, height) in {"a": (50, 70), "b": (40, 33), "c": (20, 60)}.items():
        coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def pairs(tmp_path: Path, photos: Path, rng: np.random.Generator) -> Path:
    folder = tmp_path / "pairs"
    for side, sigma in (("clean", 0), ("noisy", 20)):
        (folder / side).mkdir(parents=True)
        for path in photos.iterdir():
            noisy = np.asarray(Image.open(path)) + rng.normal(0, sigma, (*Image.open(path).size[::-1], 3))
            Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(folder / side / path.name)
    return folder


@pytest.fixture
def start(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """A trainer on the photos, in a folder below the test's own; it knows the tiny models."""
    for name, spec in SPECS.items():
        monkeypatch.setitem(registry.MODELS, name, spec)

    def make(name: str = "run", recipe: Recipe = RECIPE, data: Path | None = None, **options: Any) -> Trainer:
        options = {"save_every": 2} | options
        return Trainer(recipe, [data or photos], tmp_path / name, CPU, **options)

    return make
