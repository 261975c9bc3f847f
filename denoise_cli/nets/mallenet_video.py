"""MalleNet for clips, with malleable deformable kernels: frames are aligned, merged with predicted weights, denoised.

Motion gives the position at which to sample a neighbouring frame. How far to trust each sample is predicted on a grid
of a sixteenth of the pixels, as a curve over the difference at a pixel; the curves are sliced and applied on the fly.
A MalleNet that is given the noise level left after merging removes the remaining noise. A blind network predicts the
level itself, on a grid too, from how much there is of fine detail and of change from frame to frame: once to align the
frames, and again from those that are aligned, in which what moves no longer looks like noise.

Sources: Jiang et al., "Fast and High-quality Image Denoising via Malleable Convolutions" (2022), for the grid and the
MalleNet; Xu, Li, Sun, "Learning Deformable Kernels for Image and Video Denoising" (2019), for a kernel whose points
move and whose weights depend on what is sampled there.

Legend: B batch, T frames, H x W frame, h x w grid, n neighbours.
"""

from dataclasses import replace

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
LEVEL_RANGE = (0.25 / 255, 0.5)  # of the predicted noise level
SIZES = (1, 2, 4)  # pixels, of which the means are looked at
UNRELATED = 0.05  # half the mean square of the difference between frames that have nothing in common
LAPLACIAN_GAIN = 6  # of second differences down and across, on white noise: Immerkaer, "Fast Noise Variance Estimation"


class MalleNetVideo(nn.Module):
    """Denoises the first of several frames; its weights do not depend on the number or the order of the others.

    Untrained, it averages pixels that differ by no more than the noise, and does not remove the remaining noise.
    """

    multiple = MALLENET_MULTIPLE

    def __init__(self, config: MalleNetVideoConfig) -> None:
        super().__init__()
        self.config = config
        self.trust = Trust(config.trust_width)
        self.level = LevelPredictor(config.trust_width) if config.blind else None
        self.finish: NoisePredictor = MalleNet(MalleNetConfig(config.width, block="residual", channels=6))

    def forward(self, clip: Tensor, sigma: Tensor) -> Tensor:
        """Denoise the first frame.

        Args:
            clip: (B, 3*T, H, W), noisy RGB frames, one after another, nominally [0, 1], not clipped; H and W multiples
                of `multiple`.
            sigma: (B, 1, H, W), the standard deviation of the noise at each pixel of all frames, in the clip's unit;
                without effect on a blind network.

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
        if len(others):
            merged, level = self.merge(frame, others, sigma)
        else:
            merged, level = frame, sigma if self.level is None else torch.mul(*self.level(frame, others))
        return merged - self.finish.noise(torch.cat([merged, frame], dim=1), level)

    def merge(self, frame: Tensor, others: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted mean of a frame and its neighbours, aligned with it.

        Args:
            frame: (B, 3, H, W); its own weight is one.
            others: n neighbours, at least one, (n * B, 3, H, W), one after another.
            sigma: (B, 1, H, W), without effect on a blind network.

        Returns:
            The mean, (B, 3, H, W), and the level of the noise that is left in it for the network, (B, 1, H, W).
        """
        n, share = others.shape[0] // frame.shape[0], sigma.new_ones(())
        if self.level is not None:
            with torch.no_grad():  # motion is not learnt
                sigma, _ = self.level(frame, others)
        inside = sigma.new_ones(())
        if self.config.follows_motion:
            others, inside = align(frame, others, sigma)
        if self.level is not None:
            sigma, share = self.level(frame, others)
        weights = inside * self.trust(repeated(frame, n), others, repeated(sigma, n))
        total = 1 + summed(weights, n)
        merged = (frame + summed(weights * others, n)) / total
        return merged, share * sigma * (1 + summed(weights.square(), n)).sqrt() / total

    @torch.no_grad()
    def start_from(self, net: "MalleNet | MalleNetVideo") -> None:
        """Initialise the network with the weights of another that is told the level, for clips or for photos.

        Of one for photos, the MalleNet takes the weights; the merged frame takes the photo's place.

        Raises:
            ValueError: it is not such a network of the same width with residual blocks.
        """
        width = self.config.width
        if isinstance(net, MalleNetVideo):
            told = replace(self.config, blind=False)
            if net.config not in (self.config, told):
                raise ValueError(f"expected {told}, got {net.config}")
            self.load_state_dict(net.state_dict(), strict=False)
            return
        if net.config != MalleNetConfig(width, block="residual"):
            raise ValueError(f"expected a MalleNet of width {width}, got {net.config}")
        source = net.state_dict()
        for name, tensor in self.finish.state_dict().items():
            weights = source[name]
            if weights.shape != tensor.shape:  # a first convolution; here its inputs are merged, frame and level
                widened = torch.zeros_like(tensor)
                widened[:, : weights.shape[1] - 1], widened[:, -1:] = weights[:, :-1], weights[:, -1:]
                weights = widened
            tensor.copy_(weights)


