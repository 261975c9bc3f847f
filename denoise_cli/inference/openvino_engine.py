"""The engine for photos and RAW on a CPU: a MalleNet compiled by OpenVINO, on NumPy's arrays, without PyTorch.

Legend: B batch, C channels, H x W tile.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from denoise_cli.inference.device import Arithmetic
from denoise_cli.inference.openvino_net import Inference, compile_cached
from denoise_cli.inference.tiles import Arrays, Picture
from denoise_cli.models.registry import ModelSpec, verified_checksum
from denoise_cli.nets.configs import MALLENET_MULTIPLE, MalleNetConfig, MalleUNetConfig

if TYPE_CHECKING:
    import openvino


def runs_without_pytorch(spec: ModelSpec) -> bool:
    """Whether `OpenVINOEngine` can run a model: a MalleNet that needs no conversion to linear light."""
    return isinstance(spec.config, MalleNetConfig | MalleUNetConfig) and spec.space != "linear"


class OpenVINOEngine:
    """Runs a model's MalleNet on tiles that are arrays: a `denoiser.Engine` that needs PyTorch only to compile it.

    Args:
        model: a name from the registry, or the path of a weight file.
        spec: its specification, which `runs_without_pytorch` accepts.
        precision: of the arithmetic, float32 or bfloat16.

    Raises:
        UnknownModel: the model has no weights.
        DamagedWeights: the weight file is missing or does not match its checksum.
    """

    multiple = MALLENET_MULTIPLE

    def __init__(self, model: str, spec: ModelSpec, precision: Arithmetic) -> None:
        self.pictures = Arrays()
        self.precision = precision

        def convert() -> "openvino.Model":
            from denoise_cli.inference.openvino_conversion import convert_mallenet

            return convert_mallenet(model)

        self._infer = Inference(compile_cached(convert, spec.config, verified_checksum(model), precision))

    def release_memory(self) -> None:
        """See `denoiser.Engine`."""
        self._infer.release_memory()

    def __call__(self, frames: Sequence[Picture], level: Picture) -> Picture:
        """See `denoiser.Engine`."""
        (image,) = frames
        B, _, H, W = image.shape
        image = np.ascontiguousarray(image)
        return image - self._infer(image, np.ascontiguousarray(np.broadcast_to(level, (B, 1, H, W))))
