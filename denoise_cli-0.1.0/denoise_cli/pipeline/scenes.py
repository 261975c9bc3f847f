"""Scenes of a clip: where one ends, and how strong its noise is.

Legend: C channels, H x W frame.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import median

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.noise import estimate_sigma, fine_noise

Array = NDArray[np.float32]

REDUCED = (18, 32)  # rows and columns in which cuts are looked for: neither noise nor small things matter there
# A cut changes the reduced picture by more than the first, and by more than the second times the change just before.
MOST_CHANGE = 0.04  # mean absolute difference, on [0, 1]
MOST_ACCELERATION = 3.0
FADE_WEIGHT = 0.2  # of a change that is the same everywhere, as in fades and when lights are switched

INTERVAL = 8  # frames between two estimates of a scene's noise, as long as it does not change
MOST_DRIFT = 1.2  # factor by which fine detail, and with it the level, may differ while the noise counts as the same


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
    """The noise level of a scene: the median of the estimates since the noise last changed.

    So it does not change with every frame, but follows fades and automatic exposure. A change of the finest detail,
    which is quickly found in every frame, gives reason for an estimate; the noise has changed if that confirms it,
    since detail changes with what is seen as well.

    Args:
        otherwise: the level as long as no frame of the scene shows any noise, because it is too dark or too bright.
    """

    def __init__(self, otherwise: float) -> None:
        self._level = otherwise
        self._estimates: list[tuple[float, float]] = []  # the finest detail, and the level
        self._last_fine = 0.0  # of the last of these
        self._frames = 0

    def after(self, picture: Array, following: Sequence[Array] = ()) -> float:
        """The level of the scene's next frame: a standard deviation in the frame's unit.

        Args:
            picture: (H, W, C) on [0, 1].
            following: frames after it. As long as no frame has shown any noise, the first of these that does counts.
        """
        fine, is_due = fine_noise(picture.mean(axis=-1)), self._frames % INTERVAL == 0
        self._frames += 1
        if fine is None:
            if not self._estimates:
                visible = (one for one in following if fine_noise(one.mean(axis=-1)) is not None)
                return next(map(_estimate, visible), self._level)
            return self._level
        if is_due or not self._estimates or _drift(fine, self._last_fine):
            estimate = fine, _estimate(picture)
            if self._has_changed(*estimate):
                self._estimates = []
            if is_due or not self._estimates:
                self._estimates.append(estimate)
                self._last_fine = fine
            self._level = median(level for _, level in self._estimates)
        return self._level

    def _has_changed(self, *estimate: float) -> bool:
        if not self._estimates:
            return False
        drifts = {
            _drift(new, median(old)) for new, old in zip(estimate, zip(*self._estimates, strict=True), strict=True)
        }
        return drifts in ({1}, {-1})


def _drift(new: float, old: float) -> int:
    """1 if a value is far above another, -1 if it is far below, else 0."""
    return (new > MOST_DRIFT * old) - (old > MOST_DRIFT * new)


@lru_cache(maxsize=4)
def _averages(length: int, cells: int) -> Array:
    """(cells, length): the weights by which the values in each of the cells of about equal size are averaged."""
    weights = np.zeros((cells, length), np.float32)
    for cell, row in enumerate(weights):
        inside = row[cell * length // cells : math.ceil((cell + 1) * length / cells)]
        inside[:] = 1 / len(inside)
    return weights


def _estimate(picture: Array) -> float:
    """The deviation of white noise in each channel whose mean over the channels would be equally strong.

    Chroma is mostly stored at half the size and smoothed by cameras, so its noise is not white, and each channel has a
    share of it.
    """
    return estimate_sigma(picture.mean(axis=-1, keepdims=True)) * picture.shape[-1] ** 0.5
