"""Pixelwise convolution: a small kernel for every pixel, given at full resolution.

Malleable convolution is compared with it. Here the kernels take K*K times the memory of the image.

Legend: B batch, C channels, G groups, H x W image, K kernel size (odd).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def pixelwise_conv2d(image: Tensor, kernels: Tensor, bias: Tensor | None = None) -> Tensor:
    """Filter every pixel with its own depthwise kernel, which the channels of a group share.

    Beyond the image's border the nearest value is repeated.

    Args:
        image: (B, C, H, W), any range.
        kernels: (B, G, K*K, H, W), taps in row-major order, K odd; each is shared by C / G successive channels.
        bias: (B, C, H, W), added; None for no bias.

    Returns:
        (B, C, H, W), in the image's type.

    Raises:
        ValueError: the shapes do not match.
    """
    _check_shapes(image, kernels, bias)
    B, C, H, W = image.shape
    G, taps = kernels.shape[1:3]
    K = math.isqrt(taps)

    padded = F.pad(image, [K // 2] * 4, mode="replicate").view(B, G, C // G, H + K - 1, W + K - 1)
    filtered = image.new_zeros(()) if bias is None else bias.view(B, G, C // G, H, W)
    # Shifted views are summed, because unfolding would copy the image K*K times.
    for tap in range(taps):
        y, x = divmod(tap, K)
        filtered = torch.addcmul(filtered, kernels[:, :, tap].unsqueeze(2), padded[..., y : y + H, x : x + W])
    return filtered.flatten(1, 2)


def _check_shapes(image: Tensor, kernels: Tensor, bias: Tensor | None) -> None:
    if image.ndim != 4:
        raise ValueError(f"image: expected (B, C, H, W), got {tuple(image.shape)}")
    B, C, H, W = image.shape
    fits = kernels.ndim == 5 and kernels.shape[0] == B and kernels.shape[3:] == (H, W)
    if not fits or not kernels.shape[1] or C % kernels.shape[1]:
        raise ValueError(f"kernels: expected ({B}, G, K*K, {H}, {W}), G a divisor of {C}, got {tuple(kernels.shape)}")
    K = math.isqrt(kernels.shape[2])
    if kernels.shape[2] != K * K or K % 2 == 0:
        raise ValueError(f"kernels: expected K*K taps with K odd, got {kernels.shape[2]}")
    if bias is not None and bias.shape != image.shape:
        raise ValueError(f"bias: expected {tuple(image.shape)}, got {tuple(bias.shape)}")
