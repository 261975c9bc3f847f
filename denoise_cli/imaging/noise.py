"""Sensor noise, and the noise level of pictures: at each pixel for a known sensor, or estimated from the picture.

Source of the sensor's noise: Xu et al., "Learning Deformable Kernels for Image and Video Denoising" (2019), section 4.
Source of the white estimate: Chen, Zhu, Heng, "An Efficient Statistical Method for Image Noise Level Estimation" (ICCV
2015).
"""

import math
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.transfer import srgb_slope, srgb_to_linear

Scalar = TypeVar("Scalar", bound=np.generic)

# `shot` and `read` of `ShotRead` for training, as in Xu et al.
SHOT_RANGE = (1e-4, 1e-2)
READ_RANGE = (1e-3, 10**-1.5)

MAD_TO_DEVIATION = 1.4826  # of normal noise, from the median of its absolute differences from its median

UNKNOWN_LEVEL = 0.0  # the level map of networks that find the level themselves

RGB = 3
PATCH = 8  # pixels
MAX_PATCHES = 60_000
# In grey photos texture reaches all eigenvalues; in colour it is much alike in the channels, and their differences are
# free of it. Of grey patches of one brightness, this share, those with least detail, shows the noise in these highest
# frequencies of the DCT, down and across. Noise is independent of the other frequencies, by which the patches are
# chosen: there is no bias. The median over the brightnesses counts.
SMOOTHEST = 0.02
FINEST = 5
MIN_SMOOTHEST = 20
BRIGHTNESSES = 8
MOST_TEXTURE = 4.0  # times the noise, in the eigenvalues; with more, the smoothest patches are of a part without noise
BLOCK = 16  # pixels
MAX_BLOCKS = 8_000
MIN_BLOCKS = 100
# Drawings have at least this share of equal neighbours; noise in 8 bits with a deviation of 1 leaves a quarter, if it
# is grey. Blocks of strongly compressed JPEGs are of one colour, too, but each has another one. In night photos most
# pixels may be black, but what is lit has many colours.
LEAST_EQUAL = 0.45
LEAST_EQUAL_ACROSS = 0.3  # of that share, at the borders of JPEG's blocks
MOST_COLOURS = {1: 64, 3: 1024}  # by number of channels
JPEG_BLOCK = 8  # pixels
FLATTEST = 0.05  # share of a photo's blocks that are regarded as flat
# Noise is equally strong in all flat blocks, texture is not. The deviations at these two quantiles may differ by this
# factor at most for the flat blocks to be trusted.
EVEN_SHARES = (0.01, 0.1)
EVEN_RATIO = 1.3
# Among few blocks, those of even texture such as leaves can agree so well by chance, and more is asked of them.
FEW_BLOCKS = 400
EVEN_SHARES_OF_FEW = (0.0, 0.15)
HIDDEN_RATIO = 1.7  # flat blocks with this many times the deviation of the eigenvalues have noise that is not white
# With white noise in a photo, at least this share of the eigenvalues are within this factor of its variance.
# What flat blocks show beyond it is texture. Measured: at least 0.62 where texture is even, at most 0.44 where a camera
# or its simulation has smoothed the noise.
WHITE_SHARE = 0.5
WHITE_RATIO = 2.0
UNEQUAL_RATIO = 2.0  # of two channels' levels, beyond which one level for all of them is not looked for
MAX_FLAT_RATIO = 1.1  # limit of the estimate, times the flat blocks' deviation, which is uncertain by some percent
GRAIN = 4  # pixels: the size of the grain at which noise that is not white is measured
# Pixels, a side. A single noisy pixel says little about the light, and the level must not follow its noise.
NEIGHBOURHOOD = 5
# Of brightness, on [0, 1]: noise is clipped in blocks whose mean is nearer to black or to white.
ENDS = 0.03
LEAST_BETWEEN = 0.1  # share of a picture's blocks that must show noise
FLAT_SHARE = 0.1  # of these blocks
# Gauss-Hermite quadrature, the mean over normal noise: distance from the mean in deviations, and weight.
NODES = ((-(3**0.5), 1 / 6), (0.0, 2 / 3), (3**0.5, 1 / 6))


