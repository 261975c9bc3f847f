"""How fast networks and operators are on this machine, on arrays, beside others' and beside the machine's own rates.

Each network runs in a process of its own, so that its memory is its own. Weights do not matter here, so networks that
have none are timed as well.

Legend: B batch, C channels, N points of a kernel, H x W image, h x w grid.
"""

import math
import multiprocessing
import platform
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from denoise_cli.benchmark.architectures import RIVALS
from denoise_cli.errors import DenoiseError, MissingDependency
from denoise_cli.inference.cuda_graph import GraphedNet
from denoise_cli.inference.denoiser import prepare, prepare_in_pytorch
from denoise_cli.inference.device import Precision, choose_device, choose_precision, is_out_of_memory
from denoise_cli.inference.openvino_net import CompiledKernels, CompiledNet
from denoise_cli.models.registry import MODELS, find_model, multiple_of
from denoise_cli.ops import deformable, malleable

NON_LOCAL_MEANS = "opencv-nlm"
LEAST_RUNS, MOST_RUNS, ENOUGH = 5, 50, 2.0  # runs, runs, seconds
TOO_LONG = 5.0  # seconds: what takes longer runs once more, and that is all
RGB = 3
COUNTED = 128  # pixels: the side of the picture whose multiply-adds are counted
MATRIX, MATRIX_OF_GPU, COPIED = 2048, 8192, 2**28  # rows and columns; bytes
TOGETHER = 5e-3  # seconds of a GPU's work that are timed at once, so that starting and waiting do not count
CHANNELS, SIDE_2D, SIDE_3D, FRAMES, CELL, REFERENCE = 32, 5, 3, 5, 8, 32  # of the operators; a side of the references
# Pixels: the largest sides of the references on a GPU, for which it has memory.
MOST_SLICED, MOST_SAMPLED_2D, MOST_SAMPLED_3D = 2048, 128, 32
KIBIBYTE = 1024


@dataclass(frozen=True)
class Machine:
    """Where it was measured, and what it can do.

    Attributes:
        multiply_adds: a second, of matrices in that precision.
        copied: bytes a second, each read once and written once.
    """

    name: str
    precision: str
    multiply_adds: float
    copied: float


@dataclass(frozen=True)
class Speed:
    """One network.

    Attributes:
        runs_in: what computes it, and in which precision.
        milliseconds: the median of the runs.
        fastest, slowest: of them.
        multiply_adds: of one run; None where nobody counts them.
        peak_bytes: that the first run takes beside the network.
    """

    name: str
    runs_in: str
    milliseconds: float
    fastest: float
    slowest: float
    megapixels: float
    multiply_adds: float | None
    peak_bytes: int

    @property
    def megapixels_per_second(self) -> float:
        """By the median."""
        return self.megapixels / self.milliseconds * 1e3


@dataclass(frozen=True)
class OperatorSpeed:
    """One operator.

    Attributes:
        bytes_moved: its inputs and its output, each once.
        gain: how many times a pixel takes in the reference, of a small picture on a CPU.
        peak_bytes: that it takes beside its inputs and its output; None where nobody counts them.
    """

    name: str
    milliseconds: float
    bytes_moved: int
    gain: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Job:
    """What to time: a network, on a picture of which size, and where."""

    name: str
    size: int
    batch: int
    device: str
    precision: Precision


def measure_machine(device: str, precision: Precision) -> Machine:
    """The rates that no network can exceed.

    Raises:
        DeviceUnavailable: this machine has no such device or precision.
    """
    place = choose_device(device)
    arithmetic = choose_precision(place, precision)
    rows = MATRIX if place.type == "cpu" else MATRIX_OF_GPU
    matrix = torch.rand(rows, rows, device=place).to(arithmetic)
    source = torch.zeros(COPIED, dtype=torch.uint8, device=place)
    target = torch.ones_like(source)
    return Machine(
        name=machine_name(place),
        precision=str(arithmetic).removeprefix("torch."),
        multiply_adds=rows**3 / min(_runs(lambda: matrix @ matrix, place)),
        copied=2 * COPIED / min(_runs(lambda: target.copy_(source), place)),
    )


