"""How good a denoiser is, on photos whose truth is known: clean ones with synthetic noise, or real noisy ones."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import from_numpy

from denoise_cli.data.clips import window
from denoise_cli.errors import DenoiseError, UnreadableFile
from denoise_cli.evaluation.baselines import Denoise
from denoise_cli.imaging.metrics import colour_shift, psnr, ssim
from denoise_cli.imaging.noise import ShotRead, sensor_noise
from denoise_cli.imaging.transfer import linear_to_srgb, srgb_to_linear
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.io import image
from denoise_cli.ops.motion import blurred
from denoise_cli.pipeline.frames import STEADY, surrounded

Array = NDArray[np.float32]

# What stands still: pixels around which, in a square of this side, the mean change is less; and the share of a frame
# that must be so.
AREA, STILL, LEAST_STILL = 9, 1.5 / 255, 0.01
MEASURES = ("noisy", "denoised", "noisy_ssim", "denoised_ssim", "shift", "flicker", "seconds")


@dataclass(frozen=True)
class Sample:
    """A noisy picture beside its truth.

    Attributes:
        path: the file it comes from.
        clean, noisy: (H, W, C), nominally [0, 1], sRGB-encoded.
        sigma: the noise's deviation, or a sensor's noise; None where it is not known.
        neighbours: of a clip's frame, others of the clip as noisy, nearest first.
    """

    path: Path
    clean: Array
    noisy: Array
    sigma: float | ShotRead | None
    neighbours: tuple[Array, ...] = ()

    @cached_property
    def psnr(self) -> float:
        """Of the noisy picture."""
        return psnr(self.noisy, self.clean)

    @cached_property
    def ssim(self) -> float | None:
        """Of the noisy picture."""
        return ssim(self.noisy, self.clean)


@dataclass(frozen=True)
class Gaussian:
    """White noise of the deviation `sigma`, [0, 1] scale, on clean photos."""

    sigma: float

    def __str__(self) -> str:
        return f"sigma {self.sigma * 255:g}"

    @property
    def facts(self) -> dict[str, float | None]:
        """Its numbers, for the record; sigma on the scale of 255."""
        return {"sigma": round(self.sigma * 255, 6), "shot": None, "read": None}

    def sample(self, path: Path, index: int) -> Sample:
        """A photo with its noise, in its own colours and depth; `index`, its place in the sorted folder, is the seed.

        Raises:
            UnreadableFile: it cannot be read.
        """
        clean = image.read(path).as_float()
        return Sample(path, clean, add_gaussian_noise(clean, self.sigma, index), self.sigma)


@dataclass(frozen=True)
class Sensor(ShotRead):
    """A sensor's noise on clean photos."""

    def __str__(self) -> str:
        return f"shot {self.shot:g}, read {self.read:g}"

    @property
    def facts(self) -> dict[str, float | None]:
        """As of `Gaussian`."""
        return {"sigma": None, "shot": self.shot, "read": self.read}

    def sample(self, path: Path, index: int) -> Sample:
        """As `Gaussian.sample`."""
        clean = image.read(path).as_float()
        noisy = add_sensor_noise(clean, self.shot, self.read, index)
        return Sample(path, clean, noisy, self)


@dataclass(frozen=True, eq=False)
class Real:
    """The noise that photos were taken with: `truths` has the clean photo of every noisy one."""

    truths: Mapping[Path, Path]

    def __str__(self) -> str:
        return "real"

    @property
    def facts(self) -> dict[str, float | None]:
        """As of `Gaussian`: nobody knows them."""
        return {"sigma": None, "shot": None, "read": None}

    def sample(self, path: Path, _index: int) -> Sample:
        """A noisy photo and its truth, at the files' own depth.

        Raises:
            UnreadableFile: one cannot be read, or they differ in size or colour.
        """
        noisy, clean = image.read(path).as_float(), image.read(self.truths[path]).as_float()
        if noisy.shape != clean.shape:
            raise UnreadableFile(path, f"is {_size(noisy)}, but {self.truths[path]} is {_size(clean)}")
        return Sample(path, clean, noisy, None)


