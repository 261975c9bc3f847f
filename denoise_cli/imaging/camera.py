"""A simulated camera: from a photo back to the light, through a noisy sensor, and out again as a file would hold it.

Sources: Brooks et al., "Unprocessing Images for Learned Raw Denoising" (2019), for the way back from a photo to the
light and the ranges of colour, white balance and noise; Xu et al., "Learning Deformable Kernels for Image and Video
Denoising" (2019), section 4, for the noise and its widest range; Malvar, He, Cutler, "High-Quality Linear Interpolation
for Demosaicing of Bayer-Patterned Color Images" (2004).

Legend: H x W image, 3 channels last; what stands before them is free.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.imaging.bayer import Phase
from denoise_cli.imaging.noise import READ_RANGE, SHOT_RANGE, ShotRead, sensor_noise
from denoise_cli.imaging.transfer import linear_to_srgb, srgb_to_linear

Array = NDArray[np.float32]
Demosaic = Literal["malvar", "bilinear"]

# log(read^2) = slope * log(shot) + intercept, with this deviation: sensors of the Darmstadt dataset (Brooks et al.).
READ_SLOPE, READ_INTERCEPT, READ_SPREAD = 2.18, 1.20, 0.26
RED_GAINS, BLUE_GAINS = (1.2, 2.6), (1.2, 2.6)  # wider than in Brooks et al.: from lamp light to shade
# Of sensors whose mosaic is learnt from: from the least that is sold to more than in the deformable kernels' paper.
# Chosen by us, as what follows: exposures from two stops under to one over, black levels that cut more or less of the
# noise off.
SHOTS, READS, EXPOSURES, BLACKS = (4e-6, 2e-2), (1e-4, 10**-1.4), (0.25, 2.0), (256, 2049)
# Nobody has published what makers do to their pictures, nor what becomes of these. Chosen by us, from nothing to what
# phones show at their worst: pixels of blur, and the share of an unsharp mask. One camera in four does without each.
MOST_LUMA_GRAIN, MOST_CHROMA_GRAIN, MOST_SHARPENING, SPARED = 1.0, 2.5, 1.0, 0.25
# Chosen by us, too:
MALVAR_SHARE = 0.7  # of the better demosaicing
FULL_SIZE_SHARE, LEAST_SCALE = 0.6, 0.5  # photos as taken, and how small the others are made for a screen
PLAIN_SHARE, QUALITIES = 0.2, (70, 99)  # files without compression, and JPEG's qualities of the others

XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
# From XYZ to the colours of four sensors, as Brooks et al. list them.
SENSORS = np.array(
    [
        [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
        [[0.4913, -0.0541, -0.0202], [-0.6130, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
        [[0.8380, -0.2630, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
        [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.0970, 0.1581, 0.5181]],
    ]
)
# Malvar, He, Cutler, figure 2, in eighths: green at red or blue; red in a red row, in a red column, at blue.
MALVAR_GREEN = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]) / 8
MALVAR_ROW = (
    np.array([[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]) / 8
)
MALVAR_CROSS = (
    np.array([[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]) / 8
)
# The means of the nearest neighbours, in the same places.
BILINEAR_GREEN = np.pad([[0, 1, 0], [1, 0, 1], [0, 1, 0]], 1) / 4
BILINEAR_ROW = np.pad([[0, 0, 0], [1, 0, 1], [0, 0, 0]], 1) / 2
BILINEAR_CROSS = np.pad([[1, 0, 1], [0, 0, 0], [1, 0, 1]], 1) / 4
DEMOSAICS = {
    "malvar": (MALVAR_GREEN, MALVAR_ROW, MALVAR_ROW.T, MALVAR_CROSS),
    "bilinear": (BILINEAR_GREEN, BILINEAR_ROW, BILINEAR_ROW.T, BILINEAR_CROSS),
}
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG
TONES = 8  # steps from no tone curve to the whole: so that each one's tables are made once
LEVELS = 1 << 14  # steps of the transfer tables: finer than a tenth of an 8-bit step even where the curve is steepest

# Pixels that a picture loses at each side: filters have no neighbours there, and JPEG's blocks begin anywhere.
MARGIN = 16


@dataclass(frozen=True)
class Sensor:
    """How a sensor sees a scene, and in which numbers its file holds that.

    Attributes:
        noise: of its values, full at 1.
        red, blue: the white balance's gains; green has 1.
        colours: (3, 3), from linear sRGB to the sensor's colours, rows summing to 1; None where they are the same.
        phase: where red is in the mosaic's quads.
        exposure: what the light is multiplied by; above 1, the brightest parts are cut off.
        black, white: the numbers that stand for no light and for a full sensor.
    """

    noise: ShotRead
    red: float = 2.0
    blue: float = 1.6
    colours: NDArray[np.float64] | None = None
    phase: Phase = (0, 0)
    exposure: float = 1.0
    black: int = 1024
    white: int = 16383

    def see(self, scene: NDArray[np.floating]) -> Array:
        """The mosaic without noise: (H, W, 3), sRGB-encoded, [0, 1], to (H, W), [0, 1]."""
        return mosaic(self.light(scene), self.phase).clip(0, 1)

    def take(self, scene: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.uint16]:
        """The mosaic as its file holds it: with noise, cut off at no light and at full, in whole numbers.

        Args:
            scene: (H, W, 3), sRGB-encoded, [0, 1].
            rng: the source of chance.

        Returns:
            (H, W), 0 to `white`.
        """
        return self.counted(mosaic(self.light(scene), self.phase), rng)

    def counted(self, light: Array, rng: np.random.Generator) -> NDArray[np.uint16]:
        """Light, any shape, as `take` has it of a mosaic's."""
        noisy = light + sensor_noise(light, self.noise.shot, self.noise.read, rng)
        numbers = np.rint(noisy * (self.white - self.black) + self.black)
        return numbers.clip(0, self.white).astype(np.uint16)

    def normalised(self, numbers: NDArray[np.uint16]) -> Array:
        """Numbers of its file, any shape, as light: nominally [0, 1], noise below zero."""
        return (numbers.astype(np.float32) - self.black) / np.float32(self.white - self.black)

    def matrix(self) -> NDArray[np.float64]:
        """(3, 3), from linear sRGB to what the photosites see of each colour."""
        return _filters(self.colours, self.red, self.blue)

    def light(self, scene: NDArray[np.floating]) -> Array:
        """What falls onto the photosites through each filter: (H, W, 3), sRGB-encoded, to the same, from 0 up."""
        linear = srgb_to_linear(np.asarray(scene, np.float32))
        return np.maximum(linear @ (self.exposure * self.matrix()).T.astype(np.float32), 0)

    def developed(self, light: Array, demosaic: Demosaic | None = None) -> Array:
        """As developers do it: white balance, what is beyond dark and full cut off, all colours found, and made sRGB's.

        Args:
            light: (H, W), a mosaic, or (H, W, 3) of a sensor that sees all colours everywhere.
            demosaic: how missing colours are found; of a mosaic.

        Returns:
            (H, W, 3), linear, [0, 1].
        """
        gains = np.array([self.red, 1, self.blue], np.float32)
        if demosaic is None:
            balanced = (light * gains).clip(0, 1)
        else:
            each = mosaic(np.broadcast_to(gains, (*light.shape, 3)), self.phase)
            balanced = demosaiced((light * each).clip(0, 1), self.phase, demosaic).clip(0, 1)
        colours = np.eye(3) if self.colours is None else self.colours
        return (balanced @ np.linalg.inv(colours).T.astype(np.float32)).clip(0, 1)


