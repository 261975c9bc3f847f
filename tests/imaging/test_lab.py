import numpy as np
import pytest
from skimage import color

from denoise_cli.imaging.lab import LabEncoding, from_srgb, to_srgb
from denoise_cli.imaging.transfer import linear_to_srgb


@pytest.mark.parametrize("convention", ["cielab", "icclab"])
def test_every_lab_of_8_bits_comes_back(convention: str) -> None:
    encoding = LabEncoding(8, convention)  # type: ignore[arg-type]
    lightness, a, b = np.meshgrid(np.arange(0, 256, 3), np.arange(256), np.arange(0, 256, 5))
    stored = np.stack([lightness, a, b], axis=-1).reshape(-1, 256, 3).astype(np.uint8)

    np.testing.assert_array_equal(from_srgb(to_srgb(stored, encoding), encoding), stored)


@pytest.mark.parametrize("convention", ["cielab", "icclab"])
def test_lab_of_16_bits_comes_back(convention: str, rng: np.random.Generator) -> None:
    encoding = LabEncoding(16, convention)  # type: ignore[arg-type]
    stored = rng.integers(0, 65536, (300, 400, 3), np.uint16)

    np.testing.assert_array_equal(from_srgb(to_srgb(stored, encoding), encoding), stored)


@pytest.mark.parametrize(
    ("encoding", "white", "grey"),
    [
        (LabEncoding(8, "cielab"), (255, 0, 0), (51, 0, 0)),
        (LabEncoding(8, "icclab"), (255, 128, 128), (51, 128, 128)),
        (LabEncoding(16, "cielab"), (65535, 0, 0), (13107, 0, 0)),
        (LabEncoding(16, "icclab"), (65280, 32768, 32768), (13056, 32768, 32768)),
        (LabEncoding(32, "cielab"), (100, 0, 0), (20, 0, 0)),
    ],
)
def test_white_and_grey_have_no_colour(encoding: LabEncoding, white: tuple[int], grey: tuple[int]) -> None:
    shown = to_srgb(np.array([[white, grey]], encoding.dtype), encoding)

    twenty = float(linear_to_srgb(np.array(((20 + 16) / 116) ** 3)))
    assert shown[0, 0] == pytest.approx([1] * 3, abs=1e-6)
    assert shown[0, 1] == pytest.approx([twenty] * 3, abs=1e-6)


def test_colours_are_those_of_another_implementation(rng: np.random.Generator) -> None:
    rgb = rng.random((20, 30, 3))
    d50 = color.rgb2lab(rgb, illuminant="D65")  # relative to sRGB's own white, where Lab here is relative to D50

    shown = to_srgb(d50.astype(np.float32), LabEncoding(32, "cielab"))

    assert np.abs(shown - rgb).mean() < 0.03  # what a chromatic adaptation is from none
    assert np.abs(shown - rgb)[np.ptp(rgb, axis=2) < 0.1].max() < 0.01


def test_a_and_b_with_a_sign_are_the_others_with_another_highest_bit() -> None:
    signed = np.array([[[128, 20, 236]]], np.uint8)
    shown = to_srgb(signed, LabEncoding(8, "cielab"))

    np.testing.assert_array_equal(to_srgb(signed ^ np.uint8([0, 128, 128]), LabEncoding(8, "icclab")), shown)
