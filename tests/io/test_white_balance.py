"""The colour of the light as a DNG states it; Adobe's SDK renders these files as with the neutral colours below."""

import numpy as np
import pytest

from denoise_cli.io.exif import RATIONAL, SRATIONAL, Directory, Exif
from denoise_cli.io.white_balance import correlated_temperature, neutral_of_white

TUNGSTEN = np.array([[0.9, -0.2, -0.05], [-0.5, 1.4, 0.1], [-0.1, 0.3, 0.6]])
DAYLIGHT = np.array([[0.7, -0.1, -0.1], [-0.45, 1.25, 0.2], [-0.15, 0.25, 0.55]])
BETWEEN = (0.38, 0.377)  # about 4014 K


def tags(xy: tuple[float, float] = BETWEEN) -> Exif:
    exif = Exif()
    main: Directory = {
        50721: exif.packed(SRATIONAL, TUNGSTEN.ravel()),
        50722: exif.packed(SRATIONAL, DAYLIGHT.ravel()),
        50778: exif.short(17),
        50779: exif.short(21),
        50729: exif.packed(RATIONAL, xy),
    }
    exif.main = main
    return exif


def seen(matrix: np.ndarray, xy: tuple[float, float]) -> np.ndarray:
    x, y = xy
    white = matrix @ np.array([x, y, 1 - x - y])
    return white / white.max()


@pytest.mark.parametrize(
    ("xy", "neutral"),
    [
        ((0.3457, 0.3585), (0.5315, 1, 0.6005)),
        ((0.4476, 0.4074), (0.8696, 1, 0.4551)),
        ((0.3127, 0.3290), (0.4388, 1, 0.6792)),
        (BETWEEN, (0.6426, 1, 0.5488)),
    ],
)
def test_the_neutral_colour_is_that_of_adobe_s_sdk(xy: tuple[float, float], neutral: tuple[float, ...]) -> None:
    np.testing.assert_allclose(neutral_of_white(tags(xy)), neutral, atol=0.001)


def test_beyond_both_lights_the_nearer_matrix_is_taken() -> None:
    for xy, matrix in [((0.55, 0.41), TUNGSTEN), ((0.28, 0.29), DAYLIGHT)]:
        np.testing.assert_allclose(neutral_of_white(tags(xy)), seen(matrix, xy), rtol=1e-5)


def test_a_single_matrix_and_lights_of_unknown_temperature_do() -> None:
    one, unknown = tags(), tags()
    del one.main[50722], one.main[50779]
    unknown.main[50778] = unknown.short(0)
    for exif in (one, unknown):
        np.testing.assert_allclose(neutral_of_white(exif), seen(TUNGSTEN, BETWEEN), rtol=1e-5)


def test_analogue_gains_and_the_camera_s_calibration_count() -> None:
    exif = tags()
    del exif.main[50722], exif.main[50779]
    gains, calibration = np.array([1.1, 1, 0.9]), np.diag([1.05, 1, 0.95])
    exif.main[50727] = exif.packed(RATIONAL, gains)
    exif.main[50723] = exif.packed(SRATIONAL, calibration.ravel())
    np.testing.assert_allclose(
        neutral_of_white(exif), seen(np.diag(gains) @ calibration @ TUNGSTEN, BETWEEN), rtol=1e-5
    )
    exif.main[50931] = exif.text("another camera")  # the calibration then belongs to another profile
    np.testing.assert_allclose(neutral_of_white(exif), seen(np.diag(gains) @ TUNGSTEN, BETWEEN), rtol=1e-5)


def test_nothing_is_known_without_a_matrix_or_a_possible_colour() -> None:
    without, impossible, stated_otherwise = tags(), tags((0.9, 0.02)), tags()
    del without.main[50721], without.main[50722]
    del stated_otherwise.main[50729]
    assert [neutral_of_white(each) for each in (without, impossible, stated_otherwise)] == [None] * 3


@pytest.mark.parametrize(
    ("xy", "kelvin"), [((0.44757, 0.40745), 2856), ((0.3457, 0.3585), 5003), ((0.29902, 0.31485), 7504)]
)
def test_the_standard_lights_have_their_temperatures(xy: tuple[float, float], kelvin: int) -> None:
    assert correlated_temperature(*xy) == pytest.approx(kelvin, rel=0.005)
