import pytest
import torch

from denoise_cli.nets.configs import MALLENET_MULTIPLE, MalleUNetConfig
from denoise_cli.nets.malleconv import MalleConv, cell_side
from denoise_cli.nets.malleunet import POOLS, SQUARE, MalleUNet


@pytest.fixture
def net() -> MalleUNet:
    """A network like one after some training."""
    made = MalleUNetConfig(32).build().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return made


def test_sides_are_multiples_of_a_cell_at_every_level(net: MalleUNet) -> None:
    cells = [cell_side(pool) * SQUARE * 2**level for level, pool in enumerate(POOLS)]
    assert MALLENET_MULTIPLE == MalleUNet.multiple == cells[-1] == max(cells)
    found = [module.cell for decoder in net.decoders for module in decoder.modules() if isinstance(module, MalleConv)]
    assert found == [cell_side(pool) for pool in POOLS]


@torch.no_grad()
def test_every_pixel_of_a_square_has_its_own_result(net: MalleUNet) -> None:
    image, sigma = torch.full((1, 3, 64, 64), 0.5), torch.full((1, 1, 64, 64), 0.1)
    noise = net.noise(image, sigma)[0, 0, 24:40, 24:40]
    squares = noise.unfold(0, SQUARE, SQUARE).unfold(1, SQUARE, SQUARE).flatten(2)
    assert squares.std(dim=-1).min() > 1e-3


@torch.no_grad()
def test_the_level_map_is_seen_in_place(net: MalleUNet) -> None:
    image, sigma = torch.full((1, 3, 256, 256), 0.5), torch.full((1, 1, 256, 256), 0.1)
    noisier = sigma.clone()
    noisier[..., :128, :128] = 0.3
    change = (net(image, sigma) - net(image, noisier)).abs().mean(dim=(0, 1))
    assert change[:96, :96].mean() > 10 * change[160:, 160:].mean()


@torch.no_grad()
def test_each_channel_can_have_its_own_level() -> None:
    net = MalleUNetConfig(8, levels=3).build().eval()
    for parameter in net.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.05)
    image, levels = torch.full((1, 3, 64, 64), 0.5), torch.tensor([0.0, 0.0, 0.2]).reshape(1, 3, 1, 1)
    same = torch.full((1, 1, 64, 64), 0.1)
    torch.testing.assert_close(net(image, same), net(image, same.expand(1, 3, 64, 64)))
    assert (net(image, levels.expand(1, 3, 64, 64)) - net(image, same)).abs().max() > 1e-3
    with pytest.raises(ValueError, match=r"sigma: expected \(1, 3, 64, 64\)"):
        net(image, levels[:, :2].expand(1, 2, 64, 64))


@torch.no_grad()
@pytest.mark.parametrize("config", [MalleUNetConfig(48), MalleUNetConfig(32, blocks=2), MalleUNetConfig(64, blocks=3)])
def test_a_larger_network_begins_where_a_smaller_one_has_come_to(net: MalleUNet, config: MalleUNetConfig) -> None:
    larger = config.build().eval()
    larger.start_from(net)
    image, sigma = torch.rand(2, 3, 64, 128), torch.rand(2, 1, 64, 128) / 4
    torch.testing.assert_close(larger(image, sigma), net(image, sigma), rtol=0, atol=1e-4)


@torch.no_grad()
def test_further_inputs_are_ignored_at_first_and_one_level_counts_for_all_channels() -> None:
    small = MalleUNetConfig(8, levels=3).build().eval()
    for parameter in small.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.05)
    net = MalleUNetConfig(12, channels=5).build().eval()
    net.start_from(small)
    image, sigma = torch.rand(2, 5, 64, 128), torch.rand(2, 1, 64, 128) / 4
    expected = small.noise(image[:, :3], sigma.expand(-1, 3, -1, -1))
    torch.testing.assert_close(net.noise(image, sigma), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        MalleUNetConfig(16),
        MalleUNetConfig(64, blocks=0),
        MalleUNetConfig(32, channels=2),
        MalleUNetConfig(32, channels=4, outputs=4),
        MalleUNetConfig(32, levels=3),
    ],
)
def test_no_network_starts_from_a_larger_one_or_one_with_other_channels(
    net: MalleUNet, config: MalleUNetConfig
) -> None:
    with pytest.raises(ValueError, match="expected the same outputs, and nothing smaller"):
        config.build().start_from(net)
