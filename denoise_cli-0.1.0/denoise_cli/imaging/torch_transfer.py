"""sRGB's encoding for tensors: differentiable, and finite at every value. For arrays: `imaging.transfer`.

Legend: B batch, C channels, H x W image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from denoise_cli.imaging.noise import NEIGHBOURHOOD, NODES
from denoise_cli.imaging.transfer import ENCODED_TOE, EXPONENT, LINEAR_TOE, OFFSET, SLOPE

ITERATIONS = 4  # after which the level changes by less than its own uncertainty


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Encode linear light: any shape, nominally [0, 1]. Negative values stay on the straight line."""
    # Clamped because the curve's slope is infinite or undefined below, and zero times that would be a NaN.
    curve = (1 + OFFSET) * linear.clamp(min=LINEAR_TOE) ** (1 / EXPONENT) - OFFSET
    return torch.where(linear <= LINEAR_TOE, SLOPE * linear, curve)


def srgb_to_linear(encoded: Tensor) -> Tensor:
    """Decode to linear light: any shape, nominally [0, 1]. Negative values stay on the straight line."""
    curve = ((encoded.clamp(min=ENCODED_TOE) + OFFSET) / (1 + OFFSET)) ** EXPONENT
    return torch.where(encoded <= ENCODED_TOE, encoded / SLOPE, curve)


def srgb_slope(linear: Tensor) -> Tensor:
    """The derivative of `linear_to_srgb`."""
    curve = (1 + OFFSET) / EXPONENT * linear.clamp(min=LINEAR_TOE) ** (1 / EXPONENT - 1)
    return torch.where(linear <= LINEAR_TOE, SLOPE, curve)


def sigma_in_linear(encoded: Tensor, sigma: Tensor) -> Tensor:
    """Convert a noise level of an encoded image to linear light, by the encoding's slope, averaged over the noise.

    The inverse of `imaging.noise.ShotRead.level_of_photo`, except that it uses the mean of the channels.

    Args:
        encoded: (B, C, H, W), sRGB-encoded, noisy.
        sigma: (B, 1, H, W), the noise level in the image's unit.

    Returns:
        (B, 1, H, W), the noise level in linear light.
    """
    light = srgb_to_linear(encoded).mean(dim=1, keepdim=True)
    light = F.avg_pool2d(light, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2, count_include_pad=False).clamp(0, 1)
    deviation = sigma / srgb_slope(light)
    for _ in range(ITERATIONS):  # the slopes to average over depend on the result
        deviation = sigma / sum(weight * srgb_slope(light + z * deviation) for z, weight in NODES)
    return deviation
