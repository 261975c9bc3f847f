import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.data.reduce import Reduced, reduced


class Crops:
    """Crops of noise, and the sides that were asked for."""

    def __init__(self) -> None:
        self.skipped: dict[tuple[object, ...], object] = {}
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 7

    def draw(self, rng: np.random.Generator, patch: int) -> NDArray[np.float32]:
        self.asked.append(patch)
        return rng.random((patch, patch, 3), np.float32)


def test_a_share_of_the_crops_shows_twice_as_much() -> None:
    crops = Crops()
    source = Reduced(crops, 0.5)  # type: ignore[arg-type]
    drawn = [source.draw(np.random.default_rng(i), 4) for i in range(400)]
    assert {crop.shape for crop in drawn} == {(4, 4, 3)}
    assert {crop.dtype for crop in drawn} == {np.dtype(np.float32)}
    assert set(crops.asked) == {4, 8}
    assert 150 < crops.asked.count(8) < 250
    assert len(source) == 7
    assert source.skipped == {}


@pytest.mark.parametrize("channels", [3, 6])
def test_a_pixel_is_the_mean_of_four(rng: np.random.Generator, channels: int) -> None:
    crop = rng.random((8, 12, channels), np.float32)
    half = reduced(crop)
    assert half.shape == (4, 6, channels)
    assert half[1, 2] == pytest.approx(crop[2:4, 4:6].mean(axis=(0, 1)), abs=1e-6)
    assert half.mean() == pytest.approx(crop.mean(), abs=1e-6)
