"""Photos for training and testing: finds them in folders, keeps them decoded, and draws random crops."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.tiling import reflected
from denoise_cli.io import image

Pixels = NDArray[np.uint8]
Scalar = TypeVar("Scalar", bound=np.generic)


def find_photos(folders: Sequence[Path]) -> list[Path]:
    """Find photos of all readable formats in folders, at any depth.

    Returns:
        The photos of one folder after the other, each sorted by name.

    Raises:
        UnreadableFile: a folder is missing or holds no photos, or it or one below it may not be read.
    """
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise UnreadableFile(folder, "is a file: name its folder" if folder.exists() else "no such folder")
        files = (Path(name, file) for name, _, files in os.walk(folder, onerror=_refuse) for file in files)
        photos = sorted(path for path in files if image.is_photo(path))
        if not photos:
            raise UnreadableFile(folder, "holds no photos")
        found += photos
    return found


def _refuse(error: OSError) -> None:
    raise UnreadableFile(error.filename, f"cannot read: {error.strerror}") from error


def find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Find pairs of noisy and clean photos, which have the same name in a folder's subfolders `noisy` and `clean`.

    Returns:
        (noisy, clean), sorted; empty if the folder has no `noisy`.

    Raises:
        UnreadableFile: there is no `clean`, one of the two holds no photos, or a photo has no counterpart.
    """
    noisy, clean = folder / "noisy", folder / "clean"
    if not noisy.is_dir():
        return []
    names = {side: {path.relative_to(side) for path in find_photos([side])} for side in (noisy, clean)}
    for side, other in ((noisy, clean), (clean, noisy)):
        for name in sorted(names[side] - names[other]):
            raise UnreadableFile(side / name, f"has no counterpart of the same name in {other}")
    return [(noisy / name, clean / name) for name in sorted(names[noisy])]


class Source(Protocol):
    """A source of random crops."""

    @property
    def skipped(self) -> Mapping[tuple[Path, ...], UnreadableFile]:
        """The groups of photos that could not be read, and why."""
        ...

    def __len__(self) -> int: ...

    def draw(self, rng: np.random.Generator, patch: int) -> NDArray[np.float32]:
        """Draw a crop: (patch, patch, C), [0, 1], in the photos' own encoding; the same `rng` gives the same one."""
        ...


@dataclass(frozen=True)
class PartlyChanged:
    """What sources have in common that change a share of another's crops.

    Args:
        source: the crops.
        share: of the crops that are changed, [0, 1].
    """

    source: Source
    share: float

    @property
    def skipped(self) -> Mapping[tuple[Path, ...], UnreadableFile]:
        """See `Source`."""
        return self.source.skipped

    def __len__(self) -> int:
        """See `Source`."""
        return len(self.source)


class CropSource:
    """Random crops of photos, rotated and mirrored; photos smaller than a crop are continued by reflection.

    Each photo is decoded only once, because decoding takes far longer than cropping. The first are kept in memory, up
    to `budget` bytes, the others in unnamed temporary files, which vanish with the process. If the disk is full, photos
    are decoded again.

    Args:
        groups: photos that are cropped alike, such as a noisy one and its clean counterpart.
        budget: bytes of decoded photos to keep in memory.
        scratch: a folder for the temporary files; None for the system's.

    Attributes:
        skipped: the groups that could not be read, and why; others are drawn instead.

    Raises:
        ValueError: there are no groups.
    """

    def __init__(self, groups: Sequence[tuple[Path, ...]], budget: int = 2 << 30, scratch: Path | None = None) -> None:
        if not groups:
            raise ValueError("expected at least one photo")
        self.skipped: dict[tuple[Path, ...], UnreadableFile] = {}
        self._groups = list(groups)
        self._distinct = len(set(groups))
        self._budget = budget
        self._scratch = scratch
        self._held: dict[tuple[Path, ...], Pixels] = {}

    def __len__(self) -> int:
        """The number of groups, readable or not."""
        return len(self._groups)

    def draw(self, rng: np.random.Generator, patch: int) -> NDArray[np.float32]:
        """Draw a crop.

        Returns:
            (patch, patch, 3 for each photo of a group), [0, 1], in the photos' own encoding.

        Raises:
            UnreadableFile: no group can be read.
        """
        pixels = reflect_to_size(patch, self._draw_group(rng))
        H, W = pixels.shape[:2]
        y, x = rng.integers(H - patch + 1), rng.integers(W - patch + 1)
        crop = np.rot90(pixels[y : y + patch, x : x + patch], int(rng.integers(4)))
        return np.divide(crop[:, ::-1] if rng.integers(2) else crop, 255, dtype=np.float32)

    def _draw_group(self, rng: np.random.Generator) -> Pixels:
        while len(self.skipped) < self._distinct:
            group = self._groups[rng.integers(len(self._groups))]
            try:
                return self._load(group)
            except UnreadableFile as error:
                # Tracebacks would keep everything alive that the callers of this function hold, networks included.
                error.__cause__ = error.__context__ = None
                self.skipped[group] = error.with_traceback(None)
        raise next(iter(self.skipped.values()))

    def _load(self, group: tuple[Path, ...]) -> Pixels:
        if group in self.skipped:
            raise self.skipped[group]
        if group in self._held:
            return self._held[group]
        photos = [image.read(path).as_rgb8() for path in group]
        if len({photo.shape for photo in photos}) > 1:
            raise UnreadableFile(group[0], f"its size differs from that of {group[1]}")
        pixels = np.concatenate(photos, axis=-1)
        if pixels.nbytes <= self._budget:
            self._budget -= pixels.nbytes
            self._held[group] = pixels
            return pixels
        with suppress(OSError):
            self._held[group] = _memory_map(pixels, self._scratch)
        return self._held.get(group, pixels)


def _memory_map(pixels: Pixels, scratch: Path | None) -> Pixels:
    with tempfile.TemporaryFile(dir=scratch) as file:
        file.write(pixels.data)
        file.flush()
        return np.memmap(file, np.uint8, "r", shape=pixels.shape)


def reflect_to_size(side: int, pixels: NDArray[Scalar]) -> NDArray[Scalar]:
    """A picture, (H, W, C), continued by reflection to at least `side` rows and columns."""
    H, W = pixels.shape[:2]
    if min(H, W) >= side:
        return pixels
    y, x = reflected(0, max(H, side), H), reflected(0, max(W, side), W)
    return pixels[y[:, None], x]