def machine_name(device: torch.device) -> str:
    """The hardware, as it calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {torch.get_num_threads()} threads"


def time_networks(jobs: Sequence[Job]) -> Iterator[Speed | str]:
    """Time networks, one after another; of what cannot be timed, why."""
    context = multiprocessing.get_context("spawn")
    for job in jobs:
        with context.Pool(1) as pool:  # of its own: the process would keep what it took
            yield pool.apply(_attempt, (job,))


def time_operators(size: int, device: str, precision: Precision) -> Iterator[OperatorSpeed]:
    """Time the operators on a square picture, on a CPU in float32.

    Raises:
        DeviceUnavailable: this machine has no such device or precision.
    """
    place = choose_device(device)
    is_cpu = place.type == "cpu"
    arithmetic = torch.float32 if is_cpu else choose_precision(place, precision)
    for name, operator in operators().items():
        tensors = [tensor.to(place, arithmetic) for tensor in operator.inputs(size)]
        side = REFERENCE if is_cpu else min(size, operator.most_by_definition)
        small = [tensor.to(place, arithmetic) for tensor in operator.inputs(side)]
        with torch.no_grad():
            by_definition = median_seconds(partial(operator.reference, *small), place) * (size / side) ** 2
            del small
            out = operator.run(*tensors)
            with _Peak(place) as peak:
                operator.run(*tensors)
            seconds = median_seconds(partial(operator.run, *tensors), place)
        moved = sum(tensor.nbytes for tensor in (*tensors, out))
        beside = None if is_cpu else peak.bytes - out.nbytes
        yield OperatorSpeed(name, seconds * 1e3, moved, by_definition / seconds, beside)


def median_seconds(work: Callable[[], Any], device: torch.device) -> float:
    """The median of several runs; of a GPU's own work alone, recorded beforehand."""
    if device.type == "cpu":
        return statistics.median(_runs(work, device))
    with torch.cuda.device(device):
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(aside):
            work()  # what is compiled at the first run cannot be recorded
        aside.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=aside):
            work()
        return statistics.median(_runs(graph.replay, device))


def _attempt(job: Job) -> Speed | str:
    warnings.simplefilter("ignore")  # of others' networks
    try:
        return _time_network(job)
    except DenoiseError as error:  # most of which do not travel between processes
        return str(error)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return f"{job.name}: out of memory at {job.batch} x {job.size} x {job.size}"


def _time_network(job: Job) -> Speed:
    device = choose_device(job.device)
    size = (job.batch, job.size, job.size)
    megapixels = job.batch * job.size**2 / 1e6
    if job.name == NON_LOCAL_MEANS:
        return _time_non_local_means(job, megapixels)
    is_rival = job.name in RIVALS
    net = RIVALS[job.name]() if is_rival else find_model(job.name).config.build()
    channels = RGB if is_rival else find_model(job.name).inputs
    # Others' networks run as their authors' do: in PyTorch, and on a CPU in full precision.
    arithmetic = torch.float32 if is_rival and device.type == "cpu" else choose_precision(device, job.precision)
    counted = _multiply_adds(net, channels) * job.batch * (job.size / COUNTED) ** 2
    ready = prepare_in_pytorch(net, device) if is_rival else prepare(net, device, arithmetic)
    image, sigma = _inputs(*size, channels, device)
    is_recorded = any(isinstance(part, GraphedNet) for part in ready.modules())
    with torch.no_grad(), torch.autocast(device.type, arithmetic, enabled=arithmetic != torch.float32):
        with _Peak(device) as peak:  # of the first runs: what they take may be kept
            ready(image, sigma)
            if is_recorded:  # the second time
                ready(image, sigma)
        runs = sorted(_runs(lambda: ready(image, sigma), device))
    engine = (
        "OpenVINO" if any(isinstance(part, CompiledNet | CompiledKernels) for part in ready.modules()) else "PyTorch"
    )
    in_words = f"{engine}, {str(arithmetic).removeprefix('torch.')}"
    # Choosing the fastest convolutions takes memory once; what a recording computes in, it keeps.
    return _speed(job.name, in_words, runs, megapixels, counted, peak.kept if is_recorded else peak.bytes)


def _time_non_local_means(job: Job, megapixels: float) -> Speed:
    try:
        import cv2
    except ImportError as error:
        raise MissingDependency("timing non-local means", "opencv-python-headless") from error
    picture = np.random.default_rng(0).integers(0, 256, (job.size, job.size * job.batch, 3), dtype=np.uint8)
    with _Peak(torch.device("cpu")) as peak:
        cv2.fastNlMeansDenoisingColored(picture)
    runs = _runs(lambda: cv2.fastNlMeansDenoisingColored(picture), torch.device("cpu"))
    return _speed(job.name, "OpenCV, uint8", runs, megapixels, None, peak.bytes)


def _speed(name: str, runs_in: str, runs: list[float], megapixels: float, counted: float | None, peak: int) -> Speed:
    median, fastest, slowest = (1e3 * seconds for seconds in (statistics.median(runs), min(runs), max(runs)))
    return Speed(name, runs_in, median, fastest, slowest, megapixels, counted, peak)