@dataclass(frozen=True)
class ShotRead:
    """A sensor's noise: a value q of linear light gets noise of the variance shot * q + read^2.

    >>> noise = ShotRead(shot=0.01, read=0.02)
    >>> level = noise.level_of_light(np.full((8, 8, 3), 0.5))
    >>> level.shape
    (8, 8)
    >>> print(f"{level[0, 0]:.4f}")
    0.0735

    Attributes:
        shot: the variance per unit of light, 0 or more.
        read: the deviation in the dark, 0 or more.
    """

    shot: float
    read: float

    def __post_init__(self) -> None:
        if min(self.shot, self.read) < 0:
            raise ValueError(f"shot, read: expected 0 or more, got {self.shot} and {self.read}")

    def scaled(self, factor: float) -> "ShotRead":
        """Noise whose deviation is `factor` times this one's at every brightness."""
        return ShotRead(self.shot * factor**2, self.read * factor)

    def level_of_light(self, noisy: NDArray[np.floating]) -> NDArray[np.float32]:
        """The noise level at each pixel, sqrt(read^2 + shot * q), where q is the mean of the noisy channels.

        Args:
            noisy: (H, W, C), linear light, nominally [0, 1].

        Returns:
            (H, W), standard deviations in linear light.
        """
        light = np.maximum(noisy.mean(axis=-1), 0)
        return np.sqrt(self.read**2 + self.shot * light).astype(np.float32)

    def level_of_photo(self, noisy: NDArray[np.floating]) -> NDArray[np.float32]:
        """The noise level at each pixel of an sRGB-encoded picture.

        In linear light, a value q has noise of the deviation s = sqrt(shot * q + read^2). The encoding multiplies it by
        its slope, averaged over the noise because the slope changes within one deviation in the dark. Per channel,

            sigma(q) = s * E[srgb'(q + s * z)],  z ~ N(0, 1);

        a pixel's level is the root mean square over its channels.

        Args:
            noisy: (H, W, C), nominally [0, 1], not clipped.

        Returns:
            (H, W), the deviation in the picture's own encoding.

        Raises:
            ValueError: another shape.
        """
        if noisy.ndim != 3:
            raise ValueError(f"noisy: expected (H, W, C), got {noisy.shape}")
        # Clipping before averaging would make the dark seem brighter than it is.
        light = _box_mean(srgb_to_linear(noisy)).clip(0, 1)
        deviation = np.sqrt(self.shot * light + self.read**2)
        sigma = deviation * sum(weight * srgb_slope(light + z * deviation) for z, weight in NODES)
        return np.sqrt(np.mean(np.square(sigma), axis=2)).astype(np.float32)


def developed_noise(noise: ShotRead, gains: NDArray[np.floating]) -> ShotRead:
    """A sensor's noise after white balance, averaged over the colours of a grey picture.

    A colour that is multiplied by g has noise of the variance shot * g * q + (g * read)^2 at a grey value q.

    Args:
        noise: of the sensor's values.
        gains: (3,), factors of the white balance.
    """
    read = noise.read * float(np.sqrt(np.mean(np.square(gains))))
    return ShotRead(noise.shot * float(np.mean(gains)), read)


