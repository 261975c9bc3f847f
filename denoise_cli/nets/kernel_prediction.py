"""What networks have in common that predict a kernel for every pixel: their way through an image, and their trunk.

Source of the trunk: Xu, Li, Sun, "Learning Deformable Kernels for Image and Video Denoising" (2019), section 3.2.

Legend: B batch, C channels, T frames (odd; 1 for photos), H x W image, N points per pixel.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoise_cli.nets.residual import check_inputs, conv, layer
from denoise_cli.ops.deformable import weigh, weigh_groups


class KernelPredictor(nn.Module, ABC):
    """Makes every pixel a weighted sum of N pixels of the noisy image, or clip, the same sum in each channel.

    A network defines `kernels`. It works in linear light, where averages of noise have no bias.

    Args:
        blind: whether the network has to do without the level of the noise.
        frames: T.

    Attributes:
        multiple: what the sides of an image must be multiples of.
        inputs: how many channels the network sees.
        groups: of successive points, each of one frame of the grid.
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
            image: (B, 3*T, H, W) noisy RGB, linear, nominally [0, 1], not clipped; H and W multiples of `multiple`. Of
                several frames, the one to denoise is the first, then come its neighbours, nearest first, the earlier
                before the later.
            sigma: (B, 1, H, W), the noise's standard deviation at each pixel in the image's unit; a blind network
                does not look at it.
            groups: how many groups of successive points to sum apart, as `losses.annealed_gamma_l1` compares them; a
                divisor of N.

        Returns:
            (B, 3, H, W), not clipped; with groups (B, groups, 3, H, W), whose mean over the groups it is.

        Raises:
            ValueError: the shapes do not fit.
        """
        predicted = self._predict(image, sigma)
        return weigh(*predicted) if groups is None else weigh_groups(*predicted, groups)

    @abstractmethod
    def kernels(self, image: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, N, H, W) samples of the image and their (B, N, H, W) weights.

        `image` is (B, 3, H, W) or, of several frames, a clip (B, 3, T, H, W) in the order of time; `inputs` is all that
        the network sees, (B, inputs, H, W): the frames in that order and, unless it is blind, the level of their noise.
        """

    def _predict(self, image: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        check_inputs(image, sigma, self.multiple, 3 * self.frames)
        B, _, H, W = image.shape
        T = self.frames
        in_time = [*range(T - 2, 0, -2), 0, *range(2, T, 2)]
        clip = image.view(B, T, 3, H, W)[:, in_time]
        seen = [clip.flatten(1, 2)] if self.blind else [clip.flatten(1, 2), sigma]
        return self.kernels(clip.transpose(1, 2) if T > 1 else image, torch.cat(seen, dim=1))


class KernelHead(nn.Conv2d):
    """Turns features into the weights of N points, which are those of an average until it is trained.

    So every point, and every group of points, begins with a say, and none is favoured.
    """

    def __init__(self, inputs: int, N: int) -> None:
        super().__init__(inputs, N, kernel_size=3, padding=1)
        nn.init.zeros_(self.weight)
        nn.init.constant_(self.bias, 1 / N)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, N, H, W), in the head's own type under autocast as well."""
        # Weights in bfloat16 no longer add up: their rounding would show as noise of its own.
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.to(self.weight.dtype))


class Trunk(nn.Module):
    """A U-Net: features for every pixel, from four poolings deep. Its skips are added, not concatenated (table 1).

    Attributes:
        outputs: channels of what it returns, twice the width.
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
            # A mean has less noise than the values; the largest of them has more, and a bias.
            features = encode(F.avg_pool2d(features, 2))
        for decode in self.decoders:
            features = decode(features, skips.pop())
        return features


class Decoder(nn.Module):
    """Doubles the size, adds the skip and refines."""

    def __init__(self, inputs: int, skipped: int, outputs: int, depth: int = 3) -> None:
        super().__init__()
        self.enter = layer(inputs, outputs)
        # At the image's own size table 1 has twice as many channels on the way up as on the way down.
        self.widen = nn.Identity() if skipped == outputs else conv(skipped, outputs, kernel=1)
        self.refine = stage(outputs, outputs, depth - 1)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """(B, inputs, h, w) and (B, skipped, 2h, 2w) to (B, outputs, 2h, 2w)."""
        larger = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        refined: Tensor = self.refine(self.enter(larger) + self.widen(skip))
        return refined


def stage(inputs: int, outputs: int, depth: int = 3) -> nn.Sequential:
    """As many 3x3 convolutions, each with its ReLU."""
    return nn.Sequential(layer(inputs, outputs), *(layer(outputs, outputs) for _ in range(depth - 1)))
