"""The models, by name: what each is, and how to get one with its weights."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from denoise_cli.checkpoint import load_weights, read_tensors
from denoise_cli.errors import DamagedWeights, UnknownModel
from denoise_cli.nets.mallenet import MalleNetConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_IMAGE_MODEL = "mallenet-s"


@dataclass(frozen=True)
class ModelSpec:
    """What must be known to run a model.

    Attributes:
        config: its network.
        summary: what it is for, in a few words.
        media: what it is fed with.
        space: the encoding of its input, in which it was trained.
        sigma_max: the strongest noise that it was trained for, as a standard deviation on [0, 1].
    """

    config: MalleNetConfig
    summary: str
    media: str = "image"
    space: str = "srgb"
    sigma_max: float = 75 / 255


# Dense blocks take the place of the paper's inverted bottlenecks where they are better at less time: docs/models.md.
MODELS = {
    "mallenet-s": ModelSpec(MalleNetConfig(16, block="residual"), "the fastest"),
    "mallenet-m": ModelSpec(MalleNetConfig(32, block="residual"), "twice the time of s, better in fine detail"),
    "mallenet-l": ModelSpec(MalleNetConfig(64), "for a GPU"),
    "mallenet-xl": ModelSpec(MalleNetConfig(144), "for a GPU, the best of the paper"),
    "mallenet-r": ModelSpec(MalleNetConfig(48, block="residual", kernel=3), "for real photos, 3x3 kernels"),
    "mallenet-s-paper": ModelSpec(MalleNetConfig(16), "s with the paper's blocks"),
    "mallenet-m-paper": ModelSpec(MalleNetConfig(32), "m with the paper's blocks"),
}


@dataclass(frozen=True)
class Card:
    """What the manifest says of a weight file.

    Attributes:
        file: its name beside the manifest.
        sha256: its checksum.
        architecture, recipe, data, licence: in words.
        scores: PSNR in dB, by test set, by noise level.
    """

    file: str
    sha256: str
    architecture: str
    recipe: str
    data: str
    licence: str
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the weights are."""
        return weights_folder() / self.file


def find_model(name: str) -> ModelSpec:
    """The spec of a model.

    Raises:
        UnknownModel: no such name.
    """
    if name not in MODELS:
        raise UnknownModel(f"no model is called {name!r}: choose from {', '.join(MODELS)}")
    return MODELS[name]


def weights_folder() -> Path:
    """The weights' folder: inside an installed package, beside the package in a source tree."""
    package = Path(__file__).parent
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights"


def read_manifest() -> dict[str, Card]:
    """The card of every model that has weights.

    Raises:
        DamagedWeights: the manifest is missing or makes no sense.
    """
    path = weights_folder() / "manifest.toml"
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: Card(**entry) for name, entry in entries.items()}
    except OSError as error:
        raise DamagedWeights(f"{path}: {error.strerror}: reinstall") from error
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise DamagedWeights(f"{path}: not a manifest of weights ({error}): restore the file") from error


def load_net(name: str) -> nn.Module:
    """A model's network with its trained weights, checked against the manifest's checksum.

    Raises:
        UnknownModel: no such name, or a model that has no weights yet.
        DamagedWeights: the file is missing, altered, truncated, or of another network.
    """
    spec = find_model(name)
    cards = read_manifest()
    if name not in cards:
        trained = ", ".join(cards) or "none"
        raise UnknownModel(f"{name} has no trained weights yet: choose from {trained}, or make some with denoise train")
    card = cards[name]
    net = spec.config.build()
    load_weights(net, read_tensors(card.path, card.sha256), card.path)
    return net
