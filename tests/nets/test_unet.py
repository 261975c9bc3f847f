import pytest
import torch

from denoise_cli.nets.malleconv import MalleConv
from denoise_cli.nets.unet import UNetConfig


@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_the_sides_are_multiples_of_the_coarsest_pixel(levels: int) -> None:
    assert UNetConfig(4, levels).build().multiple == 2 ** (levels - 1)


@pytest.mark.parametrize(("middle", "count"), [("conv", 0), ("malleable", 1)])
def test_one_layer_is_malleable_at_most(middle: str, count: int) -> None:
    modules = UNetConfig(8, middle=middle).build().modules()
    assert sum(isinstance(module, MalleConv) for module in modules) == count


@torch.no_grad()
def test_a_step_of_the_coarsest_pixel_moves_the_features_with_the_image() -> None:
    net = UNetConfig(4, levels=3).build().double()
    image, sigma = torch.rand(1, 3, 64, 64, dtype=torch.float64), torch.rand(1, 1, 64, 64, dtype=torch.float64)
    moved = net.features(image.roll((4, 8), (2, 3)), sigma.roll((4, 8), (2, 3)))
    inside = (..., slice(32, 40), slice(32, 40))
    torch.testing.assert_close(moved[inside], net.features(image, sigma).roll((4, 8), (2, 3))[inside])
