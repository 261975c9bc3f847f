import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from denoise_cli.nets.configs import DeformableKernelNetConfig, KPNConfig
from denoise_cli.nets.kernel_prediction import KernelPredictor, Trunk
from denoise_cli.ops.deformable import sample_rigid2d, sample_rigid3d
from denoise_cli.train.losses import annealed_gamma_l1, gamma_l1

Config = DeformableKernelNetConfig | KPNConfig

SMALL: list[Config] = [
    DeformableKernelNetConfig(width=4, side=3),
    DeformableKernelNetConfig(width=4, side=3, blind=True),
    DeformableKernelNetConfig(width=4, side=3, deformable=False),
    KPNConfig(width=4, side=3),
    KPNConfig(width=4, side=3, blind=True),
]

MODELS: dict[str, Config] = {
    "dkn": DeformableKernelNetConfig(),
    "dkn-quarter": DeformableKernelNetConfig(width=16),
    "dkn-rigid": DeformableKernelNetConfig(deformable=False),
    "dkn-blind": DeformableKernelNetConfig(blind=True),
    "kpn": KPNConfig(),
    "kpn-quarter": KPNConfig(width=16),
}

# Table 1: the level of each convolution of the trunk, three per level and two at the end, and its channels per width.
LEVELS = [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3 + [3] * 3 + [2] * 3 + [1] * 3 + [0] * 2
CHANNELS = [1] * 3 + [2] * 3 + [4] * 3 + [8] * 9 + [4] * 3 + [2] * 5


def inputs(B: int, H: int, W: int) -> tuple[Tensor, Tensor]:
    return torch.rand(B, 3, H, W), torch.rand(B, 1, H, W) / 10


@torch.no_grad()
def perturbed(config: Config) -> KernelPredictor:
    """A network like one after some training: no layer is zero any more."""
    net = config.build()
    for parameter in net.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return net


def multiply_adds(config: Config, side: int) -> int:
    """Count the multiply-adds of the convolutions."""
    counter = FlopCounterMode(display=False)
    with FakeTensorMode(), torch.no_grad():
        net, image, sigma = config.build(), torch.empty(1, 3, side, side), torch.empty(1, 1, side, side)
        with counter:
            net(image, sigma)
    return counter.get_total_flops() // 2


def multiply_adds_by_table(config: Config, side: int) -> int:
    N, width, inputs = config.side**2, config.width, 3 if config.blind else 4
    channels = [inputs, *(width * factor for factor in CHANNELS)]
    layers = list(zip(channels[:-1], channels[1:], LEVELS, strict=True))
    if isinstance(config, KPNConfig):
        layers += [(2 * width, N, 0)]
    else:
        layers += [(3 * N + inputs + 2 * width, width, 0), (width, width, 0), (width, N, 0)]
        layers += [(2 * width, 2 * N, 0)] * config.deformable
    widening = width * 2 * width * side**2
    return widening + sum(9 * before * after * (side >> level) ** 2 for before, after, level in layers)


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_an_untrained_net_averages_its_grid(config: Config) -> None:
    image, sigma = inputs(2, 32, 48)
    torch.testing.assert_close(config.build()(image, sigma), sample_rigid2d(image, 3).mean(dim=2))


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_the_mean_of_the_groups_is_the_result(config: Config) -> None:
    net = perturbed(config)
    image, sigma = inputs(2, 16, 32)
    apart = net(image, sigma, groups=3)
    assert apart.shape == (2, 3, 3, 16, 32)
    torch.testing.assert_close(apart.mean(dim=1), net(image, sigma))


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_the_loss_of_the_groups_falls_from_the_first_steps(config: Config) -> None:
    net = config.build()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-4)  # the paper's
    noisy, sigma = inputs(2, 32, 32)
    losses = []
    for step in range(4):
        optimizer.zero_grad()
        loss = annealed_gamma_l1(net(noisy, sigma, groups=3), noisy.square(), step)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_autocast_trains_and_leaves_the_sum_in_single_precision(config: Config) -> None:
    net = config.build()
    image, sigma = inputs(2, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        denoised = net(image, sigma)
        gamma_l1(denoised, image).backward()
    assert denoised.dtype == torch.float32
    torch.testing.assert_close(denoised, sample_rigid2d(image, 3).mean(dim=2))
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in net.parameters())


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_autocast_rounds_neither_samples_nor_weights_to_16_bits(config: Config) -> None:
    net = perturbed(config)
    image, sigma = inputs(1, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        kernels = net.kernels(image, image if config.blind else torch.cat([image, sigma], dim=1))
    for values in kernels:
        inside = values[values != 0]
        assert values.dtype == torch.float32
        assert (inside != inside.bfloat16().float()).float().mean() > 0.9


def test_the_trunk_hands_on_the_strength_of_what_it_sees() -> None:
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        features = Trunk(inputs=3, width=16)(image)
    assert 0.3 < features.square().mean().sqrt() < 10


def test_every_net_costs_what_the_papers_table_says(capsys: pytest.CaptureFixture[str]) -> None:
    rows = []
    for name, config in MODELS.items():
        with torch.device("meta"):
            parameters = sum(parameter.numel() for parameter in config.build().parameters())
        cost = multiply_adds(config, 256)
        rows.append(f"{name:18}{parameters:>12,} parameters{cost / 1e9:>9.2f} G multiply-adds")
        assert cost == multiply_adds_by_table(config, 256), name
    with capsys.disabled():
        print("", *rows, sep="\n")


FOR_CLIPS: list[Config] = [
    DeformableKernelNetConfig(width=4, side=3, frames=3),
    DeformableKernelNetConfig(width=4, side=3, frames=5, blind=True),
    DeformableKernelNetConfig(width=4, side=3, frames=5, deformable=False),
    KPNConfig(width=4, side=3, frames=3),
]


def clip_inputs(T: int, B: int = 1, H: int = 32, W: int = 48) -> tuple[Tensor, Tensor]:
    """Frames one after another, the one to denoise first, and their level map."""
    return torch.rand(B, 3 * T, H, W), torch.rand(B, 1, H, W) / 10


@pytest.mark.parametrize("config", FOR_CLIPS, ids=str)
def test_an_untrained_net_averages_its_grid_in_time_too(config: Config) -> None:
    T = config.frames
    image, sigma = clip_inputs(T)
    frames = image.view(1, T, 3, 32, 48)
    temporal_order = {3: [1, 0, 2], 5: [3, 1, 0, 2, 4]}[T]
    clip = torch.stack([frames[:, place] for place in temporal_order], dim=2)
    mean = sample_rigid3d(clip, 3).mean(dim=2)
    torch.testing.assert_close(config.build()(image, sigma), mean, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", FOR_CLIPS, ids=str)
def test_groups_of_a_clips_points_are_those_of_its_frames(config: Config) -> None:
    net = perturbed(config)
    image, sigma = clip_inputs(config.frames)
    apart = net(image, sigma, groups=net.groups)
    assert apart.shape == (1, net.groups, 3, 32, 48)
    torch.testing.assert_close(apart.mean(dim=1), net(image, sigma))


def test_points_reach_every_frame_and_not_beyond() -> None:
    net = DeformableKernelNetConfig(width=4, side=1, frames=5).build()
    image, sigma = clip_inputs(5)
    for share, place in ((-9.0, 3), (9.0, 4), (0.0, 0)):  # the earliest frame, the latest, the middle one
        with torch.no_grad():
            net.to_offsets.bias.copy_(torch.tensor([0.0, 0.0, share]))
        expected = image[:, 3 * place : 3 * place + 3]
        torch.testing.assert_close(net(image, sigma), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("frames", [0, 2, -1])
def test_an_even_number_of_frames_is_refused(frames: int) -> None:
    with pytest.raises(ValueError, match="frames: expected an odd number"):
        KPNConfig(width=4, frames=frames).build()
