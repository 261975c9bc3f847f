"""Crops reduced to half their size: sharper than photos, whose pixels were demosaiced, resized and compressed.

Legend: H x W pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from denoise_cli.data.photos import PartlyChanged

Crop = NDArray[np.float32]

FACTOR = 2


@dataclass(frozen=True)
class Reduced(PartlyChanged):
    """A source of crops, of which a share show twice as much of a photo at half the size.

    JPEG drops fine differences of colour, and a network that sees only its pixels learns that there are none.

    Args:
        source: the crops.
        share: of the crops that are reduced, [0, 1].
    """

    def draw(self, rng: np.random.Generator, patch: int) -> Crop:
        """See `Source`."""
        if rng.random() < self.share:
            return reduced(self.source.draw(rng, FACTOR * patch))
        return self.source.draw(rng, patch)


def reduced(crop: Crop) -> Crop:
    """A crop, (H, W, C), H and W even, at half its size, (H / 2, W / 2, C): the means of 2 x 2 pixels.

    Details as fine as a pixel stay, which filters made for the eye weaken.
    """
    H, W, channels = crop.shape
    return crop.reshape(H // FACTOR, FACTOR, W // FACTOR, FACTOR, channels).mean(axis=(1, 3), dtype=np.float32)
