"""Finding the noise in the frames of a clip: each frame with its neighbours, each scene by itself.

Every frame is denoised and then averaged with the denoised frames beside it: what denoising leaves behind differs from
frame to frame, and would flicker.

Legend: C channels, T frames of a window, H x W frame.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, groupby
from statistics import median
from typing import Generic, TypeVar

import torch.nn.functional as F
from torch import Tensor

from denoise_cli.data.clips import window
from denoise_cli.imaging.noise import ShotRead, estimate_sigma
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.inference.gpu_copy import Shuttle

# A cut: the picture, reduced until neither noise nor small things count, changes by more than the first, on [0, 1], and
# by more than the second times what it changed by just before. What is the same all over the picture is a fade, or a
# light, and counts little.
MOST_MOTION, MOST_HASTE, ALL_OVER = 0.04, 3.0, 0.2
REDUCED = (18, 32)  # rows and columns
# How often a scene's noise is looked at, in frames; and what a frame must show that can tell: so much of it between
# black and white, where noise is cut off, both of which are this much wide.
EVERY, LEAST_SEEN, ENDS = 8, 0.1, 0.03
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
    shuttle = Shuttle(denoise.device, T + 2 * STEADY)
    finished: deque[tuple[Item, Level, Callable[[], Tensor] | None]] = deque()

    def denoised(scene: Iterator[_Noisy[Item]]) -> Iterator[_Denoised[Item]]:
        nonlocal level
        estimates: list[float] = []
        for number, (own, *others) in enumerate(_windows(scene, T if denoise.sees_neighbours else 1)):
            if sigma is None and not denoise.sees_noise:
                if number % EVERY == 0 and _shows_noise(own.picture):
                    estimates.append(_estimated(own.picture))
                # In the dark before a scene can tell, the last one's is as good as any.
                level = median(estimates) if estimates else level or 0.0
            place, clean = next(places), own.picture[None]
            if strength > 0 and place > skip - STEADY:
                clean = denoise(clean, level, strength, neighbours=[other.picture[None] for other in others])
            yield _Denoised(own, place, clean, level)

    for _, scene in groupby(_in_scenes(frames, shuttle), key=lambda frame: frame.scene):
        for own, *others in _windows(denoised(scene), min(T, STEADY)):
            if own.place < skip:
                continue
            picture, noise = own.noisy.picture[None], None
            if strength > 0 and own.level != 0:
                steady = denoise.steady(own.clean, picture, [other.clean for other in others])
                noise = shuttle.fetch((picture - steady)[0])
            finished.append((own.noisy.item, own.level, noise))
            if len(finished) > LATE:
                yield finished.popleft()
    yield from finished


def _in_scenes(frames: Iterable[tuple[Item, Tensor]], shuttle: Shuttle) -> Iterator[_Noisy[Item]]:
    scene, motion = 0, math.inf  # no cut follows upon a cut
    before: Tensor | None = None
    for item, picture in frames:
        reduced = F.adaptive_avg_pool2d(picture.mean(dim=0, keepdim=True), REDUCED)
        if before is not None:
            change = reduced - before
            moved = float((change - change.mean()).abs().mean() + ALL_OVER * change.mean().abs())
            is_cut = moved > max(MOST_MOTION, MOST_HASTE * motion)
            scene, motion = scene + is_cut, math.inf if is_cut else moved
        before = reduced
        yield _Noisy(item, shuttle.bring(picture), scene)


def _shows_noise(picture: Tensor) -> bool:
    light = picture.mean(dim=0)
    return float(((light > ENDS) & (light < 1 - ENDS)).float().mean()) >= LEAST_SEEN


def _estimated(picture: Tensor) -> float:
    """The deviation of white noise in each channel that would be as strong in their mean.

    Colour differences are most often stored at half the size, and cameras smooth them: there, noise is anything but
    white, and each channel has a share of it.
    """
    return estimate_sigma(picture.mean(dim=0).unsqueeze(-1).cpu().numpy()) * len(picture) ** 0.5


def _windows(items: Iterator[Item], T: int) -> Iterator[list[Item]]:
    """Each item and the T - 1 nearest to it, itself first."""
    held: deque[Item] = deque()
    place = 0  # among those that are held, of the item whose turn it is
    while True:
        while len(held) < max(T, place + T // 2 + 1) and (coming := next(items, None)) is not None:
            held.append(coming)
        if place == len(held):
            return
        yield [held[i] for i in window(place, len(held), T)]
        if place == T - 1:
            held.popleft()
        else:
            place += 1
