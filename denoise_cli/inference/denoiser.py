"""`Denoiser`: a network made fit for photos of any size, on any device.

The way of a photo through it: estimate the noise where it is not given, extend the sides by reflection to the
network's grid, cut into overlapping tiles, run each, join them, cut off the extension.
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
Work = Callable[[Sequence[Tensor], tiling.Span, tiling.Span], Tensor]  # what becomes of a tile: its rows and columns

# Measured (docs/architecture.md): what the network loses at the end of a tile hardly matters 64 pixels away.
OVERLAP = 192
DEFAULT_TILE, TILE_OF_GPU = 1024, 2048  # the larger, the less is computed twice; a GPU has the memory
SMALLEST_TILE = 256
COLOURS = 3
# How much what is left of the noise differs between frames, in units of what was taken away: chosen on clips, of frames
# that were denoised with their neighbours, and alone.
ALIKE, ALIKE_ALONE = 0.15, 0.4


class Denoiser:
    """Takes noise away; made by `load_denoiser`.

    Args:
        net: takes (B, 3, H, W), or four planes, and a level map (B, 1, H, W), H and W multiples of
            `zoo.multiple_of(net)`.
        spec: what it was trained for.
        device: where it runs.
        precision: the arithmetic of its convolutions.
        tile: the longest side that is processed at once, at least 256; rounded down to what the network takes.

    Raises:
        ValueError: a smaller tile.
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
        self.space, self.is_for_raw = spec.space, spec.is_for_raw
        self._spec = spec
        self._net = in_pytorch(net, device)

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
        """Denoise an image, or a batch.

        Args:
            image: numpy (H, W) or (H, W, C), or torch (B, C, H, W), C = 1 or 3; float, nominally [0, 1], sRGB-encoded.
                Values outside are noise like any other and reach the network as they are. Of a network for mosaics C is
                4: the planes after the transform of `imaging.anscombe`, and sigma is their level.
            sigma: the noise's standard deviation in the image's unit: a number, 0 returning the image, or a map of
                shape (H, W) or (B, 1, H, W); or a sensor's noise; None to estimate it. A network that sees it is not
                told.
            strength: scales sigma or, where the network sees it, how much of the noise goes; 0 returns the image.
            progress: called with the fraction done.
            neighbours: of a clip's frame, others of the clip, each like the image; for a network that sees them.

        Returns:
            The same type and shape, float32, not clipped.

        Raises:
            ValueError: a shape, or a sigma or strength below zero.
            OutOfMemory: even the smallest tile does not fit.
        """
        if isinstance(image, Tensor):
            frames = [image, *(torch.as_tensor(other) for other in neighbours)]
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
        """Take from a denoised frame of a clip what trembles: average it with what its neighbours show of the same.

        Args:
            image: the frame, denoised by this, as `__call__` returns it.
            noisy: what it was.
            neighbours: the frames beside it, denoised as well.

        Returns:
            The same type and shape, float32.

        Raises:
            ValueError: the shapes differ.
            OutOfMemory: even the smallest tile does not fit.
        """
        pictures = [image, noisy, *neighbours]
        frames = [one if isinstance(one, Tensor) else _as_batch(one) for one in pictures]
        if any(frame.shape != frames[0].shape for frame in frames):
            raise ValueError(f"noisy, neighbours: expected {tuple(frames[0].shape)} each")
        multiple = math.lcm(
            self._multiple, motion.MULTIPLE
        )  # the network's tiles, where motion can be followed in them
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
        own = self._spec.channels
        channels = (1, own) if own == COLOURS else (own,)
        if image.ndim != 4 or image.shape[1] not in channels or not image.numel():
            known = " or ".join(map(str, channels))
            raise ValueError(f"image: expected (B, C, H, W) with C = {known}, got {tuple(image.shape)}")
        if any(other.shape != image.shape for other in neighbours):
            raise ValueError(f"neighbours: expected {tuple(image.shape)} each")
        if neighbours and not self.takes_neighbours:
            raise ValueError("neighbours: expected none, this network sees photos")
        if not self._spec.any_window:  # of a clip that is too short, the frame itself stands for those that lack
            frames = [*frames, *[image] * self._spec.window][: self._spec.window]
        if strength < 0:
            raise ValueError(f"strength: expected 0 or more, got {strength}")
        if strength == 0 or (isinstance(sigma, float) and sigma == 0):
            return image.to(torch.float32, copy=True)
        if self.is_blind:
            clean = self._tiled(frames, partial(self._denoise_tile, UNKNOWN_LEVEL), self._multiple, progress)
            return torch.lerp(image.float(), clean, min(strength, 1.0))
        level = self._told(image, sigma) * strength
        return self._tiled(frames, partial(self._denoise_tile, level), self._multiple, progress)

    def _told(self, image: Tensor, sigma: float | Tensor | ShotRead | None) -> float | Tensor:
        """The level as the network knows it: in its own space, a number or (B, 1, H, W)."""
        B, _, H, W = image.shape
        linear = self._spec.space == "linear"
        if isinstance(sigma, ShotRead):
            pictures = [one.permute(1, 2, 0).cpu().numpy() for one in image]
            maps = [
                sigma.level_of_light(transfer.srgb_to_linear(one)) if linear else sigma.level_of_photo(one)
                for one in pictures
            ]
            return torch.from_numpy(np.stack(maps))[:, None].to(image.device)
        if sigma is None:
            levels = [estimate_sigma(one.permute(1, 2, 0).cpu().numpy()) for one in image]
            sigma = torch.tensor(levels, device=image.device).view(B, 1, 1, 1).expand(B, 1, H, W)
        if linear:
            return sigma_in_linear(
                image, torch.as_tensor(sigma, dtype=torch.float32).to(image.device).expand(B, 1, H, W)
            )
        return sigma

    def _tiled(self, frames: Sequence[Tensor], work: Work, multiple: int, progress: Progress | None) -> Tensor:
        tile, home = self.tile // multiple * multiple, frames[0].device
        while True:
            try:
                return self._run(_brought(frames, self.device), work, tile, multiple, progress).to(home)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if tile == SMALLEST_TILE:
                    raise OutOfMemory(f"out of memory on {self.device}, even with tiles of {tile} pixels") from error
            tile = max(tile // 2 // multiple * multiple, SMALLEST_TILE)

    def _run(self, frames: Sequence[Tensor], work: Work, tile: int, multiple: int, progress: Progress | None) -> Tensor:
        H, W = frames[0].shape[-2:]
        clean = torch.zeros_like(frames[0], dtype=torch.float32)
        overlap = min(OVERLAP, tile // 2) // multiple * multiple
        margin = overlap // 3
        spans = list(tiling.grid(_padded(H, multiple), _padded(W, multiple), tile, overlap, multiple))
        for done, (rows, columns) in enumerate(spans, start=1):
            part = work(frames, rows, columns)
            down, across = (torch.from_numpy(span.weights(margin)).to(clean.device) for span in (rows, columns))
            part *= down[:, None] * across
            bottom, right = min(rows.stop, H), min(columns.stop, W)
            clean[:, :, rows.start : bottom, columns.start : right] += part[
                :, :, : bottom - rows.start, : right - columns.start
            ]
            if progress is not None:
                progress(done / len(spans))
        return clean

    @torch.no_grad()
    def _denoise_tile(
        self, sigma: float | Tensor, frames: Sequence[Tensor], rows: tiling.Span, columns: tiling.Span
    ) -> Tensor:
        """(B, 1 or 3, height, width), on the frames' own device."""
        home, grey = frames[0].device, frames[0].shape[1] == 1
        crops, level = [_crop(frame, rows, columns) for frame in frames], _level(frames[0], sigma, rows, columns)
        if grey:
            # Three equal channels carry sqrt(3) times the luminance noise of three independent ones.
            crops, level = [crop.expand(-1, 3, -1, -1) for crop in crops], level * 3**0.5
        inputs = torch.cat(crops, dim=1).to(self.device, torch.float32)
        level = level.to(self.device, torch.float32).clamp(0, self._spec.sigma_max)
        if self._spec.space == "linear":
            inputs = srgb_to_linear(inputs)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            clean = self._net(inputs, level).float()
        if self._spec.space == "linear":
            clean = linear_to_srgb(clean)
        return (clean.mean(dim=1, keepdim=True) if grey else clean).to(home)

    def _steady_tile(self, frames: Sequence[Tensor], rows: tiling.Span, columns: tiling.Span) -> Tensor:
        crops = [_crop(frame, rows, columns).to(self.device, torch.float32) for frame in frames]
        image, noisy, *neighbours = crops
        steady = average_over_frames(image, noisy, neighbours, ALIKE if self.takes_neighbours else ALIKE_ALONE)
        return steady.to(frames[0].device)


def _as_batch(picture: Array) -> Tensor:
    """(H, W) or (H, W, C) to (1, C, H, W)."""
    return torch.from_numpy(np.atleast_3d(np.asarray(picture, np.float32))).permute(2, 0, 1)[None]


def _as_level(sigma: float | Array | Tensor | ShotRead | None, shape: torch.Size) -> float | Tensor | ShotRead | None:
    """Check a level; a map becomes (B, 1, H, W)."""
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
        raise ValueError("sigma: expected 0 or more, got a map with less")
    return sigma.expand(B, 1, H, W)


def _brought(frames: Sequence[Tensor], device: torch.device) -> Sequence[Tensor]:
    """Frames on a GPU, if they leave it room to work: whole they travel once, tiles overlap."""
    if device.type != "cuda" or any(frame.device.type != "cpu" for frame in frames):
        return frames
    if not fits(sum(frame.numel() for frame in frames) * torch.float32.itemsize, device):
        return frames
    return [frame.to(device, torch.float32) for frame in frames]


def _padded(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _crop(image: Tensor, rows: tiling.Span, columns: tiling.Span) -> Tensor:
    """One tile, continued by reflection where it reaches beyond the image."""
    H, W = image.shape[-2:]
    y = torch.from_numpy(tiling.reflected(rows.start, rows.stop, H)).to(image.device)
    x = torch.from_numpy(tiling.reflected(columns.start, columns.stop, W)).to(image.device)
    return image.index_select(-1, x).index_select(-2, y)


def _level(image: Tensor, sigma: float | Tensor, rows: tiling.Span, columns: tiling.Span) -> Tensor:
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
    """A denoiser from the registry, ready to be called.

    Args:
        model: a name from the registry.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:1".
        precision: "auto" takes 16 bits where the device computes them natively, "fp32", "bf16" and "fp16" ask for one.
        tile: the longest side that is processed at once, at least 256, rounded down to what the network takes;
            less takes less memory.

    Raises:
        ValueError: a smaller tile.
        UnknownModel: no such model, or one without weights.
        DamagedWeights: its file does not match its checksum.
        DeviceUnavailable: this machine has no such device or precision.
    """
    spec = find_model(model)
    place = choose_device(device)
    arithmetic = choose_precision(place, precision)
    usual = DEFAULT_TILE if place.type == "cpu" else TILE_OF_GPU
    return Denoiser(prepared(load_net(model), place, arithmetic), spec, place, arithmetic, tile or usual)


def prepared(net: nn.Module, device: torch.device, precision: torch.dtype) -> nn.Module:
    """A network as it is fastest on a device, no more to be trained."""
    if device.type == "cpu" and openvino_net.is_available():
        return openvino_net.compile_for_cpu(net.eval(), precision)
    if device.type == "cuda":
        return cuda_graph.use_graphs(in_pytorch(net, device), device, precision)
    return in_pytorch(net, device)


def in_pytorch(net: nn.Module, device: torch.device) -> nn.Module:
    """A network as PyTorch computes it fastest."""
    return net.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
