"""`denoise` for scripts of VapourSynth: a clip becomes the same clip without its noise.

from denoise_cli.vapoursynth import denoise

clip = denoise(clip)

Frames are denoised when they are asked for, each with its neighbours in the same scene. Asked for in order, they are
those that `denoise video` would write.

Legend: C channels, H x W frame.
"""

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import vapoursynth as vs
from numpy.typing import NDArray

from denoise_cli.errors import DenoiseError, UsageError
from denoise_cli.imaging.windows import MAX_FRAMES
from denoise_cli.imaging.yuv import DEFAULT_MATRIX, Layout, subtract_noise, to_rgb
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.inference.device import Precision
from denoise_cli.pipeline.frames import Noise, find_noise
from denoise_cli.pipeline.model_choice import check_takes_noise, model_for_clip

LEAD = 32  # frames before one that is sought, whose cuts, repeats and noise levels are looked at
AHEAD = 16  # frames up to one that is asked for which are denoised instead of seeking it
MOST_BITS = 16  # of integers
LIMITS = {"noise": (0.0, 255.0), "strength": (0.0, 1.0)}


@dataclasses.dataclass(frozen=True)
class _Settings:
    """How to denoise, as for `find_noise`."""

    frames: int
    sigma: float | None
    strength: float


def denoise(
    clip: vs.VideoNode,
    model: str | None = None,
    noise: float | None = None,
    strength: float = 1.0,
    frames: int = 5,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    tile: int | None = None,
) -> vs.VideoNode:
    """Remove the noise of a clip.

    Args:
        clip: RGB, YUV or grey, in integers of 8 to 16 bits; or RGB or grey in floating point, nominally [0, 1]. Encoded
            for display, not linear light. Of the frame properties, ``_Matrix`` and ``_Range`` are looked at; without
            them, YUV and grey are of limited range, and YUV of BT.601.
        model: a name from the registry, or the path of a weight file; None for mallenet-vr, or for mallenet-v if
            `noise` is given; with a single frame, those for photos.
        noise: its standard deviation on the scale of 0 to 255; None to leave that to the model, or to estimate it in
            each scene if the model needs to be told.
        strength: 0 to 1, the share of the noise that is removed; 0 returns the clip unchanged.
        frames: length of the window, odd, from 1 to 9.
        device: as for `load_denoiser`, like the two that follow.
        precision: of the arithmetic.
        tile: maximum side of a tile in pixels.

    Returns:
        A clip of the same format, length and rate; its frames have the properties of the source's.

    Raises:
        vapoursynth.Error: an argument is wrong, the clip has another format, or the model cannot be loaded.
    """
    try:
        _check_format(clip)
        _check_numbers(noise=noise, strength=strength)
        if frames not in range(1, MAX_FRAMES + 1, 2):
            raise UsageError(f"frames={frames}: expected an odd number from 1 to {MAX_FRAMES}")
        sigma = None if noise is None else noise / 255
        chosen = model_for_clip(frames, model, sigma)
        check_takes_noise(chosen, sigma, f"{noise:g}" if noise is not None else "")
        if strength == 0:
            return clip
        denoiser = load_denoiser(chosen, device, precision, tile)
    except (DenoiseError, ValueError) as error:
        raise vs.Error(f"denoise: {error}") from error
    empty = vs.core.std.BlankClip(clip, keep=True)
    return empty.std.ModifyFrame(empty, _Frames(clip, denoiser, _Settings(frames, sigma, strength)))


def _check_format(clip: vs.VideoNode) -> None:
    form = clip.format
    if form is None or not clip.width or not clip.height:
        raise UsageError("the format or the size of the clip changes: denoise its parts")
    if form.sample_type == vs.INTEGER and form.bits_per_sample <= MOST_BITS:
        return
    if form.sample_type == vs.INTEGER or form.color_family == vs.YUV:
        raise UsageError(
            f"{form.name} is not among the formats that it takes: convert it, such as by "
            'clip.resize.Bicubic(format=vs.RGBS, matrix_in_s="709")'
        )


def _check_numbers(**numbers: float | None) -> None:
    for name, number in numbers.items():
        least, most = LIMITS[name]
        if number is not None and not least <= number <= most:
            raise UsageError(f"{name}={number:g}: expected a number from {least:g} to {most:g}")


