"""How far the trained network sees, which the overlap of the tiles was chosen by: run with -s for the table."""

import numpy as np
from numpy.typing import NDArray

from denoise_cli import load_denoiser
from denoise_cli.imaging import tiling
from denoise_cli.inference.tiles import OVERLAP_OF_TOLD

SIGMA = 25 / 255
SIDE = 1024
# A third of the overlap is not used, the next third is faded in, the last counts fully.
UNUSED, FADED = OVERLAP_OF_TOLD // 3, OVERLAP_OF_TOLD // 3 * 2
DISTANCES = (8, 16, 32, UNUSED, 64, FADED, 128, 192, 256)


def test_what_lies_beyond_the_overlap_hardly_matters(astronaut: NDArray[np.uint8], rng: np.random.Generator) -> None:
    y = tiling.reflected(0, 320, 512)
    x = tiling.reflected(0, SIDE, 512)
    clean = (astronaut[y[:, None], x] / 255).astype(np.float32)
    noisy = clean + rng.normal(0, SIGMA, clean.shape).astype(np.float32)
    denoise = load_denoiser("mallenet-s", "cpu", "fp32")
    whole = denoise(noisy, sigma=SIGMA)

    largest, mean = {}, {}
    for distance in DISTANCES:
        other = noisy.copy()
        other[:, SIDE // 2 + distance :] = 1 - other[::-1, SIDE // 2 + distance :]  # another scene from here on
        change = np.abs(denoise(other, sigma=SIGMA) - whole)[:, SIDE // 2 - 8 : SIDE // 2]
        largest[distance], mean[distance] = change.max() * 255, change.mean() * 255
        print(f"{distance:4} px away: largest {largest[distance]:.3f}, mean {mean[distance]:.4f} (of 255)")

    assert mean[UNUSED] < 0.1
    assert mean[FADED] < 0.02
    assert mean[8] > 5 * mean[UNUSED]
