"""Networks recorded as CUDA graphs, one for each size of image, so that running a network again is a single call.

A network computes entirely in one precision. The memory of a recording is held until the recording is dropped.

Source: PyTorch's documentation of CUDA graphs.

Legend: B batch, C channels, H x W image.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from denoise_cli.nets.mallenet import MalleNet
from denoise_cli.nets.mallenet_video import MalleNetVideo
from denoise_cli.nets.malleunet import MalleUNet
from denoise_cli.nets.mosaic_unet import MosaicUNet
from denoise_cli.nets.residual import NoisePredictor

# One for each size of tile. A photo has up to four sizes: inside, at the right edge, at the bottom, and in the corner.
MAX_RECORDINGS = 8
WARM_UP_RUNS = 3  # before a recording: libraries choose their algorithms and kernels are compiled


def use_graphs(net: nn.Module, device: torch.device, precision: torch.dtype) -> nn.Module:
    """Have a network's MalleNet, MalleUNet or MosaicUNet recorded as CUDA graphs; others are returned unchanged.

    Args:
        net: with its weights; it is changed and cannot be trained afterwards.
        device: an NVIDIA GPU.
        precision: of the arithmetic.
    """
    if isinstance(net, MalleNet | MalleUNet | MosaicUNet):
        return CudaGraphNet(net, device, precision)
    if isinstance(net, MalleNetVideo) and isinstance(net.finish, MalleNet):
        net.finish = CudaGraphNet(net.finish, device, precision)
    return net


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    image: Tensor
    sigma: Tensor
    noise: Tensor


class CudaGraphNet(NoisePredictor):
    """A network recorded as CUDA graphs. It cannot be trained, and only one thread may use it at a time.

    The first image of a size is computed without a recording. Choosing the fastest convolutions and recording them
    takes longer than that, and only pays off when the size occurs again.

    Args:
        net: with its weights.
        device: an NVIDIA GPU.
        precision: of the arithmetic.
    """

    def __init__(self, net: MalleNet | MalleUNet | MosaicUNet, device: torch.device, precision: torch.dtype) -> None:
        super().__init__()
        self.multiple, self.channels = net.multiple, net.channels
        self.net = net.to(device, precision, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._device = device
        self._precision = precision
        self._known_sizes: set[torch.Size] = set()
        self._recordings: dict[torch.Size, _Recording] = {}

    @torch.no_grad()
    def noise(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `NoisePredictor`; the result is float32."""
        if image.shape not in self._known_sizes:
            self._known_sizes.add(image.shape)
            with self._own_precision():
                return self.net.noise(self._convert(image), self._convert(sigma)).float()
        recording = self._recordings.pop(image.shape, None) or self._record(image, sigma)
        self._recordings[image.shape] = recording  # at the end: the first is the least recently used
        recording.image.copy_(image)
        recording.sigma.copy_(sigma)
        recording.graph.replay()
        return recording.noise.to(torch.float32, copy=True)  # the next replay overwrites the original

    def _record(self, image: Tensor, sigma: Tensor) -> _Recording:
        while len(self._recordings) >= MAX_RECORDINGS:
            del self._recordings[next(iter(self._recordings))]
        # All recordings share one pool of memory, as they are never replayed at the same time.
        pool = next((recording.graph.pool() for recording in self._recordings.values()), None)
        image, sigma = self._convert(image).clone(), self._convert(sigma).clone()
        with torch.cuda.device(self._device), self._own_precision(benchmark=True):
            stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP_RUNS):
                    self.net.noise(image, sigma)
            torch.cuda.current_stream(self._device).wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=stream):
                noise = self.net.noise(image, sigma)
        return _Recording(graph, image, sigma, noise)

    def _convert(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, self._precision, memory_format=torch.channels_last)

    @contextmanager
    def _own_precision(self, benchmark: bool = False) -> Iterator[None]:
        """Compute in the network's precision whatever the caller has set: without autocast, and float32 without TF32.

        Args:
            benchmark: let cuDNN try out its algorithms and choose the fastest.
        """
        cudnn = torch.backends.cudnn
        with (
            torch.autocast(self._device.type, enabled=False),
            cudnn.flags(enabled=True, benchmark=benchmark, deterministic=cudnn.deterministic, allow_tf32=False),
        ):
            yield
