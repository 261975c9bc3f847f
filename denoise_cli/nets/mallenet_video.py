"""Malleable deformable kernels: every pixel of a frame and those that its neighbours show of the same thing, merged.

Where to look in a neighbouring frame is found by its motion. How far to trust what lies there is predicted on a grid of
a sixteenth of the pixels, as a curve over what differs at a pixel, sliced and applied on the fly; a MalleNet that is
told how much noise the merging has left takes away the rest.

Sources: Jiang et al., "Fast and High-quality Image Denoising via Malleable Convolutions" (2022), for the grid and the
MalleNet; Xu, Li, Sun, "Learning Deformable Kernels for Image and Video Denoising" (2019), for a kernel whose points go
where they are sent and whose weights are found by looking at what lies there.

Legend: B batch, T frames, H x W frame, h x w grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoise_cli.nets.mallenet import MULTIPLE, MalleNet, MalleNetConfig
from denoise_cli.nets.residual import NoisePredictor, ResidualBlock, conv, layer, zeroed
from denoise_cli.ops.motion import box_blur, follow

CELL = 4  # pixels that a cell of the grid is wide
QUIET = 2 / 255  # added to the noise, so that none at all is no division by zero
MOST = 100.0  # squared differences, in units of the noise: beyond that they need not be told apart
EPSILON = 1e-6  # below a square root, whose slope at zero has no end


@dataclass(frozen=True)
class MalleNetVideoConfig:
    """One variant.

    Attributes:
        width: of the MalleNet.
        judging: channels of the network that says how far to trust a neighbour.
        follows: whether points follow the motion; the rival, whose kernel is rigid, looks at the pixel's own place.
    """

    width: int = 16
    judging: int = 16
    follows: bool = True

    def build(self) -> "MalleNetVideo":
        """A network with fresh weights."""
        return MalleNetVideo(self)


class MalleNetVideo(nn.Module):
    """Denoises the first of some frames; its weights do not depend on how many there are, nor on their order.

    Untrained, it averages what differs by no more than noise would, and leaves the rest of the noise.
    """

    multiple = MULTIPLE

    def __init__(self, config: MalleNetVideoConfig) -> None:
        super().__init__()
        self.config = config
        self.trust = Trust(config.judging)
        self.finish: NoisePredictor = MalleNet(MalleNetConfig(config.width, block="residual", channels=6))

    def forward(self, clip: Tensor, sigma: Tensor) -> Tensor:
        """Denoise the first frame.

        Args:
            clip: (B, 3*T, H, W), noisy RGB frames, one after another, nominally [0, 1], not clipped; H and W multiples
                of `multiple`.
            sigma: (B, 1, H, W), the noise's standard deviation at each pixel, in the same unit, in all frames.

        Returns:
            (B, 3, H, W), not clipped.

        Raises:
            ValueError: the shapes do not fit.
        """
        _check(clip, sigma, self.multiple)
        B, _, H, W = clip.shape
        # Each plane in one piece: half the time for looking up places than with the channels side by side.
        frame, *others = clip.contiguous().view(B, -1, 3, H, W).unbind(dim=1)
        found = [
            (shifted, inside * self.trust(frame, shifted, sigma)) for shifted, inside in self.find(frame, others, sigma)
        ]
        return self.merge(frame, found, sigma)

    def find(self, frame: Tensor, others: Sequence[Tensor], sigma: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What other frames show of the same things, each (B, 3, H, W), and where that is not beyond their border.

        Args:
            frame: (B, 3, H, W).
            others: each (B, 3, H, W).
            sigma: (B, 1, H, W).
        """
        if not self.config.follows:
            return [(other, torch.ones_like(sigma)) for other in others]
        return follow(frame, others, sigma)

    def merge(self, frame: Tensor, found: Sequence[tuple[Tensor, Tensor]], sigma: Tensor) -> Tensor:
        """The weighted mean of a frame and what was found for it, without the noise that is left.

        Args:
            frame: (B, 3, H, W), whose own weight is one.
            found: each (B, 3, H, W), and its weight (B, 1, H, W).
            sigma: (B, 1, H, W).
        """
        total, weights, squares = frame, torch.ones_like(sigma), torch.ones_like(sigma)
        for shifted, trust in found:
            total, weights, squares = total + trust * shifted, weights + trust, squares + trust**2
        merged = total / weights
        return merged - self.finish.noise(torch.cat([merged, frame], dim=1), sigma * squares.sqrt() / weights)

    @torch.no_grad()
    def start_from(self, net: MalleNet) -> None:
        """Take over the weights of an image denoiser of the same width, which sees the merged frame as it saw a photo.

        Raises:
            ValueError: it is another network.
        """
        if net.config != MalleNetConfig(self.config.width, block="residual"):
            raise ValueError(f"expected a MalleNet of width {self.config.width}, got {net.config}")
        tensors = net.state_dict()
        for name, tensor in self.finish.state_dict().items():
            given = tensors[name]
            if given.shape != tensor.shape:  # a first convolution: merged, frame, level
                widened = torch.zeros_like(tensor)
                widened[:, : given.shape[1] - 1], widened[:, -1:] = given[:, :-1], given[:, -1:]
                given = widened
            tensor.copy_(given)


class Trust(nn.Module):
    """How much of what was found in another frame belongs to the same thing, by what differs and is not noise.

    The first guess is a step, at a difference of about that of two noisy frames of one thing: sqrt(2) times the noise,
    less where a place between pixels is the mean of several. Convolutions that start at zero move and tilt it for each
    cell.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.limit, self.steepness = nn.Parameter(torch.tensor(1.3)), nn.Parameter(torch.tensor(2.3))
        self.judge = nn.Sequential(layer(8, channels), ResidualBlock(channels), zeroed(conv(channels, 2)))

    def forward(self, frame: Tensor, shifted: Tensor, sigma: Tensor) -> Tensor:
        """(B, 1, H, W), within [0, 1].

        Args:
            frame: (B, 3, H, W).
            shifted: (B, 3, H, W), what was found for it.
            sigma: (B, 1, H, W).
        """
        noise = sigma + QUIET
        differs = (frame - shifted) / noise
        squares = differs.square().mean(dim=1, keepdim=True).clamp(max=MOST)
        # Noise that the channels share, as in grey pictures, shows in their mean alone: the level is that of channels
        # whose noise is their own.
        shared = (3 * differs.mean(dim=1, keepdim=True).square()).clamp(max=MOST)
        around = torch.maximum(box_blur(squares, 3), box_blur(shared, 5))
        strength = (around + EPSILON).sqrt()
        seen = [differs, squares, frame, noise]
        cells = [F.avg_pool2d(part, CELL) for part in seen]
        bias, tilt = self.judge(torch.cat(cells, dim=1)).float().unsqueeze(2).unbind(dim=1)
        bias, tilt = (F.interpolate(part, size=frame.shape[-2:], mode="bilinear") for part in (bias, tilt))
        return torch.sigmoid(self.steepness.exp() * (self.limit - strength) + bias + tilt * strength)


def _check(clip: Tensor, sigma: Tensor, multiple: int) -> None:
    if clip.ndim != 4 or not clip.shape[1] or clip.shape[1] % 3 or any(side % multiple for side in clip.shape[2:]):
        raise ValueError(f"clip: expected (B, 3*T, H, W), sides multiples of {multiple}, got {tuple(clip.shape)}")
    B, _, H, W = clip.shape
    if sigma.shape != (B, 1, H, W):
        raise ValueError(f"sigma: expected {(B, 1, H, W)}, got {tuple(sigma.shape)}")
