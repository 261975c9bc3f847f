"""Where networks run: which device, in which arithmetic, and whether its memory suffices."""

from typing import Literal

import torch

from denoise_cli.errors import DeviceUnavailable

Precision = Literal["auto", "fp32", "bf16", "fp16"]

NATIVE_BF16_CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
MOST_HELD = 0.25  # of a GPU's free memory, by pictures


def choose_device(name: str) -> torch.device:
    """The device that a name stands for.

    Raises:
        DeviceUnavailable: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise DeviceUnavailable(f"device {name!r}: expected auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise DeviceUnavailable(f"device {name!r}: PyTorch sees no such GPU here: use cpu, or see denoise doctor")
    return torch.device(name)


def choose_precision(device: torch.device, name: Precision) -> torch.dtype:
    """The arithmetic that a name stands for on a device.

    Raises:
        DeviceUnavailable: the device does not compute in it.
    """
    if name == "auto":
        if device.type == "cuda":
            return torch.float16  # as fast as bfloat16 and, where features are as small as here, eight times as exact
        return torch.bfloat16 if has_native_bf16(device) else torch.float32
    if name == "fp16" and device.type == "cpu":
        raise DeviceUnavailable("precision fp16: not on a CPU: use bf16 or fp32")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def has_native_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 there: elsewhere it is emulated."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # No public call tells this in the oldest PyTorch that is supported.
    return any(getattr(torch.cpu, name, lambda: False)() for name in NATIVE_BF16_CHECKS)


def fits(size: int, device: torch.device) -> bool:
    """Whether a GPU can hold that many bytes of pictures beside what it computes them with."""
    free, _ = torch.cuda.mem_get_info(device)
    return size <= free * MOST_HELD


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether an error of PyTorch or numpy means that memory has run out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    message = str(error)
    return "can't allocate memory" in message or "out of memory" in message
