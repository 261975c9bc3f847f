"""Frames that come again with their noise count once, and stay alike."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from denoise_cli.pipeline.frames import MOST_COPIES, STEADY_FRAMES, Level, find_noise
from denoise_cli.pipeline.repeats import MOST_UNEQUAL, CopyDetector

H, W = 72, 128
SIGMA = 0.05
VALUE = 1 / 255
Array = NDArray[np.float32]


class Averaging:
    """Replaces each frame by the mean of what it is shown, and counts how often."""

    def __init__(self, takes_neighbours: bool = True) -> None:
        self.takes_neighbours, self.is_blind, self.device = takes_neighbours, False, "cpu"
        self.windows: list[int] = []

    def __call__(self, image: Array, sigma: Level, neighbours: Sequence[Array] = ()) -> Array:
        window = [image, *neighbours]
        assert all(not np.array_equal(one, other) for one, other in pairwise(window))
        self.windows.append(len(window))
        return np.mean(window, axis=0)

    def steady(self, image: Array, noisy: Array, neighbours: Sequence[Array]) -> Array:
        return np.mean([image, *neighbours], axis=0)


def noisy(count: int, sigma: float = SIGMA, picture: float | Array = 0.5) -> list[Array]:
    """Frames of the same picture, each with noise of its own."""
    rng = np.random.default_rng(0)
    return [_stored(picture + sigma * rng.standard_normal((H, W, 3))) for _ in range(count)]


def again(frames: Sequence[Array], runs: Sequence[int]) -> list[Array]:
    return [frame for frame, run in zip(frames, runs, strict=True) for _ in range(run)]


def results(frames: Sequence[Array], denoise: Averaging, T: int = 5, skip: int = 0) -> list[tuple[Array, Level]]:
    found = find_noise(((frame, frame) for frame in frames), denoise, T, skip=skip)  # type: ignore[arg-type]
    return [(frame if noise is None else frame - noise(), level) for frame, level, noise in found]


def copies(frames: Sequence[Array]) -> list[bool]:
    detector = CopyDetector()
    return [detector.is_copy(frame.mean(axis=-1)) for frame in frames]


def _stored(picture: Array) -> Array:
    return (np.rint(np.clip(picture, 0, 1) * 255) / 255).astype(np.float32)


@pytest.mark.parametrize("T", [1, 3, 5])
@pytest.mark.parametrize("runs", [[2] * 8, [3] * 8, [2, 3] * 4, [1, 1, 1, 2] * 2, [1, 1, 1, 17, 1, 1, 1, 1][:8]])
def test_frames_that_repeat_are_denoised_as_if_they_came_once(runs: list[int], T: int) -> None:
    frames = noisy(8)
    repeated, once = Averaging(), Averaging()
    result = results(again(frames, runs), repeated, T)
    assert len(repeated.windows) == len(frames)
    if max(runs) <= MOST_COPIES:
        expected = again(results(frames, once, T), runs)
        assert [level for _, level in result] == [level for _, level in expected]
        for (one, _), (other, _) in zip(result, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("length", [MOST_COPIES, MOST_COPIES + 1, 40])
def test_what_is_held_stays_still(length: int) -> None:
    frames = noisy(9)
    runs = [1] * 4 + [length] + [1] * 4
    result = [picture for picture, _ in results(again(frames, runs), Averaging())]
    for held in result[5 : 4 + length]:
        np.testing.assert_array_equal(held, result[4])


def test_few_frames_are_held_in_memory_however_often_one_repeats() -> None:
    pulled = 0

    def endless() -> Iterator[tuple[int, Array]]:
        nonlocal pulled
        still = noisy(1)[0]
        while True:
            yield pulled, still
            pulled += 1

    out = find_noise(endless(), Averaging(), 5)  # type: ignore[arg-type]
    ahead = []
    for _ in range(60):
        item, _, _ = next(out)
        ahead.append(pulled - item)
    assert max(ahead) <= 3 * (MOST_COPIES + 1)


def test_copies_that_an_encoder_has_left_a_value_apart_lose_the_same() -> None:
    rng = np.random.default_rng(1)
    frames = again(noisy(8), [2] * 8)
    frames = [_stored(frame + VALUE * rng.standard_normal(frame.shape)) for frame in frames]
    denoise = Averaging()
    result = [picture for picture, _ in results(frames, denoise)]
    assert len(denoise.windows) == 8
    for place in range(0, 16, 2):
        np.testing.assert_allclose(result[place + 1] - result[place], frames[place + 1] - frames[place], atol=1e-6)


@pytest.mark.parametrize("sigma", [VALUE, 2 * VALUE, 5 * VALUE, SIGMA])
def test_frames_with_noise_of_their_own_are_no_copies(sigma: float) -> None:
    smooth = np.linspace(0.2, 0.8, W)[:, None] + np.zeros((H, W, 1))
    for picture in (0.5, smooth):
        assert copies(noisy(6, sigma, picture)) == [False] * 6


@pytest.mark.parametrize("sigma", [VALUE, 2 * VALUE, 5 * VALUE])
def test_weak_noise_on_a_still_lawn_is_not_taken_for_copies_for_long(sigma: float) -> None:
    lawn = gaussian_filter(np.random.default_rng(2).normal(0.5, 0.5, (H, W, 1)), (0.8, 0.8, 0))
    assert not any(copies(noisy(30, sigma, lawn))[MOST_UNEQUAL + 1 :])


def test_a_small_thing_that_moves_makes_another_frame() -> None:
    still = noisy(1)[0]
    moved = still.copy()
    moved[30:34, 50:54] = 1 - moved[30:34, 50:54] / 2
    assert copies([still, still, moved, moved, still]) == [False, True, False, True, False]


def test_drawings_without_noise_repeat_only_if_they_are_equal() -> None:
    drawing = np.full((H, W, 3), 0.25, np.float32)
    drawing[20:50, 30:90] = 0.75
    other = drawing.copy()
    other[40, 60] += VALUE
    assert copies([drawing, drawing, other]) == [False, True, False]


def test_every_second_frame_of_fast_motion_is_no_cut() -> None:
    """Without its copies, motion is even; with them, it stops and starts."""
    rng = np.random.default_rng(3)
    wide = np.repeat(np.repeat(rng.uniform(0, 1, (9, 64, 1)), 8, axis=0), 8, axis=1)
    frames = [wide[:, 4 * place : 4 * place + W].astype(np.float32) for place in range(10)]
    denoise = Averaging()
    results(again(frames, [2] * 10), denoise, T=3)
    assert denoise.windows == [3] * 10


@pytest.mark.parametrize("T", [1, 5])
@pytest.mark.parametrize("skip", [1, 3, 8, 9, 14, 25, 26, 40])
def test_what_is_skipped_changes_nothing_for_the_rest(skip: int, T: int) -> None:
    frames = again(noisy(12), [2, 1, 3, 2, 1, 2, 20, 1, 2, 6, 7, 1])
    whole, part = results(frames, Averaging(), T), results(frames, Averaging(), T, skip)
    for frame, (picture, _) in zip(frames, part[:skip], strict=False):
        np.testing.assert_array_equal(picture, frame)
    for (one, level), (other, same) in zip(whole[skip:], part[skip:], strict=True):
        np.testing.assert_array_equal(one, other)
        assert level == same


def test_frames_that_are_skipped_are_not_denoised() -> None:
    denoise = Averaging()
    results(again(noisy(40), [1] * 40), denoise, skip=30)
    assert len(denoise.windows) == 10 + STEADY_FRAMES - 1
