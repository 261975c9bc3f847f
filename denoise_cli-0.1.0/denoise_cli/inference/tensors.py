"""Pictures that are PyTorch's tensors, for `tiles.process`, on a CPU or a GPU.

Legend: B batch, C channels, H x W picture.
"""

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from denoise_cli.imaging import tiling
from denoise_cli.inference.torch_device import fits


class Tensors:
    """`tiles.Pictures` that are tensors, on any device.

    Args:
        device: where the tiles are processed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = str(device)
        self._device = device

    def from_array(self, array: NDArray[Any], like: Tensor | None = None) -> Tensor:
        """See `tiles.Pictures`."""
        tensor = torch.from_numpy(array)
        return tensor if like is None else tensor.to(like.device)

    def to_array(self, picture: Tensor) -> NDArray[Any]:
        """See `tiles.Pictures`."""
        return picture.cpu().numpy()

    def from_tensor(self, tensor: Tensor) -> Tensor:
        """See `tiles.Pictures`."""
        return tensor

    def to_tensor(self, picture: Tensor, like: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's
        """See `tiles.Pictures`; it is there already."""
        return picture

    def copy(self, picture: Tensor) -> Tensor:
        """See `tiles.Pictures`."""
        return picture.to(torch.float32, copy=True)

    def full(self, shape: tuple[int, ...], value: float, like: Tensor) -> Tensor:
        """See `tiles.Pictures`."""
        return torch.full(shape, value, dtype=torch.float32, device=like.device)

    def crop(self, picture: Tensor, rows: tiling.Span, columns: tiling.Span) -> Tensor:
        """See `tiles.Pictures`."""
        if picture.dtype == torch.uint16:  # PyTorch does little with it
            return self.crop(picture.view(torch.int16), rows, columns).view(torch.uint16)
        return _cropped(_cropped(picture, -2, rows), -1, columns)

    def scaled(self, picture: Tensor, white: float) -> Tensor:
        """See `tiles.Pictures`."""
        if white == 1:
            return picture
        # A GPU would multiply by the reciprocal of a number, and round differently.
        return picture.to(torch.float32) / torch.tensor(white, dtype=torch.float32, device=picture.device)

    def hold(self, frames: Sequence[Tensor]) -> Sequence[Tensor]:
        """Copy whole frames to a GPU if they fit: copying overlapping tiles would take longer. Else return them."""
        if self._device.type != "cuda" or any(frame.device.type != "cpu" for frame in frames):
            return frames
        if not fits(sum(frame.numel() for frame in frames) * torch.float32.itemsize, self._device):
            return frames
        return [frame.to(self._device, torch.float32) for frame in frames]

    def release(self, picture: Tensor, like: Tensor) -> Tensor:
        """See `tiles.Pictures`."""
        return picture.to(like.device)


def _cropped(picture: Tensor, dim: int, span: tiling.Span) -> Tensor:
    length = picture.shape[dim]
    inside = picture.narrow(dim, span.start, min(span.stop, length) - span.start)
    if span.stop <= length:
        return inside
    # Only the padding is gathered value by value, which takes many times as long as copying.
    beyond = torch.from_numpy(tiling.reflected(length, span.stop, length)).to(picture.device)
    return torch.cat([inside, picture.index_select(dim, beyond)], dim)
