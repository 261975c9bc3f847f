"""`Denoiser`: runs a network on pictures of any size, on any device.

For each picture it estimates the noise level unless that is given, pads the sides by reflection to a multiple that the
network accepts, cuts overlapping tiles, has an engine run the network on each, blends the results, and removes the
padding. An engine works on NumPy's arrays or on PyTorch's tensors, which is only imported for the latter.

Legend: B batch, C channels, H x W picture.
"""

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeGuard, overload

import numpy as np
from numpy.typing import NDArray

from denoise_cli.errors import DamagedWeights, OutOfMemory
from denoise_cli.imaging import tiling
from denoise_cli.imaging.dither import dithered
from denoise_cli.imaging.noise import ShotRead, root_mean_square
from denoise_cli.imaging.pixels import Pixels, from_float
from denoise_cli.imaging.strength import Strength
from denoise_cli.inference import openvino_net
from denoise_cli.inference.device import (
    Arithmetic,
    Precision,
    choose_device,
    choose_precision,
    is_gpu,
    is_out_of_memory,
)
from denoise_cli.inference.levels import Levels
from denoise_cli.inference.openvino_engine import OpenVINOEngine, runs_without_pytorch
from denoise_cli.inference.tiles import (
    OVERLAP,
    OVERLAP_OF_MOSAICS,
    OVERLAP_OF_TOLD,
    SMALLEST_TILE,
    Picture,
    Pictures,
    Progress,
    Receiver,
    into,
    process_each,
)
from denoise_cli.models.registry import DEFAULT_IMAGE_MODEL, ModelSpec, find_model
from denoise_cli.nets.configs import MOTION_MULTIPLE, MalleNetConfig, MalleUNetConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Array = NDArray[np.float32]

DEFAULT_TILE = 832  # pixels; larger tiles compute less twice, but take more memory: 1024 takes 180 MB more
MOSAIC_TILES = {"mosaic": 512, "xtrans": 384}  # pixels of a plane; networks for mosaics are wider
GPU_TILE = 2048  # pixels; a GPU has memory for larger ones
RGB_CHANNELS = 3
# How much the residual noise differs between denoised frames, as a share of the noise that was removed. Chosen on
# clips, for frames that were denoised with their neighbours and for frames that were denoised one by one.
FRAME_DIFFERENCE = 0.15
FRAME_DIFFERENCE_ALONE = 0.4


class Engine(Protocol):
    """Runs a network on tiles."""

    @property
    def pictures(self) -> Pictures:
        """The kind of pictures that it takes, and its device."""

    @property
    def multiple(self) -> int:
        """What the sides of a tile must be multiples of."""

    @property
    def precision(self) -> Arithmetic:
        """The data type of the convolutions."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should hear about how it computes."""

    def release_memory(self) -> None:
        """Free what is only kept to be used again by the next tile."""

    def __call__(self, frames: Sequence[Picture], level: Picture) -> Picture:
        """Denoise the first of the frames.

        Args:
            frames: each (B, C, H, W), with the network's number of channels, encoded as the picture is.
            level: (B or 1, 1 or C, H, W), in the network's own space.

        Returns:
            (B, C, H, W), float32, not clipped, on the frames' device.
        """

    def average(self, frame: Picture, noisy: Picture, others: Sequence[Picture], tolerance: float) -> Picture:
        """Average a denoised frame with its neighbours along the motion, see `ops.steady.average_over_frames`.

        Args:
            frame: (B, C, H, W).
            noisy: the same before denoising.
            others: the denoised neighbours, at least one, each (B, C, H, W).
            tolerance: how much the same thing differs between frames, in units of the removed noise's deviation.

        Returns:
            (B, C, H, W), float32, on the frame's device.
        """


