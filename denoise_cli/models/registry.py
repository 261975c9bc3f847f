"""The registry of models: their specifications by name, and how to load a model with its weights."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from denoise_cli.errors import DamagedWeights, UnknownModel
from denoise_cli.imaging import bayer, xtrans
from denoise_cli.models.manifest import ManifestEntry, read_manifest
from denoise_cli.models.weight_file import OWN_FILE, read_metadata, read_weight_file, sha256_of
from denoise_cli.nets.configs import (
    DeformableKernelNetConfig,
    KPNConfig,
    MalleNetConfig,
    MalleNetVideoConfig,
    MalleUNetConfig,
    MosaicUNetConfig,
)

if TYPE_CHECKING:
    from torch import nn

DEFAULT_IMAGE_MODEL = "mallenet-s"


class Config(Protocol):
    """The interface of every network's configuration."""

    def build(self) -> "nn.Module":
        """A network with fresh weights, from noisy images and their level maps to denoised images.

        The shapes are (B, inputs, H, W), (B, 1, H, W) and (B, channels, H, W); `ModelSpec` has the numbers of channels.
        """
        ...


@dataclass(frozen=True)
class ModelSpec:
    """Everything that is needed to run a model and to train it.

    Attributes:
        config: its network.
        summary: its purpose, in a few words.
        window: number of frames that it takes, of which it denoises the first; 1 for photos.
        any_window: whether it takes other numbers of frames as well.
        space: the encoding that it works in: "srgb" for a photo's own, "linear" for linear light; or, with the noise
            variance stabilised, "mosaic" for the four planes of a Bayer mosaic, "xtrans" for the nine of an X-Trans
            mosaic, and "developed" for a developed RAW file.
        noise: the noise that it learns to remove: "gaussian" for white noise, "sensor" for a sensor's shot and read
            noise, "camera" for the noise that remains in a camera's photos.
        sigma_max: the strongest noise that it was trained for, as a standard deviation on [0, 1].
    """

    config: Config
    summary: str
    window: int = 1
    any_window: bool = False
    space: Literal["srgb", "linear", "mosaic", "xtrans", "developed"] = "srgb"
    noise: Literal["gaussian", "sensor", "camera"] = "gaussian"
    sigma_max: float = 75 / 255

    @property
    def media(self) -> str:
        """What it denoises: "image", "video" or "raw"."""
        return "raw" if self.is_for_raw else "image" if self.window == 1 else "video"

    @property
    def channels(self) -> int:
        """Number of channels that are denoised: those of RGB, or the planes of a mosaic."""
        return {"mosaic": bayer.PLANES, "xtrans": xtrans.PLANES}.get(self.space, 3)

    @property
    def inputs(self) -> int:
        """Number of channels of the network's input, without the level map."""
        return self.channels * self.window

    @property
    def levels(self) -> int:
        """Number of channels of the level map: 1, or one for each channel that is denoised."""
        return self.config.levels if isinstance(self.config, MalleUNetConfig) else 1

    @property
    def is_for_raw(self) -> bool:
        """Whether it denoises the contents of RAW files, before they become a photo."""
        return self.is_for_mosaics or self.space == "developed"

    @property
    def is_for_mosaics(self) -> bool:
        """Whether it denoises mosaics, of one kind of colour filters."""
        return self.space in ("mosaic", "xtrans")

    @property
    def is_blind(self) -> bool:
        """Whether it is given no noise level: it is trained without one, and none is estimated for it.

        A network whose configuration is `blind` is different: it is given a level and ignores it.
        """
        return self.noise == "camera"


