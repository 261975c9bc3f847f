"""The base class, the trunk and the head of networks that predict a kernel for every pixel.

Source of the trunk: Xu, Li, Sun, "Learning Deformable Kernels for Image and Video Denoising" (2019), section 3.2.

Legend: B batch, C channels, T frames (odd; 1 for photos), H x W image, N points per pixel.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoise_cli.nets.residual import check_inputs, conv, layer
from denoise_cli.ops.deformable import weighted_sum, weighted_sums_by_group


class KernelPredictor(nn.Module, ABC):
    """Makes every pixel a weighted sum of N samples of the noisy image or clip, with the same weights in each channel.

    Subclasses define `kernels`. The networks work in linear light, where averaging noise introduces no bias.

    Args:
        blind: whether the network is given no noise level.
        frames: T.

    Attributes:
        multiple: the sides of an image must be multiples of it, in pixels.
        inputs: number of input channels of the trunk.
        groups: number of groups of successive points for training: one per frame of the grid, or, for a deformable
            network on photos, one per row.
    """

    groups: int
    multiple: int = 16  # the side of a cell after the trunk's four poolings

    def __init__(self, blind: bool, frames: int = 1) -> None:
        super().__init__()
        if frames < 1 or frames % 2 == 0:
            raise ValueError(f"frames: expected an odd number, got {frames}")
        self.blind = blind
        self.frames = frames
        self.inputs = 3 * frames + (not blind)

    def forward(self, image: Tensor, sigma: Tensor, groups: int | None = None) -> Tensor:
        """Denoise.

        Args:
            image: (B, 3*T, H, W), noisy RGB, linear, nominally [0, 1], not clipped; H and W multiples of `multiple`. If
                there are several frames, the first is denoised; its neighbours follow, nearest first, the earlier
                before the later.
            sigma: (B, 1, H, W), the standard deviation of the noise at each pixel, in the image's unit; a blind
                network ignores it.
            groups: into how many groups to split the points, each summed separately, for `losses.annealed_gamma_l1`; a
                divisor of N. None for a single sum.

        Returns:
            (B, 3, H, W), not clipped; with groups (B, groups, 3, H, W), whose mean over the groups is the single sum.

        Raises:
            ValueError: the shapes are wrong.
        """
        samples, weights = self._predict(image, sigma)
        return weighted_sum(samples, weights) if groups is None else weighted_sums_by_group(samples, weights, groups)

    @abstractmethod
    def kernels(self, image: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Samples of the image, (B, 3, N, H, W), and their weights, (B, N, H, W).

        Args:
            image: (B, 3, H, W) or, for several frames, a clip (B, 3, T, H, W) in temporal order.
            inputs: (B, inputs, H, W), the trunk's input: the frames in temporal order and, unless the network is blind,
                the level map.
        """

    def _predict(self, image: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        check_inputs(image, sigma, self.multiple, 3 * self.frames)
        B, _, H, W = image.shape
        T = self.frames
        temporal_order = [*range(T - 2, 0, -2), 0, *range(2, T, 2)]
        clip = image.view(B, T, 3, H, W)[:, temporal_order]
        inputs = [clip.flatten(1, 2)] if self.blind else [clip.flatten(1, 2), sigma]
        return self.kernels(clip.transpose(1, 2) if T > 1 else image, torch.cat(inputs, dim=1))


class KernelHead(nn.Conv2d):
    """Turns features into the weights of N points; untrained, all weights are 1/N.

    Every point, and every group of points, thus starts with the same influence.
    """

    def __init__(self, inputs: int, N: int) -> None:
        super().__init__(inputs, N, kernel_size=3, padding=1)
        nn.init.zeros_(self.weight)
        nn.init.constant_(self.bias, 1 / N)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, N, H, W), in the head's own type even under autocast."""
        # Weights rounded to bfloat16 would no longer sum to the right value, which would show as additional noise.
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.to(self.weight.dtype))


class Trunk(nn.Module):
    """A U-Net with four poolings. Its skips are added, not concatenated (table 1).

    Attributes:
        outputs: number of output channels, twice the width.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.outputs = 2 * width
        self.encoders = nn.ModuleList(
            [
                stage(inputs, width),
                stage(width, 2 * width),
                stage(2 * width, 4 * width),
                stage(4 * width, 8 * width),
                stage(8 * width, 8 * width),
            ]
        )
        self.decoders = nn.ModuleList(
            [
                Decoder(8 * width, 8 * width, 8 * width),
                Decoder(8 * width, 4 * width, 4 * width),
                Decoder(4 * width, 2 * width, 2 * width),
                Decoder(2 * width, width, 2 * width, depth=2),
            ]
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W); H and W multiples of 16."""
        features: Tensor = self.encoders[0](inputs)
        skips = []
        for encode in self.encoders[1:]:
            skips.append(features)
            # Average pooling reduces the noise; max pooling would increase it and add a bias.
            features = encode(F.avg_pool2d(features, 2))
        for decode in self.decoders:
            features = decode(features, skips.pop())
        return features


class Decoder(nn.Module):
    """Doubles the size, adds the skip and refines the sum."""

    def __init__(self, inputs: int, skipped: int, outputs: int, depth: int = 3) -> None:
        super().__init__()
        self.enter = layer(inputs, outputs)
        # At the image's own size, table 1 has twice as many channels in the decoder as in the encoder.
        self.widen = nn.Identity() if skipped == outputs else conv(skipped, outputs, kernel=1)
        self.refine = stage(outputs, outputs, depth - 1)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """(B, inputs, h, w) and (B, skipped, 2h, 2w) to (B, outputs, 2h, 2w)."""
        larger = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        refined: Tensor = self.refine(self.enter(larger) + self.widen(skip))
        return refined


def stage(inputs: int, outputs: int, depth: int = 3) -> nn.Sequential:
    """`depth` 3x3 convolutions, each with its ReLU."""
    return nn.Sequential(layer(inputs, outputs), *(layer(outputs, outputs) for _ in range(depth - 1)))
