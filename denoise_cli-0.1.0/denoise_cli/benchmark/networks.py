"""How fast networks are on random pictures, compared with other architectures.

Each network runs in its own process, so that its memory can be measured. Weights do not matter for speed, so networks
without weights are timed, too.

Legend: H x W image.
"""

import math
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from denoise_cli.benchmark.architectures import ARCHITECTURES
from denoise_cli.benchmark.operators import CELL
from denoise_cli.benchmark.timing import PeakMemory, time_runs
from denoise_cli.errors import DenoiseError, MissingDependency
from denoise_cli.inference.cuda_graph import CudaGraphNet
from denoise_cli.inference.device import Precision, choose_device, is_gpu, is_out_of_memory
from denoise_cli.inference.openvino_conversion import CompiledKernels, CompiledNet, CompiledVideo
from denoise_cli.inference.pytorch_net import prepare, prepare_in_pytorch
from denoise_cli.inference.torch_device import choose_dtype, choose_torch_device
from denoise_cli.models.registry import MODELS, find_model, multiple_of

NON_LOCAL_MEANS = "opencv-nlm"
RGB = 3
COUNTED = 128  # pixels: side of the picture for which multiply-adds are counted


@dataclass(frozen=True)
class Speed:
    """The speed of a network.

    Attributes:
        runs_in: the library that computes it, and the precision.
        milliseconds: the median of the runs.
        fastest, slowest: runs, in milliseconds.
        cpu_milliseconds: how long its threads compute in the median run, all together.
        megapixels: in one run.
        multiply_adds: in one run; None if they cannot be counted.
        peak_bytes: memory that the first run needs in addition to the network.
    """

    name: str
    runs_in: str
    milliseconds: float
    fastest: float
    slowest: float
    cpu_milliseconds: float
    megapixels: float
    multiply_adds: float | None
    peak_bytes: int

    @property
    def megapixels_per_second(self) -> float:
        """Derived from the median."""
        return self.megapixels / self.milliseconds * 1e3


@dataclass(frozen=True)
class Job:
    """A network to time.

    Attributes:
        name: one of `known_networks`.
        size: side of the square pictures in pixels.
        batch: how many pictures are computed at once.
        device: see `device.choose_device`.
        precision: of the arithmetic; on a CPU, other architectures always compute in float32.
    """

    name: str
    size: int
    batch: int
    device: str
    precision: Precision


def time_networks(jobs: Sequence[Job]) -> Iterator[Speed | str]:
    """Time networks one after another, each in its own process.

    Yields:
        The speed; or, if a network cannot be timed, the reason in one line.
    """
    context = multiprocessing.get_context("spawn")
    for job in jobs:
        with context.Pool(1) as pool:  # a new process each time, because a process does not return all its memory
            yield pool.apply(_try_to_time, (job,))


def _try_to_time(job: Job) -> Speed | str:
    warnings.simplefilter("ignore")  # from other architectures
    try:
        return _time_network(job)
    except DenoiseError as error:  # returned as text, because most of these errors cannot be pickled
        return str(error)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return f"{job.name}: out of memory at {job.batch} x {job.size} x {job.size}"


