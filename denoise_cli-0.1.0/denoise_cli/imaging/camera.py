"""A simulated camera: it turns a photo back into light, captures that with a noisy sensor, and develops a new photo.

Sources: Brooks et al., "Unprocessing Images for Learned Raw Denoising" (2019), for turning photos back into light,
and for the ranges of colours, white balance and noise; Xu et al., "Learning Deformable Kernels for Image and Video
Denoising" (2019), section 4, for the noise and its widest range.

Legend: H x W image, 3 channels last; leading dimensions are free.
"""

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.imaging.bayer import Phase
from denoise_cli.imaging.colour import LUMA, camera_matrix, draw_colours
from denoise_cli.imaging.demosaic import DemosaicMethod, demosaic, weighted_sum
from denoise_cli.imaging.filters import ColourFilters
from denoise_cli.imaging.noise import READ_RANGE, SHOT_RANGE, sensor_noise
from denoise_cli.imaging.sensor import BLUE_GAINS, RED_GAINS
from denoise_cli.imaging.transfer import linear_to_srgb, srgb_to_linear

Array = NDArray[np.float32]

# log(read^2) = slope * log(shot) + intercept, with this deviation: fitted to the Darmstadt dataset by Brooks et al.
READ_SLOPE = 2.18
READ_INTERCEPT = 1.20
READ_SPREAD = 0.26
# Chosen by us, because makers do not publish how they process pictures: from nothing to what the worst phones do.
MAX_LUMA_GRAIN = 1.0  # pixels of blur
MAX_CHROMA_GRAIN = 2.5  # pixels of blur, but
BLOTCHY_SHARE = 0.2  # of the cameras leave coarse blotches of colour:
BLOTCHES = 5.0  # pixels of blur
MAX_SHARPENING = 1.0  # amount of unsharp masking
ABSENT_SHARE = 0.25  # of the cameras lack each of these three
MALVAR_SHARE = 0.7  # of the cameras have this better demosaicing method
FULL_SIZE_SHARE = 0.6  # of the photos keep their size; the others are reduced, as for a screen
MIN_SCALE = 0.5  # of reduced photos
UNCOMPRESSED_SHARE = 0.2  # of the files are not JPEGs
BEST_QUALITY = 99  # of JPEGs, and
QUALITY_SPAN = 60  # how far it goes down from there; high qualities are more frequent
TONE_STEPS = 8  # from no tone curve to the full one: few, so that their tables can be cached
TABLE_SIZE = 1 << 14  # entries of a transfer table: finer than a tenth of an 8-bit step at the steepest point
MARGIN = 16  # pixels lost on each side, where filters lack neighbours and JPEG's blocks are incomplete


