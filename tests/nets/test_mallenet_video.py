import pytest
import torch
from torch import Tensor

from denoise_cli.nets.mallenet import MalleNetConfig
from denoise_cli.nets.mallenet_video import MalleNetVideo, MalleNetVideoConfig


@pytest.fixture
def net() -> MalleNetVideo:
    """A small one whose branches have all left zero."""
    torch.manual_seed(0)
    net = MalleNetVideoConfig(width=4, matched=4).build()
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
    net = MalleNetVideoConfig(width=4, matched=4).build().double()
    net.start_from(photo_net)
    image = torch.rand(1, 3, 64, 64).double()
    sigma = level(image).double()
    torch.testing.assert_close(net(image, sigma), photo_net(image, sigma))


def test_it_starts_from_a_network_of_its_width_only() -> None:
    net = MalleNetVideoConfig(width=4, matched=4).build()
    with pytest.raises(ValueError, match="expected a MalleNet of width 4"):
        net.start_from(MalleNetConfig(width=8, block="residual").build())


@torch.no_grad()
@pytest.mark.parametrize("frames", [2, 3, 5, 9])
def test_untrained_it_averages_what_stands_still(frames: int) -> None:
    net = MalleNetVideoConfig(width=4, matched=8).build()
    clean = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), size=(128, 128), mode="bicubic")
    clip = torch.cat([clean + 0.1 * torch.randn_like(clean) for _ in range(frames)], dim=1)
    left = (net(clip, level(clip)) - clean).std() / 0.1
    assert left < 0.95 / (1 + (frames - 1) / 3) ** 0.5


@torch.no_grad()
def test_what_moves_is_found() -> None:
    net = MalleNetVideoConfig(width=4, matched=8).build()
    wide = sum(
        torch.nn.functional.interpolate(torch.rand(1, 3, side, side), size=(256, 256), mode="bicubic") / 3
        for side in (4, 12, 40)
    )
    frame, moved = wide[..., 64:192, 64:192], wide[..., 60:188, 72:200]
    sigma = level(frame, 0.02)
    found, _ = net.find(frame, net.describe(frame, sigma), moved, net.describe(moved, sigma), sigma)
    inner = (..., slice(24, -24), slice(24, -24))
    assert (found - frame)[inner].abs().mean() < 0.3 * (moved - frame)[inner].abs().mean()


def test_every_parameter_learns(net: MalleNetVideo) -> None:
    clip = torch.rand(1, 9, 64, 64)
    net(clip, level(clip)).square().sum().backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []
    for part in (net.describe, net.search, net.trust):
        assert sum(parameter.grad.abs().sum() for parameter in part.parameters()) > 0


@torch.no_grad()
def test_no_noise_is_no_division_by_zero(net: MalleNetVideo) -> None:
    clip = torch.rand(1, 15, 64, 64)
    assert net(clip, level(clip, 0.0)).isfinite().all()


@pytest.mark.parametrize(
    ("clip", "sigma", "complaint"),
    [
        ((3, 64, 64), (1, 1, 64, 64), "clip: expected"),
        ((1, 4, 64, 64), (1, 1, 64, 64), "clip: expected"),
        ((1, 0, 64, 64), (1, 1, 64, 64), "clip: expected"),
        ((1, 9, 64, 65), (1, 1, 64, 65), "multiples of 64"),
        ((1, 9, 64, 64), (1, 3, 64, 64), "sigma: expected"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    net: MalleNetVideo, clip: tuple[int, ...], sigma: tuple[int, ...], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        net(torch.zeros(clip), torch.zeros(sigma))
