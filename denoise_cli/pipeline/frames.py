"""Finding the noise in the frames of a clip: each frame together with its neighbours, each scene separately.

Every frame is denoised and then averaged with the denoised frames around it, because the residual noise differs from
frame to frame and would flicker.

Legend: C channels, T frames in a window, H x W frame.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, groupby
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.windows import surrounded
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.inference.device import is_gpu
from denoise_cli.pipeline.scenes import CutDetector, SceneLevel

if TYPE_CHECKING:
    from denoise_cli.inference.gpu_copy import GpuCopier

STEADY_FRAMES = 5  # denoised frames that are averaged
GPU_LEAD = 1  # frames whose result a GPU may still be computing or copying, so that neither it nor the CPU waits

Item = TypeVar("Item")
Array = NDArray[np.float32]
Level = float | ShotRead | None


@dataclass(frozen=True)
class _Noisy(Generic[Item]):
    """A frame before it is denoised.

    Attributes:
        item: the caller's object for this frame.
        pixels: (H, W, C).
        picture: the same, or a tensor (1, C, H, W) on a GPU.
        scene: number of the scene, from 0.
    """

    item: Item
    pixels: Array
    picture: Array
    scene: int


@dataclass(frozen=True)
class _Denoised(Generic[Item]):
    """A frame after it is denoised.

    Attributes:
        noisy: the frame before.
        index: its position in the clip, from 0.
        clean: like `noisy.picture`.
        level: the noise level that was used; None if it was left to the denoiser.
    """

    noisy: _Noisy[Item]
    index: int
    clean: Array
    level: Level


def find_noise(
    frames: Iterable[tuple[Item, Array]],
    denoise: Denoiser,
    T: int,
    sigma: Level = None,
    strength: float = 1.0,
    skip: int = 0,
) -> Iterator[tuple[Item, Level, Callable[[], Array] | None]]:
    """Find the noise in each frame of a clip, with only a few frames in memory, however long the clip is.

    The level of a scene is the median of the estimates so far, so that it does not change with every frame.

    Args:
        frames: in display order, each as an object of the caller's choice and a picture: (H, W, 3), or (H, W, 1) if it
            is grey, float32, nominally [0, 1], encoded, not clipped, all of one size.
        denoise: for clips, or for photos, which denoises each frame by itself.
        T: length of the window in frames; shorter if the scene is.
        sigma: the noise's standard deviation, [0, 1], or a sensor's noise; None to estimate it, or to leave that to a
            blind denoiser.
        strength: 0 to 1, the share of the noise that is found.
        skip: frames to leave out of the result, without any effect on the others.

    Yields:
        The object; the noise level, None if it was left to the denoiser; and a function that waits for the noise and
        returns it, (H, W, C), or None if there is nothing to subtract from the picture.
    """
    indices = count()
    level = sigma
    copier = _copier(denoise.device, T + 2 * STEADY_FRAMES)
    finished: deque[tuple[Item, Level, Callable[[], Array] | None]] = deque()

    def denoised(scene: Iterator[_Noisy[Item]]) -> Iterator[_Denoised[Item]]:
        nonlocal level
        scene_level = SceneLevel(otherwise=level if isinstance(level, float) else 0.0)
        for frame, *neighbours in surrounded(scene, T if denoise.takes_neighbours else 1):
            if sigma is None and not denoise.is_blind:
                level = scene_level.after(frame.pixels)
            index, clean = next(indices), frame.picture
            if strength > 0 and index > skip - STEADY_FRAMES:
                clean = denoise(clean, level, neighbours=[one.picture for one in neighbours])
            yield _Denoised(frame, index, clean, level)

    for _, scene in groupby(_in_scenes(frames, copier), key=lambda frame: frame.scene):
        for frame, *neighbours in surrounded(denoised(scene), min(T, STEADY_FRAMES)):
            if frame.index < skip:
                continue
            picture, noise = frame.noisy.picture, None
            if strength > 0 and frame.level != 0:
                steady = denoise.steady(frame.clean, picture, [one.clean for one in neighbours])
                noise = _downloaded(strength * (picture - steady), copier)
            finished.append((frame.noisy.item, frame.level, noise))
            if len(finished) > GPU_LEAD:
                yield finished.popleft()
    yield from finished


def _in_scenes(frames: Iterable[tuple[Item, Array]], copier: "GpuCopier | None") -> Iterator[_Noisy[Item]]:
    scene, detector = 0, CutDetector()
    for item, pixels in frames:
        scene += detector.is_cut(pixels)
        # The denoiser takes both, and what is computed here is written alike for both.
        picture = pixels if copier is None else cast("Array", copier.upload(pixels))
        yield _Noisy(item, pixels, picture, scene)


def _copier(device: str, pictures: int) -> "GpuCopier | None":
    if not is_gpu(device):
        return None
    import torch

    from denoise_cli.inference.gpu_copy import GpuCopier

    return GpuCopier(torch.device(device), pictures)


def _downloaded(picture: Array, copier: "GpuCopier | None") -> Callable[[], Array]:
    return (lambda: picture) if copier is None else copier.download(picture)
