"""Windows of frames for training and testing: from real clips, and from photos with simulated motion.

Legend: T frames of a window: the one to denoise, then its neighbours, nearest first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from denoise_cli.data.photos import Source, find_photos
from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.windows import window

Array = NDArray[np.float32]

# Motion from a frame to the next. Chosen by us, from a camera on a tripod to one that is swung around.
STILL_SHARE = 0.2  # of the windows do not move
SPEED_RANGE = (0.1, 12.0)  # pixels, uniform in the logarithm
MAX_ZOOM = 0.015  # share of the size
MAX_ROTATION = 0.015  # radians
MAX_SHAKE = 0.5  # pixels, in either direction
OBJECT_SHARE = 0.6  # of the windows contain an object with its own motion
OBJECT_RADIUS_RANGE = (8, 48)  # pixels
EXPOSURE_SHARE = 0.2  # of the windows change in brightness
MAX_EXPOSURE_CHANGE = 0.03  # share of the brightness
MARGIN = 32  # pixels around a crop that motion can bring into it; beyond them, photos are continued by reflection


def find_clips(folder: Path) -> list[list[Path]]:
    """Find clips: every folder with photos, at any depth including the folder itself, is one.

    Returns:
        The frames of each clip, in the order of their names.

    Raises:
        UnreadableFile: the folder is missing or holds no photos.
    """
    clips: dict[Path, list[Path]] = {}
    for frame in find_photos([folder]):
        clips.setdefault(frame.parent, []).append(frame)
    return list(clips.values())


def windows(clips: Sequence[Sequence[Path]], T: int) -> list[tuple[Path, ...]]:
    """The windows of T frames around every frame of every clip; clips of fewer frames have none."""
    return [
        tuple(clip[i] for i in window(place, len(clip), T))
        for clip in clips
        if len(clip) >= T
        for place in range(len(clip))
    ]


class MovingPhotos:
    """Windows of T frames from single photos: a camera pans, zooms, rotates and shakes, and an object may pass by.

    Args:
        photos: a source of single photos.
        T: frames of a window.
    """

    def __init__(self, photos: Source, T: int) -> None:
        self._photos = photos
        self._T = T
        self.skipped = photos.skipped

    def __len__(self) -> int:
        return len(self._photos)

    def draw(self, rng: np.random.Generator, patch: int) -> Array:
        """Draw a window: (patch, patch, 3*T), [0, 1], sRGB-encoded."""
        place = int(rng.integers(self._T))
        times = [other - place for other in window(place, self._T, self._T)]
        frames = _move(self._texture(rng, patch), _draw_motion(rng), times, patch)
        if rng.random() < OBJECT_SHARE:
            motion = _draw_motion(rng)
            shape = _move(_draw_shape(rng, patch + 2 * MARGIN), motion, times, patch, beyond="zeros")
            texture = _move(self._texture(rng, patch), motion, times, patch)
            frames = torch.lerp(frames, texture, shape.clamp(0, 1))
        if rng.random() < EXPOSURE_SHARE:
            gain = rng.uniform(-MAX_EXPOSURE_CHANGE, MAX_EXPOSURE_CHANGE)
            frames = frames * torch.tensor([1 + gain * time for time in times]).float().view(-1, 1, 1, 1)
        return frames.clamp(0, 1).permute(2, 3, 0, 1).flatten(2).numpy()

    def _texture(self, rng: np.random.Generator, patch: int) -> Tensor:
        """A crop with margins: (1, 3, side, side)."""
        crop = self._photos.draw(rng, patch + 2 * MARGIN)
        return torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None]


class Mixture:
    """Crops from several sources.

    Args:
        sources: the sources.
        shares: how often each is drawn from; they add up to 1. By default, all are equally likely.
    """

    def __init__(self, sources: Sequence[Source], shares: Sequence[float] | None = None) -> None:
        self._sources = sources
        self._shares = shares

    @property
    def skipped(self) -> dict[tuple[Path, ...], UnreadableFile]:
        """What could not be read in any of the sources, and why."""
        return {group: error for source in self._sources for group, error in source.skipped.items()}

    def __len__(self) -> int:
        return sum(len(source) for source in self._sources)

    def draw(self, rng: np.random.Generator, patch: int) -> Array:
        """Draw a crop from a random source."""
        if self._shares is None:
            return self._sources[int(rng.integers(len(self._sources)))].draw(rng, patch)
        return self._sources[int(rng.choice(len(self._sources), p=self._shares))].draw(rng, patch)


@dataclass(frozen=True)
class _Motion:
    """Motion of the camera or of an object, from a frame to the next."""

    velocity: tuple[float, float]  # pixels, x and y
    zoom: float  # share of the size
    rotation: float  # radians
    shake: float  # pixels
    seed: int  # for the shaking

    def matrix(self, time: float, side: int) -> Tensor:
        """(2, 3), from a pixel's position at a time, in frames, to that at time zero; `side` pixels are [-1, 1]."""
        rng = np.random.default_rng((self.seed, int(time) + 100))
        shift = self.shake * rng.uniform(-1, 1, 2) if time else np.zeros(2)
        scale, angle = np.exp(self.zoom * time), self.rotation * time
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        dx, dy = (2 / side * (v * time + s) for v, s in zip(self.velocity, shift, strict=True))
        return torch.tensor([[cos, -sin, -dx], [sin, cos, -dy]]).float()


def _draw_motion(rng: np.random.Generator) -> _Motion:
    seed = int(rng.integers(2**31))
    if rng.random() < STILL_SHARE:
        return _Motion((0.0, 0.0), 0.0, 0.0, 0.0, seed)
    speed, direction = np.exp(rng.uniform(*np.log(SPEED_RANGE))), rng.uniform(0, 2 * np.pi)
    return _Motion(
        velocity=(speed * np.cos(direction), speed * np.sin(direction)),
        zoom=MAX_ZOOM * rng.uniform(-1, 1) ** 3,  # the power makes small values more likely
        rotation=MAX_ROTATION * rng.uniform(-1, 1) ** 3,
        shake=MAX_SHAKE * rng.random() ** 2,
        seed=seed,
    )


def _draw_shape(rng: np.random.Generator, side: int) -> Tensor:
    """(1, 1, side, side): 1 inside a superellipse, from rounded to cornered, 0 outside, with a border of a pixel."""
    radii, centre = rng.uniform(*OBJECT_RADIUS_RANGE, 2), rng.uniform(MARGIN, side - MARGIN, 2)
    angle, power = rng.uniform(0, np.pi), rng.uniform(1, 6)
    y, x = np.mgrid[:side, :side] - centre[:, None, None]
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    distance = (np.abs(u / radii[0]) ** power + np.abs(v / radii[1]) ** power) ** (1 / power)
    return torch.from_numpy(np.clip((1 - distance) * radii.min() + 0.5, 0, 1)).float()[None, None]


def _move(still: Tensor, motion: _Motion, times: Sequence[int], patch: int, beyond: str = "reflection") -> Tensor:
    """The central `patch` pixels at each time: (1, C, side, side) to (T, C, patch, patch)."""
    side = still.shape[-1]
    matrices = torch.stack([motion.matrix(time, side) for time in times])
    grid = F.affine_grid(matrices, [len(times), 1, side, side], align_corners=False)
    inner = grid[:, MARGIN : MARGIN + patch, MARGIN : MARGIN + patch]
    expanded = still.expand(len(times), -1, -1, -1)
    return F.grid_sample(expanded, inner, mode="bicubic", padding_mode=beyond, align_corners=False)
