import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from denoise_cli.nets.configs import MOTION_MULTIPLE
from denoise_cli.ops import motion as module
from denoise_cli.ops.motion import align, brightness_pyramid, estimate_motion


@pytest.fixture
def scene(astronaut: np.ndarray) -> Tensor:
    """(1, 3, 512, 512), [0, 1]."""
    return torch.from_numpy(astronaut).permute(2, 0, 1)[None] / 255


def shown(scene: Tensor, right: float, down: float) -> Tensor:
    """(1, 3, 256, 320): the crop of the scene that a camera shows after moving this far, in pixels."""
    y, x = torch.meshgrid(torch.arange(256.0) + 100 + down, torch.arange(320.0) + 100 + right, indexing="ij")
    places = (torch.stack([x, y], dim=-1)[None] + 0.5) * 2 / 512 - 1
    return F.grid_sample(scene, places, mode="bicubic", align_corners=False)


def motion(frame: Tensor, other: Tensor, sigma: float = 0.0) -> Tensor:
    return estimate_motion(brightness_pyramid(frame), brightness_pyramid(other), torch.full_like(frame[:, :1], sigma))


def inner(image: Tensor) -> Tensor:
    return image[..., 32:-32, 32:-32]


@pytest.mark.parametrize(("right", "down"), [(0, 0), (0.4, -0.3), (3, 2.5), (-9, 6), (24, -17)])
@pytest.mark.parametrize(("sigma", "most"), [(0.0, 0.1), (25 / 255, 0.4)])
def test_a_camera_that_moves_is_followed(scene: Tensor, right: float, down: float, sigma: float, most: float) -> None:
    rng = torch.Generator().manual_seed(0)
    frame, other = (
        image + sigma * torch.randn(image.shape, generator=rng)
        for image in (shown(scene, 0, 0), shown(scene, right, down))
    )
    found = inner(motion(frame, other, sigma))
    true = torch.tensor([-right, -down]).view(1, 2, 1, 1)  # the picture moves against the camera
    assert (found - true).abs().median() < most


def test_where_motion_leads_the_other_frame_shows_the_same(scene: Tensor) -> None:
    frame, other = shown(scene, 0, 0), shown(scene, 6, -4)
    aligned, inside = align(frame, other, torch.zeros_like(frame[:, :1]))
    assert inner(aligned - frame).abs().mean() < 0.15 * inner(other - frame).abs().mean()
    assert inner(inside).all()
    assert inside[..., :4].mean() < 0.1  # beyond the other frame's left border
    assert inside[..., -3:, :].mean() < 0.1


def test_of_two_things_that_move_apart_each_is_followed(scene: Tensor) -> None:
    frame, other = shown(scene, 0, 0), shown(scene, 3, 0)
    other[..., 160:] = shown(scene, -4, 0)[..., 160:]
    found = motion(frame, other)
    assert (found[:, 0, 32:-32, 32:120] + 3).abs().median() < 0.2
    assert (found[:, 0, 32:-32, 200:-32] - 4).abs().median() < 0.2


@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_where_nothing_shows_nothing_moves(sigma: float) -> None:
    grey = torch.full((2, 3, 64, 96), 0.5)
    assert not motion(grey, grey, sigma).any()


def test_noise_alone_hardly_moves() -> None:
    rng = torch.Generator().manual_seed(0)
    frame, other = (0.5 + 0.2 * torch.randn(1, 3, 256, 256, generator=rng) for _ in range(2))
    assert motion(frame, other, 0.2).abs().median() < 2


def test_each_of_a_batch_is_for_itself(scene: Tensor) -> None:
    frames, others = shown(scene, 0, 0).repeat(2, 1, 1, 1), torch.cat([shown(scene, 2, 0), shown(scene, 0, -3)])
    both = motion(frames, others, 0.05)
    for i in range(2):
        torch.testing.assert_close(both[i : i + 1], motion(frames[i : i + 1], others[i : i + 1], 0.05))


def test_the_motion_to_several_frames_is_that_to_each(scene: Tensor) -> None:
    frames = torch.cat([shown(scene, 0, 0), shown(scene, 5, 5)])
    others = [torch.cat([shown(scene, right, 0), shown(scene, 5, right)]) for right in (2, 3)]
    pyramid, sigma = brightness_pyramid(frames), torch.full_like(frames[:, :1], 0.05)
    found = estimate_motion(pyramid, brightness_pyramid(torch.cat(others)), sigma)
    for one, other in zip(found.chunk(2), others, strict=True):
        torch.testing.assert_close(one, motion(frames, other, 0.05))


def test_levels_without_refinements_are_left_out(scene: Tensor) -> None:
    pyramids = [brightness_pyramid(shown(scene, right, 0)) for right in (0, 3)]
    unread = [[torch.full_like(level, torch.nan), *coarser] for level, *coarser in pyramids]
    found = estimate_motion(*unread, torch.full_like(pyramids[0][0], 0.02), iterations=(0, 2, 3, 3, 3))
    assert (inner(found)[:, 0] + 3).abs().median() < 0.1


def test_places_are_as_exact_where_other_things_are_computed_in_16_bits(scene: Tensor) -> None:
    frame, other = shown(scene, 0, 0), shown(scene, 2, 1)
    with torch.autocast("cpu", torch.bfloat16):
        found = motion(frame, other)
    torch.testing.assert_close(found, motion(frame, other), rtol=0, atol=1e-4)


def test_half_precision_is_widened(scene: Tensor) -> None:
    frame, other = shown(scene, 0, 0), shown(scene, 2, 1)
    found = motion(frame.bfloat16(), other.bfloat16())
    assert found.dtype == torch.float32
    assert (inner(found) - inner(motion(frame, other))).abs().median() < 0.05


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 3, 64, 65), (1, 3, 0, 64), (1, 3, 48, 64)])
def test_frames_of_other_sizes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        brightness_pyramid(torch.zeros(shape))


def test_what_does_not_fit_together_is_refused() -> None:
    small, large = (brightness_pyramid(torch.zeros(1, 3, side, side)) for side in (32, 64))
    with pytest.raises(ValueError, match="pyramids: expected two of 5 levels"):
        estimate_motion(small, large, torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match="pyramids: expected two of 5 levels"):
        estimate_motion(small[1:], small[1:], torch.zeros(1, 1, 16, 16))
    with pytest.raises(ValueError, match="sigma: expected"):
        estimate_motion(small, small, torch.zeros(1, 1, 64, 64))


def test_what_knows_the_multiple_without_pytorch_knows_it_right() -> None:
    assert MOTION_MULTIPLE == module.MULTIPLE
