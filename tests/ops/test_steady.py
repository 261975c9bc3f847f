"""Residual noise is averaged over frames, differences between frames are not."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from denoise_cli.ops import steady
from denoise_cli.ops.steady import average_over_frames

TOLERANCE = 0.15
SIGMA = 0.1


def clip(right: int, residual: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A clean frame (1, 3, 128, 128), with noise, denoised, and denoised neighbours (2, 3, 128, 128): before, after.

    Args:
        right: motion from frame to frame, in pixels.
        residual: standard deviation of the noise that is left after denoising.
        seed: of the scene and the noise.
    """
    rng = torch.Generator().manual_seed(seed)
    wide = F.interpolate(torch.rand(1, 3, 24, 24, generator=rng), size=(256, 256), mode="bicubic")
    frames = [wide[..., 64:192, 64 + right * time :][..., :128] for time in (0, -1, 1)]
    denoised = [frame + residual * torch.randn(frame.shape, generator=rng) for frame in frames]
    noisy = frames[0] + SIGMA * torch.randn(frames[0].shape, generator=rng)
    return frames[0], noisy, denoised[0], torch.cat(denoised[1:])


@pytest.mark.parametrize("right", [0, 4])
def test_what_differs_from_frame_to_frame_is_averaged(right: int) -> None:
    clean, noisy, frame, others = clip(right, 0.05 * SIGMA)
    result = average_over_frames(frame, noisy, others, TOLERANCE)
    before, after = ((one - clean)[..., 16:-16, 16:-16].std() for one in (frame, result))
    assert after < 0.75 * before


def test_where_nothing_moves_nothing_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    clean, noisy, frame, others = clip(0, 0.05 * SIGMA)
    misaligned = F.interpolate(others[..., 1:, 1:], size=(128, 128), mode="bilinear")
    monkeypatch.setattr(steady, "align", lambda *_: (misaligned, torch.zeros(2, 1, 128, 128)))
    result = steady.average_over_frames(frame, noisy, others, TOLERANCE)
    assert (result - clean).std() < 0.75 * (frame - clean).std()


def test_what_others_show_beside_it_is_left_alone() -> None:
    clean, noisy, frame, others = clip(0, 0.05 * SIGMA)
    changed = others.clone()
    changed[..., 40:80, 40:80] = 1 - changed[..., 40:80, 40:80]
    result = average_over_frames(frame, noisy, changed, TOLERANCE)
    assert (result - clean)[..., 42:78, 42:78].abs().mean() < 0.1 * SIGMA
    assert (result - frame)[..., :32, :].abs().mean() > 0.01 * SIGMA


def test_nothing_is_brought_in_from_beyond_the_border(monkeypatch: pytest.MonkeyPatch) -> None:
    _, noisy, frame, others = clip(0, 0.05 * SIGMA)
    inside = torch.ones(2, 1, 128, 128)
    inside[..., :20] = 0
    monkeypatch.setattr(steady, "align", lambda *_: (others, inside))
    result = steady.average_over_frames(frame, noisy, 1 - others, TOLERANCE)
    torch.testing.assert_close(result[..., :20], frame[..., :20])
    assert (result - frame)[..., 20:].abs().mean() > 0.01 * SIGMA


def test_where_nothing_was_taken_away_little_is_changed() -> None:
    _, _, frame, others = clip(0, 0.05 * SIGMA)
    assert (average_over_frames(frame, frame, others, TOLERANCE) - frame).abs().max() < 0.2 / 255


def test_each_of_a_batch_is_averaged_with_its_own_neighbours() -> None:
    clips = [clip(2, 0.05 * SIGMA, seed) for seed in (0, 1)]
    noisy, frame = (torch.cat([one[part] for one in clips]) for part in (1, 2))
    others = torch.stack([one[3] for one in clips], dim=1).flatten(0, 1)
    together = average_over_frames(frame, noisy, others, TOLERANCE)
    alone = torch.cat([average_over_frames(frame, noisy, others, TOLERANCE) for _, noisy, frame, others in clips])
    torch.testing.assert_close(together, alone)
