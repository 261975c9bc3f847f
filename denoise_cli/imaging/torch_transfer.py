"""sRGB's encoding for tensors: differentiable, and finite at every value. For arrays: `imaging.transfer`.

Legend: B batch, C channels, H x W image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from denoise_cli.imaging.noise import NEIGHBOURHOOD, NODES
from denoise_cli.imaging.transfer import ENCODED_TOE, EXPONENT, LINEAR_TOE, OFFSET, SLOPE

ITERATIONS = 4  # after which the level changes by less than it is known


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Encode; any shape, nominally [0, 1]. Values below zero stay on the straight piece."""
    # Outside the curve's own piece its slope is infinite or undefined, and zero times that would still be a NaN.
    curve = (1 + OFFSET) * linear.clamp(min=LINEAR_TOE) ** (1 / EXPONENT) - OFFSET
    return torch.where(linear <= LINEAR_TOE, SLOPE * linear, curve)


def srgb_to_linear(encoded: Tensor) -> Tensor:
    """Decode; any shape, nominally [0, 1]. Values below zero stay on the straight piece."""
    curve = ((encoded.clamp(min=ENCODED_TOE) + OFFSET) / (1 + OFFSET)) ** EXPONENT
    return torch.where(encoded <= ENCODED_TOE, encoded / SLOPE, curve)


def srgb_slope(linear: Tensor) -> Tensor:
    """The derivative of `linear_to_srgb`."""
    curve = (1 + OFFSET) / EXPONENT * linear.clamp(min=LINEAR_TOE) ** (1 / EXPONENT - 1)
    return torch.where(linear <= LINEAR_TOE, SLOPE, curve)


def sigma_in_linear(encoded: Tensor, sigma: Tensor) -> Tensor:
    """What a noise level of an encoded image is in linear light: divided by the encoding's mean slope over that noise.

    The inverse of `imaging.noise.ShotRead.level_of_photo`, but for the channels, whose mean it looks at.

    Args:
        encoded: (B, C, H, W), sRGB-encoded, noisy.
        sigma: (B, 1, H, W), in the same unit.

    Returns:
        (B, 1, H, W), in linear light.
    """
    light = srgb_to_linear(encoded).mean(dim=1, keepdim=True)
    light = F.avg_pool2d(light, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2, count_include_pad=False).clamp(0, 1)
    deviation = sigma / srgb_slope(light)
    for _ in range(ITERATIONS):  # which slopes it meets depends on how far it reaches
        deviation = sigma / sum(weight * srgb_slope(light + z * deviation) for z, weight in NODES)
    return deviation
