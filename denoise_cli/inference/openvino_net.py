"""Networks compiled by OpenVINO for a CPU, where they run in less than half of PyTorch's time.

Compiled networks are kept in the user's cache folder, as compiling takes some seconds, and PyTorch, which takes seconds
to import. One that is there runs without PyTorch.

Legend: B batch, C channels, H x W image.
"""

import hashlib
import importlib.util
import io
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from denoise_cli.errors import UnwritableFile
from denoise_cli.files import write_atomically
from denoise_cli.inference.device import Arithmetic, count_threads
from denoise_cli.models.registry import Config

if TYPE_CHECKING:
    import openvino

# OpenVINO reports every import to its makers through this package, and works without it.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

Array = NDArray[np.float32]

# Part of a compiled network's name in the cache: to be increased when networks are converted or computed differently.
FORMAT = 1
HINTS: dict[Arithmetic, str] = {"float32": "f32", "bfloat16": "bf16"}
DIGEST_SIZE = 32  # bytes of SHA-256


def is_available() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


class Inference:
    """Runs a compiled network, in one thread at a time; each result is overwritten by the next."""

    def __init__(self, compiled: "openvino.CompiledModel") -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()

    def __call__(self, image: Array, sigma: Array) -> Array:
        """(B, C, H, W) and (B, 1, H, W), contiguous, to the network's output."""
        return self._request.infer([image, sigma], share_inputs=True, share_outputs=True)[0]

    def release_memory(self) -> None:
        """Free what the layers' outputs are computed in; the next run allocates it again."""
        self._compiled.release_memory()


def compile_cached(
    convert: Callable[[], "openvino.Model"], config: Config, weights: str, precision: Arithmetic
) -> "openvino.CompiledModel":
    """A compiled network, from the cache if it is there.

    Args:
        convert: returns the network, if it has to be compiled.
        config: its configuration.
        weights: a checksum of its weights, or of a file that holds them.
        precision: of the arithmetic, float32 or bfloat16.
    """
    ov, core = openvino_core()
    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": count_threads(),
        "ENABLE_HYPER_THREADING": True,
        "PERFORMANCE_HINT": "LATENCY",
    }
    device = core.get_property("CPU", "FULL_DEVICE_NAME"), core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    facts = (FORMAT, ov.__version__, device, settings, config, weights)
    path = cache_folder() / f"{hashlib.sha256(repr(facts).encode()).hexdigest()}.openvino"
    cached = _read_cached(path)
    if cached is not None:
        return core.import_model(io.BytesIO(cached), "CPU", settings)
    model = core.compile_model(convert(), "CPU", settings)
    blob = model.export_model()
    _write_cached(path, blob if isinstance(blob, bytes) else blob.getvalue())
    return model


@cache
def openvino_core() -> tuple[Any, Any]:
    """OpenVINO's module and its core."""
    import openvino

    return openvino, openvino.Core()


def cache_folder() -> Path:
    """The folder in which compiled networks are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("denoise", appauthor=False)


def _read_cached(path: Path) -> bytes | None:
    """What `_write_cached` has written; None if there is no file or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, blob = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    return blob if hashlib.sha256(blob).digest() == digest else None


def _write_cached(path: Path, blob: bytes) -> None:
    """Cache a compiled network; if that fails, it is simply compiled again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, hashlib.sha256(blob).digest() + blob, overwrite=True)
    except (OSError, UnwritableFile):
        pass