@dataclass(frozen=True, eq=False)
class InClips:
    """A noise on the frames of clips, each of which brings its neighbours along.

    Attributes:
        noise: of each frame, its own.
        frames: of all clips, sorted; those of one clip are in one folder.
        T: how many are seen together, the frame itself with them.
    """

    noise: Gaussian | Sensor
    frames: tuple[Path, ...]
    T: int

    def __str__(self) -> str:
        return str(self.noise)

    @property
    def facts(self) -> dict[str, float | None]:
        """As of `Gaussian`."""
        return self.noise.facts

    def sample(self, path: Path, index: int) -> Sample:
        """As `Gaussian.sample`; each neighbour has the noise that it has as a frame of its own."""
        clip = [place for place, frame in enumerate(self.frames) if frame.parent == path.parent]
        own, *others = (clip[i] for i in window(clip.index(index), len(clip), self.T))
        sample = self.noise.sample(path, own)
        neighbours = tuple(self.noise.sample(self.frames[place], place).noisy for place in others)
        if any(other.shape != sample.noisy.shape for other in neighbours):
            raise UnreadableFile(path, f"is {_size(sample.noisy)}, but other frames of {path.parent} are not")
        return replace(sample, neighbours=neighbours)


Noise = Gaussian | Sensor | Real | InClips


@dataclass(frozen=True)
class Score:
    """One photo, denoised.

    Attributes:
        path: the noisy photo, or the clean one that was given noise.
        noisy, denoised: PSNR in dB, before and after.
        noisy_ssim, denoised_ssim: before and after; None for photos too small to have one.
        shift: how far the mean colour has moved from that of the input, on the scale of 255. (From the truth's it
            would be wrong of real photos: two exposures of one scene are never quite equally bright.)
        seconds: how long it took.
        flicker: of a clip's frame, how much the error differs from that of the frame before, where the clip stands
            still; the mean absolute difference on the scale of 255. None where there is no frame before, or no still
            part.
    """

    path: Path
    noisy: float
    denoised: float
    noisy_ssim: float | None
    denoised_ssim: float | None
    shift: float
    seconds: float
    flicker: float | None = None


Results = dict[str, tuple[Score, Array]]  # by denoiser; its output is clipped to [0, 1], not rounded


def add_gaussian_noise(clean: Array, sigma: float, index: int) -> Array:
    """White noise as the papers' protocol has it: made on [0, 255] from a seed per photo, neither clipped nor rounded.

    Args:
        clean: (H, W, C), [0, 1].
        sigma: in the image's unit.
        index: the photo's place in its sorted folder, which is its seed.
    """
    noise = np.random.default_rng(index).normal(0, sigma * 255, clean.shape) / 255
    return (clean + noise).astype(np.float32)


def add_sensor_noise(clean: Array, shot: float, read: float, index: int) -> Array:
    """Shot and read noise, added in linear light and encoded again, neither clipped nor rounded.

    Args:
        clean: (H, W, C), [0, 1], sRGB-encoded.
        shot: the noise's variance per unit of light.
        read: its deviation in the dark.
        index: the photo's place in its sorted folder, which is its seed.
    """
    light = srgb_to_linear(clean.astype(np.float64))
    noise = sensor_noise(light, shot, read, np.random.default_rng(index))
    return linear_to_srgb(light + noise).astype(np.float32)


def score(denoise: Denoise, sample: Sample, blind: bool = False) -> tuple[Score, Array]:
    """Denoise a sample and compare it with the truth.

    Args:
        denoise: takes the noisy picture and the noise level.
        sample: what to denoise.
        blind: keep the level from the denoiser, which then estimates it.

    Returns:
        The score, and the output: clipped to [0, 1], not rounded.
    """
    return _compared(sample, _timed(denoise, sample, blind))


