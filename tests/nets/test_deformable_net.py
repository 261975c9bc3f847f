import pytest
import torch
from torch import Tensor

from denoise_cli.nets.configs import DeformableKernelNetConfig
from denoise_cli.nets.deformable import DeformableKernelNet
from denoise_cli.ops.deformable import sample2d, sample_rigid2d

CONFIG = DeformableKernelNetConfig(width=4, side=3, reach=5)


def inputs() -> tuple[Tensor, Tensor]:
    image, sigma = torch.rand(1, 3, 32, 32), torch.rand(1, 1, 32, 32)
    return image, torch.cat([image, sigma], dim=1)


@torch.no_grad()
def pointing(right: float, down: float) -> DeformableKernelNet:
    """A network that moves all points by the same shares of its reach; its weights depend on its input."""
    net = CONFIG.build()
    net.to_offsets.bias.copy_(torch.atanh(torch.tensor([right, down])).repeat(9))
    torch.nn.init.normal_(net.to_weights.weight)
    return net


@pytest.mark.parametrize(("right", "down"), [(0.5, -0.25), (-0.7, 0.0), (0.99, 0.99)])
def test_offsets_are_shares_of_the_reach(right: float, down: float) -> None:
    image, net_inputs = inputs()
    samples, _ = pointing(right, down).kernels(image, net_inputs)
    offsets = CONFIG.reach * torch.tensor([right, down]).repeat(9).view(1, 18, 1, 1).expand(1, 18, 32, 32)
    torch.testing.assert_close(samples, sample2d(image, offsets), rtol=0, atol=1e-4)


def test_no_point_goes_farther_than_the_reach() -> None:
    net = pointing(0, 0)
    torch.nn.init.constant_(net.to_offsets.bias, 1e6)
    image, net_inputs = inputs()
    samples, _ = net.kernels(image, net_inputs)
    offsets = torch.full((1, 18, 32, 32), 5.0)
    torch.testing.assert_close(samples, sample2d(image, offsets), rtol=0, atol=1e-4)


def test_weights_depend_on_what_was_sampled() -> None:
    image, net_inputs = inputs()
    here, there = pointing(0, 0), pointing(0.8, 0.8)
    there.judge.load_state_dict(here.judge.state_dict())
    there.trunk.load_state_dict(here.trunk.state_dict())
    there.to_weights.load_state_dict(here.to_weights.state_dict())
    assert not torch.allclose(here.kernels(image, net_inputs)[1], there.kernels(image, net_inputs)[1])


def test_weights_add_up_to_one_until_they_are_trained() -> None:
    _, weights = CONFIG.build().kernels(*inputs())
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(1, 32, 32))


def test_the_rigid_net_is_the_deformable_one_without_offsets() -> None:
    rigid = DeformableKernelNetConfig(width=4, side=3, deformable=False).build()
    deformable = CONFIG.build()
    names = dict(deformable.named_parameters()).keys() - dict(rigid.named_parameters()).keys()
    assert names == {"to_offsets.weight", "to_offsets.bias"}
    torch.nn.init.normal_(deformable.to_weights.weight)
    rigid.load_state_dict(deformable.state_dict(), strict=False)
    image, net_inputs = inputs()
    (samples, weights), (moved, moved_weights) = rigid.kernels(image, net_inputs), deformable.kernels(image, net_inputs)
    torch.testing.assert_close(samples, sample_rigid2d(image, 3))
    torch.testing.assert_close(moved, samples, rtol=0, atol=1e-4)
    torch.testing.assert_close(moved_weights, weights, rtol=1e-3, atol=1e-3)


def test_offsets_learn_to_point_at_what_was_shifted() -> None:
    net = DeformableKernelNetConfig(width=4, side=1, reach=4).build()
    optimizer = torch.optim.Adam([net.to_offsets.bias], lr=0.05)
    # Smooth enough for the gradient to point to a target two pixels away.
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 6), (32, 32), mode="bicubic")
    shifted = smooth.roll(-2, dims=3)
    for _ in range(60):
        optimizer.zero_grad()
        (net(smooth, torch.zeros(1, 1, 32, 32)) - shifted)[..., :28].abs().mean().backward()
        optimizer.step()
    right, down = net.config.reach * torch.tanh(net.to_offsets.bias.detach())
    assert right.item() == pytest.approx(2, abs=0.1)
    assert down.item() == pytest.approx(0, abs=0.1)