@dataclass(frozen=True)
class Camera:
    """How a picture is captured and developed.

    Attributes:
        shot: variance of the noise per unit of linear light; the sensor saturates at 1.
        read: standard deviation of the noise in the dark, as a share of saturation.
        red, blue: gains of the white balance; that of green is 1.
        colours: (3, 3), from linear sRGB to the sensor's balanced colours, rows add up to 1; None if they are the same.
        tone: 0 to 1, the share of the tone curve 3x^2 - 2x^3 (Brooks et al.) that is applied after the gamma.
        phase: where red is in the mosaic's quads.
        demosaic: how missing colours are interpolated.
        luma_grain, chroma_grain: standard deviation in pixels of the Gaussian that blurs the noise in brightness and in
            colour. It stands for the camera's own denoising, which spares edges, so the picture itself stays sharp.
        sharpening: factor of the difference to a blur of one pixel that is added; 0 for none.
        scale: size of the picture relative to the sensor's.
        quality: of the JPEG, 1 to 100; None for no compression.
        subsampled: whether the JPEG stores a quarter of the chroma samples.
    """

    shot: float
    read: float
    red: float = 2.0
    blue: float = 1.6
    colours: NDArray[np.float64] | None = None
    tone: float = 0.0
    phase: Phase = (0, 0)
    demosaic: DemosaicMethod = "malvar"
    luma_grain: float = 0.0
    chroma_grain: float = 0.0
    sharpening: float = 0.0
    scale: float = 1.0
    quality: int | None = None
    subsampled: bool = False

    def take(self, scene: NDArray[np.floating], rng: np.random.Generator) -> tuple[Array, Array]:
        """Take a noisy picture of a scene, and the same picture without noise.

        Both go through the same mosaic, demosaicing, colours and sharpening, so they differ only by the noise, the
        rounding and the compression. Encoding and clipping are not linear, so the noise no longer has the mean zero.
        The clean picture is an estimate of the mean of many noisy ones: removing the noise then keeps the colours.

        Args:
            scene: (H, W, 3), sRGB-encoded, [0, 1].
            rng: random numbers.

        Returns:
            Noisy and clean, each (scale * H - 2 * MARGIN, scale * W - 2 * MARGIN, 3), sRGB-encoded, [0, 1]; the noisy
            one in steps of 1/255.
        """
        plane = ColourFilters("bayer", self.phase).sample(self._light(scene))
        planes = np.stack([plane + sensor_noise(plane, self.shot, self.read, rng), plane])
        noisy, clean = self._develop(planes)
        noisy = clean + self._blur_noise(noisy - clean)
        pictures = np.clip(sharpen(np.stack([noisy, clean]), self.sharpening), 0, 1)
        noisy, clean = (resize(picture, self.scale) for picture in pictures)
        y, x = rng.integers(8, size=2)  # JPEG's grid of blocks can start anywhere
        noisy[y:, x:] = self._store(noisy[y:, x:])
        inside = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
        noisy, clean = noisy[inside], clean[inside]
        return noisy, np.clip(clean + mean_noise(noisy - clean, clean), 0, 1)

    def _light(self, scene: NDArray[np.floating]) -> Array:
        """The light behind each colour filter: (H, W, 3), [0, 1]."""
        linear = _look_up(scene, _decoding_table(self.tone))
        return np.clip(linear @ self._matrix().T, 0, 1)

    def _develop(self, planes: Array) -> Array:
        """Mosaics, (2, H, W), to encoded pictures, (2, H, W, 3)."""
        colours = demosaic(np.clip(planes, 0, 1), self.phase, self.demosaic)
        return _look_up(colours @ np.linalg.inv(self._matrix()).T.astype(np.float32), _encoding_table(self.tone))

    def _matrix(self) -> Array:
        return camera_matrix(self.colours, self.red, self.blue).astype(np.float32)

    def _blur_noise(self, noise: Array) -> Array:
        luma = (noise @ LUMA)[..., None]
        return gaussian_blur(luma, self.luma_grain) + gaussian_blur(noise - luma, self.chroma_grain)

    def _store(self, picture: Array) -> Array:
        """The picture as it is read back from its file."""
        rounded = np.rint(picture * 255).astype(np.uint8)
        if self.quality is not None:
            rounded = as_jpeg(rounded, self.quality, self.subsampled)
        return np.divide(rounded, 255, dtype=np.float32)


def draw_camera(rng: np.random.Generator) -> Camera:
    """A random camera and file, in any light and at any sensitivity.

    `shot` is uniform in its logarithm; `read` depends on it (Brooks et al.), and has no lower limit.
    """
    shot = float(np.exp(rng.uniform(*np.log(SHOT_RANGE))))
    read = np.exp(0.5 * (READ_SLOPE * np.log(shot) + READ_INTERCEPT + READ_SPREAD * rng.standard_normal()))
    return Camera(
        shot=shot,
        read=float(min(read, READ_RANGE[1])),
        red=rng.uniform(*RED_GAINS),
        blue=rng.uniform(*BLUE_GAINS),
        colours=draw_colours(rng),
        tone=int(rng.integers(TONE_STEPS + 1)) / TONE_STEPS,
        phase=(int(rng.integers(2)), int(rng.integers(2))),
        demosaic="malvar" if rng.random() < MALVAR_SHARE else "bilinear",
        luma_grain=_draw_amount(rng, MAX_LUMA_GRAIN),
        chroma_grain=_draw_amount(rng, BLOTCHES if rng.random() < BLOTCHY_SHARE else MAX_CHROMA_GRAIN),
        sharpening=_draw_amount(rng, MAX_SHARPENING),
        scale=1.0 if rng.random() < FULL_SIZE_SHARE else rng.uniform(MIN_SCALE, 1.0),
        quality=None if rng.random() < UNCOMPRESSED_SHARE else round(BEST_QUALITY - QUALITY_SPAN * rng.random() ** 2),
        subsampled=bool(rng.random() < 0.5),
    )


