"""The contract of every network: shapes, level map, gradients, precision, errors."""

import re
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoise_cli.models.registry import Config
from denoise_cli.nets.configs import (
    DeformableKernelNetConfig,
    KPNConfig,
    MalleNetConfig,
    MalleNetVideoConfig,
    MalleUNetConfig,
    MosaicUNetConfig,
)
from denoise_cli.nets.dncnn import DnCNNConfig
from denoise_cli.nets.rdn import RDNConfig
from denoise_cli.nets.unet import UNetConfig

Shape = tuple[int, ...]


class Case(NamedTuple):
    """A configuration and the numbers of channels of its input and its output."""

    config: Config
    inputs: int = 3
    outputs: int = 3


# They predict the noise and subtract it, see `NoisePredictor`.
NOISE_PREDICTORS = [
    Case(MalleNetConfig(8)),
    Case(MalleNetConfig(8, block="residual")),
    Case(MalleNetConfig(8, block="residual", lean=True)),
    Case(MalleNetConfig(8, block="residual", kernel=3)),
    Case(MalleNetConfig(8, block="residual", channels=4, outputs=4), inputs=4, outputs=4),
    Case(MalleUNetConfig(32)),
    Case(MalleUNetConfig(32, channels=4, outputs=4), inputs=4, outputs=4),
    Case(MosaicUNetConfig(32, "bayer"), inputs=4, outputs=4),
    Case(MosaicUNetConfig(32, "xtrans"), inputs=9, outputs=9),
    Case(DnCNNConfig(3, 8)),
    Case(DnCNNConfig(6, 8, "malleable")),
    Case(DnCNNConfig(3, 8, "malleable", pool=0)),
    Case(DnCNNConfig(3, 8, "hyper")),
    Case(DnCNNConfig(3, 32, "involution")),
    Case(DnCNNConfig(3, 8, "pixel")),
    Case(UNetConfig(8)),
    Case(UNetConfig(8, middle="malleable")),
    Case(UNetConfig(8, levels=1)),
    Case(UNetConfig(8, levels=4)),
    Case(RDNConfig(8, blocks=2, layers=2, growth=4)),
    Case(RDNConfig(8, blocks=3, layers=2, growth=4, middle="malleable")),
]

# They average pixels, see `KernelPredictor` and `MalleNetVideo`.
AVERAGING = [
    Case(DeformableKernelNetConfig(width=4, side=3)),
    Case(DeformableKernelNetConfig(width=4, side=3, blind=True)),
    Case(DeformableKernelNetConfig(width=4, side=3, deformable=False)),
    Case(DeformableKernelNetConfig(width=4, side=3, frames=3), inputs=9),
    Case(DeformableKernelNetConfig(width=4, side=3, frames=5, blind=True), inputs=15),
    Case(DeformableKernelNetConfig(width=4, side=3, frames=5, deformable=False), inputs=15),
    Case(KPNConfig(width=4, side=3)),
    Case(KPNConfig(width=4, side=3, blind=True)),
    Case(KPNConfig(width=4, side=3, frames=3), inputs=9),
    Case(MalleNetVideoConfig(width=8, trust_width=8), inputs=9),
    Case(MalleNetVideoConfig(width=8, trust_width=8, follows_motion=False), inputs=15),
    Case(MalleNetVideoConfig(width=8, trust_width=8, blind=True), inputs=9),
]


def parametrize(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: f"{case.config}-{case.inputs}")


every_net = parametrize(NOISE_PREDICTORS + AVERAGING)
every_noise_predictor = parametrize(NOISE_PREDICTORS)


