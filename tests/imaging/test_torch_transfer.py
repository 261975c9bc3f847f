"""sRGB for tensors: as for arrays, and differentiable everywhere."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from denoise_cli.imaging import torch_transfer, transfer
from denoise_cli.imaging.noise import ShotRead

PAIRS = {
    "encode": (torch_transfer.linear_to_srgb, transfer.linear_to_srgb),
    "decode": (torch_transfer.srgb_to_linear, transfer.srgb_to_linear),
}
CRITICAL = [-1.0, -1e-9, 0.0, 1e-30, transfer.LINEAR_TOE, transfer.ENCODED_TOE, 1.0, 1.5]


@pytest.mark.parametrize("name", PAIRS)
def test_tensors_and_arrays_are_converted_alike(name: str) -> None:
    ours, theirs = PAIRS[name]
    values = np.linspace(-0.5, 1.5, 4001)
    np.testing.assert_allclose(ours(torch.from_numpy(values)).numpy(), theirs(values), rtol=1e-12)


@pytest.mark.parametrize("convert", [pair[0] for pair in PAIRS.values()], ids=PAIRS)
def test_the_gradient_is_finite_and_positive_everywhere(convert: Callable[[Tensor], Tensor]) -> None:
    values = torch.tensor(CRITICAL, requires_grad=True)
    convert(values).sum().backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    assert (values.grad > 0).all()


def test_the_gradient_of_the_encoding_is_its_slope() -> None:
    values = torch.linspace(-0.2, 1.2, 500, dtype=torch.float64, requires_grad=True)
    torch_transfer.linear_to_srgb(values).sum().backward()
    assert values.grad is not None
    np.testing.assert_allclose(values.grad.numpy(), transfer.srgb_slope(values.detach().numpy()), rtol=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.03, 0.1, 0.5, 0.9])
def test_a_small_level_in_linear_light_is_how_far_the_light_moves(value: float) -> None:
    sigma = 1e-6
    encoded = torch.full((1, 3, 8, 8), value, dtype=torch.float64)
    moved = (torch_transfer.srgb_to_linear(encoded + sigma) - torch_transfer.srgb_to_linear(encoded))[:, :1]
    level = torch_transfer.sigma_in_linear(encoded, torch.full((1, 1, 8, 8), sigma, dtype=torch.float64))
    # In the dark the curve and the straight piece do not have quite the same slope.
    torch.testing.assert_close(level, moved, rtol=2e-2 if value < transfer.ENCODED_TOE else 1e-4, atol=0)


@pytest.mark.parametrize(("shot", "read"), [(1e-3, 3e-3), (2.5e-3, 1e-2), (6.4e-3, 2e-2), (1e-2, 3e-2)])
@pytest.mark.parametrize("light", [2e-3, 0.01, 0.05, 0.2, 0.7])
def test_the_level_of_a_sensors_noise_is_found_again(
    shot: float, read: float, light: float, rng: np.random.Generator
) -> None:
    deviation = (shot * light + read**2) ** 0.5
    noisy = transfer.linear_to_srgb(light + deviation * rng.normal(size=(64, 64, 3))).astype(np.float32)
    sigma = torch.from_numpy(ShotRead(shot, read).level_of_photo(noisy))[None, None]
    level = torch_transfer.sigma_in_linear(torch.from_numpy(noisy).permute(2, 0, 1)[None], sigma)
    assert level.mean().item() == pytest.approx(deviation, rel=0.15)


def test_a_level_in_linear_light_does_not_follow_the_noise() -> None:
    encoded = 0.5 + 0.1 * torch.randn(1, 3, 64, 64)
    level = torch_transfer.sigma_in_linear(encoded, torch.full((1, 1, 64, 64), 0.1))
    assert level.shape == (1, 1, 64, 64)
    assert level.std() < 0.05 * level.mean()


def test_a_level_map_is_converted_pixel_by_pixel() -> None:
    sigma = 0.2 * torch.rand(2, 1, 6, 7)
    encoded = torch.full((2, 3, 6, 7), 0.5)
    level = torch_transfer.sigma_in_linear(encoded, sigma)
    alone = torch_transfer.sigma_in_linear(encoded, torch.full_like(sigma, sigma[1, 0, 2, 3].item()))
    torch.testing.assert_close(level[1, 0, 2, 3], alone[1, 0, 2, 3])
