"""What becomes of frames that repeat, of noise that changes, of fades, flashes and bars: PSNR frame by frame.

    python docs/experiments/takes.py [--photo FILE] [--takes NAME ...] [--each]

A crop moves across a photo, gets white noise, and is stored with 8 bits. Each take is denoised as `denoise video` does
it, with a level that is estimated, and compared with its clean frames. Two columns say what can be had: each frame
alone, told its true level, and the same frames told their true level, without what the take does to them (repeats are
left out, and scenes, fades and flashes are as they are). The last column is how far the mean of a frame is at most from
that of the noisy frame or of the clean one, whichever is nearer, on a scale of 255: at black, clipped noise brightens
the former. Frames that are wholly black are left out of the means.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut

from denoise_cli.imaging.metrics import psnr
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.pipeline.frames import find_noise

Array = NDArray[np.float32]

H, W = 96, 160
STEP = (1, 2)  # pixels per frame, down and to the right
STRONG, WEAK = 25 / 255, 5 / 255
FRAMES = 5  # in a window, as `denoise video` has it
BARS = 16  # rows, above and below
VALUE = 1 / 255


@dataclass(frozen=True)
class Take:
    """A clip whose truth is known.

    Attributes:
        clean: its frames, (H, W, 3) on [0, 1].
        levels: the deviation of the noise in each.
        sources: for each frame, which of the camera's frames it shows: repeats show the same.
        apart: the deviation of what is added to each frame after it was repeated, as encoders do.
        fades: how much of the light and of the noise each frame has; None if the noise does not fade.
        bars: whether there are bars of black above and below.
    """

    clean: list[Array]
    levels: list[float]
    sources: list[int]
    apart: float = 0.0
    fades: list[float] | None = None
    bars: bool = False

    def noisy(self) -> list[Array]:
        """Its frames with noise, as they are stored."""
        frames = []
        for place, (clean, level, source) in enumerate(zip(self.clean, self.levels, self.sources, strict=True)):
            picture = clean + level * np.random.default_rng(source).standard_normal(clean.shape)
            if self.apart:
                picture = stored(picture) + self.apart * np.random.default_rng((1, place)).standard_normal(clean.shape)
            if self.bars:
                picture[:BARS] = picture[-BARS:] = 0
            frames.append(stored(picture))
        return frames

    def distinct(self) -> list[int]:
        """The first place of each of the camera's frames."""
        return [place for place, source in enumerate(self.sources) if source not in self.sources[:place]]


def stored(picture: NDArray[np.floating]) -> Array:
    """A picture as 8 bits hold it."""
    return (np.rint(np.clip(picture, 0, 1) * 255) / 255).astype(np.float32)


def moving(photo: Array, sources: Sequence[int]) -> list[Array]:
    """The crops that a camera moving across a photo sees."""
    down, right = STEP
    return [photo[down * n : down * n + H, right * n : right * n + W] for n in sources]


def repeated(photo: Array, runs: Sequence[int], apart: float = 0.0) -> Take:
    """A take whose frames come as often as `runs` says."""
    sources = [source for source, run in enumerate(runs) for _ in range(run)]
    return Take(moving(photo, sources), [STRONG] * len(sources), sources, apart)


def changing(photo: Array, levels: Sequence[float]) -> Take:
    """A take whose noise changes."""
    sources = list(range(len(levels)))
    return Take(moving(photo, sources), list(levels), sources)


def fading(photo: Array, shares: Sequence[float], with_noise: bool = False) -> Take:
    """A take whose light, and whose noise if it was there before, have been multiplied."""
    sources = list(range(len(shares)))
    clean = [frame * np.float32(share) for frame, share in zip(moving(photo, sources), shares, strict=True)]
    return Take(clean, [STRONG * (share if with_noise else 1) for share in shares], sources)


def flashing(photo: Array, length: int, place: int, light: float) -> Take:
    """A take in which all of one frame is brighter."""
    sources = list(range(length))
    clean = [0.8 * frame for frame in moving(photo, sources)]
    clean[place] = (clean[place] + np.float32(light)).clip(0, 1)
    return Take(clean, [STRONG] * length, sources)


def barred(photo: Array, length: int) -> Take:
    """A take between bars."""
    sources = list(range(length))
    clean = [frame.copy() for frame in moving(photo, sources)]
    for frame in clean:
        frame[:BARS] = frame[-BARS:] = 0
    return Take(clean, [STRONG] * length, sources, bars=True)


