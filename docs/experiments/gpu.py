"""Measure everything on an NVIDIA GPU, in a few minutes.

    python docs/experiments/gpu.py > gpu.md

Prints Markdown: the machine; the accuracy of the kernels compared with PyTorch in the same precision; the speed of the
operators, forward and backward, compared with copying as many bytes and with PyTorch's operators; networks compared
with other architectures; and a photo of 24 megapixels. The exit code is 1 if a kernel is not accurate enough.

Needs CuPy and, for the other architectures, the `bench` extra.
"""

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # so that the project need not be installed, only its dependencies

from denoise_cli.benchmark.operators import operators  # noqa: E402
from denoise_cli.benchmark.timing import machine_name, median_seconds  # noqa: E402
from denoise_cli.inference.denoiser import GPU_TILE, Denoiser, denoiser_of  # noqa: E402
from denoise_cli.inference.pytorch_net import prepare, prepare_in_pytorch  # noqa: E402
from denoise_cli.inference.torch_device import choose_dtype  # noqa: E402
from denoise_cli.models.registry import find_model, load_net  # noqa: E402
from denoise_cli.ops import cuda  # noqa: E402

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MAX_RATIO = 2.0  # of a kernel's error to PyTorch's
TIMED_SIDE = 1024  # pixels
ACCURACY_SIDE = 96  # pixels: what is compared with float64
PHOTO_SIZE = (4000, 6000)  # pixels: height and width
SIGMA = 25 / 255
NO_KERNELS = "disabled for a comparison"
COMPARED = ("mallenet-s", "mallenet-m", "mallenet-l", "mallenet-xl", "dncnn", "ffdnet", "drunet", "nafnet", "swinir")

Function = Callable[..., Tensor]


def compare_accuracy(device: torch.device, size: int = ACCURACY_SIDE) -> Iterator[tuple[str, str, float]]:
    """Compare the error of each operator with PyTorch's error in the same type, with float64 as the truth.

    Yields:
        The operator, the type, and the largest ratio of the two errors over the output and all gradients.
    """
    for name, operator in operators().items():
        for dtype in DTYPES:
            inputs = [tensor.to(device, dtype) for tensor in operator.inputs(size)]
            if name.startswith("deformable"):  # the gradient of an offset jumps at whole pixels: stay away from them
                inputs[1] = (inputs[1].floor() + 0.1 + 0.8 * torch.rand_like(inputs[1])).to(dtype)
            fast = _output_and_gradients(operator.run, inputs)
            with _without_kernels():
                plain = _output_and_gradients(operator.run, inputs)
                truth = _output_and_gradients(operator.run, [tensor.double() for tensor in inputs])
            ratios = [_error_ratio(*tensors) for tensors in zip(fast, plain, truth, strict=True)]
            largest = float(torch.tensor(ratios).max())  # NaN if any ratio is
            yield name, str(dtype).removeprefix("torch."), largest


def is_accurate(ratios: Iterable[float]) -> bool:
    """Whether all ratios of errors are small enough; NaN is not."""
    return all(ratio <= MAX_RATIO for ratio in ratios)


