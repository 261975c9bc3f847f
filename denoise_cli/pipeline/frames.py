"""A clip's way through a denoiser: frame by frame, each with its neighbours, each scene for itself.

It goes twice through them: what is left after denoising differs from frame to frame, and is averaged.

Legend: C channels, T frames of a window, H x W frame.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, groupby
from statistics import median
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor

from denoise_cli.data.clips import window
from denoise_cli.imaging.noise import estimate_sigma
from denoise_cli.imaging.yuv import to_rgb, without
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.inference.gpu_copy import Shuttle
from denoise_cli.io.video import Frame

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


@dataclass(frozen=True)
class Seen:
    """A frame as networks see it.

    Attributes:
        frame: what was decoded.
        rgb: (3, H, W), or (1, H, W) of a grey one, where the denoiser runs; nominally [0, 1], encoded, not clipped.
        scene: a number, the same until the next cut.
    """

    frame: Frame
    rgb: Tensor
    scene: int


@dataclass(frozen=True)
class Cleaned:
    """A frame and its place in the clip, (1, C, H, W) of it without most of its noise, and the level that this had."""

    seen: Seen
    number: int
    clean: Tensor
    level: float | None


@dataclass(frozen=True)
class Finished:
    """A frame, the level that its noise had, and what returns the noise: (C, H, W), None where nothing is taken."""

    frame: Frame
    level: float | None
    noise: Callable[[], Tensor] | None

    def out(self) -> tuple[Frame, float | None]:
        """The frame without the noise, and the level."""
        if self.noise is not None:
            self.frame.replace(without(self.frame.planes, self.noise(), self.frame.layout))
        return self.frame, self.level


def denoised(
    frames: Iterable[Frame],
    denoise: Denoiser,
    T: int,
    sigma: float | None = None,
    strength: float = 1.0,
    skip: int = 0,
) -> Iterator[tuple[Frame, float | None]]:
    """Frames without their noise, and the level that the noise had.

    A scene's level is the median of what was estimated so far, so that the strength does not change with every frame.

    Args:
        frames: in the order in which they are shown; their samples are replaced.
        denoise: for clips; or for photos, and each frame is one.
        T: how many frames are looked at for each; fewer where the scene has fewer.
        sigma: the noise's standard deviation, [0, 1]; None to estimate it, or to leave that to the denoiser.
        strength: 0 to 1, how much of the noise goes; 0 leaves the samples as they are.
        skip: how many frames to leave out of the result; what follows is what it would be without.
    """
    numbers = count()
    level = sigma
    shuttle = Shuttle(denoise.device, T + 2 * STEADY)
    finished: deque[Finished] = deque()

    def cleaned(scene: Iterator[Seen]) -> Iterator[Cleaned]:
        nonlocal level
        found: list[float] = []
        for place, (own, *others) in enumerate(surrounded(scene, T if denoise.sees_neighbours else 1)):
            if sigma is None and not denoise.sees_noise:
                if place % EVERY == 0 and _shows_noise(own.rgb):
                    found.append(_estimated(own.rgb))
                # In the dark before a scene can tell, the last one's is as good as any.
                level = median(found) if found else level or 0.0
            number, clean = next(numbers), own.rgb[None]
            if strength > 0 and number > skip - STEADY:
                clean = denoise(clean, level, strength, neighbours=[seen.rgb[None] for seen in others])
            yield Cleaned(own, number, clean, level)

    for _, scene in groupby(_seen(frames, shuttle), key=lambda seen: seen.scene):
        for own, *others in surrounded(cleaned(scene), min(T, STEADY)):
            if own.number < skip:
                continue
            noisy, noise = own.seen.rgb[None], None
            if strength > 0 and own.level != 0:
                steady = denoise.steady(own.clean, noisy, [other.clean for other in others])
                noise = shuttle.fetch((noisy - steady)[0])
            finished.append(Finished(own.seen.frame, own.level, noise))
            if len(finished) > LATE:
                yield finished.popleft().out()
    for last in finished:
        yield last.out()


def _seen(frames: Iterable[Frame], shuttle: Shuttle) -> Iterator[Seen]:
    scene, motion = 0, math.inf  # no cut follows upon a cut
    before: Tensor | None = None
    for frame in frames:
        rgb = to_rgb(frame.planes, frame.layout)
        reduced = F.adaptive_avg_pool2d(rgb.mean(dim=0, keepdim=True), REDUCED)
        if before is not None:
            change = reduced - before
            moved = float((change - change.mean()).abs().mean() + ALL_OVER * change.mean().abs())
            is_cut = moved > max(MOST_MOTION, MOST_HASTE * motion)
            scene, motion = scene + is_cut, math.inf if is_cut else moved
        before = reduced
        yield Seen(frame, shuttle.bring(rgb), scene)


def _shows_noise(rgb: Tensor) -> bool:
    light = rgb.mean(dim=0)
    return float(((light > ENDS) & (light < 1 - ENDS)).float().mean()) >= LEAST_SEEN


def _estimated(rgb: Tensor) -> float:
    """The deviation of white noise in each channel that would be as strong in their mean.

    Colour differences are most often stored at half the size, and cameras smooth them: there, noise is anything but
    white, and each channel has a share of it.
    """
    return estimate_sigma(rgb.mean(dim=0).unsqueeze(-1).cpu().numpy()) * len(rgb) ** 0.5


def surrounded(items: Iterator[Item], T: int) -> Iterator[list[Item]]:
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
