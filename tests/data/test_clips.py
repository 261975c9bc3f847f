from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoise_cli.data.clips import Mixture, MovingPhotos, find_clips, windows
from denoise_cli.data.photos import CropSource
from denoise_cli.errors import UnreadableFile


def write_photos(folder: Path, count: int, rng: np.random.Generator, side: int = 80) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:03d}.png" for i in range(count)]
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(path)
    return paths


def test_clips_are_the_folders_that_hold_frames(tmp_path: Path, rng: np.random.Generator) -> None:
    second, first = write_photos(tmp_path / "b", 2, rng), write_photos(tmp_path / "a" / "deep", 3, rng)
    assert find_clips(tmp_path) == [first, second]
    assert windows(find_clips(tmp_path), 3) == [
        (first[0], first[1], first[2]),
        (first[1], first[0], first[2]),
        (first[2], first[1], first[0]),
    ]


def test_a_folder_without_photos_holds_no_clips(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="holds no photos"):
        find_clips(tmp_path)


def test_windows_of_clips_are_cropped_alike(tmp_path: Path, rng: np.random.Generator) -> None:
    still = write_photos(tmp_path, 1, rng)[0]
    crop = CropSource([(still, still, still)]).draw(rng, 32)
    assert crop.shape == (32, 32, 9)
    np.testing.assert_array_equal(crop[..., :3], crop[..., 6:])


@pytest.mark.parametrize("T", [1, 3, 5])
def test_photos_that_move_are_drawn_again_by_the_same_seed(tmp_path: Path, rng: np.random.Generator, T: int) -> None:
    source = MovingPhotos(CropSource([(path,) for path in write_photos(tmp_path, 3, rng)]), T)
    for seed in range(20):
        once, again = (source.draw(np.random.default_rng(seed), 64) for _ in range(2))
        assert once.shape == (64, 64, 3 * T)
        assert once.dtype == np.float32
        assert 0 <= once.min() <= once.max() <= 1
        np.testing.assert_array_equal(once, again)


def test_most_photos_move_and_some_do_not(tmp_path: Path, rng: np.random.Generator) -> None:
    source = MovingPhotos(CropSource([(path,) for path in write_photos(tmp_path, 3, rng)]), 3)
    crops = [source.draw(np.random.default_rng(seed), 64) for seed in range(60)]
    still = [np.abs(crop[..., :3] - crop[..., 6:]).max() < 1e-6 for crop in crops]
    assert 0.02 < np.mean(still) < 0.4


def test_a_mixture_draws_from_all_and_counts_all(tmp_path: Path, rng: np.random.Generator) -> None:
    one = CropSource([(path,) for path in write_photos(tmp_path / "a", 2, rng)])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no photo")
    two = CropSource([(broken,), *((path,) for path in write_photos(tmp_path / "b", 3, rng))])
    mixture = Mixture([one, two])
    assert len(mixture) == 6
    for seed in range(30):
        mixture.draw(np.random.default_rng(seed), 32)
    assert list(mixture.skipped) == [(broken,)]
