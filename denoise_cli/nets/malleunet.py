"""MalleUNet: a U-Net on squares of 2 x 2 pixels, with a malleable convolution at each size.

The malleable convolution is that of Jiang et al., "Fast and High-quality Image Denoising via Malleable Convolutions"
(2022); the way down by strided convolutions and the skips that are added are those of Zhang et al., "Plug-and-Play
Image Restoration with Deep Denoiser Prior" (2021). The squares of 2 x 2 pixels are from Zhang et al., "FFDNet" (2018).

Legend: B batch, C channels, H x W image, f the width of the finest level.
"""

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoise_cli.nets.configs import MALLENET_MULTIPLE, MalleUNetConfig
from denoise_cli.nets.malleconv import LAST_OF_PREDICTOR, MalleConv, Pool
from denoise_cli.nets.residual import ResidualBlock, ResidualNet, conv, kept_features, widen, zeroed

SQUARE = 2  # side in pixels of the squares that are one pixel of the finest level
WIDTHS = (1, 1, 2, 2)  # times f, finest level first; each level has half the size of the one before
# Side of the average pools in the predictors: in the coarsest level, a cell is to be as large as the others allow.
POOLS: tuple[Pool, ...] = (4, 4, 4, 2)


class MalleUNet(ResidualNet):
    """Features are computed from the finest level to the coarsest, and refined on the way back.

    Unlike in a `MalleNet`, no level has the image's own size, where a layer takes the most time and computes the least;
    and the coarser levels see the features of the finer ones instead of the image, which takes a fraction of the
    multiply-adds.
    """

    multiple = MALLENET_MULTIPLE

    def __init__(self, config: MalleUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.outputs
        self.levels = config.levels
        widths = [config.width * factor for factor in WIDTHS]
        first = conv(config.channels * SQUARE**2 + config.levels, widths[0])
        downward = [nn.Conv2d(*pair, kernel_size=2, stride=2) for pair in pairwise(widths)]
        self.encoders = nn.ModuleList(
            # A block costs most at the finest level, and achieves more on the way back.
            nn.Sequential(shrink, ResidualBlock(width)) if level else nn.Sequential(shrink)
            for level, (shrink, width) in enumerate(zip([first, *downward], widths, strict=True))
        )
        self.upward = nn.ModuleList(conv(coarse, fine, kernel=1) for fine, coarse in pairwise(widths))
        self.decoders = nn.ModuleList(_decoder(level, width, config) for level, width in enumerate(widths))
        self.to_noise = zeroed(conv(widths[0], config.outputs * SQUARE**2))

    @torch.no_grad()
    def start_from(self, net: "MalleUNet") -> None:
        """Initialise a wider or deeper network so that it computes what a smaller one does at first.

        Its further features start at random, and nothing depends on them yet; its further blocks start at zero, and
        its further inputs are ignored. A single level counts for all channels.

        Raises:
            ValueError: it is narrower, it has fewer blocks, inputs or levels, or it denoises other channels.
        """
        ours, theirs = self.config, net.config
        is_larger = ours.width >= theirs.width and ours.blocks >= theirs.blocks and ours.channels >= theirs.channels
        if not is_larger or ours.outputs != theirs.outputs or ours.levels not in (1, theirs.levels):
            raise ValueError(f"expected the same outputs, and nothing smaller than in {theirs}, got {ours}")
        for name, layer in self.named_children():
            if name not in ("encoders", "decoders"):
                _widen_like(layer, net.get_submodule(name))
        self._start_encoders_from(net)
        for decoder, smaller in zip(self.decoders, net.decoders, strict=True):
            layers = cast("nn.Sequential", smaller)
            for wider, narrower in zip(_counterparts(cast("nn.Sequential", decoder), layers), layers, strict=True):
                _widen_like(wider, narrower)

    def _start_encoders_from(self, net: "MalleUNet") -> None:
        first, *others = (cast("nn.Sequential", encoder) for encoder in self.encoders)
        theirs, *their_others = (cast("nn.Sequential", encoder) for encoder in net.encoders)
        layer, narrower = cast("nn.Conv2d", first[0]), cast("nn.Conv2d", theirs[0])
        of_image, of_levels = torch.split(narrower.weight, [net.config.channels * SQUARE**2, net.levels], dim=1)
        if self.levels == 1:
            of_levels = of_levels.sum(dim=1, keepdim=True)
        inputs, levels = layer.weight.shape[1], of_levels.shape[1]
        kept = torch.cat([torch.arange(of_image.shape[1]), torch.arange(inputs - levels, inputs)])
        outputs = kept_features([len(narrower.weight)], len(layer.weight))
        widen(layer.weight, torch.cat([of_image, of_levels], dim=1), outputs, kept)
        widen(cast("Tensor", layer.bias), cast("Tensor", narrower.bias), outputs)
        for encoder, smaller in zip(others, their_others, strict=True):
            _widen_like(encoder, smaller)

    def noise(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `NoisePredictor`."""
        return F.pixel_shuffle(super().noise(image, sigma), SQUARE)

    def features(self, image: Tensor, sigma: Tensor) -> Tensor:
        """(B, f, H / 2, W / 2)."""
        # The level map is smooth, so the mean of a square's values represents them.
        means = F.avg_pool2d(sigma, SQUARE)
        features = torch.cat([F.pixel_unshuffle(image, SQUARE), means], dim=1)
        skips: list[Tensor] = []
        for encoder in self.encoders:
            features = encoder(features)
            skips.append(features)
        features = self.decoders[-1](skips.pop().to(image.dtype))
        for level in reversed(range(len(skips))):
            # A 1x1 convolution commutes with the upsampling; before it, there is a quarter of the pixels to compute.
            coarse = cast("nn.Conv2d", self.upward[level])(features)
            merged = skips.pop() + F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
            # Under autocast the convolutions compute in 16 bits, but the skips are not rounded to 16 bits.
            features = self.decoders[level](merged.to(image.dtype))
        return features


def _decoder(level: int, width: int, config: MalleUNetConfig) -> nn.Sequential:
    malleable = MalleConv(width, config.width // 2, kernel=1, pool=POOLS[level])
    before, after = ([ResidualBlock(width) for _ in range(config.blocks)] for _ in range(2))
    return nn.Sequential(*before, malleable, *after)


def _counterparts(decoder: nn.Sequential, smaller: nn.Sequential) -> list[nn.Module]:
    """The layers of a decoder that stand where those of a decoder with fewer blocks do."""
    blocks, fewer = len(decoder) // 2, len(smaller) // 2
    return [decoder[index if index < fewer else index - fewer + blocks] for index in range(len(smaller))]


def _widen_like(layer: nn.Module, narrower: nn.Module) -> None:
    weights = narrower.state_dict()
    for name, tensor in layer.state_dict().items():
        outputs = len(weights[name])
        is_last_of_predictor = name.startswith(f"predictor.{LAST_OF_PREDICTOR}.")
        parts = [outputs // 2, outputs // 2] if is_last_of_predictor else [outputs]  # kernels and biases
        kept = [kept_features(parts, len(tensor))]
        if tensor.ndim > 1:
            kept.append(kept_features([weights[name].shape[1]], tensor.shape[1]))
        widen(tensor, weights[name], *kept)