class _Frames:
    """The frames without their noise, by their numbers; called by any thread.

    A few that are finished are kept, since VapourSynth asks for several at a time, not always in order. Whoever asks
    for one that is neither among these nor among the next begins anew a little before it.
    """

    def __init__(self, clip: vs.VideoNode, denoiser: Denoiser, settings: _Settings) -> None:
        self._clip, self._denoiser, self._settings = clip, denoiser, settings
        self._lock = threading.Lock()
        self._stream: Iterator[tuple[int, vs.VideoFrame]] = iter(())
        self._next = -1  # the number of the frame that the stream yields next; -1 before it is begun, or if it failed
        self._kept: OrderedDict[int, vs.VideoFrame] = OrderedDict()
        self._told: set[str] = set()

    def __call__(self, n: int, f: vs.VideoFrame) -> vs.VideoFrame:  # noqa: ARG002 - names by which it is called
        with self._lock:
            if n not in self._kept:
                self._make(n)
            return self._kept[n]

    def _make(self, n: int) -> None:
        """Denoise frames up to number `n`."""
        most = vs.core.num_threads + AHEAD
        if not self._next <= n < self._next + most or self._next < 0:
            self._stream, self._next = self._denoised(n), n
        while self._next <= n:
            self._next, before = -1, self._next
            number, frame = next(self._stream)
            assert number == before
            self._next = number + 1
            self._kept[number] = frame
            if len(self._kept) > most:
                self._kept.popitem(last=False)
        for note in set(self._denoiser.notes) - self._told:
            self._told.add(note)
            vs.core.log_message(vs.MESSAGE_TYPE_INFORMATION, f"denoise: {note}")

    def _denoised(self, first: int) -> Iterator[tuple[int, vs.VideoFrame]]:
        """The frames from a number on, and these numbers."""
        begin = max(first - LEAD, 0)
        ours = self._settings
        found = find_noise(
            self._noisy(begin), self._denoiser, ours.frames, ours.sigma, ours.strength, skip=first - begin
        )
        for number, (frame, _, noise) in enumerate(found, start=begin):
            if number >= first:
                yield number, frame if noise is None else _without(frame, noise)

    def _noisy(self, begin: int) -> Iterator[tuple[vs.VideoFrame, NDArray[np.float32]]]:
        for number in range(begin, self._clip.num_frames):
            # Unlike requests without waiting, this lets VapourSynth use the thread that waits for others.
            frame = self._clip.get_frame(number)
            yield frame, _picture(frame)


def _picture(frame: vs.VideoFrame) -> NDArray[np.float32]:
    """(H, W, 3), or (H, W, 1) for a grey frame, nominally [0, 1]."""
    planes = _planes(frame)
    if frame.format.sample_type == vs.FLOAT:
        return np.stack(planes).astype(np.float32, copy=False).transpose(1, 2, 0)
    return to_rgb(planes, _layout(frame))


def _without(frame: vs.VideoFrame, noise: Noise) -> vs.VideoFrame:
    """The frame without noise, with its properties."""
    assert noise is not None
    clean = frame.copy()
    planes, found = _planes(clean), noise()
    if frame.format.sample_type == vs.FLOAT:
        values: Sequence[NDArray[Any]] = [plane - found[..., channel] for channel, plane in enumerate(_planes(frame))]
    else:
        values = subtract_noise(_planes(frame), found, _layout(frame))
    for plane, value in zip(planes, values, strict=True):
        plane[:] = value
    return clean


def _planes(frame: vs.VideoFrame) -> list[NDArray[Any]]:
    """Views: luma and chroma; red, green and blue in floating point; or green, blue and red, as `Layout` has them."""
    planes = [np.asarray(plane) for plane in frame]
    is_integer_rgb = frame.format.color_family == vs.RGB and frame.format.sample_type == vs.INTEGER
    return [*planes[1:], planes[0]] if is_integer_rgb else planes


def _layout(frame: vs.VideoFrame) -> Layout:
    """How to interpret the planes of integers."""
    form, props = frame.format, frame.props
    is_rgb = form.color_family == vs.RGB
    full = props.get("_Range", is_rgb) == vs.RANGE_FULL
    if form.color_family != vs.YUV:
        return Layout("gbr" if is_rgb else "grey", form.bits_per_sample, full, across=0, down=0)
    matrix = int(props.get("_Matrix", DEFAULT_MATRIX))
    return Layout("yuv", form.bits_per_sample, full, matrix, form.subsampling_w, form.subsampling_h)
