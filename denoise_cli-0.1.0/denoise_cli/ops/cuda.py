"""CUDA kernels on PyTorch's tensors: whether they can run, and how they are launched.

CuPy compiles the kernels for the current GPU, keeps the compiled code in its cache folder, and launches them on
PyTorch's current stream, on PyTorch's own memory. This is the only module that uses CuPy.
"""

import importlib.util
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from denoise_cli.files import packaged_folder

TYPES = {torch.float32: "float", torch.float16: "Float16", torch.bfloat16: "BFloat16"}  # their names in the sources
MIN_CAPABILITY = (7, 5)  # compute capability; the tests compile the sources for this and later ones
BLOCK_THREADS = 128  # threads in a block
THREAD_LIMIT = 2**31  # threads in a launch must be fewer: the kernels count them in 32 bits
HEADER = "common.cuh"

Argument = Tensor | int | None


def obstacle(*inputs: Tensor | None) -> str | None:
    """The reason why kernels cannot run on these tensors; None if they can. No kernel is launched to find out.

    Args:
        inputs: the tensors that a kernel would read, of any shapes; None for an omitted one.
    """
    tensors = [tensor for tensor in inputs if tensor is not None]
    if any(tensor.device.type != "cuda" for tensor in tensors):
        return "not on a GPU"
    if len({tensor.device for tensor in tensors}) > 1:
        return "on different GPUs"
    unsupported = next((tensor.dtype for tensor in tensors if tensor.dtype not in TYPES), None)
    if unsupported is not None:
        return f"no kernel computes in {str(unsupported).removeprefix('torch.')}"
    if any(tensor.numel() >= THREAD_LIMIT for tensor in tensors):
        return "2^31 values or more in a tensor"
    return obstacle_of_machine(tensors[0].device.index or 0)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def obstacle_of_machine(index: int = 0) -> str | None:
    """The reason why kernels cannot run on a GPU of this machine; None if they can.

    Args:
        index: of the GPU.
    """
    return _cached_obstacle(index)


@cache
def _cached_obstacle(index: int) -> str | None:
    if torch.version.hip is not None:
        return "this PyTorch is for AMD's GPUs"
    if not torch.cuda.is_available():
        return "PyTorch finds no GPU"
    capability = torch.cuda.get_device_capability(index)
    if capability < MIN_CAPABILITY:
        return f"the GPU's compute capability is {'.'.join(map(str, capability))}, less than 7.5"
    if importlib.util.find_spec("cupy") is None:
        major = (torch.version.cuda or "12").partition(".")[0]
        return f"CuPy is not installed: pip install 'denoise-cli[cuda{major}]'"
    return None


def source(name: str) -> str:
    """The text of a kernel file, with the header inlined.

    Args:
        name: of the file, without its extension.
    """
    folder = packaged_folder("kernels")
    header = (folder / HEADER).read_text(encoding="utf-8")
    return (folder / f"{name}.cu").read_text(encoding="utf-8").replace(f'#include "{HEADER}"', header)


def launch(file: str, kernel: str, threads: int, arguments: Sequence[Argument]) -> None:
    """Launch a kernel asynchronously, as PyTorch does.

    Args:
        file: the file that holds the kernel, without its extension.
        kernel: its name, with template arguments.
        threads: minimum number of threads; it is rounded up to whole blocks.
        arguments: in the kernel's order; a tensor is passed as the address of its first value, None as a null pointer.

    Raises:
        RuntimeError: too many threads. CuPy's own errors in compiling and launching are passed on.
    """
    if threads <= 0:
        return
    if threads >= THREAD_LIMIT:
        raise RuntimeError(f"{kernel}: {threads} threads, {THREAD_LIMIT - 1} at most")
    device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
    numbers = [argument.data_ptr() if isinstance(argument, Tensor) else argument or 0 for argument in arguments]
    _run(device, file, kernel, -(-threads // BLOCK_THREADS), numbers)


def _run(device: torch.device, file: str, kernel: str, blocks: int, numbers: list[int]) -> None:
    import cupy

    index = torch.cuda.current_device() if device.index is None else device.index
    stream = torch.cuda.current_stream(index)
    with torch.cuda.device(index), cupy.cuda.Device(index), _cupy_stream(cupy, stream):
        _compiled(file, kernel, index)((blocks,), (BLOCK_THREADS,), tuple(numbers))


def _cupy_stream(cupy: Any, stream: torch.cuda.Stream) -> Any:
    """PyTorch's stream as a CuPy stream; older versions of CuPy only take its number."""
    if hasattr(cupy.cuda.Stream, "from_external") and hasattr(stream, "__cuda_stream__"):
        return cupy.cuda.Stream.from_external(stream)
    return cupy.cuda.ExternalStream(stream.cuda_stream)


@cache
def _compiled(file: str, kernel: str, index: int) -> Any:  # noqa: ARG001 - compiled code belongs to one GPU
    import cupy

    module = cupy.RawModule(code=source(file), options=("--std=c++17",), name_expressions=(kernel,))
    return module.get_function(kernel)
