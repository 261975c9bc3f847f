"""A simulated sensor: how its photosites measure a scene, with noise, and the numbers in its file.

Source: Brooks et al., "Unprocessing Images for Learned Raw Denoising" (2019), for the ranges of the white balance.

Legend: H x W image, 3 channels last.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.bayer import Phase
from denoise_cli.imaging.colour import camera_matrix, draw_colours
from denoise_cli.imaging.demosaic import DemosaicMethod, demosaic
from denoise_cli.imaging.filters import ColourFilters, FilterKind
from denoise_cli.imaging.noise import ShotRead, sensor_noise
from denoise_cli.imaging.transfer import srgb_to_linear

Array = NDArray[np.float32]

# Wider than in Brooks et al.: from tungsten light to shade.
RED_GAINS = (1.2, 2.6)
BLUE_GAINS = (1.2, 2.6)
# Chosen by us: from the least noise of sensors on the market to more than in the deformable kernels' paper.
SHOTS = (4e-6, 2e-2)  # variance per unit of light
READS = (1e-4, 10**-1)  # standard deviation, a share of white
EXPOSURES = (0.25, 2.0)  # from two stops under to one over
BLACKS = (256, 2049)  # of 16383: black levels that clip more or less of the noise
# The same for files from which most of the black level has been subtracted; if more has been, it is 0.
LOW_BLACKS = (-256, 257)
LOW_SHARE = 0.25  # of all


@dataclass(frozen=True)
class Sensor:
    """How a sensor measures a scene, and the numbers that its file holds.

    Attributes:
        noise: of its values, as shares of a saturated photosite.
        red, blue: the gains of the white balance; that of green is 1.
        colours: (3, 3), from linear sRGB to the sensor's balanced colours, rows add up to 1; None if they are the same.
        phase: where red is in the mosaic's quads; for X-Trans, see `ColourFilters`.
        kind: of colour filters.
        exposure: factor of the light; above 1, the brightest parts are clipped.
        black, white: the numbers of no light and of a saturated photosite.
    """

    noise: ShotRead
    red: float = 2.0
    blue: float = 1.6
    colours: NDArray[np.float64] | None = None
    phase: Phase = (0, 0)
    kind: FilterKind = "bayer"
    exposure: float = 1.0
    black: int = 1024
    white: int = 16383

    @property
    def filters(self) -> ColourFilters:
        """The colour filters over its photosites."""
        return ColourFilters(self.kind, self.phase)

    def measure(self, scene: NDArray[np.floating]) -> Array:
        """The mosaic of a scene without noise: (H, W, 3), sRGB-encoded, [0, 1], to (H, W), linear light, [0, 1]."""
        return self.filters.sample(self.light(scene)).clip(0, 1)

    def capture(self, scene: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.uint16]:
        """The mosaic of a scene as its file holds it: with noise, clipped to 0 and `white`, in integers.

        Args:
            scene: (H, W, 3), sRGB-encoded, [0, 1].
            rng: random numbers.

        Returns:
            (H, W), 0 to `white`.
        """
        return self.digitise(self.filters.sample(self.light(scene)), rng)

    def digitise(self, light: Array, rng: np.random.Generator) -> NDArray[np.uint16]:
        """Convert light of any shape to numbers of the file, with noise and clipped as in `capture`."""
        noisy = light + sensor_noise(light, self.noise.shot, self.noise.read, rng)
        numbers = np.rint(noisy * (self.white - self.black) + self.black)
        return numbers.clip(0, self.white).astype(np.uint16)

    def normalise(self, numbers: NDArray[np.uint16]) -> Array:
        """Convert numbers of the file, any shape, to light: nominally [0, 1], with noise below zero."""
        return (numbers.astype(np.float32) - self.black) / np.float32(self.white - self.black)

    def matrix(self) -> NDArray[np.float64]:
        """(3, 3), from linear sRGB to what photosites of each colour measure."""
        return camera_matrix(self.colours, self.red, self.blue)

    def light(self, scene: NDArray[np.floating]) -> Array:
        """The light behind each colour filter: (H, W, 3), sRGB-encoded, to (H, W, 3), 0 and more."""
        linear = srgb_to_linear(np.asarray(scene, np.float32))
        return np.maximum(linear @ (self.exposure * self.matrix()).T.astype(np.float32), 0)

    def develop(self, light: Array, method: DemosaicMethod | None = None) -> Array:
        """Develop a picture: balance white, clip, demosaic, and convert to sRGB's colours.

        Args:
            light: (H, W), a mosaic, or (H, W, 3) of a sensor that measures all colours at each pixel.
            method: how a Bayer mosaic is demosaiced; None for (H, W, 3).

        Returns:
            (H, W, 3), linear, [0, 1].
        """
        gains = np.array([self.red, 1, self.blue], np.float32)
        if method is None:
            balanced = (light * gains).clip(0, 1)
        else:
            each = self.filters.sample(np.broadcast_to(gains, (*light.shape, 3)))
            balanced = demosaic((light * each).clip(0, 1), self.phase, method).clip(0, 1)
        colours = np.eye(3) if self.colours is None else self.colours
        return (balanced @ np.linalg.inv(colours).T.astype(np.float32)).clip(0, 1)


def draw_sensor(rng: np.random.Generator) -> Sensor:
    """A random sensor in any light, at any sensitivity; shot and read noise are uniform in their logarithms."""
    shot, read = (float(np.exp(rng.uniform(*np.log(limits)))) for limits in (SHOTS, READS))
    return Sensor(
        noise=ShotRead(shot, read),
        red=rng.uniform(*RED_GAINS),
        blue=rng.uniform(*BLUE_GAINS),
        colours=draw_colours(rng),
        exposure=float(np.exp(rng.uniform(*np.log(EXPOSURES)))),
        black=max(int(rng.integers(*(LOW_BLACKS if rng.random() < LOW_SHARE else BLACKS))), 0),
    )
