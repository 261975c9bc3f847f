"""The memory that a large photo takes, from file to file, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from denoise_cli.io import image
from denoise_cli.io.photo import Photo

# A network that changes nothing: what a real one takes does not depend on the photo's size. The process's own peak is
# read from Linux's files, as the system's other figure can be that of the process which started it.
PROGRAM = """
import sys
from pathlib import Path
import torch
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.inference.tensors import Tensors
from denoise_cli.inference.tiles import Arrays
from denoise_cli.models.registry import find_model
from denoise_cli.pipeline import photo
from denoise_cli.pipeline.jobs import Job
from denoise_cli.pipeline.task import Settings

class Unchanged:
    multiple, precision, notes = 64, "float32", ()
    def __init__(self, spec):
        self.pictures = Tensors(torch.device("cpu")) if spec.space == "linear" else Arrays()
    def release_memory(self):
        pass
    def __call__(self, frames, level):
        return frames[0] + 0

source, target, model, *noise = sys.argv[1:]
spec = find_model(model)
settings = Settings(model, ShotRead(*map(float, noise)) if noise else None)
photo.run(Job(Path(source), Path(target), None), lambda name: Denoiser(Unchanged(spec), spec, 256), settings)
lines = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")))
"""
SIDES = (2000, 4000)


def peak_bytes(side: int, kind: str, model: str, noise: tuple[str, ...], folder: Path) -> int:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)  # they cannot be compressed
    source = folder / f"{side}.{kind}"
    image.write(source, Photo(pixels, None, kind), kind, "test")
    command = [sys.executable, "-c", PROGRAM, str(source), str(folder / f"clean-{source.name}"), model, *noise]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    clean = image.read(folder / f"clean-{source.name}")
    np.testing.assert_array_equal(clean.pixels, pixels)
    return int(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not state a process's own peak")
@pytest.mark.parametrize(
    ("kind", "model", "noise"),
    [
        ("png", "mallenet-s", ()),
        ("tiff", "mallenet-r", ()),
        ("png", "mallenet-s", ("0.001", "0.002")),
        ("tiff", "deformable-2d-quarter", ()),  # in linear light
    ],
)
def test_each_further_pixel_takes_little_more_than_its_file_and_two_copies(
    kind: str, model: str, noise: tuple[str, ...], tmp_path: Path
) -> None:
    small, large = (peak_bytes(side, kind, model, noise, tmp_path) for side in SIDES)
    # 3 of the file and 3 of the pixels, with 4 of Pillow's copy or 3 of the result: a copy in float32 would take 12.
    assert large - small < 14 * (SIDES[1] ** 2 - SIDES[0] ** 2)
