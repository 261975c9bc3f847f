"""MalleNet: a four-level pyramid in which small networks predict the kernels that filter a large image.

Source: Jiang et al., "Fast and High-quality Image Denoising via Malleable Convolutions" (2022), sections 3 and 4.

Legend: B batch, C channels, H x W image, K kernel size (odd), f the width of the finest level.
"""

from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoise_cli.nets.configs import MALLENET_MULTIPLE, MalleNetConfig
from denoise_cli.nets.malleconv import LAST_OF_PREDICTOR, MalleConv
from denoise_cli.nets.residual import ResidualBlock, ResidualNet, conv, kept_features, widen, zeroed

LEVELS = 4  # sizes of the pyramid, each half the one before
WIDTHS = (1, 1, 2, 4)  # times f, finest level first
# For each number of channels, their colours: RGB, and the planes of a Bayer mosaic.
COLOURS = {3: (0, 1, 2), 4: (0, 1, 1, 2)}
FIRST_LAYERS = {f"encoders.{level}.0.weight" for level in range(LEVELS)}


class MalleNet(ResidualNet):
    """Processes the image at four sizes, from the coarsest to the finest.

    Every residual branch starts at zero, so an untrained network returns its input, and training is stable from the
    start without normalisation.
    """

    multiple = MALLENET_MULTIPLE

    def __init__(self, config: MalleNetConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.outputs
        widths = [config.width * factor for factor in WIDTHS]
        self.encoders = nn.ModuleList(_encoder(config, level, width) for level, width in enumerate(widths))
        self.mergers = nn.ModuleList(
            conv(widths[level] + widths[level + 1], widths[level], kernel=1 if level == 0 or config.lean else 3)
            for level in range(LEVELS - 1)
        )
        self.decoders = nn.ModuleList(_decoder(config, level, width) for level, width in enumerate(widths))
        self.to_noise = zeroed(conv(widths[0], config.outputs))

    @torch.no_grad()
    def start_from(self, net: "MalleNet") -> None:
        """Initialise a network for a mosaic with the weights of one for RGB, or for another kind of mosaic.

        The planes of a colour share the weights of that colour. A wider network computes the same as the narrower one
        at first: its further features start at random, and nothing depends on them yet.

        Raises:
            ValueError: the configurations differ in more than the channels and the width, or it is narrower.
        """
        ours, theirs = self.config, net.config
        as_theirs = replace(ours, width=theirs.width, channels=theirs.channels, outputs=theirs.outputs)
        is_planes = (ours.channels, theirs.channels) == (ours.outputs, theirs.outputs)
        if as_theirs != theirs or not is_planes or ours.width < theirs.width:
            raise ValueError(f"expected channels of the same kind and no less width than {theirs}, got {ours}")
        source = net.state_dict()
        for name, tensor in self.state_dict().items():
            weights = source[name]
            if ours.channels != theirs.channels and name.startswith("to_noise"):
                weights = _for_outputs(weights, ours.outputs)
            elif ours.channels != theirs.channels and name in FIRST_LAYERS:
                weights = _for_inputs(weights, theirs.channels, ours.channels)
            parts = _parts(name, weights, theirs.width)
            kept = [kept_features(sizes, side) for sizes, side in zip(parts, tensor.shape, strict=False)]
            widen(tensor, weights, *kept)

    def features(self, image: Tensor, sigma: Tensor) -> Tensor:
        """(B, f, H, W)."""
        features = self.decoders[-1](self._encode(image, sigma, LEVELS - 1))
        for level in reversed(range(LEVELS - 1)):
            encoded = self._encode(image, sigma, level)
            merged = self._merge(encoded, features.to(encoded.dtype), level)
            del encoded, features
            # Under autocast the convolutions compute in 16 bits, but the skips are not rounded to 16 bits.
            features = self.decoders[level](merged.to(image.dtype))
        return features

    def _merge(self, encoded: Tensor, coarse: Tensor, level: int) -> Tensor:
        merger = cast("nn.Conv2d", self.mergers[level])
        if merger.kernel_size != (1, 1):
            return merger(torch.cat([encoded, _upsampled(coarse)], dim=1))
        # A 1x1 convolution commutes with the upsampling; before it, there is a quarter of the pixels to compute.
        for_encoded, for_coarse = torch.split(merger.weight, [encoded.shape[1], coarse.shape[1]], dim=1)
        return F.conv2d(encoded, for_encoded, merger.bias) + _upsampled(F.conv2d(coarse, for_coarse))

    def _encode(self, image: Tensor, sigma: Tensor, level: int) -> Tensor:
        scale = 2**level
        # The level map is smooth, so the mean of 4^level values represents them.
        means = F.pixel_unshuffle(sigma, scale).mean(dim=1, keepdim=True)
        encoded: Tensor = self.encoders[level](torch.cat([F.pixel_unshuffle(image, scale), means], dim=1))
        return encoded


class InvertedBottleneck(nn.Module):
    """1x1 expansion, 3x3 depthwise, 1x1 projection, skip."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.body = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.ReLU(inplace=True),
            zeroed(nn.Conv2d(hidden, channels, 1)),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        refined: Tensor = features + self.body(features)
        return refined


def _upsampled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def _encoder(config: MalleNetConfig, level: int, width: int) -> nn.Sequential:
    first = conv(config.channels * 4**level + 1, width)
    return nn.Sequential(first) if config.lean and level == 0 else nn.Sequential(first, _block(config, width))


def _decoder(config: MalleNetConfig, level: int, width: int) -> nn.Sequential:
    malleable = MalleConv(width, config.width, config.kernel)
    if level == 0:
        return nn.Sequential(malleable, _block(config, width))
    before = [_block(config, width) for _ in range(2)]
    after = [_block(config, width) for _ in range(2)]
    return nn.Sequential(*before, malleable, *after)


def _block(config: MalleNetConfig, channels: int) -> nn.Module:
    if config.block == "inverted":
        return InvertedBottleneck(channels, config.expansion)
    return ResidualBlock(channels)


def _for_outputs(weights: Tensor, channels: int) -> Tensor:
    """Weights or biases of the last convolution, (C, ...), for another number of channels: means over each colour."""
    ours, theirs = COLOURS[channels], torch.tensor(COLOURS[len(weights)], device=weights.device)
    return torch.stack([weights[theirs == colour].mean(dim=0) for colour in ours])


def _for_inputs(weights: Tensor, channels: int, wanted: int) -> Tensor:
    """Weights of a first convolution for another number of channels, which share the sum of their colour's weights.

    Its inputs are, for each channel, the pixels of a square, and then the level.
    """
    ours, theirs = COLOURS[wanted], torch.tensor(COLOURS[channels], device=weights.device)
    of_channels = weights[:, :-1].reshape(len(weights), channels, -1, *weights.shape[2:])
    shared = [of_channels[:, theirs == colour].sum(dim=1) / ours.count(colour) for colour in ours]
    return torch.cat([*shared, weights[:, -1:]], dim=1)


def _parts(name: str, weights: Tensor, width: int) -> tuple[list[int], list[int]]:
    """The sizes of the feature maps that are joined in a layer's output, and of those in its input."""
    outputs, inputs = len(weights), weights.shape[1] if weights.ndim > 1 else 0
    if name.startswith(("to_noise", "encoders")):
        return [outputs], [inputs]
    own = width * WIDTHS[int(name.split(".")[1])]
    if name.startswith("mergers"):  # the level's own features, and those of the coarser one
        return [outputs], [own, inputs - own]
    if f".predictor.{LAST_OF_PREDICTOR}." in name:  # kernels, and biases
        return [outputs - own, own], [inputs]
    return [outputs], [inputs]
