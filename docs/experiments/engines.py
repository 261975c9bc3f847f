"""Compare engines that can run a network on a CPU.

    python docs/experiments/engines.py --model mallenet-m --size 512

Prints a Markdown table. Each engine runs in its own process, on all cores. Engines that are not installed are omitted;
ONNX Runtime needs `pip install '.[onnx]' onnxruntime`.
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
MIN_RUNS = 5
MIN_SECONDS = 3.0  # of runs in all
MEGABYTE = 1e6


def load_pytorch(model: str, precision: torch.dtype) -> Run:
    """The model in PyTorch."""
    from denoise_cli.inference.pytorch_net import prepare_in_pytorch
    from denoise_cli.models.registry import load_net

    return _under_autocast(prepare_in_pytorch(load_net(model), torch.device("cpu")), precision)


def load_torch_compile(model: str, precision: torch.dtype) -> Run:
    """The model compiled by PyTorch."""
    from denoise_cli.inference.pytorch_net import prepare_in_pytorch
    from denoise_cli.models.registry import load_net

    return _under_autocast(torch.compile(prepare_in_pytorch(load_net(model), torch.device("cpu"))), precision)


def load_openvino(model: str, precision: torch.dtype) -> Run:
    """The model compiled by OpenVINO, as in the program."""
    from denoise_cli.inference.openvino_conversion import compile_for_cpu
    from denoise_cli.models.registry import load_net

    return compile_for_cpu(load_net(model), precision)


def load_onnx_runtime(model: str, precision: torch.dtype) -> Run:
    """The model exported by `denoise export`, in ONNX Runtime."""
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


# Name, function that loads a model, package that is needed in addition to PyTorch, precision.
ENGINES: tuple[tuple[str, Callable[[str, torch.dtype], Run], str, torch.dtype], ...] = (
    ("PyTorch", load_pytorch, "", torch.float32),
    ("PyTorch", load_pytorch, "", torch.bfloat16),
    ("torch.compile", load_torch_compile, "", torch.float32),
    ("torch.compile", load_torch_compile, "", torch.bfloat16),
    ("OpenVINO", load_openvino, "openvino", torch.float32),
    ("OpenVINO", load_openvino, "openvino", torch.bfloat16),
    ("ONNX Runtime", load_onnx_runtime, "onnxruntime", torch.float32),
)


def measure(engine: int, model: str, size: int) -> tuple[float, float, Tensor]:
    """Time one of `ENGINES`.

    Returns:
        Seconds until the first result, without importing PyTorch; median milliseconds of later ones; the result.
    """
    _, load, _, precision = ENGINES[engine]
    torch.manual_seed(0)
    image, sigma = torch.rand(1, 3, size, size), torch.full((1, 1, size, size), SIGMA)
    started = time.perf_counter()
    run = load(model, precision)
    clean = run(image, sigma)
    first = time.perf_counter() - started
    times: list[float] = []
    while len(times) < MIN_RUNS or sum(times) < MIN_SECONDS:
        started = time.perf_counter()
        run(image, sigma)
        times.append(time.perf_counter() - started)
    return first, statistics.median(times) * 1e3, clean.clone()


def _installed_megabytes(package: str) -> float:
    paths = [Path(str(file.locate())) for file in importlib.metadata.files(package) or []]
    return sum(path.stat().st_size for path in paths if path.exists()) / MEGABYTE


def main() -> None:
    """Print a row for each engine."""
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
        for _ in range(2):  # the second process finds what the first one has cached
            with context.Pool(1) as pool:
                first, milliseconds, clean = pool.apply(measure, (number, given.model, given.size))
            starts.append(first)
        exact = clean if exact is None else exact
        rms = float((clean - exact).square().mean().sqrt()) * 255
        megabytes = _installed_megabytes(package) if package else 0.0
        type_name, (start, again) = str(precision).removeprefix("torch."), starts
        print(
            f"| {name} | {type_name} | {milliseconds:.0f} | {start:.1f} | {again:.1f} | {megabytes:.0f} | {rms:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
