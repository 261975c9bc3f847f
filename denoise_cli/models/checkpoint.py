"""Weights on disk: safetensors, known by their SHA-256. Nothing that can run code is ever loaded."""

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
    """The checksum as the manifest writes it: 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def write_tensors(path: Path, tensors: Tensors, note: dict[str, str] | None = None) -> None:
    """Write named tensors and a few words about them; the file appears when it is complete.

    Raises:
        UnwritableFile: the disk or the folder refuses.
    """
    compact = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(compact, metadata=note), overwrite=True)


def read_tensors(path: Path, sha256: str | None = None) -> Tensors:
    """Read what `write_tensors` wrote, after checking its checksum where one is given.

    Raises:
        DamagedWeights: missing, altered or truncated.
    """
    data = _read(path)
    if sha256 is not None and sha256_of(data) != sha256:
        raise DamagedWeights(f"{path}: the checksum does not match the manifest: reinstall, or restore the file")
    try:
        return load(data)
    except SafetensorError as error:
        raise DamagedWeights(f"{path}: not a complete safetensors file ({error}): restore the file") from error


def read_note(path: Path) -> dict[str, str]:
    """The words that `write_tensors` put beside the tensors.

    Raises:
        DamagedWeights: missing or truncated.
    """
    data = _read(path)
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return dict(header.get("__metadata__", {}))
    except (ValueError, AttributeError, TypeError) as error:
        raise DamagedWeights(f"{path}: not a safetensors file: restore the file") from error


def load_weights(net: nn.Module, tensors: Tensors, source: object) -> None:
    """Copy tensors into a network, each name and shape exactly.

    Raises:
        DamagedWeights: the tensors are another network's.
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
