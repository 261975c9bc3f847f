"""The engine for photos, RAW and clips on a CPU: networks compiled by OpenVINO, on NumPy's arrays, without PyTorch.

Legend: B batch, C channels, H x W tile.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from denoise_cli.errors import CannotCompile
from denoise_cli.inference.device import Arithmetic, is_out_of_memory
from denoise_cli.inference.openvino_net import (
    Inference,
    InferenceByShape,
    VideoInference,
    VideoParts,
    compile_cached,
    note_on_fallback,
)
from denoise_cli.inference.tiles import Arrays, Picture
from denoise_cli.models.registry import ModelSpec, verified_checksum
from denoise_cli.nets.configs import (
    MALLENET_MULTIPLE,
    MalleNetConfig,
    MalleNetVideoConfig,
    MalleUNetConfig,
    MosaicUNetConfig,
)

if TYPE_CHECKING:
    from types import ModuleType

    import openvino

Array = NDArray[np.float32]


def runs_without_pytorch(spec: ModelSpec) -> bool:
    """Whether `OpenVINOEngine` can run a model: a MalleNet that needs no conversion to linear light."""
    configs = MalleNetConfig | MalleUNetConfig | MosaicUNetConfig | MalleNetVideoConfig
    return isinstance(spec.config, configs) and spec.space != "linear"


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
        self.notes: tuple[str, ...] = ()
        self._model, self._spec = model, spec
        checksum = verified_checksum(model)
        self._network: PhotoInference | VideoInference | PyTorchInference
        if isinstance(spec.config, MalleNetVideoConfig):
            self._network = VideoInference(lambda: _convert_video(model), spec.config, checksum, precision)
        else:
            load = partial(compile_cached, lambda: _convert_photo(model), spec.config, checksum, precision)
            try:
                self._network = PhotoInference(Inference(load))
            except CannotCompile as error:
                self._network = self._in_pytorch(error)
        self._average = InferenceByShape(_convert_average, "average over frames", "", "float32")

    def release_memory(self) -> None:
        """See `denoiser.Engine`."""
        self._network.release_memory()
        self._average.release_memory()

    def __call__(self, frames: Sequence[Picture], level: Picture) -> Picture:
        """See `denoiser.Engine`."""
        B, _, H, W = frames[0].shape
        level = np.broadcast_to(level, (B, self._spec.levels, H, W))
        try:
            with self._freeing():
                return self._network(frames, level)
        except CannotCompile as error:  # for this size
            self._network = self._in_pytorch(error)
            return self._network(frames, level)

    @contextmanager
    def _freeing(self) -> Iterator[None]:
        """After a failure, free what is compiled for one size: it takes the room that a smaller size needs."""
        try:
            yield
        except (RuntimeError, MemoryError):
            self._average.drop()
            if isinstance(self._network, VideoInference):
                self._network.drop()
            raise

    def average(self, frame: Picture, noisy: Picture, others: Sequence[Picture], tolerance: float) -> Picture:
        """See `denoiser.Engine`."""
        if isinstance(self._network, PyTorchInference):
            return self._network.average(frame, noisy, others, tolerance)
        tolerated, averages = np.array([tolerance], np.float32), []
        for i in range(len(frame)):
            one, before, *neighbours = (np.ascontiguousarray(picture[i : i + 1]) for picture in (frame, noisy, *others))
            try:
                with self._freeing():
                    (average,) = self._average(one, before, np.concatenate(neighbours), tolerated)
            except CannotCompile as error:
                self._network = self._in_pytorch(error)
                return self._network.average(frame, noisy, others, tolerance)
            averages.append(average.copy())
        return np.concatenate(averages)

    def _in_pytorch(self, error: CannotCompile) -> "PyTorchInference":
        self.notes = (note_on_fallback(error),)
        return PyTorchInference(self._model, self._spec, self.precision)


class PyTorchInference:
    """Runs a model's network on arrays in PyTorch, which takes more than twice as long as OpenVINO.

    Args:
        model: a name from the registry, or the path of a weight file.
        spec: its specification.
        precision: of the arithmetic.
    """

    def __init__(self, model: str, spec: ModelSpec, precision: Arithmetic) -> None:
        from denoise_cli.inference.pytorch_net import load_engine

        self._engine = load_engine(model, spec, "cpu", precision, compiles=False)

    def release_memory(self) -> None:
        """See `Inference`."""
        self._engine.release_memory()

    def __call__(self, frames: Sequence[Array], level: Array) -> Array:
        """The first of the frames, each (B, C, H, W), denoised, with its level, (B, L, H, W)."""
        arrays = (np.require(array, requirements=["C", "W"]) for array in (*frames, level))
        *tensors, levels = map(self._engine.pictures.from_array, arrays)
        return self._engine.pictures.to_array(self._engine(tensors, levels))

    def average(self, frame: Array, noisy: Array, others: Sequence[Array], tolerance: float) -> Array:
        """See `denoiser.Engine`."""
        one, before, *neighbours = (
            self._engine.pictures.from_array(np.ascontiguousarray(picture)) for picture in (frame, noisy, *others)
        )
        return self._engine.pictures.to_array(self._engine.average(one, before, neighbours, tolerance))


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
    return _conversion().convert_mallenet(model)


def _convert_video(model: str) -> VideoParts:
    return _conversion().convert_video(model)


def _convert_average() -> "openvino.Model":
    return _conversion().convert_average()


def _conversion() -> "ModuleType":
    """The module that converts networks, which imports PyTorch.

    Raises:
        MemoryError: there is no room for PyTorch's libraries.
    """
    try:
        from denoise_cli.inference import openvino_conversion
    except (ImportError, OSError) as error:
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise
    return openvino_conversion
