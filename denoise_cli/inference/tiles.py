"""Pictures processed tile by tile: the loop, which is the same for NumPy's arrays and PyTorch's tensors, and arrays.

Legend: B batch, C channels, H x W picture.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from denoise_cli.errors import OutOfMemory
from denoise_cli.imaging import tiling
from denoise_cli.imaging.pixels import to_float
from denoise_cli.inference.device import is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor

Picture = Any  # a NumPy array or a PyTorch tensor, (B, C, H, W)
Progress = Callable[[float], None]
TileFunction = Callable[[Sequence[Picture], tiling.Span, tiling.Span], Picture]  # (frames, rows, columns) to one tile
Receiver = Callable[[slice, slice, Picture], None]  # (rows, columns, their values)

# Pixels that two tiles share. Measured (docs/architecture.md): the end of a tile hardly affects pixels 64 away from it.
OVERLAP = 192
# The same for a network that is told the noise level: it looks less far.
OVERLAP_OF_TOLD = 128
OVERLAP_OF_MOSAICS = 64  # and for one that works on the planes of a mosaic, which are half as wide and high
SMALLEST_TILE = 256  # pixels


class Pictures(Protocol):
    """What a library of arrays does in its own way with the pictures that are cut into tiles.

    Attributes:
        device: where the tiles are processed: "cpu", "cuda" or "cuda:N".
    """

    device: str

    def from_array(self, array: NDArray[Any], like: Picture | None = None) -> Picture:
        """A picture that shares the array's memory if it can; on the device of `like`."""

    def to_array(self, picture: Picture) -> NDArray[Any]:
        """A picture as an array."""

    def from_tensor(self, tensor: "Tensor") -> Picture:
        """A picture that shares the tensor's memory if it can."""

    def to_tensor(self, picture: Picture, like: "Tensor") -> "Tensor":
        """A picture as a tensor, on the device of `like`."""

    def copy(self, picture: Picture) -> Picture:
        """A copy in float32."""

    def full(self, shape: tuple[int, ...], value: float, like: Picture) -> Picture:
        """A picture of one value, in float32, on the device of `like`."""

    def crop(self, picture: Picture, rows: tiling.Span, columns: tiling.Span) -> Picture:
        """One tile of a picture, padded by reflection beyond the border; it may share the picture's memory."""

    def scaled(self, picture: Picture, white: float) -> Picture:
        """A picture divided by the value of white, in float32; unchanged if that is 1."""

    def hold(self, frames: Sequence[Picture]) -> Sequence[Picture]:
        """The frames from which tiles are cut, where that is fastest."""

    def release(self, picture: Picture, like: Picture) -> Picture:
        """A result on the device of `like`."""


class Arrays:
    """`Pictures` that are NumPy's arrays."""

    device = "cpu"

    def from_array(self, array: NDArray[Any], like: Picture | None = None) -> Picture:  # noqa: ARG002 - the protocol's
        """See `Pictures`."""
        return array

    def to_array(self, picture: Picture) -> NDArray[Any]:
        """See `Pictures`."""
        return picture

    def from_tensor(self, tensor: "Tensor") -> Picture:
        """See `Pictures`."""
        return tensor.detach().float().cpu().numpy()

    def to_tensor(self, picture: Picture, like: "Tensor") -> "Tensor":
        """See `Pictures`."""
        import torch

        return torch.from_numpy(picture).to(like.device)

    def copy(self, picture: Picture) -> Picture:
        """See `Pictures`."""
        return np.array(picture, np.float32)

    def full(self, shape: tuple[int, ...], value: float, like: Picture) -> Picture:  # noqa: ARG002 - the protocol's
        """See `Pictures`."""
        return np.full(shape, value, np.float32)

    def crop(self, picture: Picture, rows: tiling.Span, columns: tiling.Span) -> Picture:
        """See `Pictures`."""
        H, W = picture.shape[-2:]
        inside = picture[..., rows.start : min(rows.stop, H), columns.start : min(columns.stop, W)]
        h, w = inside.shape[-2:]
        if rows.stop <= H and columns.stop <= W:
            return inside
        # Only the padding is gathered value by value, which takes many times as long as copying.
        tile = np.empty((*picture.shape[:-2], rows.stop - rows.start, columns.stop - columns.start), picture.dtype)
        tile[..., :h, :w] = inside
        tile[..., h:, :w] = tile[..., tiling.reflected(H, rows.stop, H) - rows.start, :w]
        tile[..., w:] = tile[..., tiling.reflected(W, columns.stop, W) - columns.start]
        return tile

    def scaled(self, picture: Picture, white: float) -> Picture:
        """See `Pictures`."""
        if picture.dtype != np.float32:  # put in the networks' order while they are small: a quarter of the time
            picture = np.ascontiguousarray(picture)
        return to_float(picture, white)

    def hold(self, frames: Sequence[Picture]) -> Sequence[Picture]:
        """See `Pictures`."""
        return frames

    def release(self, picture: Picture, like: Picture) -> Picture:  # noqa: ARG002 - the protocol's
        """See `Pictures`."""
        return picture


