"""Measure everything on an NVIDIA GPU, in some minutes.

    python docs/experiments/gpu.py > gpu.md

Prints Markdown: what the machine is; how exact the kernels are beside PyTorch in the same precision; operators, forward
and backward, beside copying as many bytes and beside PyTorch's own; networks beside others'; and a photo of 24
megapixels. Ends with exit code 1 if a kernel is less exact than it has to be.

Needs CuPy beside PyTorch and, for the networks of others, the `bench` extra.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor

from denoise_cli import denoiser, speed
from denoise_cli.denoiser import Denoiser, load_denoiser
from denoise_cli.ops import cuda
from denoise_cli.zoo import find_model, load_net

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TWICE = 2.0  # how far a kernel may be from the truth, times PyTorch's distance
SIZE, SMALL = 1024, 96  # pixels: sides of what is timed, and of what is compared with float64
PHOTO = (4000, 6000)
SIGMA = 25 / 255
NO_KERNELS = "left out, to measure"

Function = Callable[..., Tensor]


def accuracy(device: torch.device, size: int = SMALL) -> Iterator[tuple[str, str, float]]:
    """Each operator and type: how far outputs and gradients are from float64, times PyTorch's distance; the worst."""
    for name, operator in speed.operators().items():
        for dtype in DTYPES:
            inputs = [tensor.to(device, dtype) for tensor in operator.inputs(size)]
            if name.startswith("deformable"):  # at whole places, the gradient is that of one side
                inputs[1] = (inputs[1].floor() + 0.1 + 0.8 * torch.rand_like(inputs[1])).to(dtype)
            fast = _outcomes(operator.run, inputs)
            with _without_kernels():
                plain = _outcomes(operator.run, inputs)
                truth = _outcomes(operator.run, [tensor.double() for tensor in inputs])
            ratios = [_ratio(*three) for three in zip(fast, plain, truth, strict=True)]
            yield (
                name,
                str(dtype).removeprefix("torch."),
                float(torch.tensor(ratios).max()),
            )  # one that is no number stays


def is_exact(ratios: Iterable[float]) -> bool:
    """Whether no kernel is too far from the truth, nor anywhere that is no number."""
    return all(ratio <= TWICE for ratio in ratios)


