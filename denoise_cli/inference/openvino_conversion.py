"""PyTorch's networks converted to OpenVINO's models, and compiled networks as modules that take tensors.

Legend: B batch, C channels, H x W image.
"""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from denoise_cli.inference.openvino_net import Inference, VideoInference, VideoParts, compile_cached, openvino_core
from denoise_cli.inference.torch_device import name_of_dtype
from denoise_cli.models.registry import load_net
from denoise_cli.nets.deformable import DeformableKernelNet
from denoise_cli.nets.kpn import KPN
from denoise_cli.nets.mallenet import MalleNet
from denoise_cli.nets.mallenet_video import MalleNetVideo, check_clip
from denoise_cli.nets.malleunet import MalleUNet
from denoise_cli.nets.mosaic_unet import MosaicUNet
from denoise_cli.nets.residual import NoisePredictor, check_inputs
from denoise_cli.ops import motion
from denoise_cli.ops.steady import average_over_frames

if TYPE_CHECKING:
    import openvino

Compilable = MalleNet | MalleUNet | MosaicUNet | DeformableKernelNet | KPN

COLOURS = 3
TRACED_MULTIPLES = 2  # side of the traced image, in units of the network's `multiple`; other sizes work, too


def compile_for_cpu(net: nn.Module, precision: torch.dtype) -> nn.Module:
    """Compile a network. Networks that are not supported are returned unchanged.

    Args:
        net: with its weights, on the CPU; it may be changed and cannot be trained afterwards.
        precision: of the arithmetic, float32 or bfloat16.
    """
    if isinstance(net, MalleNet | MalleUNet | MosaicUNet):
        return CompiledNet(net, precision)
    if isinstance(net, MalleNetVideo):
        return CompiledVideo(net, precision)
    if isinstance(net, DeformableKernelNet | KPN) and net.frames == 1:
        return CompiledKernels(net, precision)
    return net


class CompiledNet(NoisePredictor):
    """A compiled MalleNet, MalleUNet or MosaicUNet. It cannot be trained.

    Args:
        net: with its weights.
        precision: of the arithmetic, float32 or bfloat16.
    """

    def __init__(self, net: MalleNet | MalleUNet | MosaicUNet, precision: torch.dtype) -> None:
        super().__init__()
        self.multiple, self.channels, self.levels = net.multiple, net.channels, net.levels
        self._infer = _Inference(net, _PredictNoise(net), net.config.channels, net.levels, precision)

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `NoisePredictor`."""
        check_inputs(image, sigma, self.multiple, self.channels, self.levels)
        return image - self._infer(image, sigma.expand(-1, self.levels, -1, -1))

    def noise(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `NoisePredictor`."""
        return self._infer(image, sigma).clone()


class CompiledKernels(nn.Module):
    """A compiled network that predicts kernels for photos. It cannot be trained.

    Args:
        net: with its weights.
        precision: of the arithmetic, float32 or bfloat16.
    """

    def __init__(self, net: DeformableKernelNet | KPN, precision: torch.dtype) -> None:
        super().__init__()
        self.multiple = net.multiple
        self._infer = _Inference(net, net, COLOURS, 1, precision)

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """See `KernelPredictor`."""
        check_inputs(image, sigma, self.multiple)
        return self._infer(image, sigma).clone()


class CompiledVideo(nn.Module):
    """A compiled network for clips. It cannot be trained.

    Args:
        net: with its weights.
        precision: of the arithmetic, float32 or bfloat16.
    """

    def __init__(self, net: MalleNetVideo, precision: torch.dtype) -> None:
        super().__init__()
        self.multiple = net.multiple
        self._infer = VideoInference(lambda: _parts_of(net), net.config, _checksum_of(net), name_of_dtype(precision))

    def forward(self, clip: Tensor, sigma: Tensor) -> Tensor:
        """See `MalleNetVideo`."""
        check_clip(clip, sigma, self.multiple)
        frames = clip.numpy().reshape(clip.shape[0], -1, COLOURS, *clip.shape[2:]).swapaxes(0, 1)
        return torch.from_numpy(self._infer(list(frames), sigma.numpy()))


class _PredictNoise(nn.Module):
    def __init__(self, net: NoisePredictor) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        return self.net.noise(image, sigma)


