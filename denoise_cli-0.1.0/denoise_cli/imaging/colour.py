"""Colours of real sensors: matrices between sRGB, XYZ and what photosites see through their filters.

Source: Brooks et al., "Unprocessing Images for Learned Raw Denoising" (2019), for the sensors' matrices.
"""

import numpy as np
from numpy.typing import NDArray

SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
# Four sensors, as Brooks et al. list them.
XYZ_TO_CAMERA = np.array(
    [
        [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
        [[0.4913, -0.0541, -0.0202], [-0.6130, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
        [[0.8380, -0.2630, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
        [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.0970, 0.1581, 0.5181]],
    ]
)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG


def camera_matrix(colours: NDArray[np.float64] | None, red: float, blue: float) -> NDArray[np.float64]:
    """(3, 3), from linear sRGB to what a sensor measures before its white is balanced.

    Args:
        colours: (3, 3), from linear sRGB to the sensor's balanced colours; None if they are the same.
        red: the gain of the white balance; that of green is 1.
        blue: the same.
    """
    return (np.eye(3) if colours is None else colours) / np.array([[red], [1.0], [blue]])


def draw_colours(rng: np.random.Generator) -> NDArray[np.float64]:
    """(3, 3), from linear sRGB to the balanced colours of a random mix of real sensors; rows add up to 1."""
    mixed = np.tensordot(rng.dirichlet(np.ones(len(XYZ_TO_CAMERA))), XYZ_TO_CAMERA, axes=1) @ SRGB_TO_XYZ
    return mixed / mixed.sum(axis=1, keepdims=True)
