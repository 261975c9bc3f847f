"""Malleable deformable kernels: every pixel of a frame and those that its neighbours show of the same thing, merged.

Where to look in a neighbouring frame, and how far to trust what is found there, is predicted on a grid of a sixteenth
of the pixels and sliced on the fly; a MalleNet that is told how much noise the merging has left takes away the rest.

Sources: Jiang et al., "Fast and High-quality Image Denoising via Malleable Convolutions" (2022), for the grid and the
MalleNet; Xu, Li, Sun, "Learning Deformable Kernels for Image and Video Denoising" (2019), for the kernel, whose points
go where they are sent and whose weights are found by looking at what lies there; Sun et al., "PWC-Net" (2018), for the
search from coarse to fine.

Legend: B batch, C channels, T frames, H x W frame, h x w grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoise_cli.nets.mallenet import MULTIPLE, MalleNet, MalleNetConfig
from denoise_cli.nets.residual import ResidualBlock, conv, layer, zeroed
from denoise_cli.ops.deformable import sample2d

CELL = 4  # pixels that a cell of the finest grid is wide
REACHES = (4, 2, 2)  # cells that a search goes in each direction: of 16, 8 and 4 pixels
QUIET = 2 / 255  # added to the noise, so that none at all is no division by zero


@dataclass(frozen=True)
class MalleNetVideoConfig:
    """One variant.

    Attributes:
        width: of the MalleNet.
        matched: channels of the features by which frames are compared.
    """

    width: int = 16
    matched: int = 16

    def build(self) -> "MalleNetVideo":
        """A network with fresh weights."""
        return MalleNetVideo(self)


class MalleNetVideo(nn.Module):
    """Denoises the first of some frames; its weights do not depend on how many there are, nor on their order.

    Untrained, it compares blocks, averages what it finds and leaves the rest of the noise.
    """

    multiple = MULTIPLE

    def __init__(self, config: MalleNetVideoConfig) -> None:
        super().__init__()
        self.config = config
        self.describe = Description(config.matched)
        self.search = nn.ModuleList(Search(config.matched, reach) for reach in REACHES)
        self.trust = Trust(config.matched)
        self.finish = MalleNet(MalleNetConfig(config.width, block="residual", channels=6))

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
        frame, *others = clip.view(B, -1, 3, H, W).unbind(dim=1)
        own = self.describe(frame, sigma)
        found = [self.find(frame, own, other, self.describe(other, sigma), sigma) for other in others]
        return self.merge(frame, found, sigma)

    def find(
        self, frame: Tensor, own: Sequence[Tensor], other: Tensor, its: Sequence[Tensor], sigma: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What another frame shows of the same things, (B, 3, H, W), and how far to trust it, (B, 1, H, W), [0, 1].

        Args:
            frame: (B, 3, H, W).
            own: what `describe` says of it.
            other: (B, 3, H, W).
            its: what `describe` says of that.
            sigma: (B, 1, H, W).
        """
        H, W = frame.shape[-2:]
        offsets, costs = None, own[-1]
        for search, here, there in zip(self.search, own, its, strict=True):
            offsets, costs = search(here, there, offsets)
        assert offsets is not None
        shifted = sample2d(other, F.interpolate(CELL * offsets, size=(H, W), mode="bilinear")).squeeze(2)
        trust = self.trust(frame, shifted, own[-1], costs, sigma)
        return shifted, F.interpolate(trust, size=(H, W), mode="bilinear")

    def merge(self, frame: Tensor, found: Sequence[tuple[Tensor, Tensor]], sigma: Tensor) -> Tensor:
        """The weighted mean of a frame, whose own weight is one, and what `find` found for it; then without noise."""
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


