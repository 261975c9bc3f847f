"""What an evaluation leaves as files: a table with a row for each photo, and a grid of pictures to look at."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from denoise_cli.files import write_atomically
from denoise_cli.imaging.metrics import psnr

Array = NDArray[np.float32]

MOST_ROWS = 8
SIDE = 256  # pixels of a photo that are shown, at 100 %
GAP, CAPTION = 8, 16  # pixels between pictures, and for the words above them
LINE = 8  # pixels that a line of a profile is high
GAIN = 4  # errors are shown so many times as large, around middle grey


@dataclass(frozen=True)
class Tile:
    """A picture, (H, W, C) on [0, 1], and the words above it."""

    caption: str
    pixels: Array


def write_table(path: Path, records: Sequence[Mapping[str, object]], overwrite: bool) -> None:
    """Write records of the same keys as CSV, the keys as its head.

    Raises:
        UnwritableFile: the folder or the disk refuses, or the file exists and `overwrite` is false.
    """
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(records[0]))
    table.writeheader()
    table.writerows(records)
    write_atomically(path, text.getvalue().encode("utf-8", "surrogateescape"), overwrite)


def write_grid(path: Path, rows: Sequence[Sequence[Tile]], overwrite: bool) -> None:
    """Write pictures in rows and columns as one PNG.

    Raises:
        UnwritableFile: the folder or the disk refuses, or the file exists and `overwrite` is false.
    """
    height, width = (max(tile.pixels.shape[axis] for row in rows for tile in row) for axis in (0, 1))
    down, right = height + CAPTION + GAP, width + GAP
    sheet = Image.new("RGB", (GAP + right * max(map(len, rows)), GAP + down * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            sheet.paste(_draw(tile, width), (GAP + x * right, GAP + y * down))
    data = io.BytesIO()
    sheet.save(data, "png")
    write_atomically(path, data.getvalue(), overwrite)


def compare(title: str, noisy: Array, clean: Array, outputs: Mapping[str, Array]) -> list[Tile]:
    """A row of the grid: the input, each denoiser's output, the truth, and each output's error.

    All are cut to the part with the most detail, where denoisers differ; the PSNR is that of the whole photo.

    Args:
        title: what the input is.
        noisy: (H, W, C), [0, 1].
        clean: the same shape.
        outputs: by denoiser, the same shape.
    """
    part = busiest(clean)
    truth = clean[part]
    results = [Tile(f"{name}: {psnr(output, clean):.2f} dB", output[part]) for name, output in outputs.items()]
    errors = [Tile(f"{name}: error x {GAIN}", 0.5 + GAIN * (output[part] - truth)) for name, output in outputs.items()]
    return [Tile(f"{title}: {psnr(noisy, clean):.2f} dB", noisy[part]), *results, Tile("truth", truth), *errors]


class Profiles:
    """One line of a clip over time, the first frame's at the top: what flickers or trembles shows as roughness.

    Args:
        clip: the folder of the clip; other frames are passed over.
    """

    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self._lines: dict[str, dict[str, list[Array]]] = {}

    def add(self, path: Path, title: str, noisy: Array, clean: Array, outputs: Mapping[str, Array]) -> None:
        """Take a frame's middle line; what belongs to one title stands in one row."""
        if path.parent != self._clip:
            return
        row = self._lines.setdefault(title, {})
        for name, picture in {title: noisy, **outputs, "truth": clean}.items():
            row.setdefault(name, []).append(picture[picture.shape[0] // 2])

    @property
    def rows(self) -> list[list[Tile]]:
        """Pictures for `write_grid`."""
        return [
            [Tile(name, np.repeat(np.stack(lines), LINE, axis=0)) for name, lines in row.items()]
            for row in self._lines.values()
        ]


def busiest(picture: Array, side: int = SIDE) -> tuple[slice, slice]:
    """Rows and columns of the square with the most detail in a picture, (H, W, C); of all of it where it is small."""
    height, width = min(side, picture.shape[0]), min(side, picture.shape[1])
    grey = picture.mean(axis=2, dtype=np.float64)
    detail = sum(np.abs(np.diff(grey, axis=axis, prepend=grey.take([0], axis))) for axis in (0, 1))
    above = np.pad(np.cumsum(np.cumsum(detail, axis=0), axis=1), ((1, 0), (1, 0)))  # the sum of all above and left
    sums = above[height:, width:] - above[:-height, width:] - above[height:, :-width] + above[:-height, :-width]
    y, x = divmod(int(sums.argmax()), sums.shape[1])
    return slice(y, y + height), slice(x, x + width)


def rows_of(photos: int, levels: int) -> range:
    """Which photos, by their number, are in a grid: spread evenly, so many that it stays within its rows."""
    return range(0, photos, math.ceil(photos / max(MOST_ROWS // levels, 1)))


def _draw(tile: Tile, width: int) -> Image.Image:
    values = np.rint(tile.pixels.clip(0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(np.repeat(values, 3 // values.shape[2], axis=2))
    drawn = Image.new("RGB", (width, CAPTION + picture.height), "white")
    # The font that Pillow brings may know no other letters.
    caption = tile.caption.encode("ascii", "replace").decode()
    ImageDraw.Draw(drawn).text((0, 2), caption, fill="black")
    drawn.paste(picture, (0, CAPTION))
    return drawn
