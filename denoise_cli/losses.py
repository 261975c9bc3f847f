"""What training makes small: errors of linear light, as the eye sees them.

Source: Xu, Li, Sun, "Learning Deformable Kernels for Image and Video Denoising" (2019), section 3.3.

Legend: B batch, C channels, H x W image, s groups.
"""

from torch import Tensor

from denoise_cli.imaging.torch_transfer import linear_to_srgb

ETA, GAMMA = 100.0, 0.9998  # how much the groups count at first, and what a step leaves of that


def gamma_l1(denoised: Tensor, clean: Tensor) -> Tensor:
    """The mean absolute difference after sRGB's encoding (equation 9), so that dark errors count as they show.

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
