"""Muon for matrices, Adam for biases."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from denoise_cli.train.optimizer import ADAM_BETAS, ADAM_EPSILON, ADAM_UPDATE_RMS, Muon, orthogonalize

SHAPES = {"wide": (16, 144), "tall": (144, 16), "square": (32, 32)}


def matrix(rows: int, columns: int, least: float = 0.2, most: float = 1.0) -> Tensor:
    """Random directions, singular values even on [least, most]."""
    left, _, right = torch.linalg.svd(torch.randn(rows, columns), full_matrices=False)
    return left * torch.linspace(most, least, min(rows, columns)) @ right


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape))


def take_steps(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], gradients: list[list[Tensor]]) -> None:
    for step in gradients:
        for one, gradient in zip(parameters, step, strict=True):
            one.grad = gradient.clone()
        optimizer.step()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_singular_values_become_one_or_near_it(shape: tuple[int, int], scale: float) -> None:
    values = torch.linalg.svdvals(orthogonalize(scale * torch.stack([matrix(*shape), matrix(*shape)])))
    assert values.min() > 0.65
    assert values.max() < 1.25


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_directions_stay(shape: tuple[int, int]) -> None:
    before = matrix(*shape)
    left, _, right = torch.linalg.svd(before, full_matrices=False)
    along = left.T @ orthogonalize(before[None])[0] @ right.T
    assert (along - along.diag().diag()).abs().max() < 1e-4
    assert along.diag().min() > 0


def test_nothing_stays_nothing() -> None:
    assert (orthogonalize(torch.zeros(2, 5, 3)) == 0).all()


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (64, 4, 1, 1), (4, 64, 1, 1)])
def test_an_update_is_as_large_as_one_of_adams(shape: tuple[int, ...]) -> None:
    weight = parameter(*shape)
    before = weight.detach().clone()
    rows = shape[0]
    take_steps(Muon([weight], lr=0.01), [weight], [[matrix(rows, before.numel() // rows).view(shape)]])
    assert (weight.detach() - before).square().mean().sqrt() == pytest.approx(0.01 * ADAM_UPDATE_RMS, rel=0.3)


def test_a_step_on_a_quadratic_goes_down() -> None:
    weight, bias = parameter(6, 3, 3, 3), parameter(6)
    optimizer = Muon([weight, bias], lr=0.02)
    losses = []
    for _ in range(20):
        loss = weight.square().sum() + bias.square().sum()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == sorted(losses, reverse=True)


def test_biases_follow_adam() -> None:
    ours, theirs = nn.Parameter(torch.zeros(7)), nn.Parameter(torch.zeros(7))
    gradients = [[torch.randn(7)] for _ in range(5)]
    take_steps(Muon([ours], lr=0.1, weight_decay=0.5), [ours], gradients)
    take_steps(torch.optim.Adam([theirs], lr=0.1, betas=ADAM_BETAS, eps=ADAM_EPSILON), [theirs], gradients)
    torch.testing.assert_close(ours, theirs)


def test_weights_decay_and_biases_do_not() -> None:
    weight, bias = parameter(4, 2, 3, 3), parameter(4)
    expected, kept = 0.95 * weight.detach(), bias.detach().clone()
    still = [torch.zeros_like(weight), torch.zeros_like(bias)]
    take_steps(Muon([weight, bias], lr=0.1, weight_decay=0.5), [weight, bias], [still])
    torch.testing.assert_close(weight.detach(), expected)
    assert torch.equal(bias, kept)


def test_equal_shapes_are_stepped_together_as_each_on_its_own() -> None:
    shapes = [(4, 3, 3, 3), (8, 2, 1, 1), (4, 3, 3, 3), (4,), (4, 3, 3, 3)]
    together = [parameter(*shape) for shape in shapes]
    apart = [nn.Parameter(one.detach().clone()) for one in together]
    gradients = [[torch.randn(shape) for shape in shapes] for _ in range(3)]
    take_steps(Muon(together, lr=0.1), together, gradients)
    for index, one in enumerate(apart):
        take_steps(Muon([one], lr=0.1), [one], [[step[index]] for step in gradients])
        torch.testing.assert_close(together[index], one)


def test_a_parameter_without_a_gradient_stays() -> None:
    used, unused = parameter(3, 2, 1, 1), parameter(3, 2, 1, 1)
    before = unused.detach().clone()
    used.grad = torch.randn_like(used)
    Muon([used, unused], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(unused, before)


def test_the_state_survives_a_round_trip() -> None:
    shapes = [(4, 3, 3, 3), (4,)]
    whole = [parameter(*shape) for shape in shapes]
    gradients = [[torch.randn(shape) for shape in shapes] for _ in range(6)]
    first = Muon(whole, lr=0.1)
    take_steps(first, whole, gradients[:3])
    copies = [nn.Parameter(one.detach().clone()) for one in whole]
    second = Muon(copies, lr=0.1)
    second.load_state_dict(deepcopy(first.state_dict()))
    take_steps(first, whole, gradients[3:])
    take_steps(second, copies, gradients[3:])
    assert all(torch.equal(one, copy) for one, copy in zip(whole, copies, strict=True))