def draw_sensor(rng: np.random.Generator) -> Sensor:
    """A sensor in any light, at any sensitivity; `shot` and `read` even in their logarithms."""
    shot, read = (float(np.exp(rng.uniform(*np.log(limits)))) for limits in (SHOTS, READS))
    return Sensor(
        noise=ShotRead(shot, read),
        red=rng.uniform(*RED_GAINS),
        blue=rng.uniform(*BLUE_GAINS),
        colours=_draw_colours(rng),
        exposure=float(np.exp(rng.uniform(*np.log(EXPOSURES)))),
        black=int(rng.integers(*BLACKS)),
    )


@dataclass(frozen=True)
class Camera:
    """How one picture is taken and developed.

    Attributes:
        shot: the noise's variance per unit of linear light; the sensor is full at 1.
        read: the noise's deviation in the dark, in the same unit.
        red, blue: the white balance's gains; green has 1.
        colours: (3, 3), from linear sRGB to the sensor's colours, rows summing to 1.
        tone: 0 to 1, how much of the tone curve 3x^2 - 2x^3 (Brooks et al.) follows the gamma.
        phase: where red is in the mosaic's quads.
        demosaic: how missing colours are found.
        luma_grain, chroma_grain: deviation in pixels of the blur that the camera's own denoising lays over what is
            left of the noise (the edges, which it spares, stay sharp), apart for brightness and colour.
        sharpening: 0 for none; how much of the difference to a blur of one pixel is added.
        scale: the size of the picture, of the sensor's.
        quality: of the JPEG, 1 to 100; None for no compression.
        subsampled: whether the JPEG keeps a quarter of the colour.
    """

    shot: float
    read: float
    red: float = 2.0
    blue: float = 1.6
    colours: NDArray[np.float64] | None = None
    tone: float = 0.0
    phase: Phase = (0, 0)
    demosaic: Demosaic = "malvar"
    luma_grain: float = 0.0
    chroma_grain: float = 0.0
    sharpening: float = 0.0
    scale: float = 1.0
    quality: int | None = None
    subsampled: bool = False

    def take(self, scene: NDArray[np.floating], rng: np.random.Generator) -> tuple[Array, Array]:
        """Take a picture of a scene, and the same picture without its noise.

        Both go through the same mosaic, demosaicing, colours and sharpening, so that they differ by the noise, the
        rounding and the compression alone. Encoding and clipping bend the noise, whose mean is then no longer zero: the
        clean picture is what the mean of many noisy ones would be, so that who takes the noise away keeps the colours.

        Args:
            scene: (H, W, 3), sRGB-encoded, [0, 1].
            rng: the source of chance.

        Returns:
            Noisy and clean, each (scale * H - 2 * MARGIN, scale * W - 2 * MARGIN, 3), sRGB-encoded, [0, 1]; the noisy
            one in steps of 1/255.
        """
        plane = mosaic(self._light(scene), self.phase)
        planes = np.stack([plane + sensor_noise(plane, self.shot, self.read, rng), plane])
        noisy, clean = self._develop(planes)
        noisy = clean + self._grain(noisy - clean)
        pictures = np.clip(sharpened(np.stack([noisy, clean]), self.sharpening), 0, 1)
        noisy, clean = (resized(picture, self.scale) for picture in pictures)
        y, x = rng.integers(8, size=2)  # the grid of JPEG's blocks begins anywhere
        noisy[y:, x:] = self._stored(noisy[y:, x:])
        inside = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
        noisy, clean = noisy[inside], clean[inside]
        return noisy, np.clip(clean + mean_noise(noisy - clean, clean), 0, 1)

    def _light(self, scene: NDArray[np.floating]) -> Array:
        """What falls onto the photosites through their filters: (H, W, 3), [0, 1]."""
        linear = _looked_up(scene, _to_linear(self.tone))
        return np.clip(linear @ self._matrix().T, 0, 1)

    def _develop(self, planes: Array) -> Array:
        """(2, H, W), as the sensor gives them, to (2, H, W, 3), encoded."""
        colours = demosaiced(np.clip(planes, 0, 1), self.phase, self.demosaic)
        return _looked_up(colours @ np.linalg.inv(self._matrix()).T.astype(np.float32), _to_encoded(self.tone))

    def _matrix(self) -> Array:
        return _filters(self.colours, self.red, self.blue).astype(np.float32)

    def _grain(self, noise: Array) -> Array:
        luma = (noise @ LUMA)[..., None]
        return blurred(luma, self.luma_grain) + blurred(noise - luma, self.chroma_grain)

    def _stored(self, picture: Array) -> Array:
        rounded = np.rint(picture * 255).astype(np.uint8)
        if self.quality is not None:
            buffer = BytesIO()
            subsampling = "4:2:0" if self.subsampled else "4:4:4"
            Image.fromarray(rounded).save(buffer, "JPEG", quality=self.quality, subsampling=subsampling)
            rounded = np.asarray(Image.open(buffer))
        return np.divide(rounded, 255, dtype=np.float32)


