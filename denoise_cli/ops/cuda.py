"""CUDA kernels on PyTorch's tensors: whether they can run, and how they are launched.

CuPy compiles them for the GPU at hand, keeps what it compiled in its cache folder, and launches them on PyTorch's
current stream, on PyTorch's own memory. This is the only module that knows CuPy.
"""

import importlib.util
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from denoise_cli.files import packaged_folder

TYPES = {torch.float32: "float", torch.float16: "Float16", torch.bfloat16: "BFloat16"}  # as the sources name them
LEAST_CAPABILITY = (7, 5)  # what the sources are checked for
BLOCK = 128  # threads
MOST_THREADS = 2**31  # the kernels count them in 32 bits
HEADER = "common.cuh"

Argument = Tensor | int | None


def obstacle(*inputs: Tensor | None) -> str | None:
    """Why no kernel runs on tensors, in words; None if kernels do. Nothing is tried out.

    Args:
        inputs: what a kernel would read, of any shapes; None for what is left away.
    """
    tensors = [tensor for tensor in inputs if tensor is not None]
    if any(tensor.device.type != "cuda" for tensor in tensors):
        return "not on a GPU"
    if len({tensor.device for tensor in tensors}) > 1:
        return "on different GPUs"
    strange = next((tensor.dtype for tensor in tensors if tensor.dtype not in TYPES), None)
    if strange is not None:
        return f"no kernel computes in {str(strange).removeprefix('torch.')}"
    if any(tensor.numel() >= MOST_THREADS for tensor in tensors):
        return "more than 2^31 values in a tensor"
    return obstacle_of_machine(tensors[0].device.index or 0)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def obstacle_of_machine(index: int = 0) -> str | None:
    """Why no kernel runs on a GPU of this machine, in words; None if kernels do.

    Args:
        index: which GPU.
    """
    return _found(index)


@cache
def _found(index: int) -> str | None:
    if torch.version.hip is not None:
        return "this PyTorch is for AMD's GPUs"
    if not torch.cuda.is_available():
        return "PyTorch sees no GPU"
    capability = torch.cuda.get_device_capability(index)
    if capability < LEAST_CAPABILITY:
        return f"the GPU's compute capability is {'.'.join(map(str, capability))}, less than 7.5"
    if importlib.util.find_spec("cupy") is None:
        major = (torch.version.cuda or "12").partition(".")[0]
        return f"CuPy is not installed: pip install 'denoise-cli[cuda{major}]'"
    return None


def source(name: str) -> str:
    """The text of a kernel file, with what it includes.

    Args:
        name: of the file, without its extension.
    """
    folder = packaged_folder("kernels")
    header = (folder / HEADER).read_text(encoding="utf-8")
    return (folder / f"{name}.cu").read_text(encoding="utf-8").replace(f'#include "{HEADER}"', header)


def launch(file: str, kernel: str, threads: int, arguments: Sequence[Argument]) -> None:
    """Run a kernel; return before it has ended, as PyTorch does.

    Args:
        file: of the kernel, without its extension.
        kernel: its name, with template arguments.
        threads: how many at least; there are whole blocks.
        arguments: in the kernel's order; a tensor stands for the address of its first value, None for no address.

    Raises:
        RuntimeError: it could not be compiled or launched; CuPy's errors are such.
    """
    if threads <= 0:
        return
    if threads >= MOST_THREADS:
        raise RuntimeError(f"{kernel}: {threads} threads, {MOST_THREADS - 1} at most")
    device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
    numbers = [argument.data_ptr() if isinstance(argument, Tensor) else argument or 0 for argument in arguments]
    _run(device, file, kernel, -(-threads // BLOCK), numbers)


def _run(device: torch.device, file: str, kernel: str, blocks: int, numbers: list[int]) -> None:
    import cupy

    index = torch.cuda.current_device() if device.index is None else device.index
    stream = torch.cuda.current_stream(index)
    with torch.cuda.device(index), cupy.cuda.Device(index), _shared(cupy, stream):
        _compiled(file, kernel, index)((blocks,), (BLOCK,), tuple(numbers))


def _shared(cupy: Any, stream: torch.cuda.Stream) -> Any:
    """PyTorch's stream, as CuPy takes it: older ones know another way than newer ones."""
    if hasattr(cupy.cuda.Stream, "from_external") and hasattr(stream, "__cuda_stream__"):
        return cupy.cuda.Stream.from_external(stream)
    return cupy.cuda.ExternalStream(stream.cuda_stream)


@cache
def _compiled(file: str, kernel: str, index: int) -> Any:  # noqa: ARG001 - what is compiled belongs to one GPU
    import cupy

    module = cupy.RawModule(code=source(file), options=("--std=c++17",), name_expressions=(kernel,))
    return module.get_function(kernel)
