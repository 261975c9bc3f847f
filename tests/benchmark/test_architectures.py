"""Other architectures have the size that their authors give; a missing library is reported in one line."""

import sys

import pytest
import torch

from denoise_cli.benchmark.architectures import ARCHITECTURES
from denoise_cli.benchmark.networks import multiple_of_sides
from denoise_cli.errors import DenoiseError, MissingDependency

# Millions of weights as the authors give them: for FFDNet in its paper's table (colour), for the others with their
# published denoisers.
MILLIONS = {
    "dncnn": 0.67,
    "ffdnet": 0.85,
    "drunet": 32.6,
    "nafnet": 29.2,
    "scunet": 17.9,
    "restormer": 26.1,
    "swinir": 11.5,
}


@torch.no_grad()
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_is_of_its_authors_size_and_takes_a_photo(name: str) -> None:
    net = ARCHITECTURES[name]().eval()
    assert sum(parameter.numel() for parameter in net.parameters()) / 1e6 == pytest.approx(MILLIONS[name], rel=0.02)
    side = 64 + multiple_of_sides([name])
    clean = net(torch.rand(1, 3, side, side), torch.full((1, 1, side, side), 0.1))
    assert clean.shape == (1, 3, side, side)


def test_what_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    monkeypatch.delitem(sys.modules, "spandrel.architectures", raising=False)
    monkeypatch.delitem(sys.modules, "spandrel.architectures.DRUNet", raising=False)
    with pytest.raises(MissingDependency, match="timing DRUNet needs spandrel, which is not installed"):
        ARCHITECTURES["drunet"]()


def test_a_torchvision_of_another_pytorch_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        if name != "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("denoise_cli.benchmark.architectures.importlib.import_module", refuse)
    with pytest.raises(DenoiseError, match="nms does not exist: install the torchvision built for this PyTorch"):
        ARCHITECTURES["scunet"]()
