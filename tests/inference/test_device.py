"""Which device and arithmetic are chosen, and what is known of a device's memory."""

import pytest
import torch

from denoise_cli.errors import DeviceUnavailable
from denoise_cli.inference.device import (
    NATIVE_BF16_CHECKS,
    choose_device,
    choose_precision,
    fits,
    has_native_bf16,
    is_out_of_memory,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", "cuda:99"])
def test_an_impossible_device_is_said(name: str) -> None:
    with pytest.raises(DeviceUnavailable, match=name):
        choose_device(name)


@pytest.mark.parametrize(("there", "device"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch, there: bool, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert choose_device("auto") == torch.device(device)


def test_half_precision_is_refused_on_a_cpu() -> None:
    with pytest.raises(DeviceUnavailable, match="fp16"):
        choose_precision(CPU, "fp16")


def test_a_gpu_computes_in_halves_unless_asked_otherwise() -> None:
    assert choose_precision(GPU, "auto") == torch.float16
    assert choose_precision(GPU, "bf16") == torch.bfloat16


@pytest.mark.parametrize("native", NATIVE_BF16_CHECKS)
def test_a_cpu_computes_in_bfloat16_where_it_can(monkeypatch: pytest.MonkeyPatch, native: str) -> None:
    for name in NATIVE_BF16_CHECKS:
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert choose_precision(CPU, "auto") == torch.float32
    monkeypatch.setattr(torch.cpu, native, lambda: True)
    assert choose_precision(CPU, "auto") == torch.bfloat16
    assert choose_precision(CPU, "fp32") == torch.float32


@pytest.mark.parametrize(("capability", "native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_gpus_compute_in_bfloat16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], native: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_native_bf16(GPU) == native


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
        (RuntimeError("sizes do not match"), False),
    ],
)
def test_errors_that_mean_too_little_memory_are_recognised(error: RuntimeError | MemoryError, answer: bool) -> None:
    assert is_out_of_memory(error) == answer