def draw_camera(rng: np.random.Generator) -> Camera:
    """A camera in a state that photos are found in: any light, sensitivity, maker's taste and quality of the file.

    `shot` is even in its logarithm; `read` follows it, and gets as small as that makes it.
    """
    shot = float(np.exp(rng.uniform(*np.log(SHOT_RANGE))))
    read = np.exp(0.5 * (READ_SLOPE * np.log(shot) + READ_INTERCEPT + READ_SPREAD * rng.standard_normal()))
    return Camera(
        shot=shot,
        read=float(min(read, READ_RANGE[1])),
        red=rng.uniform(*RED_GAINS),
        blue=rng.uniform(*BLUE_GAINS),
        colours=_draw_colours(rng),
        tone=int(rng.integers(TONES + 1)) / TONES,
        phase=(int(rng.integers(2)), int(rng.integers(2))),
        demosaic="malvar" if rng.random() < MALVAR_SHARE else "bilinear",
        luma_grain=_some(rng, MOST_LUMA_GRAIN),
        chroma_grain=_some(rng, MOST_CHROMA_GRAIN),
        sharpening=_some(rng, MOST_SHARPENING),
        scale=1.0 if rng.random() < FULL_SIZE_SHARE else rng.uniform(LEAST_SCALE, 1.0),
        quality=None if rng.random() < PLAIN_SHARE else int(rng.integers(QUALITIES[0], QUALITIES[1] + 1)),
        subsampled=bool(rng.random() < 0.5),
    )


