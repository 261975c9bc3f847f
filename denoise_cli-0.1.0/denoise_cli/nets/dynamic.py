"""Dynamic filters: layers with a kernel for every pixel, which MalleConv is compared with.

Like MalleConv, each adds its convolution to the features, starts at zero and bounds its kernels with tanh.

Sources: Ha et al., "HyperNetworks" (2017), and Jia et al., "Dynamic Filter Networks" (2016); Li et al., "Involution"
(2021); Mildenhall et al., "Burst Denoising with Kernel Prediction Networks" (2018).

Legend: B batch, C channels, G groups, H x W features, K kernel size (odd).
"""

import torch
from torch import Tensor, nn

from denoise_cli.nets.malleconv import kernel_predictor, split_kernels
from denoise_cli.nets.residual import conv, layer, zeroed
from denoise_cli.ops.pixelwise import pixelwise_conv2d

REDUCTION = 4  # Involution's ratio of channels to hidden channels, as published
GROUP_CHANNELS = 16  # channels that share one of Involution's kernels, as published


class HyperConv(nn.Module):
    """A kernel and a bias for each pixel and channel, from MalleConv's predictor without its pooling.

    It is the MalleConv paper's per-pixel prediction (section 4.5) and its HyperNetwork.

    Args:
        channels: C.
        hidden: channels inside the predictor.
        kernel: K.
    """

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.channels = channels
        self.predictor = kernel_predictor(channels, hidden, kernel, nn.Identity(), nn.Identity())

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        kernels, bias = split_kernels(self.predictor(features), self.channels)
        return features + pixelwise_conv2d(features, kernels, bias)


class Involution(nn.Module):
    """A kernel for every 16 channels of a pixel, predicted from the features of that pixel alone.

    Args:
        channels: C; if it is larger than 16, a multiple of 16.
        kernel: K.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.groups = max(channels // GROUP_CHANNELS, 1)
        reduced = max(channels // REDUCTION, 1)
        self.reduce = nn.Sequential(nn.Conv2d(channels, reduced, 1), nn.ReLU(inplace=True))
        self.span = zeroed(nn.Conv2d(reduced, self.groups * kernel**2, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        B, _, H, W = features.shape
        kernels = torch.tanh(self.span(self.reduce(features)))
        return features + pixelwise_conv2d(features, kernels.view(B, self.groups, -1, H, W))


class PixelConv(nn.Module):
    """One kernel per pixel, shared by all channels, from a plain convolutional predictor.

    Args:
        channels: C.
        hidden: channels inside the predictor.
        kernel: K.
    """

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.predictor = nn.Sequential(
            layer(channels, hidden), layer(hidden, hidden), zeroed(conv(hidden, kernel**2, kernel=1))
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        kernels = torch.tanh(self.predictor(features)).unsqueeze(1)
        return features + pixelwise_conv2d(features, kernels)
