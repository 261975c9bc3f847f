"""Networks run by PyTorch, on a CPU or a GPU, or by OpenVINO or CUDA graphs as parts of a PyTorch network.

Legend: B batch, C channels, H x W image.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from denoise_cli.errors import CannotCompile
from denoise_cli.imaging.torch_transfer import linear_to_srgb, srgb_to_linear
from denoise_cli.inference import cuda_graph, openvino_conversion, openvino_net
from denoise_cli.inference.device import Arithmetic
from denoise_cli.inference.tensors import Tensors
from denoise_cli.inference.torch_device import dtype_of, name_of_dtype
from denoise_cli.models.registry import ModelSpec, load_net, multiple_of
from denoise_cli.ops.steady import average_over_frames


class PyTorchEngine:
    """Runs a PyTorch network on tiles that are tensors: a `denoiser.Engine`.

    Args:
        net: maps (B, C * T, H, W) and a level map (B, 1, H, W) to (B, C, H, W): C is 3, or 4 or 9 for the planes of a
            mosaic, T the number of frames, and H and W are multiples of `registry.multiple_of(net)`.
        spec: what the network was trained for.
        device: the device to run on.
        precision: the data type of the convolutions.
        notes: see `denoiser.Engine`.
        in_pytorch: returns the network as it is before OpenVINO compiles it, if it does: it runs where OpenVINO does
            not.
    """

    def __init__(
        self,
        net: nn.Module,
        spec: ModelSpec,
        device: torch.device,
        precision: torch.dtype,
        notes: tuple[str, ...] = (),
        in_pytorch: Callable[[], nn.Module] | None = None,
    ) -> None:
        self.notes = notes
        self.pictures = Tensors(device)
        self.multiple = multiple_of(net)
        self.precision = name_of_dtype(precision)
        self._is_linear = spec.space == "linear"
        self._device = device
        self._dtype = precision
        self._in_pytorch = in_pytorch
        self._net = prepare_in_pytorch(net, device)

    def release_memory(self) -> None:
        """See `denoiser.Engine`: PyTorch frees the outputs of layers by itself."""

    @torch.no_grad()
    def __call__(self, frames: Sequence[Tensor], level: Tensor) -> Tensor:
        """See `denoiser.Engine`."""
        inputs = torch.cat(list(frames), dim=1).to(self._device, torch.float32)
        level = level.to(self._device, torch.float32).expand(len(inputs), -1, -1, -1).contiguous()
        if self._is_linear:
            inputs = srgb_to_linear(inputs)
        try:
            clean = self._run(inputs, level)
        except CannotCompile as error:
            if self._in_pytorch is None:
                raise
            self.notes += (openvino_net.note_on_fallback(error),)
            self._net, self._in_pytorch = prepare_in_pytorch(self._in_pytorch(), self._device), None
            clean = self._run(inputs, level)
        if self._is_linear:
            clean = linear_to_srgb(clean)
        return clean.to(frames[0].device)

    def _run(self, inputs: Tensor, level: Tensor) -> Tensor:
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            return self._net(inputs, level).float()

    @torch.no_grad()
    def average(self, frame: Tensor, noisy: Tensor, others: Sequence[Tensor], tolerance: float) -> Tensor:
        """See `denoiser.Engine`."""
        one, before, neighbours = (
            picture.to(self._device, torch.float32) for picture in (frame, noisy, torch.cat(list(others)))
        )
        return average_over_frames(one, before, neighbours, tolerance).to(frame.device)


def load_engine(
    model: str, spec: ModelSpec, device: str, precision: Arithmetic, compiles: bool = True
) -> PyTorchEngine:
    """The engine for a model with its trained weights; errors as in `registry.load_net`.

    Args:
        model: a name from the registry, or the path of a weight file.
        spec: its specification.
        device: the device to run on.
        precision: the data type of the convolutions.
        compiles: whether the network runs in OpenVINO or CUDA graphs if it can.
    """
    torch_device, dtype = torch.device(device), dtype_of(precision)
    if compiles:
        try:
            net = prepare(load_net(model), torch_device, dtype)
            return PyTorchEngine(net, spec, torch_device, dtype, in_pytorch=partial(load_net, model))
        except CannotCompile as error:
            notes: tuple[str, ...] = (openvino_net.note_on_fallback(error),)
    else:
        notes = ()
    return PyTorchEngine(load_net(model), spec, torch_device, dtype, notes)


def prepare(net: nn.Module, device: torch.device, precision: torch.dtype) -> nn.Module:
    """The network in the fastest engine for a device: OpenVINO, CUDA graphs or PyTorch; it can no longer be trained.

    Raises:
        CannotCompile: OpenVINO cannot compile it on this machine.
    """
    if device.type == "cpu" and openvino_net.is_available():
        return openvino_conversion.compile_for_cpu(net.eval(), precision)
    if device.type == "cuda":
        return cuda_graph.use_graphs(prepare_in_pytorch(net, device), device, precision)
    return prepare_in_pytorch(net, device)


def prepare_in_pytorch(net: nn.Module, device: torch.device) -> nn.Module:
    """The network on a device, in the memory layout in which PyTorch runs it fastest, and in evaluation mode."""
    return net.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
