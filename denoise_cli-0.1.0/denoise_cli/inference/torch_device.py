"""Devices and data types as PyTorch's objects, and whether pictures fit into a GPU's memory."""

import torch

from denoise_cli.inference.device import Arithmetic, Precision, choose_device, choose_precision

DTYPES: dict[Arithmetic, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
MAX_PICTURE_SHARE = 0.25  # of a GPU's free memory; the rest is for computing


def choose_torch_device(name: str) -> torch.device:
    """The device with this name; arguments and errors as in `device.choose_device`."""
    return torch.device(choose_device(name))


def choose_dtype(device: torch.device, name: Precision) -> torch.dtype:
    """The data type for this precision on a device; errors as in `device.choose_precision`."""
    return dtype_of(choose_precision(str(device), name))


def dtype_of(arithmetic: Arithmetic) -> torch.dtype:
    """PyTorch's data type with this name."""
    return DTYPES[arithmetic]


def name_of_dtype(dtype: torch.dtype) -> Arithmetic:
    """The name of PyTorch's data type."""
    return next(name for name, known in DTYPES.items() if known == dtype)


def fits(size: int, device: torch.device) -> bool:
    """Whether pictures of `size` bytes leave a GPU enough free memory to process them."""
    free, _ = torch.cuda.mem_get_info(device)
    return size <= free * MAX_PICTURE_SHARE
