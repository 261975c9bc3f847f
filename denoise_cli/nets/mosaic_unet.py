"""MosaicUNet: a MalleUNet on the photosites of a mosaic, which is told the colour that each of them has measured.

Legend: B batch, C planes, h x w blocks of a mosaic (`ColourFilters.side` photosites wide and high), H x W photosites.
"""

from math import gcd

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from denoise_cli.imaging.filters import ColourFilters
from denoise_cli.nets.configs import MALLENET_MULTIPLE, MalleUNetConfig, MosaicUNetConfig
from denoise_cli.nets.malleunet import MalleUNet
from denoise_cli.nets.residual import NoisePredictor

COLOURS = 3
BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)  # weights of the photosites that a missing colour is interpolated from, per side
REACH = len(BINOMIAL) // 2


class MosaicUNet(NoisePredictor):
    """Interpolates the colours that each photosite lacks, and predicts the noise of the one that it has.

    In the planes of a mosaic, all photosites of a block are one pixel: a network on planes sees no finer detail, and
    has to share its features among all of them.
    """

    _planes: Tensor
    _places: Tensor
    _masks: Tensor
    _kernel: Tensor

    def __init__(self, config: MosaicUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.net = MalleUNet(MalleUNetConfig(config.width, channels=2 * COLOURS, outputs=COLOURS))
        filters = ColourFilters(config.kind, (0, 0))
        self.channels, self.side = filters.planes, filters.side
        self.multiple = MALLENET_MULTIPLE // gcd(MALLENET_MULTIPLE, self.side)
        planes, colours = (_of_blocks(part, self.side) for part in (filters.pattern_of_planes, filters.pattern))
        masks = F.one_hot(colours, COLOURS).movedim(-1, 1).reshape(2, -1, 1, 1).float()
        self.register_buffer("_planes", planes, persistent=False)  # (2, C), the plane of each place
        self.register_buffer("_places", planes.argsort(), persistent=False)  # (2, C), the place of each plane
        self.register_buffer("_masks", masks, persistent=False)  # (2, colours and places, 1, 1)
        kernel = torch.tensor(BINOMIAL).outer(torch.tensor(BINOMIAL)) / sum(BINOMIAL) ** 2
        self.register_buffer("_kernel", kernel.expand(COLOURS, 1, -1, -1).clone(), persistent=False)

    @torch.no_grad()
    def start_from(self, net: MalleUNet) -> None:
        """Initialise with the weights of a network for RGB, which at first ignores what each photosite has measured.

        Raises:
            ValueError: see `MalleUNet.start_from`.
        """
        self.net.start_from(net)

    def noise(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `NoisePredictor`; H and W there are h and w."""
        is_first = _checkerboard(sigma)
        mosaic = F.pixel_shuffle(_by_kind(image, self._planes, is_first), self.side)
        masks = F.pixel_shuffle(torch.where(is_first, self._masks[0], self._masks[1]), self.side)
        known = mosaic * masks
        near, count = (F.conv2d(part, self._kernel, padding=REACH, groups=COLOURS) for part in (known, masks))
        light = torch.where(masks > 0, known, near / count)
        level = F.interpolate(sigma, scale_factor=float(self.side), mode="nearest")
        noise = self.net.noise(torch.cat([light, masks], dim=1), level)
        measured = F.pixel_unshuffle((noise * masks).sum(dim=1, keepdim=True), self.side)
        return _by_kind(measured, self._places, is_first)


def _of_blocks(pattern: np.ndarray, side: int) -> Tensor:
    """(2, places), what a pattern has in the first block and in the one to the right of it, row by row."""
    rows = np.tile(pattern, 2)[:side, : 2 * side]
    return torch.from_numpy(np.stack(np.split(rows, 2, axis=1)).reshape(2, -1))


def _by_kind(values: Tensor, order: Tensor, is_first: Tensor) -> Tensor:
    """Reorder the channels of the blocks of both kinds, (B, C, h, w), each by its own indices."""
    return torch.where(is_first, values[:, order[0]], values[:, order[1]])


def _checkerboard(sigma: Tensor) -> Tensor:
    """(B, 1, h, w): whether a block is like the first one: in X-Trans, every other along rows and along columns."""
    rows, columns = (torch.arange(side, device=sigma.device) for side in sigma.shape[-2:])
    return ((rows[:, None] + columns) % 2 == 0).expand_as(sigma)
