"""Training losses: errors of encoded photos, and errors in linear light weighted by how visible they are.

Source of the latter: Xu, Li, Sun, "Learning Deformable Kernels for Image and Video Denoising" (2019), section 3.3.

Legend: B batch, C channels, H x W image, s groups of sampling points.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from denoise_cli.imaging.torch_transfer import linear_to_srgb

ETA = 100.0  # initial weight of the groups' own losses
GAMMA = 0.9998  # factor of that weight from one step to the next
LEAST_ERROR = 1 / 255  # root mean square, of a crop that is as good as unchanged; 48 dB


def rms_error(denoised: Tensor, clean: Tensor) -> Tensor:
    """The root mean square error of each crop, averaged over the batch.

    Like PSNR, it is smallest at the mean of a pixel's possible values, whereas the mean absolute error is smallest at
    their median. Errors are squared only within a crop, so crops with weak noise still count beside those with strong
    noise.

    Args:
        denoised: (B, C, H, W), any range.
        clean: the same shape.

    Returns:
        A scalar in the photos' unit. A crop without error has a gradient of zero.

    Raises:
        ValueError: the shapes differ, or do not have four dimensions.
    """
    if denoised.shape != clean.shape or clean.ndim != 4:
        raise ValueError(f"expected (B, C, H, W) twice, got {tuple(denoised.shape)} and {tuple(clean.shape)}")
    return torch.linalg.vector_norm(denoised - clean, dim=(1, 2, 3)).mean() / clean[0].numel() ** 0.5


def log_error(denoised: Tensor, clean: Tensor) -> Tensor:
    """The logarithm of each crop's root mean square error, averaged over the batch: PSNR, but for sign and scale.

    Halving the error counts the same whether the noise is strong or weak, so crops without noise count as much as any.

    Args:
        denoised: (B, C, H, W), any range.
        clean: the same shape.

    Returns:
        A scalar, natural logarithm, positive where errors are larger than `LEAST_ERROR`. Smaller ones need not shrink.

    Raises:
        ValueError: the shapes differ, or do not have four dimensions.
    """
    if denoised.shape != clean.shape or clean.ndim != 4:
        raise ValueError(f"expected (B, C, H, W) twice, got {tuple(denoised.shape)} and {tuple(clean.shape)}")
    squares = (denoised - clean).square().mean(dim=(1, 2, 3)) / LEAST_ERROR**2
    return 0.5 * torch.log1p(squares).mean()


# The losses for sRGB-encoded photos, by their name in a recipe.
LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"rms": rms_error, "l1": F.l1_loss, "log": log_error}


def gamma_l1(denoised: Tensor, clean: Tensor) -> Tensor:
    """The mean absolute error after sRGB encoding (equations 8 and 9), where dark errors weigh as much as they show.

    Args:
        denoised: any shape, linear light, nominally [0, 1], not clipped.
        clean: the same shape.

    Returns:
        A scalar.

    Raises:
        ValueError: the shapes differ.
    """
    if denoised.shape != clean.shape:
        raise ValueError(f"denoised: expected {tuple(clean.shape)}, got {tuple(denoised.shape)}")
    return (linear_to_srgb(denoised) - linear_to_srgb(clean)).abs().mean()


def annealed_gamma_l1(groups: Tensor, clean: Tensor, step: int, eta: float = ETA, gamma: float = GAMMA) -> Tensor:
    """The loss of the groups' mean, plus the groups' own losses with a weight that decays step by step (equation 11).

    At first, each group of sampling points has to predict the picture alone, which keeps the groups from all settling
    in one place.

    Args:
        groups: (B, s, C, H, W), the prediction of each group, linear light, nominally [0, 1], not clipped.
        clean: (B, C, H, W).
        step: training step, from 0.
        eta: weight of the sum of the groups' losses in the first step.
        gamma: factor of that weight from one step to the next.

    Returns:
        A scalar.

    Raises:
        ValueError: the shapes do not match.
    """
    if groups.ndim != 5:
        raise ValueError(f"groups: expected (B, s, C, H, W), got {tuple(groups.shape)}")
    separate = sum(gamma_l1(group, clean) for group in groups.unbind(dim=1))
    return gamma_l1(groups.mean(dim=1), clean) + eta * gamma**step * separate
