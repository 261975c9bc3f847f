"""The kernels' sources, compiled for this machine's CPU: launches run there, on CPU tensors."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from denoise_cli.ops import cuda, fused

HERE = Path(__file__).parent


def _instances(file: str) -> list[str]:
    """All instances that `fused` may launch; a name that is not among them is an error in every test."""
    names = []
    for dtype, name in cuda.TYPES.items():
        full = fused.VECTOR_BYTES // dtype.itemsize
        if file == "malleable":
            for K in (1, 3):
                V_max = full if K == 1 else min(full, fused.MAX_VECTOR_OF_PLANES)
                names += [f"malleable_planes<{name}, {K}, {V}>" for V in (1, V_max)]
                V_max = full if K == 1 else min(full, fused.MAX_VECTOR_OF_PIXELS)
                variants = [(1, "false"), (V_max, "false"), (V_max, "true")]
                names += [f"malleable_pixels<{name}, {K}, {V}, {packed}>" for V, packed in variants]
                names += [f"malleable_to_grid<{name}, {K}, {last}>" for last in ("false", "true")]
            names += [f"malleable_to_image<{name}, 3, {last}>" for last in ("false", "true")]
        else:
            channels = range(1, fused.MAX_CHANNELS + 1)
            names += [f"deformable_sum<{name}, {D}, {count}>" for D, count in product((2, 3), channels)]
            names += [f"deformable_samples<{name}, {D}>" for D in (2, 3)]
            names += [f"deformable_backward<{name}, {D}, {is_sum}>" for D in (2, 3) for is_sum in ("false", "true")]
    return names


class HostKernels:
    """Both files as host libraries; `run` replaces `cuda._run`."""

    def __init__(self, folder: Path, compiler: str) -> None:
        self._libraries = {file: _library(folder, compiler, file) for file in ("malleable", "deformable")}

    def run(self, device: torch.device, file: str, kernel: str, blocks: int, numbers: list[int]) -> None:
        assert device.type == "cpu"
        values = (ctypes.c_longlong * len(numbers))(*numbers)
        ran = self._libraries[file].run_kernel(kernel.encode(), blocks, cuda.BLOCK_THREADS, values, len(numbers))
        assert ran, f"{kernel} is not among the instances, or does not take {len(numbers)} arguments"


def _library(folder: Path, compiler: str, file: str) -> ctypes.CDLL:
    cases = [
        f'if (!std::strcmp(kernel, "{name}")) return run({name}, blocks, threads, numbers, count);'
        for name in _instances(file)
    ]
    parameters = "const char* kernel, Index blocks, Index threads, const Index* numbers, Index count"
    entry = 'extern "C" bool run_kernel(' + parameters + ")"
    text = ['#include "shim.h"', cuda.source(file), '#include "launch.h"', entry, "{", *cases, "return false;", "}"]
    path = folder / f"{file}.cpp"
    flags = ["-std=c++17", "-O1", "-fno-strict-aliasing", "-shared", "-fPIC", f"-I{HERE}"]
    with FileLock(folder / f"{file}.lock"):  # the processes of a test run share what the first one builds
        if not path.with_suffix(".so").exists():
            path.write_text("\n".join(text))
            subprocess.run([compiler, *flags, str(path), "-o", str(path.with_suffix(".so"))], check=True)
    library = ctypes.CDLL(str(path.with_suffix(".so")))
    library.run_kernel.restype = ctypes.c_bool
    library.run_kernel.argtypes = [ctypes.c_char_p, *[ctypes.c_longlong] * 2, ctypes.c_void_p, ctypes.c_longlong]
    return library


@pytest.fixture
def instances() -> Callable[[str], list[str]]:
    """A function that returns the names of all kernel instances of a file."""
    return _instances


@pytest.fixture(scope="session")
def _libraries(shared_folder: Path) -> HostKernels:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler to build the kernels for this machine's CPU")
    folder = shared_folder / "kernels"
    folder.mkdir(exist_ok=True)
    return HostKernels(folder, compiler)


@pytest.fixture
def host_kernels(_libraries: HostKernels, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Makes the operators run the kernels on CPU tensors; returns the names of the kernels that ran."""
    ran: list[str] = []

    def run(device: torch.device, file: str, kernel: str, *rest: object) -> None:
        ran.append(kernel)
        _libraries.run(device, file, kernel, *rest)

    monkeypatch.setattr(cuda, "_run", run)
    monkeypatch.setattr(cuda, "obstacle", lambda *tensors: None)
    return ran


@pytest.fixture
def gpu_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Makes tensors on a GPU, if there is one; returns the names of the kernels that ran."""
    obstacle = cuda.obstacle_of_machine()
    if obstacle is not None:
        pytest.skip(obstacle)
    ran: list[str] = []
    on_gpu = cuda._run

    def run(device: torch.device, file: str, kernel: str, *rest: object) -> None:
        ran.append(kernel)
        on_gpu(device, file, kernel, *rest)

    monkeypatch.setattr(cuda, "_run", run)
    with torch.device("cuda"):
        yield ran


@pytest.fixture(params=["host", "gpu"])
def ran(request: pytest.FixtureRequest) -> list[str]:
    """Runs a test with kernels on the host and then on a GPU; returns the names of the kernels that ran."""
    return request.getfixturevalue(f"{request.param}_kernels")