def _some(rng: np.random.Generator, most: float) -> float:
    return 0.0 if rng.random() < SPARED else rng.uniform(0, most)


def _filters(colours: NDArray[np.float64] | None, red: float, blue: float) -> NDArray[np.float64]:
    """(3, 3), from linear sRGB to what is seen through a sensor's filters before its colours are balanced."""
    return (np.eye(3) if colours is None else colours) / np.array([[red], [1.0], [blue]])


def _draw_colours(rng: np.random.Generator) -> NDArray[np.float64]:
    mixed = np.tensordot(rng.dirichlet(np.ones(len(SENSORS))), SENSORS, axes=1) @ XYZ
    return mixed / mixed.sum(axis=1, keepdims=True)


def mean_noise(noise: Array, clean: Array) -> Array:
    """The part of the noise that averaging would leave: for each channel, the parabola over brightness that fits best.

    Args:
        noise: (H, W, C).
        clean: (H, W, C), [0, 1].

    Returns:
        (H, W, C).
    """
    fitted = np.empty_like(noise)
    for c in range(noise.shape[-1]):
        powers = np.stack([np.ones_like(clean[..., c]), clean[..., c], clean[..., c] ** 2]).reshape(3, -1)
        # A trace of the identity: where all is of one brightness, the powers are one and the same.
        weights = np.linalg.solve(powers @ powers.T + 1e-3 * np.eye(3), powers @ noise[..., c].ravel())
        fitted[..., c] = (weights @ powers).reshape(noise.shape[:2])
    return fitted


def mosaic(light: Array, phase: Phase = (0, 0)) -> Array:
    """What a Bayer sensor lets through: (H, W, 3) to (H, W)."""
    plane = light[..., 1].copy()
    y, x = phase
    plane[y::2, x::2] = light[y::2, x::2, 0]
    plane[1 - y :: 2, 1 - x :: 2] = light[1 - y :: 2, 1 - x :: 2, 2]
    return plane


