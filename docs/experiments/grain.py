"""How like removed grain is what comes back through a film grain table: variance by brightness, and correlations.

    python docs/experiments/grain.py [--grain NAME ...]

A gradient moves, with grain of known strength at each brightness. What was removed (here, all of it) becomes a table;
libaom encodes the clean clip with it, and dav1d decodes that with film grain and without. Variances are in per cent of
what was removed, correlations between neighbours in per cent of the variance: removed, then given back.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from denoise_cli.imaging.film_grain import GrainFit
from denoise_cli.imaging.yuv import Layout
from denoise_cli.io import grain_table

Array = NDArray[np.float64]

H, W, FRAMES = 288, 512, 12
EDGES = range(40, 221, 36)  # of brightness
SHARED = (0.6, -0.4)  # of the noise of Cb and Cr, the part that is luma's
PLANES = ("luma", "Cb", "Cr")
NEIGHBOURS = {"1 across": (0, 1), "1 down": (1, 0), "1 both": (1, 1), "2 across": (0, 2), "2 down": (2, 0)}


@dataclass(frozen=True)
class Grain:
    """Bits of a sample, standard deviation of the blur in luma samples, and a factor of the strength."""

    bits: int
    blur: float
    strength: float


GRAINS = {
    "white": Grain(8, 0.0, 1.0),
    "fine": Grain(8, 0.5, 1.0),
    "weak": Grain(8, 0.5, 0.3),
    "strong": Grain(8, 0.5, 4.0),
    "10 bits": Grain(10, 0.5, 0.5),
    "coarse": Grain(8, 1.0, 1.0),
}


def soft(rng: np.random.Generator, blur: float, shape: tuple[int, int]) -> Array:
    """Noise with a deviation of 1, whose neighbours are alike."""
    noise = gaussian_filter(rng.standard_normal(shape), blur, mode="wrap")
    return noise / noise.std()


def frame(rng: np.random.Generator, grain: Grain, number: int) -> tuple[list[Array], list[Array]]:
    """The planes of a clean frame, 4:2:0, and their noise."""
    step = 2.0 ** (grain.bits - 8)
    luma = np.rint(step * (np.linspace(40, 208, W)[None] + np.linspace(-3, 3, H)[:, None] + number))
    noise = soft(rng, grain.blur, (H, W))
    noises = [noise * grain.strength * step * (2 + 5 * np.sin(np.pi * luma / 255 / step))]
    mean = noise.reshape(H // 2, 2, W // 2, 2).mean(axis=(1, 3))
    for share, level in zip(SHARED, (3.0, 2.0), strict=True):
        own = soft(rng, grain.blur, (H // 2, W // 2))
        noises.append((share * mean / mean.std() + (1 - share**2) ** 0.5 * own) * level * grain.strength * step)
    return [luma, *[np.full((H // 2, W // 2), 128 * step)] * 2], [np.rint(one) for one in noises]


def decoded(path: Path, dtype: type, **options: str) -> list[Array]:
    """The planes of all frames, as dav1d decodes them."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = options
        frames = [
            [np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width] for plane in picture.planes]
            for picture in container.decode(stream)
        ]
    return [np.stack(planes).astype(float) for planes in zip(*frames, strict=True)]


def given_back(clean: Sequence[Sequence[Array]], grain: Grain, fit: GrainFit) -> list[Array]:
    """What is added to each plane."""
    found = fit.fitted(np.random.default_rng(0))
    assert found is not None
    dtype, form = (np.uint8, "yuv420p") if grain.bits == 8 else (np.uint16, "yuv420p10le")
    with tempfile.TemporaryDirectory() as folder:
        table, path = Path(folder) / "grain.tbl", Path(folder) / "clip.mkv"
        grain_table.write(table, [grain_table.Entry(Fraction(0), None, found)], overwrite=False)
        raw = ["-f", "rawvideo", "-pix_fmt", form, "-s", f"{W}x{H}", "-r", "25", "-i", "-"]
        encoder = ["-c:v", "libaom-av1", "-cpu-used", "8", "-crf", "10", "-aom-params", f"film-grain-table={table}"]
        samples = b"".join(plane.astype(dtype).tobytes() for planes in clean for plane in planes)
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *raw, *encoder, str(path)]
        subprocess.run(command, input=samples, check=True)
        pairs = zip(decoded(path, dtype), decoded(path, dtype, export_side_data="film_grain"), strict=True)
        return [with_grain - without for with_grain, without in pairs]


def correlation(noise: Array, down: int, across: int) -> float:
    """Between neighbours, in per cent; the strength in each column, nearly one brightness, is divided out."""
    even = noise / np.square(noise).mean(axis=(0, 1)) ** 0.5
    rows, columns = noise.shape[1:]
    return 100 * float((even[:, down:, across:] * even[:, : rows - down, : columns - across]).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grain", nargs="+", choices=GRAINS, default=list(GRAINS), metavar="NAME")
    options = parser.parse_args()
    brightnesses = [f"variance at {low} to {low + EDGES.step}" for low in EDGES[:-1]]
    print(f"| grain | plane | {' | '.join([*brightnesses, *NEIGHBOURS])} |\n|{'---|' * (7 + len(NEIGHBOURS))}")
    for name in options.grain:
        grain, rng = GRAINS[name], np.random.default_rng(0)
        fit = GrainFit(Layout("yuv", grain.bits))
        frames = [frame(rng, grain, number) for number in range(FRAMES)]
        for clean, noise in frames:
            fit.add([a.astype(np.int32) + b.astype(np.int32) for a, b in zip(clean, noise, strict=True)], clean)
        removed = [np.stack(planes) for planes in zip(*(noise for _, noise in frames), strict=True)]
        back = given_back([clean for clean, _ in frames], grain, fit)
        light = np.stack([clean[0] for clean, _ in frames]) / 2 ** (grain.bits - 8)
        for plane, was, now in zip(PLANES, removed, back, strict=True):
            seen = light if plane == "luma" else light[:, ::2, ::2]
            shares = []
            for low in EDGES[:-1]:
                here = (seen >= low) & (seen < low + EDGES.step)
                shares.append(f"{100 * np.square(now[here]).mean() / np.square(was[here]).mean():.0f} %")
            pairs = [f"{correlation(was, *at):.0f}, {correlation(now, *at):.0f}" for at in NEIGHBOURS.values()]
            print(f"| {name} | {plane} | {' | '.join([*shares, *pairs])} |", flush=True)


if __name__ == "__main__":
    main()
