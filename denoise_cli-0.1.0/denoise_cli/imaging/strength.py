"""`Strength`: how much of the removed noise stays removed, in lightness, in colour and in fine detail.

Lightness is luma with the weights of Rec. 709, whose primaries are those of sRGB: what is then called colour changes no
luma, so that noise that is left in it does not show as grain. With equal weights, two fifths of the power of
the grain would stay in it.

Legend: B batch, C channels, H x W picture. Pictures are arrays of NumPy or tensors of PyTorch.
"""

from dataclasses import dataclass
from typing import Any

Picture = Any  # (B, C, H, W)

LUMA = (0.2126, 0.7152, 0.0722)  # of red, green and blue (Rec. ITU-R BT.709)
SMOOTHINGS = 2  # by 1-2-1, which amount to a Gaussian with a deviation of a pixel: what is finer is fine


@dataclass(frozen=True)
class Strength:
    """How much of the noise that a network finds is removed.

    Attributes:
        luma: 0 to 1, the share that is removed from lightness, or from a grey picture.
        chroma: 0 to 1, the share that is removed from colour; ignored for a grey picture.
        detail: 0 to 1, how much of what is removed from lightness is returned first, if it is finer than about two
            pixels.

    Raises:
        ValueError: one of these is not from 0 to 1.
    """

    luma: float = 1.0
    chroma: float = 1.0
    detail: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("strength", self.luma), ("strength", self.chroma), ("detail", self.detail)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {value}")

    @property
    def is_even(self) -> bool:
        """Whether lightness and colour are treated alike, and nothing fine returns."""
        return self.luma == self.chroma and self.detail == 0

    def removes_nothing(self, channels: int) -> bool:
        """Whether a picture of so many channels stays as it is."""
        return self.luma == 0 and (channels == 1 or self.chroma == 0)

    def blend(self, noisy: Picture, clean: Picture) -> Picture:
        """Return the shares of the noise that are not to be removed.

        Args:
            noisy: (B, C, H, W), any number of channels if lightness and colour are treated alike, else 1 or 3.
            clean: the same after denoising.

        Returns:
            The same shape.
        """
        change = clean - noisy
        if self.luma == self.chroma or clean.shape[1] == 1:
            return clean - change * (1 - self.luma)
        lightness = _luma(change)
        return clean - lightness * (1 - self.luma) - (change - lightness) * (1 - self.chroma)

    def with_detail(self, noisy: Picture, clean: Picture) -> Picture:
        """Return the fine part of what was removed from lightness, which holds fine texture beside fine grain.

        Args:
            noisy: (B, C, H, W), C = 1 or 3, with a few pixels around what is used of the result.
            clean: the same after denoising.

        Returns:
            The same shape.
        """
        removed = noisy - clean
        if removed.shape[1] > 1:
            removed = _luma(removed)
        return clean + (removed - _smoothed(removed)) * self.detail


def _luma(picture: Picture) -> Picture:
    """(B, 1, H, W)."""
    red, green, blue = (picture[:, channel : channel + 1] for channel in range(3))
    return red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]


def _smoothed(picture: Picture) -> Picture:
    H, W = picture.shape[-2:]
    above, below = [0, *range(H - 1)], [*range(1, H), H - 1]
    before, after = [0, *range(W - 1)], [*range(1, W), W - 1]
    for _ in range(SMOOTHINGS):
        picture = picture * 0.5 + (picture[..., above, :] + picture[..., below, :]) * 0.25
        picture = picture * 0.5 + (picture[..., before] + picture[..., after]) * 0.25
    return picture