class _Merge(nn.Module):
    def __init__(self, net: MalleNetVideo) -> None:
        super().__init__()
        self.net = net

    def forward(self, frame: Tensor, others: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        merged, level = self.net.merge(frame, others, sigma)
        return merged, level + 0 * sigma  # which has to stay an input, also where it is without effect


class _Average(nn.Module):
    def forward(self, frame: Tensor, noisy: Tensor, others: Tensor, tolerance: Tensor) -> Tensor:
        return average_over_frames(frame, noisy, others, tolerance)


class _Inference:
    """Runs a compiled module on tensors; each result is overwritten by the next.

    Args:
        net: identifies the module in the cache by its weights and configuration.
        module: what is compiled: the network, or a module that calls it.
        channels: of its image.
        levels: channels of its level map.
        precision: of the arithmetic.
    """

    def __init__(self, net: Compilable, module: nn.Module, channels: int, levels: int, precision: torch.dtype) -> None:
        self._infer = Inference(
            partial(
                compile_cached,
                lambda: convert(module, channels, net.multiple, levels),
                net.config,
                _checksum_of(net),
                name_of_dtype(precision),
            )
        )

    def __call__(self, image: Tensor, sigma: Tensor) -> Tensor:
        (output,) = self._infer(*(tensor.float().contiguous().numpy() for tensor in (image, sigma)))
        return torch.from_numpy(output)


def _checksum_of(net: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def convert_mallenet(model: str) -> "openvino.Model":
    """The noise that a model's network predicts, as an OpenVINO model; arguments and errors as in `load_net`."""
    net = cast("MalleNet | MalleUNet | MosaicUNet", load_net(model).eval())
    return convert(_PredictNoise(net), net.config.channels, net.multiple, net.levels)


def convert_video(model: str) -> VideoParts:
    """A model's network for clips as OpenVINO models; arguments and errors as in `load_net`."""
    return _parts_of(cast("MalleNetVideo", load_net(model).eval()))


def convert_average() -> "openvino.Model":
    """`average_over_frames` for a single frame, as an OpenVINO model."""
    frame, _ = example_of(COLOURS, motion.MULTIPLE)
    return _converted(_Average(), (frame, frame, torch.cat([frame, frame]), torch.ones(1)))


def convert(net: nn.Module, channels: int, multiple: int, levels: int = 1) -> "openvino.Model":
    """Convert a network to an OpenVINO model that takes any number of pictures of any size.

    Args:
        net: takes (B, channels, H, W) and (B, levels, H, W), H and W multiples of `multiple`; with its weights, on the
            CPU.
        channels: of the image.
        multiple: what the sides of the image must be multiples of.
        levels: channels of the level map.
    """
    return _converted(net, example_of(channels, multiple, levels))


def _parts_of(net: MalleNetVideo) -> VideoParts:
    frame, sigma = example_of(COLOURS, net.multiple)
    merge = _converted(_Merge(net), (frame, torch.cat([frame, frame]), sigma))
    return merge, convert(_PredictNoise(net.finish), 2 * COLOURS, net.multiple)


def _converted(net: nn.Module, example: tuple[Tensor, ...]) -> "openvino.Model":
    ov, _ = openvino_core()
    any_sizes = [(ov.PartialShape([-1] * tensor.ndim), ov.Type.f32) for tensor in example]
    with tracing():
        # Frozen, it has a third of the nodes, and is converted in half of the time.
        traced = torch.jit.freeze(torch.jit.trace(net.eval(), example, check_trace=False))  # type: ignore[no-untyped-call]
        return ov.convert_model(traced, input=any_sizes)


def example_of(channels: int, multiple: int, levels: int = 1) -> tuple[Tensor, Tensor]:
    """Inputs for tracing a network: an image and its level map."""
    side = TRACED_MULTIPLES * multiple
    return torch.zeros(1, channels, side, side), torch.zeros(1, levels, side, side)


@contextmanager
def tracing() -> Iterator[None]:
    """Without gradients, without autocast, and without the warnings that checks of shapes are not traced."""
    with warnings.catch_warnings(), torch.no_grad(), torch.autocast("cpu", enabled=False):
        warnings.simplefilter("ignore")
        yield