class Denoiser:
    """Removes noise from pictures; create one with `load_denoiser`.

    Args:
        engine: runs the network.
        spec: what the network was trained for.
        tile: maximum side of a tile in pixels, at least 256; rounded down to a multiple that the network accepts.
        in_float32: loads an engine that computes in float32, for when values overflow in 16 bits; None if `engine`
            does so already.

    Raises:
        ValueError: the tile is too small.
    """

    def __init__(
        self,
        engine: Engine,
        spec: ModelSpec,
        tile: int = DEFAULT_TILE,
        in_float32: Callable[[], Engine] | None = None,
    ) -> None:
        if tile < SMALLEST_TILE:
            raise ValueError(f"tile: expected at least {SMALLEST_TILE}, got {tile}")
        self.device = engine.pictures.device
        self.precision = engine.precision
        self.tile = tile // engine.multiple * engine.multiple
        self.is_blind = spec.is_blind
        self.takes_neighbours = spec.window > 1
        self.is_for_raw, self.is_for_mosaics = spec.is_for_raw, spec.is_for_mosaics
        self._spec = spec
        self._engine = engine
        self._in_float32 = in_float32
        self._pictures = engine.pictures
        self._overlap = _overlap_of(spec)

    @overload
    def __call__(
        self,
        image: Array,
        sigma: float | Array | ShotRead | None = ...,
        strength: float | Strength = ...,
        progress: Progress | None = ...,
        neighbours: Sequence[Array] = ...,
    ) -> Array: ...

    @overload
    def __call__(
        self,
        image: "Tensor",
        sigma: "float | Tensor | ShotRead | None" = ...,
        strength: float | Strength = ...,
        progress: Progress | None = ...,
        neighbours: "Sequence[Tensor]" = ...,
    ) -> "Tensor": ...

    def __call__(
        self,
        image: "Array | Tensor",
        sigma: "float | Array | Tensor | ShotRead | None" = None,
        strength: float | Strength = 1.0,
        progress: Progress | None = None,
        neighbours: "Sequence[Array] | Sequence[Tensor]" = (),
    ) -> "Array | Tensor":
        """Denoise an image, or a batch of images.

        Args:
            image: NumPy (H, W) or (H, W, C), or torch (B, C, H, W), with C = 1 or 3; float, nominally [0, 1],
                sRGB-encoded. Values outside [0, 1] are kept. For a model for mosaics C is 4: the planes after
                `imaging.anscombe.AnscombeTransform.forward`, with that object's level as sigma.
            sigma: the noise's standard deviation in the image's unit, as a number, as a number for each channel, (C,),
                or as a map of shape (H, W) or (B, 1, H, W); or a sensor's shot and read noise; or None to estimate it.
                A blind network ignores it; one that takes one level for all channels is given the root mean square of
                theirs. The number 0 returns the image unchanged.
            strength: 0 to 1, the share of the noise that is removed; 0 returns the image unchanged. Or these shares for
                lightness and colour, and that of fine detail which returns, for C = 1 or 3.
            progress: called with the fraction done, [0, 1].
            neighbours: other frames of the same clip, each like the image; only for a network that takes them.

        Returns:
            The same type and shape, float32, not clipped.

        Raises:
            ValueError: a shape is wrong, sigma is negative, or strength is not from 0 to 1, or not for the channels.
            OutOfMemory: even the smallest tile does not fit in memory.
            DamagedWeights: the result is not finite, even when computed in float32.
        """
        if _is_tensor(image):
            frames = [self._pictures.from_tensor(picture) for picture in (image, *neighbours)]
            level = self._as_level(sigma, frames[0].shape)
            return self._pictures.to_tensor(self._batch(frames, level, strength, progress), image)
        pixels = np.asarray(image, np.float32)
        if pixels.ndim not in (2, 3):
            raise ValueError(f"image: expected (H, W) or (H, W, C), got {pixels.shape}")
        frames = [self._pictures.from_array(as_batch(picture)) for picture in (pixels, *neighbours)]
        level = self._as_level(sigma, frames[0].shape)
        clean = self._pictures.to_array(self._batch(frames, level, strength, progress))
        return clean[0].transpose(1, 2, 0).reshape(pixels.shape)

    def denoise_stored(
        self,
        pixels: Pixels,
        white: float,
        sigma: float | Array | ShotRead | None = None,
        strength: float | Strength = 1.0,
        progress: Progress | None = None,
        dither: bool = False,
    ) -> Pixels:
        """Denoise a photo's pixels as its file stores them.

        The same as to divide them by `white`, to denoise the result and to multiply it by `white`, but only a tile at
        a time is in floating point.

        Args:
            pixels: (H, W, C), C = 1 or 3: uint8, uint16 or float32.
            white: the value of white.
            sigma: see `__call__`; in the unit in which white is 1.
            strength: see `__call__`.
            progress: see `__call__`.
            dither: whether uint8 is rounded with noise, see `imaging.dither`; other types never are.

        Returns:
            The same type and shape; integers are rounded and clipped.

        Raises:
            ValueError: a shape is wrong, sigma is negative, or strength is not from 0 to 1, or not for the channels.
            OutOfMemory: even the smallest tile does not fit in memory.
            DamagedWeights: see `__call__`.
        """
        strength = _as_strength(strength)
        frames = self._checked([self._pictures.from_array(pixels.transpose(2, 0, 1)[None])], strength)
        level = self._as_level(sigma, frames[0].shape)
        if strength.removes_nothing(pixels.shape[2]) or (isinstance(level, float) and level == 0):
            return pixels
        clean = np.empty_like(pixels)

        def receive(rows: slice, columns: slice, values: Picture) -> None:
            tile = self._pictures.to_array(values)[0].transpose(1, 2, 0)
            if dither and pixels.dtype == np.uint8:
                clean[rows, columns] = dithered(tile, pixels[rows, columns], rows.start, columns.start)
            else:
                clean[rows, columns] = from_float(tile, pixels.dtype, white)

        self._process(frames, level, strength, white, progress, receive)
        return clean

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should hear about how it computes, such as that OpenVINO cannot; known after the first run."""
        return self._engine.notes

    def release_memory(self) -> None:
        """Free what the network keeps between tiles, until the next picture."""
        self._engine.release_memory()

    @overload
    def steady(self, image: Array, noisy: Array, neighbours: Sequence[Array]) -> Array: ...

    @overload
    def steady(self, image: "Tensor", noisy: "Tensor", neighbours: "Sequence[Tensor]") -> "Tensor": ...

    def steady(
        self, image: "Array | Tensor", noisy: "Array | Tensor", neighbours: "Sequence[Array] | Sequence[Tensor]"
    ) -> "Array | Tensor":
        """Reduce flicker in a denoised frame of a clip, by averaging it with its neighbours along the motion.

        Args:
            image: the frame as `__call__` returned it, (H, W), (H, W, C) or (B, C, H, W).
            noisy: the same frame before denoising.
            neighbours: the frames before and after it, denoised as well; none returns the frame unchanged.

        Returns:
            The same type and shape, float32.

        Raises:
            ValueError: the shapes differ.
            OutOfMemory: even the smallest tile does not fit in memory.
        """
        given = (image, noisy, *neighbours)
        if any(picture.shape != image.shape for picture in given):
            raise ValueError(f"noisy, neighbours: expected {tuple(image.shape)} each")
        if _is_tensor(image):
            frames = [self._pictures.from_tensor(picture) for picture in given]
            return self._pictures.to_tensor(self._steady(frames), image)
        frames = [self._pictures.from_array(as_batch(picture)) for picture in given]
        return self._pictures.to_array(self._steady(frames))[0].transpose(1, 2, 0).reshape(image.shape)

    def _steady(self, frames: Sequence[Picture]) -> Picture:
        if len(frames) == 2:  # without neighbours
            return self._pictures.copy(frames[0])
        tolerance = FRAME_DIFFERENCE if self.takes_neighbours else FRAME_DIFFERENCE_ALONE

        def steady_tile(frames: Sequence[Picture], rows: tiling.Span, columns: tiling.Span) -> Picture:
            frame, noisy, *others = (self._pictures.crop(frame, rows, columns) for frame in frames)
            return self._engine.average(frame, noisy, others, tolerance)

        whole = self._pictures.full(frames[0].shape, 0.0, frames[0])
        self.tile = process_each(frames, steady_tile, self._pictures, self.tile, MOTION_MULTIPLE, into(whole))
        return whole

    def _as_level(
        self, sigma: "float | Array | Tensor | ShotRead | None", shape: tuple[int, ...]
    ) -> float | Picture | ShotRead | None:
        """Check a noise level; a map becomes (B or 1, 1, H, W), and the levels of C channels (1, C, 1, 1)."""
        if sigma is None or isinstance(sigma, ShotRead):
            return sigma
        if _is_tensor(sigma):
            level = self._pictures.from_tensor(sigma)
        elif isinstance(sigma, np.ndarray) and sigma.shape == (shape[1],):
            if not (np.isfinite(sigma) & (sigma >= 0)).all():
                raise ValueError(f"sigma: expected 0 or more for each channel, got {sigma}")
            if self._spec.levels == 1:
                return root_mean_square(sigma)
            return self._pictures.from_array(sigma.astype(np.float32).reshape(1, -1, 1, 1))
        elif isinstance(sigma, np.ndarray) and sigma.ndim:
            level = self._pictures.from_array(np.asarray(sigma, np.float32)[None, None])
        else:
            if not 0 <= float(sigma) < math.inf:
                raise ValueError(f"sigma: expected 0 or more, got {sigma}")
            return float(sigma)
        B, _, H, W = shape
        if level.shape not in ((B, 1, H, W), (1, 1, H, W)):
            raise ValueError(f"sigma: expected a number or a map of {H} x {W}, got {tuple(level.shape)}")
        if (level < 0).any():
            raise ValueError("sigma: expected 0 or more, got a map with negative values")
        return level

    def _batch(
        self,
        frames: Sequence[Picture],
        sigma: float | Picture | ShotRead | None,
        strength: float | Strength,
        progress: Progress | None,
    ) -> Picture:
        strength = _as_strength(strength)
        frames = self._checked(frames, strength)
        image = frames[0]
        if strength.removes_nothing(image.shape[1]) or (isinstance(sigma, float) and sigma == 0):
            return self._pictures.copy(image)
        clean = self._pictures.full(image.shape, 0.0, image)
        self._process(frames, sigma, strength, 1.0, progress, into(clean))
        return clean

    def _checked(self, frames: Sequence[Picture], strength: Strength) -> Sequence[Picture]:
        """Check shapes, also against the strength; as many frames as the network takes."""
        image, *neighbours = frames
        C = self._spec.channels
        accepted = (1, C) if C == RGB_CHANNELS else (C,)
        if image.ndim != 4 or image.shape[1] not in accepted or 0 in image.shape:
            expected = " or ".join(map(str, accepted))
            raise ValueError(f"image: expected (B, C, H, W) with C = {expected}, got {tuple(image.shape)}")
        if any(neighbour.shape != image.shape for neighbour in neighbours):
            raise ValueError(f"neighbours: expected {tuple(image.shape)} each")
        if neighbours and not self.takes_neighbours:
            raise ValueError("neighbours: expected none, this network takes single photos")
        if C != RGB_CHANNELS and not strength.is_even:
            raise ValueError("strength: lightness, colour and detail are those of photos, not of mosaics")
        if self._spec.any_window:
            return frames
        # In a clip that is too short, the frame itself replaces missing neighbours.
        return [*frames, *[image] * self._spec.window][: self._spec.window]

    def _process(
        self,
        frames: Sequence[Picture],
        sigma: float | Picture | ShotRead | None,
        strength: Strength,
        white: float,
        progress: Progress | None,
        receive: Receiver,
    ) -> None:
        """Denoise the first frame, and hand over the part of each tile that is finished, as shares of white."""

        def receive_blended(rows: slice, columns: slice, values: Picture) -> None:
            noisy = self._pictures.scaled(frames[0][:, :, rows, columns], white)
            receive(rows, columns, strength.blend(self._pictures.copy(noisy), values))

        levels = Levels(self._pictures, self._spec, frames[0], sigma, white)
        function = partial(self._denoise_tile, levels, strength, white)
        # A size for which there was no memory would fail for the next picture, too.
        self.tile = process_each(
            frames,
            function,
            self._pictures,
            self.tile,
            self._engine.multiple,
            receive_blended if min(strength.luma, strength.chroma) < 1 else receive,
            progress,
            self._overlap,
        )

    def _denoise_tile(
        self,
        levels: Levels,
        strength: Strength,
        white: float,
        frames: Sequence[Picture],
        rows: tiling.Span,
        columns: tiling.Span,
    ) -> Picture:
        """Denoise one tile: (B, C, rows, columns), on the frames' device, as shares of white."""
        crops = [self._pictures.scaled(self._pictures.crop(frame, rows, columns), white) for frame in frames]
        level = levels.of_tile(rows, columns)
        is_grey = frames[0].shape[1] == 1
        if is_grey:
            # Three equal channels have sqrt(3) times the luminance noise of three independent ones.
            crops, level = [crop[:, [0, 0, 0]] for crop in crops], level * 3**0.5
        clean = self._run(crops, level.clip(0, self._spec.sigma_max))
        if is_grey:
            clean = clean.mean(1)[:, None]
        if strength.detail > 0:
            noisy = self._pictures.copy(crops[0][:, : clean.shape[1]])
            clean = strength.with_detail(noisy, clean)
        return clean

    def _run(self, frames: Sequence[Picture], level: Picture) -> Picture:
        """What the engine makes of one tile; from the first overflow on, another engine computes in float32."""
        clean = self._engine(frames, level)
        if not _is_finite(clean) and self._in_float32 is not None:
            self._engine, self._in_float32 = self._in_float32(), None
            self.precision = self._engine.precision
            clean = self._engine(frames, level)
        if not _is_finite(clean):
            raise DamagedWeights("the network's result is not finite, so its weights are damaged: use another model")
        return clean


