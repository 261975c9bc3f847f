"""`denoise models` and `denoise doctor`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from denoise_cli.models import manifest, registry
from denoise_cli.train.recipe import read_recipe

Cli = Callable[..., Any]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the weights, to be damaged."""
    folder = tmp_path / "weights"
    shutil.copytree(manifest.weights_folder(), folder)
    monkeypatch.setattr(manifest, "weights_folder", lambda: folder)
    return folder


def test_every_model_is_listed(cli: Cli) -> None:
    done = cli("models")
    assert done.code == 0
    assert [name for name in registry.MODELS if name not in done.out] == []


def test_the_list_is_also_data(cli: Cli) -> None:
    records = [json.loads(line) for line in cli("models", "--json").out.splitlines()]
    assert [record["name"] for record in records] == list(registry.MODELS)
    assert records[0]["scores"]["cbsd68"]["25"] > 31


def test_a_model_is_shown_with_its_checksum_its_provenance_and_its_card(cli: Cli) -> None:
    entry = manifest.read_manifest()["mallenet-s"]
    facts = dict(line.split(maxsplit=1) for line in cli("models", "show", "mallenet-s").out.splitlines())
    assert facts["sha256"] == entry.sha256
    assert facts["provenance"] == entry.provenance
    assert Path(facts["card"]).read_text(encoding="utf-8").startswith("# mallenet-s\n")


def test_what_is_shown_is_also_data(cli: Cli) -> None:
    facts = json.loads(cli("models", "show", "mallenet-s", "--json").out)
    assert facts["scores"]["cbsd68"]["25"] > 31
    assert facts["card"] == str(manifest.card_of("mallenet-s"))


def test_a_model_without_weights_says_how_to_make_them(cli: Cli) -> None:
    done = cli("models", "show", "mallenet-xl")
    assert done.code == 2
    expected = "mallenet-xl has no trained weights yet: train it with denoise train --model mallenet-xl"
    assert done.err == f"denoise: {expected}\n"


def test_whole_weights_are_verified(cli: Cli) -> None:
    done = cli("models", "verify")
    assert done.code == 0
    assert done.out.splitlines() == [f"{name}: intact" for name in manifest.read_manifest()]


def test_truncated_weights_are_found(cli: Cli, weights: Path) -> None:
    path = weights / "mallenet-s.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    done = cli("models", "verify")
    assert done.code == 1
    assert done.err.splitlines() == [
        f"denoise: mallenet-s: {path}: the checksum does not match the manifest: reinstall, or restore the file"
    ]


def test_a_missing_manifest_is_said(cli: Cli, weights: Path) -> None:
    (weights / "manifest.toml").unlink()
    done = cli("models")
    assert done.code == 1
    assert done.err == f"denoise: {weights / 'manifest.toml'}: No such file or directory: reinstall\n"


def test_the_manifest_speaks_of_models_and_files_that_exist() -> None:
    for name, entry in manifest.read_manifest().items():
        assert name in registry.MODELS
        assert entry.path.is_file()
        spec = registry.MODELS[name]
        raw = "cbsd68-xtrans" if spec.space == "xtrans" else "cbsd68-raw"
        test_set = {"video": "clips", "raw": raw, "image": "nam25" if spec.is_blind else "cbsd68"}
        assert next(iter(entry.scores)) == test_set[spec.media]
        assert read_recipe(name).model == name


def test_the_doctor_names_what_this_machine_runs_on(cli: Cli) -> None:
    done = cli("doctor", "--json")
    facts = json.loads(done.out)
    assert done.code == 0
    assert facts["weights of mallenet-s"] == "intact"
    assert facts["runs on"].split(" in ")[1] in (
        "float32 with OpenVINO",
        "bfloat16 with OpenVINO",
        "float16 with PyTorch",
        "bfloat16 with PyTorch",
    )


def test_the_doctor_says_what_to_install(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from denoise_cli.cli import doctor

    monkeypatch.setitem(doctor.OPTIONAL, "no_such_module", ("dreams", "dream-reader"))
    assert "not installed: pip install dream-reader" in cli("doctor").out


def test_the_doctor_names_a_library_that_cannot_be_loaded(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from denoise_cli.cli import doctor

    load = doctor.importlib.import_module

    def refuse(name: str, *given: str) -> ModuleType:
        if name == "rawpy":
            raise ImportError("librawpy.so: cannot open\nshared object file")
        return load(name, *given)

    monkeypatch.setattr(doctor.importlib, "import_module", refuse)
    done = cli("doctor", "--json")
    assert done.code == 0
    what = "rawpy is installed, but cannot be loaded: librawpy.so: cannot open shared object file"
    assert json.loads(done.out)["camera RAW"] == what
