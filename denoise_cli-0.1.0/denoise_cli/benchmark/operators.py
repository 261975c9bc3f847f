"""How fast operators are on random pictures, compared with their definitions.

Legend: C channels, K kernel size, N points of a kernel, D dimensions, H x W image, h x w grid.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from denoise_cli.benchmark.timing import PeakMemory, median_seconds
from denoise_cli.inference.device import Precision
from denoise_cli.inference.torch_device import choose_dtype, choose_torch_device
from denoise_cli.ops import deformable, malleable

CHANNELS = 32  # of malleable convolutions
CELL = 8  # pixels: a side of a grid's cell
SIDE_2D = 5  # points along a side of a deformable kernel for photos
SIDE_3D = 3  # points along a side of a deformable kernel for clips
FRAMES = 5  # of a clip
CPU_REFERENCE_SIDE = 32  # pixels: a side of the picture on which definitions are timed
# Pixels: the largest sides for which the definitions have enough memory on a GPU.
MAX_MALLEABLE_SIDE = 2048
MAX_DEFORMABLE_2D_SIDE = 128
MAX_DEFORMABLE_3D_SIDE = 32


@dataclass(frozen=True)
class Operator:
    """An operator to time.

    Attributes:
        run: the operator.
        reference: its definition.
        inputs: makes random inputs for both, given the side of a square picture.
        max_reference_side: side of the largest picture for which the definition has enough memory on a GPU.
    """

    run: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    inputs: Callable[[int], tuple[Tensor, ...]]
    max_reference_side: int


@dataclass(frozen=True)
class OperatorSpeed:
    """The speed of an operator.

    Attributes:
        milliseconds: the median of several runs.
        bytes_moved: the size of the inputs and the output.
        gain: how many times as long the definition takes for a pixel, measured on a smaller picture.
        peak_bytes: memory in addition to the inputs and the output; None on a CPU, where it is not measured.
    """

    name: str
    milliseconds: float
    bytes_moved: int
    gain: float
    peak_bytes: int | None


def time_operators(size: int, device: str, precision: Precision) -> Iterator[OperatorSpeed]:
    """Time all operators on a square picture; on a CPU always in float32.

    Args:
        size: side of the picture in pixels.
        device: see `device.choose_device`.
        precision: of the arithmetic on a GPU.

    Raises:
        DeviceUnavailable: this machine has no such device or precision.
    """
    torch_device = choose_torch_device(device)
    is_cpu = torch_device.type == "cpu"
    arithmetic = torch.float32 if is_cpu else choose_dtype(torch_device, precision)
    for name, operator in operators().items():
        tensors = [tensor.to(torch_device, arithmetic) for tensor in operator.inputs(size)]
        side = CPU_REFERENCE_SIDE if is_cpu else min(size, operator.max_reference_side)
        small = [tensor.to(torch_device, arithmetic) for tensor in operator.inputs(side)]
        with torch.no_grad():
            reference_seconds = median_seconds(partial(operator.reference, *small), torch_device) * (size / side) ** 2
            del small
            out = operator.run(*tensors)
            with PeakMemory(torch_device) as peak:
                operator.run(*tensors)
            seconds = median_seconds(partial(operator.run, *tensors), torch_device)
        moved = sum(tensor.nbytes for tensor in (*tensors, out))
        extra_bytes = None if is_cpu else peak.bytes - out.nbytes
        yield OperatorSpeed(name, seconds * 1e3, moved, reference_seconds / seconds, extra_bytes)


def operators() -> dict[str, Operator]:
    """All operators, by name."""

    def malleable_inputs(taps: int, *, channels_last: bool) -> Callable[[int], tuple[Tensor, ...]]:
        def make(size: int) -> tuple[Tensor, ...]:
            h = size // CELL
            image, bias = torch.rand(1, CHANNELS, size, size), torch.rand(1, CHANNELS, h, h)
            kernels = torch.rand(1, CHANNELS * taps, h, h)
            if channels_last:
                image, kernels, bias = (x.to(memory_format=torch.channels_last) for x in (image, kernels, bias))
            return image, kernels.view(1, CHANNELS, taps, h, h), bias

        return make

    def deformable_inputs(side: int, frames: tuple[int, ...]) -> Callable[[int], tuple[Tensor, ...]]:
        D = 2 + len(frames)
        N = side**D

        def make(size: int) -> tuple[Tensor, ...]:
            offsets, weights = (torch.randn(1, count * N, size, size) for count in (D, 1))
            return torch.rand(1, 3, *frames, size, size), offsets, weights

        return make

    layouts = {"": False, ", channels-last": True}
    return {
        f"malleable, K = {K}{layout}": Operator(
            malleable.malleable_conv2d,
            malleable.malleable_conv2d_reference,
            malleable_inputs(K * K, channels_last=is_last),
            MAX_MALLEABLE_SIDE,
        )
        for K in (1, 3)
        for layout, is_last in layouts.items()
    } | {
        "deformable 2D": Operator(
            deformable.deformable_conv2d,
            deformable.deformable_conv2d_reference,
            deformable_inputs(SIDE_2D, ()),
            MAX_DEFORMABLE_2D_SIDE,
        ),
        "deformable 3D": Operator(
            deformable.deformable_conv3d,
            deformable.deformable_conv3d_reference,
            deformable_inputs(SIDE_3D, (FRAMES,)),
            MAX_DEFORMABLE_3D_SIDE,
        ),
    }
