import re
from dataclasses import replace
from typing import Any

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


@pytest.mark.parametrize("sigma", [8, 15, 25])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_default_model_removes_noise_whether_a_photo_is_grey_or_not(
    sigma: float, channels: int, rng: np.random.Generator
) -> None:
    slope = np.broadcast_to(np.linspace(60, 200, 256)[:, None], (256, 256, channels))
    noisy = np.rint(slope + rng.normal(0, sigma, slope.shape)).astype(np.uint8)
    clean, _ = denoise_developed(Photo(noisy, None, "png"), load("mallenet-r"))
    assert np.sqrt(np.square(clean.pixels - slope).mean()) < 0.3 * sigma


def test_a_drawing_is_left_as_it_is_by_the_default_model() -> None:
    pixels = np.full((200, 300, 3), 255, np.uint8)
    pixels[20:180:9, 20:280] = pixels[20:180, 20:280:11] = (30, 60, 90)
    drawing = Photo(pixels, None, "png")
    result, level = denoise_developed(drawing, load("mallenet-r"))
    assert level == 0
    assert np.array_equal(result.pixels, pixels)


def cmyk(rng: np.random.Generator, dtype: type[np.unsignedinteger[Any]] = np.uint8) -> Photo:
    """A photo of grey and of one colour, printed with black, with noise in the light."""
    white = np.iinfo(dtype).max
    light = np.concatenate([np.full((200, 100, 3), 0.5), np.full((200, 100, 3), (0.3, 0.6, 0.2))], axis=1)
    light += rng.normal(0, 15 / 255, light.shape)
    black = 0.6 + 0.4 * light.max(axis=2)
    inks = np.rint(np.clip(light / black[..., None], 0, 1) * white).astype(dtype)
    return Photo(inks, None, "tiff", black=np.rint(np.clip(black, 0, 1) * white).astype(dtype))


@pytest.mark.parametrize("model", ["mallenet-r", "mallenet-s"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_inks_are_denoised_and_keep_their_colours(
    dtype: type[np.unsignedinteger[Any]], model: str, rng: np.random.Generator
) -> None:
    noisy = cmyk(rng, dtype)
    clean, level = denoise_developed(noisy, load(model))

    assert clean.black is not None
    assert clean.pixels.dtype == clean.black.dtype == dtype
    assert level is None or level * 255 == pytest.approx(15, abs=3)
    for columns in (slice(5, 95), slice(105, 195)):
        before, after = noisy.as_rgb8()[:, columns].astype(int), clean.as_rgb8()[:, columns].astype(int)
        assert after.std(axis=(0, 1)).max() < 0.4 * before.std(axis=(0, 1)).min()
        assert np.abs(after.mean(axis=(0, 1)) - before.mean(axis=(0, 1))).max() < 1
    assert clean.black[5:95, 5:95].std() < 0.5 * noisy.black[5:95, 5:95].std()  # type: ignore[index]


def test_inks_are_untouched_at_no_strength(rng: np.random.Generator) -> None:
    original = cmyk(rng)
    clean, _ = denoise_developed(original, load("mallenet-s"), 0.1, 0)
    assert np.array_equal(clean.pixels, original.pixels)
    assert np.array_equal(clean.black, original.black)


def test_inks_under_solid_black_are_kept(rng: np.random.Generator) -> None:
    original = cmyk(rng)
    assert original.black is not None
    original.black[50:150, 50:150] = 0
    clean, _ = denoise_developed(original, load("mallenet-s"), 0.06)
    assert clean.black is not None
    hidden = slice(60, 140), slice(60, 140)
    assert clean.black[hidden].max() <= 3
    assert np.abs(clean.pixels[hidden].astype(int) - original.pixels[hidden]).mean() < 8


def test_the_progress_of_inks_is_that_of_both_parts(rng: np.random.Generator) -> None:
    seen: list[float] = []
    denoise_developed(cmyk(rng), load("mallenet-s"), 0.06, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert 0.5 in seen


def test_a_single_bit_per_pixel_is_left_as_it_is(rng: np.random.Generator) -> None:
    pixels = (rng.random((100, 100, 1)) < 0.5).astype(np.uint8) * np.uint8(255)
    original = Photo(pixels, None, "tiff", is_bilevel=True)
    clean, level = denoise_developed(original, load("mallenet-s"), 0.2)
    assert np.array_equal(clean.pixels, pixels)
    assert clean.notes == ("black and white, without grey: left as it is",)
    assert level == 0


def test_lab_far_outside_of_srgb_is_kept(rng: np.random.Generator) -> None:
    noisy = floating_point(0.5, rng)
    noisy.pixels[50:60, 50:60, 0] = -20
    clean, _ = denoise_developed(noisy, load("mallenet-s"), 15 / 255)
    assert clean.pixels[50:60, 50:60, 0] == pytest.approx(-20, abs=0.5)
    assert clean.pixels[:40].std() < 0.3 * 15 / 255
