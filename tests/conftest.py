"""What several tests use: a seed, a photo, and the data that only developers have."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

DATA = Path(os.environ.get("DENOISE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    # Pictures this small gain nothing from more threads, and wait seconds for them on a busy machine.
    torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    """A real photo, 512 x 512 RGB, that comes with scikit-image."""
    from skimage import data

    return data.astronaut()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Photos that are not part of the project."""
    if not DATA.is_dir():
        pytest.skip(f"the shared test data are not at {DATA}")
    return DATA
