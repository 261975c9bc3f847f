"""Which neighbours a frame of a clip is denoised with."""

import pytest

from denoise_cli.imaging.windows import surrounded, window


@pytest.mark.parametrize(
    ("place", "length", "T", "expected"),
    [
        (4, 9, 5, [4, 3, 5, 2, 6]),
        (4, 9, 1, [4]),
        (0, 9, 5, [0, 1, 2, 3, 4]),
        (1, 9, 5, [1, 0, 2, 3, 4]),
        (8, 9, 3, [8, 7, 6]),
        (1, 3, 5, [1, 0, 2]),
        (0, 1, 5, [0]),
    ],
)
def test_a_window_holds_the_nearest_frames(place: int, length: int, T: int, expected: list[int]) -> None:
    assert window(place, length, T) == expected


@pytest.mark.parametrize("T", [1, 3, 5])
@pytest.mark.parametrize("length", [0, 1, 4, 9])
def test_a_stream_is_seen_through_the_same_windows(length: int, T: int) -> None:
    assert list(surrounded(iter(range(length)), T)) == [window(place, length, T) for place in range(length)]


def test_a_stream_is_read_no_further_than_its_window() -> None:
    read: list[int] = []
    items = (read.append(place) or place for place in range(100))
    windows = surrounded(items, 5)
    for _ in range(10):
        next(windows)
    assert len(read) <= 10 + 5
