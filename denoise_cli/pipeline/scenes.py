"""Scenes of a clip: where one ends, and how strong its noise is.

Legend: C channels, H x W frame.
"""

import math
from functools import lru_cache
from statistics import median

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.noise import estimate_sigma

Array = NDArray[np.float32]

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
        self._before: Array | None = None
        self._change = math.inf  # no cut directly follows the beginning, or another cut

    def is_cut(self, light: Array) -> bool:
        """Whether a frame, (H, W) on [0, 1], begins another scene than the one before."""
        rows, columns = (_averages(*sizes) for sizes in zip(light.shape, REDUCED, strict=True))
        reduced = (rows @ light @ columns.T).astype(np.float32, copy=False)
        before, self._before = self._before, reduced
        if before is None:
            return False
        difference = reduced - before
        fade = difference.mean()
        change = float(np.abs(difference - fade).mean() + FADE_WEIGHT * abs(fade))
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

    def after(self, picture: Array) -> float:
        """The level after the scene's next frame, (H, W, C) on [0, 1]: a standard deviation in the same unit."""
        if self._frames % INTERVAL == 0 and _shows_noise(picture):
            self._estimates.append(_estimate(picture))
        self._frames += 1
        return median(self._estimates) if self._estimates else self._otherwise


@lru_cache(maxsize=4)
def _averages(length: int, cells: int) -> Array:
    """(cells, length): the weights by which the values in each of the cells of about equal size are averaged."""
    weights = np.zeros((cells, length), np.float32)
    for cell, row in enumerate(weights):
        inside = row[cell * length // cells : math.ceil((cell + 1) * length / cells)]
        inside[:] = 1 / len(inside)
    return weights


def _shows_noise(picture: Array) -> bool:
    light = picture.mean(axis=-1)
    return bool(((light > ENDS) & (light < 1 - ENDS)).mean() >= LEAST_BETWEEN)


def _estimate(picture: Array) -> float:
    """The deviation of white noise in each channel whose mean over the channels would be equally strong.

    Chroma is mostly stored at half the size and smoothed by cameras, so its noise is not white, and each channel has a
    share of it.
    """
    return estimate_sigma(picture.mean(axis=-1, keepdims=True)) * picture.shape[-1] ** 0.5
