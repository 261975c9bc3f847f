"""Conversion between video samples, mostly luma and chroma, and the RGB that networks take.

A denoised frame is not converted back from RGB, because rounding and clipping would change samples that have no noise.
Instead, the noise that was found in RGB is converted to samples and subtracted from those of the frame. Without noise
nothing changes, whatever the encoding, even if it is not known here.

Source: ITU-T H.273 (2021), section 8, for matrices and ranges.

Legend: H x W frame, h x w chroma plane.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.unsignedinteger]
Array = NDArray[np.float32]

# Red's and blue's weights in luma, by H.273's number of the matrix.
LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
DEFAULT_MATRIX = 6  # used by decoders if a file states none, or one that is not listed


@dataclass(frozen=True)
class Layout:
    """How to interpret a frame's planes.

    Attributes:
        colours: the planes and their order: "grey", luma only; "yuv", luma, blue-difference and red-difference chroma;
            "gbr", green, blue and red.
        bits: per sample, 8 to 16.
        full: whether black is 0 and white the largest number; otherwise they are 16 and 235, scaled to the bits.
        matrix: H.273's number of the matrix between "yuv" and RGB.
        across, down: how often chroma planes are halved in width and in height.
    """

    colours: Literal["grey", "yuv", "gbr"] = "yuv"
    bits: int = 8
    full: bool = False
    matrix: int = DEFAULT_MATRIX
    across: int = 1
    down: int = 1


def to_rgb(planes: Sequence[Plane], layout: Layout) -> Array:
    """Convert a frame's planes to RGB for a network.

    Args:
        planes: luma, (H, W), then chroma, (h, w); or as `layout.colours` says.
        layout: how to interpret them.

    Returns:
        (H, W, 3), or (H, W, 1) for a grey frame, float32, nominally [0, 1], in the video's own encoding; in memory,
        plane by plane. Nothing is clipped: samples may be beyond black and white, and beyond the gamut of RGB.
    """
    H, W = planes[0].shape
    values = [
        (plane.astype(np.float32) - np.float32(zero)) / np.float32(scale)
        for plane, (zero, scale) in zip(planes, _zeros_and_scales(layout), strict=True)
    ]
    whole = [value if value.shape == (H, W) else _upsample_chroma(value, layout)[:H, :W] for value in values]
    return _mix(_matrix(layout), np.stack(whole)).transpose(1, 2, 0)


def subtract_noise(planes: Sequence[Plane], noise: Array, layout: Layout) -> list[Plane]:
    """Subtract noise from a frame's planes, and round the result to their own type.

    Args:
        planes: as in `to_rgb`.
        noise: (H, W, 3), or (H, W, 1) for a grey frame, in the unit of the result of `to_rgb`.
        layout: as in `to_rgb`.

    Returns:
        New planes of the same shapes.
    """
    values = _mix(np.linalg.inv(_matrix(layout)), noise.transpose(2, 0, 1))
    clean = []
    for plane, value, (_, scale) in zip(planes, values, _zeros_and_scales(layout), strict=True):
        reduced = value if plane.shape == value.shape else _downsample_chroma(value, layout)
        samples = np.rint(plane - np.float32(scale) * reduced).clip(0, 2**layout.bits - 1)
        clean.append(samples.astype(plane.dtype))
    return clean


def convert(planes: Sequence[Plane], source: Layout, target: Layout) -> list[Plane]:
    """Convert a frame's planes to other colours, another matrix, another number of bits or another range.

    Args:
        planes: as in `to_rgb`; if the colours or the matrix change, chroma at full resolution.
        source: how to interpret them.
        target: how to interpret the result; its subsampling is not looked at: chroma stays as large as it is.

    Returns:
        New planes, rounded and clipped: luma alone, chroma of no colour added, or as many planes as there were.
    """
    changes_family = (source.colours == "gbr") != (target.colours == "gbr")
    changes_matrix = source.colours == target.colours == "yuv" and source.matrix != target.matrix
    if changes_family or changes_matrix:
        rgb = to_rgb(planes, source)
        weights = _matrix(target) if target.colours != "grey" else _matrix(Layout("yuv", matrix=target.matrix))
        values = list(_mix(np.linalg.inv(weights), np.broadcast_to(rgb, (*rgb.shape[:2], 3)).transpose(2, 0, 1)))
    else:
        values = [
            (plane.astype(np.float32) - np.float32(zero)) / np.float32(scale)
            for plane, (zero, scale) in zip(planes, _zeros_and_scales(source), strict=True)
        ]
    wanted = _zeros_and_scales(target)
    values += [np.zeros_like(values[0])] * (len(wanted) - len(values))
    dtype = np.uint8 if target.bits == 8 else np.uint16
    largest = 2**target.bits - 1
    return [
        np.rint(value * np.float32(scale) + np.float32(zero)).clip(0, largest).astype(dtype)
        for value, (zero, scale) in zip(values, wanted, strict=False)
    ]


def _zeros_and_scales(layout: Layout) -> list[tuple[float, float]]:
    """For each plane, the sample value that stands for 0, and the number of steps from 0 to 1."""
    step = 2 ** (layout.bits - 8)
    largest = 2**layout.bits - 1
    luma = (0, largest) if layout.full else (16 * step, 219 * step)
    chroma = (128 * step, largest if layout.full else 224 * step)
    return {"grey": [luma], "yuv": [luma, chroma, chroma], "gbr": [luma] * 3}[layout.colours]


def _matrix(layout: Layout) -> Array:
    """From the planes' values to red, green and blue: (3, 3), or (1, 1) for a grey frame."""
    if layout.colours == "grey":
        return np.eye(1, dtype=np.float32)
    if layout.colours == "gbr":
        return np.eye(3, dtype=np.float32)[[2, 0, 1]]
    red, blue = LUMA_WEIGHTS.get(layout.matrix, LUMA_WEIGHTS[DEFAULT_MATRIX])
    green = 1 - red - blue
    from_red, from_blue = 2 * (1 - red), 2 * (1 - blue)
    rows = [1, 0, from_red], [1, -from_blue * blue / green, -from_red * red / green], [1, from_blue, 0]
    return np.array(rows, np.float32)


def _mix(matrix: Array, values: Array) -> Array:
    """(C, H, W) to the same shape."""
    return (matrix @ values.reshape(len(values), -1)).reshape(values.shape)


# Chroma samples are assumed to be on every other column and midway between two rows (H.264, figure E-1, type 0), as in
# most video. Downsampling undoes upsampling exactly, so that no noise is left behind between the two.


def _upsample_chroma(value: Array, layout: Layout) -> Array:
    """Chroma at the frame's size, or with an extra row or column."""
    for _ in range(layout.across):
        right = np.concatenate([value[:, 1:], value[:, -1:]], axis=1)
        value = np.stack([value, (value + right) / 2], axis=2).reshape(len(value), -1)
    for _ in range(layout.down):
        above, below = np.concatenate([value[:1], value[:-1]]), np.concatenate([value[1:], value[-1:]])
        tilt = (above - below) / 8
        value = np.stack([value + tilt, value - tilt], axis=1).reshape(-1, value.shape[1])
    return value


def _downsample_chroma(value: Array, layout: Layout) -> Array:
    """Chroma at the size of its planes."""
    for _ in range(layout.across):
        value = value[:, ::2]
    for _ in range(layout.down):
        rows = np.concatenate([value, value[-1:]]) if len(value) % 2 else value
        value = (rows[::2] + rows[1::2]) * np.float32(0.5)
    return value
