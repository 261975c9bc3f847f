from itertools import pairwise

import numpy as np
import pytest

from denoise_cli.imaging.tiling import Span, grid, reflected, split

# tile, overlap, multiple, margin
CUTS = [(1024, 128, 64, 32), (512, 128, 64, 0), (256, 128, 64, 32), (192, 64, 64, 31), (10, 4, 1, 1), (8, 2, 2, 0)]


def lengths(multiple: int) -> list[int]:
    return [multiple * cells for cells in [*range(1, 40), 97, 128]]


@pytest.mark.parametrize(("tile", "overlap", "multiple", "margin"), CUTS)
def test_the_weights_of_all_tiles_add_up_to_one(tile: int, overlap: int, multiple: int, margin: int) -> None:
    for length in lengths(multiple):
        total = np.zeros(length)
        for span in split(length, tile, overlap, multiple):
            weights = span.weights(margin)
            assert weights.min() >= 0
            total[span.start : span.stop] += weights
        np.testing.assert_allclose(total, 1, rtol=0, atol=1e-6, err_msg=f"length {length}")


@pytest.mark.parametrize(("tile", "overlap", "multiple", "margin"), CUTS)
def test_a_tile_does_not_count_within_the_margin_of_an_inner_end(
    tile: int, overlap: int, multiple: int, margin: int
) -> None:
    spans = split(multiple * 97, tile, overlap, multiple)
    for span in spans:
        weights = span.weights(margin)
        assert not weights[:margin].any() or span is spans[0]
        assert not weights[len(weights) - margin :].any() or span is spans[-1]


@pytest.mark.parametrize(("tile", "overlap", "multiple", "margin"), CUTS)
def test_tiles_cover_the_length_on_the_grid_and_are_never_too_long(
    tile: int, overlap: int, multiple: int, margin: int
) -> None:
    for length in lengths(multiple):
        spans = split(length, tile, overlap, multiple)
        assert spans[0].start == 0
        assert spans[-1].stop == length
        assert all(0 < span.stop - span.start <= tile for span in spans)
        assert all(span.start % multiple == span.stop % multiple == 0 for span in spans)
        for before, after in pairwise(spans):
            assert before.stop - after.start == overlap == before.shared_after == after.shared_before
        assert spans[0].shared_before == spans[-1].shared_after == 0


@pytest.mark.parametrize(("tile", "overlap", "multiple", "margin"), CUTS)
def test_no_fewer_tiles_would_do(tile: int, overlap: int, multiple: int, margin: int) -> None:
    for length in lengths(multiple):
        count = len(split(length, tile, overlap, multiple))
        assert count == 1 or (count - 1) * (tile - overlap) + overlap < length


def test_what_fits_one_tile_is_not_cut() -> None:
    assert split(1024, 1024, 128, 64) == [Span(0, 1024, 0, 0)]
    assert np.array_equal(Span(0, 1024, 0, 0).weights(32), np.ones(1024))


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "complaint"),
    [
        (100, 128, 64, "multiples of 64, got 100, 128, 64"),
        (256, 100, 64, "multiples of 64"),
        (256, 128, 32, "multiples of 64"),
        (256, 128, 128, "at least twice the overlap of 128, got 128"),
        (320, 192, 128, "at least twice the overlap of 128, got 192"),  # three tiles would share a pixel
        (256, 64, 128, "at least twice the overlap"),
    ],
)
def test_cuts_that_make_no_sense_are_refused(length: int, tile: int, overlap: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        split(length, tile, overlap, 64)


def test_a_grid_covers_every_pixel_with_a_weight_of_one() -> None:
    total = np.zeros((640, 832))
    for rows, columns in grid(640, 832, 256, 128, 64):
        total[rows.start : rows.stop, columns.start : columns.stop] += np.outer(rows.weights(32), columns.weights(32))
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-6)


def test_the_surroundings_of_a_tile_end_where_the_image_does() -> None:
    first, last = split(length=320, tile=192, overlap=64, multiple=64)
    assert first.around(2, 300) == slice(0, 194)
    assert last.around(2, 300) == slice(126, 300)
    moved = last.moved(-126)
    assert (moved.start, moved.stop, moved.shared_before) == (2, 194, 64)


@pytest.mark.parametrize("length", [2, 3, 7, 64])
def test_reflection_is_that_of_numpy_however_far(length: int) -> None:
    before, after = 5 * length + 1, 3 * length + 2
    expected = np.pad(np.arange(length), (before, after), mode="reflect")
    assert np.array_equal(reflected(-before, length + after, length), expected)


def test_a_single_pixel_is_repeated() -> None:
    assert np.array_equal(reflected(-3, 4, 1), np.zeros(7))