def _output_and_gradients(run: Function, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The output, and the gradients of half its sum of squares."""
    copies = [tensor.detach().requires_grad_() for tensor in inputs]
    out = run(*copies)
    return [out.detach(), *torch.autograd.grad(out, copies, out.detach())]


def _error_ratio(fast: Tensor, plain: Tensor, truth: Tensor) -> float:
    """The ratio of two root mean square errors, each at least a hundredth of the type's resolution."""
    smallest = torch.finfo(fast.dtype).eps * truth.square().mean().sqrt() / 100
    errors = [(result.double() - truth).square().mean().sqrt().clamp_min(smallest) for result in (fast, plain)]
    return float(errors[0] / errors[1])


def _without_kernels() -> AbstractContextManager[object]:
    return patch.object(cuda, "obstacle", lambda *_: NO_KERNELS)


def time_gradients(
    device: torch.device, dtype: torch.dtype, size: int = TIMED_SIDE
) -> Iterator[tuple[str, float, float, int]]:
    """Time each operator forward and backward.

    Yields:
        The operator, its milliseconds, those of PyTorch's operators, and the bytes that must at least be moved.
    """
    for name, operator in operators().items():
        inputs = [tensor.to(device, dtype).requires_grad_() for tensor in operator.inputs(size)]
        gradient = torch.rand_like(operator.run(*inputs))

        def forward_and_backward(
            run: Function = operator.run, inputs: Sequence[Tensor] = inputs, gradient: Tensor = gradient
        ) -> object:
            return torch.autograd.grad(run(*inputs), inputs, gradient)

        seconds = median_seconds(forward_and_backward, device)
        with _without_kernels():
            plain_seconds = median_seconds(forward_and_backward, device)
        moved = 3 * sum(tensor.nbytes for tensor in inputs) + 2 * gradient.nbytes
        yield name, seconds * 1e3, plain_seconds * 1e3, moved


def time_photo(
    device: torch.device, model: str, size: tuple[int, int] = PHOTO_SIZE
) -> Iterator[tuple[str, float, float, float, float]]:
    """Time a photo in PyTorch alone, in float32 and in 16 bits, and as the program denoises it.

    Yields:
        The way, the seconds of the first and of a later run, the GPU's memory in MB, and the PSNR in dB compared with
        the first way.
    """
    image = torch.rand(1, 3, *size)
    spec = find_model(model)
    exact, usual = None, choose_dtype(device, "auto")
    for name, precision, is_plain in (
        ("PyTorch, float32", torch.float32, True),
        ("PyTorch, 16 bits by autocast", usual, True),
        ("CUDA graph and kernels, 16 bits", usual, False),
    ):
        net = load_net(model)
        with _without_kernels() if is_plain else nullcontext():
            ready = prepare_in_pytorch(net, device) if is_plain else prepare(net, device, precision)
            denoise = denoiser_of(ready, spec, device, precision, GPU_TILE)
            clean, first, later, megabytes = _time(denoise, image, device)
        exact = clean if exact is None else exact
        error = float((clean - exact).square().mean())
        yield name, first, later, megabytes, -10 * math.log10(error) if error else math.inf


def _time(denoise: Denoiser, image: Tensor, device: torch.device) -> tuple[Tensor, float, float, float]:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        clean = denoise(image, sigma=SIGMA)
        seconds.append(time.perf_counter() - started)
    reserved = torch.cuda.max_memory_reserved(device) / 1e6 if device.type == "cuda" else 0.0
    return clean, seconds[0], statistics.median(seconds[1:]), reserved


def _print_table(columns: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
    print("| " + " | ".join(columns) + " |", "|" + "---|" * len(columns), sep="\n")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
    print()


def _run_bench(*options: str) -> bool:
    """Run `denoise bench`, print its output, and return whether it succeeded."""
    command = [sys.executable, "-m", "denoise_cli", "bench", "--device", "cuda", *options]
    print(f"`{' '.join(['denoise', *command[3:]])}`\n\n```", flush=True)
    done = subprocess.run(command, check=False, cwd=ROOT)
    print("```\n", flush=True)
    return done.returncode == 0


def main() -> int:
    """Measure everything, or only the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="measure only the accuracy of the kernels")
    quick = parser.parse_args().quick
    obstacle = cuda.obstacle_of_machine()
    if obstacle is not None:
        print(f"nothing to measure: {obstacle}", file=sys.stderr)
        return 1
    torch.backends.cudnn.allow_tf32 = False  # "PyTorch, float32" has to be exact
    device = torch.device("cuda", 0)
    started = time.monotonic()
    print(f"{machine_name(device)}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}\n")
    ratios = list(compare_accuracy(device))
    rows = ((name, dtype, f"{ratio:.2f}") for name, dtype, ratio in ratios)
    _print_table(["operator", "type", "error, times PyTorch's"], rows)
    succeeded = is_accurate(ratio for *_, ratio in ratios)
    if not quick:
        print(
            f"`mallenet-m` on {PHOTO_SIZE[0] * PHOTO_SIZE[1] / 1e6:.0f} megapixels, from the host's memory and back:\n"
        )
        columns = ["way", "first run, s", "later run, s", "GPU memory, MB", "PSNR to float32, dB"]
        ways = time_photo(device, "mallenet-m")
        _print_table(
            columns,
            (
                (name, f"{first:.3f}", f"{later:.3f}", f"{megabytes:.0f}", f"{decibels:.1f}")
                for name, first, later, megabytes, decibels in ways
            ),
        )
        for precision in ("fp16", "fp32"):
            # At 1024 pixels and more, an operator moves more than a GPU's cache holds.
            options = ("--size", str(TIMED_SIDE), "--precision", precision)
            succeeded &= _run_bench(*options, "--model=mallenet-s", "--model=mallenet-m")
        print(f"Forward and backward, float16, {TIMED_SIDE} x {TIMED_SIDE}:\n")
        columns = ["operator", "ms", "PyTorch's ms", "MB moved at least"]
        times = time_gradients(device, torch.float16)
        _print_table(columns, ((name, f"{a:.3g}", f"{b:.3g}", f"{moved / 1e6:.0f}") for name, a, b, moved in times))
        succeeded &= _run_bench("--size", "256", *(f"--model={name}" for name in COMPARED))
    print(f"{time.monotonic() - started:.0f} seconds in all")
    return int(not succeeded)


if __name__ == "__main__":
    sys.exit(main())
