"""What every network that predicts the noise keeps to."""

import pytest
import torch
from torch import Tensor

from denoise_cli.nets.dncnn import DnCNNConfig
from denoise_cli.nets.mallenet import MalleNetConfig
from denoise_cli.nets.rdn import RDNConfig
from denoise_cli.nets.residual import ResidualNet
from denoise_cli.nets.unet import UNetConfig

Config = DnCNNConfig | MalleNetConfig | RDNConfig | UNetConfig

NETS: list[Config] = [
    MalleNetConfig(8),
    DnCNNConfig(3, 8),
    DnCNNConfig(6, 8, "malleable"),
    DnCNNConfig(3, 8, "malleable", pool=0),
    DnCNNConfig(3, 8, "hyper"),
    DnCNNConfig(3, 32, "involution"),
    DnCNNConfig(3, 8, "pixel"),
    UNetConfig(8),
    UNetConfig(8, middle="malleable"),
    UNetConfig(8, levels=1),
    RDNConfig(8, blocks=2, layers=2, growth=4),
    RDNConfig(8, blocks=3, layers=2, growth=4, middle="malleable"),
]

every_net = pytest.mark.parametrize("config", NETS, ids=str)


def inputs(net: ResidualNet, B: int, H: int, W: int) -> tuple[Tensor, Tensor]:
    """Sides in units of the smallest that the network takes."""
    H, W = H * net.multiple, W * net.multiple
    return torch.rand(B, 3, H, W), torch.rand(B, 1, H, W) / 4


@torch.no_grad()
def perturbed(config: Config) -> ResidualNet:
    """As after some training: no branch is zero any more."""
    net = config.build()
    for parameter in net.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return net


@every_net
@pytest.mark.parametrize(("H", "W"), [(1, 1), (2, 3)])
def test_an_untrained_net_returns_its_input(config: Config, H: int, W: int) -> None:
    net = config.build()
    image, sigma = inputs(net, 2, H, W)
    assert torch.equal(net(image, sigma), image)


@every_net
@pytest.mark.parametrize(("H", "W"), [(1, 1), (1, 3), (3, 1), (3, 2)])
def test_every_size_that_is_a_multiple_is_kept(config: Config, H: int, W: int) -> None:
    net = perturbed(config)
    image, sigma = inputs(net, 2, H, W)
    denoised = net(image, sigma)
    assert denoised.shape == image.shape
    assert denoised.isfinite().all()


@every_net
def test_images_of_a_batch_do_not_see_one_another(config: Config) -> None:
    net = perturbed(config).double()
    image, sigma = (tensor.double() for tensor in inputs(net, 2, 1, 2))
    alone = torch.cat([net(image[i : i + 1], sigma[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(net(image, sigma), alone)


@every_net
def test_a_gradient_reaches_every_parameter(config: Config) -> None:
    net = perturbed(config)
    image, sigma = inputs(net, 2, -(-32 // net.multiple), -(-48 // net.multiple))
    net(image, sigma).square().mean().backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.any()] == []


@every_net
def test_a_fresh_net_starts_to_learn_within_a_few_steps(config: Config) -> None:
    net = config.build()
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimizer = torch.optim.Adam(net.parameters())
    image, sigma = inputs(net, 2, -(-32 // net.multiple), -(-48 // net.multiple))
    clean = image + 0.1 * torch.randn_like(image)
    # Each zeroed layer holds back those before it for one step; to_noise, the blocks, the predictor, its blocks.
    for _ in range(6):
        optimizer.zero_grad()
        (net(image, sigma) - clean).square().mean().backward()
        optimizer.step()
    assert [name for name, parameter in net.named_parameters() if torch.equal(parameter, before[name])] == []


@every_net
def test_in_bfloat16_the_noise_is_close_and_comes_without_steps(config: Config) -> None:
    net = perturbed(config)
    _, sigma = inputs(net, 1, -(-16 // net.multiple), -(-24 // net.multiple))
    black = torch.zeros(1, 3, *sigma.shape[2:])
    exact = net(black, sigma)
    with torch.autocast("cpu", torch.bfloat16):
        noise = net(black, sigma)
    assert noise.dtype == torch.float32
    assert (noise - exact).norm() < 0.03 * exact.norm()
    assert (noise != noise.bfloat16().float()).float().mean() > 0.9


@pytest.mark.parametrize(
    ("config", "image", "sigma", "complaint"),
    [
        (UNetConfig(8, levels=4), (1, 3, 8, 12), (1, 1, 8, 12), r"image: .*multiples of 8, got \(1, 3, 8, 12\)"),
        (UNetConfig(8, levels=3), (1, 3, 6, 4), (1, 1, 6, 4), "multiples of 4"),
        (DnCNNConfig(3, 8), (1, 1, 8, 8), (1, 1, 8, 8), r"image: expected \(B, 3, H, W\), got \(1, 1, 8, 8\)"),
        (DnCNNConfig(3, 8), (3, 8, 8), (1, 8, 8), "image"),
        (RDNConfig(8), (2, 3, 5, 7), (1, 1, 5, 7), r"sigma: expected \(2, 1, 5, 7\), got \(1, 1, 5, 7\)"),
        (RDNConfig(8), (1, 3, 5, 7), (1,), "sigma"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    config: Config, image: tuple[int, ...], sigma: tuple[int, ...], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        config.build()(torch.zeros(image), torch.zeros(sigma))
