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
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.inference.tiles import Arrays
from denoise_cli.models.registry import find_model
from denoise_cli.pipeline import photo
from denoise_cli.pipeline.jobs import Job

class Unchanged:
    pictures, multiple, precision = Arrays(), 64, "float32"
    def level_in_its_space(self, image, level):
        return level
    def release_memory(self):
        pass
    def __call__(self, frames, level):
        return frames[0].copy()

source, target, model = sys.argv[1:]
settings = photo.Settings(model)
photo.run(Job(Path(source), Path(target), None), lambda name: Denoiser(Unchanged(), find_model(name), 256), settings)
lines = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")))
"""
SIDES = (2000, 4000)


def peak_bytes(side: int, kind: str, model: str, folder: Path) -> int:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)  # it cannot be compressed
    source = folder / f"{side}.{kind}"
    image.write(source, Photo(noise, None, kind), kind, "test")
    command = [sys.executable, "-c", PROGRAM, str(source), str(folder / f"clean-{source.name}"), model]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    clean = image.read(folder / f"clean-{source.name}")
    np.testing.assert_array_equal(clean.pixels, noise)
    return int(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not state a process's own peak")
@pytest.mark.parametrize(("kind", "model"), [("png", "mallenet-s"), ("tiff", "mallenet-r")])
def test_each_further_pixel_takes_little_more_than_its_file_and_two_copies(
    kind: str, model: str, tmp_path: Path
) -> None:
    small, large = (peak_bytes(side, kind, model, tmp_path) for side in SIDES)
    # 3 of the file and 3 of the pixels, with 4 of Pillow's copy or 3 of the result: a copy in float32 would take 12.
    assert large - small < 14 * (SIDES[1] ** 2 - SIDES[0] ** 2)