# Dense blocks replace the paper's inverted bottlenecks if they are both better and faster: docs/models.md.
MODELS = {
    "mallenet-s": ModelSpec(MalleNetConfig(16, block="residual", lean=True), "fast"),
    "mallenet-m": ModelSpec(MalleNetConfig(32, block="residual"), "finer detail than s, three times as long"),
    "mallenet-l": ModelSpec(MalleUNetConfig(96, blocks=2), "for drawings and strong colours; slower than m"),
    "mallenet-xl": ModelSpec(MalleNetConfig(144), "for a GPU, the paper's best"),
    "mallenet-r": ModelSpec(MalleNetConfig(16, block="residual"), "for photos straight from a camera", noise="camera"),
    "mallenet-u": ModelSpec(MalleUNetConfig(32, levels=3), "faster than s; told a level for each channel"),
    "mallenet-s-paper": ModelSpec(MalleNetConfig(16), "s with the paper's blocks"),
    "mallenet-m-paper": ModelSpec(MalleNetConfig(32), "m with the paper's blocks"),
    "mallenet-l-paper": ModelSpec(MalleNetConfig(64), "l as in the paper"),
    "mallenet-r-paper": ModelSpec(
        MalleNetConfig(48, block="residual", kernel=3), "r as in the paper, 3x3 kernels", noise="camera"
    ),
    "mallenet-v": ModelSpec(MalleNetVideoConfig(16), "for clips: like s, on merged frames", window=5, any_window=True),
    "mallenet-vr": ModelSpec(
        MalleNetVideoConfig(16, blind=True),
        "for clips, whatever their noise; finds it itself",
        window=5,
        any_window=True,
        noise="camera",
    ),
    "mallenet-v-sensor": ModelSpec(
        MalleNetVideoConfig(16),
        "v for a sensor's noise, in linear light",
        window=5,
        any_window=True,
        space="linear",
        noise="sensor",
    ),
    "mallenet-raw": ModelSpec(
        MalleNetConfig(32, block="residual", channels=4, outputs=4),
        "for camera RAW, before demosaicing",
        space="mosaic",
        noise="sensor",
    ),
    "mallenet-xtrans": ModelSpec(
        MosaicUNetConfig(64, "xtrans"),
        "for camera RAW with an X-Trans mosaic",
        space="xtrans",
        noise="sensor",
    ),
    "mallenet-linear": ModelSpec(
        MalleNetConfig(16, block="residual", lean=True),
        "for camera RAW without a mosaic",
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
        "deformable-2d-quarter without the noise level",
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
    """The specification of a registered model, or of the model that a weight file belongs to.

    Args:
        name: a name from the registry, or the path of a .safetensors file that training has written.

    Raises:
        UnknownModel: there is no such name.
        DamagedWeights: there is no such file, or it does not name its model.

    Examples:
        >>> find_model("mallenet-v").media
        'video'
    """
    return MODELS[name_of(name)]


def name_of(name: str) -> str:
    """The registered name of a model, or of the model that a weight file belongs to; errors as in `find_model`."""
    if is_weight_file(name):
        model = read_metadata(Path(name)).get("model", "")
        if model not in MODELS:
            raise DamagedWeights(f"{name}: does not name a known model: use a file that denoise train has written")
        return model
    if name not in MODELS:
        raise UnknownModel(_why_unknown(name))
    return name


def _why_unknown(name: str) -> str:
    import difflib

    if Path(name).suffix or os.sep in name or Path(name).is_file():
        return f"{name}: is no model: {OWN_FILE}, or a model that denoise models lists"
    trained = [model for model in MODELS if model in read_manifest()]
    nearest = difflib.get_close_matches(name, trained, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    return f"no model is called {name!r}: {hint}choose from {', '.join(trained)}"


def is_weight_file(name: str) -> bool:
    """Whether a model is given by the path of a weight file, not by its name."""
    return name.endswith(".safetensors")


def checksum_of(name: str) -> str:
    """The SHA-256 of a model's weights; an empty string if the name has no weights.

    Raises:
        DamagedWeights: the weight file or the manifest cannot be read.
    """
    if is_weight_file(name):
        try:
            return sha256_of(Path(name).read_bytes())
        except OSError as error:
            raise DamagedWeights(f"{name}: {error.strerror}") from error
    entries = read_manifest()
    return entries[name].sha256 if name in entries else ""


def load_net(name: str) -> "nn.Module":
    """A model's network with its trained weights.

    Args:
        name: a name from the registry, whose weights are checked against the manifest's checksum, or the path of a
            .safetensors file.

    Raises:
        UnknownModel: there is no such name, or the model has no weights yet.
        DamagedWeights: the file is missing, altered or truncated, or belongs to another network.
    """
    from denoise_cli.models.checkpoint import load_weights, read_tensors

    net = find_model(name).config.build()
    if is_weight_file(name):
        load_weights(net, read_tensors(Path(name)), name)
        return net
    entry = _entry_of(name)
    load_weights(net, read_tensors(entry.path, entry.sha256), entry.path)
    return net


def verified_checksum(name: str) -> str:
    """The SHA-256 of a model's weight file as it is on disk.

    Args:
        name: as for `load_net`.

    Raises:
        UnknownModel: there is no such name, or the model has no weights yet.
        DamagedWeights: the file is missing, or does not match the manifest's checksum.
    """
    find_model(name)
    if is_weight_file(name):
        return sha256_of(read_weight_file(Path(name)))
    entry = _entry_of(name)
    read_weight_file(entry.path, entry.sha256)
    return entry.sha256


def check_weights(name: str) -> None:
    """Check that a model's weights can be loaded; PyTorch is only needed for a file that the manifest does not list.

    Args:
        name: as for `load_net`, whose errors are raised.
    """
    if is_weight_file(name):
        load_net(name)
    else:
        verified_checksum(name)


def _entry_of(name: str) -> ManifestEntry:
    entries = read_manifest()
    if name not in entries:
        trained = ", ".join(entries) or "none"
        raise UnknownModel(f"{name} has no trained weights yet: choose from {trained}, or train it with denoise train")
    return entries[name]


def multiple_of(net: "nn.Module") -> int:
    """What the sides of an image must be multiples of for a network; 1 where it takes any."""
    return cast("int", getattr(net, "multiple", 1))