def tensors(case: Case, net: nn.Module, B: int, H: int, W: int) -> tuple[Tensor, Tensor]:
    """Noisy image and level map, H and W rounded up to multiples; the frames of a clip show the same picture."""
    H, W = (-(-side // net.multiple) * net.multiple for side in (H, W))
    picture, sigma = torch.rand(B, case.outputs, H, W), torch.rand(B, 1, H, W) / 4
    frames = picture.repeat(1, case.inputs // case.outputs, 1, 1)
    return frames + sigma * torch.randn_like(frames), sigma


@torch.no_grad()
def perturbed(case: Case) -> nn.Module:
    """A network like one after some training: no branch is zero any more."""
    net = case.config.build()
    for parameter in net.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return net


@every_noise_predictor
@pytest.mark.parametrize(("H", "W"), [(1, 1), (2, 3)])
def test_an_untrained_net_that_predicts_the_noise_returns_its_input(case: Case, H: int, W: int) -> None:
    net = case.config.build()
    image, sigma = tensors(case, net, 2, H * net.multiple, W * net.multiple)
    assert torch.equal(net(image, sigma), image)


@every_net
@torch.no_grad()
@pytest.mark.parametrize(("B", "H", "W"), [(1, 1, 1), (3, 1, 3), (2, 5, 1), (1, 3, 2)])
def test_batch_and_size_are_kept(case: Case, B: int, H: int, W: int) -> None:
    net = perturbed(case)
    image, sigma = tensors(case, net, B, H * net.multiple, W * net.multiple)
    denoised = net(image, sigma)
    assert denoised.shape == (B, case.outputs, *image.shape[2:])
    assert denoised.dtype == image.dtype
    assert denoised.isfinite().all()


@every_net
@torch.no_grad()
def test_the_same_input_gives_the_same_output_and_is_not_modified(case: Case) -> None:
    net = perturbed(case)
    image, sigma = tensors(case, net, 1, 16, 24)
    before = image.clone(), sigma.clone()
    first = net.train()(image, sigma)
    assert torch.equal(net.eval()(image, sigma), first)
    assert torch.equal(image, before[0])
    assert torch.equal(sigma, before[1])


@every_net
@torch.no_grad()
def test_images_of_a_batch_do_not_influence_one_another(case: Case) -> None:
    net = perturbed(case).double()
    image, sigma = (tensor.double() for tensor in tensors(case, net, 3, 16, 24))
    alone = torch.cat([net(image[i : i + 1], sigma[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(net(image, sigma), alone)


@every_net
@torch.no_grad()
def test_every_region_depends_on_the_level_map_unless_the_net_is_blind(case: Case) -> None:
    net = perturbed(case)
    image, sigma = tensors(case, net, 1, 32, 32)
    change = (net(image, sigma + 0.2) - net(image, sigma)).abs().amax(dim=1)
    # All samples of a pixel can be beyond the border, where they are zero.
    regions = change if case in NOISE_PREDICTORS else F.max_pool2d(change, 8)
    assert regions.count_nonzero() == (0 if getattr(case.config, "blind", False) else regions.numel())


@every_net
def test_a_gradient_reaches_every_parameter(case: Case) -> None:
    net = perturbed(case)
    net(*tensors(case, net, 2, 32, 48)).square().mean().backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.any()] == []


@every_net
def test_a_fresh_net_starts_to_learn_within_a_few_steps(case: Case) -> None:
    net = case.config.build()
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimizer = torch.optim.Adam(net.parameters())
    image, sigma = tensors(case, net, 2, 32, 48)
    clean = image[:, : case.outputs] + 0.1 * torch.randn(2, case.outputs, *image.shape[2:])
    # Each zeroed layer holds back those before it for one step; to_noise, the blocks, the predictor, its blocks.
    for _ in range(6):
        optimizer.zero_grad()
        (net(image, sigma) - clean).square().mean().backward()
        optimizer.step()
    assert [name for name, parameter in net.named_parameters() if torch.equal(parameter, before[name])] == []


@every_net
@torch.no_grad()
def test_double_precision_agrees_with_single(case: Case) -> None:
    net = perturbed(case)
    image, sigma = tensors(case, net, 1, 32, 32)
    single = net(image, sigma)
    double = net.double()(image.double(), sigma.double())
    assert double.dtype == torch.float64
    tolerance = 1e-4 if case in NOISE_PREDICTORS else 1e-3
    torch.testing.assert_close(single, double.float(), rtol=tolerance, atol=tolerance)


@every_noise_predictor
@torch.no_grad()
def test_in_bfloat16_the_noise_is_close_and_not_quantised(case: Case) -> None:
    net = perturbed(case)
    image, sigma = tensors(case, net, 1, 16, 24)
    black = torch.zeros_like(image)
    exact = net(black, sigma)
    with torch.autocast("cpu", torch.bfloat16):
        noise = net(black, sigma)
    assert noise.dtype == torch.float32
    assert (noise - exact).norm() < 0.03 * exact.norm()
    assert (noise != noise.bfloat16().float()).float().mean() > 0.9


def assert_refused(net: nn.Module, image: Shape, sigma: Shape, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        net(torch.zeros(image), torch.zeros(sigma))


@every_net
def test_images_of_a_wrong_shape_are_refused(case: Case) -> None:
    net = case.config.build()
    C, m = case.inputs, net.multiple
    shapes = [(C, m, m), (1, 0, m, m), (1, 1, m, m), (1, C + 1, m, m), (1, 1, C, m, m)]
    if m > 1:
        shapes += [(1, C, m + 1, m), (1, C, m, 2 * m - 1), (1, C, m // 2, m // 2), (1, C, m, m + m // 2)]
    multiples = f", .*multiples of {m}" if m > 1 else ""
    for shape in shapes:
        message = rf"(image|clip): expected \(B, .+, H, W\){multiples}, got {re.escape(str(shape))}"
        assert_refused(net, shape, (1, 1, *shape[-2:]), message)


@every_net
def test_level_maps_of_a_wrong_shape_are_refused(case: Case) -> None:
    net = case.config.build()
    H = W = 2 * net.multiple
    expected = re.escape(str((2, 1, H, W)))
    for shape in [(2, 3, H, W), (1, 1, H, W), (2, 1, H, W + 1), (2, 1, W // 2, H), (2, 1, 1, 1), (2, H, W), (2,)]:
        message = f"sigma: expected {expected}, got {re.escape(str(shape))}"
        assert_refused(net, (2, case.inputs, H, W), shape, message)
