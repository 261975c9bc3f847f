"""Pictures in rows and columns, with captions, as one PNG for comparison by eye."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from denoise_cli.files import write_atomically

GAP = 8  # pixels between pictures
CAPTION_HEIGHT = 16  # pixels


@dataclass(frozen=True)
class Tile:
    """A picture, (H, W, C) on [0, 1], and the caption above it."""

    caption: str
    pixels: NDArray[np.float32]


def write_grid(path: Path, rows: Sequence[Sequence[Tile]], overwrite: bool, icc: bytes | None = None) -> int:
    """Write pictures in rows and columns as one PNG.

    Args:
        path: the file.
        rows: the pictures.
        overwrite: whether an existing file is replaced.
        icc: the colour profile of the pictures; None for sRGB.

    Returns:
        The size of the file in bytes.

    Raises:
        UnwritableFile: the file cannot be written, or it exists and `overwrite` is false.
    """
    tiles = [tile for row in rows for tile in row]
    height = max(tile.pixels.shape[0] for tile in tiles)
    width = max(max(tile.pixels.shape[1], _width_of(_caption(tile))) for tile in tiles)
    row_step, column_step = height + CAPTION_HEIGHT + GAP, width + GAP
    sheet = Image.new("RGB", (GAP + column_step * max(map(len, rows)), GAP + row_step * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            sheet.paste(_draw(tile, width), (GAP + x * column_step, GAP + y * row_step))
    data = io.BytesIO()
    sheet.save(data, "png", icc_profile=icc)
    write_atomically(path, data.getvalue(), overwrite)
    return len(data.getvalue())


def _draw(tile: Tile, width: int) -> Image.Image:
    values = np.rint(tile.pixels.clip(0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(np.repeat(values, 3 // values.shape[2], axis=2))
    captioned = Image.new("RGB", (width, CAPTION_HEIGHT + picture.height), "white")
    ImageDraw.Draw(captioned).text((0, 2), _caption(tile), fill="black")
    captioned.paste(picture, (0, CAPTION_HEIGHT))
    return captioned


def _caption(tile: Tile) -> str:
    """What is written: Pillow's built-in font may have no letters but these."""
    return tile.caption.encode("ascii", "replace").decode()


def _width_of(caption: str) -> int:
    """In pixels."""
    return math.ceil(ImageFont.load_default().getlength(caption))
