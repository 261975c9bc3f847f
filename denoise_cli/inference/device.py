"""Devices: which one to use, in which precision, and whether its memory is large enough."""

from typing import Literal

import torch

from denoise_cli.errors import DeviceUnavailable

Precision = Literal["auto", "fp32", "bf16", "fp16"]

# The oldest supported PyTorch has no public function that tells whether a CPU computes in bfloat16.
NATIVE_BF16_CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
MAX_PICTURE_SHARE = 0.25  # of a GPU's free memory; the rest is for computing


def choose_device(name: str) -> torch.device:
    """The device with this name.

    Args:
        name: "auto" (a GPU if there is one, else the CPU), "cpu", "cuda" or "cuda:N".

    Raises:
        DeviceUnavailable: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise DeviceUnavailable(f"device {name!r}: expected auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise DeviceUnavailable(f"device {name!r}: PyTorch finds no such GPU: use cpu, or run denoise doctor")
    return torch.device(name)


def choose_precision(device: torch.device, name: Precision) -> torch.dtype:
    """The data type for this precision on a device.

    Args:
        device: a CPU or a GPU.
        name: "auto" for 16 bits if the device computes in them natively.

    Raises:
        DeviceUnavailable: the device does not support this precision.
    """
    if name == "auto":
        if device.type == "cuda":
            return torch.float16  # as fast as bfloat16 and, for features as small as here, eight times as precise
        return torch.bfloat16 if has_native_bf16(device) else torch.float32
    if name == "fp16" and device.type == "cpu":
        raise DeviceUnavailable("precision fp16: not supported on a CPU: use bf16 or fp32")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def has_native_bf16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 natively; others emulate it, more slowly than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return any(getattr(torch.cpu, name, lambda: False)() for name in NATIVE_BF16_CHECKS)


def fits(size: int, device: torch.device) -> bool:
    """Whether pictures of `size` bytes leave a GPU enough free memory to process them."""
    free, _ = torch.cuda.mem_get_info(device)
    return size <= free * MAX_PICTURE_SHARE


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether an error from PyTorch or NumPy means that memory has run out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    message = str(error)
    return "can't allocate memory" in message or "out of memory" in message
