"""Measuring time and memory: repeated runs, peak memory, and what the machine can do at most."""

import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from denoise_cli.inference.device import Precision
from denoise_cli.inference.torch_device import choose_dtype, choose_torch_device

MIN_RUNS = 5
MAX_RUNS = 50
ENOUGH_SECONDS = 2.0  # of runs in all: once this is reached, `MIN_RUNS` suffice
SLOW_SECONDS = 5.0  # work that takes longer is run only once more
GPU_BATCH_SECONDS = 5e-3  # of a GPU's work are timed at once, so that launching and waiting hardly count
MATRIX_SIDE = 2048  # rows and columns
GPU_MATRIX_SIDE = 8192  # rows and columns
COPIED_BYTES = 2**28
KIBIBYTE = 1024  # bytes


@dataclass(frozen=True)
class Machine:
    """The machine that was measured, and the rates that no network on it can exceed.

    Attributes:
        name: of the CPU or GPU.
        precision: of the multiply-adds.
        multiply_adds: per second, measured on large matrices.
        copied: bytes read and written per second by copying.
    """

    name: str
    precision: str
    multiply_adds: float
    copied: float


def measure_machine(device: str, precision: Precision) -> Machine:
    """Measure a device's own rates.

    Raises:
        DeviceUnavailable: this machine has no such device or precision.
    """
    torch_device = choose_torch_device(device)
    arithmetic = choose_dtype(torch_device, precision)
    side = MATRIX_SIDE if torch_device.type == "cpu" else GPU_MATRIX_SIDE
    matrix = torch.rand(side, side, device=torch_device).to(arithmetic)
    source = torch.zeros(COPIED_BYTES, dtype=torch.uint8, device=torch_device)
    target = torch.ones_like(source)
    return Machine(
        name=machine_name(torch_device),
        precision=str(arithmetic).removeprefix("torch."),
        multiply_adds=side**3 / min(time_runs(lambda: matrix @ matrix, torch_device)),
        copied=2 * COPIED_BYTES / min(time_runs(lambda: target.copy_(source), torch_device)),
    )


def machine_name(device: torch.device) -> str:
    """The name of the GPU, or that of the CPU with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {torch.get_num_threads()} threads"


def time_runs(work: Callable[[], Any], device: torch.device) -> list[float]:
    """Seconds of each run after the first, which warms up.

    Runs that are short on a GPU are timed several at a time, and their mean is one of the results.
    """
    first = _seconds(work, device)
    repeats = 1
    if device.type != "cpu":
        repeats = max(1, round(GPU_BATCH_SECONDS / _seconds(work, device)))

    def repeat() -> None:
        for _ in range(repeats):
            work()

    runs: list[float] = []
    while len(runs) < MIN_RUNS or (sum(runs) * repeats < ENOUGH_SECONDS and len(runs) < MAX_RUNS):
        runs.append(_seconds(repeat, device) / repeats)
        if first > SLOW_SECONDS:
            break
    return runs


def median_seconds(work: Callable[[], Any], device: torch.device) -> float:
    """The median of several runs; on a GPU without the time of launching, as the work is recorded beforehand."""
    if device.type == "cpu":
        return statistics.median(time_runs(work, device))
    with torch.cuda.device(device):
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            work()  # kernels are compiled in the first run, which cannot be recorded
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            work()
        return statistics.median(time_runs(graph.replay, device))


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    _wait_for(device)
    started = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class PeakMemory:
    """A context that measures by how much the memory in use rises within it.

    Attributes:
        bytes: the rise at its peak.
        kept: for a GPU, the bytes that PyTorch has not released by the end.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.bytes = self.kept = 0

    def __enter__(self) -> "PeakMemory":
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
            self._kept_before = torch.cuda.memory_reserved(self._device)
        else:
            self._before = _current_bytes()
        return self

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device) - self._before
            torch.cuda.empty_cache()
            self.kept = torch.cuda.memory_reserved(self._device) - self._kept_before
        else:
            self.bytes = max(_peak_bytes() - self._before, 0)


def max_rss_bytes(ru_maxrss: int) -> int:
    """The peak memory of a process in bytes, from the number in its resource usage."""
    return ru_maxrss * (1 if sys.platform == "darwin" else KIBIBYTE)  # macOS counts bytes, Linux KiB


def _current_bytes() -> int:
    """The memory of this process in bytes; on Linux, its peak is reset. Elsewhere it is the peak so far."""
    if Path("/proc/self/status").exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak_bytes()


def _peak_bytes() -> int:
    """The peak memory of this process in bytes; on Linux, since the last reset."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * KIBIBYTE
    return max_rss_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
