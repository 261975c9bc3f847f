"""Models by name and by weight file, and the cards of the models with weights."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from denoise_cli.errors import DamagedWeights, UnknownModel
from denoise_cli.models.checkpoint import write_tensors
from denoise_cli.models.manifest import card_of, read_manifest, weights_folder
from denoise_cli.models.registry import MODELS, check_weights, find_model, load_net, name_of

SECTIONS = ["What it is for", "Network", "Training data", "Provenance", "Scores", "Limits", "Licence"]


@pytest.fixture
def net() -> nn.Module:
    return MODELS["mallenet-s"].config.build()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


@pytest.mark.parametrize("name", MODELS)
def test_every_name_has_its_spec(name: str) -> None:
    assert find_model(name) is MODELS[name]
    assert name_of(name) == name


def test_a_file_says_which_model_it_holds(net: nn.Module, path: Path) -> None:
    nn.init.normal_(net.get_parameter("to_noise.weight"))
    write_tensors(path, net.state_dict(), {"model": "mallenet-s"})
    assert name_of(str(path)) == "mallenet-s"
    assert find_model(str(path)) is MODELS["mallenet-s"]
    loaded = load_net(str(path)).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in net.state_dict().items())


def test_a_file_that_is_not_there_is_said(path: Path) -> None:
    for use in (check_weights, find_model, load_net, name_of):
        with pytest.raises(DamagedWeights, match=rf"{path}: No such file or directory"):
            use(str(path))


@pytest.mark.parametrize("data", [b"", b"no weights", bytes(100)])
def test_a_file_of_something_else_is_said(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(DamagedWeights, match=rf"{path}: not a complete safetensors file"):
        find_model(str(path))


@pytest.mark.parametrize("metadata", [None, {"step": "3"}, {"model": "none"}])
def test_a_file_without_its_models_name_is_said(net: nn.Module, path: Path, metadata: dict[str, str] | None) -> None:
    write_tensors(path, net.state_dict(), metadata)
    with pytest.raises(DamagedWeights) as error:
        load_net(str(path))
    assert str(error.value) == f"{path}: does not name a known model: use a file that denoise train has written"


def test_a_file_of_another_network_is_said(net: nn.Module, path: Path) -> None:
    write_tensors(path, net.state_dict(), {"model": "mallenet-m"})
    for use in (check_weights, load_net):
        with pytest.raises(DamagedWeights, match=rf"{path}: weights of another network: .* should be .*, is .*"):
            use(str(path))


def test_a_truncated_file_is_said(net: nn.Module, path: Path) -> None:
    write_tensors(path, net.state_dict(), {"model": "mallenet-s"})
    path.write_bytes(path.read_bytes()[:-100])
    for use in (find_model, check_weights, load_net):
        with pytest.raises(DamagedWeights, match=rf"{path}: not a complete safetensors file"):
            use(str(path))


@pytest.mark.parametrize(("name", "hint"), [("best", ""), ("mallenet-rr", "did you mean mallenet-r? ")])
def test_an_unknown_name_lists_those_that_have_weights(name: str, hint: str) -> None:
    with pytest.raises(UnknownModel) as error:
        find_model(name)
    trained = [name for name in MODELS if name in read_manifest()]
    assert set(trained) < set(MODELS)
    assert str(error.value) == f"no model is called {name!r}: {hint}choose from {', '.join(trained)}"


@pytest.mark.parametrize("name", ["notes.txt", "weights/mine", "mallenet-r.pt"])
def test_a_file_of_another_kind_is_no_misspelt_name(name: str) -> None:
    with pytest.raises(UnknownModel) as error:
        find_model(name)
    reason = "is no model: name a .safetensors file that denoise train has written"
    assert str(error.value) == f"{name}: {reason}, or a model that denoise models lists"


def test_every_entry_of_the_manifest_has_a_card_and_every_card_an_entry() -> None:
    cards = {path.stem for path in (weights_folder() / "cards").iterdir()}
    assert cards == set(read_manifest())


@pytest.mark.parametrize("name", read_manifest())
def test_every_card_has_the_same_sections(name: str) -> None:
    headings = re.findall(r"^#.*$", card_of(name).read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == [f"# {name}", *(f"## {section}" for section in SECTIONS)]


@pytest.mark.parametrize("name", read_manifest())
def test_a_card_has_the_scores_of_the_manifest_and_the_commands_that_print_them(name: str) -> None:
    text = card_of(name).read_text(encoding="utf-8")
    scores = text.split("\n## Scores\n")[1].split("\n## ")[0]
    rows = "".join(re.findall(r"^\|.*$", scores, re.MULTILINE))
    for test_set, levels in read_manifest()[name].scores.items():
        for level, value in levels.items():
            assert f" {value:.2f} " in rows, (test_set, level)
    for paragraph in re.findall(r"(?:.+\n)+\n(?=\|)", scores):  # the text above each table
        assert re.search(r"`(denoise eval|python docs/experiments/\w+\.py) |instead of `--sigma`", paragraph), paragraph
