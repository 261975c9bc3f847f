"""Stuck photosites come from a list or a dark frame of the user's, or the file is refused in a line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.io import dng
from denoise_cli.pipeline.hot_pixels import stuck_in

SHAPE = (64, 80)
SENSOR = Sensor(ShotRead(1e-4, 1e-3))


def dark_frame(path: Path, hot: list[tuple[int, int]], light_elsewhere: float = 0.0) -> Path:
    light = np.full(SHAPE, light_elsewhere, np.float32)
    for place in hot:
        light[place] += 0.1
    numbers = SENSOR.digitise(light, np.random.default_rng(0))
    negative = dng.simulated_dng(SENSOR, numbers, np.zeros((16, 20, 3), np.uint8))
    path.write_bytes(dng.encode(replace(negative, orientation=6), "test"))
    return path


def test_a_list_is_read_as_dcraw_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("# my camera\n\n 7 5 1028350000\n12 63 0  # low light\n79 0\n80 0 0\n-1 3\n")
    stuck, notes = stuck_in(path, SHAPE)
    assert np.argwhere(stuck).tolist() == [[0, 79], [5, 7], [63, 12]]
    assert notes == (f"{path}: outside the 80 x 64 photosites: 2 of 5 entries",)


def test_nothing_is_said_of_a_list_that_lies_within_the_sensor_or_is_empty(tmp_path: Path) -> None:
    for text in ("0 0\n79 63\n", "# none\n"):
        path = tmp_path / f"{len(text)}.txt"
        path.write_text(text)
        assert stuck_in(path, SHAPE)[1] == ()


def test_a_list_for_another_sensor_is_said_to_have_no_effect(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("5000 10\n10 4000\n")
    stuck, notes = stuck_in(path, SHAPE)
    assert not stuck.any()
    assert notes == (f"{path}: outside the 80 x 64 photosites: 2 of 2 entries",)


def test_a_list_may_begin_with_a_byte_order_mark_and_name_places_beyond_any_sensor(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("\ufeff7 5\n99999999999999999999 5\n-99999999999999999999 5\n", encoding="utf-8")
    stuck, notes = stuck_in(path, SHAPE)
    assert np.argwhere(stuck).tolist() == [[5, 7]]
    assert notes == (f"{path}: outside the 80 x 64 photosites: 2 of 3 entries",)


def test_a_dark_frame_shows_where_it_is_hot(tmp_path: Path) -> None:
    hot = [(3, 4), (30, 31), (63, 79)]
    stuck, notes = stuck_in(dark_frame(tmp_path / "dark.dng", hot), SHAPE)
    assert [tuple(place) for place in np.argwhere(stuck)] == hot
    assert notes == ()


@pytest.mark.parametrize(("light", "is_dark"), [(0.04, True), (0.06, False), (0.21, False)])
def test_a_photo_is_no_dark_frame(tmp_path: Path, light: float, is_dark: bool) -> None:
    path = dark_frame(tmp_path / "photo.dng", [(3, 4)], light)
    if is_dark:
        assert np.argwhere(stuck_in(path, SHAPE)[0]).tolist() == [[3, 4]]
        return
    with pytest.raises(UnreadableFile) as caught:
        stuck_in(path, SHAPE)
    assert str(caught.value) == f"{path}: no dark frame, with a median of {light:.0%} of white: cover the lens"


def test_what_is_neither_is_refused_in_a_line(tmp_path: Path) -> None:
    dark = dark_frame(tmp_path / "dark.dng", [])
    with pytest.raises(UnreadableFile, match=r"dark\.dng: a dark frame of 80 x 64 photosites is of no use for 20 x 10"):
        stuck_in(dark, (10, 20))
    words = tmp_path / "words.txt"
    words.write_text("1 2\nleft, at the top\n")
    with pytest.raises(UnreadableFile, match=r"words\.txt: line 2: expected a column and a row, got left, at the top"):
        stuck_in(words, SHAPE)
    with pytest.raises(UnreadableFile, match="none"):
        stuck_in(tmp_path / "none.txt", SHAPE)
