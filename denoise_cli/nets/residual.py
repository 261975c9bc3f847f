"""Residual learning: networks that predict the noise and take it away, built of branches that start at zero.

Sources: Zhang et al., "Beyond a Gaussian Denoiser" (2017); He et al., "Deep Residual Learning" (2016); of the layers'
initialisation, Xiao et al., "Dynamical Isometry and a Mean Field Theory of CNNs" (2018).

Legend: B batch, C channels, H x W image.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

Padding = Literal["zeros", "replicate"]
SIDEWAYS = 0.15  # how strong a fresh layer's eight outer taps are, as a share of He's initialisation


class NoisePredictor(nn.Module, ABC):
    """Predicts the noise and takes it away.

    Attributes:
        multiple: what the sides of an image must be multiples of.
        channels: C, of what is denoised.
    """

    multiple: int = 1
    channels: int = 3

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """Denoise.

        Args:
            image: (B, C, H, W) noisy RGB, nominally [0, 1], not clipped; H and W multiples of `multiple`.
            sigma: (B, 1, H, W), the noise's standard deviation at each pixel in the image's unit.

        Returns:
            (B, C, H, W), not clipped.

        Raises:
            ValueError: the shapes do not fit.
        """
        check_inputs(image, sigma, self.multiple, self.channels)
        return image - self.noise(image, sigma)

    @abstractmethod
    def noise(self, image: Tensor, sigma: Tensor) -> Tensor:
        """What `forward` takes away, (B, C, H, W)."""


class ResidualNet(NoisePredictor):
    """A network that defines `features` and ends in `to_noise`, which starts at zero: untrained, it returns its input.

    Attributes:
        to_noise: the last convolution, from the features to RGB.
    """

    to_noise: nn.Conv2d

    def noise(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `NoisePredictor`."""
        features = self.features(image, sigma)
        # In bfloat16, strong noise would come in steps as coarse as those of 8 bits.
        with torch.autocast(image.device.type, enabled=False):
            noise: Tensor = self.to_noise(features.to(image.dtype))
        return noise

    @abstractmethod
    def features(self, image: Tensor, sigma: Tensor) -> Tensor:
        """What `to_noise` reads the noise from, (B, C, H, W)."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a skip."""

    def __init__(self, channels: int, padding_mode: Padding = "zeros") -> None:
        super().__init__()
        first, second = (conv(channels, channels, padding_mode=padding_mode) for _ in range(2))
        self.body = nn.Sequential(first, nn.ReLU(inplace=True), zeroed(second))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        refined: Tensor = features + self.body(features)
        return refined


def check_inputs(image: Tensor, sigma: Tensor, multiple: int, channels: int = 3) -> None:
    """See that a noisy image and its level map fit a network and each other.

    Raises:
        ValueError: the image is not (B, channels, H, W) with H and W multiples of `multiple`, or the map not
            (B, 1, H, W).
    """
    if image.ndim != 4 or image.shape[1] != channels or any(side % multiple for side in image.shape[2:]):
        sides = f", sides that are multiples of {multiple}" if multiple > 1 else ""
        raise ValueError(f"image: expected (B, {channels}, H, W){sides}, got {tuple(image.shape)}")
    B, _, H, W = image.shape
    if sigma.shape != (B, 1, H, W):
        raise ValueError(f"sigma: expected {(B, 1, H, W)}, got {tuple(sigma.shape)}")


def layer(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution and its ReLU, which at first hand on what each pixel holds, as strong as it came.

    Random taps blur a little in every layer, and noise is what a blur takes away first: a chain of fifteen, without
    skips or normalisation, learned at less than half the pace.
    """
    convolution = conv(inputs, outputs)
    weight = convolution.weight.detach()
    nn.init.kaiming_normal_(weight, nonlinearity="relu").mul_(SIDEWAYS)
    nn.init.orthogonal_(weight[:, :, 1, 1], gain=nn.init.calculate_gain("relu"))
    return nn.Sequential(convolution, nn.ReLU(inplace=True))


def conv(inputs: int, outputs: int, kernel: int = 3, padding_mode: Padding = "zeros") -> nn.Conv2d:
    """A convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode=padding_mode)


def zeroed(convolution: nn.Conv2d) -> nn.Conv2d:
    """The same convolution, returning zero until it is trained."""
    nn.init.zeros_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
