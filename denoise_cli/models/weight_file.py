"""What can be known of a weight file without PyTorch: its checksum and its metadata."""

import hashlib
import stat
from pathlib import Path

from denoise_cli.errors import DamagedWeights

OWN_FILE = "name a .safetensors file that denoise train has written"  # which is not in the manifest


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
    advice = OWN_FILE if sha256 is None else "reinstall, or restore the file"
    _check_is_file(path, advice)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedWeights(f"{path}: {error.strerror}: {advice}") from error
    if sha256 is not None and sha256_of(data) != sha256:
        raise DamagedWeights(f"{path}: the checksum does not match the manifest: reinstall, or restore the file")
    return data


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file; empty if there are none.

    Raises:
        DamagedWeights: the file is missing, or its header is damaged.
    """
    from safetensors import SafetensorError, safe_open  # only for weight files of the user's own

    _check_is_file(path, OWN_FILE)
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DamagedWeights(f"{path}: not a complete safetensors file ({error}): restore the file") from error


def _check_is_file(path: Path, advice: str) -> None:
    """Refuse what is not there, with this advice, and what may never end, as named pipes and devices."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise DamagedWeights(f"{path}: {error.strerror}: {advice}") from error
    if not stat.S_ISREG(mode):
        raise DamagedWeights(f"{path}: not a regular file: give a .safetensors file")
