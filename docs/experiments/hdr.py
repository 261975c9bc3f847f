"""HDR, denoised as it is stored, and encoded as sRGB for it.

Clean photos become linear light in Rec. 2020, with white at 203 cd/m2 and highlights up to five times that; they get a
sensor's noise, are encoded with 16 bits, and are denoised both ways. The results are compared as PQ, in which equal
differences look about equal.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.imaging.metrics import psnr
from denoise_cli.imaging.transfer import CURVES, HLG, PQ, light_to_pq, srgb_to_linear
from denoise_cli.inference.denoiser import load_denoiser
from denoise_cli.io.cicp import BT2020, CodePoints
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.pipeline.developed import denoise_developed

Light = NDArray[np.float64]

FOLDERS = {"eval/nam25/clean": 5, "eval/cbsd68": 14}  # of which every so many photos are taken
NOISE = {"low": (0.001, 0.003), "high": (0.006, 0.01)}  # shot and read, for linear light in which white is 1
ENCODINGS = {"PQ": PQ, "HLG": HLG}
MODELS = ("mallenet-r", "mallenet-s")
HIGHLIGHTS = 5.0  # times white, for what was white
TO_REC_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photos")
    data = parser.parse_args().data
    paths = (path for folder, every in FOLDERS.items() for path in sorted((data / folder).iterdir())[::every])
    photos = list(enumerate(paths))
    print("| model | encoding | noise | noisy | as they are | as sRGB |\n|---|---|---|---|---|---|")
    for model in MODELS:
        for name, transfer in ENCODINGS.items():
            for level, (shot, read) in NOISE.items():
                scores = np.mean([scores_of(path, n, model, transfer, shot, read) for n, path in photos], axis=0)
                print(f"| {model} | {name} | {level} | {' | '.join(f'{score:.2f}' for score in scores)} |", flush=True)


def scores_of(path: Path, seed: int, model: str, transfer: int, shot: float, read: float) -> list[float]:
    """PSNR of a noisy picture, of the same denoised as it is, and of the same encoded as sRGB for that."""
    to_light, from_light = CURVES[transfer]
    light = clean_light(path)
    noise = np.random.default_rng(seed).normal(size=light.shape) * np.sqrt(shot * light + read**2)
    grainy = np.clip(light + noise, 0, 1.1 * HIGHLIGHTS) @ TO_REC_2020.T
    truth = light_to_pq(light @ TO_REC_2020.T)
    stored = np.rint(np.clip(from_light(grainy), 0, 1) * 65535).astype(np.uint16)
    denoise = load_denoiser(model, "cpu", "fp32")
    as_they_are = denoise_developed(Photo(stored, None, "png"), denoise)[0].pixels
    numbers = Metadata(cicp=CodePoints(BT2020, transfer))
    as_srgb = denoise_developed(Photo(stored, None, "png", numbers), denoise)[0].pixels
    return [psnr(light_to_pq(to_light(pixels / 65535)), truth) for pixels in (stored, as_they_are, as_srgb)]


def clean_light(path: Path) -> Light:
    """Linear light, 1 is white, of a photo that is made smaller and whose brightest parts are made brighter."""
    with Image.open(path) as picture:
        size = picture.width * 2 // 3, picture.height * 2 // 3
        small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    light = srgb_to_linear(np.asarray(small, np.float64) / 255)
    glow = np.clip(2 * light.max(axis=2, keepdims=True) - 1, 0, 1)
    return light * (1 + (HIGHLIGHTS - 1) * glow**2)


if __name__ == "__main__":
    main()
