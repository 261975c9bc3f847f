import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from denoise_cli.nets.configs import MalleNetConfig, MalleNetVideoConfig
from denoise_cli.nets.mallenet_video import LevelPredictor, MalleNetVideo, Trust


@pytest.fixture
def net() -> MalleNetVideo:
    """A small network like one after some training: no branch is zero any more."""
    torch.manual_seed(0)
    net = MalleNetVideoConfig(width=4, trust_width=4).build()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1 / parameter[0].numel() ** 0.5)
    return net.eval()


def level(clip: Tensor, sigma: float = 0.1) -> Tensor:
    return torch.full((clip.shape[0], 1, *clip.shape[2:]), sigma)


@torch.no_grad()
def test_the_order_of_the_neighbours_does_not_matter(net: MalleNetVideo) -> None:
    frames = torch.rand(2, 4, 3, 64, 128)
    straight, turned = frames.flatten(1, 2), frames[:, [0, 3, 1, 2]].flatten(1, 2)
    torch.testing.assert_close(net(straight, level(straight)), net(turned, level(turned)), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_frame_alone_is_denoised_as_a_photo() -> None:
    photo_net = MalleNetConfig(width=4, block="residual").build().double()
    for parameter in photo_net.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    net = MalleNetVideoConfig(width=4, trust_width=4).build().double()
    net.start_from(photo_net)
    image = torch.rand(1, 3, 64, 64).double()
    sigma = level(image).double()
    torch.testing.assert_close(net(image, sigma), photo_net(image, sigma))


def test_it_starts_from_a_network_of_its_width_only() -> None:
    net = MalleNetVideoConfig(width=4, trust_width=4).build()
    with pytest.raises(ValueError, match="expected a MalleNet of width 4"):
        net.start_from(MalleNetConfig(width=8, block="residual").build())
    with pytest.raises(ValueError, match="expected MalleNetVideoConfig"):
        net.start_from(MalleNetVideoConfig(width=8, trust_width=4).build())


@torch.no_grad()
def test_a_blind_network_starts_as_one_that_is_told_the_level_that_it_predicts(net: MalleNetVideo) -> None:
    blind = MalleNetVideoConfig(width=4, trust_width=4, blind=True).build()
    blind.start_from(net)
    frame = 0.5 + 0.1 * torch.randn(1, 3, 64, 64)
    predicted, share = LevelPredictor(4)(frame, frame[:0])
    assert (share == 1).all()
    torch.testing.assert_close(blind(frame, level(frame)), net(frame, predicted), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_blind_network_sees_the_noise_of_what_moves(net: MalleNetVideo) -> None:
    blind = MalleNetVideoConfig(width=4, trust_width=4, blind=True).build()
    blind.start_from(net)
    sigma = 10 / 255
    clean, clip = moving(5, right=3, sigma=sigma)
    frame, others = clip[:, :3], torch.cat(clip[:, 3:].split(3, dim=1))
    told, own = (one.merge(frame, others, torch.full_like(frame[:, :1], sigma)) for one in (net, blind))
    inside = np.s_[..., 16:-16, 16:-16]
    errors = [(merged - clean)[inside].square().mean().item() for merged, _ in (told, own)]
    assert max(errors) < 0.5 * sigma**2
    assert own[1][inside].mean().item() == pytest.approx(told[1][inside].mean().item(), rel=0.5)


@pytest.mark.parametrize("sigma", [2 / 255, 10 / 255, 60 / 255])
@pytest.mark.parametrize("n", [0, 1, 4])
@torch.no_grad()
def test_the_predicted_level_begins_with_that_of_white_noise(sigma: float, n: int) -> None:
    rng = torch.Generator().manual_seed(0)
    slope = torch.linspace(0.2, 0.8, 96).expand(1, 3, 96, 96)
    frame, *others = (slope + sigma * torch.randn(slope.shape, generator=rng) for _ in range(1 + n))
    predicted, _ = LevelPredictor(4)(frame, torch.cat(others) if others else frame[:0])
    assert predicted.mean().item() == pytest.approx(sigma, rel=0.2)
    assert (predicted > 0.5 * sigma).all()
    assert (predicted < 1.5 * sigma).all()


@torch.no_grad()
def test_the_predicted_level_follows_the_noise_within_a_frame_and_not_its_texture() -> None:
    rng = torch.Generator().manual_seed(0)
    stripes = (torch.arange(128) // 4 % 2).float().expand(1, 3, 64, 128)
    sigma = torch.where(torch.arange(128) < 64, 4 / 255, 24 / 255).expand(1, 1, 64, 128)
    frame, other = (stripes + sigma * torch.randn(stripes.shape, generator=rng) for _ in range(2))
    predicted, _ = LevelPredictor(4)(frame, other)
    for half, expected in (predicted[..., :48], 4 / 255), (predicted[..., 80:], 24 / 255):
        assert half.mean().item() == pytest.approx(expected, rel=0.2)


def moving(frames: int, right: float, sigma: float) -> tuple[Tensor, Tensor]:
    """A clean frame (1, 3, 128, 128) and a noisy clip that begins with it and moves by `right` pixels per frame."""
    rng = torch.Generator().manual_seed(0)
    sizes = (4, 12, 40)
    wide = sum(
        F.interpolate(torch.rand(1, 3, size, size, generator=rng) / 3, size=(256, 256), mode="bicubic")
        for size in sizes
    )
    clean = [wide[..., 64:192, 64 + round(right * time) :][..., :128] for time in range(frames)]
    noisy = [frame + sigma * torch.randn(frame.shape, generator=rng) for frame in clean]
    return clean[0], torch.cat(noisy, dim=1)


@torch.no_grad()
@pytest.mark.parametrize("right", [0, 5])
@pytest.mark.parametrize("frames", [2, 3, 5, 9])
def test_untrained_it_averages_what_is_the_same(frames: int, right: int) -> None:
    clean, clip = moving(frames, right, 0.1)
    residual = (MalleNetVideoConfig(width=4).build()(clip, level(clip)) - clean)[..., 16:-16, 16:-64].std() / 0.1
    assert residual < 1.1 / frames**0.5 + 0.1


@torch.no_grad()
def test_untrained_it_leaves_a_frame_alone_whose_neighbours_show_other_things() -> None:
    frame, others = torch.rand(1, 3, 128, 128), torch.rand(1, 6, 128, 128)
    clip = torch.cat([frame, others], dim=1)
    assert (MalleNetVideoConfig(width=4).build()(clip, level(clip, 0.02)) - frame).abs().max() < 0.01


@torch.no_grad()
def test_noise_that_the_channels_share_hides_no_difference() -> None:
    """The level that is passed for a grey clip assumes independent channels: it is sqrt(3) times the clip's own."""
    sigma, rng = 0.1, torch.Generator().manual_seed(0)
    frame, other = (0.5 + sigma * torch.randn(1, 1, 128, 128, generator=rng) for _ in range(2))
    other[..., 64:] += 2 * sigma
    trust = Trust(4)(frame.expand(-1, 3, -1, -1), other.expand(-1, 3, -1, -1), level(frame, 3**0.5 * sigma))
    assert trust[..., 8:56].mean() > 0.25
    assert trust[..., 72:120].mean() < 0.02


@torch.no_grad()
def test_beyond_the_border_is_nothing_to_trust() -> None:
    clean, clip = moving(3, 20, 0.02)
    dark, dark_clip = clean * 0.05, clip * 0.05
    error = MalleNetVideoConfig(width=4).build()(dark_clip, level(dark_clip, 0.1)) - dark
    assert error[..., :16].mean().abs() < 0.002


@torch.no_grad()
def test_points_that_stay_average_only_what_stands_still() -> None:
    net = MalleNetVideoConfig(width=4, follows_motion=False).build()
    still, moved = (moving(3, right, 0.02) for right in (0, 5))
    stays, differs = ((net(clip, level(clip, 0.02)) - clean).std() / 0.02 for clean, clip in (still, moved))
    assert stays < 0.65
    assert differs > 0.75


@torch.no_grad()
def test_no_noise_is_no_division_by_zero(net: MalleNetVideo) -> None:
    clip = torch.rand(1, 15, 64, 64)
    assert net(clip, level(clip, 0.0)).isfinite().all()
