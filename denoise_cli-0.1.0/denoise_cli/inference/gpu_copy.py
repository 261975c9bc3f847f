"""Copying pictures to a GPU and back while it computes with others.

Source: PyTorch's notes on CUDA semantics: pinned memory, streams, and memory that several streams use.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from denoise_cli.inference.torch_device import fits

Array = NDArray[np.float32]


class GpuCopier:
    """Copies pictures of one size to a GPU and back, on a stream of its own.

    If they would leave too little memory to compute with, they are not copied: the pictures themselves are returned.

    Args:
        device: the GPU.
        pictures: how many of them are on it at once.
    """

    def __init__(self, device: torch.device, pictures: int) -> None:
        self._device = device
        self._pictures = pictures
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._has_room: bool | None = None  # None until the first picture

    def upload(self, picture: Array) -> Array | Tensor:
        """Start copying a picture to the device. Work already queued there continues; work queued later waits for it.

        Args:
            picture: (H, W, C).

        Returns:
            The picture on the device, (1, C, H, W).
        """
        if self._has_room is None:
            self._has_room = fits(self._pictures * picture.nbytes, self._device)
        if not self._has_room:
            return picture
        current = torch.cuda.current_stream(self._device)
        planes = torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()
        with torch.cuda.stream(self._stream):
            uploaded = planes.pin_memory().to(self._device, non_blocking=True)
        current.wait_stream(self._stream)
        uploaded.record_stream(current)  # otherwise its memory could be reused while it is still computed with
        return uploaded

    def download(self, picture: Array | Tensor) -> Callable[[], Array]:
        """Start copying a picture to the CPU once the work that is queued on the device is done; return at once.

        Args:
            picture: as `upload` returns it.

        Returns:
            A function that waits for the copy and returns it, (H, W, C).
        """
        if not isinstance(picture, Tensor):
            return lambda: picture
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        downloaded = torch.empty(picture.shape, dtype=picture.dtype, pin_memory=True)
        with torch.cuda.stream(self._stream):
            downloaded.copy_(picture, non_blocking=True)
        picture.record_stream(self._stream)
        copied = self._stream.record_event()

        def wait() -> Array:
            copied.synchronize()
            return downloaded[0].permute(1, 2, 0).numpy()

        return wait
