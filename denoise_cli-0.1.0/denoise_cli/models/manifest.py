"""The manifest of trained weights: for each model its file, checksum, origin, licence and scores."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from denoise_cli.errors import DamagedWeights
from denoise_cli.files import packaged_folder


@dataclass(frozen=True)
class ManifestEntry:
    """The manifest's entry for a weight file; the model's card (`card_of`) has the details.

    Attributes:
        file: name of the weight file, in the manifest's folder.
        sha256: its checksum, 64 hexadecimal digits.
        architecture: the network, in words.
        provenance: how the weights were trained, in words.
        data: the training data, in words.
        licence: of the weights, in words.
        scores: PSNR in dB by test set and noise level; the first set is that of the pictures it was made for.
    """

    file: str
    sha256: str
    architecture: str
    provenance: str
    data: str
    licence: str
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The path of the weight file."""
        return weights_folder() / self.file


def weights_folder() -> Path:
    """The folder that holds the weights, cards, recipes and the manifest."""
    return packaged_folder("weights")


def card_of(name: str) -> Path:
    """The path of a model's card, a Markdown page; every model in the manifest has one."""
    return weights_folder() / "cards" / f"{name}.md"


def read_manifest() -> dict[str, ManifestEntry]:
    """Read the manifest: an entry for every model with weights, by the model's name.

    Raises:
        DamagedWeights: the manifest is missing or invalid.

    Examples:
        >>> read_manifest()["mallenet-s"].file
        'mallenet-s.safetensors'
    """
    path = weights_folder() / "manifest.toml"
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: ManifestEntry(**entry) for name, entry in entries.items()}
    except OSError as error:
        raise DamagedWeights(f"{path}: {error.strerror}: reinstall") from error
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise DamagedWeights(f"{path}: not a manifest of weights ({error}): restore the file") from error
