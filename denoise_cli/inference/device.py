"""Devices: which one to use, in which precision and how many threads, without importing PyTorch where it has no say."""

import ctypes
import errno
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from denoise_cli.errors import DeviceUnavailable, UsageError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Arithmetic = Literal["float32", "bfloat16", "float16"]  # PyTorch's names of data types

ARITHMETICS: dict[Precision, Arithmetic] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
DEVICE_NAME = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")
GPU_DRIVERS = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}
AMD_DRIVER = Path("/dev/kfd")  # for PyTorch's builds that call an AMD GPU "cuda"
CPUINFO = Path("/proc/cpuinfo")
CPUS = Path("/sys/devices/system/cpu")
BF16_FLAGS = {"avx512_bf16", "amx_tile"}  # in CPUINFO
# The oldest supported PyTorch has no public function that tells whether a CPU computes in bfloat16.
NATIVE_BF16_CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
# What allocators say: PyTorch's on a CPU and on a GPU, and OpenVINO's; and the loader of libraries.
NO_MEMORY = (
    *("can't allocate memory", "out of memory", "can't alloc", "Failed to allocate", "bad_alloc"),
    *("failed to map segment", "cannot allocate memory", "Cannot allocate memory"),
)
NO_ROOM_FOR_THREADS = "static TLS block"  # too many libraries want a part of it, however much memory there is
THREAD_VARIABLES = ("MKL_NUM_THREADS", "OMP_NUM_THREADS")  # the first has precedence


def choose_device(name: str) -> str:
    """The device to compute on: "cpu", "cuda" or "cuda:N".

    Args:
        name: "auto" (a GPU if there is one, else the CPU), "cpu", "cuda" or "cuda:N".

    Raises:
        UsageError: there is no device of such a name on any machine.
        DeviceUnavailable: this machine has no such device.
    """
    check_device_name(name)
    if name == "auto":
        return "cuda" if _finds_gpu() else "cpu"
    kind, _, index = name.partition(":")
    if kind == "cuda":
        import torch

        if int(index or 0) >= torch.cuda.device_count():
            raise DeviceUnavailable(f"device {name!r}: PyTorch finds no such GPU: use cpu, or run denoise doctor")
    return name


def check_device_name(name: str) -> None:
    """Refuse what is not the name of a device.

    Raises:
        UsageError: it is not.
    """
    if DEVICE_NAME.fullmatch(name) is None:
        raise UsageError(f"--device {name}: expected auto, cpu, cuda or cuda:N")


def choose_precision(device: str, name: Precision) -> Arithmetic:
    """The data type for this precision on a device.

    Args:
        device: a CPU or a GPU.
        name: "auto" for 16 bits if the device computes in them natively.

    Raises:
        DeviceUnavailable: the device does not support this precision.
    """
    if name == "auto":
        if is_gpu(device):
            return "float16"  # as fast as bfloat16 and, for features as small as here, eight times as precise
        return "bfloat16" if has_native_bf16(device) else "float32"
    if name == "fp16" and not is_gpu(device):
        raise DeviceUnavailable("precision fp16: not supported on a CPU: use bf16 or fp32")
    return ARITHMETICS[name]


def is_gpu(device: str) -> bool:
    """Whether a device is a GPU."""
    return device.startswith("cuda")


def has_native_bf16(device: str) -> bool:
    """Whether a device computes in bfloat16 natively; others emulate it, more slowly than float32."""
    if not is_gpu(device) and CPUINFO.exists():
        return not BF16_FLAGS.isdisjoint(cpu_features())
    import torch

    if is_gpu(device):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return any(getattr(torch.cpu, name, lambda: False)() for name in NATIVE_BF16_CHECKS)


def cpu_features() -> frozenset[str]:
    """What Linux says that the processor can do, such as "avx2"; empty on other systems."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    # "Features" on ARM.
    named = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(named.split())


def count_threads() -> int:
    """The number of threads to compute with on a CPU, which is PyTorch's.

    Unless a program or the environment has set it, that is the number of physical cores that this process may use. It
    is known without PyTorch on Linux only.
    """
    if "torch" not in sys.modules and CPUS.exists():
        given = (os.environ.get(name, "").partition(",")[0].strip() for name in THREAD_VARIABLES)
        count = next((int(text) for text in given if text.isdigit() and int(text)), None)
        if count is not None:
            return min(count, _physical_cores(range(os.cpu_count() or count)))
        return _physical_cores(os.sched_getaffinity(0))
    import torch

    return torch.get_num_threads()


def limit_threads(count: int) -> None:
    """Have the engines of this process compute with so many threads, those that are loaded from now on."""
    for name in THREAD_VARIABLES:  # for `count_threads`, and for PyTorch when it is imported
        os.environ[name] = str(count)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(count)


def device_of_worker(name: str, number: int) -> str:
    """The device of one of several processes, which take the GPUs in turns if there are several.

    Args:
        name: as `choose_device` takes it, which says whether one is meant.
        number: of the process, from 0.

    Raises:
        DeviceUnavailable: this machine has no such device.
    """
    if choose_device(name) != "cuda":
        return name
    return f"cuda:{number % count_gpus()}"


def count_gpus() -> int:
    """How many GPUs PyTorch finds."""
    import torch

    return torch.cuda.device_count()


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error from PyTorch, OpenVINO or NumPy, or from loading a library, means that memory has run out."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # the latter is PyTorch's
        return True
    message = str(error)
    return NO_ROOM_FOR_THREADS not in message and any(words in message for words in NO_MEMORY)


def refuse_little_room(room: int) -> None:
    """Refuse to load libraries where they lack room: some never return then, and cannot be interrupted.

    Args:
        room: bytes of addresses that they take.

    Raises:
        MemoryError: the process may not use so many further addresses.
    """
    statistics = Path("/proc/self/statm")
    if not statistics.exists():  # on other systems than Linux
        return
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = int(statistics.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    if limit != resource.RLIM_INFINITY and limit - used < room:
        raise MemoryError("too little is left of the address space of this process")


def _finds_gpu() -> bool:
    """Whether PyTorch finds a GPU; as importing it takes seconds, it is only asked where there is a driver."""
    if not has_gpu_driver():
        return False
    import torch

    return torch.cuda.is_available()


def has_gpu_driver() -> bool:
    """Whether the driver of a GPU is installed that PyTorch might be able to use."""
    if AMD_DRIVER.exists():
        return True
    try:
        ctypes.CDLL(GPU_DRIVERS[sys.platform])
    except (KeyError, OSError):
        return False
    return True


def _physical_cores(processors: Iterable[int]) -> int:
    """How many cores these processors belong to; on Linux."""
    siblings = [CPUS / f"cpu{number}" / "topology" / "thread_siblings_list" for number in processors]
    return len({file.read_text() if file.exists() else file for file in siblings})