def _draw_amount(rng: np.random.Generator, most: float) -> float:
    return 0.0 if rng.random() < ABSENT_SHARE else rng.uniform(0, most)


def mean_noise(noise: Array, clean: Array) -> Array:
    """The mean of the noise at each brightness: for each channel, the best-fitting parabola over the clean values.

    Args:
        noise: (H, W, C).
        clean: (H, W, C), [0, 1].

    Returns:
        (H, W, C).
    """
    fitted = np.empty_like(noise)
    for c in range(noise.shape[-1]):
        powers = np.stack([np.ones_like(clean[..., c]), clean[..., c], clean[..., c] ** 2]).reshape(3, -1)
        # The small multiple of the identity is for pictures of a single brightness, where the powers are proportional.
        weights = np.linalg.solve(powers @ powers.T + 1e-3 * np.eye(3), powers @ noise[..., c].ravel())
        fitted[..., c] = (weights @ powers).reshape(noise.shape[:2])
    return fitted


def gaussian_blur(picture: Array, deviation: float) -> Array:
    """Blur with a Gaussian of this deviation in pixels: (..., H, W, C) to the same; borders are replicated."""
    if deviation < 0.2:  # the weight of neighbours would be less than an 8-bit step
        return picture
    radius = int(np.ceil(2.5 * deviation))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    H, W = picture.shape[-3:-1]
    free = [(0, 0)] * (picture.ndim - 3)
    rows = np.pad(picture, [*free, (radius, radius), (0, 0), (0, 0)], mode="edge")
    picture = weighted_sum((rows[..., y : y + H, :, :] for y in range(len(taps))), taps)
    columns = np.pad(picture, [*free, (0, 0), (radius, radius), (0, 0)], mode="edge")
    return weighted_sum((columns[..., x : x + W, :] for x in range(len(taps))), taps)


def as_jpeg(pixels: NDArray[np.uint8], quality: int, subsampled: bool) -> NDArray[np.uint8]:
    """A picture as it is read back from a JPEG: (H, W, 3) to the same.

    Args:
        pixels: (H, W, 3), encoded.
        quality: 1 to 100.
        subsampled: whether the JPEG stores a quarter of the chroma samples.
    """
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling="4:2:0" if subsampled else "4:4:4")
    return np.asarray(Image.open(buffer))


def sharpen(picture: Array, amount: float) -> Array:
    """Apply unsharp masking with a blur of one pixel: (..., H, W, C) to the same."""
    return picture + amount * (picture - gaussian_blur(picture, 1.0)) if amount else picture


def resize(picture: Array, scale: float) -> Array:
    """Reduce a picture with an antialiasing bicubic filter: (H, W, 3), [0, 1], to (scale * H, scale * W, 3)."""
    if scale == 1:
        return picture
    H, W, _ = picture.shape
    size = (round(W * scale), round(H * scale))
    planes = [Image.fromarray(picture[..., c]).resize(size, Image.Resampling.BICUBIC) for c in range(3)]
    return np.clip(np.stack([np.asarray(plane) for plane in planes], axis=-1), 0, 1)


def _look_up(values: Array, table: Array) -> Array:
    return np.take(table, np.rint(np.clip(values, 0, 1) * (TABLE_SIZE - 1)).astype(np.int32))


@lru_cache(maxsize=TONE_STEPS + 1)
def _encoding_table(tone: float) -> Array:
    """The table from linear light to the photo's encoding: gamma, then the tone curve."""
    return _apply_tone_curve(linear_to_srgb(np.linspace(0, 1, TABLE_SIZE)), tone).astype(np.float32)


@lru_cache(maxsize=TONE_STEPS + 1)
def _decoding_table(tone: float) -> Array:
    """The inverse of `_encoding_table`."""
    grid = np.linspace(0, 1, TABLE_SIZE)
    return srgb_to_linear(np.interp(grid, _apply_tone_curve(grid, tone), grid)).astype(np.float32)


def _apply_tone_curve(x: NDArray[np.float64], tone: float) -> NDArray[np.float64]:
    return (1 - tone) * x + tone * (3 * x**2 - 2 * x**3)
