"""The engine for photos, RAW and clips on a CPU: networks compiled by OpenVINO, on NumPy's arrays, without PyTorch.

Legend: B batch, C channels, H x W tile.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from denoise_cli.inference.device import Arithmetic
from denoise_cli.inference.openvino_net import Inference, InferenceByShape, VideoInference, VideoParts, compile_cached
from denoise_cli.inference.tiles import Arrays, Picture
from denoise_cli.models.registry import ModelSpec, verified_checksum
from denoise_cli.nets.configs import MALLENET_MULTIPLE, MalleNetConfig, MalleNetVideoConfig, MalleUNetConfig

if TYPE_CHECKING:
    import openvino

Array = NDArray[np.float32]


def runs_without_pytorch(spec: ModelSpec) -> bool:
    """Whether `OpenVINOEngine` can run a model: a MalleNet that needs no conversion to linear light."""
    return isinstance(spec.config, MalleNetConfig | MalleUNetConfig | MalleNetVideoConfig) and spec.space != "linear"


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
        self._levels = spec.levels
        checksum = verified_checksum(model)
        self._network: PhotoInference | VideoInference
        if isinstance(spec.config, MalleNetVideoConfig):
            self._network = VideoInference(lambda: _convert_video(model), spec.config, checksum, precision)
        else:
            compiled = compile_cached(lambda: _convert_photo(model), spec.config, checksum, precision)
            self._network = PhotoInference(Inference(compiled))
        self._average = InferenceByShape(_convert_average, "average over frames", "", "float32")

    def release_memory(self) -> None:
        """See `denoiser.Engine`."""
        self._network.release_memory()
        self._average.release_memory()

    def __call__(self, frames: Sequence[Picture], level: Picture) -> Picture:
        """See `denoiser.Engine`."""
        B, _, H, W = frames[0].shape
        return self._network(frames, np.broadcast_to(level, (B, self._levels, H, W)))

    def average(self, frame: Picture, noisy: Picture, others: Sequence[Picture], tolerance: float) -> Picture:
        """See `denoiser.Engine`."""
        tolerated, averages = np.array([tolerance], np.float32), []
        for i in range(len(frame)):
            one, before, *neighbours = (np.ascontiguousarray(picture[i : i + 1]) for picture in (frame, noisy, *others))
            (average,) = self._average(one, before, np.concatenate(neighbours), tolerated)
            averages.append(average.copy())
        return np.concatenate(averages)


class PhotoInference:
    """Runs a compiled MalleNet on arrays."""

    def __init__(self, infer: Inference) -> None:
        self._infer = infer

    def release_memory(self) -> None:
        """See `Inference`."""
        self._infer.release_memory()

    def __call__(self, frames: Sequence[Array], level: Array) -> Array:
        """The single frame, (B, C, H, W), denoised, with its level, (B, L, H, W)."""
        (image,) = (np.ascontiguousarray(frame) for frame in frames)
        (noise,) = self._infer(image, np.ascontiguousarray(level))
        return image - noise


def _convert_photo(model: str) -> "openvino.Model":
    from denoise_cli.inference.openvino_conversion import convert_mallenet

    return convert_mallenet(model)


def _convert_video(model: str) -> VideoParts:
    from denoise_cli.inference.openvino_conversion import convert_video

    return convert_video(model)


def _convert_average() -> "openvino.Model":
    from denoise_cli.inference.openvino_conversion import convert_average

    return convert_average()