def _is_finite(picture: Picture) -> bool:
    return math.isfinite(float(picture.sum()))  # several times as fast as to look at each value


def as_batch(picture: Array) -> Array:
    """(H, W) or (H, W, C) to (1, C, H, W)."""
    return np.atleast_3d(np.asarray(picture, np.float32)).transpose(2, 0, 1)[None]


def _as_strength(strength: float | Strength) -> Strength:
    return strength if isinstance(strength, Strength) else Strength(strength, strength)


def _is_tensor(value: object) -> "TypeGuard[Tensor]":
    """Whether a value is a tensor; only a program that has imported PyTorch can have one."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def denoiser_of(
    net: "nn.Module", spec: ModelSpec, device: "torch.device", precision: "torch.dtype", tile: int = DEFAULT_TILE
) -> Denoiser:
    """A denoiser with a network of PyTorch's.

    Args:
        net: with its weights, see `pytorch_net.PyTorchEngine`.
        spec: what it was trained for.
        device: the device to run on.
        precision: the data type of the convolutions.
        tile: see `Denoiser`.

    Raises:
        ValueError: the tile is too small.
    """
    from denoise_cli.inference.pytorch_net import PyTorchEngine

    return Denoiser(PyTorchEngine(net, spec, device, precision), spec, tile)


def load_denoiser(
    model: str = DEFAULT_IMAGE_MODEL,
    device: str = "auto",
    precision: Precision = "auto",
    tile: int | None = None,
) -> Denoiser:
    """A denoiser with the trained weights of a model, ready to be called.

    Args:
        model: a name from the registry, or the path of a weight file written by `denoise train`.
        device: "auto" (a GPU if there is one, else the CPU), "cpu", "cuda" or "cuda:1".
        precision: "fp32", "bf16", "fp16", or "auto" for 16 bits if the device computes in them natively.
        tile: maximum side of a tile in pixels, at least 256, rounded down to a multiple that the network accepts;
            smaller tiles need less memory. By default 2048 on a GPU, and 832 on a CPU (512 of a Bayer mosaic's planes,
            384 of an X-Trans mosaic's).

    Raises:
        ValueError: the tile is too small.
        UnknownModel: there is no such model, or it has no weights.
        DamagedWeights: the weight file is missing or does not match its checksum.
        UsageError: there is no device of such a name.
        DeviceUnavailable: this machine has no such device or precision.
        OutOfMemory: the model does not fit in memory.

    Example:
        >>> import numpy as np
        >>> from denoise_cli import load_denoiser
        >>> image = np.random.default_rng(0).normal(0.5, 25 / 255, (64, 96, 3)).astype(np.float32)
        >>> clean = load_denoiser("mallenet-s", device="cpu", precision="fp32")(image, sigma=25 / 255)
        >>> clean.shape
        (64, 96, 3)
        >>> bool(clean.std() < image.std() / 5)
        True
    """
    spec = find_model(model)
    chosen = choose_device(device)
    arithmetic = choose_precision(chosen, precision)

    def load(arithmetic: Arithmetic) -> Engine:
        try:
            return load_as(arithmetic)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(f"out of memory on {chosen}: there is no room for the model {model}") from error

    def load_as(arithmetic: Arithmetic) -> Engine:
        if not is_gpu(chosen) and openvino_net.is_available() and runs_without_pytorch(spec):
            return OpenVINOEngine(model, spec, arithmetic)
        from denoise_cli.inference.pytorch_net import load_engine

        return load_engine(model, spec, chosen, arithmetic)

    in_float32 = None if arithmetic == "float32" else partial(load, "float32")
    return Denoiser(load(arithmetic), spec, tile or _default_tile(spec, chosen), in_float32)


def _overlap_of(spec: ModelSpec) -> int:
    """How many pixels two tiles share: a network that judges the noise for itself looks further around."""
    if spec.is_for_mosaics:
        return OVERLAP_OF_MOSAICS
    is_told = isinstance(spec.config, MalleNetConfig | MalleUNetConfig) and not spec.is_blind
    return OVERLAP_OF_TOLD if is_told else OVERLAP


def _default_tile(spec: ModelSpec, device: str) -> int:
    if is_gpu(device):
        return GPU_TILE
    return MOSAIC_TILES.get(spec.space, DEFAULT_TILE)