class LevelPredictor(nn.Module):
    """Predicts the level of the noise at each pixel of a frame, which may be soft, coarse or compressed.

    Of such noise, neighbours may take away more, and the network behind them less, than of white noise of one level. So
    it predicts the level for merging, and the share of what that leaves for the network.

    It begins with the usual estimate for white noise: the lower of the fine detail and the change from frame to frame.
    Convolutions that start at zero correct it for each cell; they see the same at several sizes, and in brightness and
    colour.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        seen = 2 * len(SIZES) + 2 + 3
        self.judge = nn.Sequential(
            layer(seen, channels), ResidualBlock(channels), ResidualBlock(channels), zeroed(conv(channels, 2))
        )

    def forward(self, frame: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """The standard deviation of the noise, in the frames' unit, and the share of it, each (B, 1, H, W).

        Args:
            frame: (B, 3, H, W).
            others: n neighbours, or none, (n * B, 3, H, W), one after another; aligned with the frame or not.
        """
        squares = [part for size in SIZES for part in _detail(F.avg_pool2d(frame, size), CELL // size)]
        fine = (squares[0] + 2 * squares[1]) / 3  # the mean over three channels
        changes = [torch.full_like(fine, UNRELATED)] * 2
        if len(others):
            n = others.shape[0] // frame.shape[0]
            difference = repeated(frame, n) - others
            changes = [
                (_least(part, n) / 2).clamp(max=UNRELATED)
                for part in (
                    F.avg_pool2d(difference.square().mean(dim=1, keepdim=True), CELL),
                    F.avg_pool2d(difference, CELL).mean(dim=1, keepdim=True).square(),
                )
            ]
        start = (box_blur(torch.minimum(fine, changes[0]), 5) + EPSILON).sqrt()
        seen = [0.5 * torch.log(box_blur(part, 3) + EPSILON) for part in [*squares, *changes]]
        corrections = self.judge(torch.cat([*seen, F.avg_pool2d(frame, CELL)], dim=1)).float().clamp(-5, 5)
        correction, share = torch.exp(corrections).unsqueeze(2).unbind(dim=1)
        level = (start * correction).clamp(*LEVEL_RANGE)
        height, width = frame.shape[-2:]
        level, share = (F.interpolate(part, size=(height, width), mode="bilinear") for part in (level, share))
        return level, share


def _detail(image: Tensor, cell: int) -> list[Tensor]:
    """The mean squares of the fine detail in each cell, of brightness and of the two dimensions of colour.

    Args:
        image: (B, 3, h, w).
        cell: the side of a cell in pixels.

    Returns:
        Two of (B, 1, h / cell, w / cell), each the variance of white noise that is equal in three channels, as
        brightness and colour would be on their own.
    """
    for dim in (-2, -1):
        rows = F.pad(image, [1, 1, 0, 0] if dim == -1 else [0, 0, 1, 1], mode="replicate")
        middle = rows.narrow(dim, 1, image.shape[dim])
        image = rows.narrow(dim, 0, image.shape[dim]) - 2 * middle + rows.narrow(dim, 2, image.shape[dim])
    image = image / LAPLACIAN_GAIN
    brightness = image.mean(dim=1, keepdim=True)
    parts = 3 * brightness.square(), 1.5 * (image - brightness).square().mean(dim=1, keepdim=True)
    return [F.avg_pool2d(part, cell) for part in parts]


def _least(images: Tensor, n: int) -> Tensor:
    """The least of n batches that follow one another: (n * B, C, h, w) to (B, C, h, w)."""
    return images.view(n, -1, *images.shape[1:]).amin(dim=0)


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