def demosaiced(plane: Array, phase: Phase, method: Demosaic = "malvar") -> Array:
    """Find the two colours that each photosite did not see.

    Args:
        plane: (..., H, W), a mosaic of RGGB quads.
        phase: where they begin.
        method: "malvar" corrects the neighbours' mean by the second derivative of the colour that was seen, "bilinear"
            is that mean alone.

    Returns:
        (..., H, W, 3).
    """
    green, row, column, cross = (_filtered(plane, kernel) for kernel in DEMOSAICS[method])
    red, blue = np.empty_like(plane), np.empty_like(plane)
    y, x = phase
    red_sites, red_rows = np.s_[..., y::2, x::2], np.s_[..., y::2, 1 - x :: 2]
    blue_sites, blue_rows = np.s_[..., 1 - y :: 2, 1 - x :: 2], np.s_[..., 1 - y :: 2, x::2]
    red[red_sites], blue[blue_sites] = plane[red_sites], plane[blue_sites]
    red[blue_sites], blue[red_sites] = cross[blue_sites], cross[red_sites]
    red[red_rows], blue[blue_rows] = row[red_rows], row[blue_rows]
    red[blue_rows], blue[red_rows] = column[blue_rows], column[red_rows]
    green[red_rows], green[blue_rows] = plane[red_rows], plane[blue_rows]
    return np.stack([red, green, blue], axis=-1)


def blurred(picture: Array, deviation: float) -> Array:
    """Blur with a Gaussian of this deviation in pixels: (..., H, W, C) to the same; the border repeats."""
    if deviation < 0.2:  # its neighbours would weigh less than an 8-bit step
        return picture
    radius = int(np.ceil(2.5 * deviation))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    H, W = picture.shape[-3:-1]
    free = [(0, 0)] * (picture.ndim - 3)
    rows = np.pad(picture, [*free, (radius, radius), (0, 0), (0, 0)], mode="edge")
    picture = _weighted_sum((rows[..., y : y + H, :, :] for y in range(len(taps))), taps)
    columns = np.pad(picture, [*free, (0, 0), (radius, radius), (0, 0)], mode="edge")
    return _weighted_sum((columns[..., x : x + W, :] for x in range(len(taps))), taps)


def sharpened(picture: Array, amount: float) -> Array:
    """Unsharp masking: (..., H, W, C) to the same."""
    return picture + amount * (picture - blurred(picture, 1.0)) if amount else picture


def resized(picture: Array, scale: float) -> Array:
    """Make smaller, each pixel a weighted mean of those that it covers: (H, W, 3), [0, 1], to the same."""
    if scale == 1:
        return picture
    H, W, _ = picture.shape
    size = (round(W * scale), round(H * scale))
    planes = [Image.fromarray(picture[..., c]).resize(size, Image.Resampling.BICUBIC) for c in range(3)]
    return np.clip(np.stack([np.asarray(plane) for plane in planes], axis=-1), 0, 1)


def _filtered(plane: Array, kernel: NDArray[np.float64]) -> Array:
    """(..., H, W) by a 5x5 kernel; beyond the border the plane is mirrored, which keeps the colours in their places."""
    H, W = plane.shape[-2:]
    padded = np.pad(plane, [(0, 0)] * (plane.ndim - 2) + [(2, 2)] * 2, mode="reflect")
    taps = list(zip(*np.nonzero(kernel), strict=True))
    parts = (padded[..., y : y + H, x : x + W] for y, x in taps)
    return _weighted_sum(parts, [np.float32(kernel[tap]) for tap in taps])


def _weighted_sum(parts: Iterable[Array], weights: Iterable[np.float32]) -> Array:
    weighted = (part * weight for part, weight in zip(parts, weights, strict=True))
    total = next(weighted)
    for part in weighted:
        total += part
    return total


def _looked_up(values: Array, table: Array) -> Array:
    return np.take(table, np.rint(np.clip(values, 0, 1) * (LEVELS - 1)).astype(np.int32))


@lru_cache(maxsize=TONES + 1)
def _to_encoded(tone: float) -> Array:
    """The table from linear light to the photo's encoding: gamma, then the tone curve."""
    return _toned(linear_to_srgb(np.linspace(0, 1, LEVELS)), tone).astype(np.float32)


@lru_cache(maxsize=TONES + 1)
def _to_linear(tone: float) -> Array:
    """And back."""
    grid = np.linspace(0, 1, LEVELS)
    return srgb_to_linear(np.interp(grid, _toned(grid, tone), grid)).astype(np.float32)


def _toned(x: NDArray[np.float64], tone: float) -> NDArray[np.float64]:
    return (1 - tone) * x + tone * (3 * x**2 - 2 * x**3)
