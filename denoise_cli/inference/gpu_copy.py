"""Pictures on their way to a GPU and back, while it computes others.

Source: PyTorch's notes on CUDA semantics: pinned memory, streams, and memory that several of them use.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from denoise_cli.inference.device import fits


class Shuttle:
    """Carries pictures of one size to a device and back. They stay where they are if that is a CPU, or a GPU which they
    would leave too little room to compute in.

    Args:
        device: where they are computed with.
        pictures: how many are there at once.
    """

    def __init__(self, device: torch.device, pictures: int) -> None:
        self._device = device
        self._pictures = pictures
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._is_first = True

    def bring(self, picture: Tensor) -> Tensor:
        """A picture on the device: what was begun there before goes on meanwhile, what is begun later waits for it."""
        if self._is_first and self._stream is not None and not fits(self._pictures * picture.nbytes, self._device):
            self._stream = None
        self._is_first = False
        if self._stream is None:
            return picture
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            there = picture.pin_memory().to(self._device, non_blocking=True)
        current.wait_stream(self._stream)
        there.record_stream(current)  # else its memory could be another's while it is still computed with
        return there

    def fetch(self, picture: Tensor) -> Callable[[], Tensor]:
        """What returns the picture in the computer's memory, once it is called, and waits until then for nothing."""
        if self._stream is None:
            return lambda: picture
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        here = torch.empty(picture.shape, dtype=picture.dtype, pin_memory=True)
        with torch.cuda.stream(self._stream):
            here.copy_(picture, non_blocking=True)
        picture.record_stream(self._stream)
        arrived = self._stream.record_event()

        def arrival() -> Tensor:
            arrived.synchronize()
            return here

        return arrival
