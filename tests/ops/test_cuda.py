"""When kernels run and how they are launched, as far as that can be tested without a GPU."""

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from denoise_cli.ops import cuda, malleable


@pytest.fixture
def a_gpu(monkeypatch):
    """A machine on which tensors can be on a GPU: they have shapes and types, but no values."""
    monkeypatch.setattr(cuda, "obstacle_of_machine", lambda index: None)
    with FakeTensorMode():
        yield


def on_gpu(*shape, dtype=torch.float32, device="cuda"):
    return torch.empty(shape, dtype=dtype, device=device)


def test_tensors_on_a_cpu_have_no_kernels():
    assert cuda.obstacle(torch.zeros(1)) == "not on a GPU"


def test_tensors_on_a_gpu_have_kernels(a_gpu):
    assert cuda.obstacle(on_gpu(2, 3), None, on_gpu(1, dtype=torch.float16)) is None


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ([("cpu", torch.float32, 1)], "not on a GPU"),
        ([("cuda:1", torch.float32, 1)], "on different GPUs"),
        ([("cuda:0", torch.float64, 1)], "no kernel computes in float64"),
        ([("cuda:0", torch.float16, 2**31)], "2^31 values or more in a tensor"),
    ],
)
def test_tensors_that_no_kernel_reads(a_gpu, others, reason):
    tensors = [on_gpu(size, dtype=dtype, device=device) for device, dtype, size in others]
    assert cuda.obstacle(on_gpu(1, device="cuda:0"), *tensors) == reason


@pytest.fixture
def machine(monkeypatch):
    """A machine with everything that kernels need; a test can remove parts."""
    parts = {"gpu": True, "capability": (9, 0), "cupy": object()}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: parts["gpu"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: parts["capability"])
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: parts[name])
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    cuda._cached_obstacle.cache_clear()
    yield parts
    cuda._cached_obstacle.cache_clear()


def test_a_machine_with_all_that_kernels_need(machine):
    assert cuda.obstacle_of_machine() is None


@pytest.mark.parametrize(
    ("part", "instead", "reason"),
    [
        ("gpu", False, "PyTorch finds no GPU"),
        ("capability", (7, 0), "the GPU's compute capability is 7.0, less than 7.5"),
        ("cupy", None, "CuPy is not installed: pip install 'denoise-cli[cuda13]'"),
    ],
)
def test_a_machine_that_lacks_a_part(machine, part, instead, reason):
    machine[part] = instead
    assert cuda.obstacle_of_machine() == reason


def test_amds_gpus_have_no_kernels(machine, monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert cuda.obstacle_of_machine() == "this PyTorch is for AMD's GPUs"


@pytest.fixture
def cupy(monkeypatch):
    """A fake CuPy that records everything that the launcher asks CuPy and PyTorch for."""
    notes = SimpleNamespace(launches=[], modules=[], streams=[], fail=None)

    def module(code, options, name_expressions):
        notes.modules.append((code, options, name_expressions))

        def launch(grid, block, args):
            if notes.fail:
                raise notes.fail
            notes.launches.append((grid, block, args))

        return SimpleNamespace(get_function=lambda name: launch)

    def external(stream):
        notes.streams.append(stream)
        return nullcontext()

    stream = SimpleNamespace(__cuda_stream__=None)
    fake = SimpleNamespace(
        RawModule=module,
        cuda=SimpleNamespace(Device=nullcontext, Stream=SimpleNamespace(from_external=external)),
    )
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index: stream)
    monkeypatch.setattr(cuda, "obstacle", lambda *tensors: None)
    cuda._compiled.cache_clear()
    notes.stream = stream
    yield notes
    cuda._compiled.cache_clear()


def test_a_kernel_gets_pytorchs_own_memory_on_pytorchs_stream(cupy):
    image, kernels, bias = torch.zeros(1, 2, 8, 16), torch.zeros(1, 2, 1, 1, 2), torch.zeros(1, 2, 1, 2)
    out = malleable.malleable_conv2d(image, kernels, bias)
    ((grid, block, arguments),) = cupy.launches
    assert arguments[:10] == (image.data_ptr(), out.data_ptr(), 1, 2, 8, 16, 1, 2, kernels.data_ptr(), bias.data_ptr())
    assert grid[0] * block[0] >= 2 * 16 // 4
    assert cupy.streams == [cupy.stream]
    ((code, _, names),) = cupy.modules
    assert names == ("malleable_planes<float, 1, 4>",)
    assert "#include" not in code


def test_a_kernel_is_compiled_once(cupy):
    for _ in range(3):
        malleable.malleable_conv2d(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 1, 1, 1))
    assert len(cupy.modules) == 1
    assert len(cupy.launches) == 3


def test_a_launch_that_fails_is_no_reason_to_go_another_way(cupy):
    cupy.fail = RuntimeError("CUDA_ERROR_LAUNCH_FAILED")
    with pytest.raises(RuntimeError, match="CUDA_ERROR_LAUNCH_FAILED"):
        malleable.malleable_conv2d(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 1, 1, 1))


def test_too_many_threads_are_refused(cupy):
    with pytest.raises(RuntimeError, match=r"2147483648 threads, 2147483647 at most"):
        cuda.launch("malleable", "any", 2**31, [torch.zeros(1)])


def test_nothing_is_launched_for_no_pixels(cupy):
    out = malleable.malleable_conv2d(torch.zeros(0, 1, 4, 4), torch.zeros(0, 1, 1, 1, 1))
    assert out.shape == (0, 1, 4, 4)
    assert not cupy.launches


def test_an_older_cupy_takes_the_streams_number(monkeypatch):
    numbers = []
    older = SimpleNamespace(cuda=SimpleNamespace(Stream=object, ExternalStream=numbers.append))
    cuda._cupy_stream(older, SimpleNamespace(cuda_stream=7))
    assert numbers == [7]


def test_a_compiled_function_may_ask_the_machine():
    """torch.compile cannot trace the search for libraries, so it treats the result as a constant."""
    asked = torch.compile(lambda tensor: tensor + (cuda.obstacle_of_machine() is None), backend="eager", fullgraph=True)
    expected = float(cuda.obstacle_of_machine() is None)
    assert float(asked(torch.zeros(()))) == expected
