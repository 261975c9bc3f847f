"""The simulated sensor: its numbers against the light and the noise that they represent."""

import numpy as np
import pytest

from denoise_cli.imaging import sensor as module
from denoise_cli.imaging.bayer import PHASES as NAMED_PHASES
from denoise_cli.imaging.demosaic import DemosaicMethod
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.sensor import Sensor, draw_sensor
from denoise_cli.imaging.transfer import srgb_to_linear
from tests.imaging.scenes import INSIDE, SKEWED_COLOURS, flat_scene, smooth_scene

PHASES = list(NAMED_PHASES.values())


@pytest.mark.parametrize("phase", PHASES)
def test_a_sensor_counts_what_it_sees_with_its_noise(phase: tuple[int, int]) -> None:
    sensor = Sensor(ShotRead(2e-3, 4e-3), red=2.0, blue=1.5, phase=phase, black=800, white=4095)
    numbers = sensor.capture(flat_scene(), np.random.default_rng(0))
    light = sensor.normalise(numbers)
    assert numbers.dtype == np.uint16
    grey = srgb_to_linear(np.float32(0.5))
    y, x = phase
    for place, gain in (((y, x), 2.0), ((y, 1 - x), 1.0), ((1 - y, x), 1.0), ((1 - y, 1 - x), 1.5)):
        site = light[place[0] :: 2, place[1] :: 2]
        q = grey / gain
        assert site.mean() == pytest.approx(q, rel=0.01)
        assert site.std() == pytest.approx((2e-3 * q + 4e-3**2) ** 0.5, rel=0.05)
    np.testing.assert_allclose(sensor.measure(flat_scene())[y::2, x::2], grey / 2, rtol=1e-5)


def test_a_sensor_is_full_and_empty_at_its_limits() -> None:
    sensor = Sensor(ShotRead(1e-2, 0.2), exposure=2.0, black=300, white=1000)
    bright, dark = (sensor.capture(flat_scene(value), np.random.default_rng(0)) for value in (1.0, 0.0))
    assert bright.max() == 1000
    assert sensor.measure(flat_scene(1.0)).max() == 1
    assert dark.min() == 0
    assert (dark < 300).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("method", ["malvar", "bilinear", None])
def test_what_a_sensor_has_seen_is_developed_to_the_scene(method: DemosaicMethod | None) -> None:
    sensor = Sensor(ShotRead(0, 0), red=1.8, blue=2.2, colours=SKEWED_COLOURS, phase=(0, 1))
    scene = smooth_scene()
    light = sensor.light(scene) if method is None else sensor.measure(scene)
    developed = sensor.develop(light, method)
    assert np.abs(developed - srgb_to_linear(scene))[INSIDE].max() < (1e-5 if method is None else 0.02)


def test_sensors_are_drawn_of_all_kinds() -> None:
    drawn = [draw_sensor(np.random.default_rng(seed)) for seed in range(200)]
    for values, (least, most) in (
        ([one.noise.shot for one in drawn], module.SHOTS),
        ([one.noise.read for one in drawn], module.READS),
        ([one.exposure for one in drawn], module.EXPOSURES),
        ([one.red for one in drawn], module.RED_GAINS),
    ):
        assert least <= min(values) < least + 0.1 * (most - least)
        assert most - 0.2 * (most - least) < max(values) <= most
    for one in drawn[:20]:
        np.testing.assert_allclose(one.matrix().sum(axis=1), [1 / one.red, 1, 1 / one.blue])
