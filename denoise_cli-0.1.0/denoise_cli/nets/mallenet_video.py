"""MalleNet for clips, with malleable deformable kernels: frames are aligned, merged with predicted weights, denoised.

Motion gives the position at which to sample a neighbouring frame. How far to trust each sample is predicted on a grid
of a sixteenth of the pixels, as a curve over the difference at a pixel; the curves are sliced and applied on the fly.
A MalleNet that is given the noise level left after merging removes the remaining noise.

Sources: Jiang et al., "Fast and High-quality Image Denoising via Malleable Convolutions" (2022), for the grid and the
MalleNet; Xu, Li, Sun, "Learning Deformable Kernels for Image and Video Denoising" (2019), for a kernel whose points
move and whose weights depend on what is sampled there.

Legend: B batch, T frames, H x W frame, h x w grid, n neighbours.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoise_cli.nets.configs import MALLENET_MULTIPLE, MalleNetConfig, MalleNetVideoConfig
from denoise_cli.nets.mallenet import MalleNet
from denoise_cli.nets.residual import NoisePredictor, ResidualBlock, conv, layer, zeroed
from denoise_cli.ops.motion import align, box_blur, repeated, summed

CELL = 4  # pixels, the side of a cell of the grid
NOISE_FLOOR = 2 / 255  # added to sigma, so that a noise-free clip causes no division by zero
MAX_SQUARE = 100.0  # squared difference in units of the noise's variance; larger ones need not be distinguished
EPSILON = 1e-6  # added below a square root, whose slope at zero is infinite


class MalleNetVideo(nn.Module):
    """Denoises the first of several frames; its weights do not depend on the number or the order of the others.

    Untrained, it averages pixels that differ by no more than the noise, and does not remove the remaining noise.
    """

    multiple = MALLENET_MULTIPLE

    def __init__(self, config: MalleNetVideoConfig) -> None:
        super().__init__()
        self.config = config
        self.trust = Trust(config.trust_width)
        self.finish: NoisePredictor = MalleNet(MalleNetConfig(config.width, block="residual", channels=6))

    def forward(self, clip: Tensor, sigma: Tensor) -> Tensor:
        """Denoise the first frame.

        Args:
            clip: (B, 3*T, H, W), noisy RGB frames, one after another, nominally [0, 1], not clipped; H and W multiples
                of `multiple`.
            sigma: (B, 1, H, W), the standard deviation of the noise at each pixel of all frames, in the clip's unit.

        Returns:
            (B, 3, H, W), not clipped.

        Raises:
            ValueError: the shapes are wrong.
        """
        check_clip(clip, sigma, self.multiple)
        B, _, H, W = clip.shape
        # Contiguous planes halve the time of sampling compared with channels-last.
        frames = clip.contiguous().view(B, -1, 3, H, W).transpose(0, 1)
        frame, others = frames[0], frames[1:].flatten(0, 1)
        merged, level = self.merge(frame, others, sigma) if len(others) else (frame, sigma)
        return merged - self.finish.noise(torch.cat([merged, frame], dim=1), level)

    def merge(self, frame: Tensor, others: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted mean of a frame and its neighbours, aligned with it.

        Args:
            frame: (B, 3, H, W); its own weight is one.
            others: n neighbours, at least one, (n * B, 3, H, W), one after another.
            sigma: (B, 1, H, W).

        Returns:
            The mean, (B, 3, H, W), and the level of the noise that is left in it, (B, 1, H, W).
        """
        n = others.shape[0] // frame.shape[0]
        if self.config.follows_motion:
            aligned, inside = align(frame, others, sigma)
            weights = inside * self.trust(repeated(frame, n), aligned, repeated(sigma, n))
        else:
            aligned, weights = others, self.trust(repeated(frame, n), others, repeated(sigma, n))
        total = 1 + summed(weights, n)
        merged = (frame + summed(weights * aligned, n)) / total
        return merged, sigma * (1 + summed(weights.square(), n)).sqrt() / total

    @torch.no_grad()
    def start_from(self, net: MalleNet) -> None:
        """Initialise the MalleNet with the weights of an image denoiser; the merged frame takes the photo's place.

        Raises:
            ValueError: it is not a MalleNet of the same width with residual blocks.
        """
        if net.config != MalleNetConfig(self.config.width, block="residual"):
            raise ValueError(f"expected a MalleNet of width {self.config.width}, got {net.config}")
        source = net.state_dict()
        for name, tensor in self.finish.state_dict().items():
            weights = source[name]
            if weights.shape != tensor.shape:  # a first convolution; here its inputs are merged, frame and level
                widened = torch.zeros_like(tensor)
                widened[:, : weights.shape[1] - 1], widened[:, -1:] = weights[:, :-1], weights[:, -1:]
                weights = widened
            tensor.copy_(weights)


class Trust(nn.Module):
    """Predicts how likely an aligned frame shows the same thing, from the differences in units of the noise.

    The curve starts as a step at about the difference between two noisy frames of the same thing: sqrt(2) times the
    noise, less where the sample is interpolated between pixels. Convolutions that start at zero shift and tilt it for
    each cell.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.limit, self.steepness = nn.Parameter(torch.tensor(1.3)), nn.Parameter(torch.tensor(2.3))
        self.judge = nn.Sequential(layer(8, channels), ResidualBlock(channels), zeroed(conv(channels, 2)))

    def forward(self, frame: Tensor, aligned: Tensor, sigma: Tensor) -> Tensor:
        """The weight of the aligned frame, (B, 1, H, W), within [0, 1].

        Args:
            frame: (B, 3, H, W).
            aligned: (B, 3, H, W).
            sigma: (B, 1, H, W).
        """
        noise = sigma + NOISE_FLOOR
        difference = (frame - aligned) / noise
        squares = difference.square().mean(dim=1, keepdim=True).clamp(max=MAX_SQUARE)
        # `sigma` assumes that the noise of the channels is independent. Noise that they share, as in grey pictures,
        # shows in their mean only.
        shared = (3 * difference.mean(dim=1, keepdim=True).square()).clamp(max=MAX_SQUARE)
        local = torch.maximum(box_blur(squares, 3), box_blur(shared, 5))
        strength = (local + EPSILON).sqrt()
        cells = [F.avg_pool2d(part, CELL) for part in (difference, squares, frame, noise)]
        bias, tilt = self.judge(torch.cat(cells, dim=1)).float().unsqueeze(2).unbind(dim=1)
        bias, tilt = (F.interpolate(part, size=frame.shape[-2:], mode="bilinear") for part in (bias, tilt))
        return torch.sigmoid(self.steepness.exp() * (self.limit - strength) + bias + tilt * strength)


def check_clip(clip: Tensor, sigma: Tensor, multiple: int) -> None:
    """Check that frames and their level map have the shapes that `MalleNetVideo` needs.

    Raises:
        ValueError: the clip is not (B, 3*T, H, W) with H and W multiples of `multiple`, or the level map is not
            (B, 1, H, W).
    """
    if clip.ndim != 4 or not clip.shape[1] or clip.shape[1] % 3 or any(side % multiple for side in clip.shape[2:]):
        raise ValueError(f"clip: expected (B, 3*T, H, W), sides multiples of {multiple}, got {tuple(clip.shape)}")
    B, _, H, W = clip.shape
    if sigma.shape != (B, 1, H, W):
        raise ValueError(f"sigma: expected {(B, 1, H, W)}, got {tuple(sigma.shape)}")
