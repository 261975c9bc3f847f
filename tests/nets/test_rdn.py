import pytest
import torch

from denoise_cli.nets.malleconv import MalleConv
from denoise_cli.nets.rdn import DenseBlock, RDNConfig


@torch.no_grad()
def test_a_layer_of_a_block_sees_the_input_and_all_layers_before_it() -> None:
    block = DenseBlock(channels=3, growth=2, layers=3)
    torch.nn.init.normal_(block.fusion.weight)
    features = torch.rand(1, 3, 5, 6)
    first = block.layers[0](features)
    second = block.layers[1](torch.cat([features, first], dim=1))
    third = block.layers[2](torch.cat([features, first, second], dim=1))
    joined = block.fusion(torch.cat([features, first, second, third], dim=1))
    torch.testing.assert_close(block(features), features + joined)


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_the_malleable_convolution_takes_the_place_of_one_layer_in_the_middle(blocks: int) -> None:
    plain = RDNConfig(8, blocks, layers=3).build()
    malleable = RDNConfig(8, blocks, layers=3, middle="malleable").build()
    found = [i for i, block in enumerate(malleable.blocks) if any(isinstance(m, MalleConv) for m in block.modules())]
    assert found == [blocks // 2]
    layers = [
        sum(len(module.layers) for module in net.modules() if isinstance(module, DenseBlock))
        for net in (plain, malleable)
    ]
    assert layers == [3 * blocks, 3 * blocks - 1]