def _outcomes(run: Function, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The output, and the gradients of its sum of squares."""
    copies = [tensor.detach().requires_grad_() for tensor in inputs]
    out = run(*copies)
    return [out.detach(), *torch.autograd.grad(out, copies, out.detach())]


def _ratio(fast: Tensor, plain: Tensor, truth: Tensor) -> float:
    """Root mean squares of the distances; a hundredth of the type's step is no distance."""
    step = torch.finfo(fast.dtype).eps * truth.square().mean().sqrt() / 100
    distances = [(one.double() - truth).square().mean().sqrt().clamp_min(step) for one in (fast, plain)]
    return float(distances[0] / distances[1])


def _without_kernels() -> AbstractContextManager[object]:
    return patch.object(cuda, "obstacle", lambda *_: NO_KERNELS)


def backward(device: torch.device, dtype: torch.dtype, size: int = SIZE) -> Iterator[tuple[str, float, float, int]]:
    """Each operator: milliseconds of its gradients, of PyTorch's, and the bytes that it reads and writes at least."""
    for name, operator in speed.operators().items():
        inputs = [tensor.to(device, dtype).requires_grad_() for tensor in operator.inputs(size)]
        seconds = []
        for kernels in (True, False):
            with nullcontext() if kernels else _without_kernels():
                out = operator.run(*inputs)
                gradient = torch.rand_like(out)
                seconds.append(_median(partial(torch.autograd.grad, out, inputs, gradient, retain_graph=True), device))
        moved = 2 * sum(tensor.nbytes for tensor in inputs) + out.nbytes
        yield name, seconds[0] * 1e3, seconds[1] * 1e3, moved


def photo(device: torch.device, model: str, size: tuple[int, int] = PHOTO) -> Iterator[tuple[str, float, float, float]]:
    """Ways to run a photo: seconds until it is back, the GPU's memory in MB, PSNR beside the first in dB.

    The first is PyTorch alone, in float32.
    """
    image = torch.rand(1, 3, *size)
    spec = find_model(model)
    exact = None
    for name, precision, plain in (
        ("PyTorch, float32", torch.float32, True),
        ("PyTorch, float16 where autocast has it", torch.float16, True),
        ("recorded, kernels, float16", torch.float16, False),
    ):
        if plain:
            with _without_kernels():
                denoise = Denoiser(denoiser.in_pytorch(load_net(model), device), spec, device, precision)
                clean, seconds, peak = _timed(denoise, image, device)
        else:
            denoise = load_denoiser(model, str(device), "fp16" if device.type == "cuda" else "bf16")
            clean, seconds, peak = _timed(denoise, image, device)
        exact = clean if exact is None else exact
        error = float((clean - exact).square().mean())
        yield name, seconds, peak, -10 * torch.log10(torch.tensor(error)).item() if error else float("inf")


def _timed(denoise: Denoiser, image: Tensor, device: torch.device) -> tuple[Tensor, float, float]:
    denoise(image, sigma=SIGMA)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        clean = denoise(image, sigma=SIGMA)
        seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else 0.0
    return clean, statistics.median(seconds), peak


def _median(work: Callable[[], object], device: torch.device) -> float:
    """Seconds, of several runs at once."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times = []
    for _ in range(5):
        work()
        wait()
        started = time.perf_counter()
        for _ in range(5):
            work()
        wait()
        times.append((time.perf_counter() - started) / 5)
    return statistics.median(times)


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
    print("| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), sep="\n")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
    print()


def _bench(*options: str) -> None:
    command = [sys.executable, "-m", "denoise_cli", "bench", "--device", "cuda", *options]
    print(f"`{' '.join(['denoise', *command[3:]])}`\n\n```", flush=True)
    subprocess.run(command, check=True)
    print("```\n", flush=True)


def main() -> int:
    """All of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only how exact the kernels are")
    quick = parser.parse_args().quick
    obstacle = cuda.obstacle_of_machine()
    if obstacle is not None:
        print(f"nothing to measure: {obstacle}", file=sys.stderr)
        return 1
    device = torch.device("cuda", 0)
    started = time.monotonic()
    print(f"{speed.machine_name(device)}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}\n")
    ratios = list(accuracy(device))
    rows = ((name, dtype, f"{ratio:.2f}") for name, dtype, ratio in ratios)
    _table(["operator", "type", "distance from float64, times PyTorch's"], rows)
    if not quick:
        for precision in ("fp16", "bf16", "fp32"):
            _bench("--size", str(SIZE), "--precision", precision, *(f"--model=mallenet-{one}" for one in "sm"))
        for dtype in (torch.float16, torch.float32):
            print(f"Backward, {str(dtype).removeprefix('torch.')}, {SIZE} x {SIZE}:\n")
            heads = ["operator", "ms", "PyTorch's ms", "MB moved at least"]
            times = backward(device, dtype)
            _table(heads, ((name, f"{a:.3g}", f"{b:.3g}", f"{moved / 1e6:.0f}") for name, a, b, moved in times))
        _bench("--size", "256")
        print(f"`mallenet-m` on {PHOTO[0] * PHOTO[1] / 1e6:.0f} megapixels, from the host's memory and back:\n")
        heads = ["way", "seconds", "GPU's MB", "dB from float32"]
        ways = photo(device, "mallenet-m")
        _table(heads, ((name, f"{s:.3f}", f"{peak:.0f}", f"{dB:.1f}") for name, s, peak, dB in ways))
    print(f"{time.monotonic() - started:.0f} seconds in all")
    return int(not is_exact(ratio for *_, ratio in ratios))


if __name__ == "__main__":
    sys.exit(main())
