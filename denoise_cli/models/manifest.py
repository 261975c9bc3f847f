"""The manifest of trained weights: which file holds them, its checksum, where they come from and how well they do."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from denoise_cli.errors import DamagedWeights
from denoise_cli.files import packaged_folder


@dataclass(frozen=True)
class ManifestEntry:
    """What the manifest says about a weight file; the model's card (`card_of`) says it at length.

    Attributes:
        file: its name beside the manifest.
        sha256: its checksum.
        architecture, provenance, data, licence: in words.
        scores: PSNR in dB, by test set, by noise level.
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
        """Where the weights are."""
        return weights_folder() / self.file


def weights_folder() -> Path:
    """Where weights, cards, recipes and the manifest are."""
    return packaged_folder("weights")


def card_of(name: str) -> Path:
    """The path of a model's card, a Markdown page; every model in the manifest has one."""
    return weights_folder() / "cards" / f"{name}.md"


def read_manifest() -> dict[str, ManifestEntry]:
    """The manifest's entry for every model that has weights.

    Raises:
        DamagedWeights: the manifest is missing or makes no sense.
    """
    path = weights_folder() / "manifest.toml"
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: ManifestEntry(**entry) for name, entry in entries.items()}
    except OSError as error:
        raise DamagedWeights(f"{path}: {error.strerror}: reinstall") from error
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise DamagedWeights(f"{path}: not a manifest of weights ({error}): restore the file") from error
