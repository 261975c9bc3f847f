"""Video samples, of brightness and colour differences mostly, and the RGB that networks see.

A denoised frame is not made from RGB, where rounding and clipping would change samples that nobody wanted changed: what
was found to be noise there is turned into samples and taken away from those of the frame. No noise, no change, in any
encoding, even one that is not known here.

Source: ITU-T H.273 (2021), section 8, for matrices and ranges.

Legend: H x W frame, h x w plane of a colour difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Plane = NDArray[np.unsignedinteger]

# Red's and blue's share of brightness, by H.273's number of the matrix.
LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
DEFAULT_MATRIX = 6  # what decoders take where nothing, or nothing of the above, is said


@dataclass(frozen=True)
class Layout:
    """How to read a frame's planes.

    Attributes:
        colours: "grey", one plane of brightness; "yuv", brightness, blue's difference from it and red's; "gbr", green,
            blue and red.
        bits: of a sample, 8 to 16.
        full: whether black is 0 and white the largest number; else they are 16 and 235, scaled to the bits.
        matrix: H.273's number of what relates "yuv" to red, green and blue.
        across, down: how often colour differences are halved in width and in height.
    """

    colours: Literal["grey", "yuv", "gbr"] = "yuv"
    bits: int = 8
    full: bool = False
    matrix: int = DEFAULT_MATRIX
    across: int = 1
    down: int = 1


def to_rgb(planes: Sequence[Plane], layout: Layout) -> Tensor:
    """What a network can be shown of a frame.

    Args:
        planes: (H, W), then those of colour differences, (h, w).
        layout: how to read them.

    Returns:
        (3, H, W), or (1, H, W) of a grey frame, float32, nominally [0, 1], in the video's own encoding. Nothing is
        clipped: samples may be beyond black and white, and beyond the colours of RGB.
    """
    H, W = planes[0].shape
    values = [
        (_tensor(plane) - zero) / scale for plane, (zero, scale) in zip(planes, _zeros_and_scales(layout), strict=True)
    ]
    whole = [value if value.shape == (H, W) else _upsample_chroma(value, layout)[:H, :W] for value in values]
    return _mix(_matrix(layout), torch.stack(whole))


def subtract_noise(planes: Sequence[Plane], noise: Tensor, layout: Layout) -> list[Plane]:
    """A frame's planes with the noise taken away, rounded to their own type.

    Args:
        planes: as in `to_rgb`.
        noise: (3, H, W), or (1, H, W) of a grey frame, in the unit of what `to_rgb` returns.
        layout: as in `to_rgb`.
    """
    values = _mix(torch.linalg.inv(_matrix(layout)), noise.cpu())
    clean = []
    for plane, value, (_, scale) in zip(planes, values, _zeros_and_scales(layout), strict=True):
        reduced = value if plane.shape == value.shape else _downsample_chroma(value, layout)
        samples = (_tensor(plane) - scale * reduced).round().clamp(0, 2**layout.bits - 1)
        clean.append(samples.numpy().astype(plane.dtype))
    return clean


def _zeros_and_scales(layout: Layout) -> list[tuple[float, float]]:
    """Of each plane, the sample that stands for zero and how many make a unit."""
    unit = 2 ** (layout.bits - 8)
    whole = 2**layout.bits - 1
    values = (0, whole) if layout.full else (16 * unit, 219 * unit)
    differences = (128 * unit, whole if layout.full else 224 * unit)
    return {"grey": [values], "yuv": [values, differences, differences], "gbr": [values] * 3}[layout.colours]


def _matrix(layout: Layout) -> Tensor:
    """From the planes' values to red, green and blue."""
    if layout.colours == "grey":
        return torch.eye(1)
    if layout.colours == "gbr":
        return torch.eye(3)[[2, 0, 1]]
    red, blue = LUMA_WEIGHTS.get(layout.matrix, LUMA_WEIGHTS[DEFAULT_MATRIX])
    green = 1 - red - blue
    from_red, from_blue = 2 * (1 - red), 2 * (1 - blue)
    return torch.tensor([[1, 0, from_red], [1, -from_blue * blue / green, -from_red * red / green], [1, from_blue, 0]])


def _mix(matrix: Tensor, values: Tensor) -> Tensor:
    return torch.einsum("ij,jyx->iyx", matrix, values)


def _tensor(plane: Plane) -> Tensor:
    return torch.from_numpy(plane.astype(np.float32))


# Where samples of colour lie: on every other column, and midway between two rows (H.264, figure E-1, type 0), as in
# most video. The two functions are each other's inverse, so that no noise stays because it fell between them.


def _upsample_chroma(value: Tensor, layout: Layout) -> Tensor:
    """Colour differences at the frame's size, or a row or a column more."""
    for _ in range(layout.across):
        right = torch.cat([value[:, 1:], value[:, -1:]], dim=1)
        value = torch.stack([value, (value + right) / 2], dim=2).flatten(1)
    for _ in range(layout.down):
        above, below = torch.cat([value[:1], value[:-1]]), torch.cat([value[1:], value[-1:]])
        tilt = (above - below) / 8
        value = torch.stack([value + tilt, value - tilt], dim=1).flatten(0, 1)
    return value


def _downsample_chroma(value: Tensor, layout: Layout) -> Tensor:
    """Colour differences at the size of their planes."""
    for _ in range(layout.across):
        value = value[:, ::2]
    for _ in range(layout.down):
        value = F.avg_pool2d(value[None], (2, 1), ceil_mode=True)[0]
    return value
