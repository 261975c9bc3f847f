import numpy as np

from denoise_cli.data.drawings import STARS_SHARE, Drawings

DRAWN = [Drawings().draw(np.random.default_rng(seed), 64) for seed in range(150)]


def test_drawings_are_pictures() -> None:
    for drawing in DRAWN:
        assert drawing.shape == (64, 64, 3)
        assert drawing.dtype == np.float32
        assert 0 <= drawing.min() <= drawing.max() <= 1


def test_the_same_state_of_the_generator_gives_the_same_drawing() -> None:
    again = Drawings().draw(np.random.default_rng(5), 64)
    assert np.array_equal(again, DRAWN[5])


def test_drawings_have_sharp_edges_flat_areas_and_differ() -> None:
    steps = [np.abs(np.diff(drawing, axis=1)).max(axis=-1) for drawing in DRAWN]
    assert np.mean([step.max() > 0.3 for step in steps]) > 0.6
    assert np.mean([(step == 0).mean() > 0.3 for step in steps]) > 0.5
    assert len({drawing.tobytes() for drawing in DRAWN}) > 140


def test_any_size_can_be_drawn() -> None:
    for seed in range(40):
        assert Drawings().draw(np.random.default_rng(seed), 37).shape == (37, 37, 3)


def test_some_are_stars_whose_light_is_sharp_and_on_a_dark_sky() -> None:
    seeds = [seed for seed in range(150) if np.random.default_rng(seed).random() > 1 - STARS_SHARE]
    assert len(seeds) > 8
    for seed in seeds:
        assert np.median(DRAWN[seed]) < 0.5
        assert DRAWN[seed].max() - np.median(DRAWN[seed]) > 0.1
