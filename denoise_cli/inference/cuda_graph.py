"""Networks on an NVIDIA GPU: computed in 16 bits throughout, and recorded once for each size, so that running them
again is a single call.

Source: PyTorch's documentation of CUDA graphs. What a recording takes of memory is kept until it is given up.

Legend: B batch, C channels, H x W image.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from denoise_cli.nets.mallenet import MalleNet
from denoise_cli.nets.mallenet_video import MalleNetVideo
from denoise_cli.nets.residual import NoisePredictor

MOST_RECORDINGS = 8  # sizes; a photo has four: tiles, those at the right, those at the bottom, the last
WARM_UPS = 3  # runs before the recording, in which libraries choose their algorithms and kernels are compiled


def graphed(net: nn.Module, device: torch.device, precision: torch.dtype) -> nn.Module:
    """A network whose MalleNet is recorded; another network as it is.

    Args:
        net: with its weights, for no more training.
        device: an NVIDIA GPU.
        precision: of its arithmetic.
    """
    if isinstance(net, MalleNet):
        return GraphedNet(net, device, precision)
    if isinstance(net, MalleNetVideo) and isinstance(net.finish, MalleNet):
        net.finish = GraphedNet(net.finish, device, precision)
    return net


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    image: Tensor
    sigma: Tensor
    noise: Tensor


class GraphedNet(NoisePredictor):
    """Does what a MalleNet does, and cannot be trained; for one thread at a time.

    A size that is seen for the first time is computed as it comes: choosing the fastest convolutions and recording
    them takes longer, and pays where the size comes again.

    Args:
        net: with its weights.
        device: an NVIDIA GPU.
        precision: of its arithmetic.
    """

    def __init__(self, net: MalleNet, device: torch.device, precision: torch.dtype) -> None:
        super().__init__()
        self.multiple, self.channels = net.multiple, net.channels
        self.net = net.to(device, precision, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._device = device
        self._precision = precision
        self._seen: set[torch.Size] = set()
        self._recordings: dict[torch.Size, _Recording] = {}

    @torch.no_grad()
    def noise(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `NoisePredictor`; float32."""
        if image.shape not in self._seen:
            self._seen.add(image.shape)
            with self._as_asked():
                return self.net.noise(*(self._prepared(part) for part in (image, sigma))).float()
        recording = self._recordings.pop(image.shape, None) or self._record(image, sigma)
        self._recordings[image.shape] = recording  # the last: the first has not been used for the longest time
        recording.image.copy_(image)
        recording.sigma.copy_(sigma)
        recording.graph.replay()
        return recording.noise.to(torch.float32, copy=True)  # the next replay writes over it

    def _record(self, image: Tensor, sigma: Tensor) -> _Recording:
        while len(self._recordings) >= MOST_RECORDINGS:
            del self._recordings[next(iter(self._recordings))]
        # Of recordings that are not replayed at once, all have the same memory to compute in.
        pool = next((recording.graph.pool() for recording in self._recordings.values()), None)
        image, sigma = (self._prepared(part).clone() for part in (image, sigma))
        with torch.cuda.device(self._device), self._as_asked(benchmark=True):
            aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(aside):
                for _ in range(WARM_UPS):
                    self.net.noise(image, sigma)
            torch.cuda.current_stream(self._device).wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=aside):
                noise = self.net.noise(image, sigma)
        return _Recording(graph, image, sigma, noise)

    def _prepared(self, part: Tensor) -> Tensor:
        return part.to(self._device, self._precision, memory_format=torch.channels_last)

    @contextmanager
    def _as_asked(self, benchmark: bool = False) -> Iterator[None]:
        """In the precision that was asked for, whatever is usual around: float32 is not rounded to 19 bits."""
        cudnn = torch.backends.cudnn
        with (
            torch.autocast(self._device.type, enabled=False),
            cudnn.flags(enabled=True, benchmark=benchmark, deterministic=cudnn.deterministic, allow_tf32=False),
        ):
            yield
