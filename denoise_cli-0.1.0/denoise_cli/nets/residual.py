"""Residual learning: networks that predict the noise and subtract it, built from branches that start at zero.

Sources: Zhang et al., "Beyond a Gaussian Denoiser" (2017); He et al., "Deep Residual Learning" (2016); for the
initialisation of the layers, Xiao et al., "Dynamical Isometry and a Mean Field Theory of CNNs" (2018).

Legend: B batch, C channels, H x W image.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

Padding = Literal["zeros", "replicate"]
OUTER_TAP_GAIN = 0.15  # scale of a new layer's eight outer taps, relative to He's initialisation


class NoisePredictor(nn.Module, ABC):
    """Predicts the noise and subtracts it.

    Attributes:
        multiple: the sides of an image must be multiples of it, in pixels.
        channels: C, the number of channels that are denoised.
        levels: L, the number of channels of the level map: 1, or C if the noise may differ from channel to channel.
    """

    multiple: int = 1
    channels: int = 3
    levels: int = 1

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """Denoise.

        Args:
            image: (B, C, H, W), noisy, nominally [0, 1], not clipped; H and W multiples of `multiple`.
            sigma: (B, L, H, W), or (B, 1, H, W) for the same in all channels: the standard deviation of the noise at
                each pixel, in the image's unit.

        Returns:
            (B, C, H, W), not clipped.

        Raises:
            ValueError: the shapes are wrong.
        """
        check_inputs(image, sigma, self.multiple, self.channels, self.levels)
        return image - self.noise(image, sigma.expand(-1, self.levels, -1, -1))

    @abstractmethod
    def noise(self, image: Tensor, sigma: Tensor) -> Tensor:
        """The noise that `forward` subtracts, (B, C, H, W); arguments as there, the level map with L channels."""


class ResidualNet(NoisePredictor):
    """A network that computes `features` and turns them into noise with `to_noise`.

    `to_noise` starts at zero, so an untrained network returns its input.

    Attributes:
        to_noise: the last convolution, from the features to the image's channels.
    """

    to_noise: nn.Conv2d

    def noise(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `NoisePredictor`."""
        features = self.features(image, sigma)
        # In bfloat16, strong noise would be quantised as coarsely as in 8 bits.
        with torch.autocast(image.device.type, enabled=False):
            noise: Tensor = self.to_noise(features.to(image.dtype))
        return noise

    @abstractmethod
    def features(self, image: Tensor, sigma: Tensor) -> Tensor:
        """The input of `to_noise`, (B, features, H, W)."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a skip."""

    def __init__(self, channels: int, padding_mode: Padding = "zeros") -> None:
        super().__init__()
        first, second = (conv(channels, channels, padding_mode=padding_mode) for _ in range(2))
        self.body = nn.Sequential(first, nn.ReLU(inplace=True), zeroed(second))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        refined: Tensor = features + self.body(features)
        return refined


def check_inputs(image: Tensor, sigma: Tensor, multiple: int, channels: int = 3, levels: int = 1) -> None:
    """Check that a noisy image and its level map have the shapes that a network needs.

    Raises:
        ValueError: the image is not (B, channels, H, W) with H and W multiples of `multiple`, or the level map is not
            (B, levels, H, W) or (B, 1, H, W).
    """
    if image.ndim != 4 or image.shape[1] != channels or any(side % multiple for side in image.shape[2:]):
        sides = f", sides that are multiples of {multiple}" if multiple > 1 else ""
        raise ValueError(f"image: expected (B, {channels}, H, W){sides}, got {tuple(image.shape)}")
    B, _, H, W = image.shape
    if sigma.shape not in ((B, levels, H, W), (B, 1, H, W)):
        raise ValueError(f"sigma: expected {(B, levels, H, W)}, got {tuple(sigma.shape)}")


def layer(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution and its ReLU, initialised to pass on each pixel's features at the same strength.

    Only the centre tap starts with full-size weights. Random outer taps blur a little in every layer, and a blur
    removes noise first: a chain of fifteen layers initialised that way, without skips or normalisation, learned at
    less than half the rate.
    """
    convolution = conv(inputs, outputs)
    weight = convolution.weight.detach()
    nn.init.kaiming_normal_(weight, nonlinearity="relu").mul_(OUTER_TAP_GAIN)
    nn.init.orthogonal_(weight[:, :, 1, 1], gain=nn.init.calculate_gain("relu"))
    return nn.Sequential(convolution, nn.ReLU(inplace=True))


def conv(inputs: int, outputs: int, kernel: int = 3, padding_mode: Padding = "zeros") -> nn.Conv2d:
    """A convolution that keeps the image's size."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode=padding_mode)


def zeroed(convolution: nn.Conv2d) -> nn.Conv2d:
    """The same convolution with weights and bias set to zero, so that it returns zero until it is trained."""
    nn.init.zeros_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


def kept_features(sizes: list[int], total: int) -> Tensor:
    """Where the features of a narrower layer are among those of a wider one.

    Args:
        sizes: of the feature maps that are joined in the narrower layer, all of which grow alike.
        total: the number of features of the wider one.

    Returns:
        Indices: the old features are at the beginning of each part.
    """
    factor = total / sum(sizes)
    starts = [round(sum(sizes[:index]) * factor) for index in range(len(sizes))]
    return torch.cat([torch.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)])


def widen(tensor: Tensor, weights: Tensor, outputs: Tensor, inputs: Tensor | None = None) -> None:
    """Set a freshly initialised layer so that its old outputs are what they were, and depend on old inputs only.

    Args:
        tensor: the layer's weights or biases; changed in place.
        weights: those of the narrower layer.
        outputs: from `kept_features`.
        inputs: the same for the inputs; None for biases.
    """
    if inputs is None:
        tensor[outputs] = weights
        return
    tensor[outputs] = 0
    tensor[outputs[:, None], inputs] = weights
