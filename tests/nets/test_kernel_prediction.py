import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from denoise_cli.nets.deformable import DeformableKernelNetConfig
from denoise_cli.nets.kernel_prediction import KernelPredictor, Trunk
from denoise_cli.nets.kpn import KPNConfig
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

# Table 1: three convolutions, two at last, at each level of the trunk, and their channels for a width of 1.
LEVELS = [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3 + [3] * 3 + [2] * 3 + [1] * 3 + [0] * 2
CHANNELS = [1] * 3 + [2] * 3 + [4] * 3 + [8] * 9 + [4] * 3 + [2] * 5


def inputs(B: int, H: int, W: int) -> tuple[Tensor, Tensor]:
    return torch.rand(B, 3, H, W), torch.rand(B, 1, H, W) / 10


@torch.no_grad()
def perturbed(config: Config) -> KernelPredictor:
    """As after some training: no layer is zero any more."""
    net = config.build()
    for parameter in net.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return net


def multiply_adds(config: Config, side: int) -> int:
    """Of the convolutions."""
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
@pytest.mark.parametrize(("B", "H", "W"), [(1, 16, 16), (3, 16, 48), (2, 80, 16)])
def test_the_shape_is_kept(config: Config, B: int, H: int, W: int) -> None:
    denoised = perturbed(config)(*inputs(B, H, W))
    assert denoised.shape == (B, 3, H, W)
    assert denoised.isfinite().all()


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_the_mean_of_the_groups_is_the_result(config: Config) -> None:
    net = perturbed(config)
    image, sigma = inputs(2, 16, 32)
    apart = net(image, sigma, groups=3)
    assert apart.shape == (2, 3, 3, 16, 32)
    torch.testing.assert_close(apart.mean(dim=1), net(image, sigma))


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_images_of_a_batch_do_not_see_one_another(config: Config) -> None:
    net = perturbed(config).double()
    image, sigma = (tensor.double() for tensor in inputs(3, 16, 32))
    alone = torch.cat([net(image[i : i + 1], sigma[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(net(image, sigma), alone)


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_every_region_depends_on_the_level_map_unless_the_net_is_blind(config: Config) -> None:
    net = perturbed(config)
    image, sigma = inputs(1, 32, 32)
    changed = net(image, sigma + 0.2) - net(image, sigma)
    regions = F.max_pool2d(changed.abs().amax(dim=1), 8)
    assert regions.count_nonzero() == (0 if config.blind else regions.numel())


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_a_gradient_reaches_every_parameter(config: Config) -> None:
    net = perturbed(config)
    net(*inputs(2, 64, 64)).square().mean().backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.any()] == []


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_a_fresh_net_starts_to_learn_within_a_few_steps(config: Config) -> None:
    net = config.build()
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-4)  # the paper's
    noisy, sigma = inputs(2, 64, 64)
    losses = []
    # Each zeroed layer holds back those before it for one step.
    for step in range(4):
        optimizer.zero_grad()
        loss = annealed_gamma_l1(net(noisy, sigma, groups=3), noisy.square(), step)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert [name for name, parameter in net.named_parameters() if torch.equal(parameter, before[name])] == []
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_double_precision_agrees_with_single(config: Config) -> None:
    net = perturbed(config)
    image, sigma = inputs(1, 32, 32)
    single = net(image, sigma)
    double = net.double()(image.double(), sigma.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single, double.float(), rtol=1e-3, atol=1e-3)


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


@pytest.mark.parametrize(
    ("image", "sigma", "complaint"),
    [
        ((1, 3, 24, 32), (1, 1, 24, 32), r"image: .*multiples of 16, got \(1, 3, 24, 32\)"),
        ((1, 1, 32, 32), (1, 1, 32, 32), "image"),
        ((1, 4, 32, 32), (1, 1, 32, 32), "image"),
        ((3, 32, 32), (1, 1, 32, 32), "image"),
        ((1, 3, 32, 32), (1, 3, 32, 32), r"sigma: expected \(1, 1, 32, 32\), got \(1, 3, 32, 32\)"),
        ((2, 3, 32, 32), (1, 1, 32, 32), "sigma"),
        ((1, 3, 32, 32), (1, 1, 1, 1), "sigma"),
    ],
)
@pytest.mark.parametrize("config", SMALL, ids=str)
def test_shapes_that_do_not_fit_are_refused(
    config: Config, image: tuple[int, ...], sigma: tuple[int, ...], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        config.build()(torch.zeros(image), torch.zeros(sigma))


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
    """Frames one after another, the one to denoise first, and their level."""
    return torch.rand(B, 3 * T, H, W), torch.rand(B, 1, H, W) / 10


@pytest.mark.parametrize("config", FOR_CLIPS, ids=str)
def test_an_untrained_net_averages_its_grid_in_time_too(config: Config) -> None:
    T = config.frames
    image, sigma = clip_inputs(T)
    frames = image.view(1, T, 3, 32, 48)
    in_time = [0, 1, 2] if T == 3 else [0, 1, 2, 3, 4]
    nearest_first = {3: [1, 0, 2], 5: [3, 1, 0, 2, 4]}[T]
    clip = torch.stack([frames[:, nearest_first[place]] for place in in_time], dim=2)
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
    for share, place in ((-9.0, 3), (9.0, 4), (0.0, 0)):  # the earliest, the latest, its own
        with torch.no_grad():
            net.to_offsets.bias.copy_(torch.tensor([0.0, 0.0, share]))
        expected = image[:, 3 * place : 3 * place + 3]
        torch.testing.assert_close(net(image, sigma), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("frames", [0, 2, -1])
def test_an_even_number_of_frames_is_refused(frames: int) -> None:
    with pytest.raises(ValueError, match="frames: expected an odd number"):
        KPNConfig(width=4, frames=frames).build()
