"""Less flicker in denoised clips: each frame averaged with its neighbours along the motion, tile by tile, in PyTorch.

Legend: B batch, C channels, H x W frame.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from denoise_cli.imaging import tiling
from denoise_cli.inference.tensors import Tensors
from denoise_cli.inference.tiles import process
from denoise_cli.ops import motion
from denoise_cli.ops.steady import average_over_frames


def steady(
    pictures: Sequence[Tensor | NDArray[np.float32]], device: str, tile: int, multiple: int, difference: float
) -> Tensor:
    """Average a denoised frame with its neighbours.

    Args:
        pictures: each (B, C, H, W): the denoised frame, the same before denoising, and the denoised neighbours; with
            none of these, the frame is returned unchanged.
        device: the device to compute on.
        tile: maximum side of a tile in pixels.
        multiple: what the sides of tiles are multiples of.
        difference: see `average_over_frames`.

    Returns:
        (B, C, H, W), float32, on the frame's device.

    Raises:
        ValueError: the shapes differ.
        OutOfMemory: even the smallest tile does not fit in memory.
    """
    frames = [picture if isinstance(picture, Tensor) else torch.from_numpy(picture) for picture in pictures]
    if any(frame.shape != frames[0].shape for frame in frames):
        raise ValueError(f"noisy, neighbours: expected {tuple(frames[0].shape)} each")
    if len(frames) == 2:
        return frames[0].float()
    tensors = Tensors(torch.device(device))

    def steady_tile(frames: Sequence[Tensor], rows: tiling.Span, columns: tiling.Span) -> Tensor:
        crops = [tensors.crop(frame, rows, columns).to(tensors.device, torch.float32) for frame in frames]
        image, noisy, *neighbours = crops
        return average_over_frames(image, noisy, neighbours, difference).to(frames[0].device)

    # Of the network, and of motion estimation.
    return process(frames, steady_tile, tensors, tile, math.lcm(multiple, motion.MULTIPLE))
