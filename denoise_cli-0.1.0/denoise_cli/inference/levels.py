"""The noise level at each pixel of a picture, as a network needs it, tile by tile: whole maps would take much memory.

Legend: B batch, C channels, H x W picture.
"""

from typing import TYPE_CHECKING

import numpy as np

from denoise_cli.imaging import tiling, transfer
from denoise_cli.imaging.noise import NEIGHBOURHOOD, UNKNOWN_LEVEL, ShotRead, estimate_levels, root_mean_square
from denoise_cli.inference.tiles import Picture, Pictures
from denoise_cli.models.registry import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor


class Levels:
    """The noise levels of a picture; estimated at once if nothing is known about them.

    Args:
        pictures: the kind of picture.
        spec: what the network was trained for, which also says in which space it wants the level.
        image: (B, C, H, W), as its file stores it.
        sigma: the deviation in the image's encoding, in the unit in which white is 1: a number, a map of shape
            (B or 1, 1, H, W), a number for each channel, (1, C, 1, 1), or a sensor's noise; None to estimate it.
            Ignored for a blind network.
        white: the value of white in the image.
    """

    def __init__(
        self,
        pictures: Pictures,
        spec: ModelSpec,
        image: Picture,
        sigma: float | Picture | ShotRead | None,
        white: float,
    ) -> None:
        self._pictures = pictures
        self._image = image
        self._white = white
        self._is_linear = spec.space == "linear" and not spec.is_blind
        self._is_of_channels = spec.levels > 1
        self._sigma: float | Picture | ShotRead
        if spec.is_blind:
            self._sigma = UNKNOWN_LEVEL
        else:
            self._sigma = self._estimated() if sigma is None else sigma

    def of_tile(self, rows: tiling.Span, columns: tiling.Span) -> Picture:
        """The level at each pixel of a tile, in the network's own space: (B or 1, 1 or C, rows, columns)."""
        sigma, image = self._sigma, self._image
        if self._is_linear or isinstance(sigma, ShotRead):
            # What is found for a pixel depends on those around it, also on those beyond the end of the tile.
            H, W = image.shape[-2:]
            y, x = rows.around(NEIGHBOURHOOD // 2, H), columns.around(NEIGHBOURHOOD // 2, W)
            around = self._pictures.scaled(image[..., y, x], self._white)
            if isinstance(sigma, ShotRead):
                level = self._of_sensor(sigma, around)
            else:
                known = sigma if isinstance(sigma, float) or sigma.shape[-2:] != (H, W) else sigma[..., y, x]
                level = _in_linear(known, around)
            return self._pictures.crop(level, rows.moved(-y.start), columns.moved(-x.start))
        shape = (1, 1, rows.stop - rows.start, columns.stop - columns.start)
        if isinstance(sigma, float):
            return self._pictures.full(shape, sigma, image)
        if sigma.shape[-2:] == image.shape[-2:]:
            return self._pictures.crop(sigma, rows, columns)
        return self._pictures.full(shape, 1.0, sigma) * sigma

    def _estimated(self) -> Picture:
        """The levels of each picture, (B, C, 1, 1), or (B, 1, 1, 1) if the network takes one for all channels."""
        pictures = self._pictures.to_array(self._image).transpose(0, 2, 3, 1)  # (B, H, W, C)
        estimates = [estimate_levels(picture, self._white) for picture in pictures]
        levels = estimates if self._is_of_channels else [root_mean_square(estimate) for estimate in estimates]
        return self._pictures.from_array(np.array(levels, np.float32).reshape(len(levels), -1, 1, 1), self._image)

    def _of_sensor(self, noise: ShotRead, image: Picture) -> Picture:
        """(B, 1, H, W)."""
        pictures = self._pictures.to_array(image).transpose(0, 2, 3, 1)  # (B, H, W, C)
        if self._is_linear:
            levels = [noise.level_of_light(transfer.srgb_to_linear(picture)) for picture in pictures]
        else:
            levels = [noise.level_of_photo(picture) for picture in pictures]
        return self._pictures.from_array(np.stack(levels)[:, None], image)


def _in_linear(level: "float | Tensor", image: "Tensor") -> "Tensor":
    """The noise level of an encoded image in linear light, for networks that work in it, which run in PyTorch."""
    import torch

    from denoise_cli.imaging.torch_transfer import sigma_in_linear

    B, _, H, W = image.shape
    return sigma_in_linear(image, torch.as_tensor(level, dtype=torch.float32, device=image.device).expand(B, 1, H, W))
