"""The models, by name: what each is, and how to get one with its weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from torch import nn

from denoise_cli.errors import DamagedWeights, UnknownModel
from denoise_cli.imaging.bayer import PLANES
from denoise_cli.models.checkpoint import load_weights, read_note, read_tensors, sha256_of
from denoise_cli.models.manifest import read_manifest
from denoise_cli.nets.deformable import DeformableKernelNetConfig
from denoise_cli.nets.kpn import KPNConfig
from denoise_cli.nets.mallenet import MalleNetConfig
from denoise_cli.nets.mallenet_video import MalleNetVideoConfig

DEFAULT_IMAGE_MODEL = "mallenet-s"
DEFAULT_VIDEO_MODEL = "mallenet-v"


class Config(Protocol):
    """What every network's configuration can do."""

    def build(self) -> nn.Module:
        """A network with fresh weights: (B, 3, H, W) noisy and (B, 1, H, W) level to (B, 3, H, W)."""
        ...


@dataclass(frozen=True)
class ModelSpec:
    """What must be known to run a model, and to train it.

    Attributes:
        config: its network.
        summary: what it is for, in a few words.
        window: frames of a clip that it is shown, of which it denoises the first; 1 for photos.
        any_window: whether it takes any other number of them as well.
        space: the encoding that it works in: a photo's own, or linear light; or, stabilised, the four planes of a
            mosaic, or what was developed of one.
        noise: what it learns to take away: white noise, a sensor's shot and read noise, or what cameras leave.
        sigma_max: the strongest noise that it was trained for, as a standard deviation on [0, 1].
    """

    config: Config
    summary: str
    window: int = 1
    any_window: bool = False
    space: Literal["srgb", "linear", "mosaic", "developed"] = "srgb"
    noise: Literal["gaussian", "sensor", "camera"] = "gaussian"
    sigma_max: float = 75 / 255

    @property
    def media(self) -> str:
        """What it is fed with."""
        return "raw" if self.is_for_raw else "image" if self.window == 1 else "video"

    @property
    def channels(self) -> int:
        """Of what is denoised: RGB, or the planes of a mosaic."""
        return PLANES if self.space == "mosaic" else 3

    @property
    def inputs(self) -> int:
        """Channels of what the network is shown, the level of the noise apart."""
        return self.channels * self.window

    @property
    def is_for_raw(self) -> bool:
        """Whether it is for what comes out of a RAW file, before it is a photo."""
        return self.space in ("mosaic", "developed")

    @property
    def is_blind(self) -> bool:
        """Whether it sees the noise level for itself, and is never told it."""
        return self.noise == "camera"


