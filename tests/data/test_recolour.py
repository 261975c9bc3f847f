import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.data.recolour import COLOURS, GAINS, Recoloured, recoloured


class Crops:
    """A crop of one colour for each draw, and its name for what is skipped."""

    def __init__(self) -> None:
        self.skipped: dict[tuple[object, ...], object] = {}

    def __len__(self) -> int:
        return 7

    def draw(self, rng: np.random.Generator, patch: int) -> NDArray[np.float32]:
        return np.broadcast_to(rng.random(COLOURS, np.float32), (patch, patch, COLOURS))


@pytest.fixture
def ramp(rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.random((16, 16, COLOURS), np.float32)


def test_a_share_of_the_crops_is_changed() -> None:
    crops, varied = Crops(), Recoloured(Crops(), 0.5)  # type: ignore[arg-type]
    pairs = [[source.draw(np.random.default_rng(i), 4) for source in (crops, varied)] for i in range(400)]
    changed = sum(not np.array_equal(*pair) for pair in pairs)
    assert 150 < changed < 250
    assert len(varied) == 7
    assert varied.skipped == {}


def test_results_are_pictures(ramp: NDArray[np.float32]) -> None:
    for seed in range(50):
        varied = recoloured(ramp, np.random.default_rng(seed))
        assert varied.shape == ramp.shape
        assert varied.dtype == np.float32
        assert 0 <= varied.min() <= varied.max() <= 1


def test_channels_no_longer_agree_as_they_did() -> None:
    """In a picture in shades of one colour, each channel comes out brightest for some seeds."""
    shades = np.linspace(0, 1, 16, dtype=np.float32)[:, None, None] * np.array([1.0, 0.6, 0.2], np.float32)
    means = np.stack([recoloured(shades, np.random.default_rng(seed)).mean(axis=(0, 1)) for seed in range(200)])
    assert set(means.argmax(axis=1)) == {0, 1, 2}


def test_grey_stays_grey_but_for_the_gains() -> None:
    grey = np.full((4, 4, COLOURS), 0.5, np.float32)
    for seed in range(50):
        varied = recoloured(grey, np.random.default_rng(seed))
        assert (varied >= 0.5 * GAINS[0] - 1e-6).all()
        assert (varied <= 0.5 * GAINS[1] + 1e-6).all()


def test_pictures_of_one_crop_are_changed_alike(ramp: NDArray[np.float32]) -> None:
    both = recoloured(np.concatenate([ramp, ramp], axis=-1), np.random.default_rng(3))
    assert np.array_equal(both[..., :COLOURS], both[..., COLOURS:])
