"""Training examples: a noisy crop, the clean one, and the noise level that the network is given."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from denoise_cli.data.drawings import Drawings
from denoise_cli.data.photos import CropSource, Source
from denoise_cli.imaging import camera
from denoise_cli.imaging.anscombe import AnscombeTransform
from denoise_cli.imaging.demosaic import DemosaicMethod
from denoise_cli.imaging.filters import FilterKind
from denoise_cli.imaging.noise import (
    GRAIN,
    READ_RANGE,
    SHOT_RANGE,
    UNKNOWN_LEVEL,
    ShotRead,
    developed_noise,
    sensor_noise,
)
from denoise_cli.imaging.sensor import draw_sensor
from denoise_cli.imaging.transfer import srgb_to_linear

Array = NDArray[np.float32]

COLOURS = 3
DIRECT_SHARE = 0.3  # of the examples of developed RAW are not demosaiced
# Of the examples of photos: the noise of a camera, white noise as in renderings and edited files, and film grain as in
# scans. The others have no noise: what has none must stay as it is, but for a codec's errors.
CAMERA_SHARE = 0.55
WHITE_SHARE = 0.22
GRAIN_SHARE = 0.08
UNEQUAL_SHARE = 0.3  # of the white noise differs from channel to channel
EXACT_SHARE = 0.4  # of white noise and grain is neither clipped nor rounded; of the rest,
COMPRESSED_SHARE = 0.4  # are JPEGs
QUALITIES = (60, 99)  # of these
DRAWN_FRAME_SHARE = 0.3  # of these show letters and lines, the others one colour
GREY_SHARE = 0.15  # of the examples of photos are grey, so that all colours have the same noise
FRAMED_SHARE = 0.1  # of the examples of photos have a bar without noise, as frames, captions and screenshots have
MAX_GRAIN = 25 / 255  # standard deviation of film grain
GRAIN_SIZES = (0.4, 1.5)  # pixels of blur
COLOUR_GRAIN = 0.5  # the most of film grain's deviation that differs from channel to channel


@dataclass(frozen=True)
class Example:
    """A noisy crop with its target.

    Attributes:
        noisy: (H, W, 3*T) with T frames (1 for photos), or (H, W, 4) for a mosaic; nominally [0, 1], not clipped, in
            the network's own encoding.
        clean: (H, W, 3), the first frame, or (H, W, 4) for a mosaic.
        level: (H, W), or (H, W, C) with one for each channel: the noise level at each pixel, in the same unit;
            `UNKNOWN_LEVEL` for blind networks.
    """

    noisy: Array
    clean: Array
    level: Array


class Examples(Protocol):
    """A source of examples."""

    @property
    def crops(self) -> Source:
        """The source of the photos."""
        ...

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """Draw an example of `patch` x `patch` pixels; the same state of `rng` gives the same one."""
        ...


@dataclass(frozen=True)
class GaussianNoise:
    """White noise in the photos' own encoding: N(0, sigma^2) for every value, sigma uniform on [0, sigma_max].

    Source of the range and of the level map: Zhang et al., "FFDNet: Toward a Fast and Flexible Solution for CNN based
    Image Denoising" (2018).

    Attributes:
        crops: the photos.
        sigma_max: the strongest noise.
        differs: whether, in a share of the examples, the noise differs from channel to channel.
    """

    crops: Source
    sigma_max: float
    differs: bool = False

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """See `Examples`."""
        clean = self.crops.draw(rng, patch)
        sigma = np.full(COLOURS if self.differs else 1, rng.uniform(0, self.sigma_max), np.float32)
        if self.differs and rng.random() < UNEQUAL_SHARE:
            sigma *= rng.random(COLOURS, np.float32)
        noisy = clean + sigma * rng.standard_normal(clean.shape, np.float32)
        level = np.full((*clean.shape[:2], len(sigma)), sigma)
        return Example(noisy, _first_frame(clean), level if self.differs else level[..., 0])


@dataclass(frozen=True)
class SensorNoise:
    """Shot and read noise in linear light: N(0, shot * q + read^2), both uniform on the paper's ranges.

    Source: Xu et al., "Learning Deformable Kernels for Image and Video Denoising" (2019), section 4.
    """

    crops: Source

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """See `Examples`."""
        clean = srgb_to_linear(self.crops.draw(rng, patch))
        noise = ShotRead(rng.uniform(*SHOT_RANGE), rng.uniform(*READ_RANGE))
        noisy = clean + sensor_noise(clean, noise.shot, noise.read, rng)
        return Example(noisy, _first_frame(clean), noise.level_of_light(_first_frame(noisy)))


@dataclass(frozen=True)
class PhotoNoise:
    """What photos have: most often the noise of a camera; white noise, film grain, or no noise in the others.

    The level is never given: the network learns to estimate it.
    """

    crops: Source
    sigma_max: float

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """See `Examples`."""
        kind = rng.random()
        if kind < CAMERA_SHARE:
            drawn = camera.draw_camera(rng)
            scene = self.crops.draw(rng, int(np.ceil((patch + 2 * camera.MARGIN) / drawn.scale)))
            noisy, clean = (picture[:patch, :patch] for picture in drawn.take(scene, rng))
        else:
            clean = self.crops.draw(rng, patch)
            if kind < CAMERA_SHARE + WHITE_SHARE:
                noisy, clean = _stored(clean, white_noise(clean, self.sigma_max, rng), rng)
            elif kind < CAMERA_SHARE + WHITE_SHARE + GRAIN_SHARE:
                noisy, clean = _stored(clean, film_grain(clean, rng), rng)
            else:
                noisy = _compressed(clean, rng) if rng.random() < COMPRESSED_SHARE else clean
        if rng.random() < GREY_SHARE:
            noisy, clean = (np.broadcast_to(part.mean(axis=-1, keepdims=True), part.shape) for part in (noisy, clean))
        if rng.random() < FRAMED_SHARE:
            noisy, clean = _framed(noisy, clean, rng)
        return Example(noisy, clean, np.full((patch, patch), UNKNOWN_LEVEL, np.float32))


@dataclass(frozen=True)
class MosaicNoise:
    """Mosaics measured by simulated sensors, see `imaging.sensor`: their planes after the Anscombe transform.

    Attributes:
        crops: the photos.
        kind: of colour filters.
    """

    crops: Source
    kind: FilterKind = "bayer"

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """See `Examples`; `patch` quads or blocks wide and high, 4 or 9 channels."""
        sensor = replace(draw_sensor(rng), kind=self.kind)
        scene = self.crops.draw(rng, sensor.filters.side * patch)
        transform = AnscombeTransform(sensor.noise)
        pictures = sensor.normalise(sensor.capture(scene, rng)), sensor.measure(scene)
        noisy, clean = (transform.forward(sensor.filters.pack(picture)) for picture in pictures)
        return Example(noisy, clean, np.full(clean.shape[:2], transform.level, np.float32))


@dataclass(frozen=True)
class DevelopedNoise:
    """Developed pictures of simulated sensors, in linear light after the Anscombe transform: demosaicing spreads noise.

    `DIRECT_SHARE` of them skip demosaicing and keep white noise, like files from sensors that measure all colours at
    each pixel, and files that were reduced in size.
    """

    crops: Source

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """See `Examples`."""
        sensor = draw_sensor(rng)
        inside = np.s_[camera.MARGIN : camera.MARGIN + patch, camera.MARGIN : camera.MARGIN + patch]
        light = sensor.light(self.crops.draw(rng, patch + 2 * camera.MARGIN))
        method: DemosaicMethod | None = None
        if rng.random() >= DIRECT_SHARE:
            light = sensor.filters.sample(light)
            method = "malvar" if rng.random() < camera.MALVAR_SHARE else "bilinear"
        noisy, clean = sensor.normalise(sensor.digitise(light, rng)), light.clip(0, 1)
        gains = np.array([sensor.red, 1, sensor.blue])
        transform = AnscombeTransform(developed_noise(sensor.noise, gains / gains.min()))
        noisy, clean = (transform.forward(sensor.develop(one, method)[inside]) for one in (noisy, clean))
        return Example(noisy, clean, np.full((patch, patch), transform.level, np.float32))


@dataclass(frozen=True)
class Pairs:
    """Real noisy photos with their clean counterparts.

    Attributes:
        crops: of groups (noisy, clean).
        blind: whether the network is given no level. If not, it is given that of white noise with equally strong grain,
            as `estimate_sigma` would find it.
    """

    crops: CropSource
    is_blind: bool

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """See `Examples`."""
        noisy, clean = np.split(self.crops.draw(rng, patch), 2, axis=-1)
        level = UNKNOWN_LEVEL if self.is_blind else _grain(noisy - clean)
        return Example(noisy, clean, np.full((patch, patch), level, np.float32))


def film_grain(clean: Array, rng: np.random.Generator) -> Array:
    """Draw film grain: soft, most of it in brightness, strongest in the middle tones.

    Args:
        clean: (H, W, 3), encoded, [0, 1].
        rng: random numbers, also for strength and size.

    Returns:
        The same shape, to be added.
    """
    size, colour = rng.uniform(*GRAIN_SIZES), rng.uniform(0, COLOUR_GRAIN)
    white = rng.standard_normal((*clean.shape[:2], 4), np.float32)
    soft = camera.gaussian_blur(white, size)
    grain = (1 - colour) * soft[..., :1] + colour * soft[..., 1:]
    middle = 1 - np.square(2 * clean.mean(axis=-1, keepdims=True) - 1)
    strength = rng.uniform(0, MAX_GRAIN) * (1 - rng.random() * (1 - middle))
    drawn: Array = (grain * strength / max(float(grain.std()), 1e-6)).astype(np.float32)
    return drawn


def white_noise(clean: Array, sigma_max: float, rng: np.random.Generator) -> Array:
    """Draw white noise; in some pictures it differs from channel to channel.

    Args:
        clean: (H, W, 3).
        sigma_max: the strongest, as a standard deviation in the picture's unit.
        rng: random numbers, also for the strength.

    Returns:
        The same shape, to be added.
    """
    sigma = sigma_max * rng.random() ** 1.5  # weak noise is more frequent
    if rng.random() < UNEQUAL_SHARE:
        sigma = sigma * rng.random(clean.shape[-1])
    drawn: Array = rng.standard_normal(clean.shape, np.float32) * np.float32(sigma)
    return drawn


def _stored(clean: Array, noise: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """A picture with noise as it is read back from its file, and the target.

    A share of the files hold what exceeds 8 bits and white. The others clip the noise, so that its mean is not zero; as
    with cameras, the target keeps the mean, and the network neither brightens shadows nor darkens highlights.
    """
    noisy = clean + noise
    if rng.random() < EXACT_SHARE:
        return noisy, clean
    clipped = noisy.clip(0, 1)
    target = clean + camera.mean_noise(clipped - noisy, clean)
    if rng.random() < COMPRESSED_SHARE:
        return _compressed(clipped, rng), target
    return np.rint(clipped * 255) / np.float32(255), target


def _compressed(picture: Array, rng: np.random.Generator) -> Array:
    """A picture, [0, 1], as it is read back from a JPEG."""
    pixels = np.rint(picture * 255).astype(np.uint8)
    pixels = camera.as_jpeg(pixels, int(rng.integers(QUALITIES[0], QUALITIES[1] + 1)), bool(rng.random() < 0.5))
    return np.divide(pixels, 255, dtype=np.float32)


def _framed(noisy: Array, clean: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Cover one side of both with a flat colour or a drawing, on which there is no noise."""
    patch = len(clean)
    colour = np.divide(rng.integers(256, size=3), 255, dtype=np.float32)
    cover = Drawings().draw(rng, patch) if rng.random() < DRAWN_FRAME_SHARE else colour
    beside = np.arange(patch) < rng.integers(1, patch)
    covered = np.rot90(np.broadcast_to(beside[:, None, None], (patch, patch, 1)), int(rng.integers(4)))
    return np.where(covered, cover, noisy), np.where(covered, cover, clean)


def _first_frame(frames: Array) -> Array:
    return frames[..., :3]


def _grain(noise: Array) -> float:
    """The deviation of white noise whose means over `GRAIN` x `GRAIN` pixels vary as much as this noise's."""
    side = noise.shape[0] // GRAIN
    means = noise[: side * GRAIN, : side * GRAIN].reshape(side, GRAIN, side, GRAIN, -1).mean(axis=(1, 3))
    return float(GRAIN * means.std())
