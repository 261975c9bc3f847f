"""Tensors on disk: safetensors files, verified by their SHA-256. Formats that can run code are never loaded."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from denoise_cli.errors import DamagedWeights
from denoise_cli.files import write_atomically
from denoise_cli.models.weight_file import read_weight_file

Tensors = dict[str, Tensor]


def write_tensors(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> None:
    """Write named tensors and metadata to a safetensors file, atomically; an existing file is replaced.

    Raises:
        UnwritableFile: the folder or the disk does not allow it.
    """
    compact = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(compact, metadata=metadata), overwrite=True)


def read_tensors(path: Path, sha256: str | None = None) -> Tensors:
    """Read the tensors of a safetensors file.

    Args:
        path: of the file.
        sha256: the expected checksum, see `weight_file.sha256_of`; None to skip the check.

    Raises:
        DamagedWeights: the file is missing, altered or truncated, or holds numbers of a type that PyTorch lacks.
    """
    data = read_weight_file(path, sha256)
    try:
        return load(data)
    except KeyError as error:  # the format has types, of 4 and 6 bits for example, that are in no table of its library
        raise DamagedWeights(f"{path}: has numbers of the type {error.args[0]}: convert them to F32") from error
    except SafetensorError as error:
        raise DamagedWeights(f"{path}: not a complete safetensors file ({error}): restore the file") from error


def load_weights(net: nn.Module, tensors: Tensors, source: object) -> None:
    """Copy tensors into a network, as float32; names and shapes must match exactly.

    Args:
        net: the network; if the tensors do not match, it is unchanged.
        tensors: by name.
        source: file or name for the error message.

    Raises:
        DamagedWeights: the tensors belong to another network, or values are not finite real numbers.
    """
    expected = {name: tensor.shape for name, tensor in net.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if expected != found:
        name = next(n for n in [*expected, *found] if expected.get(n) != found.get(n))
        raise DamagedWeights(
            f"{source}: weights of another network: {name} should be {_shape(expected, name)}, is {_shape(found, name)}"
        )
    values = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise DamagedWeights(
                f"{source}: {name} has the type {tensor.dtype}, not a floating-point one: train it again"
            )
        # Asked of float32: PyTorch cannot ask it of 8 bits, and 64 bits hold what float32 does not.
        values[name] = tensor.float()
        if not values[name].isfinite().all():
            raise DamagedWeights(f"{source}: {name} has values that are not finite: restore the file, or train again")
    net.load_state_dict(values)


def _shape(shapes: dict[str, torch.Size], name: str) -> str:
    return "x".join(map(str, shapes[name])) or "a number" if name in shapes else "absent"
