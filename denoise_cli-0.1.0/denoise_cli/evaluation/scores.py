"""How good denoisers are on photos and clips whose truth is known."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from denoise_cli.errors import DenoiseError, UnreadableFile
from denoise_cli.evaluation.baselines import Denoise
from denoise_cli.evaluation.samples import Sample, describe_size
from denoise_cli.imaging.metrics import colour_shift, psnr, ssim
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.inference.device import is_gpu
from denoise_cli.ops.motion import box_blur
from denoise_cli.pipeline.frames import find_noise

Array = NDArray[np.float32]

# Flicker is measured at pixels that stand still: those around which the truth hardly changes from frame to frame.
STILL_WINDOW = 9  # pixels: the side of the square over which the change is averaged
MAX_STILL_CHANGE = 1.5 / 255  # mean change of a still pixel's square
MIN_STILL_SHARE = 0.01  # of a frame's pixels; if fewer stand still, flicker is not measured
EXACT_PSNR = 100.0  # dB, of what differs by less than the rounding of float32
MEASURES = ("noisy", "denoised", "noisy_ssim", "denoised_ssim", "shift", "flicker", "seconds")


@dataclass(frozen=True)
class Score:
    """The figures of a denoised photo or frame.

    Attributes:
        path: the noisy photo, or the clean one that noise was added to.
        noisy, denoised: PSNR in dB, before and after denoising.
        noisy_ssim, denoised_ssim: SSIM before and after denoising; None for photos that are too small for it.
        shift: how far the mean colour has moved from the input's, on the scale of 255. It is not compared with the
            truth's because two exposures of a real scene are never equally bright.
        seconds: time taken; in a clip, the time since the previous frame was finished. The first frame of a scene takes
            longer because its neighbours are denoised with it.
        flicker: for a frame of a clip, how much the error differs from that of the previous frame where the clip stands
            still: the mean absolute difference on the scale of 255. None if there is no previous frame or too little
            stands still.
    """

    path: Path
    noisy: float
    denoised: float
    noisy_ssim: float | None
    denoised_ssim: float | None
    shift: float
    seconds: float
    flicker: float | None = None


Results = dict[str, tuple[Score, Array]]  # by the denoiser's name; outputs are clipped to [0, 1], not rounded


def score(denoise: Denoise, sample: Sample, blind: bool = False) -> tuple[Score, Array]:
    """Denoise a sample and compare the result with the truth.

    Args:
        denoise: takes the noisy picture and the noise level.
        sample: the noisy picture and its truth.
        blind: do not pass the noise level to the denoiser, which then estimates it.

    Returns:
        The score, and the output, (H, W, C), clipped to [0, 1], not rounded.
    """
    return _score_output(sample, _run(denoise, sample, blind))


def score_all(
    denoisers: Mapping[str, Denoise],
    samples: Iterable[Sample],
    T: int | None = None,
    blind: bool = False,
    failed: Callable[[Path, DenoiseError], None] | None = None,
) -> Iterator[tuple[Sample, Results]]:
    """Score denoisers on photos, or on clips as `denoise video` would write them.

    Args:
        denoisers: by name. Those that are not a `Denoiser` denoise each frame of a clip on its own.
        samples: photos, or the frames of clips in order. Consecutive frames from the same folder and with the same
            noise level form a clip.
        T: length of the window of frames around each frame of a clip; None for photos.
        blind: see `score`.
        failed: called with the path of a sample that cannot be denoised, and the reason; if a clip fails, it is called
            for all its remaining frames. If this is None, the error is raised.

    Yields:
        Each sample with its results. Only a few frames of a clip are held at a time.

    Raises:
        DenoiseError: a sample cannot be denoised or differs in size from the first frame of its clip, and `failed` is
            None.
    """
    if T is None:
        for sample in samples:
            yield from _score_clip(denoisers, [sample], None, blind, failed)
        return
    for _, frames in groupby(samples, key=lambda sample: (sample.path.parent, sample.sigma)):
        yield from _score_clip(denoisers, _same_size(frames, failed), T, blind, failed)


@dataclass(frozen=True)
class _Output:
    """A denoised picture, (H, W, C), not clipped, and the time that it took."""

    pixels: Array
    seconds: float


def _score_clip(
    denoisers: Mapping[str, Denoise],
    clip: Iterable[Sample],
    T: int | None,
    blind: bool,
    failed: Callable[[Path, DenoiseError], None] | None,
) -> Iterator[tuple[Sample, Results]]:
    """Score denoisers on one clip; a photo is a clip of one frame."""
    source, queues = iter(clip), [deque[Sample]() for _ in range(1 + len(denoisers))]
    frames, *inputs = (_read_through(queue, queues, source) for queue in queues)
    streams = {
        name: _outputs(denoise, its_frames, T, blind)
        for (name, denoise), its_frames in zip(denoisers.items(), inputs, strict=True)
    }
    previous: tuple[Sample, Results] | None = None
    for sample in frames:
        try:
            outputs = {name: next(stream) for name, stream in streams.items()}
        except DenoiseError as error:
            if failed is None:
                raise
            del queues[1:]  # nobody reads these any longer
            for remaining in chain([sample], frames):
                failed(remaining.path, error)
            return
        results = {name: _score_output(sample, output) for name, output in outputs.items()}
        if previous is not None:
            previous_sample, previous_results = previous
            for name, (figures, clipped) in results.items():
                change = flicker(clipped, sample.clean, previous_results[name][1], previous_sample.clean)
                results[name] = replace(figures, flicker=change), clipped
        previous = sample, results
        yield previous


def _read_through(queue: deque[Sample], queues: Sequence[deque[Sample]], source: Iterator[Sample]) -> Iterator[Sample]:
    """The source's samples, read through one of several queues that share it.

    `itertools.tee` would hold dozens of samples longer than needed.
    """
    while True:
        if not queue:
            sample = next(source, None)
            if sample is None:
                return
            for each in queues:
                each.append(sample)
        yield queue.popleft()


def _same_size(frames: Iterator[Sample], failed: Callable[[Path, DenoiseError], None] | None) -> Iterator[Sample]:
    first = next(frames)
    yield first
    for sample in frames:
        if sample.noisy.shape == first.noisy.shape:
            yield sample
            continue
        error = UnreadableFile(
            sample.path, f"is {describe_size(sample.noisy)}, but {first.path} is {describe_size(first.noisy)}"
        )
        if failed is None:
            raise error
        failed(sample.path, error)


def _outputs(denoise: Denoise, frames: Iterator[Sample], T: int | None, blind: bool) -> Iterator[_Output]:
    if T is None or not isinstance(denoise, Denoiser):
        return (_run(denoise, sample, blind) for sample in frames)
    return _outputs_of_clip(denoise, frames, T, blind)


def _outputs_of_clip(denoise: Denoiser, frames: Iterator[Sample], T: int, blind: bool) -> Iterator[_Output]:
    """The frames as `denoise video` would write them, timed without reading them."""
    first = next(frames)
    sigma = None if blind else first.sigma
    reading_seconds = 0.0

    def pictures() -> Iterator[tuple[Sample, Array]]:
        nonlocal reading_seconds
        started = time.perf_counter()
        for sample in chain([first], frames):
            reading_seconds += time.perf_counter() - started
            yield sample, sample.noisy
            started = time.perf_counter()
        reading_seconds += time.perf_counter() - started

    started = time.perf_counter()
    for sample, _, noise in find_noise(pictures(), denoise, T, sigma):
        pixels = sample.noisy if noise is None else sample.noisy - noise()
        if is_gpu(denoise.device):
            # Otherwise the GPU would go on while the frame is scored, and that time would be missing.
            torch.cuda.synchronize(denoise.device)
        yield _Output(pixels, time.perf_counter() - started - reading_seconds)
        started, reading_seconds = time.perf_counter(), 0.0


def _run(denoise: Denoise, sample: Sample, blind: bool) -> _Output:
    started = time.perf_counter()
    pixels = denoise(sample.noisy, None if blind else sample.sigma)
    return _Output(pixels, time.perf_counter() - started)


def _score_output(sample: Sample, output: _Output) -> tuple[Score, Array]:
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
    """How much the error of a frame differs from that of the previous one where the clip stands still.

    Args:
        output: the denoised frame, (H, W, C), [0, 1].
        clean: its truth, the same shape.
        output_before: the previous denoised frame, the same shape.
        clean_before: its truth, the same shape.

    Returns:
        The mean absolute difference on the scale of 255; None if less than a hundredth of the frame stands still.

    Raises:
        ValueError: the frames differ in shape.
    """
    shapes = {picture.shape for picture in (output, clean, output_before, clean_before)}
    if len(shapes) > 1:
        raise ValueError(f"expected frames of one size, got {sorted(shapes)}")
    # Averaged, because some pixels on moving things hardly change by coincidence.
    changes = np.abs(clean - clean_before).max(axis=-1)
    still = box_blur(torch.from_numpy(changes)[None, None], STILL_WINDOW)[0, 0].numpy() <= MAX_STILL_CHANGE
    if still.mean() < MIN_STILL_SHARE:
        return None
    return float(np.abs((output - clean) - (output_before - clean_before))[still].mean()) * 255


def mean(scores: Sequence[Score]) -> dict[str, float | None]:
    """The mean of each of `MEASURES` over the photos that have it; None if none has it.

    Results that equal their truth count as `EXACT_PSNR`, since a single one would make the mean infinite.
    """
    values = {name: [value for one in scores if (value := getattr(one, name)) is not None] for name in MEASURES}
    values["denoised"] = [min(value, EXACT_PSNR) for value in values["denoised"]]
    return {name: sum(known) / len(known) if known else None for name, known in values.items()}
