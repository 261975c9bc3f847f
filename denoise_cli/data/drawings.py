"""Crops drawn by code, of what photos hardly show: letters, lines, flat areas, even gradients, patterns of pixels.

Legend: H x W pixels.
"""

import string
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from denoise_cli.errors import UnreadableFile

Crop = NDArray[np.float32]
Colour = tuple[int, int, int]

COLOURS = 3
PATTERN_SHARE = 0.1  # of the crops are patterns of single pixels, the others are drawings
GRADIENT_SHARE = 0.4  # of the drawings have a background that changes evenly; the others' is of one colour
FEW_COLOURS_SHARE = 0.5  # of the drawings have two colours, as pages have
GREY_SHARE = 0.3  # of the colours
ALIASED_SHARE = 0.25  # of the drawings have hard edges; the edges of the others are smoothed
SMOOTHING = 3  # times the size at which a drawing with smoothed edges is drawn
MOST_SHAPES = 8
FONT_SIZES = (7, 32)  # pixels
LETTERS = string.ascii_letters + string.digits + string.punctuation + "   "
LONGEST_LINE = 24  # letters
THICKEST_LINE = 5  # pixels
LARGEST_SQUARE = 4  # pixels, in a pattern


class Drawings:
    """A source of drawings; each is drawn when it is asked for."""

    @property
    def skipped(self) -> Mapping[tuple[Path, ...], UnreadableFile]:
        """Nothing: drawings are not read from files."""
        return {}

    def __len__(self) -> int:
        """0: there are no files."""
        return 0

    def draw(self, rng: np.random.Generator, patch: int) -> Crop:
        """See `Source`: (patch, patch, 3)."""
        return _pattern(rng, patch) if rng.random() < PATTERN_SHARE else _drawing(rng, patch)


def _pattern(rng: np.random.Generator, patch: int) -> Crop:
    """Squares of two to four colours: at random, as in codes, or in turn, as in dithered areas."""
    side = int(rng.integers(1, LARGEST_SQUARE + 1))
    colours = rng.random((int(rng.integers(2, 5)), COLOURS), np.float32)
    cells = -(-patch // side)
    if rng.random() < 0.5:
        which = rng.integers(len(colours), size=(cells, cells))
    else:
        y, x = np.mgrid[:cells, :cells]
        which = (y * int(rng.integers(3)) + x) % len(colours)
    drawn: Crop = np.repeat(np.repeat(colours[which], side, axis=0), side, axis=1)[:patch, :patch]
    return drawn


def _drawing(rng: np.random.Generator, patch: int) -> Crop:
    scale = 1 if rng.random() < ALIASED_SHARE else SMOOTHING
    side = patch * scale
    palette = [_colour(rng) for _ in range(2 if rng.random() < FEW_COLOURS_SHARE else MOST_SHAPES)]
    picture = Image.fromarray(_background(rng, side, palette[0]))
    canvas = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(1, MOST_SHAPES + 1))):
        _draw_shape(canvas, rng, side, scale, palette[int(rng.integers(1, len(palette)))])
    if scale > 1:
        picture = picture.resize((patch, patch), Image.Resampling.BOX)
    return np.divide(np.asarray(picture), 255, dtype=np.float32)


def _background(rng: np.random.Generator, side: int, colour: Colour) -> NDArray[np.uint8]:
    if rng.random() >= GRADIENT_SHARE:
        return np.full((side, side, COLOURS), colour, np.uint8)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:side, :side] / side - 0.5
    along = (x * np.cos(angle) + y * np.sin(angle))[..., None] / np.sqrt(2) + 0.5
    other = np.asarray(colour) + (np.asarray(_colour(rng)) - colour) * rng.random()
    return np.rint(colour + (other - colour) * along).astype(np.uint8)


def _draw_shape(canvas: ImageDraw.ImageDraw, rng: np.random.Generator, side: int, scale: int, colour: Colour) -> None:
    x, y, right, bottom = (int(place) for place in rng.integers(-side // 4, side * 5 // 4, 4))
    kind = int(rng.integers(6))
    if kind <= 1:  # letters are what one looks at most closely
        size = int(rng.integers(*FONT_SIZES))
        text = "".join(rng.choice(list(LETTERS), int(rng.integers(1, LONGEST_LINE))))
        for row in range(int(rng.integers(1, 4))):
            canvas.text((x - side // 4, y + row * size * scale), text, colour, _font(size * scale))
    elif kind == 2:
        width = int(rng.integers(1, THICKEST_LINE + 1)) * scale
        canvas.line([x, y, right, bottom], colour, width)
    elif kind == 3:
        spacing = int(rng.integers(2, 12)) * scale
        for place in range(0, side, spacing):
            canvas.line([(place, 0), (place + x - y, side)], colour, max(scale // 2, 1))
    else:
        box = [min(x, right), min(y, bottom), max(x, right), max(y, bottom)]
        width = int(rng.integers(1, THICKEST_LINE + 1)) * scale
        fill, outline = (colour, None) if rng.random() < 0.5 else (None, colour)
        (canvas.ellipse if kind == 4 else canvas.rectangle)(box, fill, outline, width)


def _colour(rng: np.random.Generator) -> Colour:
    """Any colour; black, white and greys more often."""
    if rng.random() < GREY_SHARE:
        grey = (0, 255, int(rng.integers(256)))[int(rng.integers(3))]
        return grey, grey, grey
    red, green, blue = (int(value) for value in rng.integers(256, size=COLOURS))
    return red, green, blue


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
