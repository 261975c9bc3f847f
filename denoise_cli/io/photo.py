"""`Photo`: a decoded still picture, with everything that has to be written again, and its transparency."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.black import DARKEST, unlit_areas
from denoise_cli.imaging.dither import dithered
from denoise_cli.imaging.lab import LabEncoding
from denoise_cli.imaging.pixels import Pixels, convert, from_float, strips, to_float
from denoise_cli.imaging.transfer import CURVES, HLG, PQ, linear_to_srgb, srgb_to_linear
from denoise_cli.io.jpeg_compression import JpegCompression
from denoise_cli.io.metadata import UPRIGHT, Metadata, apply_orientation
from denoise_cli.io.native import still_true

WHITE = 65535  # of 16 bits


@dataclass(frozen=True)
class Photo:
    """A still picture, upright.

    Attributes:
        pixels: (H, W, C), C = 1 (grey) or 3 (RGB); uint8, uint16, or float32 with 1 as white, unbounded. Of CMYK, what
            cyan, magenta and yellow leave of red, green and blue: white is paper.
        alpha: (H, W) of the same type; None if the photo is opaque.
        kind: the format of its file, a key of `image.FORMATS` or "raw".
        metadata: everything else from the file.
        notes: messages to the user about how the file was read.
        depth: bits per value in the file, if the pixels have more; None if they have as many.
        compression: of its file, if that is known of a format that can lose something.
        black: of CMYK, what black ink leaves of the light, (H, W) of the same type; None for other photos.
        lab: how its file stores Lab; the pixels are then floating point, with the same colours in sRGB.
        is_signed: whether its file stores integers with a sign; the pixels are then higher by half their range.
        is_bilevel: whether its file stores a single bit per pixel.
        others: the pages of its file that follow, each decoded when it is called.
        repairs: messages to the user about pixels that are damaged in the file and that the decoder has made up.
    """

    pixels: Pixels
    alpha: Pixels | None
    kind: str
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()
    compression: JpegCompression | Literal["lossless"] | None = None
    depth: int | None = None
    black: Pixels | None = None
    lab: LabEncoding | None = None
    is_signed: bool = False
    is_bilevel: bool = False
    others: "tuple[Callable[[], Photo], ...]" = ()
    repairs: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        H, W, _ = self.pixels.shape
        return H, W

    @property
    def bits(self) -> int:
        """Bits per value of the file: 8, 16, or 32 for floating point."""
        return self.pixels.dtype.itemsize * 8 if self.lab is None else self.lab.bits

    def turned(self, orientation: int) -> "Photo":
        """The photo upright, if this is how its file stores it; orientation is 1 to 8, as in EXIF."""
        natives, notes = still_true(self.metadata.natives, is_turned=orientation != UPRIGHT)
        return replace(
            self,
            metadata=replace(self.metadata, natives=natives),
            notes=self.notes + notes,
            pixels=apply_orientation(self.pixels, orientation),
            alpha=None if self.alpha is None else apply_orientation(self.alpha, orientation),
            black=None if self.black is None else apply_orientation(self.black, orientation),
        )

    @property
    def light(self) -> Pixels:
        """(H, W, C), of the type of the pixels, which they are unless there is black ink: that is mixed in."""
        return self.pixels if self.black is None else with_black(self.pixels, self.black)

    def as_float(self) -> NDArray[np.float32]:
        """The light, (H, W, C), nominally [0, 1]."""
        return to_float(self.light)

    def as_srgb(self) -> Pixels:
        """The pixels; in float32 and encoded as sRGB, unbounded, if they are PQ, HLG or linear light.

        Noise is then about as even as networks know it, and 1 is paper white, see `imaging.transfer`.
        """
        transfer = self._transfer
        if transfer is None:
            return self.pixels
        to_light, _ = CURVES[transfer]
        encoded = np.empty(self.pixels.shape, np.float32)
        for rows in strips(len(encoded)):
            encoded[rows] = linear_to_srgb(to_light(to_float(self.pixels[rows]).astype(np.float64)))
        return encoded

    def from_srgb(self, encoded: Pixels, dither: bool = False) -> Pixels:
        """Pixels in the photo's own type and encoding from those that `as_srgb` would return for them.

        PQ and HLG stretch the light near black so much that a change of which nothing can be seen in sRGB's encoding
        makes black bars glow: areas that are as dark as a display can be stay as they are.

        Args:
            encoded: (H, W, C), changed.
            dither: whether 8 bits are rounded with noise, see `imaging.dither`.
        """
        transfer = self._transfer
        if transfer is None:
            return encoded
        _, from_light = CURVES[transfer]
        pixels = np.empty_like(self.pixels)
        for rows in strips(len(pixels)):
            values = from_light(srgb_to_linear(encoded[rows].astype(np.float64))).astype(np.float32)
            if dither and pixels.dtype == np.uint8:
                pixels[rows] = dithered(values, self.pixels[rows], rows.start)
            else:
                pixels[rows] = from_float(values, pixels.dtype)
        if transfer in (PQ, HLG):
            darkest = from_float(from_light(np.array([DARKEST])).astype(np.float32), pixels.dtype)
            stays = unlit_areas(np.asarray((self.pixels <= darkest).all(axis=2)))
            pixels[stays] = self.pixels[stays]
        return pixels

    @property
    def _transfer(self) -> int | None:
        """The encoding that `as_srgb` undoes; None for inks, for Lab, whose pixels are sRGB, and for mere numbers."""
        is_of_light = self.black is None and self.lab is None and not self.is_signed
        return self.metadata.transfer if is_of_light else None

    def as_rgb8(self) -> NDArray[np.uint8]:
        """The light, (H, W, 3), 8 bits; grey is repeated three times, alpha is left out."""
        pixels = self.light
        values: NDArray[np.uint8] = np.repeat(convert(pixels, np.dtype(np.uint8)), 3 // pixels.shape[2], axis=2)
        return values


def from_linear(light: NDArray[np.float32]) -> Pixels:
    """Pixels of a photo, (H, W, C) float32 encoded as sRGB, from linear light with 1 as white, unbounded."""
    pixels = np.empty(light.shape, np.float32)
    for rows in strips(len(light)):
        with np.errstate(over="ignore"):  # on the line near black, which the largest values are not on
            pixels[rows] = linear_to_srgb(light[rows].astype(np.float32))
    return pixels


def to_linear(pixels: Pixels) -> NDArray[np.float32]:
    """Undo `from_linear`, for pixels of any type."""
    light = np.empty(pixels.shape, np.float32)
    for rows in strips(len(pixels)):
        light[rows] = srgb_to_linear(to_float(pixels[rows]))
    return light


def with_black(pixels: Pixels, black: Pixels) -> Pixels:
    """Print black, (H, W), over the other three inks, (H, W, 3), as if each ink took its share of the light."""
    mixed = np.empty_like(pixels)
    for rows in strips(len(pixels)):
        mixed[rows] = from_float(to_float(pixels[rows]) * to_float(black[rows])[..., None], pixels.dtype)
    return mixed


def unpremultiply(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Divide pixels, (H, W, C), by the alpha, (H, W), that they were multiplied by, except where that is zero."""
    opacity = to_float(alpha)[..., None]
    straight = np.divide(to_float(pixels), opacity, out=to_float(pixels).copy(), where=opacity > 0)
    return from_float(straight, pixels.dtype)


def scale_to_16_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Scale integers of more than 8 bits so that 65535 is white; 8 bits are returned unchanged."""
    return values if values.dtype == np.uint8 else np.rint(values * (WHITE / (2**bits - 1))).astype(np.uint16)


def from_16_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Undo `scale_to_16_bits`: values of 16 bits, rounded to fewer, of the same type."""
    reduced = np.empty(values.shape, np.uint16)
    for rows in strips(len(values)):
        reduced[rows] = (values[rows].astype(np.uint32) * (2**bits - 1) + WHITE // 2) // WHITE
    return reduced


def split_alpha(values: np.ndarray) -> tuple[Pixels, Pixels | None]:
    """Split 1 to 4 channels, (H, W, C), into grey or RGB pixels, (H, W, 1 or 3), and alpha, (H, W); None without."""
    if values.shape[2] in (2, 4):
        return values[..., :-1], values[..., -1]
    return values, None
