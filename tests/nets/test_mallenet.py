from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from denoise_cli.models.registry import load_net
from denoise_cli.nets.mallenet import WIDTHS, MalleNet, MalleNetConfig

SMALL = [
    MalleNetConfig(width=8),
    MalleNetConfig(width=8, block="residual"),
    MalleNetConfig(width=8, block="residual", lean=True),
    MalleNetConfig(width=8, block="residual", kernel=3),
]

# What the paper allows each variant, in multiply-adds (1e9) for an image of 256 x 256.
BUDGETS = {
    "mallenet-s": (MalleNetConfig(width=16, block="residual", lean=True), 2.93),
    "mallenet-r": (MalleNetConfig(width=16, block="residual"), 29.11),
    "mallenet-m": (MalleNetConfig(width=32, block="residual"), 9.36),
    "mallenet-s-paper": (MalleNetConfig(width=16, block="inverted"), 2.93),
    "mallenet-m-paper": (MalleNetConfig(width=32, block="inverted"), 9.36),
    "mallenet-l": (MalleNetConfig(width=64, block="inverted"), 33.47),
    "mallenet-xl": (MalleNetConfig(width=144, block="inverted"), 181.89),
    "mallenet-r-paper": (MalleNetConfig(width=48, block="residual", kernel=3), 29.11),
}


def inputs(B: int, H: int, W: int) -> tuple[Tensor, Tensor]:
    return torch.rand(B, 3, H, W), torch.rand(B, 1, H, W) / 4


@torch.no_grad()
def perturbed(config: MalleNetConfig) -> MalleNet:
    """As after some training: no branch is zero any more."""
    net = config.build()
    for parameter in net.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return net


PLANES = {"channels": 4, "outputs": 4}


@torch.no_grad()
@pytest.mark.parametrize("lean", [False, True])
def test_a_network_for_mosaics_begins_where_one_for_rgb_has_come_to(lean: bool) -> None:
    config = MalleNetConfig(8, block="residual", lean=lean)
    known, net = perturbed(config), replace(config, **PLANES).build()
    net.start_from(known)
    image, sigma = inputs(2, 64, 128)
    planes = image[:, [0, 1, 1, 2]]  # where both greens are equal, it does the same
    torch.testing.assert_close(net(planes, sigma), known(image, sigma)[:, [0, 1, 1, 2]], rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match=r"expected \(B, 4, H, W\)"):
        net(image, sigma)


def test_a_network_for_mosaics_takes_no_other_networks_weights() -> None:
    net = MalleNetConfig(8, block="residual", **PLANES).build()
    with pytest.raises(ValueError, match="expected the planes of a mosaic for"):
        net.start_from(MalleNetConfig(4, block="residual").build())


def convolution_multiply_adds(config: MalleNetConfig, side: int) -> int:
    counter = FlopCounterMode(display=False)
    with FakeTensorMode(), torch.no_grad():
        net, image, sigma = config.build(), torch.empty(1, 3, side, side), torch.empty(1, 1, side, side)
        with counter:
            net(image, sigma)
    return counter.get_total_flops() // 2


def malleable_multiply_adds(config: MalleNetConfig, side: int) -> int:
    """What the counter does not see: K*K taps at each value, and four cells blended for each tap and for the bias."""
    values = sum(config.width * factor * (side >> level) ** 2 for level, factor in enumerate(WIDTHS))
    taps = config.kernel**2
    return values * (taps + 4 * (taps + 1))


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_an_untrained_net_returns_its_input(config: MalleNetConfig) -> None:
    image, sigma = inputs(2, 64, 128)
    assert torch.equal(config.build()(image, sigma), image)


@pytest.mark.parametrize("config", SMALL, ids=str)
@pytest.mark.parametrize(("B", "H", "W"), [(1, 64, 64), (3, 64, 64), (2, 64, 192), (1, 320, 64), (1, 128, 192)])
def test_the_shape_is_kept(config: MalleNetConfig, B: int, H: int, W: int) -> None:
    image, sigma = inputs(B, H, W)
    denoised = perturbed(config)(image, sigma)
    assert denoised.shape == image.shape
    assert denoised.isfinite().all()


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_images_of_a_batch_do_not_see_one_another(config: MalleNetConfig) -> None:
    net = perturbed(config).double()
    image, sigma = (tensor.double() for tensor in inputs(3, 64, 64))
    alone = torch.cat([net(image[i : i + 1], sigma[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(net(image, sigma), alone)


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_every_region_depends_on_the_level_map(config: MalleNetConfig) -> None:
    net = perturbed(config)
    image, sigma = inputs(1, 64, 64)
    changed = net(image, sigma + 0.2) - net(image, sigma)
    assert changed.abs().amax(dim=1).count_nonzero() == 64 * 64


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_a_gradient_reaches_every_parameter(config: MalleNetConfig) -> None:
    net = perturbed(config)
    image, sigma = inputs(2, 128, 128)
    net(image, sigma).square().mean().backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.any()] == []


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_a_fresh_net_starts_to_learn_within_a_few_steps(config: MalleNetConfig) -> None:
    net = config.build()
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimizer = torch.optim.Adam(net.parameters())
    image, sigma = inputs(2, 128, 128)
    clean = image + 0.1 * torch.randn_like(image)
    # Each zeroed layer holds back those before it for one step; to_noise, the blocks, the predictor, its blocks.
    for _ in range(6):
        optimizer.zero_grad()
        (net(image, sigma) - clean).square().mean().backward()
        optimizer.step()
    assert [name for name, parameter in net.named_parameters() if torch.equal(parameter, before[name])] == []


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_double_precision_agrees_with_single(config: MalleNetConfig) -> None:
    net = perturbed(config)
    image, sigma = inputs(1, 64, 64)
    single = net(image, sigma)
    double = net.double()(image.double(), sigma.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single, double.float(), rtol=1e-4, atol=1e-4)


def test_the_shipped_weights_fit() -> None:
    assert isinstance(load_net("mallenet-s"), MalleNet)


def test_saved_optimisers_find_the_parameters_in_the_order_they_know() -> None:
    parts = [name.split(".")[0] for name, _ in SMALL[0].build().named_parameters()]
    assert list(dict.fromkeys(parts)) == ["encoders", "mergers", "decoders", "to_noise"]


@pytest.mark.parametrize(
    ("image", "sigma", "complaint"),
    [
        ((3, 64, 64), (1, 1, 64, 64), r"image: .*multiples of 64, got \(3, 64, 64\)"),
        ((1, 3, 63, 64), (1, 1, 63, 64), r"image: .*multiples of 64, got \(1, 3, 63, 64\)"),
        ((1, 3, 64, 96), (1, 1, 64, 96), "image"),
        ((1, 3, 8, 8), (1, 1, 8, 8), "image"),
        ((1, 1, 64, 64), (1, 1, 64, 64), "image"),
        ((1, 4, 64, 64), (1, 1, 64, 64), "image"),
        ((1, 3, 64, 64), (1, 3, 64, 64), r"sigma: expected \(1, 1, 64, 64\), got \(1, 3, 64, 64\)"),
        ((2, 3, 64, 64), (1, 1, 64, 64), "sigma"),
        ((1, 3, 64, 64), (1, 1, 64, 128), "sigma"),
        ((1, 3, 64, 64), (1, 1, 1, 1), "sigma"),
        ((1, 3, 64, 64), (1,), "sigma"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(image: tuple[int, ...], sigma: tuple[int, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SMALL[0].build()(torch.zeros(image), torch.zeros(sigma))


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
