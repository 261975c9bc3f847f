"""How good a denoiser is, on photos whose truth is known: clean ones with synthetic noise, or real noisy ones."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from denoise_cli.errors import DenoiseError, UnreadableFile
from denoise_cli.evaluation.baselines import Denoise
from denoise_cli.evaluation.samples import Sample, size_in_words
from denoise_cli.imaging.metrics import colour_shift, psnr, ssim
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.ops.motion import box_blur
from denoise_cli.pipeline.frames import find_noise

Array = NDArray[np.float32]

# What stands still: pixels around which, in a square of this side, the mean change is less; and the share of a frame
# that must be so.
AREA, STILL, LEAST_STILL = 9, 1.5 / 255, 0.01
MEASURES = ("noisy", "denoised", "noisy_ssim", "denoised_ssim", "shift", "flicker", "seconds")


@dataclass(frozen=True)
class Score:
    """One photo, denoised.

    Attributes:
        path: the noisy photo, or the clean one that was given noise.
        noisy, denoised: PSNR in dB, before and after.
        noisy_ssim, denoised_ssim: before and after; None for photos too small to have one.
        shift: how far the mean colour has moved from that of the input, on the scale of 255. (From the truth's it
            would be wrong of real photos: two exposures of one scene are never quite equally bright.)
        seconds: how long it took; in a clip, the time since the frame before was finished. The first of a scene takes
            longer, because the frames beside it are denoised with it.
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
    """Score denoisers on one photo after another; on clips, on the frames that `denoise video` would write.

    Args:
        denoisers: by name. One that is no `Denoiser` denoises each frame of a clip by itself.
        samples: photos; or the frames of clips in their order, a clip being what lies in one folder and has noise of
            one level.
        T: how many frames of a clip are looked at for each one; None for photos.
        blind: as `score` takes it.
        failed: called with the path of what cannot be denoised, and the reason; in a clip, with every frame that is
            left of it. Without it, the error is raised.

    Yields:
        Each sample and, by denoiser, its score and the output. Of a clip, a few frames are held at a time.
    """
    if T is None:
        for sample in samples:
            yield from _score_clip(denoisers, [sample], None, blind, failed)
        return
    for _, frames in groupby(samples, key=lambda sample: (sample.path.parent, sample.sigma)):
        yield from _score_clip(denoisers, _of_one_size(frames, failed), T, blind, failed)


@dataclass(frozen=True)
class _Output:
    """(H, W, C), not clipped, and how long it took."""

    pixels: Array
    seconds: float


def _score_clip(
    denoisers: Mapping[str, Denoise],
    clip: Iterable[Sample],
    T: int | None,
    blind: bool,
    failed: Callable[[Path, DenoiseError], None] | None,
) -> Iterator[tuple[Sample, Results]]:
    """As `score_all`; of photos, each is a clip of its own."""
    source, queues = iter(clip), [deque[Sample]() for _ in range(1 + len(denoisers))]
    frames, *inputs = (_shared(source, queue, queues) for queue in queues)
    streams = {
        name: _outputs(denoise, its_input, T, blind)
        for (name, denoise), its_input in zip(denoisers.items(), inputs, strict=True)
    }
    before: tuple[Sample, Results] | None = None
    for sample in frames:
        try:
            outputs = {name: next(stream) for name, stream in streams.items()}
        except DenoiseError as error:
            if failed is None:
                raise
            del queues[1:]
            for lost in chain([sample], frames):
                failed(lost.path, error)
            return
        results = {name: _compared(sample, output) for name, output in outputs.items()}
        if before is not None:
            previous, previous_results = before
            for name, (figures, clipped) in results.items():
                changed = flicker(clipped, sample.clean, previous_results[name][1], previous.clean)
                results[name] = replace(figures, flicker=changed), clipped
        before = sample, results
        yield before


def _shared(source: Iterator[Sample], own: deque[Sample], queues: Sequence[deque[Sample]]) -> Iterator[Sample]:
    """The source's samples by way of one of several queues; `itertools.tee` would hold dozens longer than needed."""
    while True:
        if not own:
            sample = next(source, None)
            if sample is None:
                return
            for queue in queues:
                queue.append(sample)
        yield own.popleft()


def _of_one_size(frames: Iterator[Sample], failed: Callable[[Path, DenoiseError], None] | None) -> Iterator[Sample]:
    first = next(frames)
    yield first
    for sample in frames:
        if sample.noisy.shape == first.noisy.shape:
            yield sample
            continue
        error = UnreadableFile(
            sample.path, f"is {size_in_words(sample.noisy)}, but {first.path} is {size_in_words(first.noisy)}"
        )
        if failed is None:
            raise error
        failed(sample.path, error)


def _outputs(denoise: Denoise, frames: Iterator[Sample], T: int | None, blind: bool) -> Iterator[_Output]:
    if T is None or not isinstance(denoise, Denoiser):
        return (_timed(denoise, sample, blind) for sample in frames)
    return _outputs_of_clip(denoise, frames, T, blind)


def _outputs_of_clip(denoise: Denoiser, frames: Iterator[Sample], T: int, blind: bool) -> Iterator[_Output]:
    """What `denoise video` makes of the frames; the time in which they are read does not count."""
    first = next(frames)
    sigma = None if blind else first.sigma
    reading = 0.0

    def pictures() -> Iterator[tuple[Sample, Tensor]]:
        nonlocal reading
        started = time.perf_counter()
        for sample in chain([first], frames):
            picture = from_numpy(sample.noisy).permute(2, 0, 1).contiguous()
            reading += time.perf_counter() - started
            yield sample, picture
            started = time.perf_counter()
        reading += time.perf_counter() - started

    started = time.perf_counter()
    for sample, _, noise in find_noise(pictures(), denoise, T, sigma):
        pixels = sample.noisy if noise is None else sample.noisy - noise().permute(1, 2, 0).numpy()
        if denoise.device.type == "cuda":
            # Else the GPU would go on while the frame is scored, and that time would not count.
            torch.cuda.synchronize(denoise.device)
        yield _Output(pixels, time.perf_counter() - started - reading)
        started, reading = time.perf_counter(), 0.0


def _timed(denoise: Denoise, sample: Sample, blind: bool) -> _Output:
    started = time.perf_counter()
    pixels = denoise(sample.noisy, None if blind else sample.sigma)
    return _Output(pixels, time.perf_counter() - started)


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
    still = box_blur(from_numpy(changes)[None, None], AREA)[0, 0].numpy() <= STILL
    if still.mean() < LEAST_STILL:
        return None
    return float(np.abs((output - clean) - (output_before - clean_before))[still].mean()) * 255


def mean(scores: Sequence[Score]) -> dict[str, float | None]:
    """Every measure's mean over the photos that have it; None where none has."""
    values = {name: [value for s in scores if (value := getattr(s, name)) is not None] for name in MEASURES}
    return {name: sum(known) / len(known) if known else None for name, known in values.items()}
