"""Models small enough to be trained in a test, a recipe of six steps, and how two runs are compared."""

import dataclasses

import torch
from torch import Tensor, nn

from denoise_cli.models import registry
from denoise_cli.models.checkpoint import read_tensors
from denoise_cli.nets.configs import MalleNetConfig, MalleNetVideoConfig, MalleUNetConfig, MosaicUNetConfig
from denoise_cli.nets.residual import ResidualNet, conv, zeroed
from denoise_cli.train.recipe import Recipe
from denoise_cli.train.trainer import Trainer

CPU = torch.device("cpu")
# The learning rate falls in the last two of the six steps.
RECIPE = Recipe("tiny", steps=6, batch=2, patch=16, warmup=2)


@dataclasses.dataclass(frozen=True)
class Tiny:
    width: int = 4

    def build(self) -> nn.Module:
        return TinyNet(self.width)


class TinyNet(ResidualNet):
    multiple = 8

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(4, width), nn.ReLU())
        self.to_noise = zeroed(conv(width, 3))

    def features(self, image: Tensor, sigma: Tensor) -> Tensor:
        return self.body(torch.cat([image, sigma], dim=1))


SPECS = {
    "tiny": registry.ModelSpec(Tiny(), ""),
    "wider": registry.ModelSpec(Tiny(8), ""),
    "u": registry.ModelSpec(MalleUNetConfig(8), ""),
    "larger u": registry.ModelSpec(MalleUNetConfig(12, blocks=2), ""),
    "mosaic u": registry.ModelSpec(MosaicUNetConfig(12, "xtrans"), "", space="xtrans", noise="sensor"),
    "blind": registry.ModelSpec(Tiny(), "", noise="camera"),
    "linear": registry.ModelSpec(Tiny(), "", space="linear", noise="sensor"),
    "clips": registry.ModelSpec(MalleNetVideoConfig(4), "", window=3, any_window=True),
    "mosaic": registry.ModelSpec(
        MalleNetConfig(4, block="residual", channels=4, outputs=4), "", space="mosaic", noise="sensor"
    ),
    "developed": registry.ModelSpec(MalleNetConfig(4, block="residual"), "", space="developed", noise="sensor"),
}


def differences(one: Trainer, other: Trainer, name: str = "state.safetensors") -> list[str]:
    first, second = read_tensors(one.folder / name), read_tensors(other.folder / name)
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]
