"""Frames of clips as pictures: RGB or grey, upright, with the colours that the clip states."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.pixels import from_float
from denoise_cli.imaging.yuv import to_rgb
from denoise_cli.io import cicp
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.io.video_frame import Frame, planes_of

INTEGERS: dict[bool, np.dtype[Any]] = {False: np.dtype(np.uint8), True: np.dtype(np.uint16)}


def picture_of(frame: Frame, kind: str, keeps_alpha: bool) -> Photo:
    """A frame as a picture: of 8 bits if the frame has as many, otherwise of 16.

    Args:
        frame: the frame.
        kind: the format that it is for.
        keeps_alpha: whether its transparency is kept, if it has any.

    Raises:
        ValueError: its colours are of a kind that is not known; with a message for the user.
    """
    dtype, matrix = INTEGERS[frame.layout.bits > 8], frame.display_matrix
    pixels = upright(from_float(to_rgb(frame.planes, frame.layout), dtype), matrix)
    opacity = planes_of(frame.picture)[1] if keeps_alpha else None
    alpha = None
    if opacity is not None:
        white = np.float32(2**frame.layout.bits - 1)
        alpha = np.ascontiguousarray(upright(from_float(opacity.astype(np.float32) / white, dtype), matrix))
    colours = cicp.stated(frame.picture.color_primaries, frame.picture.color_trc)
    return Photo(np.ascontiguousarray(pixels), alpha, kind, Metadata(cicp=colours))


def upright(pixels: NDArray[Any], matrix: list[int] | None) -> NDArray[Any]:
    """Pixels, (H, W) or (H, W, C), as they are to be shown.

    Args:
        pixels: as they are stored.
        matrix: how to turn them, as `Frame.display_matrix`; None if they are upright. Only quarter turns and mirroring
            are done: FFmpeg's row vectors (x, y) become (a x + c y, b x + d y).
    """
    if matrix is None:
        return pixels
    a, b, _, c, d = matrix[:5]
    if abs(b) > abs(a):
        pixels, a, d = np.swapaxes(pixels, 0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
