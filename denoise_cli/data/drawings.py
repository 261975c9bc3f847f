"""Crops drawn by code, of what photos hardly show: letters, lines, flat areas, gradients, patterns of pixels, stars.

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
from denoise_cli.imaging.transfer import linear_to_srgb

Crop = NDArray[np.float32]
Colour = tuple[int, int, int]

COLOURS = 3
PATTERN_SHARE = 0.1  # of the crops are patterns of single pixels,
STARS_SHARE = 0.1  # are stars, and the others are drawings; `Stars` adds to these
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
SKY = (0.001, 0.1)  # linear light of the sky between stars
STAR_WIDTHS = (0.4, 1.5)  # pixels, the standard deviation of a star's light
STAR_LIGHT = (0.01, 2.0)  # above the sky, at the middle of a star; what exceeds white is clipped
PIXELS_PER_STAR = 120  # among the drawings;
SPARSEST = 1000  # that `Stars` leaves around a star
STAR_RADIUS = 6  # pixels, to which a star is drawn


class _Drawn:
    """A source of crops that are not read from files but drawn when they are asked for."""

    @property
    def skipped(self) -> Mapping[tuple[Path, ...], UnreadableFile]:
        """Nothing: drawings are not read from files."""
        return {}

    def __len__(self) -> int:
        """0: there are no files."""
        return 0


class Drawings(_Drawn):
    """A source of drawings of every kind."""

    def draw(self, rng: np.random.Generator, patch: int) -> Crop:
        """See `Source`: (patch, patch, 3)."""
        kind = rng.random()
        if kind < PATTERN_SHARE:
            return _pattern(rng, patch)
        return _stars(rng, patch, PIXELS_PER_STAR) if kind > 1 - STARS_SHARE else _drawing(rng, patch)


class Stars(_Drawn):
    """A source of nothing but stars, close together or far apart."""

    def draw(self, rng: np.random.Generator, patch: int) -> Crop:
        """See `Source`: (patch, patch, 3)."""
        return _stars(rng, patch, _log_uniform(rng, PIXELS_PER_STAR, SPARSEST))


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


def _stars(rng: np.random.Generator, patch: int, pixels_per_star: float) -> Crop:
    """Points of light of one width on an even sky, of any brightness: denoisers like to take them for noise."""
    light = np.full((patch + 2 * STAR_RADIUS, patch + 2 * STAR_RADIUS, COLOURS), _log_uniform(rng, *SKY), np.float32)
    width = rng.uniform(*STAR_WIDTHS)
    around = np.arange(-STAR_RADIUS, STAR_RADIUS + 1)
    for _ in range(rng.poisson(patch**2 / pixels_per_star)):
        y, x = rng.uniform(STAR_RADIUS, patch + STAR_RADIUS - 1, 2)
        top, left = round(y) - STAR_RADIUS, round(x) - STAR_RADIUS
        down, across = (np.exp(-0.5 * ((around + round(at) - at) / width) ** 2) for at in (y, x))
        colour = _log_uniform(rng, *STAR_LIGHT) * rng.uniform(0.6, 1, COLOURS)
        light[top : top + len(around), left : left + len(around)] += down[:, None, None] * across[:, None] * colour
    inside = light[STAR_RADIUS:-STAR_RADIUS, STAR_RADIUS:-STAR_RADIUS]
    return linear_to_srgb(inside.clip(0, 1)).astype(np.float32)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


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
