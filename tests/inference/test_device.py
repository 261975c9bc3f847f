"""Which device, arithmetic and number of threads are chosen, and what is known of a device's memory."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from denoise_cli.errors import DeviceUnavailable, UsageError
from denoise_cli.inference import device as module
from denoise_cli.inference.device import (
    NATIVE_BF16_CHECKS,
    choose_device,
    choose_precision,
    count_threads,
    device_of_worker,
    has_gpu_driver,
    has_native_bf16,
    is_out_of_memory,
    limit_threads,
)
from denoise_cli.inference.torch_device import choose_dtype, choose_torch_device, fits, name_of_dtype

ROOT = Path(__file__).parents[2]
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", "cuda:", ""])
def test_a_device_of_no_known_name_is_a_mistake_of_the_user(name: str) -> None:
    with pytest.raises(UsageError, match=f"--device {name}: expected auto, cpu, cuda or cuda:N"):
        choose_device(name)


def test_a_gpu_that_is_not_there_is_said() -> None:
    with pytest.raises(DeviceUnavailable, match="cuda:99"):
        choose_device("cuda:99")


@pytest.mark.parametrize(("there", "device"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch, there: bool, device: str) -> None:
    monkeypatch.setattr(module, "has_gpu_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert choose_device("auto") == device
    assert choose_torch_device("auto") == torch.device(device)


def test_pytorch_is_not_asked_for_a_gpu_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_gpu_driver", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("was asked"))
    assert choose_device("auto") == "cpu"


def test_a_driver_is_a_library_that_loads_or_a_device_of_amd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "AMD_DRIVER", tmp_path / "absent")
    monkeypatch.setattr(module, "GPU_DRIVERS", {sys.platform: str(tmp_path / "absent.so")})
    assert not has_gpu_driver()
    monkeypatch.setattr(module, "GPU_DRIVERS", {})  # a system without such drivers
    assert not has_gpu_driver()
    monkeypatch.setattr(module, "GPU_DRIVERS", {sys.platform: None})  # the program itself, which can be loaded
    assert has_gpu_driver()
    monkeypatch.setattr(module, "GPU_DRIVERS", {})
    monkeypatch.setattr(module, "AMD_DRIVER", tmp_path)
    assert has_gpu_driver()


def test_half_precision_is_refused_on_a_cpu() -> None:
    with pytest.raises(DeviceUnavailable, match="fp16"):
        choose_precision("cpu", "fp16")


def test_a_gpu_computes_in_halves_unless_asked_otherwise() -> None:
    assert choose_precision("cuda:0", "auto") == "float16"
    assert choose_precision("cuda:0", "bf16") == "bfloat16"
    assert choose_dtype(GPU, "auto") == torch.float16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_names_of_arithmetics_are_pytorchs(dtype: torch.dtype) -> None:
    assert f"torch.{name_of_dtype(dtype)}" == str(dtype)


@pytest.mark.parametrize("native", NATIVE_BF16_CHECKS)
def test_a_cpu_computes_in_bfloat16_where_pytorch_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, native: str
) -> None:
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "absent")
    for name in NATIVE_BF16_CHECKS:
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert choose_precision("cpu", "auto") == "float32"
    monkeypatch.setattr(torch.cpu, native, lambda: True)
    assert choose_precision("cpu", "auto") == "bfloat16"
    assert choose_precision("cpu", "fp32") == "float32"


@pytest.mark.parametrize(
    ("flags", "native"),
    [("avx2 avx512f", False), ("avx512f avx512_bf16", True), ("amx_bf16 amx_tile", True), (None, False)],
)
def test_linux_says_whether_a_cpu_computes_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str | None, native: bool
) -> None:
    described = f"flags\t\t: fpu {flags} vme\n" if flags else "Features\t: fp asimd bf16\n"  # the latter of ARM
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: amx_tile\n{described}")
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
    assert has_native_bf16("cpu") == native


def test_this_cpu_is_judged_as_pytorch_judges_it() -> None:
    assert has_native_bf16("cpu") == any(getattr(torch.cpu, name, lambda: False)() for name in NATIVE_BF16_CHECKS)


@pytest.mark.parametrize(("capability", "native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_gpus_compute_in_bfloat16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], native: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_native_bf16("cuda:0") == native


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="PyTorch without MKL counts in another way")
@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OMP_NUM_THREADS": "1"},
        {"OMP_NUM_THREADS": "1,1"},
        {"OMP_NUM_THREADS": "0"},
        {"OMP_NUM_THREADS": "many"},
        {"OMP_NUM_THREADS": "999"},
        {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "1"},
        {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "2"},
    ],
)
def test_the_threads_are_as_many_as_pytorchs(variables: dict[str, str]) -> None:
    unset = {name: value for name, value in os.environ.items() if name not in module.THREAD_VARIABLES}
    program = (
        "from denoise_cli.inference.device import count_threads; without = count_threads()\n"
        "import torch; print(without, torch.get_num_threads())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT, env=unset | variables
    )
    without, pytorchs = done.stdout.split()
    assert without == pytorchs


def test_threads_of_one_core_count_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings)
    monkeypatch.setattr(module, "CPUS", tmp_path)
    assert [module._physical_cores(some) for some in ({0, 1, 2, 3}, {0, 2}, {1}, {7, 8})] == [2, 1, 1, 2]


def test_a_program_that_has_set_pytorchs_threads_gets_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert count_threads() == 3


def test_a_limit_of_threads_is_that_of_pytorch_and_of_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in module.THREAD_VARIABLES:
        monkeypatch.setenv(name, "9")
    before = torch.get_num_threads()
    try:
        limit_threads(before + 1)
        assert count_threads() == before + 1
        assert [os.environ[name] for name in module.THREAD_VARIABLES] == [str(before + 1)] * 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("found", "name", "devices"),
    [
        ("cuda", "auto", ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda", "cuda", ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda", "cuda:1", ["cuda:1"] * 3),
        ("cuda", "cpu", ["cpu"] * 3),
        ("cpu", "auto", ["auto"] * 3),
    ],
)
def test_processes_take_gpus_in_turns_unless_one_is_named(
    monkeypatch: pytest.MonkeyPatch, found: str, name: str, devices: list[str]
) -> None:
    monkeypatch.setattr(module, "_finds_gpu", lambda: found == "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [device_of_worker(name, number) for number in range(3)] == devices


@pytest.mark.parametrize(("size", "answer"), [(2**18, True), (2**18 + 1, False)])
def test_pictures_take_a_quarter_of_the_free_memory_at_most(
    monkeypatch: pytest.MonkeyPatch, size: int, answer: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**20, 2**30))
    assert fits(size, GPU) == answer


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA: no memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("sizes do not match"), False),
        (ImportError("No module named 'torch'"), False),
        (ImportError("libgomp.so.1: cannot allocate memory in static TLS block"), False),
    ],
)
def test_errors_that_mean_too_little_memory_are_recognised(error: Exception, answer: bool) -> None:
    assert is_out_of_memory(error) == answer
