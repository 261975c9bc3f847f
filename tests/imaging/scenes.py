"""Scenes for simulated sensors and cameras, and colours of a sensor unlike sRGB's."""

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.camera import MARGIN

Array = NDArray[np.float32]
INSIDE = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
SKEWED_COLOURS = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]])


def smooth_scene(height: int = 80, width: int = 96) -> Array:
    """Colours that change slowly, away from black and white."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(y / 17 + c) * np.cos(x / (19 + c)) for c in range(3)]
    return (0.5 + 0.25 * np.stack(waves, axis=-1)).astype(np.float32)


def flat_scene(value: float = 0.5, side: int = 160) -> Array:
    return np.full((side, side, 3), value, np.float32)