def ramp(length: int, fade: int) -> list[float]:
    """The shares of light of a fade from black."""
    return [min(1.0, place / fade) for place in range(length)]


TAKES: dict[str, Callable[[Array], Take]] = {
    "undisturbed": partial(repeated, runs=[1] * 16),
    "every frame twice": partial(repeated, runs=[2] * 12),
    "every frame three times": partial(repeated, runs=[3] * 10),
    "telecine (two, three)": partial(repeated, runs=[2, 3] * 5),
    "one frame in five twice": partial(repeated, runs=[1, 1, 1, 2] * 4),
    "twice, a value apart": partial(repeated, runs=[2] * 12, apart=VALUE),
    "held for 12 frames": partial(repeated, runs=[1] * 6 + [12] + [1] * 6),
    "noise from 5 to 25": partial(changing, levels=[WEAK] * 24 + [STRONG] * 12),
    "noise from 25 to 5": partial(changing, levels=[STRONG] * 24 + [WEAK] * 12),
    "noise that grows": partial(changing, levels=list(np.linspace(WEAK, STRONG, 32))),
    "fade from black": partial(fading, shares=ramp(28, 12)),
    "fade from black, noise too": partial(fading, shares=ramp(28, 12), with_noise=True),
    "fade to black": partial(fading, shares=ramp(28, 12)[::-1]),
    "fade to black, noise too": partial(fading, shares=ramp(28, 12)[::-1], with_noise=True),
    "flash": partial(flashing, length=17, place=8, light=0.3),
    "white flash": partial(flashing, length=17, place=8, light=1.0),
    "bars": partial(barred, length=16),
}


def denoised(frames: Sequence[Array], denoise: Denoiser, T: int = FRAMES, sigma: float | None = None) -> list[Array]:
    """The frames without the noise that is found in them."""
    found = find_noise(((frame, frame) for frame in frames), denoise, T, sigma)
    return [frame if noise is None else frame - noise() for frame, _, noise in found]


def scores_of(clean: Sequence[Array], result: Sequence[Array]) -> list[float]:
    """PSNR of each frame, as 8 bits hold it."""
    return [psnr(stored(frame), truth) for frame, truth in zip(result, clean, strict=True)]


def best_of(take: Take, noisy: Sequence[Array], denoise: Denoiser) -> list[float]:
    """PSNR of each frame if it is told its level, and repeats are left out."""
    places = take.distinct()
    frames = [noisy[place] for place in places]
    by_level = {level: denoised(frames, denoise, sigma=level) for level in {take.levels[place] for place in places}}
    best = {take.sources[place]: by_level[take.levels[place]][n] for n, place in enumerate(places)}
    return scores_of(take.clean, [best[source] for source in take.sources])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, help="at least 224 x 136 pixels; one of scikit-image's by default")
    parser.add_argument("--takes", nargs="+", choices=TAKES, default=list(TAKES), metavar="NAME")
    parser.add_argument("--each", action="store_true", help="print the PSNR of every frame, too")
    options = parser.parse_args()
    photo = np.asarray(Image.open(options.photo).convert("RGB")) if options.photo else astronaut()
    photo = (photo / 255).astype(np.float32)
    alone, together = (load_denoiser(name, "cpu", "fp32") for name in ("mallenet-s", "mallenet-v"))
    print("| take | noisy | alone | can be had | dB | worst below it | brightness |\n|---|---|---|---|---|---|---|")
    for name in options.takes:
        take = TAKES[name](photo)
        noisy = take.noisy()
        result = denoised(noisy, together)
        singles = [alone(frame, level) for frame, level in zip(noisy, take.levels, strict=True)]
        single, best, scores = (
            scores_of(take.clean, singles),
            best_of(take, noisy, together),
            scores_of(take.clean, result),
        )
        shifts = [
            255 * min(abs(float((frame - other).mean())) for other in (before, truth))
            for frame, before, truth in zip(result, noisy, take.clean, strict=True)
        ]
        columns = np.array([scores_of(take.clean, noisy), single, best, scores])
        columns = columns[:, np.isfinite(columns).all(axis=0)]
        means, worst = " | ".join(f"{mean:.1f}" for mean in columns.mean(axis=1)), (columns[2] - columns[3]).max()
        print(f"| {name} | {means} | {worst:.1f} | {max(shifts):.2f} |", flush=True)
        if options.each:
            for title, each in (("alone", single), ("can be had", best), ("dB", scores), ("shift", shifts)):
                print(f"  {title:>10}: {' '.join(f'{score:.1f}' for score in each)}", flush=True)


if __name__ == "__main__":
    main()
