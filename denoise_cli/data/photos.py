"""Photos for training and testing: found in folders, held in memory, cropped at random."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.tiling import reflected
from denoise_cli.io import image

Pixels = NDArray[np.uint8]


def find_photos(folders: Sequence[Path]) -> list[Path]:
    """Every readable kind of photo under the folders, sorted.

    Raises:
        UnreadableFile: a folder that is missing or holds none.
    """
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise UnreadableFile(folder, "no such folder")
        photos = sorted(path for path in folder.rglob("*") if image.is_photo(path))
        if not photos:
            raise UnreadableFile(folder, "holds no photos")
        found += photos
    return found


class CropSource:
    """Random crops of clean photos, turned and mirrored; a photo smaller than the crop is continued by reflection.

    Decoded photos stay in memory up to `budget` bytes, the least used leaving first, so that a small set is decoded
    once and a large one still fits.
    """

    def __init__(self, paths: Sequence[Path], budget: int = 2 << 30) -> None:
        if not paths:
            raise ValueError("expected at least one photo")
        self._paths = list(paths)
        self._budget = budget
        self._held: OrderedDict[Path, Pixels] = OrderedDict()
        self._size = 0

    def batch(self, rng: np.random.Generator, count: int, patch: int) -> NDArray[np.float32]:
        """Draw crops.

        Returns:
            (count, 3, patch, patch), [0, 1], in the photos' own encoding.
        """
        crops = [self._crop(rng, patch) for _ in range(count)]
        return np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 255

    def _crop(self, rng: np.random.Generator, patch: int) -> Pixels:
        pixels = _at_least(patch, self._photo(self._paths[rng.integers(len(self._paths))]))
        H, W = pixels.shape[:2]
        y, x = rng.integers(H - patch + 1), rng.integers(W - patch + 1)
        crop = np.rot90(pixels[y : y + patch, x : x + patch], int(rng.integers(4)))
        return crop[:, ::-1] if rng.integers(2) else crop

    def _photo(self, path: Path) -> Pixels:
        if path in self._held:
            self._held.move_to_end(path)
            return self._held[path]
        pixels = image.read(path).as_rgb8()
        self._held[path] = pixels
        self._size += pixels.nbytes
        while self._size > self._budget and len(self._held) > 1:
            self._size -= self._held.popitem(last=False)[1].nbytes
        return pixels


def _at_least(side: int, pixels: Pixels) -> Pixels:
    H, W = pixels.shape[:2]
    if min(H, W) >= side:
        return pixels
    y, x = reflected(0, max(H, side), H), reflected(0, max(W, side), W)
    return pixels[y[:, None], x]
