"""What an evaluation writes into files: a table with a row for each photo, and pictures for comparison by eye."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from denoise_cli.files import write_atomically
from denoise_cli.imaging.crops import densest_square
from denoise_cli.imaging.metrics import psnr
from denoise_cli.io.grid import Tile

Array = NDArray[np.float32]

MAX_ROWS = 8  # of a grid of photos
CROP_SIDE = 256  # pixels of a photo that are shown, at 100 %
PROFILE_LINE_HEIGHT = 8  # pixels by which each line of a temporal profile is enlarged
ERROR_GAIN = 4  # factor by which errors are amplified, around middle grey


def write_table(path: Path, records: Sequence[Mapping[str, object]], overwrite: bool) -> None:
    """Write records that have the same keys as CSV, with the keys as the header.

    Raises:
        UnwritableFile: the file cannot be written, or it exists and `overwrite` is false.
    """
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(records[0]))
    table.writeheader()
    table.writerows(records)
    write_atomically(path, text.getvalue().encode("utf-8", "surrogateescape"), overwrite)


def compare(title: str, noisy: Array, clean: Array, outputs: Mapping[str, Array]) -> list[Tile]:
    """A row of the grid: the input, each denoiser's output, the truth, and each output's error.

    All are cropped to the square with the most detail, where denoisers differ most. The PSNR in the captions is that of
    the whole photo.

    Args:
        title: describes the input.
        noisy: (H, W, C), [0, 1].
        clean: the same shape.
        outputs: by the name of the denoiser, the same shape.
    """
    crop = most_detailed_crop(clean)
    truth = clean[crop]
    results = [Tile(f"{name}: {psnr(output, clean):.2f} dB", output[crop]) for name, output in outputs.items()]
    errors = [
        Tile(f"{name}: error x {ERROR_GAIN}", 0.5 + ERROR_GAIN * (output[crop] - truth))
        for name, output in outputs.items()
    ]
    return [Tile(f"{title}: {psnr(noisy, clean):.2f} dB", noisy[crop]), *results, Tile("truth", truth), *errors]


class TemporalProfiles:
    """The middle line of a clip's frames, stacked over time from top to bottom: flicker and jitter show as roughness.

    Args:
        clip: the folder of the clip; frames from other folders are ignored.
    """

    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self._lines: dict[str, dict[str, list[Array]]] = {}

    def add(self, path: Path, title: str, noisy: Array, clean: Array, outputs: Mapping[str, Array]) -> None:
        """Add the middle line of the next frame, given as for `compare`; each title has its own row of pictures."""
        if path.parent != self._clip:
            return
        row = self._lines.setdefault(title, {})
        for name, picture in {title: noisy, **outputs, "truth": clean}.items():
            row.setdefault(name, []).append(picture[picture.shape[0] // 2])

    @property
    def rows(self) -> list[list[Tile]]:
        """Pictures for `write_grid`."""
        return [
            [Tile(name, np.repeat(np.stack(lines), PROFILE_LINE_HEIGHT, axis=0)) for name, lines in row.items()]
            for row in self._lines.values()
        ]


def most_detailed_crop(picture: Array, side: int = CROP_SIDE) -> tuple[slice, slice]:
    """Rows and columns of the square with the most detail in a picture, (H, W, C).

    A side of the picture that is shorter than the square is taken whole.

    >>> picture = np.zeros((60, 80, 1), np.float32)
    >>> picture[:, 75] = 1
    >>> most_detailed_crop(picture[:15], side=20)
    (slice(0, 15, None), slice(57, 77, None))
    """
    grey = picture.mean(axis=2, dtype=np.float64)
    detail = sum(np.abs(np.diff(grey, axis=axis, prepend=grey.take([0], axis))) for axis in (0, 1))
    return densest_square(detail, side)


def choose_photos(photos: int, levels: int) -> range:
    """The indices of the photos to show in a grid: evenly spaced, in at most `MAX_ROWS` rows but at least one photo.

    Args:
        photos: how many there are.
        levels: how many rows a photo takes, one for each noise level.

    >>> list(choose_photos(68, levels=3))
    [0, 34]
    """
    return range(0, photos, math.ceil(photos / max(MAX_ROWS // levels, 1)))
