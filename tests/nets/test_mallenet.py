from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from denoise_cli.models.registry import load_net
from denoise_cli.nets.configs import MALLENET_MULTIPLE, MalleNetConfig, MalleUNetConfig
from denoise_cli.nets.malleconv import cell_side
from denoise_cli.nets.mallenet import LEVELS, WIDTHS, MalleNet
from denoise_cli.nets.malleunet import SQUARE
from denoise_cli.nets.malleunet import WIDTHS as U_WIDTHS

# What the paper allows each variant, in multiply-adds (1e9) for an image of 256 x 256.
BUDGETS: dict[str, tuple[MalleNetConfig | MalleUNetConfig, float]] = {
    "mallenet-s": (MalleNetConfig(width=16, block="residual", lean=True), 2.93),
    "mallenet-r": (MalleNetConfig(width=16, block="residual"), 29.11),
    "mallenet-m": (MalleNetConfig(width=32, block="residual"), 9.36),
    "mallenet-u": (MalleUNetConfig(width=32, levels=3), 2.93),
    "mallenet-s-paper": (MalleNetConfig(width=16, block="inverted"), 2.93),
    "mallenet-m-paper": (MalleNetConfig(width=32, block="inverted"), 9.36),
    "mallenet-l": (MalleUNetConfig(width=96, blocks=2), 33.47),
    "mallenet-l-paper": (MalleNetConfig(width=64, block="inverted"), 33.47),
    "mallenet-xl": (MalleNetConfig(width=144, block="inverted"), 181.89),
    "mallenet-r-paper": (MalleNetConfig(width=48, block="residual", kernel=3), 29.11),
}


PLANES = {"channels": 4, "outputs": 4}


@torch.no_grad()
@pytest.mark.parametrize("lean", [False, True])
def test_a_network_for_mosaics_begins_where_one_for_rgb_has_come_to(lean: bool) -> None:
    config = MalleNetConfig(8, block="residual", lean=lean)
    trained, net = config.build(), replace(config, **PLANES).build()
    for parameter in trained.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.05)
    net.start_from(trained)
    image, sigma = torch.rand(2, 3, 64, 128), torch.rand(2, 1, 64, 128) / 4
    planes = image[:, [0, 1, 1, 2]]  # if both green planes are equal, the results are the same
    torch.testing.assert_close(net(planes, sigma), trained(image, sigma)[:, [0, 1, 1, 2]], rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match=r"expected \(B, 4, H, W\)"):
        net(image, sigma)


def test_a_network_for_mosaics_takes_no_other_networks_weights() -> None:
    net = MalleNetConfig(8, block="residual", **PLANES).build()
    with pytest.raises(ValueError, match="expected channels of the same kind and no less width"):
        net.start_from(MalleNetConfig(16, block="residual").build())
    with pytest.raises(ValueError, match="expected channels of the same kind and no less width"):
        net.start_from(MalleNetConfig(8, block="residual", lean=True).build())


@torch.no_grad()
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_wider_network_begins_where_a_narrower_one_has_come_to(kernel: int) -> None:
    narrow = MalleNetConfig(8, block="residual", kernel=kernel)
    trained, net = narrow.build(), replace(narrow, width=12).build()
    for parameter in trained.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.05)
    net.start_from(trained)
    image, sigma = torch.rand(2, 3, 64, 128), torch.rand(2, 1, 64, 128) / 4
    torch.testing.assert_close(net(image, sigma), trained(image, sigma), rtol=0, atol=1e-4)


def convolution_multiply_adds(config: MalleNetConfig | MalleUNetConfig, side: int) -> int:
    counter = FlopCounterMode(display=False)
    with FakeTensorMode(), torch.no_grad():
        net, image, sigma = config.build(), torch.empty(1, 3, side, side), torch.empty(1, 1, side, side)
        with counter:
            net(image, sigma)
    return counter.get_total_flops() // 2


def malleable_multiply_adds(config: MalleNetConfig | MalleUNetConfig, side: int) -> int:
    """Those that the counter misses: K*K taps at each value, and four cells blended for each tap and for the bias."""
    is_u = isinstance(config, MalleUNetConfig)
    finest, widths, taps = (side // SQUARE, U_WIDTHS, 1) if is_u else (side, WIDTHS, config.kernel**2)
    values = sum(config.width * factor * (finest >> level) ** 2 for level, factor in enumerate(widths))
    return values * (taps + 4 * (taps + 1))


def test_the_shipped_weights_fit() -> None:
    assert isinstance(load_net("mallenet-s"), MalleNet)


def test_saved_optimisers_find_the_parameters_in_the_order_they_know() -> None:
    parts = [name.split(".")[0] for name, _ in MalleNetConfig(width=8).build().named_parameters()]
    assert list(dict.fromkeys(parts)) == ["encoders", "mergers", "decoders", "to_noise"]


def test_every_variant_keeps_within_the_papers_multiply_adds(capsys: pytest.CaptureFixture[str]) -> None:
    rows, above = [], []
    for name, (config, budget) in BUDGETS.items():
        with torch.device("meta"):
            parameters = sum(parameter.numel() for parameter in config.build().parameters())
        cost = (convolution_multiply_adds(config, 256) + malleable_multiply_adds(config, 256)) / 1e9
        rows.append(f"{name:18}{parameters:>12,} parameters{cost:>9.2f} G multiply-adds{budget:>9.2f} in the paper")
        if cost > budget:
            above.append(name)
    with capsys.disabled():
        print("", *rows, sep="\n")
    assert above == []


def test_sides_are_multiples_of_a_cell_at_the_coarsest_level() -> None:
    assert MALLENET_MULTIPLE == MalleNet.multiple == cell_side() * 2 ** (LEVELS - 1)