def _time_network(job: Job) -> Speed:
    device = choose_torch_device(job.device)
    size = (job.batch, job.size, job.size)
    megapixels = job.batch * job.size**2 / 1e6
    if job.name == NON_LOCAL_MEANS:
        return _time_non_local_means(job, megapixels)
    is_other = job.name in ARCHITECTURES
    net = ARCHITECTURES[job.name]() if is_other else find_model(job.name).config.build()
    channels = RGB if is_other else find_model(job.name).inputs
    # Other architectures run as they do for their authors: in PyTorch, and on a CPU in full precision.
    arithmetic = torch.float32 if is_other and device.type == "cpu" else choose_dtype(device, job.precision)
    multiply_adds = _multiply_adds(net, channels) * job.batch * (job.size / COUNTED) ** 2
    ready = prepare_in_pytorch(net, device) if is_other else prepare(net, device, arithmetic)
    image, sigma = _inputs(*size, channels, device)
    uses_graphs = any(isinstance(module, CudaGraphNet) for module in ready.modules())
    with torch.no_grad(), torch.autocast(device.type, arithmetic, enabled=arithmetic != torch.float32):
        with PeakMemory(device) as peak:  # of the first runs, as later ones may reuse the memory
            ready(image, sigma)
            if uses_graphs:  # the second run makes the recording
                ready(image, sigma)
        runs = _time_runs(lambda: ready(image, sigma), device)
    is_compiled = any(isinstance(module, CompiledNet | CompiledKernels | CompiledVideo) for module in ready.modules())
    runs_in = f"{'OpenVINO' if is_compiled else 'PyTorch'}, {str(arithmetic).removeprefix('torch.')}"
    # While a recording is made, choosing the fastest convolutions takes more memory than the recording then holds.
    peak_bytes = peak.kept if uses_graphs else peak.bytes
    return _speed(job.name, runs_in, runs, megapixels, multiply_adds, peak_bytes)


def _time_non_local_means(job: Job, megapixels: float) -> Speed:
    try:
        import cv2
    except ImportError as error:
        raise MissingDependency("timing non-local means", "opencv-python-headless") from error
    picture = np.random.default_rng(0).integers(0, 256, (job.size, job.size * job.batch, 3), dtype=np.uint8)
    with PeakMemory(torch.device("cpu")) as peak:
        cv2.fastNlMeansDenoisingColored(picture)
    runs = _time_runs(lambda: cv2.fastNlMeansDenoisingColored(picture), torch.device("cpu"))
    return _speed(job.name, "OpenCV, uint8", runs, megapixels, None, peak.bytes)


@dataclass(frozen=True)
class _Runs:
    seconds: list[float]
    busy_threads: float  # their mean number


def _time_runs(work: Callable[[], Any], device: torch.device) -> _Runs:
    started, cpu_started = time.perf_counter(), time.process_time()
    seconds = time_runs(work, device)
    return _Runs(seconds, (time.process_time() - cpu_started) / (time.perf_counter() - started))


def _speed(
    name: str, runs_in: str, runs: _Runs, megapixels: float, multiply_adds: float | None, peak_bytes: int
) -> Speed:
    seconds = statistics.median(runs.seconds), min(runs.seconds), max(runs.seconds)
    median, fastest, slowest = (1e3 * one for one in seconds)
    cpu = median * runs.busy_threads
    return Speed(name, runs_in, median, fastest, slowest, cpu, megapixels, multiply_adds, peak_bytes)


def _multiply_adds(net: nn.Module, channels: int) -> float:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        net(*_inputs(1, COUNTED, COUNTED, channels, torch.device("cpu")))
    return counter.get_total_flops() / 2


def _inputs(batch: int, H: int, W: int, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    image = torch.rand(batch, channels, H, W, device=device)
    return image, torch.full((batch, 1, H, W), 0.1, device=device)


def known_networks() -> list[str]:
    """The names of all networks that can be timed."""
    return [*MODELS, *ARCHITECTURES, NON_LOCAL_MEANS]


def usual_networks(device: str) -> list[str]:
    """The names of the networks that are timed if the user names none.

    Raises:
        DeviceUnavailable: this machine has no such device.
    """
    return [*MODELS, *ARCHITECTURES] if is_gpu(choose_device(device)) else known_networks()


def multiple_of_sides(names: Sequence[str]) -> int:
    """What the sides of a picture must be multiples of, for these networks and for the operators.

    Other architectures take whatever the operators take.
    """
    with torch.device("meta"):  # the networks' weights are not needed
        nets = [find_model(name).config.build() for name in names if name in MODELS]
    return math.lcm(CELL, *map(multiple_of, nets))
