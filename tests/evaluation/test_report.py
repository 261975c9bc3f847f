import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.evaluation.report import (
    ERROR_GAIN,
    MAX_ROWS,
    TemporalProfiles,
    choose_photos,
    compare,
    most_detailed_crop,
    write_table,
)


def flat(value: float, height: int = 20, width: int = 30, channels: int = 3) -> NDArray[np.float32]:
    return np.full((height, width, channels), value, np.float32)


def test_a_table_is_what_was_put_into_it(tmp_path: Path) -> None:
    records = [{"photo": 'a, "b".png', "db": 31.5, "ssim": None}, {"photo": "ü\udcff.png", "db": 1e-9, "ssim": 0.5}]
    write_table(tmp_path / "table.csv", records, overwrite=False)
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{key: "" if value is None else str(value) for key, value in one.items()} for one in records]


def test_a_row_has_input_outputs_truth_and_errors() -> None:
    clean = flat(0.5, 300, 400)
    outputs = {"one": clean + np.float32(0.01), "two": clean - np.float32(0.1)}
    tiles = compare("photo", clean + np.float32(0.2), clean, outputs)
    assert [tile.caption for tile in tiles] == [
        "photo: 13.98 dB",
        "one: 40.00 dB",
        "two: 20.00 dB",
        "truth",
        f"one: error x {ERROR_GAIN}",
        f"two: error x {ERROR_GAIN}",
    ]
    assert {tile.pixels.shape for tile in tiles} == {(256, 256, 3)}
    shades = [0.7, 0.51, 0.4, 0.5, 0.5 + ERROR_GAIN * 0.01, 0.5 - ERROR_GAIN * 0.1]
    for tile, shade in zip(tiles, shades, strict=True):
        np.testing.assert_allclose(tile.pixels, shade, atol=1e-6)


def test_the_part_with_the_most_detail_is_shown(rng: np.random.Generator) -> None:
    picture = flat(0.5, 60, 80)
    picture[30:40, 50:60] = rng.random((10, 10, 3))
    rows, columns = most_detailed_crop(picture, 20)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (20, 20)
    assert rows.start <= 30
    assert rows.stop >= 40
    assert columns.start <= 50
    assert columns.stop >= 60


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (40, 5), (20, 20)])
def test_of_a_small_picture_all_that_there_is_is_shown(shape: tuple[int, int]) -> None:
    rows, columns = most_detailed_crop(flat(0.5, *shape), 20)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (min(shape[0], 20), min(shape[1], 20))


@pytest.mark.parametrize("photos", [1, 7, 8, 9, 25, 68])
@pytest.mark.parametrize("levels", [1, 3, 8, 20])
def test_a_grid_stays_within_its_rows(photos: int, levels: int) -> None:
    shown = choose_photos(photos, levels)
    assert 1 <= len(shown) * levels <= max(MAX_ROWS, levels)
    assert max(shown) < photos


def test_a_profile_is_the_middle_line_over_time(tmp_path: Path, rng: np.random.Generator) -> None:
    profiles = TemporalProfiles(tmp_path / "a")
    noisy, clean, output = rng.random((3, 4, 9, 20, 3)).astype(np.float32)
    for place in range(4):
        path = tmp_path / "a" / f"{place}.png"
        profiles.add(path, "sigma 25", noisy[place], clean[place], {"some": output[place]})
        profiles.add(tmp_path / "b" / path.name, "sigma 25", clean[place], clean[place], {"some": clean[place]})
    (row,) = profiles.rows
    assert [tile.caption for tile in row] == ["sigma 25", "some", "truth"]
    for tile, pictures in zip(row, (noisy, output, clean), strict=True):
        assert tile.pixels.shape == (32, 20, 3)
        np.testing.assert_array_equal(tile.pixels[4::8], pictures[:, 4])
