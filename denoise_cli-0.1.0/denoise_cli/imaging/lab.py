"""CIE Lab as pictures store it, and the sRGB-encoded values that show the same colours.

Networks are shown sRGB, in which they know the noise of cameras. Values outside sRGB are kept, below 0 and above
1, so that `from_srgb` gives back the Lab values that `to_srgb` was given.

Sources: TIFF 6.0 (1992), section 23, for CIELab; Adobe, "TIFF Technical Note" on ICCLab (2002); Lindbloom, "RGB/XYZ
Matrices", for sRGB relative to D50, which is the white of Lab in both.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.pixels import strips
from denoise_cli.imaging.transfer import linear_to_srgb, srgb_to_linear

D50 = np.array([0.9642, 1.0, 0.8249])
SRGB_TO_XYZ_D50 = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
EPSILON = 216 / 24389  # of XYZ relative to white, below which lightness is a straight line
KAPPA = 24389 / 27
ICC_WHITE_16 = 0xFF00  # of 16 bits: L = 100 in ICCLab
AB_MIDDLE = 128  # added to a and b where they have no sign


@dataclass(frozen=True)
class LabEncoding:
    """How a picture stores Lab.

    Attributes:
        bits: per value: 8, 16 or 32, for floating point, with L from 0 to 100.
        convention: of integers: "cielab" has a and b with a sign, "icclab" has them 128 higher instead.
    """

    bits: Literal[8, 16, 32]
    convention: Literal["cielab", "icclab"]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type in which values are stored; a and b with a sign are the same bits without one."""
        return np.dtype({8: np.uint8, 16: np.uint16, 32: np.float32}[self.bits])


def to_srgb(stored: NDArray[np.generic], encoding: LabEncoding) -> NDArray[np.float32]:
    """Encode stored Lab as sRGB.

    Args:
        stored: (H, W, 3), of the encoding's type.
        encoding: how it is stored.

    Returns:
        The same shape, 1 is white, unbounded.
    """
    encoded = np.empty(stored.shape, np.float32)
    for rows in strips(len(stored)):
        encoded[rows] = linear_to_srgb(_to_xyz(_to_lab(stored[rows], encoding)) @ np.linalg.inv(_matrix()).T)
    return encoded


def from_srgb(encoded: NDArray[np.float32], encoding: LabEncoding) -> NDArray[np.generic]:
    """Undo `to_srgb`: integers are rounded and clipped."""
    stored = np.empty(encoded.shape, encoding.dtype)
    for rows in strips(len(encoded)):
        lab = _from_xyz(srgb_to_linear(encoded[rows].astype(np.float64)) @ _matrix().T)
        stored[rows] = _from_lab(lab, encoding)
    return stored


def _matrix() -> NDArray[np.float64]:
    """(3, 3), from linear sRGB to XYZ, both with 1, 1, 1 for white."""
    relative = SRGB_TO_XYZ_D50 / D50[:, None]
    return relative / relative.sum(axis=1, keepdims=True)


def _to_xyz(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """XYZ relative to white, (H, W, 3). Below black, the line of the lightness goes on."""
    lightness, a, b = np.moveaxis(lab, -1, 0)
    y = (lightness + 16) / 116
    roots = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    return np.where(roots**3 > EPSILON, roots**3, (116 * roots - 16) / KAPPA)


def _from_xyz(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    roots = np.where(xyz > EPSILON, np.cbrt(xyz), (KAPPA * xyz + 16) / 116)
    x, y, z = np.moveaxis(roots, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _scales(encoding: LabEncoding) -> tuple[float, float, float]:
    """Steps per unit of L and of a and b, and what is added to the latter."""
    if encoding.bits == 8:
        return 255 / 100, 1, AB_MIDDLE
    if encoding.convention == "icclab":
        return ICC_WHITE_16 / 100, 256, AB_MIDDLE * 256
    return 65535 / 100, 256, AB_MIDDLE * 256


def _to_lab(stored: NDArray[np.generic], encoding: LabEncoding) -> NDArray[np.float64]:
    """L from 0 to 100, a and b."""
    if encoding.bits == 32:
        return stored.astype(np.float64)
    lightness, ab, middle = _scales(encoding)
    values = _with_middle(stored, encoding).astype(np.float64)
    return np.stack([values[..., 0] / lightness, *((values[..., c] - middle) / ab for c in (1, 2))], axis=-1)


def _from_lab(lab: NDArray[np.float64], encoding: LabEncoding) -> NDArray[np.generic]:
    if encoding.bits == 32:
        return lab.astype(np.float32)
    lightness, ab, middle = _scales(encoding)
    values = np.rint(np.stack([lab[..., 0] * lightness, *(lab[..., c] * ab + middle for c in (1, 2))], axis=-1))
    return _with_middle(values.clip(0, 2**encoding.bits - 1).astype(encoding.dtype), encoding)


def _with_middle(stored: NDArray[np.generic], encoding: LabEncoding) -> NDArray[np.generic]:
    """Move a and b, if they have a sign, to where they have none, or back: both flip their highest bit."""
    if encoding.convention == "icclab":
        return stored
    flip = np.array([0, *[1 << (encoding.bits - 1)] * 2], stored.dtype)
    return stored ^ flip
