"""What a network learns from: a noisy crop, the truth, and the noise level that it is told."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from denoise_cli.data.photos import CropSource, Source
from denoise_cli.imaging import camera
from denoise_cli.imaging.anscombe import Stabiliser
from denoise_cli.imaging.bayer import pack
from denoise_cli.imaging.demosaic import DemosaicMethod, sample_mosaic
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

DIRECT_SHARE = 0.3  # of the crops of a network for developed RAW: all colours everywhere
WHITE_SHARE = 0.1  # of the crops of a network for real photos: scans, renderings, what other programs have written


@dataclass(frozen=True)
class Example:
    """One crop.

    Attributes:
        noisy: (H, W, 3*T), of a mosaic (h, w, 4), nominally [0, 1], not clipped, in the network's own encoding; T > 1
            frames for a clip's.
        clean: (H, W, 3), the first of them.
        level: (H, W), the noise's standard deviation at each pixel, in the same unit.
    """

    noisy: Array
    clean: Array
    level: Array


class Examples(Protocol):
    """A source of examples."""

    @property
    def crops(self) -> Source:
        """Where the photos come from."""
        ...

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """One example, `patch` pixels wide and high; the same `rng` draws the same one."""
        ...


@dataclass(frozen=True)
class GaussianNoise:
    """White noise in the photos' own encoding: N(0, sigma^2) for every value, sigma even on [0, sigma_max].

    Source: Zhang et al., "FFDNet: Toward a Fast and Flexible Solution for CNN based Image Denoising" (2018), whose
    range and level map it has.
    """

    crops: Source
    sigma_max: float

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """See `Examples`."""
        clean = self.crops.draw(rng, patch)
        sigma = np.float32(rng.uniform(0, self.sigma_max))
        noisy = clean + sigma * rng.standard_normal(clean.shape, np.float32)
        return Example(noisy, _first(clean), np.full(clean.shape[:2], sigma))


@dataclass(frozen=True)
class SensorNoise:
    """Shot and read noise in linear light: N(0, shot * q + read^2), both even on the paper's ranges.

    Source: Xu et al., "Learning Deformable Kernels for Image and Video Denoising" (2019), section 4.
    """

    crops: Source

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """See `Examples`."""
        clean = srgb_to_linear(self.crops.draw(rng, patch))
        noise = ShotRead(rng.uniform(*SHOT_RANGE), rng.uniform(*READ_RANGE))
        noisy = clean + sensor_noise(clean, noise.shot, noise.read, rng)
        return Example(noisy, _first(clean), noise.level_of_light(_first(noisy)))


@dataclass(frozen=True)
class CameraNoise:
    """What cameras make of photos: see `imaging.camera`; a tenth of the crops have white noise instead.

    No level is told: the network learns to see where there is how much.
    """

    crops: Source
    sigma_max: float

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """See `Examples`."""
        if rng.random() < WHITE_SHARE:
            white = GaussianNoise(self.crops, self.sigma_max).draw(rng, patch)
            return Example(white.noisy, white.clean, np.full_like(white.level, UNKNOWN_LEVEL))
        model = camera.draw_camera(rng)
        scene = self.crops.draw(rng, int(np.ceil((patch + 2 * camera.MARGIN) / model.scale)))
        noisy, clean = (picture[:patch, :patch] for picture in model.take(scene, rng))
        return Example(noisy, clean, np.full((patch, patch), UNKNOWN_LEVEL, np.float32))


@dataclass(frozen=True)
class MosaicNoise:
    """What sensors see of photos: see `imaging.camera`; the four planes of the mosaic, stabilised."""

    crops: Source

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """See `Examples`; `patch` quads wide and high, 4 channels."""
        sensor = draw_sensor(rng)
        scene = self.crops.draw(rng, 2 * patch)
        stabiliser = Stabiliser(sensor.noise)
        pictures = sensor.normalised(sensor.take(scene, rng)), sensor.see(scene)
        noisy, clean = (stabiliser.forward(pack(picture, sensor.phase)) for picture in pictures)
        return Example(noisy, clean, np.full(clean.shape[:2], stabiliser.level, np.float32))


@dataclass(frozen=True)
class DevelopedNoise:
    """What developers make of sensors' pictures, in linear light, stabilised: noise that demosaicing has spread.

    Some sensors see all colours everywhere, and some files hold what was made smaller: there, it stays white.
    """

    crops: Source

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """See `Examples`."""
        sensor = draw_sensor(rng)
        inside = np.s_[camera.MARGIN : camera.MARGIN + patch, camera.MARGIN : camera.MARGIN + patch]
        light = sensor.light(self.crops.draw(rng, patch + 2 * camera.MARGIN))
        method: DemosaicMethod | None = None
        if rng.random() >= DIRECT_SHARE:
            light, method = sample_mosaic(light), "malvar" if rng.random() < camera.MALVAR_SHARE else "bilinear"
        noisy, clean = sensor.normalised(sensor.counted(light, rng)), light.clip(0, 1)
        gains = np.array([sensor.red, 1, sensor.blue])
        stabiliser = Stabiliser(developed_noise(sensor.noise, gains / gains.min()))
        noisy, clean = (stabiliser.forward(sensor.developed(one, method)[inside]) for one in (noisy, clean))
        return Example(noisy, clean, np.full((patch, patch), stabiliser.level, np.float32))


@dataclass(frozen=True)
class Pairs:
    """Noisy photos whose clean twins are known; `crops` are of groups (noisy, clean).

    A network that does not see the level is told what `estimate_sigma` would find: by the grain that shows.
    """

    crops: CropSource
    is_blind: bool

    def draw(self, rng: np.random.Generator, patch: int) -> Example:
        """See `Examples`."""
        noisy, clean = np.split(self.crops.draw(rng, patch), 2, axis=-1)
        level = UNKNOWN_LEVEL if self.is_blind else _grain(noisy - clean)
        return Example(noisy, clean, np.full((patch, patch), level, np.float32))


def _first(frames: Array) -> Array:
    return frames[..., :3]


def _grain(noise: Array) -> float:
    """The deviation of white noise whose means over `GRAIN` pixels are as uneven."""
    side = noise.shape[0] // GRAIN
    means = noise[: side * GRAIN, : side * GRAIN].reshape(side, GRAIN, side, GRAIN, -1).mean(axis=(1, 3))
    return float(GRAIN * means.std())
