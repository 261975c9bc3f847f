"""Scenes of a clip: where one ends, and how strong its noise is.

Legend: C channels, H x W frame.
"""

import math
from statistics import median

import torch.nn.functional as F
from torch import Tensor

from denoise_cli.imaging.noise import estimate_sigma

REDUCED = (18, 32)  # rows and columns in which cuts are looked for: neither noise nor small things matter there
# A cut changes the reduced picture by more than the first, and by more than the second times the change just before.
MOST_CHANGE = 0.04  # mean absolute difference, on [0, 1]
MOST_ACCELERATION = 3.0
FADE_WEIGHT = 0.2  # of a change that is the same everywhere, as in fades and when lights are switched

INTERVAL = 8  # frames between two estimates of a scene's noise
LEAST_BETWEEN = 0.1  # share of a frame that must lie between black and white, where noise is clipped,
ENDS = 0.03  # and by how much, on [0, 1]


class CutDetector:
    """Finds the first frame of each scene, given the frames of a clip one after another."""

    def __init__(self) -> None:
        self._before: Tensor | None = None
        self._change = math.inf  # no cut directly follows the beginning, or another cut

    def is_cut(self, picture: Tensor) -> bool:
        """Whether a frame, (C, H, W) on [0, 1], begins another scene than the one before."""
        reduced = F.adaptive_avg_pool2d(picture.mean(dim=0, keepdim=True), REDUCED)
        before, self._before = self._before, reduced
        if before is None:
            return False
        difference = reduced - before
        fade = difference.mean()
        change = float((difference - fade).abs().mean() + FADE_WEIGHT * fade.abs())
        found = change > max(MOST_CHANGE, MOST_ACCELERATION * self._change)
        self._change = math.inf if found else change
        return found


class SceneLevel:
    """The noise level of a scene: the median of the estimates so far, so that it does not change with every frame.

    Args:
        otherwise: the level as long as no frame of the scene shows any noise, because it is too dark or too bright.
    """

    def __init__(self, otherwise: float) -> None:
        self._otherwise = otherwise
        self._estimates: list[float] = []
        self._frames = 0

    def after(self, picture: Tensor) -> float:
        """The level after the scene's next frame, (C, H, W) on [0, 1]: a standard deviation in the same unit."""
        if self._frames % INTERVAL == 0 and _shows_noise(picture):
            self._estimates.append(_estimate(picture))
        self._frames += 1
        return median(self._estimates) if self._estimates else self._otherwise


def _shows_noise(picture: Tensor) -> bool:
    light = picture.mean(dim=0)
    return float(((light > ENDS) & (light < 1 - ENDS)).float().mean()) >= LEAST_BETWEEN


def _estimate(picture: Tensor) -> float:
    """The deviation of white noise in each channel whose mean over the channels would be equally strong.

    Chroma is mostly stored at half the size and smoothed by cameras, so its noise is not white, and each channel has a
    share of it.
    """
    return estimate_sigma(picture.mean(dim=0).unsqueeze(-1).cpu().numpy()) * len(picture) ** 0.5
