"""Files of sensors that differ from those of the training, made from clean photos: what `raw.py sensors` measures.

Legend: H x W photosites.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from denoise_cli.imaging.bayer import Phase, pack, unpack
from denoise_cli.imaging.noise import ShotRead, sensor_noise
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.io import dng

Mosaic = NDArray[np.float32]  # (H, W), light
Change = Callable[[Mosaic, "Unusual", Phase, np.random.Generator], Mosaic]

USUAL = ShotRead(1e-3, 3e-3)
BASE_ISO = ShotRead(4e-5, 3e-4)
CLEAN_WHITE = 65535  # of the files without noise, so that their steps do not count
CLEAN_BLACK = 4096
HOT_SHARE = 5e-4  # of the photosites
PAIR_SHARE = 2.5e-4  # of the photosites begin a pair
HOT_COLUMNS = 4
SQUARE_ROOT_STEPS = 400  # of a lossy file, from black to white
SKY = 0.02
STAR_SPACING = 27  # photosites
STAR_MARGIN = 20
STAR_RADIUS = 6
STAR_COUNT = 17  # a side
STAR_PEAKS = (0.12, 0.8)  # of the light: from 28 standard deviations of the noise
STAR_NOISE = ShotRead(8e-4, 1.5e-3)


@dataclass(frozen=True)
class Unusual:
    """A sensor, and what is unusual about its file.

    Attributes:
        name: for the table.
        noise, black, white: see `Sensor`.
        push: factor by which the exposure is less, and the picture brightened later.
        optics: changes the light before the noise; the change belongs to the truth as well.
        gain: changes the light before the noise; unlike `optics`, a fault.
        grain: changes the noise.
        fault: changes the noisy values.
        star_sigma: of the stars that replace the photo, in photosites; None for the photo.
        border: rows above the picture and columns to the left of it that no light reaches, a multiple of the pattern.
    """

    name: str
    noise: ShotRead = USUAL
    black: int = 1024
    white: int = 16383
    push: int = 1
    optics: Change | None = None
    gain: Change | None = None
    grain: Change | None = None
    fault: Change | None = None
    star_sigma: float | None = None
    border: int = 0


def add_rows(light: Mosaic, unusual: Unusual, phase: Phase, rng: np.random.Generator) -> Mosaic:
    """Add an offset to each row, with twice the deviation of the read noise."""
    return light + np.float32(2 * unusual.noise.read) * rng.standard_normal((len(light), 1), np.float32)


def add_columns(light: Mosaic, unusual: Unusual, phase: Phase, rng: np.random.Generator) -> Mosaic:
    """Add an offset to each column, as `add_rows` does."""
    return np.ascontiguousarray(add_rows(light.T, unusual, phase, rng).T)


def fix_pattern(light: Mosaic, unusual: Unusual, phase: Phase, rng: np.random.Generator) -> Mosaic:
    """Let each photosite differ by 1 % in gain, and by half of the read noise in black."""
    gain, offset = rng.standard_normal((2, *light.shape), np.float32)
    return light * (1 + np.float32(0.01) * gain) + np.float32(unusual.noise.read / 2) * offset


def tilt_green(light: Mosaic, unusual: Unusual, phase: Phase, rng: np.random.Generator) -> Mosaic:
    """Make the greens beside blue 3 % brighter than those beside red."""
    y, x = phase
    tilted = light.copy()
    tilted[1 - y :: 2, x::2] *= np.float32(1.03)
    return tilted


def smooth(light: Mosaic, unusual: Unusual, phase: Phase, rng: np.random.Generator) -> Mosaic:
    """Smooth each plane with a Gaussian of one photosite of its colour."""
    planes = gaussian_filter(pack(light, phase), (1, 1, 0), mode="nearest")
    return unpack(planes, phase, light.shape)


def step_square_roots(light: Mosaic, unusual: Unusual, phase: Phase, rng: np.random.Generator) -> Mosaic:
    """Round to steps that are wider in the light, as lossy files of cameras do."""
    steps = np.rint(np.sqrt(light.clip(0, 1)) * SQUARE_ROOT_STEPS) / np.float32(SQUARE_ROOT_STEPS)
    return np.square(steps)


def heat(light: Mosaic, unusual: Unusual, phase: Phase, rng: np.random.Generator) -> Mosaic:
    """Make some photosites hot, by 5 to 100 % of white, and a quarter as many dead."""
    hot, dead = rng.random((2, *light.shape)) < [[[HOT_SHARE]], [[HOT_SHARE / 4]]]
    heated = light + hot * rng.uniform(0.05, 1, light.shape).astype(np.float32)
    return np.where(dead, 0, heated)


def heat_pairs(light: Mosaic, unusual: Unusual, phase: Phase, rng: np.random.Generator) -> Mosaic:
    """Make pairs of neighbours of one colour hot."""
    first = rng.random(light.shape) < PAIR_SHARE
    sideways = rng.random(light.shape) < 0.5
    both = first | np.roll(first & sideways, 2, axis=1) | np.roll(first & ~sideways, 2, axis=0)
    return light + both * rng.uniform(0.05, 1, light.shape).astype(np.float32)


def heat_columns(light: Mosaic, unusual: Unusual, phase: Phase, rng: np.random.Generator) -> Mosaic:
    """Make some columns hot, from a row to the end."""
    heated = light.copy()
    for x in rng.choice(np.arange(4, light.shape[1] - 4, 8), HOT_COLUMNS, replace=False):
        heated[rng.integers(len(light) // 2) :, x] += np.float32(rng.uniform(0.1, 0.6))
    return heated


UNUSUAL = (
    Unusual("none of these"),
    Unusual("base ISO", BASE_ISO),
    Unusual("rows offset, 2 x read", fault=add_rows),
    Unusual("columns offset, 2 x read", fault=add_columns),
    Unusual("rows offset, 2 x read, masked border", fault=add_rows, border=48),
    Unusual("columns offset, 2 x read, masked border", fault=add_columns, border=48),
    Unusual("fixed pattern", fault=fix_pattern),
    Unusual("green imbalance, 3 %", gain=tilt_green),
    Unusual("black at 16 of 4095", black=16, white=4095),
    Unusual("black at 0", black=0),
    Unusual("smoothed, sigma 1", optics=smooth, fault=smooth),
    Unusual("noise smoothed, sigma 1", grain=smooth),
    Unusual("strong noise smoothed, sigma 1", ShotRead(1e-2, 0.02), grain=smooth),
    Unusual("10 bits", black=64, white=1023),
    Unusual("8 bits", black=16, white=255),
    Unusual("pushed 16 times", push=16),
    Unusual("pushed 64 times", BASE_ISO, push=64),
    Unusual("read 0.06, black at 0", ShotRead(1e-3, 0.06), black=0),
    Unusual("read 0.06, black at 16 of 4095", ShotRead(1e-3, 0.06), black=16, white=4095),
    Unusual("read 0.06", ShotRead(1e-3, 0.06)),
    Unusual("read 0.1, black at 0", ShotRead(1e-3, 0.1), black=0),
    Unusual("read 0.1", ShotRead(1e-3, 0.1)),
    Unusual("lossy steps", fault=step_square_roots),
    Unusual("hot and dead photosites", fault=heat),
    Unusual("hot pairs", fault=heat_pairs),
    Unusual("hot columns", fault=heat_columns),
    Unusual("stars, sigma 0.5", STAR_NOISE, star_sigma=0.5),
    Unusual("stars, sigma 0.7", STAR_NOISE, star_sigma=0.7),
    Unusual("stars, sigma 1", STAR_NOISE, star_sigma=1.0),
)


def make_files(
    unusual: Unusual, sensor: Sensor, scene: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[bytes, bytes, bytes]:
    """Three DNGs: the unusual file, the same one with a NoiseProfile, and the one of a usual sensor without noise.

    Args:
        unusual: what is unusual.
        sensor: for everything else.
        scene: (H, W, 3), which stars replace.
        rng: random numbers.
    """
    if unusual.star_sigma is None:
        colours = sensor.light(scene / np.float32(255))
    else:
        neutral = sensor.matrix().sum(axis=1).astype(np.float32)
        colours = draw_stars(scene.shape[:2], unusual.star_sigma)[..., None] * neutral
    light = sensor.filters.sample(colours)
    truth = light if unusual.optics is None else unusual.optics(light, unusual, sensor.phase, rng)
    clean = replace(sensor, noise=ShotRead(0, 0), black=CLEAN_BLACK, white=CLEAN_WHITE)
    of_file = replace(sensor, noise=unusual.noise, black=unusual.black, white=unusual.white)
    values = light / np.float32(unusual.push)
    if unusual.gain is not None:
        values = unusual.gain(values, unusual, sensor.phase, rng)
    values = np.pad(values, [(unusual.border, 0)] * 2)
    grain = sensor_noise(values, unusual.noise.shot, unusual.noise.read, rng)
    values = values + (grain if unusual.grain is None else unusual.grain(grain, unusual, sensor.phase, rng))
    if unusual.fault is not None:
        values = unusual.fault(values, unusual, sensor.phase, rng)
    numbers = replace(of_file, noise=ShotRead(0, 0)).digitise(values, rng)
    preview = np.ascontiguousarray(scene[::4, ::4])
    area = (unusual.border, unusual.border, *numbers.shape)
    told = replace(dng.simulated_dng(of_file, numbers, preview), area=area)
    true = dng.simulated_dng(clean, clean.digitise(truth, rng), preview)
    untold, silent = replace(told, noise=None), replace(true, noise=None)
    return tuple(dng.encode(one, "denoise, simulated") for one in (untold, told, silent))  # type: ignore[return-value]


def draw_stars(shape: tuple[int, int], sigma: float) -> Mosaic:
    """A night sky: (H, W), stars in a grid, brighter from row to row, each at a random place between photosites."""
    sky, rng = np.full(shape, SKY, np.float32), np.random.default_rng(1)
    for (y, x), peak in zip(star_places(), np.repeat(np.geomspace(*STAR_PEAKS, STAR_COUNT), STAR_COUNT), strict=True):
        v, u = np.mgrid[-STAR_RADIUS : STAR_RADIUS + 1, -STAR_RADIUS : STAR_RADIUS + 1]
        dy, dx = rng.uniform(-0.5, 0.5, 2)
        spot = peak * np.exp(-((v - dy) ** 2 + (u - dx) ** 2) / (2 * sigma**2))
        sky[y - STAR_RADIUS : y + STAR_RADIUS + 1, x - STAR_RADIUS : x + STAR_RADIUS + 1] += spot.astype(np.float32)
    return sky


def star_places() -> list[tuple[int, int]]:
    """Rows and columns of the stars."""
    at = [STAR_MARGIN + STAR_SPACING * index for index in range(STAR_COUNT)]
    return [(y, x) for y in at for x in at]


def surviving_stars(picture: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """The share of stars that keep half of their light; both pictures (H, W, 3), linear."""

    def light(one: NDArray[np.floating]) -> NDArray[np.floating]:
        radius = STAR_RADIUS // 2
        grey = one.mean(axis=-1)
        sky = np.median(grey)
        spots = [grey[y - radius : y + radius + 1, x - radius : x + radius + 1] - sky for y, x in star_places()]
        return np.array([spot.sum() for spot in spots])

    return float(np.mean(light(picture) >= 0.5 * light(truth)))
