"""Every kernel compiles for every generation of GPUs with the compiler that CuPy uses; no GPU is needed."""

import re

import pytest

from denoise_cli.ops import cuda

AS_CUPY = [b"--ftz=true", b"--device-as-default-execution-space"]
ARCHITECTURES = [
    "sm_75",
    *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("sm_80", "sm_86", "sm_89", "sm_90")),
    "sm_100",
]


def ask(call, *arguments):
    """Call a function of NVRTC and return its result."""
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="NVIDIA's compiler exists for Linux and Windows only")
    error, *values = getattr(nvrtc, f"nvrtc{call}")(*arguments)
    assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS, f"{call}: {error}"
    return values[0] if values else None


def text_from(call, program) -> str:
    """What a function of NVRTC writes into the memory that it is given.

    Python shares bytes of one character among all who use them, and a report may be as short: the memory is longer.
    """
    size = ask(f"{call}Size", program)
    memory = b" " * (size + 2)
    ask(call, program, memory)
    return memory[:size].decode()


def compiled(architecture: str, text: str, names: list[str]):
    """A program, and the compiler's report."""
    program = ask("CreateProgram", text.encode(), b"kernels", 0, [], [])
    for name in names:
        ask("AddNameExpression", program, name.encode())
    options = [f"--gpu-architecture={architecture}".encode(), b"--std=c++17", b"--ptxas-options=-v", *AS_CUPY]
    ask("CompileProgram", program, len(options), options)
    return program, text_from("GetProgramLog", program)


def ptx(text: str, names: list[str]) -> str:
    program, _ = compiled("compute_90", text, names)
    return text_from("GetPTX", program)


@pytest.mark.parametrize("file", ["malleable", "deformable"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_compiles_without_spilling_registers(architecture, file, instances):
    names = instances(file)
    program, report = compiled(architecture, cuda.source(file), names)
    assert set(re.findall(r"(\d+) bytes stack frame", report)) == {"0"}, report
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert len(spills) == len(names)
    assert set(spills) == {("0", "0")}, report
    assert ask("GetCUBINSize", program)


def test_the_report_would_tell_of_spilled_registers():
    many = """
        extern "C" __global__ void __launch_bounds__(1024) hoards(const float* from, float* to) {
            float held[200];
            #pragma unroll
            for (int i = 0; i < 200; ++i) held[i] = from[i * 1024 + threadIdx.x];
            __syncthreads();
            #pragma unroll
            for (int i = 0; i < 200; ++i) to[(199 - i) * 1024 + threadIdx.x] = held[i] * held[(i * 7) % 200];
        }
    """
    _, report = compiled("sm_90", many, [])
    assert not re.search(r" 0 bytes spill stores", report), report


def test_vectors_are_read_and_written_at_once(instances):
    """The PTX reads and writes sixteen bytes with one instruction."""
    names = [name for name in instances("malleable") if "planes" in name or "pixels" in name]
    code = ptx(cuda.source("malleable"), names)
    entries = code.split(".entry ")[1:]
    vectorized = [entry for entry in entries if re.search(r"st\.global\.v4\.[bfu]32", entry)]
    assert len(entries) == len(names)
    # K = 1: planes, and pixels packed or not, in three types. K = 3: pixels packed or not, in float32 only.
    assert len(vectorized) == (1 + 2) * 3 + 2
    assert all(re.search(r"ld\.global(\.nc)?\.v4\.[bfu]32", entry) for entry in vectorized)
