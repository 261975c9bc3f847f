"""Where the picture that LibRaw develops lies on the sensor, and which part of it is meant to be seen.

Source: Adobe, "Digital Negative (DNG) Specification" 1.7, chapter 4: ActiveArea, DefaultCropOrigin, DefaultCropSize.

Legend: H x W pixels, as many as `Frame` has; C planes.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from denoise_cli.io.dng import CROP_ORIGIN, CROP_SIZE, Area, active_area, picture_size, stated_area
from denoise_cli.io.exif import Exif

if TYPE_CHECKING:
    from rawpy import ImageSizes

Values = TypeVar("Values", bound=np.ndarray)

# Bits of LibRaw's `flip`.
MIRRORS_COLUMNS = 1
MIRRORS_ROWS = 2
SWAPS_AXES = 4


@dataclass(frozen=True)
class Frame:
    """A picture's place in the active area of its sensor, not turned upright.

    Attributes:
        top, left: of the picture in the active area, in rows and columns.
        height, width: of the active area.
        rows, columns: of the picture that are to be seen: the first one, and the one after the last.
    """

    top: int
    left: int
    height: int
    width: int
    rows: tuple[int, int]
    columns: tuple[int, int]

    def from_pixel(self, row: int, column: int = 0) -> "Frame":
        """The frame of a picture that begins with another pixel of this one."""
        return replace(self, top=self.top + row, left=self.left + column)

    def seen(self, picture: Values, scale: int = 1) -> Values:
        """The part of a picture, (H, W, C) not turned upright, that is to be seen; of a smaller one if it is scaled."""
        (top, bottom), (left, right) = self.rows, self.columns
        return picture[top // scale : -(-bottom // scale), left // scale : -(-right // scale)]  # type: ignore[return-value]


def area_of_dng(data: bytes, developed: Area, shape: tuple[int, ...]) -> Area:
    """The photosites that make the picture of a digital negative.

    Args:
        data: the file.
        developed: those that LibRaw makes a picture of.
        shape: rows and columns of all photosites, as LibRaw has read them.

    Returns:
        The file's ActiveArea; `developed` if that is not inside it, or if the file is not of this shape.
    """
    own = active_area(data)
    if own is None or picture_size(data) != shape:
        return developed
    top, left, bottom, right = developed
    is_around = own[0] <= top and own[1] <= left and own[2] >= bottom and own[3] >= right
    return own if is_around else developed


def frame_of_dng(tags: Exif, sizes: "ImageSizes") -> Frame:
    """The frame by the tags of a digital negative.

    Args:
        tags: those of its full-size picture, as `main`.
        sizes: LibRaw's picture, which begins at an even row and column, even if the active area does not.
    """
    top, left, bottom, right = stated_area(tags) or (0, 0, *_far_corner(sizes))
    origin, size = (tags.numbers(tags.main.get(tag)) for tag in (CROP_ORIGIN, CROP_SIZE))
    whole = Frame(
        sizes.top_margin - top,
        sizes.left_margin - left,
        bottom - top,
        right - left,
        (0, sizes.height),
        (0, sizes.width),
    )
    if len(origin) != 2 or len(size) != 2:
        return whole
    (x, y), (width, height) = (map(round, numbers) for numbers in (origin, size))
    return _cropped(whole, y - whole.top, x - whole.left, height, width, sizes)


def frame_of_libraw(sizes: "ImageSizes") -> Frame:
    """The frame of another file, by what LibRaw knows about its maker's crop."""
    whole = Frame(0, 0, sizes.height, sizes.width, (0, sizes.height), (0, sizes.width))
    crop = crop_of_libraw(sizes)
    return whole if crop is None else _cropped(whole, *crop, sizes)


def crop_of_libraw(sizes: "ImageSizes") -> tuple[int, int, int, int] | None:
    """Top, left, height and width of the maker's crop in LibRaw's picture; None if LibRaw knows none inside it."""
    top, left = sizes.crop_top_margin - sizes.top_margin, sizes.crop_left_margin - sizes.left_margin
    height, width = sizes.crop_height, sizes.crop_width
    is_inside = 0 <= top < top + height <= sizes.height and 0 <= left < left + width <= sizes.width
    return (top, left, height, width) if is_inside else None


def sensor_view(picture: Values, flip: int) -> Values:
    """An upright picture, (H, W, C) or (W, H, C), as the sensor saw it: a view of the same values.

    Args:
        picture: as LibRaw has turned it.
        flip: LibRaw's number for how it did that.
    """
    if flip & SWAPS_AXES:
        picture = picture.swapaxes(0, 1)
    if flip & MIRRORS_ROWS:
        picture = picture[::-1]  # type: ignore[assignment]
    if flip & MIRRORS_COLUMNS:
        picture = picture[:, ::-1]  # type: ignore[assignment]
    return picture


def upright(picture: Values, flip: int) -> Values:
    """Undo `sensor_view`: a view of the same values, turned as LibRaw does it."""
    if flip & MIRRORS_COLUMNS:
        picture = picture[:, ::-1]  # type: ignore[assignment]
    if flip & MIRRORS_ROWS:
        picture = picture[::-1]  # type: ignore[assignment]
    if flip & SWAPS_AXES:
        picture = picture.swapaxes(0, 1)
    return picture


def _far_corner(sizes: "ImageSizes") -> tuple[int, int]:
    return sizes.top_margin + sizes.height, sizes.left_margin + sizes.width


def _cropped(whole: Frame, top: int, left: int, height: int, width: int, sizes: "ImageSizes") -> Frame:
    """The frame with what is left of a crop inside the picture; without the crop if that is nothing."""
    rows = (max(top, 0), min(top + height, sizes.height))
    columns = (max(left, 0), min(left + width, sizes.width))
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        return whole
    return replace(whole, rows=rows, columns=columns)
