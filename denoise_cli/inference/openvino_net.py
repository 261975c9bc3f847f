"""Networks compiled by OpenVINO for a CPU, where they run in less than half of PyTorch's time.

Compiled networks are kept in the user's cache folder, as compiling takes some seconds.

Legend: B batch, C channels, H x W image.
"""

import hashlib
import importlib.util
import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from denoise_cli.errors import UnwritableFile
from denoise_cli.files import write_atomically
from denoise_cli.nets.deformable import DeformableKernelNet
from denoise_cli.nets.kpn import KPN
from denoise_cli.nets.mallenet import MalleNet
from denoise_cli.nets.mallenet_video import MalleNetVideo
from denoise_cli.nets.residual import NoisePredictor, check_inputs

if TYPE_CHECKING:
    import openvino

# OpenVINO reports every import to its makers through this package, and works without it.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

Compilable = MalleNet | DeformableKernelNet | KPN

HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}
DIGEST_SIZE = 32  # bytes of SHA-256
COLOURS = 3
TRACED_MULTIPLES = 2  # side of the traced image, in units of the network's `multiple`; other sizes work, too


def is_available() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def compile_for_cpu(net: nn.Module, precision: torch.dtype) -> nn.Module:
    """Compile a network; of one for clips, only its MalleNet. Networks that are not supported are returned unchanged.

    Args:
        net: with its weights, on the CPU; it may be changed and cannot be trained afterwards.
        precision: of the arithmetic, float32 or bfloat16.
    """
    if isinstance(net, MalleNet):
        return CompiledNet(net, precision)
    if isinstance(net, MalleNetVideo) and isinstance(net.finish, MalleNet):
        net.finish = CompiledNet(net.finish, precision)
    if isinstance(net, DeformableKernelNet | KPN) and net.frames == 1:
        return CompiledKernels(net, precision)
    return net


class CompiledNet(NoisePredictor):
    """A compiled MalleNet. It cannot be trained.

    Args:
        net: with its weights.
        precision: of the arithmetic.
    """

    def __init__(self, net: MalleNet, precision: torch.dtype) -> None:
        super().__init__()
        self.multiple, self.channels = net.multiple, net.channels
        self._infer = _Inference(net, _PredictNoise(net), net.config.channels, precision)

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `NoisePredictor`."""
        check_inputs(image, sigma, self.multiple, self.channels)
        return image - self._infer(image, sigma)

    def noise(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `NoisePredictor`."""
        return self._infer(image, sigma).clone()


class CompiledKernels(nn.Module):
    """A compiled network that predicts kernels for photos. It cannot be trained.

    Args:
        net: with its weights.
        precision: of the arithmetic.
    """

    def __init__(self, net: DeformableKernelNet | KPN, precision: torch.dtype) -> None:
        super().__init__()
        self.multiple = net.multiple
        self._infer = _Inference(net, net, COLOURS, precision)

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `KernelPredictor`."""
        check_inputs(image, sigma, self.multiple)
        return self._infer(image, sigma).clone()


class _PredictNoise(nn.Module):
    def __init__(self, net: MalleNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        return self.net.noise(image, sigma)


class _Inference:
    """Runs a compiled module, in one thread at a time; each result is overwritten by the next.

    Args:
        net: identifies the module in the cache by its weights and configuration.
        module: what is compiled: the network, or a module that calls it.
        channels: of its image.
        precision: of the arithmetic.
    """

    def __init__(self, net: Compilable, module: nn.Module, channels: int, precision: torch.dtype) -> None:
        self._request = _compile(net, module, channels, precision).create_infer_request()

    def __call__(self, image: Tensor, sigma: Tensor) -> Tensor:
        inputs = [tensor.float().contiguous().numpy() for tensor in (image, sigma)]
        return torch.from_numpy(self._request.infer(inputs, share_inputs=True, share_outputs=True)[0])


def _compile(net: Compilable, module: nn.Module, channels: int, precision: torch.dtype) -> "openvino.CompiledModel":
    """The compiled module, from the cache if it is there."""
    ov, core = _openvino()
    threads = torch.get_num_threads()
    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_HYPER_THREADING": True,
        "PERFORMANCE_HINT": "LATENCY",
    }
    device = core.get_property("CPU", "FULL_DEVICE_NAME"), core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    facts = (ov.__version__, device, settings, type(net), net.config)
    digest = hashlib.sha256(repr(facts).encode())
    for name, tensor in net.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    path = cache_folder() / f"{digest.hexdigest()}.openvino"
    cached = _read_cached(path)
    if cached is not None:
        return core.import_model(io.BytesIO(cached), "CPU", settings)
    model = core.compile_model(convert(module, channels, net.multiple), "CPU", settings)
    blob = model.export_model()
    _write_cached(path, blob if isinstance(blob, bytes) else blob.getvalue())
    return model


def convert(net: nn.Module, channels: int, multiple: int) -> "openvino.Model":
    """Convert a network to an OpenVINO model that takes any number of pictures of any size.

    Args:
        net: takes (B, channels, H, W) and (B, 1, H, W), H and W multiples of `multiple`; with its weights, on the CPU.
        channels: of the image.
        multiple: what the sides of the image must be multiples of.
    """
    ov, _ = _openvino()
    with tracing():
        return ov.convert_model(net, example_input=example_of(channels, multiple))


def example_of(channels: int, multiple: int) -> tuple[Tensor, Tensor]:
    """Inputs for tracing a network: an image and its level map."""
    side = TRACED_MULTIPLES * multiple
    return torch.zeros(1, channels, side, side), torch.zeros(1, 1, side, side)


@contextmanager
def tracing() -> Iterator[None]:
    """Without gradients, and without the warnings that checks of shapes are not traced."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield


@cache
def _openvino() -> tuple[Any, Any]:
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
