"""Networks compiled for a CPU by OpenVINO, which takes less than half of PyTorch's time.

What was compiled is kept in the user's cache folder: the first run with a network takes some seconds more.

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

# It would tell its makers of every import; they have foreseen that this package is not there.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

Compilable = MalleNet | DeformableKernelNet | KPN

HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}
DIGEST_SIZE = 32
COLOURS = 3
EXAMPLE = 2  # times the network's multiple: the side of the picture that is traced; any other is taken, too


def is_available() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def compiled(net: nn.Module, precision: torch.dtype) -> nn.Module:
    """A network compiled for the CPU, of one for clips the part that is a MalleNet; another network as it is.

    Args:
        net: with its weights, on the CPU, for no more training.
        precision: of its arithmetic, float32 or bfloat16.
    """
    if isinstance(net, MalleNet):
        return CompiledNet(net, precision)
    if isinstance(net, MalleNetVideo) and isinstance(net.finish, MalleNet):
        net.finish = CompiledNet(net.finish, precision)
    if isinstance(net, DeformableKernelNet | KPN) and net.frames == 1:
        return CompiledKernels(net, precision)
    return net


class CompiledNet(NoisePredictor):
    """Does what a MalleNet does, and cannot be trained.

    Args:
        net: with its weights.
        precision: of its arithmetic.
    """

    def __init__(self, net: MalleNet, precision: torch.dtype) -> None:
        super().__init__()
        self.multiple, self.channels = net.multiple, net.channels
        self._infer = _Request(net, _Noise(net), net.config.channels, precision)

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `NoisePredictor`."""
        check_inputs(image, sigma, self.multiple, self.channels)
        return image - self._infer(image, sigma)

    def noise(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `NoisePredictor`."""
        return self._infer(image, sigma).clone()


class CompiledKernels(nn.Module):
    """Does what a network that predicts kernels for photos does, and cannot be trained.

    Args:
        net: with its weights.
        precision: of its arithmetic.
    """

    def __init__(self, net: DeformableKernelNet | KPN, precision: torch.dtype) -> None:
        super().__init__()
        self.multiple = net.multiple
        self._infer = _Request(net, net, COLOURS, precision)

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `KernelPredictor`."""
        check_inputs(image, sigma, self.multiple)
        return self._infer(image, sigma).clone()


class _Noise(nn.Module):
    def __init__(self, net: MalleNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        return self.net.noise(image, sigma)


class _Request:
    """What OpenVINO runs, for one thread at a time; its result is in memory that the next one takes.

    Args:
        net: whose weights they are.
        work: what of it is done.
        channels: of its image.
        precision: of its arithmetic.
    """

    def __init__(self, net: Compilable, work: nn.Module, channels: int, precision: torch.dtype) -> None:
        self._request = _load(net, work, channels, precision).create_infer_request()

    def __call__(self, image: Tensor, sigma: Tensor) -> Tensor:
        inputs = [part.float().contiguous().numpy() for part in (image, sigma)]
        return torch.from_numpy(self._request.infer(inputs, share_inputs=True, share_outputs=True)[0])


def _load(net: Compilable, work: nn.Module, channels: int, precision: torch.dtype) -> "openvino.CompiledModel":
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
    kept = _read(path)
    if kept is not None:
        return core.import_model(io.BytesIO(kept), "CPU", settings)
    model = core.compile_model(convert(work, channels, net.multiple), "CPU", settings)
    blob = model.export_model()
    _keep(path, blob if isinstance(blob, bytes) else blob.getvalue())
    return model


def convert(net: nn.Module, channels: int, multiple: int) -> "openvino.Model":
    """A network as OpenVINO has it, for any number of pictures of any size.

    Args:
        net: takes (B, channels, H, W) and (B, 1, H, W), H and W multiples of `multiple`; with its weights, on the CPU.
        channels: of its first input.
        multiple: of the sides.
    """
    ov, _ = _openvino()
    with tracing():
        return ov.convert_model(net, example_input=example_of(channels, multiple))


def example_of(channels: int, multiple: int) -> tuple[Tensor, Tensor]:
    """What a network is shown to be traced: an image and its level map."""
    side = EXAMPLE * multiple
    return torch.zeros(1, channels, side, side), torch.zeros(1, 1, side, side)


@contextmanager
def tracing() -> Iterator[None]:
    """Without gradients, and without a word about the checks of shapes, which are not traced."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield


@cache
def _openvino() -> tuple[Any, Any]:
    import openvino

    return openvino, openvino.Core()


def cache_folder() -> Path:
    """Where compiled networks are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("denoise", appauthor=False)


def _read(path: Path) -> bytes | None:
    """What `_keep` kept; None if there is nothing, or not what was kept."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, kept = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    return kept if hashlib.sha256(kept).digest() == digest else None


def _keep(path: Path, blob: bytes) -> None:
    """For the next time; where that cannot be, the next time takes as long as this."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, hashlib.sha256(blob).digest() + blob, overwrite=True)
    except (OSError, UnwritableFile):
        pass