def sensor_noise(
    light: NDArray[np.floating], shot: float, read: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw a sensor's noise: normally distributed, independent for each value, of the variance shot * q + read^2.

    Args:
        light: q, linear, of any shape, nominally [0, 1]; values below zero count as zero.
        shot: the variance per unit of light, 0 or more; in training, within `SHOT_RANGE`.
        read: the deviation in the dark, 0 or more; in training, within `READ_RANGE`.
        rng: random numbers.

    Returns:
        The same shape, to be added to the light.
    """
    deviation = np.sqrt(shot * np.maximum(light, 0) + read**2).astype(np.float32)
    return rng.standard_normal(light.shape, np.float32) * deviation


def estimate_sigma(
    image: NDArray[np.integer | np.floating], white: float = 1.0, visible: NDArray[np.bool_] | None = None
) -> float:
    """The noise level as one number: the root mean square of what `estimate_levels` finds, with the same arguments.

    >>> noise = np.random.default_rng(0).normal(0, 0.1, (128, 128, 3))
    >>> print(f"{estimate_sigma(0.5 + noise):.2f}")
    0.10
    """
    return root_mean_square(estimate_levels(image, white, visible))


def root_mean_square(values: NDArray[np.floating]) -> float:
    """Of all values."""
    return float(np.sqrt(np.mean(np.square(values))))


def estimate_levels(
    image: NDArray[np.integer | np.floating], white: float = 1.0, visible: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Estimate each channel's noise level from the picture alone, as the standard deviation of white noise.

    White noise shows in the smallest eigenvalues of the covariance of the picture's patches. Fine texture can be
    mistaken for it, so the estimate never exceeds what the flat blocks of the picture show, nor in grey pictures the
    finest detail where they are smoothest. Noise that a camera has smoothed, sharpened or compressed is not white and
    escapes the eigenvalues. It is measured in the flat blocks, if these agree and the eigenvalues do not. As such noise
    is coarser than white noise of the same deviation, it is more visible: the estimate is the deviation of white noise
    with equally strong grain of `GRAIN` pixels.

    Where the channels have different levels, as with the weak blue of old sensors, the smallest eigenvalues are those
    of the channels with least noise, so each channel's level follows from the differences of two channels instead.
    Otherwise all channels are given the same level.

    Only what can show noise counts: not the bars, frames and captions of one colour round a picture, and nothing in
    drawings and letters, where most pixels equal their neighbour.

    >>> noise = np.random.default_rng(0).normal(0, [0.02, 0.02, 0.1], (128, 128, 3))
    >>> print(estimate_levels(0.5 + noise).round(2))
    [0.02 0.02 0.1 ]

    Args:
        image: (H, W, C), any range.
        white: the value of white; only the samples of the image that are used are divided by it.
        visible: (H, W), which pixels count; None for all.

    Returns:
        (C,), in the unit in which white is 1; 0 for an image that is too small.
    """
    same = np.ones(image.shape[-1], np.float32)
    counted = _counted_blocks(image, visible)
    if _are_drawn(counted):
        return 0 * same
    patches = _counted_patches(image, white, visible)
    covariance = _covariance(patches)
    levels = _channel_sigmas(covariance).astype(np.float32)
    if not len(levels) or levels.max() <= UNEQUAL_RATIO * levels.min():
        levels = _white_sigma(covariance) * same
    level = root_mean_square(levels)
    finest = np.float32(_finest_sigma(patches) if image.shape[-1] == 1 else math.inf)
    if finest < level / MOST_TEXTURE:
        finest = np.float32(math.inf)
    blocks = _blocks(counted, image, white, visible)
    if len(blocks) < MIN_BLOCKS:
        return np.minimum(levels, finest)
    deviations = _deviations(blocks)
    low, high = np.quantile(deviations, EVEN_SHARES)
    lowest, higher = np.quantile(deviations, EVEN_SHARES_OF_FEW) if len(blocks) < FEW_BLOCKS else (low, high)
    flat = deviations <= np.quantile(deviations, FLATTEST)
    even = higher < EVEN_RATIO * lowest
    if even and deviations[flat].max() > HIDDEN_RATIO * level and not _are_white(covariance):
        return root_mean_square(_deviations(blocks[flat], GRAIN)) * same
    most = MAX_FLAT_RATIO * float(high)
    return np.minimum(levels * (most / level) if level > most else levels, finest)


def is_free_of_noise(image: NDArray[np.integer | np.floating], visible: NDArray[np.bool_] | None = None) -> bool:
    """Whether a picture has few colours, and most pixels equal their neighbour, as in drawings, letters and pixel art.

    Blocks of one colour do not count, since they may surround a photo.

    Args:
        image: (H, W, C).
        visible: see `estimate_levels`.
    """
    return _are_drawn(_counted_blocks(image, visible))


def fine_noise(light: NDArray[np.floating]) -> float | None:
    """How strong the finest detail is where a picture is flattest: quickly found, and no more than its noise.

    White noise shows with about its deviation. Noise that was smoothed shows less, but always by the same factor, so
    that the pictures of a clip can be compared.

    Args:
        light: (H, W), brightness on [0, 1].

    Returns:
        In the unit of the picture; None if nearly all of it is too dark or too bright to show any noise.
    """
    H, W = (side - side % 2 for side in light.shape)
    rows = light[0:H:2, :W] - light[1:H:2, :W]
    fine, light = (rows[:, ::2] - rows[:, 1::2]) / 2, light[0:H:2, 0:W:2]
    side = BLOCK // 2
    squares, means = (_in_squares(picture, side).mean(axis=(2, 3)) for picture in (np.square(fine), light))
    between = squares[(means > ENDS) & (means < 1 - ENDS)]
    if len(between) <= LEAST_BETWEEN * squares.size:
        return None
    noisy = between[between > 0]  # bars and captions may have any colour
    return float(np.sqrt(np.quantile(noisy, FLAT_SHARE))) if len(noisy) else 0.0


def _are_drawn(blocks: NDArray[np.integer | np.floating]) -> bool:
    if not len(blocks):
        return False
    # Channel by channel: NumPy takes six times as long for `all` over the few values of each pixel.
    channels = (blocks[..., c] for c in range(blocks.shape[-1]))
    equal = reduce(np.logical_and, (channel[:, :, 1:] == channel[:, :, :-1] for channel in channels))
    share = float(np.median(equal.mean(axis=(1, 2))))
    across = float(np.median(equal[:, :, JPEG_BLOCK - 1].mean(axis=1)))
    if share < LEAST_EQUAL or across < LEAST_EQUAL_ACROSS * share:
        return False
    C = blocks.shape[-1]
    return len(np.unique(blocks.reshape(-1, C), axis=0)) <= MOST_COLOURS[C]


def _box_mean(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """The mean over each pixel's neighbourhood, mirrored at the borders."""
    margin = NEIGHBOURHOOD // 2
    for axis in (0, 1):
        margins = [(margin, margin) if a == axis else (0, 0) for a in range(image.ndim)]
        padded = np.pad(image, margins, mode="symmetric")
        # NumPy takes several times as long for the mean of a view of windows.
        length, before = image.shape[axis], (slice(None),) * axis
        shifted = [padded[(*before, slice(start, start + length))] for start in range(NEIGHBOURHOOD)]
        image = reduce(np.add, shifted) / NEIGHBOURHOOD
    return image


def _white_sigma(covariance: NDArray[np.float64] | None) -> float:
    """The deviation of white noise, from the smallest eigenvalues of the covariance of patches; 0 without any.

    Patches of photos lie near a low-dimensional plane, so most eigenvalues are only noise. The largest are dropped
    until the mean of the rest is at most their median.
    """
    if covariance is None:
        return 0.0
    eigenvalues = np.linalg.eigvalsh(covariance)[::-1]
    for dropped in range(len(eigenvalues)):
        rest = eigenvalues[dropped:]
        if np.mean(rest) <= np.median(rest):
            return float(np.sqrt(max(np.mean(rest), 0)))
    return 0.0


def _are_white(covariance: NDArray[np.float64] | None) -> bool:
    """Whether most of the eigenvalues agree on one level, as those of white noise do."""
    if covariance is None:
        return False
    variance = _white_sigma(covariance) ** 2
    eigenvalues = np.linalg.eigvalsh(covariance)
    alike = (eigenvalues > variance / WHITE_RATIO) & (eigenvalues < variance * WHITE_RATIO)
    return bool(alike.mean() >= WHITE_SHARE)


def _channel_sigmas(covariance: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """The deviations of white noise in R, G and B, (3,); empty if the picture is grey or too small.

    The difference of two channels has the sum of their variances, and little of the texture, which is mostly grey.
    """
    if covariance is None or len(covariance) != RGB * PATCH**2:
        return np.empty(0)
    parts = covariance.reshape(RGB, PATCH**2, RGB, PATCH**2).swapaxes(1, 2)
    red_green, green_blue, blue_red = (
        _white_sigma(parts[one, one] + parts[other, other] - parts[one, other] - parts[other, one]) ** 2
        for one, other in ((0, 1), (1, 2), (2, 0))
    )
    twice = np.array([red_green + blue_red, red_green + green_blue, green_blue + blue_red])
    return np.sqrt(np.maximum(twice - [green_blue, blue_red, red_green], 0) / 2)


def _blocks(
    some: NDArray[np.integer | np.floating],
    image: NDArray[np.integer | np.floating],
    white: float,
    visible: NDArray[np.bool_] | None,
) -> NDArray[np.float64]:
    """Those of an image's blocks, (N, BLOCK, BLOCK, C), that do not reach its darkest or brightest value."""
    if len(some):
        seen = image if visible is None else image[visible]
        some = some[(some.min(axis=(1, 2, 3)) > seen.min()) & (some.max(axis=(1, 2, 3)) < seen.max())]
    return _scaled(some, white)


def _counted_blocks(
    image: NDArray[np.integer | np.floating], visible: NDArray[np.bool_] | None
) -> NDArray[np.integer | np.floating]:
    """(N, BLOCK, BLOCK, C): at most about `MAX_BLOCKS` blocks that can be seen, without those of one colour."""
    squares = _in_squares(image)
    step = max(1, math.ceil(math.sqrt(squares.shape[0] * squares.shape[1] / MAX_BLOCKS)))
    some = squares[::step, ::step]
    some = (
        some.reshape(-1, *some.shape[2:])
        if visible is None
        else some[_in_squares(visible)[::step, ::step].all(axis=(2, 3))]
    )
    return some[(some != some[:, :1, :1]).any(axis=(1, 2, 3))]


def _in_squares(picture: NDArray[Scalar], side: int = BLOCK) -> NDArray[Scalar]:
    """(rows, columns, side, side, ...): a view of a picture, (H, W, ...), in blocks."""
    H, W, *rest = picture.shape
    rows, columns = H // side, W // side
    return picture[: rows * side, : columns * side].reshape(rows, side, columns, side, *rest).swapaxes(1, 2)


def _deviations(blocks: NDArray[np.float64], grain: int = 1) -> NDArray[np.float64]:
    """Each block's deviation from its best-fitting plane, (N,).

    With `grain`, it is that of means over `grain` x `grain` pixels, scaled so that white noise keeps its deviation.
    """
    N, _, _, C = blocks.shape
    side = BLOCK // grain
    means = blocks.reshape(N, side, grain, side, grain, C).mean(axis=(2, 4)).reshape(N, side * side, C)
    plane = np.stack([np.ones((side, side)), *np.mgrid[:side, :side]], axis=-1).reshape(-1, 3)
    basis, _ = np.linalg.qr(plane)  # (side * side, 3)
    energy = np.square(means).sum(axis=(1, 2)) - np.square(basis.T @ means).sum(axis=(1, 2))
    return grain * np.sqrt(np.maximum(energy, 0) / (C * (side * side - 3)))


def _counted_patches(
    image: NDArray[np.integer | np.floating], white: float, visible: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """(N, C * PATCH**2): about `MAX_PATCHES` patches that can be seen, without those of one colour."""
    H, W, C = image.shape
    if min(H, W) < PATCH:
        return np.empty((0, C * PATCH**2))
    step = math.ceil(math.sqrt(H * W / MAX_PATCHES))  # before the copy: every patch of a photo is 21 times its size
    patches = _patches(image)[::step, ::step]
    counted = (patches != patches[..., :1, :1]).any(axis=(2, 3, 4))
    if visible is not None:
        counted &= _patches(visible)[::step, ::step].all(axis=(2, 3))
    return _scaled(patches[counted].reshape(-1, C * PATCH**2), white)


def _covariance(patches: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """None if there are fewer patches than values in a patch, because most eigenvalues would then be zero."""
    return np.cov(patches, rowvar=False) if len(patches) > patches.shape[1] else None


def _finest_sigma(patches: NDArray[np.float64]) -> float:
    """The deviation of grey patches' finest detail where they have least coarser detail; infinite for too few.

    Patches that reach the darkest or brightest value do not count, since their noise may be clipped.
    """
    if not len(patches):
        return math.inf
    patches = patches[(patches.min(axis=1) > patches.min()) & (patches.max(axis=1) < patches.max())]
    if int(SMOOTHEST * len(patches)) < MIN_SMOOTHEST:
        return math.inf
    place = np.arange(PATCH)
    waves = np.cos(math.pi / PATCH * place[:, None] * (place + 0.5)) * math.sqrt(2 / PATCH)
    waves[0] /= math.sqrt(2)
    energy = np.square(waves @ patches.reshape(-1, PATCH, PATCH) @ waves.T)
    energy[:, 0, 0] = 0  # brightness
    finest = energy[:, FINEST:, FINEST:].mean(axis=(1, 2))
    energy[:, FINEST:, FINEST:] = 0
    coarser, variances = energy.sum(axis=(1, 2)), []
    for alike in np.array_split(np.argsort(patches.mean(axis=1)), BRIGHTNESSES):
        chosen = max(int(SMOOTHEST * len(alike)), 1)
        variances.append(finest[alike[np.argpartition(coarser[alike], chosen)[:chosen]]].mean())
    return float(np.sqrt(np.median(variances)))


def _patches(picture: NDArray[Scalar]) -> NDArray[Scalar]:
    """(rows, columns, ..., PATCH, PATCH): a view of all patches of a picture, (H, W, ...)."""
    return np.lib.stride_tricks.sliding_window_view(picture, (PATCH, PATCH), axis=(0, 1))


def _scaled(values: NDArray[np.integer | np.floating], white: float) -> NDArray[np.float64]:
    """Values as shares of white, with the rounding of a photo in float32."""
    return (values if white == 1 else np.divide(values, white, dtype=np.float32)).astype(np.float64)
