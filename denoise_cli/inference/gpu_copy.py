"""Copying pictures to a GPU and back while it computes with others.

Source: PyTorch's notes on CUDA semantics: pinned memory, streams, and memory that several streams use.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from denoise_cli.inference.torch_device import fits


class GpuCopier:
    """Copies pictures of one size to a GPU and back, on a stream of its own.

    If the device is a CPU, or a GPU on which the pictures would leave too little memory to compute with, they are not
    copied: the pictures themselves are returned.

    Args:
        device: the device that computes with the pictures.
        pictures: how many of them are on the device at once.
    """

    def __init__(self, device: torch.device, pictures: int) -> None:
        self._device = device
        self._pictures = pictures
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._is_first = True

    def upload(self, picture: Tensor) -> Tensor:
        """Start copying a picture to the device. Work already queued there continues; work queued later waits for it.

        Args:
            picture: any shape, on the CPU.

        Returns:
            The picture on the device.
        """
        if self._is_first and self._stream is not None and not fits(self._pictures * picture.nbytes, self._device):
            self._stream = None
        self._is_first = False
        if self._stream is None:
            return picture
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            uploaded = picture.pin_memory().to(self._device, non_blocking=True)
        current.wait_stream(self._stream)
        uploaded.record_stream(current)  # otherwise its memory could be reused while it is still computed with
        return uploaded

    def download(self, picture: Tensor) -> Callable[[], Tensor]:
        """Start copying a picture to the CPU once the work that is queued on the device is done; return at once.

        Args:
            picture: any shape, on the device.

        Returns:
            A function that waits for the copy and returns it.
        """
        if self._stream is None:
            return lambda: picture
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        downloaded = torch.empty(picture.shape, dtype=picture.dtype, pin_memory=True)
        with torch.cuda.stream(self._stream):
            downloaded.copy_(picture, non_blocking=True)
        picture.record_stream(self._stream)
        copied = self._stream.record_event()

        def wait() -> Tensor:
            copied.synchronize()
            return downloaded

        return wait
