"""Measure everything on an NVIDIA GPU, in some minutes.

    python docs/experiments/gpu.py > gpu.md

Prints Markdown: what the machine is; how exact the kernels are beside PyTorch in the same precision; operators, forward
and backward, beside copying as many bytes and beside PyTorch's own; networks beside others'; and a photo of 24
megapixels. Ends with exit code 1 if a kernel is less exact than it has to be.

Needs CuPy beside PyTorch and, for the networks of others, the `bench` extra.
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
sys.path.insert(0, str(ROOT))  # it runs where nothing is installed but what it needs

from denoise_cli.benchmark import networks  # noqa: E402
from denoise_cli.inference import denoiser  # noqa: E402
from denoise_cli.inference.denoiser import Denoiser  # noqa: E402
from denoise_cli.inference.device import choose_precision  # noqa: E402
from denoise_cli.models.registry import find_model, load_net  # noqa: E402
from denoise_cli.ops import cuda  # noqa: E402

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TWICE = 2.0  # how far a kernel may be from the truth, times PyTorch's distance
SIZE, SMALL = 1024, 96  # pixels: sides of what is timed, and of what is compared with float64
PHOTO = (4000, 6000)
SIGMA = 25 / 255
NO_KERNELS = "left out, to measure"
COMPARED = ("mallenet-s", "mallenet-m", "mallenet-l", "mallenet-xl", "dncnn", "ffdnet", "drunet", "nafnet", "swinir")

Function = Callable[..., Tensor]


def accuracy(device: torch.device, size: int = SMALL) -> Iterator[tuple[str, str, float]]:
    """Each operator and type: how far outputs and gradients are from float64, times PyTorch's distance; the worst."""
    for name, operator in networks.operators().items():
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


def gradients(device: torch.device, dtype: torch.dtype, size: int = SIZE) -> Iterator[tuple[str, float, float, int]]:
    """Each operator forward and backward: milliseconds, PyTorch's, and the bytes that both read and write at least."""
    for name, operator in networks.operators().items():
        inputs = [tensor.to(device, dtype).requires_grad_() for tensor in operator.inputs(size)]
        gradient = torch.rand_like(operator.run(*inputs))

        def both_ways(
            run: Function = operator.run, inputs: Sequence[Tensor] = inputs, over: Tensor = gradient
        ) -> object:
            return torch.autograd.grad(run(*inputs), inputs, over)

        seconds = networks.median_seconds(both_ways, device)
        with _without_kernels():
            others = networks.median_seconds(both_ways, device)
        moved = 3 * sum(tensor.nbytes for tensor in inputs) + 2 * gradient.nbytes
        yield name, seconds * 1e3, others * 1e3, moved


def photo(
    device: torch.device, model: str, size: tuple[int, int] = PHOTO
) -> Iterator[tuple[str, float, float, float, float]]:
    """Ways to run a photo: seconds of the first and of a later one, the GPU's memory in MB, dB beside the first way.

    That is PyTorch alone, in float32.
    """
    image = torch.rand(1, 3, *size)
    spec = find_model(model)
    exact, usual = None, choose_precision(device, "auto")
    for name, precision, plain in (
        ("PyTorch, float32", torch.float32, True),
        ("PyTorch, 16 bits where autocast has them", usual, True),
        ("recorded, with kernels, 16 bits", usual, False),
    ):
        net = load_net(model)
        with _without_kernels() if plain else nullcontext():
            ready = denoiser.prepare_in_pytorch(net, device) if plain else denoiser.prepare(net, device, precision)
            denoise = Denoiser(ready, spec, device, precision, denoiser.GPU_TILE)
            clean, first, later, megabytes = _timed(denoise, image, device)
        exact = clean if exact is None else exact
        error = float((clean - exact).square().mean())
        yield name, first, later, megabytes, -10 * math.log10(error) if error else math.inf


def _timed(denoise: Denoiser, image: Tensor, device: torch.device) -> tuple[Tensor, float, float, float]:
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


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
    print("| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), sep="\n")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
    print()


def _bench(*options: str) -> bool:
    command = [sys.executable, "-m", "denoise_cli", "bench", "--device", "cuda", *options]
    print(f"`{' '.join(['denoise', *command[3:]])}`\n\n```", flush=True)
    done = subprocess.run(command, check=False, cwd=ROOT)
    print("```\n", flush=True)
    return done.returncode == 0


def main() -> int:
    """All of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only how exact the kernels are")
    quick = parser.parse_args().quick
    obstacle = cuda.obstacle_of_machine()
    if obstacle is not None:
        print(f"nothing to measure: {obstacle}", file=sys.stderr)
        return 1
    torch.backends.cudnn.allow_tf32 = False  # float32 is the truth here
    device = torch.device("cuda", 0)
    started = time.monotonic()
    print(f"{networks.machine_name(device)}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}\n")
    ratios = list(accuracy(device))
    rows = ((name, dtype, f"{ratio:.2f}") for name, dtype, ratio in ratios)
    _table(["operator", "type", "distance from float64, times PyTorch's"], rows)
    is_well = is_exact(ratio for *_, ratio in ratios)
    if not quick:
        print(f"`mallenet-m` on {PHOTO[0] * PHOTO[1] / 1e6:.0f} megapixels, from the host's memory and back:\n")
        heads = ["way", "first, s", "later, s", "GPU's MB", "dB from float32"]
        ways = photo(device, "mallenet-m")
        _table(heads, ((name, f"{a:.3f}", f"{b:.3f}", f"{MB:.0f}", f"{dB:.1f}") for name, a, b, MB, dB in ways))
        for precision in ("fp16", "fp32"):
            # From 1024 on, what an operator moves is more than a GPU's cache holds.
            is_well &= _bench("--size", str(SIZE), "--precision", precision, "--model=mallenet-s", "--model=mallenet-m")
        print(f"Forward and backward, float16, {SIZE} x {SIZE}:\n")
        heads = ["operator", "ms", "PyTorch's ms", "MB moved at least"]
        times = gradients(device, torch.float16)
        _table(heads, ((name, f"{a:.3g}", f"{b:.3g}", f"{moved / 1e6:.0f}") for name, a, b, moved in times))
        is_well &= _bench("--size", "256", *(f"--model={name}" for name in COMPARED))
    print(f"{time.monotonic() - started:.0f} seconds in all")
    return int(not is_well)


if __name__ == "__main__":
    sys.exit(main())