def _runs(work: Callable[[], Any], device: torch.device) -> list[float]:
    """Seconds of each run but the first, which warms up; short ones of a GPU are runs of several."""
    first = _seconds(work, device)
    together = 1
    if device.type != "cpu":
        together = max(1, round(TOGETHER / _seconds(work, device)))

    def several() -> None:
        for _ in range(together):
            work()

    runs: list[float] = []
    while len(runs) < LEAST_RUNS or (sum(runs) * together < ENOUGH and len(runs) < MOST_RUNS):
        runs.append(_seconds(several, device) / together)
        if first > TOO_LONG:
            break
    return runs


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    _wait_for(device)
    started = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _multiply_adds(net: nn.Module, channels: int) -> float:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        net(*_inputs(1, COUNTED, COUNTED, channels, torch.device("cpu")))
    return counter.get_total_flops() / 2


def _inputs(batch: int, H: int, W: int, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    image = torch.rand(batch, channels, H, W, device=device)
    return image, torch.full((batch, 1, H, W), 0.1, device=device)


class _Peak:
    """What memory rises by in between, in bytes; and what of a GPU's is kept for the next time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.bytes = self.kept = 0

    def __enter__(self) -> "_Peak":
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
            self._kept_before = torch.cuda.memory_reserved(self._device)
        else:
            self._before = _resident()
        return self

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device) - self._before
            torch.cuda.empty_cache()
            self.kept = torch.cuda.memory_reserved(self._device) - self._kept_before
        else:
            self.bytes = max(_highest() - self._before, 0)


def _resident() -> int:
    """Bytes that this process holds now; Linux forgets how many there have been."""
    status = Path("/proc/self/status")
    if not status.exists():
        return _highest()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _highest()


def _highest() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * KIBIBYTE
    unit = 1 if sys.platform == "darwin" else KIBIBYTE
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass(frozen=True)
class Operator:
    """One operator, as it is timed.

    Attributes:
        run: it.
        reference: its definition.
        inputs: for both, of a square picture, random.
        most_by_definition: the largest side of a picture that the definition has memory for on a GPU.
    """

    run: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    inputs: Callable[[int], tuple[Tensor, ...]]
    most_by_definition: int


def operators() -> dict[str, Operator]:
    """All of them, by name."""

    def sliced(taps: int, *, channels_last: bool) -> Callable[[int], tuple[Tensor, ...]]:
        def make(size: int) -> tuple[Tensor, ...]:
            h = size // CELL
            image, bias = torch.rand(1, CHANNELS, size, size), torch.rand(1, CHANNELS, h, h)
            kernels = torch.rand(1, CHANNELS * taps, h, h)
            if channels_last:
                image, kernels, bias = (x.to(memory_format=torch.channels_last) for x in (image, kernels, bias))
            return image, kernels.view(1, CHANNELS, taps, h, h), bias

        return make

    def sampled(side: int, frames: tuple[int, ...]) -> Callable[[int], tuple[Tensor, ...]]:
        D = 2 + len(frames)
        N = side**D

        def make(size: int) -> tuple[Tensor, ...]:
            offsets, weights = (torch.randn(1, count * N, size, size) for count in (D, 1))
            return torch.rand(1, 3, *frames, size, size), offsets, weights

        return make

    fast, definition = malleable.malleable_conv2d, malleable.malleable_conv2d_reference
    layouts = {"": False, ", channels-last": True}
    return {
        f"malleable, K = {K}{layout}": Operator(fast, definition, sliced(K * K, channels_last=is_last), MOST_SLICED)
        for K in (1, 3)
        for layout, is_last in layouts.items()
    } | {
        "deformable 2D": Operator(
            deformable.deformable_conv2d, deformable.deformable_conv2d_reference, sampled(SIDE_2D, ()), MOST_SAMPLED_2D
        ),
        "deformable 3D": Operator(
            deformable.deformable_conv3d,
            deformable.deformable_conv3d_reference,
            sampled(SIDE_3D, (FRAMES,)),
            MOST_SAMPLED_3D,
        ),
    }


def known_networks() -> list[str]:
    """All that can be timed."""
    return [*MODELS, *RIVALS, NON_LOCAL_MEANS]


def usual_networks(device: str) -> list[str]:
    """What is timed where nothing is named."""
    return known_networks() if choose_device(device).type == "cpu" else [*MODELS, *RIVALS]


def multiple_of_sides(names: Sequence[str]) -> int:
    """What the sides of a picture must be multiples of for these networks and for the operators.

    Others' networks take whatever the operators do.
    """
    with torch.device("meta"):  # their weights are not looked at
        nets = [find_model(name).config.build() for name in names if name in MODELS]
    return math.lcm(CELL, *map(multiple_of, nets))
