import re
from dataclasses import replace

import numpy as np
import pytest

from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io.photo import Photo
from denoise_cli.pipeline.developed import denoise_developed


def load(name: str) -> Denoiser:
    return load_denoiser(name, "cpu", "fp32")


def floating_point(light: float, rng: np.random.Generator) -> Photo:
    """A photo of noise around middle grey, with a light in it."""
    pixels = (0.5 + rng.normal(0, 15 / 255, (200, 200, 3))).astype(np.float32)
    pixels[100:103, 100:103] = light
    return Photo(pixels, None, "tiff")


@pytest.mark.parametrize("noise", [None, 15 / 255])
def test_a_light_beyond_white_keeps_its_brightness_and_changes_nothing_else(noise: float | None) -> None:
    results = [
        denoise_developed(floating_point(light, np.random.default_rng(0)), load("mallenet-s"), noise)[0].pixels
        for light in (1.5, 20, 2000)
    ]
    elsewhere = np.ones(results[0].shape, bool)
    elsewhere[100:103, 100:103] = False
    assert results[0][:90].std() < 0.3 * 15 / 255
    for light, result in zip((1.5, 20, 2000), results, strict=True):
        assert result[elsewhere] == pytest.approx(results[0][elsewhere], abs=0.002)
        assert result[100:103, 100:103] == pytest.approx(light, abs=0.1)


def test_floating_point_is_untouched_at_no_strength(rng: np.random.Generator) -> None:
    original = floating_point(7.3, rng)
    assert np.array_equal(denoise_developed(original, load("mallenet-s"), 0.1, 0)[0].pixels, original.pixels)


def test_another_scale_of_floating_point_is_seen_and_said(rng: np.random.Generator) -> None:
    original = floating_point(0.9, rng)
    scaled = replace(original, pixels=original.pixels * 255)
    results = [denoise_developed(one, load("mallenet-s"))[0] for one in (original, scaled)]
    assert results[0].notes == ()
    (note,) = results[1].notes
    assert re.fullmatch(r"most values are above 1: 1\d\d\.?\d* is taken for white", note)
    assert results[1].pixels[:90].std() / 255 < 0.3 * 15 / 255


def test_pixels_that_cannot_be_seen_do_not_count_for_the_level(rng: np.random.Generator) -> None:
    pixels = np.rint((0.5 + rng.normal(0, 15 / 255, (200, 200, 3))) * 255).astype(np.uint8)
    alpha = np.full((200, 200), 255, np.uint8)
    alpha[:, :100] = 0
    pixels[:, :100] = rng.integers(0, 256, (200, 100, 3))
    _, level = denoise_developed(Photo(pixels, alpha, "png"), load("mallenet-s"))
    assert isinstance(level, float)
    assert level * 255 == pytest.approx(15, abs=1.5)


def test_a_drawing_is_left_as_it_is_by_the_default_model() -> None:
    pixels = np.full((200, 300, 3), 255, np.uint8)
    pixels[20:180:9, 20:280] = pixels[20:180, 20:280:11] = (30, 60, 90)
    drawing = Photo(pixels, None, "png")
    result, level = denoise_developed(drawing, load("mallenet-r"))
    assert level == 0
    assert np.array_equal(result.pixels, pixels)
