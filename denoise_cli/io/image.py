"""Photos in and out (first light: what training needs)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass
class Photo:
    pixels: NDArray

    def as_rgb8(self) -> NDArray[np.uint8]:
        return self.pixels


def is_photo(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")


def read(path: Path) -> Photo:
    with Image.open(path) as im:
        return Photo(np.asarray(im.convert("RGB")))
