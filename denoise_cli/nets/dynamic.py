"""Dynamic filters: layers with a kernel for every pixel that stand in for MalleConv, to measure it against.

Each adds its convolution to the features and starts at zero, as MalleConv does, with kernels bounded in the same way.

Sources: Ha et al., "HyperNetworks" (2017), and Jia et al., "Dynamic Filter Networks" (2016); Li et al., "Involution"
(2021); Mildenhall et al., "Burst Denoising with Kernel Prediction Networks" (2018).

Legend: B batch, C channels, G groups, H x W features, K kernel size (odd).
"""

import torch
from torch import Tensor, nn

from denoise_cli.nets.malleconv import kernel_predictor, split_kernels
from denoise_cli.nets.residual import conv, layer, zeroed
from denoise_cli.ops.pixelwise import pixelwise_conv2d

REDUCTION = 4  # of Involution, as published
SHARED = 16  # channels that one of its kernels serves, as published


class HyperConv(nn.Module):
    """A kernel and a bias for each value, from a network as deep as MalleConv's predictor that shrinks nothing.

    The MalleConv paper's per-pixel prediction (section 4.5) and its HyperNetwork.

    Args:
        channels: C.
        hidden: the width of the predictor.
        kernel: K.
    """

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.channels = channels
        self.predictor = kernel_predictor(channels, hidden, kernel, nn.Identity(), nn.Identity())

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        kernels, bias = split_kernels(self.predictor(features), self.channels)
        return features + pixelwise_conv2d(features, kernels, bias)


class Involution(nn.Module):
    """A kernel for every 16 channels of a pixel, from what these channels hold at this pixel alone.

    Args:
        channels: C; a multiple of 16 where it is more.
        kernel: K.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.groups = max(channels // SHARED, 1)
        reduced = max(channels // REDUCTION, 1)
        self.reduce = nn.Sequential(nn.Conv2d(channels, reduced, 1), nn.ReLU(inplace=True))
        self.span = zeroed(nn.Conv2d(reduced, self.groups * kernel**2, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        B, _, H, W = features.shape
        kernels = torch.tanh(self.span(self.reduce(features)))
        return features + pixelwise_conv2d(features, kernels.view(B, self.groups, -1, H, W))


class PixelConv(nn.Module):
    """One kernel for a pixel, from a plain network, for all channels alike.

    Args:
        channels: C.
        hidden: the width of the predictor.
        kernel: K.
    """

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.predictor = nn.Sequential(
            layer(channels, hidden), layer(hidden, hidden), zeroed(conv(hidden, kernel**2, kernel=1))
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        kernels = torch.tanh(self.predictor(features)).unsqueeze(1)
        return features + pixelwise_conv2d(features, kernels)
