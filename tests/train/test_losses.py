import numpy as np
import pytest
import torch
from torch import Tensor

from denoise_cli.imaging import transfer
from denoise_cli.train.losses import LEAST_ERROR, annealed_gamma_l1, gamma_l1, linear_to_srgb, log_error, rms_error

KINK = transfer.LINEAR_TOE


def groups_and_clean() -> tuple[Tensor, Tensor]:
    return torch.rand(2, 5, 3, 4, 6).double(), torch.rand(2, 3, 4, 6).double()


def test_the_encoding_is_that_of_the_photos() -> None:
    linear = np.concatenate([np.linspace(-0.5, 2, 1001), [0, KINK, KINK + 1e-9, KINK / 2, 1]])
    torch.testing.assert_close(
        linear_to_srgb(torch.from_numpy(linear)), torch.from_numpy(transfer.linear_to_srgb(linear))
    )


def test_the_slope_of_the_encoding_is_that_of_finite_differences() -> None:
    linear = torch.tensor([-0.5, -1e-3, 0, 1e-3, 2 * KINK, 0.1, 0.5, 1, 1.5]).double().requires_grad_()
    assert torch.autograd.gradcheck(linear_to_srgb, linear)


@pytest.mark.parametrize("value", [-1e6, -1.0, -1e-30, 0.0, 1e-30, KINK, 1.0, 1e6])
def test_the_gradient_is_finite_everywhere(value: float) -> None:
    linear = torch.full((2, 3), value, requires_grad=True)
    gamma_l1(linear, torch.full((2, 3), 0.5)).backward()
    assert linear.grad.isfinite().all()
    assert linear.grad.all()


def test_equal_images_lose_nothing() -> None:
    image = torch.randn(1, 3, 5, 5)
    assert gamma_l1(image, image) == 0


def test_the_loss_is_the_mean_difference_of_the_encoded_images() -> None:
    denoised, clean = np.random.default_rng(0).uniform(-0.1, 1.1, (2, 1, 3, 8, 8))
    expected = np.abs(transfer.linear_to_srgb(denoised) - transfer.linear_to_srgb(clean)).mean()
    assert gamma_l1(torch.from_numpy(denoised), torch.from_numpy(clean)).item() == pytest.approx(expected)


def test_a_dark_error_counts_more_than_a_bright_one() -> None:
    dark, bright = torch.tensor([0.01]), torch.tensor([0.8])
    assert gamma_l1(dark + 0.01, dark) > 5 * gamma_l1(bright + 0.01, bright)


def test_the_groups_losses_add_up_to_a_hundred_times_themselves_at_first() -> None:
    groups, clean = groups_and_clean()
    apart = sum(gamma_l1(groups[:, i], clean) for i in range(5))
    expected = gamma_l1(groups.mean(dim=1), clean) + 100 * apart
    torch.testing.assert_close(annealed_gamma_l1(groups, clean, step=0), expected)


def test_each_step_leaves_the_groups_a_little_less() -> None:
    groups, clean = groups_and_clean()
    plain = gamma_l1(groups.mean(dim=1), clean)
    first, second = (annealed_gamma_l1(groups, clean, step) - plain for step in (1000, 1001))
    assert (second / first).item() == pytest.approx(0.9998)


def test_the_groups_are_forgotten_in_the_end() -> None:
    groups, clean = groups_and_clean()
    plain = gamma_l1(groups.mean(dim=1), clean)
    torch.testing.assert_close(annealed_gamma_l1(groups, clean, step=200_000), plain)


def test_a_single_group_is_the_plain_loss_counted_again() -> None:
    groups, clean = groups_and_clean()
    loss = annealed_gamma_l1(groups[:, :1], clean, step=0, eta=2)
    torch.testing.assert_close(loss, 3 * gamma_l1(groups[:, 0], clean))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"denoised: expected \(1, 3, 8, 8\), got \(1, 1, 8, 8\)"):
        gamma_l1(torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"groups: expected \(B, s, C, H, W\), got \(1, 3, 8, 8\)"):
        annealed_gamma_l1(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), step=0)
    with pytest.raises(ValueError, match="denoised"):
        annealed_gamma_l1(torch.zeros(1, 5, 3, 8, 8), torch.zeros(2, 3, 8, 8), step=0)


def test_the_rms_error_is_the_mean_of_the_crops_own() -> None:
    denoised, clean = np.random.default_rng(0).uniform(-0.1, 1.1, (2, 4, 3, 8, 6))
    expected = np.mean([np.sqrt(np.mean((d - c) ** 2)) for d, c in zip(denoised, clean, strict=True)])
    assert rms_error(torch.from_numpy(denoised), torch.from_numpy(clean)).item() == pytest.approx(expected)


def test_the_rms_error_is_least_at_the_mean_of_what_may_have_been() -> None:
    truth = torch.tensor([0.0, 0.0, 1.0]).view(1, 1, 1, 3)
    losses = [rms_error(torch.full_like(truth, guess / 30), truth).item() for guess in range(31)]
    assert losses.index(min(losses)) == 10  # a third; the mean absolute error is least at the median, zero


def test_a_crop_without_error_does_not_spoil_the_others() -> None:
    clean = torch.rand(2, 3, 4, 4)
    error = torch.tensor([0.0, 0.5]).view(2, 1, 1, 1)
    denoised = (clean + error).requires_grad_()
    rms_error(denoised, clean).backward()
    assert denoised.grad is not None
    assert denoised.grad.isfinite().all()
    assert not denoised.grad[0].any()
    assert denoised.grad[1].all()


def test_the_rms_error_takes_two_batches_of_one_shape() -> None:
    crops = torch.rand(2, 3, 4, 4)
    for denoised, clean in [(crops[..., :3], crops), (crops, crops[:1]), (crops[0], crops[0])]:
        with pytest.raises(ValueError, match="expected"):
            rms_error(denoised, clean)


def test_the_logarithm_of_the_error_counts_every_crop_as_much() -> None:
    clean = torch.zeros(2, 3, 8, 8)
    strong, weak = clean.clone(), clean.clone()
    strong[0], weak[1] = 0.2, 20 * LEAST_ERROR
    halved = [log_error(noisy, clean) - log_error(noisy / 2, clean) for noisy in (strong, weak)]
    torch.testing.assert_close(halved, [torch.tensor(2.0).log() / 2] * 2, rtol=0.01, atol=0)


def test_the_logarithm_of_no_error_is_zero_and_has_a_finite_gradient() -> None:
    image = torch.rand(1, 3, 8, 8, requires_grad=True)
    loss = log_error(image, image.detach())
    loss.backward()
    assert loss.item() == 0
    assert not image.grad.any()


def test_the_logarithm_of_the_error_needs_two_batches_of_one_shape() -> None:
    with pytest.raises(ValueError, match="expected"):
        log_error(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))
