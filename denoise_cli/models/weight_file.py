"""What can be known of a weight file without PyTorch: its checksum and its metadata."""

import hashlib
import json
from pathlib import Path

from denoise_cli.errors import DamagedWeights


def sha256_of(data: bytes) -> str:
    """The SHA-256 of data as 64 hexadecimal digits, as in the manifest."""
    return hashlib.sha256(data).hexdigest()


def read_weight_file(path: Path, sha256: str | None = None) -> bytes:
    """Read a weight file.

    Args:
        path: of the file.
        sha256: the expected checksum, see `sha256_of`; None to skip the check.

    Raises:
        DamagedWeights: the file is missing, altered or truncated.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedWeights(f"{path}: {error.strerror}: reinstall, or restore the file") from error
    if sha256 is not None and sha256_of(data) != sha256:
        raise DamagedWeights(f"{path}: the checksum does not match the manifest: reinstall, or restore the file")
    return data


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file; empty if there are none.

    Raises:
        DamagedWeights: the file is missing, or its header is damaged.
    """
    data = read_weight_file(path)
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return dict(header.get("__metadata__", {}))
    except (ValueError, AttributeError, TypeError) as error:
        raise DamagedWeights(f"{path}: not a safetensors file: restore the file") from error
