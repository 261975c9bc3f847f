from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.data import clip_noise
from denoise_cli.data.clip_noise import ClipNoise
from denoise_cli.data.examples import Example
from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.noise import UNKNOWN_LEVEL

PATCH = 48
T = 5


class Stripes:
    """Windows of slow stripes that move from frame to frame, at another place in each window."""

    skipped: Mapping[tuple[Path, ...], UnreadableFile] = {}

    def __len__(self) -> int:
        return 1

    def draw(self, rng: np.random.Generator, patch: int) -> NDArray[np.float32]:
        start = rng.uniform(0, 100)
        x = np.arange(patch)[None, :, None] + start + 2 * np.arange(T).repeat(3)
        return np.broadcast_to(0.5 + 0.3 * np.sin(x / 9), (patch, patch, 3 * T)).astype(np.float32)


def draw(seed: int) -> Example:
    return ClipNoise(Stripes(), 75 / 255).draw(np.random.default_rng(seed), PATCH)


def test_examples_have_all_frames_and_no_level() -> None:
    for seed in range(12):
        example = draw(seed)
        assert example.noisy.shape == (PATCH, PATCH, 3 * T)
        assert example.clean.shape == (PATCH, PATCH, 3)
        assert example.noisy.dtype == example.clean.dtype == example.level.dtype == np.float32
        assert (example.level == UNKNOWN_LEVEL).all()


def test_the_same_numbers_draw_the_same_example() -> None:
    for seed in range(8):
        np.testing.assert_array_equal(draw(seed).noisy, draw(seed).noisy)


def test_what_has_no_noise_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for share in ("CAMERA_SHARE", "WHITE_SHARE", "GRAIN_SHARE"):
        monkeypatch.setattr(clip_noise, share, 0.0)
    for seed in range(4):
        example = draw(seed)
        np.testing.assert_array_equal(example.noisy[..., :3], example.clean)


@pytest.mark.parametrize("old", [0.0, 1.0], ids=["H.264", "MPEG-4 Part 2"])
def test_compressed_frames_keep_their_places_and_lose_noise(monkeypatch: pytest.MonkeyPatch, old: float) -> None:
    """Each frame is the compressed form of itself: the stripes are where they were, and the noise is another."""
    monkeypatch.setattr(clip_noise, "OLD_SHARE", old)
    rng = np.random.default_rng(0)
    window = Stripes().draw(rng, 64)
    clean = [window[..., 3 * place : 3 * place + 3] for place in range(T)]
    noisy = [np.clip(frame + 0.05 * rng.standard_normal(frame.shape, np.float32), 0, 1) for frame in clean]
    for _ in range(4):
        for read, own, truth in zip(clip_noise._coded(noisy, rng), noisy, clean, strict=True):
            assert read.shape == own.shape
            assert not np.array_equal(read, own)
            errors = [float(np.square(read - other).mean()) for other in clean]
            assert np.argmin(errors) == next(place for place in range(T) if clean[place] is truth)


def test_compressed_noise_is_weaker_and_compressed_again_at_a_lower_rate_weaker_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clip_noise, "OLD_SHARE", 0.0)
    flat = [np.full((64, 64, 3), 0.5, np.float32) for _ in range(T)]
    noise = np.random.default_rng(0).standard_normal((T, 64, 64, 3), np.float32)
    noisy = [frame + np.float32(0.05) * one for frame, one in zip(flat, noise, strict=True)]
    deviations = []
    for quality in (16, 24, 36):
        monkeypatch.setattr(clip_noise, "QUALITIES", (quality, quality))
        deviations.append(float(np.std(clip_noise._coded(noisy, np.random.default_rng(0)))))
    assert 0.05 > deviations[0] > deviations[1] > deviations[2]


def test_some_windows_have_neighbours_from_another_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_noise, "CUT_SHARE", 1.0)
    noise = ClipNoise(Stripes(), 0.1)
    seen = set()
    for seed in range(40):
        first, *others = (frame[0, 0] for frame in noise._scenes(np.random.default_rng(seed), PATCH))
        steps = [abs(float((np.arcsin((other - 0.5) / 0.3) - np.arcsin((first - 0.5) / 0.3))[0])) for other in others]
        seen.add(tuple(step > 1 for step in steps))
    assert len(seen) > 1


def test_film_grain_and_white_noise_are_alike_in_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_noise, "CAMERA_SHARE", 0.0)
    monkeypatch.setattr(clip_noise, "CUT_SHARE", 0.0)
    monkeypatch.setattr(clip_noise, "EXACT_SHARE", 1.0)
    for white in (0.0, 1.0):
        monkeypatch.setattr(clip_noise, "WHITE_SHARE", white)
        monkeypatch.setattr(clip_noise, "GRAIN_SHARE", 1 - white)
        for seed in range(4):
            noisy = draw(seed).noisy
            # Along a stripe the clean picture does not change.
            deviations = np.std(noisy - noisy.mean(axis=0), axis=(0, 1)).reshape(T, 3)
            assert np.ptp(deviations, axis=0) == pytest.approx(0, abs=0.15 * float(deviations.mean()))
