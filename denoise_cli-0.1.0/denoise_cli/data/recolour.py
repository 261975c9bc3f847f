"""Crops whose colours are varied, so that a network cannot rely on how the channels of ordinary photos agree.

Legend: H x W pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from denoise_cli.data.photos import PartlyChanged

Crop = NDArray[np.float32]

COLOURS = 3
SATURATIONS = (0.5, 3.0)  # as many below 1 as are on this side of it on a logarithmic scale
GAINS = (0.6, 1.1)  # of each channel
GREY = 0.1  # share of the varied crops that lose all colour


@dataclass(frozen=True)
class Recoloured(PartlyChanged):
    """A source of crops, of which a share have other colours: permuted channels, another saturation, other gains.

    Args:
        source: the crops, in which every three channels are a picture; pictures of one crop are changed alike.
        share: of the crops that are changed, [0, 1].
    """

    def draw(self, rng: np.random.Generator, patch: int) -> Crop:
        """See `Source`."""
        crop = self.source.draw(rng, patch)
        return recoloured(crop, rng) if rng.random() < self.share else crop


def recoloured(crop: Crop, rng: np.random.Generator) -> Crop:
    """A crop with other colours.

    Args:
        crop: (H, W, 3 for each picture), [0, 1], encoded.
        rng: decides which.

    Returns:
        The same shape, [0, 1].
    """
    H, W, channels = crop.shape
    pictures = crop.reshape(H, W, channels // COLOURS, COLOURS)[..., rng.permutation(COLOURS)]
    low, high = np.log(SATURATIONS)
    saturation = 0.0 if rng.random() < GREY else float(np.exp(rng.uniform(low, high)))
    gains = rng.uniform(*GAINS, COLOURS)
    grey = pictures.mean(axis=-1, keepdims=True)
    varied = (grey + (pictures - grey) * saturation) * gains
    return np.clip(varied, 0, 1).reshape(H, W, channels).astype(np.float32)
