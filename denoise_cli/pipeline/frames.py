"""Finding the noise in the frames of a clip: each frame together with its neighbours, each scene separately.

Every frame is denoised and then averaged with the denoised frames around it, because the residual noise differs from
frame to frame and would flicker. Frames that come again with their noise say nothing new: they count once, and what was
found in the first of them is found in all.

Legend: C channels, T frames in a window, H x W frame.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.windows import surrounded
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.inference.device import is_gpu
from denoise_cli.pipeline.repeats import CopyDetector
from denoise_cli.pipeline.scenes import CutDetector, SceneLevel

if TYPE_CHECKING:
    from denoise_cli.inference.gpu_copy import GpuCopier

STEADY_FRAMES = 5  # denoised frames that are averaged
GPU_LEAD = 1  # frames whose result a GPU may still be computing or copying, so that neither it nor the CPU waits
MOST_COPIES = 5  # of a frame that are held until the next frame is known: 12 frames per second may be shown as 60

Item = TypeVar("Item")
Value = TypeVar("Value")
Array = NDArray[np.float32]
Level = float | ShotRead | None


Noise = Callable[[], Array] | None  # waits for the noise; None if there is nothing to subtract


class _Lazy(Generic[Value]):
    """Computes a value when it is first asked for, and then drops everything that this took."""

    def __init__(self, compute: Callable[[], Value]) -> None:
        self._compute: Callable[[], Value] | None = compute
        self._values: list[Value] = []

    def __call__(self) -> Value:
        if self._compute is not None:
            self._values.append(self._compute())
            self._compute = None
        return self._values[0]


@dataclass(frozen=True)
class _Noisy(Generic[Item]):
    """A frame before it is denoised.

    Attributes:
        item: the caller's object for this frame.
        index: its position in the clip, from 0.
        pixels: (H, W, C).
        picture: the same, or a tensor (1, C, H, W) on a GPU.
        scene: number of the scene, from 0.
        take: number of the part of the clip whose frames are looked at together, from 0.
        is_copy: whether it shows the same as the frame before, of which there are too many copies to hold them.
        copies: the caller's objects for the frames that follow it and show the same. They are complete once the next
            frame is known.
    """

    item: Item
    index: int
    pixels: Array
    picture: Array
    scene: int
    take: int
    is_copy: bool
    copies: list[Item] = field(default_factory=list)


@dataclass(frozen=True)
class _Denoised(Generic[Item]):
    """A frame after it is denoised.

    Attributes:
        noisy: the frame before.
        clean: like `noisy.picture`.
        level: the noise level that was used; None if it was left to the denoiser.
    """

    noisy: _Noisy[Item]
    clean: _Lazy[Array]
    level: Level


def find_noise(
    frames: Iterable[tuple[Item, Array]],
    denoise: Denoiser,
    T: int,
    sigma: Level = None,
    strength: float = 1.0,
    skip: int = 0,
) -> Iterator[tuple[Item, Level, Noise]]:
    """Find the noise in each frame of a clip, with only a few frames in memory, however long the clip is.

    The level follows the noise within a scene, but not every frame's estimate: see `SceneLevel`. What is found in a
    frame is found in its copies, too: where they are equal, so are the results.

    Args:
        frames: in display order, each as an object of the caller's choice and a picture: (H, W, 3), or (H, W, 1) if it
            is grey, float32, nominally [0, 1], encoded, not clipped, all of one size.
        denoise: for clips, or for photos, which denoises each frame by itself.
        T: length of the window in frames; shorter if the scene is.
        sigma: the noise's standard deviation, [0, 1], or a sensor's noise; None to estimate it, or to leave that to a
            blind denoiser.
        strength: 0 to 1, the share of the noise that is found.
        skip: number of frames, from the first one on, whose noise nobody needs: None is found in them, which takes
            next to no time and has no effect on the others.

    Yields:
        The object; the noise level, None if it was left to the denoiser; and a function that waits for the noise and
        returns it, (H, W, C), or None if there is nothing to subtract from the picture.
    """
    copier = _copier(denoise.device, T + 2 * STEADY_FRAMES)
    level, scene, scene_level = sigma, -1, SceneLevel(otherwise=0.0)
    last: _Denoised[Item] | None = None

    def denoised(take: Iterator[_Noisy[Item]]) -> Iterator[_Denoised[Item]]:
        nonlocal level, scene, scene_level, last
        for frame, *neighbours in surrounded(take, T if denoise.takes_neighbours else 1):
            if frame.is_copy:
                assert last is not None
                last = _Denoised(frame, last.clean, last.level)
                yield last
                continue
            if frame.scene != scene:
                scene, scene_level = frame.scene, SceneLevel(otherwise=level if isinstance(level, float) else 0.0)
            if sigma is None and not denoise.is_blind:
                level = scene_level.after(frame.pixels, [one.pixels for one in neighbours if one.index > frame.index])
            clean = _Lazy(partial(cleaned, frame.picture, level, [one.picture for one in neighbours]))
            if frame.index > skip - STEADY_FRAMES:
                clean()
            last = _Denoised(frame, clean, level)
            yield last

    def cleaned(picture: Array, level: Level, neighbours: Sequence[Array]) -> Array:
        return denoise(picture, level, neighbours=neighbours) if strength > 0 else picture

    def noise_of(frame: _Denoised[Item], neighbours: Sequence[_Denoised[Item]]) -> Noise:
        if strength == 0 or frame.level == 0:
            return None
        picture = frame.noisy.picture
        steady = denoise.steady(frame.clean(), picture, [one.clean() for one in neighbours])
        return _downloaded(strength * (picture - steady), copier)

    def found() -> Iterator[tuple[Item, Level, Noise]]:
        before: tuple[_Denoised[Item], _Lazy[Noise]] | None = None
        for _, take in groupby(_distinct(frames, copier), key=lambda frame: frame.take):
            for frame, *neighbours in surrounded(denoised(take), min(T, STEADY_FRAMES)):
                if before is not None:
                    yield from of_copies(*before)
                if before is None or not frame.noisy.is_copy:
                    noise = _Lazy(partial(noise_of, frame, neighbours))
                before = frame, noise
                yield frame.noisy.item, frame.level, noise() if frame.noisy.index >= skip else None
        if before is not None:
            yield from of_copies(*before)

    def of_copies(frame: _Denoised[Item], noise: _Lazy[Noise]) -> Iterator[tuple[Item, Level, Noise]]:
        for index, item in enumerate(frame.noisy.copies, start=frame.noisy.index + 1):
            yield item, frame.level, noise() if index >= skip else None

    finished: deque[tuple[Item, Level, Noise]] = deque()
    for one in found():
        finished.append(one)
        if len(finished) > GPU_LEAD:
            yield finished.popleft()
    yield from finished


def _distinct(frames: Iterable[tuple[Item, Array]], copier: "GpuCopier | None") -> Iterator[_Noisy[Item]]:
    """The frames without their copies, in scenes."""
    scene = take = 0
    cuts, repeats = CutDetector(), CopyDetector()
    last: _Noisy[Item] | None = None
    for index, (item, pixels) in enumerate(frames):
        light = pixels.mean(axis=-1)
        is_copy = repeats.is_copy(light)
        if last is not None and is_copy and len(last.copies) < MOST_COPIES:
            last.copies.append(item)
            continue
        is_cut = not is_copy and cuts.is_cut(light)
        scene, take = scene + is_cut, take + (is_cut or is_copy)
        # The denoiser takes both, and what is computed here is written alike for both.
        picture = pixels if copier is None else cast("Array", copier.upload(pixels))
        last = _Noisy(item, index, pixels, picture, scene, take, is_copy)
        yield last


def _copier(device: str, pictures: int) -> "GpuCopier | None":
    if not is_gpu(device):
        return None
    import torch

    from denoise_cli.inference.gpu_copy import GpuCopier

    return GpuCopier(torch.device(device), pictures)


def _downloaded(picture: Array, copier: "GpuCopier | None") -> Callable[[], Array]:
    return (lambda: picture) if copier is None else copier.download(picture)
