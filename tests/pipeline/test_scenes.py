"""The level follows the noise of a take, and nothing else."""

from collections.abc import Sequence
from statistics import median

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.imaging.noise import estimate_sigma
from denoise_cli.pipeline.scenes import INTERVAL, SceneLevel

H, W = 96, 160
Array = NDArray[np.float32]


def take(light: Sequence[float], sigma: Sequence[float], bars: int = 0) -> list[Array]:
    """Frames of a picture with edges, so bright and so noisy, as 8 bits hold them."""
    rng = np.random.default_rng(0)
    picture = 0.75 + 0.25 * np.sin(np.arange(W) / 9)[:, None] * np.ones((H, 1, 3))
    frames = []
    for value, deviation in zip(light, sigma, strict=True):
        frame = value * picture + deviation * rng.standard_normal((H, W, 3))
        frame[:bars] = frame[H - bars :] = 0
        frames.append((np.rint(frame.clip(0, 1) * 255) / 255).astype(np.float32))
    return frames


def levels(frames: Sequence[Array]) -> list[float]:
    scene = SceneLevel(otherwise=0.0)
    return [scene.after(frame, frames[place + 1 : place + 5]) for place, frame in enumerate(frames)]


@pytest.mark.parametrize("sigma", [0.01, 0.1])
def test_the_level_of_even_noise_is_the_median_of_the_estimates_so_far(sigma: float) -> None:
    frames = take([0.7] * 30, [sigma] * 30)
    estimates = [estimate_sigma(frame.mean(axis=-1, keepdims=True)) * 3**0.5 for frame in frames[::INTERVAL]]
    assert levels(frames) == [median(estimates[: place // INTERVAL + 1]) for place in range(30)]


@pytest.mark.parametrize(("before", "after"), [(0.02, 0.1), (0.1, 0.02), (0.04, 0.06)])
@pytest.mark.parametrize("length", [3, 13, 24])
def test_the_level_changes_with_the_noise_in_the_same_frame(before: float, after: float, length: int) -> None:
    sigma = [before] * length + [after] * 12
    assert levels(take([0.6] * len(sigma), sigma)) == pytest.approx(sigma, rel=0.15)


def test_the_level_follows_noise_that_grows() -> None:
    sigma = list(np.linspace(0.02, 0.1, 32))
    assert levels(take([0.6] * 32, sigma)) == pytest.approx(sigma, rel=0.3)


def test_no_frame_of_a_fade_from_black_is_left_as_it_is() -> None:
    found = levels(take(np.linspace(0, 0.8, 24), [0.05] * 24))
    assert min(found) > 0.02
    assert found[4:] == pytest.approx([0.05] * 20, rel=0.15)


def test_the_level_fades_with_the_picture() -> None:
    share = np.linspace(0.1, 1, 24)
    assert levels(take(0.8 * share, 0.08 * share)) == pytest.approx(list(0.08 * share), rel=0.3)


def test_black_frames_are_told_the_level_of_those_that_follow() -> None:
    found = levels(take([0, 0, 0, 0.6, 0.6], [0.004] * 3 + [0.05] * 2))
    assert found == pytest.approx([0.05] * 5, rel=0.15)


def test_a_white_flash_changes_nothing() -> None:
    light = [0.6] * 5 + [9.0] + [0.6] * 12
    frames = take(light, [0.05] * 18)
    frames[5][:] = 1
    assert levels(frames) == pytest.approx([0.05] * 18, rel=0.15)


@pytest.mark.parametrize("bars", [8, 16, 24])
def test_bars_do_not_hide_the_noise(bars: int) -> None:
    assert levels(take([0.7] * 10, [0.05] * 10, bars)) == pytest.approx([0.05] * 10, rel=0.15)
