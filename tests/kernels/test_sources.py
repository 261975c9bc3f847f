"""Every kernel compiles for every generation of GPUs, by the compiler that CuPy uses, without one of them at hand."""

import re

import pytest

from denoise_cli.ops import cuda

ARCHITECTURES = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100"]


def compiled(architecture: str, text: str, names: list[str]) -> tuple[str, int]:
    """The compiler's report, and the size of the machine code in bytes."""
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="NVIDIA's compiler is for Linux and Windows alone")

    def ask(call, *arguments):
        error, *values = call(*arguments)
        assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS, error
        return values[0] if values else None

    program = ask(nvrtc.nvrtcCreateProgram, text.encode(), b"kernels", 0, [], [])
    for name in names:
        ask(nvrtc.nvrtcAddNameExpression, program, name.encode())
    options = [f"--gpu-architecture={architecture}".encode(), b"--std=c++17", b"--ptxas-options=-v"]
    (error,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    log = b" " * ask(nvrtc.nvrtcGetProgramLogSize, program)
    ask(nvrtc.nvrtcGetProgramLog, program, log)
    assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS, log.decode()
    return log.decode(), ask(nvrtc.nvrtcGetCUBINSize, program)


@pytest.mark.parametrize("file", ["malleable", "deformable"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_compiles_without_spilling_registers(architecture, file, instances):
    names = instances(file)
    report, size = compiled(architecture, cuda.source(file), names)
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert len(spills) == len(names)
    assert set(spills) == {("0", "0")}, report
    assert size


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
    report, _ = compiled("sm_90", many, [])
    assert not re.search(r" 0 bytes spill stores", report), report
