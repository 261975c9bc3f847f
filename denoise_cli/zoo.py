"""The models, by name: what each is, and how to get one with its weights."""

import sys
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

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
    """What must be known to run a model: its network, the noise levels it was trained for, its input's space."""

    config: MalleNetConfig
    summary: str
    media: str = "image"
    space: str = "srgb"
    sigma_max: float = 75 / 255


MODELS = {
    "mallenet-s": ModelSpec(
        config=MalleNetConfig(width=16, block="residual"),
        summary="the smallest: for laptops",
    ),
}


@dataclass(frozen=True)
class Card:
    """What the manifest says of a weight file."""

    name: str
    path: Path
    sha256: str
    details: dict[str, Any]


def find_model(name: str) -> ModelSpec:
    """The spec of a model.

    Raises:
        UnknownModel: no such name.
    """
    if name not in MODELS:
        raise UnknownModel(f"no model is called {name!r}: choose from {', '.join(MODELS)}")
    return MODELS[name]


def load_net(name: str) -> nn.Module:
    raise UnknownModel(name)
