"""How networks are recorded and photos copied to a GPU, tested on a CPU with replacements for CUDA."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from denoise_cli.imaging.tiling import Span
from denoise_cli.inference.cuda_graph import MAX_RECORDINGS, CudaGraphNet
from denoise_cli.inference.pytorch_net import prepare
from denoise_cli.inference.tensors import Tensors
from denoise_cli.models.registry import load_net
from denoise_cli.nets.configs import DeformableKernelNetConfig, MalleNetConfig, MalleNetVideoConfig
from denoise_cli.nets.mallenet import MalleNet

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


class Graph:
    """Its replay computes again, with the tensors that were used in the recording."""

    recorded = 0
    replayed = 0
    net: CudaGraphNet

    def pool(self) -> str:
        return "pool"

    def replay(self) -> None:
        Graph.replayed += 1
        (mine,) = (recording for recording in Graph.net._recordings.values() if recording.graph is self)
        mine.noise.copy_(Graph.net.net.noise(mine.image, mine.sigma))


@contextmanager
def record(graph: Graph, pool: object, stream: object):
    assert pool == (None if Graph.recorded == 0 else "pool")
    assert isinstance(stream, Stream)
    Graph.recorded += 1
    yield


class Stream:
    def wait_stream(self, other: "Stream") -> None:
        assert isinstance(other, Stream)


@pytest.fixture
def recorder(monkeypatch):
    """A network, and the same one with its recording; PyTorch's CUDA calls are replaced."""
    Graph.recorded = Graph.replayed = 0
    parts = {
        "CUDAGraph": Graph,
        "graph": record,
        "Stream": lambda device: Stream(),
        "current_stream": lambda device: Stream(),
        "stream": lambda stream: nullcontext(),
        "device": lambda device: nullcontext(),
    }
    for name, part in parts.items():
        monkeypatch.setattr(torch.cuda, name, part)
    plain = a_net()
    Graph.net = CudaGraphNet(a_net(), CPU, torch.float32)
    return plain, Graph.net


def a_net() -> MalleNet:
    torch.manual_seed(0)
    net = MalleNetConfig(4).build().eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net


def noisy(*size: int) -> tuple[Tensor, Tensor]:
    return torch.rand(1, 3, *size), torch.full((1, 1, *size), 0.1)


@torch.no_grad()
def test_what_was_recorded_computes_each_photo_anew(recorder):
    plain, recorded = recorder
    for size in ((64, 128), (128, 64), (64, 128), (64, 128), (128, 64), (64, 64)):
        image, sigma = noisy(*size)
        torch.testing.assert_close(recorded(image, sigma), plain(image, sigma))
    assert (Graph.recorded, Graph.replayed) == (2, 3)  # the size that occurs once is not recorded


@torch.no_grad()
def test_what_comes_back_is_not_overwritten_by_the_next(recorder):
    plain, recorded = recorder
    first, second = noisy(64, 64), noisy(64, 64)
    recorded.noise(*first)
    out = recorded.noise(*first)
    recorded.noise(*second)
    torch.testing.assert_close(out, plain.noise(*first))


@torch.no_grad()
def test_sizes_that_were_not_used_for_long_are_given_up(recorder):
    _, recorded = recorder
    widths = [64 * (1 + number) for number in range(MAX_RECORDINGS)]
    for width in [*widths, *widths, widths[0], 64 * 20, 64 * 20]:  # the last takes the place of the second
        recorded(*noisy(64, width))
    assert Graph.recorded == MAX_RECORDINGS + 1
    recorded(*noisy(64, widths[0]))
    assert Graph.recorded == MAX_RECORDINGS + 1
    recorded(*noisy(64, widths[1]))
    assert Graph.recorded == MAX_RECORDINGS + 2


def test_wrong_shapes_are_refused(recorder):
    with pytest.raises(ValueError, match="multiples of 64"):
        recorder[1](*noisy(64, 65))


def test_halves_come_back_in_full_precision(recorder):
    Graph.net = CudaGraphNet(a_net(), CPU, torch.bfloat16)
    assert {parameter.dtype for parameter in Graph.net.parameters()} == {torch.bfloat16}
    image, sigma = noisy(64, 64)
    for _ in range(2):
        assert Graph.net(image, sigma).dtype == torch.float32


def test_networks_of_photos_and_the_last_part_of_a_clips_are_recorded(recorder, monkeypatch):
    moved = []

    def move(net: nn.Module, device: torch.device, *_: object, **how: object) -> nn.Module:
        moved.extend(part for part in net.modules() if device == GPU)  # there is no GPU to move it to
        return net

    monkeypatch.setattr(nn.Module, "to", move)
    assert isinstance(prepare(a_net(), GPU, torch.float16), CudaGraphNet)
    clips = prepare(MalleNetVideoConfig(4).build(), GPU, torch.float16)
    assert isinstance(clips.finish, CudaGraphNet)
    points = prepare(DeformableKernelNetConfig(4).build(), GPU, torch.float16)
    assert {clips.trust, points} <= set(moved)


@pytest.mark.parametrize(("free", "goes"), [(2**30, True), (2**16, False)])
def test_a_photo_goes_to_a_gpu_whole_where_that_has_room(monkeypatch, free, goes):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**33))
    with FakeTensorMode():
        tensors = Tensors(GPU)
        (frame,) = tensors.hold([torch.zeros(1, 3, 300, 400)])
        assert frame.device == (GPU if goes else CPU)
        tile = tensors.crop(frame, Span(0, 320, 0, 0), Span(256, 448, 0, 0))
        assert (tile.device, tuple(tile.shape)) == (frame.device, (1, 3, 320, 192))


@pytest.mark.parametrize("name", ["mallenet-m", "mallenet-r", "mallenet-s", "mallenet-v"])
@torch.no_grad()
def test_halves_are_enough_for_the_networks(name, astronaut):
    """Features stay where float16 is exact, and so does the noise; computed on a CPU."""
    net = load_net(name).eval()
    net = net if isinstance(net, MalleNet) else net.finish
    clean = torch.from_numpy(astronaut[64:192, 128:256] / np.float32(255)).permute(2, 0, 1).unsqueeze(0)
    largest = 0.0

    def look(module, inputs, output):
        nonlocal largest
        largest = max(largest, float(output.abs().max()))

    handles = [module.register_forward_hook(look) for module in net.modules()]
    for sigma in (0.0, 75 / 255):
        frames = [clean + sigma * torch.randn_like(clean) for _ in range(net.config.channels // 3)]
        image, level = torch.cat(frames, dim=1), torch.full((1, 1, 128, 128), sigma)
        exact = net.noise(image, level)
        halves = net.half().noise(image.half(), level.half()).float()
        net.float()
        assert (halves - exact).square().mean().sqrt() < 0.1 / 255
    for handle in handles:
        handle.remove()
    assert largest < 100
