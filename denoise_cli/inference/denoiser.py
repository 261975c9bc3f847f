"""`Denoiser`: runs a network on pictures of any size, on any device.

For each picture it estimates the noise level unless that is given, pads the sides by reflection to a multiple that the
network accepts, cuts overlapping tiles, runs the network on each, blends the results, and removes the padding.

Legend: B batch, C channels, H x W picture.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from denoise_cli.errors import OutOfMemory
from denoise_cli.imaging import tiling, transfer
from denoise_cli.imaging.noise import UNKNOWN_LEVEL, ShotRead, estimate_sigma
from denoise_cli.imaging.torch_transfer import linear_to_srgb, sigma_in_linear, srgb_to_linear
from denoise_cli.inference import cuda_graph, openvino_net
from denoise_cli.inference.device import Precision, choose_device, choose_precision, fits, is_out_of_memory
from denoise_cli.models.registry import DEFAULT_IMAGE_MODEL, ModelSpec, find_model, load_net, multiple_of
from denoise_cli.ops import motion
from denoise_cli.ops.steady import average_over_frames

Array = NDArray[np.float32]
Progress = Callable[[float], None]
TileFunction = Callable[[Sequence[Tensor], tiling.Span, tiling.Span], Tensor]  # (frames, rows, columns) to one tile

# Pixels that two tiles share. Measured (docs/architecture.md): the end of a tile hardly affects pixels 64 away from it.
OVERLAP = 192
DEFAULT_TILE = 1024  # pixels; the larger the tiles, the less is computed twice
GPU_TILE = 2048  # pixels; a GPU has memory for larger ones
SMALLEST_TILE = 256  # pixels
RGB_CHANNELS = 3
# How much the residual noise differs between denoised frames, as a share of the noise that was removed. Chosen on
# clips, for frames that were denoised with their neighbours and for frames that were denoised one by one.
FRAME_DIFFERENCE = 0.15
FRAME_DIFFERENCE_ALONE = 0.4


class Denoiser:
    """Removes noise from pictures; create one with `load_denoiser`.

    Args:
        net: maps (B, C * T, H, W) and a level map (B, 1, H, W) to (B, C, H, W): C is 3, or 4 for the planes of a
            mosaic, T the number of frames, and H and W are multiples of `registry.multiple_of(net)`.
        spec: what the network was trained for.
        device: the device to run on.
        precision: the data type of the convolutions.
        tile: maximum side of a tile in pixels, at least 256; rounded down to a multiple that the network accepts.

    Raises:
        ValueError: the tile is too small.
    """

    def __init__(
        self,
        net: nn.Module,
        spec: ModelSpec,
        device: torch.device,
        precision: torch.dtype,
        tile: int = DEFAULT_TILE,
    ) -> None:
        if tile < SMALLEST_TILE:
            raise ValueError(f"tile: expected at least {SMALLEST_TILE}, got {tile}")
        self.device = device
        self.precision = precision
        self._multiple = multiple_of(net)
        self.tile = tile // self._multiple * self._multiple
        self.is_blind = spec.is_blind
        self.takes_neighbours = spec.window > 1
        self.space, self.is_for_raw, self.is_for_mosaics = spec.space, spec.is_for_raw, spec.is_for_mosaics
        self._spec = spec
        self._net = prepare_in_pytorch(net, device)

    @overload
    def __call__(
        self,
        image: Array,
        sigma: float | Array | ShotRead | None = ...,
        strength: float = ...,
        progress: Progress | None = ...,
        neighbours: Sequence[Array] = ...,
    ) -> Array: ...

    @overload
    def __call__(
        self,
        image: Tensor,
        sigma: float | Tensor | ShotRead | None = ...,
        strength: float = ...,
        progress: Progress | None = ...,
        neighbours: Sequence[Tensor] = ...,
    ) -> Tensor: ...

    def __call__(
        self,
        image: Array | Tensor,
        sigma: float | Array | Tensor | ShotRead | None = None,
        strength: float = 1.0,
        progress: Progress | None = None,
        neighbours: Sequence[Array] | Sequence[Tensor] = (),
    ) -> Array | Tensor:
        """Denoise an image, or a batch of images.

        Args:
            image: NumPy (H, W) or (H, W, C), or torch (B, C, H, W), with C = 1 or 3; float, nominally [0, 1],
                sRGB-encoded. Values outside [0, 1] are kept. For a model for mosaics C is 4: the planes after
                `imaging.anscombe.AnscombeTransform.forward`, with that object's level as sigma.
            sigma: the noise's standard deviation in the image's unit, as a number or as a map of shape (H, W) or
                (B, 1, H, W); or a sensor's shot and read noise; or None to estimate it. A blind network ignores it.
                The number 0 returns the image unchanged.
            strength: a factor of sigma; for a blind network, the share of the noise that is removed. 0 returns the
                image unchanged.
            progress: called with the fraction done, [0, 1].
            neighbours: other frames of the same clip, each like the image; only for a network that takes them.

        Returns:
            The same type and shape, float32, not clipped.

        Raises:
            ValueError: a shape is wrong, or sigma or strength is negative.
            OutOfMemory: even the smallest tile does not fit in memory.
        """
        if isinstance(image, Tensor):
            frames = [image, *(torch.as_tensor(neighbour) for neighbour in neighbours)]
            return self._batch(frames, _as_level(sigma, image.shape), strength, progress)
        pixels = np.asarray(image, np.float32)
        if pixels.ndim not in (2, 3):
            raise ValueError(f"image: expected (H, W) or (H, W, C), got {pixels.shape}")
        batch = [_as_batch(picture) for picture in (pixels, *neighbours)]
        clean = self._batch(batch, _as_level(sigma, batch[0].shape), strength, progress)
        return clean[0].permute(1, 2, 0).numpy().reshape(pixels.shape)

    @overload
    def steady(self, image: Array, noisy: Array, neighbours: Sequence[Array]) -> Array: ...

    @overload
    def steady(self, image: Tensor, noisy: Tensor, neighbours: Sequence[Tensor]) -> Tensor: ...

    def steady(
        self, image: Array | Tensor, noisy: Array | Tensor, neighbours: Sequence[Array] | Sequence[Tensor]
    ) -> Array | Tensor:
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
        pictures = [image, noisy, *neighbours]
        frames = [picture if isinstance(picture, Tensor) else _as_batch(picture) for picture in pictures]
        if any(frame.shape != frames[0].shape for frame in frames):
            raise ValueError(f"noisy, neighbours: expected {tuple(frames[0].shape)} each")
        multiple = math.lcm(self._multiple, motion.MULTIPLE)  # of the network and of motion estimation
        steady = self._tiled(frames, self._steady_tile, multiple, None) if neighbours else frames[0].float()
        return steady if isinstance(image, Tensor) else steady[0].permute(1, 2, 0).numpy().reshape(image.shape)

    def _batch(
        self,
        frames: Sequence[Tensor],
        sigma: float | Tensor | ShotRead | None,
        strength: float,
        progress: Progress | None,
    ) -> Tensor:
        image, *neighbours = frames
        C = self._spec.channels
        accepted = (1, C) if C == RGB_CHANNELS else (C,)
        if image.ndim != 4 or image.shape[1] not in accepted or not image.numel():
            expected = " or ".join(map(str, accepted))
            raise ValueError(f"image: expected (B, C, H, W) with C = {expected}, got {tuple(image.shape)}")
        if any(neighbour.shape != image.shape for neighbour in neighbours):
            raise ValueError(f"neighbours: expected {tuple(image.shape)} each")
        if neighbours and not self.takes_neighbours:
            raise ValueError("neighbours: expected none, this network takes single photos")
        if not self._spec.any_window:  # in a clip that is too short, the frame itself replaces missing neighbours
            frames = [*frames, *[image] * self._spec.window][: self._spec.window]
        if strength < 0:
            raise ValueError(f"strength: expected 0 or more, got {strength}")
        if strength == 0 or (isinstance(sigma, float) and sigma == 0):
            return image.to(torch.float32, copy=True)
        if self.is_blind:
            clean = self._tiled(frames, partial(self._denoise_tile, UNKNOWN_LEVEL), self._multiple, progress)
            return torch.lerp(image.float(), clean, min(strength, 1.0))
        level = self._level_for_net(image, sigma) * strength
        return self._tiled(frames, partial(self._denoise_tile, level), self._multiple, progress)

    def _level_for_net(self, image: Tensor, sigma: float | Tensor | ShotRead | None) -> float | Tensor:
        """The noise level in the network's own space, as a number or (B, 1, H, W); estimated if sigma is None."""
        B, _, H, W = image.shape
        is_linear = self._spec.space == "linear"
        if isinstance(sigma, ShotRead):
            pictures = [one.permute(1, 2, 0).cpu().numpy() for one in image]
            maps = [
                sigma.level_of_light(transfer.srgb_to_linear(picture)) if is_linear else sigma.level_of_photo(picture)
                for picture in pictures
            ]
            return torch.from_numpy(np.stack(maps))[:, None].to(image.device)
        if sigma is None:
            levels = [estimate_sigma(one.permute(1, 2, 0).cpu().numpy()) for one in image]
            sigma = torch.tensor(levels, device=image.device).view(B, 1, 1, 1).expand(B, 1, H, W)
        if is_linear:
            return sigma_in_linear(
                image, torch.as_tensor(sigma, dtype=torch.float32).to(image.device).expand(B, 1, H, W)
            )
        return sigma

    def _tiled(
        self, frames: Sequence[Tensor], tile_function: TileFunction, multiple: int, progress: Progress | None
    ) -> Tensor:
        """Process the frames tile by tile, in smaller tiles if memory runs out; the result is on the frames' device."""
        tile, device = self.tile // multiple * multiple, frames[0].device
        while True:
            try:
                return self._run(_on_gpu(frames, self.device), tile_function, tile, multiple, progress).to(device)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if tile == SMALLEST_TILE:
                    smallest = f"even with tiles of {tile} pixels"
                    raise OutOfMemory(f"out of memory on {self.device}, {smallest}: use another device") from error
            tile = max(tile // 2 // multiple * multiple, SMALLEST_TILE)

    def _run(
        self,
        frames: Sequence[Tensor],
        tile_function: TileFunction,
        tile: int,
        multiple: int,
        progress: Progress | None,
    ) -> Tensor:
        H, W = frames[0].shape[-2:]
        clean = torch.zeros_like(frames[0], dtype=torch.float32)
        overlap = min(OVERLAP, tile // 2) // multiple * multiple
        margin = overlap // 3
        spans = list(tiling.grid(_padded(H, multiple), _padded(W, multiple), tile, overlap, multiple))
        for done, (rows, columns) in enumerate(spans, start=1):
            result = tile_function(frames, rows, columns)
            row_weights, column_weights = (
                torch.from_numpy(span.weights(margin)).to(clean.device) for span in (rows, columns)
            )
            result *= row_weights[:, None] * column_weights
            bottom, right = min(rows.stop, H), min(columns.stop, W)
            clean[:, :, rows.start : bottom, columns.start : right] += result[
                :, :, : bottom - rows.start, : right - columns.start
            ]
            if progress is not None:
                progress(done / len(spans))
        return clean

    @torch.no_grad()
    def _denoise_tile(
        self, sigma: float | Tensor, frames: Sequence[Tensor], rows: tiling.Span, columns: tiling.Span
    ) -> Tensor:
        """Denoise one tile: (B, C, rows, columns), on the frames' device."""
        device, is_grey = frames[0].device, frames[0].shape[1] == 1
        crops = [_crop(frame, rows, columns) for frame in frames]
        level = _level_map(frames[0], sigma, rows, columns)
        if is_grey:
            # Three equal channels have sqrt(3) times the luminance noise of three independent ones.
            crops, level = [crop.expand(-1, 3, -1, -1) for crop in crops], level * 3**0.5
        inputs = torch.cat(crops, dim=1).to(self.device, torch.float32)
        level = level.to(self.device, torch.float32).clamp(0, self._spec.sigma_max)
        if self._spec.space == "linear":
            inputs = srgb_to_linear(inputs)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            clean = self._net(inputs, level).float()
        if self._spec.space == "linear":
            clean = linear_to_srgb(clean)
        return (clean.mean(dim=1, keepdim=True) if is_grey else clean).to(device)

    def _steady_tile(self, frames: Sequence[Tensor], rows: tiling.Span, columns: tiling.Span) -> Tensor:
        crops = [_crop(frame, rows, columns).to(self.device, torch.float32) for frame in frames]
        image, noisy, *neighbours = crops
        difference = FRAME_DIFFERENCE if self.takes_neighbours else FRAME_DIFFERENCE_ALONE
        steady = average_over_frames(image, noisy, neighbours, difference)
        return steady.to(frames[0].device)


def _as_batch(picture: Array) -> Tensor:
    """(H, W) or (H, W, C) to (1, C, H, W)."""
    return torch.from_numpy(np.atleast_3d(np.asarray(picture, np.float32))).permute(2, 0, 1)[None]


def _as_level(sigma: float | Array | Tensor | ShotRead | None, shape: torch.Size) -> float | Tensor | ShotRead | None:
    """Check a noise level; an array becomes a map of shape (B, 1, H, W)."""
    if sigma is None or isinstance(sigma, ShotRead):
        return sigma
    if isinstance(sigma, np.ndarray) and sigma.ndim:
        sigma = torch.from_numpy(np.asarray(sigma, np.float32))[None, None]
    if not isinstance(sigma, Tensor):
        if not 0 <= float(sigma) < math.inf:
            raise ValueError(f"sigma: expected 0 or more, got {sigma}")
        return float(sigma)
    B, _, H, W = shape
    if sigma.shape not in ((B, 1, H, W), (1, 1, H, W)):
        raise ValueError(f"sigma: expected a number or a map of {H} x {W}, got {tuple(sigma.shape)}")
    if (sigma < 0).any():
        raise ValueError("sigma: expected 0 or more, got a map with negative values")
    return sigma.expand(B, 1, H, W)


def _on_gpu(frames: Sequence[Tensor], device: torch.device) -> Sequence[Tensor]:
    """Copy whole frames to a GPU if they fit: copying overlapping tiles would take longer. Else return them as is."""
    if device.type != "cuda" or any(frame.device.type != "cpu" for frame in frames):
        return frames
    if not fits(sum(frame.numel() for frame in frames) * torch.float32.itemsize, device):
        return frames
    return [frame.to(device, torch.float32) for frame in frames]


def _padded(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _crop(image: Tensor, rows: tiling.Span, columns: tiling.Span) -> Tensor:
    """One tile of an image, padded by reflection beyond the border."""
    H, W = image.shape[-2:]
    y = torch.from_numpy(tiling.reflected(rows.start, rows.stop, H)).to(image.device)
    x = torch.from_numpy(tiling.reflected(columns.start, columns.stop, W)).to(image.device)
    return image.index_select(-1, x).index_select(-2, y)


def _level_map(image: Tensor, sigma: float | Tensor, rows: tiling.Span, columns: tiling.Span) -> Tensor:
    if isinstance(sigma, Tensor):
        return _crop(sigma, rows, columns)
    size = len(image), 1, rows.stop - rows.start, columns.stop - columns.start
    return torch.full(size, sigma, device=image.device)


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
            smaller tiles need less memory. By default 1024 on a CPU and 2048 on a GPU.

    Raises:
        ValueError: the tile is too small.
        UnknownModel: there is no such model, or it has no weights.
        DamagedWeights: the weight file is missing or does not match its checksum.
        DeviceUnavailable: this machine has no such device or precision.

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
    torch_device = choose_device(device)
    arithmetic = choose_precision(torch_device, precision)
    net = prepare(load_net(model), torch_device, arithmetic)
    default_tile = DEFAULT_TILE if torch_device.type == "cpu" else GPU_TILE
    return Denoiser(net, spec, torch_device, arithmetic, tile or default_tile)


def prepare(net: nn.Module, device: torch.device, precision: torch.dtype) -> nn.Module:
    """The network in the fastest engine for a device: OpenVINO, CUDA graphs or PyTorch; it can no longer be trained."""
    if device.type == "cpu" and openvino_net.is_available():
        return openvino_net.compile_for_cpu(net.eval(), precision)
    if device.type == "cuda":
        return cuda_graph.use_graphs(prepare_in_pytorch(net, device), device, precision)
    return prepare_in_pytorch(net, device)


def prepare_in_pytorch(net: nn.Module, device: torch.device) -> nn.Module:
    """The network on a device, in the memory layout in which PyTorch runs it fastest, and in evaluation mode."""
    return net.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
