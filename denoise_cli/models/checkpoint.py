"""Weights on disk: safetensors files, verified by their SHA-256. Formats that can run code are never loaded."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from denoise_cli.errors import DamagedWeights
from denoise_cli.files import write_atomically

Tensors = dict[str, Tensor]


def sha256_of(data: bytes) -> str:
    """The SHA-256 of data as 64 hexadecimal digits, as in the manifest."""
    return hashlib.sha256(data).hexdigest()


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
        sha256: the expected checksum, see `sha256_of`; None to skip the check.

    Raises:
        DamagedWeights: the file is missing, altered or truncated.
    """
    data = _read(path)
    if sha256 is not None and sha256_of(data) != sha256:
        raise DamagedWeights(f"{path}: the checksum does not match the manifest: reinstall, or restore the file")
    try:
        return load(data)
    except SafetensorError as error:
        raise DamagedWeights(f"{path}: not a complete safetensors file ({error}): restore the file") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file; empty if there are none.

    Raises:
        DamagedWeights: the file is missing, or its header is damaged.
    """
    data = _read(path)
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return dict(header.get("__metadata__", {}))
    except (ValueError, AttributeError, TypeError) as error:
        raise DamagedWeights(f"{path}: not a safetensors file: restore the file") from error


def load_weights(net: nn.Module, tensors: Tensors, source: object) -> None:
    """Copy tensors into a network, as float32; names and shapes must match exactly.

    Args:
        net: the network; if the tensors do not match, it is unchanged.
        tensors: by name.
        source: file or name for the error message.

    Raises:
        DamagedWeights: the tensors belong to another network.
    """
    expected = {name: tensor.shape for name, tensor in net.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if expected != found:
        name = next(n for n in [*expected, *found] if expected.get(n) != found.get(n))
        raise DamagedWeights(
            f"{source}: weights of another network: {name} should be {_shape(expected, name)}, is {_shape(found, name)}"
        )
    net.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})


def _shape(shapes: dict[str, torch.Size], name: str) -> str:
    return "x".join(map(str, shapes[name])) or "a number" if name in shapes else "absent"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedWeights(f"{path}: {error.strerror}: reinstall, or restore the file") from error
