from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.io.grid import CAPTION_HEIGHT, GAP, Tile, write_grid


def flat(value: float, height: int = 20, width: int = 30, channels: int = 3) -> NDArray[np.float32]:
    return np.full((height, width, channels), value, np.float32)


def test_pictures_stand_in_rows_and_columns_at_their_own_size(tmp_path: Path) -> None:
    rows = [[Tile("a", flat(0.2)), Tile("b", flat(1.7, 10, 12, 1))], [Tile("日本 \udcff", flat(0.6))]]
    write_grid(tmp_path / "grid.png", rows, overwrite=False)
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    down, right = 20 + CAPTION_HEIGHT + GAP, 30 + GAP
    assert grid.shape == (GAP + 2 * down, GAP + 2 * right, 3)
    top = GAP + CAPTION_HEIGHT
    assert (grid[top : top + 20, GAP : GAP + 30] == 51).all()
    assert (grid[top : top + 10, GAP + right : GAP + right + 12] == 255).all()
    assert (grid[top + down : top + down + 20, GAP : GAP + 30] == 153).all()
    assert (grid[GAP:top, GAP : GAP + 30] < 255).any()


def test_captions_of_narrow_pictures_are_whole(tmp_path: Path) -> None:
    caption = "before, most noise"
    rows = {
        width: [[Tile(caption, flat(0.2, width=width)), Tile(caption, flat(0.2, width=width))]] for width in (9, 300)
    }
    shown = {}
    for width, row in rows.items():
        write_grid(tmp_path / f"{width}.png", row, overwrite=False)
        shown[width] = np.asarray(Image.open(tmp_path / f"{width}.png").convert("L"))[GAP : GAP + CAPTION_HEIGHT]

    black = {width: int((letters < 128).sum()) for width, letters in shown.items()}
    assert black[9] == black[300] > 100  # both captions, letter for letter