class Description(nn.Module):
    """What frames are compared by: features at a sixteenth, an eighth and a quarter of the size, coarsest first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.AvgPool2d(2), layer(3, channels), nn.AvgPool2d(2), ResidualBlock(channels))
        self.shrink = nn.ModuleList(nn.Sequential(nn.AvgPool2d(2), ResidualBlock(channels)) for _ in REACHES[1:])

    def forward(self, frame: Tensor, sigma: Tensor) -> list[Tensor]:
        """(B, 3, H, W) and (B, 1, H, W) to (B, C, H / 16, W / 16), (B, C, H / 8, W / 8), (B, C, H / 4, W / 4).

        In units of the noise: what differs by less is the same.
        """
        features = [self.enter(frame / (sigma + QUIET))]
        for shrink in self.shrink:
            features.append(shrink(features[-1]))
        return features[::-1]


class Search(nn.Module):
    """Finds where in another frame the surroundings of a cell look alike: among all places around a first guess.

    The mean of all displacements, weighted by how well each fits; convolutions that start at zero correct it.
    """

    def __init__(self, channels: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.sharpness, self.nearness = nn.Parameter(torch.tensor(3.5)), nn.Parameter(torch.tensor(-1.0))
        places = (2 * reach + 1) ** 2
        self.refine = nn.Sequential(
            conv(places + channels + 2, 2 * channels), nn.ReLU(inplace=True), zeroed(conv(2 * channels, 2))
        )

    def forward(self, here: Tensor, there: Tensor, guess: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compare at one size.

        Args:
            here: (B, C, h, w), features of the frame.
            there: (B, C, h, w), features of the other.
            guess: (B, 2, h / 2, w / 2), the offsets of the next coarser grid in its own cells; None for the coarsest.

        Returns:
            Offsets (B, 2, h, w), to the right and down, in cells; and how unlike each place was, (B, places, h, w).
        """
        B, _, h, w = here.shape
        offsets = here.new_zeros(B, 2, h, w, dtype=torch.float32)
        if guess is not None:
            offsets = 2 * F.interpolate(guess, size=(h, w), mode="bilinear")
            there = sample2d(there, offsets).squeeze(2)
        costs = _unlikeness(here, there, self.reach)
        steps = torch.arange(-self.reach, self.reach + 1, device=here.device, dtype=costs.dtype)
        moves = torch.cartesian_prod(steps, steps).flip(1)  # right, down
        far = self.nearness.exp() * moves.square().sum(dim=1).view(-1, 1, 1)
        likely = torch.softmax(-self.sharpness.exp() * costs - far, dim=1)
        found = offsets + torch.einsum("bnyx,nd->bdyx", likely, moves)
        seen = torch.cat([costs, here.to(costs.dtype), found], dim=1)
        return found + self.refine(seen).float(), costs


class Trust(nn.Module):
    """How much of what was found in another frame belongs to the same thing, by what differs and is not noise."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.judge = nn.Sequential(layer(5 + channels, channels), ResidualBlock(channels), zeroed(conv(channels, 1)))

    def forward(self, frame: Tensor, shifted: Tensor, own: Tensor, costs: Tensor, sigma: Tensor) -> Tensor:
        """(B, 1, h, w), within [0, 1].

        Args:
            frame: (B, 3, H, W).
            shifted: (B, 3, H, W), what was found for it.
            own: (B, C, h, w), the frame's features.
            costs: (B, places, h, w), of the last search.
            sigma: (B, 1, H, W).
        """
        differs = (frame - shifted) / (sigma + QUIET)
        strong = F.avg_pool2d((differs**2).mean(dim=1, keepdim=True), CELL).sqrt()
        seen = [F.avg_pool2d(differs, CELL), strong, costs.amin(dim=1, keepdim=True), own]
        return torch.sigmoid(self.judge(torch.cat([part.float() for part in seen], dim=1)).float())


def _unlikeness(here: Tensor, there: Tensor, reach: int) -> Tensor:
    """How much 3 x 3 cells differ from those at each displacement, row by row: (B, places, h, w).

    Beyond the border all features are zero.
    """
    h, w = here.shape[-2:]
    wide = F.pad(there.float(), [reach] * 4)
    places = range(2 * reach + 1)
    costs = [(here.float() - wide[..., y : y + h, x : x + w]).square().mean(dim=1) for y in places for x in places]
    return F.avg_pool2d(torch.stack(costs, dim=1), 3, 1, 1, count_include_pad=False)


def _check(clip: Tensor, sigma: Tensor, multiple: int) -> None:
    if clip.ndim != 4 or not clip.shape[1] or clip.shape[1] % 3 or any(side % multiple for side in clip.shape[2:]):
        raise ValueError(f"clip: expected (B, 3*T, H, W), sides multiples of {multiple}, got {tuple(clip.shape)}")
    B, _, H, W = clip.shape
    if sigma.shape != (B, 1, H, W):
        raise ValueError(f"sigma: expected {(B, 1, H, W)}, got {tuple(sigma.shape)}")
