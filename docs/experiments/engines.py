"""What computes a network on a CPU: the programs that were chosen among, side by side.

    python docs/experiments/engines.py --model mallenet-m --size 512

Prints a Markdown table. Each runs in a process of its own, on all cores. What is not installed is left out: the project
needs neither ONNX (`pip install '.[onnx]'`) nor ONNX Runtime (`pip install onnxruntime`).
"""

import argparse
import importlib.metadata
import importlib.util
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

Run = Callable[[Tensor, Tensor], Tensor]

SIGMA = 25 / 255
RUNS, ENOUGH = 5, 3.0  # at least; seconds
MEGABYTE = 1e6


def plain(model: str, precision: torch.dtype) -> Run:
    """PyTorch as it is."""
    from denoise_cli.inference.denoiser import prepare_in_pytorch
    from denoise_cli.models.registry import load_net

    return _under_autocast(prepare_in_pytorch(load_net(model), torch.device("cpu")), precision)


def inductor(model: str, precision: torch.dtype) -> Run:
    """PyTorch's compiler."""
    from denoise_cli.inference.denoiser import prepare_in_pytorch
    from denoise_cli.models.registry import load_net

    return _under_autocast(torch.compile(prepare_in_pytorch(load_net(model), torch.device("cpu"))), precision)


def openvino(model: str, precision: torch.dtype) -> Run:
    """OpenVINO, as the program uses it."""
    from denoise_cli.inference.openvino_net import compiled
    from denoise_cli.models.registry import load_net

    return compiled(load_net(model), precision)


def onnx_runtime(model: str, precision: torch.dtype) -> Run:
    """ONNX Runtime, of what `denoise export` writes."""
    import onnxruntime

    from denoise_cli.inference import export

    assert precision == torch.float32
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export.write(model, export.Target(path, "onnx"))
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(image: Tensor, sigma: Tensor) -> Tensor:
        (clean,) = session.run(None, {"image": image.numpy(), "sigma": sigma.numpy()})
        return torch.from_numpy(clean)

    return run


def _under_autocast(net: Callable[..., Tensor] | nn.Module, precision: torch.dtype) -> Run:
    def run(image: Tensor, sigma: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
            return net(image, sigma).float()

    return run


# Name, how it is made, what has to be installed beside PyTorch, in which precision.
ENGINES: tuple[tuple[str, Callable[[str, torch.dtype], Run], str, torch.dtype], ...] = (
    ("PyTorch", plain, "", torch.float32),
    ("PyTorch", plain, "", torch.bfloat16),
    ("torch.compile", inductor, "", torch.float32),
    ("torch.compile", inductor, "", torch.bfloat16),
    ("OpenVINO", openvino, "openvino", torch.float32),
    ("OpenVINO", openvino, "openvino", torch.bfloat16),
    ("ONNX Runtime", onnx_runtime, "onnxruntime", torch.float32),
)


def measure(engine: int, model: str, size: int) -> tuple[float, float, Tensor]:
    """Seconds until the first result, PyTorch's import not counted; milliseconds of a further one; the result."""
    _, make, _, precision = ENGINES[engine]
    torch.manual_seed(0)
    image, sigma = torch.rand(1, 3, size, size), torch.full((1, 1, size, size), SIGMA)
    started = time.perf_counter()
    run = make(model, precision)
    clean = run(image, sigma)
    first = time.perf_counter() - started
    times: list[float] = []
    while len(times) < RUNS or sum(times) < ENOUGH:
        started = time.perf_counter()
        run(image, sigma)
        times.append(time.perf_counter() - started)
    return first, statistics.median(times) * 1e3, clean.clone()


def _installed_megabytes(package: str) -> float:
    files = importlib.metadata.files(package) or []
    return (
        sum(Path(str(file.locate())).stat().st_size for file in files if Path(str(file.locate())).exists()) / MEGABYTE
    )


def main() -> None:
    """One row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mallenet-m")
    parser.add_argument("--size", type=int, default=512)
    given = parser.parse_args()
    print(f"| engine | precision | ms at {given.size} x {given.size} | first result, s | again, s | MB | rms, of 255 |")
    print("|---|---|---|---|---|---|---|")
    exact = None
    context = multiprocessing.get_context("spawn")
    for number, (name, _, package, precision) in enumerate(ENGINES):
        if package and importlib.util.find_spec(package) is None:
            continue
        starts = []
        for _ in range(2):  # the second finds what the first has kept for it
            with context.Pool(1) as pool:
                first, milliseconds, clean = pool.apply(measure, (number, given.model, given.size))
            starts.append(first)
        exact = clean if exact is None else exact
        distance = float((clean - exact).square().mean().sqrt()) * 255
        beside = f"{_installed_megabytes(package):.0f}" if package else "0"
        words, (start, again) = str(precision).removeprefix("torch."), starts
        print(
            f"| {name} | {words} | {milliseconds:.0f} | {start:.1f} | {again:.1f} | {beside} | {distance:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