def into(whole: Picture) -> Receiver:
    """A function for `process_each` that puts the tiles into a picture of the frames' shape."""

    def receive(rows: slice, columns: slice, values: Picture) -> None:
        whole[:, :, rows, columns] = values

    return receive


def process_each(
    frames: Sequence[Picture],
    tile_function: TileFunction,
    pictures: Pictures,
    tile: int,
    multiple: int,
    receive: Receiver,
    progress: Progress | None = None,
    overlap: int = OVERLAP,
) -> int:
    """Process frames tile by tile, and hand over the part of each tile that no further one adds to.

    Args:
        frames: each (B, C, H, W).
        tile_function: processes one tile, in float32; the result may not share the frames' memory.
        pictures: what the frames are.
        tile: maximum side of a tile in pixels, at least `SMALLEST_TILE`; rounded down to a multiple.
        multiple: what the sides of tiles are multiples of.
        receive: called with rows, columns and their values, (B, C, rows, columns), float32, on the frames' device,
            which it may not keep; in the end, with every pixel. If memory runs out, it is called for the first rows
            and columns again, with what has become of smaller tiles.
        progress: called with the fraction done, [0, 1].
        overlap: pixels that two tiles share, at most; a multiple of `multiple`.

    Returns:
        The maximum side of a tile for which there was memory: `tile`, or less.

    Raises:
        OutOfMemory: even the smallest tile does not fit in memory.
    """
    fitting = tile
    tile = tile // multiple * multiple
    while True:
        try:
            held = pictures.hold(frames)
            for rows, columns, values in _finished(held, tile_function, pictures, tile, multiple, overlap, progress):
                receive(rows, columns, pictures.release(values, frames[0]))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if tile == SMALLEST_TILE:
                smallest = f"even with tiles of {tile} pixels"
                advice = "free some, or use another device"
                raise OutOfMemory(f"out of memory on {pictures.device}, {smallest}: {advice}") from error
        else:
            return fitting
        fitting = tile = max(tile // 2 // multiple * multiple, SMALLEST_TILE)


def _finished(
    frames: Sequence[Picture],
    tile_function: TileFunction,
    pictures: Pictures,
    tile: int,
    multiple: int,
    largest_overlap: int,
    progress: Progress | None,
) -> Iterator[tuple[slice, slice, Picture]]:
    """The rows and columns of each tile that no further tile adds to, and their values."""
    B, C, H, W = frames[0].shape
    overlap = min(largest_overlap, tile // 2) // multiple * multiple
    margin = overlap // 3
    spans = list(tiling.grid(_padded(H, multiple), _padded(W, multiple), tile, overlap, multiple))
    # What tiles have added so far to the pixels that they share with those below, and with the one to the right.
    below, beside = pictures.full((B, C, overlap, W), 0.0, frames[0]), frames[0]
    for done, (rows, columns) in enumerate(spans, start=1):
        result = tile_function(frames, rows, columns)
        row_weights, column_weights = (pictures.from_array(span.weights(margin), result) for span in (rows, columns))
        result *= row_weights[:, None] * column_weights
        bottom, right = min(rows.stop, H), min(columns.stop, W)
        result = result[:, :, : bottom - rows.start, : right - columns.start]
        top, left = rows.shared_before, columns.shared_before
        if left:
            result[..., :left] += beside
        result[:, :, :top, left:] += below[:, :, :top, columns.start + left : right]
        last_row, last_column = bottom - rows.shared_after, right - columns.shared_after
        values = result[:, :, : last_row - rows.start, : last_column - columns.start]
        yield slice(rows.start, last_row), slice(columns.start, last_column), values
        beside = pictures.copy(result[..., last_column - columns.start :])
        if rows.shared_after:
            below[..., columns.start : last_column] = result[
                :, :, last_row - rows.start :, : last_column - columns.start
            ]
        if progress is not None:
            progress(done / len(spans))


def _padded(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
