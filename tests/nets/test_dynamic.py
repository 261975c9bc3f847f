from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from denoise_cli.nets.dynamic import HyperConv, Involution, PixelConv
from denoise_cli.nets.malleconv import MalleConv


@torch.no_grad()
def perturbed(layer: nn.Module) -> nn.Module:
    """A layer like one after some training, in float64."""
    for parameter in layer.double().parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return layer


def images(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def nearest(features: Tensor, y: int, x: int) -> Tensor:
    H, W = features.shape[-2:]
    return features[..., min(max(y, 0), H - 1), min(max(x, 0), W - 1)]


def involution_by_hand(layer: Involution, features: Tensor, K: int) -> Tensor:
    """Equations 4 to 6 of the Involution paper, value by value, with our tanh and skip added."""
    B, C, H, W = features.shape
    reduce, span = layer.reduce[0], layer.span
    out = features.clone()
    for b in range(B):
        for y in range(H):
            for x in range(W):
                pixel = features[b, :, y, x]
                hidden = (reduce.weight[:, :, 0, 0] @ pixel + reduce.bias).relu()
                kernel = (span.weight[:, :, 0, 0] @ hidden + span.bias).tanh().view(-1, K, K)
                for c in range(C):
                    for i in range(K):
                        for j in range(K):
                            there = nearest(features[b, c], y + i - K // 2, x + j - K // 2)
                            out[b, c, y, x] += kernel[c // 16, i, j] * there
    return out


@pytest.mark.parametrize("layer", [HyperConv(4, 8, 1), HyperConv(4, 8, 3), Involution(32, 3), PixelConv(4, 8, 3)])
@pytest.mark.parametrize(("H", "W"), [(1, 1), (1, 7), (9, 6)])
def test_untrained_it_changes_nothing(layer: nn.Module, H: int, W: int) -> None:
    channels = 32 if isinstance(layer, Involution) else 4
    features = torch.randn(2, channels, H, W)
    assert torch.equal(layer(features), features)


@torch.no_grad()
@pytest.mark.parametrize(("channels", "K"), [(32, 3), (8, 1), (16, 5)])
def test_involution_is_what_its_paper_says(channels: int, K: int) -> None:
    layer, features = perturbed(Involution(channels, K)), images(2, channels, 3, 4)
    torch.testing.assert_close(layer(features), involution_by_hand(layer, features, K))


@torch.no_grad()
@pytest.mark.parametrize("K", [1, 3])
def test_a_hyper_convolution_is_a_malleable_one_that_shrinks_nothing(K: int) -> None:
    hyper, malleable = perturbed(HyperConv(4, 8, K)), MalleConv(4, 8, K).double()
    malleable.load_state_dict(hyper.state_dict())
    malleable.predictor[0] = malleable.predictor[4] = nn.Identity()
    malleable.cell = 1
    features = images(2, 4, 7, 9)
    torch.testing.assert_close(hyper(features), malleable(features))


@torch.no_grad()
def test_a_pixel_convolution_weighs_all_channels_alike() -> None:
    layer, features = perturbed(PixelConv(4, 8, 3)), images(1, 4, 6, 5)
    kernels, out = layer.predictor(features).tanh(), features.clone()
    for y in range(6):
        for x in range(5):
            for tap in range(9):
                out[..., y, x] += kernels[:, tap, y, x] * nearest(features, y + tap // 3 - 1, x + tap % 3 - 1)
    torch.testing.assert_close(layer(features), out)


@pytest.mark.parametrize(
    ("build", "reach"),
    [(partial(HyperConv, 16, 8, 1), 9), (partial(Involution, 16, 3), 1), (partial(PixelConv, 16, 8, 3), 2)],
)
def test_how_far_a_pixel_looks(build: Callable[[], nn.Module], reach: int) -> None:
    torch.manual_seed(0)  # with other weights, a ReLU can hide a corner
    layer = build()
    features = images(1, 16, 25, 25).requires_grad_()
    perturbed(layer)(features)[..., 12, 12].sum().backward()
    reached = features.grad.abs().sum(dim=(0, 1)).nonzero() - 12
    assert (reached.amin().item(), reached.amax().item()) == (-reach, reach)
