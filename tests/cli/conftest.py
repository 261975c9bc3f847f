"""Running the command line inside the test's process."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoise_cli.cli import exit_codes


@dataclass(frozen=True)
class Outcome:
    """What a shell would see."""

    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["denoise", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            exit_codes.run()
        out, err = capfd.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)

    return run


def run_in_room(megabytes: int, *arguments: object) -> Outcome:
    """Run the command line in a process of its own that may use so many megabytes of addresses; on Linux."""
    import resource

    limit = megabytes * 2**20
    done = subprocess.run(
        [sys.executable, "-m", "denoise_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        timeout=120,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def photo(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A small noisy PNG."""
    ramp = np.linspace(40, 200, 96, dtype=np.float32)[None, :, None] * np.ones((80, 1, 3), np.float32)
    noisy = np.clip(ramp + rng.normal(0, 20, ramp.shape), 0, 255).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(noisy).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path, astronaut: np.ndarray) -> Path:
    """A folder of two small photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(astronaut[index * 128 : index * 128 + 128, 100:260]).save(folder / f"{index}.png")
    return folder
