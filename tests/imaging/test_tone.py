import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.imaging.tone import tone_curves

Pixels = NDArray[np.uint8]
LEVELS = np.linspace(0, 1, 256)


def camera(picture: Pixels) -> Pixels:
    """An S of its own for each colour."""
    light = picture / 255
    curve = light * light * (3 - 2 * light)
    return np.rint(255 * (curve + (light - curve) * [0.0, 0.4, 0.8])).astype(np.uint8)


@pytest.fixture
def picture(astronaut: Pixels) -> Pixels:
    return np.ascontiguousarray(astronaut[100:500, :])  # 400 x 512


def error(picture: Pixels, model: Pixels) -> float:
    """The largest error of the curves, in levels of 255, where the picture has at least a few pixels."""
    curves = tone_curves(picture, model)
    assert curves is not None
    found = np.stack([curve(LEVELS) for curve in curves], axis=-1) * 255
    right = camera(np.repeat(np.arange(256)[:, None], 3, axis=1).astype(np.uint8))
    low, high = np.quantile(picture, [0.02, 0.98]).astype(int)
    return float(np.abs(found - right)[low:high].max())


def test_the_curves_of_a_camera_are_found(picture: Pixels) -> None:
    assert error(picture, camera(picture)) < 3


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("side", [1, -1])
def test_however_its_preview_is_turned(turns: int, side: int, picture: Pixels) -> None:
    assert error(picture, np.rot90(camera(picture), turns)[:, ::side]) < 3


def test_with_bars_around_the_preview_and_with_a_preview_that_was_cut(picture: Pixels) -> None:
    barred = np.pad(camera(picture), ((60, 60), (0, 0), (0, 0)))
    assert error(picture, barred) < 3
    assert error(picture, camera(picture)[60:-60]) < 6


def test_noise_and_small_previews_matter_little(picture: Pixels, rng: np.random.Generator) -> None:
    noisy = (picture + 15 * rng.standard_normal(picture.shape)).clip(0, 255).astype(np.uint8)
    assert error(noisy, camera(picture)[::4, ::4]) < 8


def test_curves_never_fall_and_keep_to_their_range(picture: Pixels, rng: np.random.Generator) -> None:
    for model in (camera(picture), 255 - np.zeros_like(picture) - picture // 8, picture // 9):
        curves = tone_curves(picture, model)
        for curve in curves or []:
            values = curve(np.linspace(0, 1, 5000))
            assert (np.diff(values) >= 0).all()
            assert 0 <= values.min() <= values.max() <= 1


def test_another_scene_gives_no_curves(picture: Pixels, rng: np.random.Generator) -> None:
    assert tone_curves(picture, rng.integers(0, 256, picture.shape).astype(np.uint8)) is None
    assert tone_curves(picture, np.full_like(picture, 90)) is None
    assert tone_curves(picture, 255 - picture) is None
