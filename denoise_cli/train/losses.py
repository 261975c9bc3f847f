"""What training makes small: errors of photos, and those of linear light as the eye sees them.

Source of the latter: Xu, Li, Sun, "Learning Deformable Kernels for Image and Video Denoising" (2019), section 3.3.

Legend: B batch, C channels, H x W image, s groups.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from denoise_cli.imaging.torch_transfer import linear_to_srgb

ETA, GAMMA = 100.0, 0.9998  # how much the groups count at first, and what a step leaves of that


def rms_error(denoised: Tensor, clean: Tensor) -> Tensor:
    """The root mean square of each crop's error, and the mean of those.

    Like PSNR, it is best at the mean of what a pixel may have been; the mean absolute error is, at the median. Within a
    crop errors count by their squares, from one crop to another by themselves: weak noise is not lost beside strong.

    Args:
        denoised: (B, C, H, W), any range.
        clean: the same shape.

    Returns:
        A scalar in the photos' unit. Its gradient is zero where a crop has no error.

    Raises:
        ValueError: the shapes differ, or are not of four dimensions.
    """
    if denoised.shape != clean.shape or clean.ndim != 4:
        raise ValueError(f"expected (B, C, H, W) twice, got {tuple(denoised.shape)} and {tuple(clean.shape)}")
    return torch.linalg.vector_norm(denoised - clean, dim=(1, 2, 3)).mean() / clean[0].numel() ** 0.5


# By the name that a recipe has for them: what photos that are encoded, as files are, can be trained with.
LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"rms": rms_error, "l1": F.l1_loss}


def gamma_l1(denoised: Tensor, clean: Tensor) -> Tensor:
    """The mean absolute difference after sRGB's encoding (equations 8 and 9), so that dark errors count as they show.

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
    """The loss of the groups' mean and, less with every step, those of the groups themselves (equation 11).

    At first each group of points has to find the picture alone, so none stays where the others are.

    Args:
        groups: (B, s, C, H, W), the result of each group of points, linear light, nominally [0, 1], not clipped.
        clean: (B, C, H, W).
        step: of the training, from zero.
        eta: weight of the groups' losses, which add up, in the first step.
        gamma: factor of that weight from one step to the next.

    Returns:
        A scalar.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if groups.ndim != 5:
        raise ValueError(f"groups: expected (B, s, C, H, W), got {tuple(groups.shape)}")
    apart = sum(gamma_l1(group, clean) for group in groups.unbind(dim=1))
    return gamma_l1(groups.mean(dim=1), clean) + eta * gamma**step * apart
