import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from denoise_cli.nets.dncnn import DnCNNConfig, Middle
from denoise_cli.nets.dynamic import HyperConv, Involution, PixelConv
from denoise_cli.nets.malleconv import MalleConv

FILTERS = {"malleable": MalleConv, "hyper": HyperConv, "involution": Involution, "pixel": PixelConv}

# Tables 1 and 2 of the MalleConv paper, for an image of 256 x 256: 2^30 operations, two to a multiply-add.
COSTS = [
    (DnCNNConfig(15, 64), 68.15),
    (DnCNNConfig(3, 64, "malleable", pool=0), 43.96),
    (DnCNNConfig(3, 64, "malleable", pool=2), 18.17),
    (DnCNNConfig(3, 64, "malleable", pool=4), 11.71),
    (DnCNNConfig(3, 64, "malleable", pool=8), 10.10),
    (DnCNNConfig(15, 64, "malleable", pool=0), 98.24),
    (DnCNNConfig(15, 64, "malleable", pool=2), 72.44),
    (DnCNNConfig(15, 64, "malleable", pool=4), 66.00),
    (DnCNNConfig(15, 64, "malleable", pool=8), 64.39),
]


def operations(config: DnCNNConfig, side: int) -> int:
    counter = FlopCounterMode(display=False)
    with FakeTensorMode(), torch.no_grad():
        net, image, sigma = config.build(), torch.empty(1, 3, side, side), torch.empty(1, 1, side, side)
        with counter:
            net(image, sigma)
    return counter.get_total_flops()


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("depth", [3, 6, 9, 15])
@pytest.mark.parametrize("middle", ["conv", *FILTERS])
def test_every_variant_of_the_paper_can_be_built(depth: int, width: int, middle: Middle) -> None:
    net = DnCNNConfig(depth, width, middle).build()
    image, sigma = torch.rand(1, 3, 5, 7), torch.rand(1, 1, 5, 7)
    assert torch.equal(net(image, sigma), image)


@pytest.mark.parametrize("depth", [3, 6, 9, 15])
@pytest.mark.parametrize("middle", FILTERS)
def test_only_the_middle_layer_is_another(depth: int, middle: Middle) -> None:
    layers = DnCNNConfig(depth, 16, middle).build().layers[1:]
    assert len(layers) == depth
    assert [i for i, layer in enumerate(layers) if isinstance(layer[0], FILTERS[middle])] == [depth // 2]


@torch.no_grad()
@pytest.mark.parametrize("width", [16, 64])
def test_the_last_of_many_fresh_layers_is_as_strong_as_the_first(width: int) -> None:
    net = DnCNNConfig(15, width).build()
    first = net.layers[0](torch.rand(1, 4, 32, 32))
    last = net.layers[1:](first)
    assert 1 / 3 < last.norm() / first.norm() < 3


@pytest.mark.parametrize(("config", "published"), COSTS, ids=str)
def test_the_cost_is_about_the_papers(config: DnCNNConfig, published: float) -> None:
    assert 0.8 * published < operations(config, 256) / 2**30 <= published


def test_an_unknown_middle_is_refused() -> None:
    with pytest.raises(
        ValueError, match="middle: expected conv or malleable or hyper or involution or pixel, got 'dense'"
    ):
        DnCNNConfig(3, 8, "dense").build()