# Dense blocks take the place of the paper's inverted bottlenecks where they are better at less time: docs/models.md.
MODELS = {
    "mallenet-s": ModelSpec(MalleNetConfig(16, block="residual", lean=True), "the fastest"),
    "mallenet-m": ModelSpec(MalleNetConfig(32, block="residual"), "three times the time of s, better in fine detail"),
    "mallenet-l": ModelSpec(MalleNetConfig(64), "for a GPU"),
    "mallenet-xl": ModelSpec(MalleNetConfig(144), "for a GPU, the best of the paper"),
    "mallenet-r": ModelSpec(MalleNetConfig(16, block="residual"), "for photos as cameras write them", noise="camera"),
    "mallenet-s-paper": ModelSpec(MalleNetConfig(16), "s with the paper's blocks"),
    "mallenet-m-paper": ModelSpec(MalleNetConfig(32), "m with the paper's blocks"),
    "mallenet-r-paper": ModelSpec(
        MalleNetConfig(48, block="residual", kernel=3), "r as in the paper, 3x3 kernels", noise="camera"
    ),
    "mallenet-v": ModelSpec(MalleNetVideoConfig(16), "for clips: merges frames, then as s", window=5, any_window=True),
    "mallenet-v-sensor": ModelSpec(
        MalleNetVideoConfig(16),
        "v for the noise of a sensor, in linear light",
        window=5,
        any_window=True,
        space="linear",
        noise="sensor",
    ),
    "mallenet-raw": ModelSpec(
        MalleNetConfig(32, block="residual", channels=4, outputs=4),
        "for camera RAW, before the demosaic",
        space="mosaic",
        noise="sensor",
    ),
    "mallenet-linear": ModelSpec(
        MalleNetConfig(16, block="residual", lean=True),
        "for camera RAW without a Bayer mosaic",
        space="developed",
        noise="sensor",
    ),
    "deformable-2d": ModelSpec(
        DeformableKernelNetConfig(64), "5x5 deformable kernels, for a GPU", space="linear", noise="sensor"
    ),
    "deformable-2d-quarter": ModelSpec(
        DeformableKernelNetConfig(16), "deformable-2d at a quarter of its width", space="linear", noise="sensor"
    ),
    "deformable-2d-quarter-blind": ModelSpec(
        DeformableKernelNetConfig(16, blind=True),
        "the quarter width, not told the noise level",
        space="linear",
        noise="sensor",
    ),
    "deformable-3d": ModelSpec(
        DeformableKernelNetConfig(64, side=3, frames=5),
        "3x3x3 deformable kernels for clips, for a GPU",
        space="linear",
        noise="sensor",
        window=5,
    ),
    "deformable-3d-quarter": ModelSpec(
        DeformableKernelNetConfig(16, side=3, frames=5),
        "deformable-3d at a quarter of its width",
        space="linear",
        noise="sensor",
        window=5,
    ),
    "kpn": ModelSpec(KPNConfig(64), "5x5 kernels on a rigid grid, for a GPU", space="linear", noise="sensor"),
    "kpn-quarter": ModelSpec(KPNConfig(16), "kpn at a quarter of its width", space="linear", noise="sensor"),
}


def find_model(name: str) -> ModelSpec:
    """The spec of a model of the zoo, or of the one whose weights a file holds.

    Args:
        name: in the zoo, or the path of a .safetensors file that training has written.

    Raises:
        UnknownModel: no such name.
        DamagedWeights: no such file, or one that says not which model it is.
    """
    return MODELS[name_of(name)]


def name_of(name: str) -> str:
    """The name that the zoo has for a model or for the one whose weights a file holds; errors as in `find_model`."""
    if is_file(name):
        model = read_note(Path(name)).get("model", "")
        if model not in MODELS:
            raise DamagedWeights(f"{name}: does not say which model's weights it holds: it is not of denoise train")
        return model
    if name not in MODELS:
        raise UnknownModel(f"no model is called {name!r}: choose from {', '.join(MODELS)}")
    return name


def is_file(name: str) -> bool:
    """Whether a model's name is that of a weight file."""
    return name.endswith(".safetensors")


def checksum_of(name: str) -> str:
    """SHA-256 of a model's weights; errors as in `load_net`."""
    if is_file(name):
        try:
            return sha256_of(Path(name).read_bytes())
        except OSError as error:
            raise DamagedWeights(f"{name}: {error.strerror}") from error
    entries = read_manifest()
    return entries[name].sha256 if name in entries else ""


def load_net(name: str) -> nn.Module:
    """A model's network with its trained weights: the zoo's, checked against their checksum, or a file's.

    Raises:
        UnknownModel: no such name, or a model that has no weights yet.
        DamagedWeights: the file is missing, altered, truncated, or of another network.
    """
    net = find_model(name).config.build()
    if is_file(name):
        load_weights(net, read_tensors(Path(name)), name)
        return net
    entries = read_manifest()
    if name not in entries:
        trained = ", ".join(entries) or "none"
        raise UnknownModel(f"{name} has no trained weights yet: choose from {trained}, or make some with denoise train")
    entry = entries[name]
    load_weights(net, read_tensors(entry.path, entry.sha256), entry.path)
    return net
