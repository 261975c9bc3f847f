"""What several tests use: a seed, a photo, and the data that only developers have."""

import os

# Before NumPy is imported: in several processes of tests, threads of its linear algebra get in each other's way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Likewise before PyTorch is imported: as in the program, threads do not wait by spinning.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import subprocess
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from denoise_cli.inference import denoiser
from denoise_cli.inference.denoiser import Denoiser, load_denoiser

DATA = Path(os.environ.get("DENOISE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def _environment(shared_folder: Path) -> Iterator[None]:
    """Of the tests, and of the programs that they run: compiled networks are not kept for the user, one thread each.

    Pictures this small gain nothing from more threads, and wait seconds for them on a busy machine.
    """
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def _denoisers() -> dict[tuple[object, ...], Denoiser]:
    return {}


@pytest.fixture
def shared_denoisers(
    _denoisers: dict[tuple[object, ...], Denoiser], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Denoiser]:
    """`load_denoiser`, also for the commands that a test runs, that loads every model only once in a test run."""

    def load(*arguments: object, **options: object) -> Denoiser:
        key = (*arguments, *sorted(options.items()))
        if key not in _denoisers:
            _denoisers[key] = load_denoiser(*arguments, **options)  # type: ignore[arg-type]
        return _denoisers[key]

    monkeypatch.setattr(denoiser, "load_denoiser", load)
    return load


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


class FFmpeg:
    """The ffmpeg program, which is not the program's own reader of frames: makes clips, and tells what is in them."""

    def __init__(self) -> None:
        self.program = imageio_ffmpeg.get_ffmpeg_exe()

    def __call__(self, *arguments: object) -> str:
        done = subprocess.run(
            [self.program, "-nostdin", "-v", "error", "-y", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def make(self, path: Path, *options: object, size: str = "96x64", frames: int = 8, rate: str = "25") -> Path:
        """A clip of moving shapes; `options` of FFmpeg's follow its input."""
        self("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}", *options, "-frames:v", frames, path)
        return path

    def times(self, path: Path, stream: str = "v:0") -> list[Fraction]:
        """When each frame is shown, in seconds, exactly as the file has it."""
        return [time for time, _ in self.frames(path, stream)]

    def frames(self, path: Path, stream: str = "v:0") -> list[tuple[Fraction, str]]:
        """Time and checksum of each decoded frame."""
        return self._hashes(
            path, "-copyts", "-i", path, "-map", f"0:{stream}", "-fps_mode", "passthrough", "-enc_time_base", "demux"
        )

    def packets(self, path: Path, stream: str) -> list[str]:
        """The checksum of each packet."""
        return [
            checksum for _, checksum in self._hashes(path, "-copyts", "-i", path, "-map", f"0:{stream}", "-c", "copy")
        ]

    def _hashes(self, path: Path, *arguments: object) -> list[tuple[Fraction, str]]:
        lines = self(*arguments, "-f", "framehash", "-").splitlines()
        base = next(Fraction(line.split(":")[1].strip()) for line in lines if line.startswith("#tb"))
        fields = [line.split(",") for line in lines if not line.startswith("#")]
        return [(int(field[2]) * base, field[-1].strip()) for field in fields]


@pytest.fixture(scope="session")
def ffmpeg() -> FFmpeg:
    return FFmpeg()