def score_all(
    denoisers: Mapping[str, Denoise],
    samples: Iterable[Sample],
    T: int | None = None,
    blind: bool = False,
    failed: Callable[[Path, DenoiseError], None] | None = None,
) -> Iterator[tuple[Sample, Results]]:
    """Score denoisers on one picture after another; of a clip, on what `denoise video` makes of it.

    Args:
        denoisers: by name.
        samples: those of one folder behind each other.
        T: how many frames of a clip are seen together; None for photos.
        blind: as `score` takes it.
        failed: told of what cannot be denoised, and why; without it, that is raised.

    Yields:
        Each sample and, by denoiser, its score and the output; a clip's frame when those beside it are denoised, too.
    """

    def denoised(clip: Iterable[Sample]) -> Iterator[tuple[Sample, dict[str, _Output]]]:
        for sample in clip:
            try:
                outputs = {name: _timed(denoise, sample, blind) for name, denoise in denoisers.items()}
            except DenoiseError as error:
                if failed is None:
                    raise
                failed(sample.path, error)
            else:
                yield sample, outputs

    for _, clip in groupby(samples, key=lambda sample: sample.path.parent):
        before: tuple[Sample, Results] | None = None
        for (sample, outputs), *beside in surrounded(denoised(clip), min(T or 1, STEADY)):
            results = {}
            for name, output in outputs.items():
                others = [its[name].pixels for _, its in beside]
                results[name] = _compared(sample, _steadied(denoisers[name], sample, output, others))
                if before is not None and T is not None:
                    figures, clipped = results[name]
                    changed = flicker(clipped, sample.clean, before[1][name][1], before[0].clean)
                    results[name] = replace(figures, flicker=changed), clipped
            before = sample, results
            yield before


@dataclass(frozen=True)
class _Output:
    """(H, W, C), not clipped, and how long it took."""

    pixels: Array
    seconds: float


def _timed(denoise: Denoise, sample: Sample, blind: bool) -> _Output:
    started = time.perf_counter()
    seen = {"neighbours": sample.neighbours} if getattr(denoise, "sees_neighbours", False) else {}
    pixels = denoise(sample.noisy, None if blind else sample.sigma, **seen)
    return _Output(pixels, time.perf_counter() - started)


def _steadied(denoise: Denoise, sample: Sample, output: _Output, others: Sequence[Array]) -> _Output:
    if not (isinstance(denoise, Denoiser) and denoise.sees_neighbours):
        return output
    started = time.perf_counter()
    pixels = denoise.steady(output.pixels, sample.noisy, others)
    return _Output(pixels, output.seconds + time.perf_counter() - started)


def _compared(sample: Sample, output: _Output) -> tuple[Score, Array]:
    clipped, clean = output.pixels.clip(0, 1), sample.clean
    return Score(
        path=sample.path,
        noisy=sample.psnr,
        denoised=psnr(clipped, clean),
        noisy_ssim=sample.ssim,
        denoised_ssim=ssim(clipped, clean),
        shift=colour_shift(clipped, sample.noisy) * 255,
        seconds=output.seconds,
    ), clipped


def flicker(output: Array, clean: Array, output_before: Array, clean_before: Array) -> float | None:
    """As `Score` has it, of frames (H, W, C) on [0, 1]; None where less than a hundredth stands still.

    Raises:
        ValueError: the frames differ in size.
    """
    shapes = {picture.shape for picture in (output, clean, output_before, clean_before)}
    if len(shapes) > 1:
        raise ValueError(f"expected frames of one size, got {sorted(shapes)}")
    # Not each pixel by itself: many hardly change by chance where things move.
    changes = np.abs(clean - clean_before).max(axis=-1)
    still = blurred(from_numpy(changes)[None, None], AREA)[0, 0].numpy() <= STILL
    if still.mean() < LEAST_STILL:
        return None
    return float(np.abs((output - clean) - (output_before - clean_before))[still].mean()) * 255


def mean(scores: Sequence[Score]) -> dict[str, float | None]:
    """Every measure's mean over the photos that have it; None where none has."""
    values = {name: [value for s in scores if (value := getattr(s, name)) is not None] for name in MEASURES}
    return {name: sum(known) / len(known) if known else None for name, known in values.items()}


def _size(pixels: Array) -> str:
    H, W, C = pixels.shape
    return f"{W} x {H} {'in colour' if C == 3 else 'in grey'}"
