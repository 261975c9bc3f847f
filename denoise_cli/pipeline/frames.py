"""Finding the noise in the frames of a clip: each frame with its neighbours, each scene by itself.

Every frame is denoised and then averaged with the denoised frames beside it: what denoising leaves behind differs from
frame to frame, and would flicker.

Legend: C channels, T frames of a window, H x W frame.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, groupby
from typing import Generic, TypeVar

from torch import Tensor

from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.windows import surrounded
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.inference.gpu_copy import GpuCopier
from denoise_cli.pipeline.scenes import CutDetector, SceneLevel

STEADY = 5  # frames that are averaged once they are denoised
LATE = 1  # frames that a GPU may be ahead of what is taken from it, so that neither waits for the other

Item = TypeVar("Item")
Level = float | ShotRead | None


@dataclass(frozen=True)
class _Noisy(Generic[Item]):
    """A frame before it is denoised.

    Attributes:
        item: what the caller knows it by.
        picture: (C, H, W), on the denoiser's device if it has room.
        scene: a number, the same until the next cut.
    """

    item: Item
    picture: Tensor
    scene: int


@dataclass(frozen=True)
class _Denoised(Generic[Item]):
    """A frame, its place in the clip, (1, C, H, W) of it without most of its noise, and the noise level."""

    noisy: _Noisy[Item]
    place: int
    clean: Tensor
    level: Level


def find_noise(
    frames: Iterable[tuple[Item, Tensor]],
    denoise: Denoiser,
    T: int,
    sigma: Level = None,
    strength: float = 1.0,
    skip: int = 0,
) -> Iterator[tuple[Item, Level, Callable[[], Tensor] | None]]:
    """Find the noise in each frame of a clip; a few frames are held at a time, however long the clip is.

    A scene's level is the median of the estimates so far, so that the strength does not change with every frame.

    Args:
        frames: in the order in which they are shown, each as an object of the caller's choice and a picture: (3, H, W),
            or (1, H, W) if it is grey, float32, nominally [0, 1], encoded, not clipped, all of one size, on the CPU.
        denoise: for clips, or for photos, which denoises each frame by itself.
        T: how many frames are looked at for each one; fewer where the scene has fewer.
        sigma: the noise's standard deviation, [0, 1], or a sensor's noise; None to estimate it, or to leave that to a
            denoiser that sees the noise.
        strength: 0 to 1, how much of the noise is found; at 0 there is none.
        skip: how many frames to leave out of the result; the others' noise is what it would be without.

    Yields:
        The object; the noise level, None if it was left to the denoiser; and a function that waits for the noise and
        returns it, (C, H, W), on the CPU, or None where there is nothing to subtract from the picture.
    """
    places = count()
    level = sigma
    copier = GpuCopier(denoise.device, T + 2 * STEADY)
    finished: deque[tuple[Item, Level, Callable[[], Tensor] | None]] = deque()

    def denoised(scene: Iterator[_Noisy[Item]]) -> Iterator[_Denoised[Item]]:
        nonlocal level
        scene_level = SceneLevel(otherwise=level if isinstance(level, float) else 0.0)
        for own, *others in surrounded(scene, T if denoise.takes_neighbours else 1):
            if sigma is None and not denoise.is_blind:
                level = scene_level.after(own.picture)
            place, clean = next(places), own.picture[None]
            if strength > 0 and place > skip - STEADY:
                clean = denoise(clean, level, strength, neighbours=[other.picture[None] for other in others])
            yield _Denoised(own, place, clean, level)

    for _, scene in groupby(_in_scenes(frames, copier), key=lambda frame: frame.scene):
        for own, *others in surrounded(denoised(scene), min(T, STEADY)):
            if own.place < skip:
                continue
            picture, noise = own.noisy.picture[None], None
            if strength > 0 and own.level != 0:
                steady = denoise.steady(own.clean, picture, [other.clean for other in others])
                noise = copier.download((picture - steady)[0])
            finished.append((own.noisy.item, own.level, noise))
            if len(finished) > LATE:
                yield finished.popleft()
    yield from finished


def _in_scenes(frames: Iterable[tuple[Item, Tensor]], copier: GpuCopier) -> Iterator[_Noisy[Item]]:
    scene, detector = 0, CutDetector()
    for item, picture in frames:
        scene += detector.is_cut(picture)
        yield _Noisy(item, copier.upload(picture), scene)
