import importlib.util

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.errors import MissingDependency, UsageError
from denoise_cli.evaluation.baselines import load_baseline
from denoise_cli.imaging.metrics import psnr

LIBRARIES = {
    "nlm": ("cv2", "opencv-python-headless"),
    "wavelet": ("pywt", "PyWavelets"),
}
NAMES = [
    pytest.param(
        name, marks=pytest.mark.skipif(not importlib.util.find_spec(module), reason=f"{package} is not installed")
    )
    for name, (module, package) in LIBRARIES.items()
]


@pytest.fixture
def clean(astronaut: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (astronaut[:96, 150:270] / 255).astype(np.float32)


@pytest.fixture
def noisy(clean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    return (clean + rng.normal(0, 25 / 255, clean.shape)).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_taken_away(name: str, channels: int, clean: NDArray[np.float32], noisy: NDArray[np.float32]) -> None:
    denoise = load_baseline(name)
    assert denoise is not None
    denoised = denoise(noisy[..., :channels], 25 / 255)
    assert denoised.shape == (96, 120, channels)
    assert denoised.dtype == np.float32
    assert psnr(denoised.clip(0, 1), clean[..., :channels]) > psnr(noisy[..., :channels], clean[..., :channels]) + 4


@pytest.mark.parametrize("name", NAMES)
def test_a_map_counts_as_one_level_and_an_unknown_level_is_estimated(name: str, noisy: NDArray[np.float32]) -> None:
    denoise = load_baseline(name)
    assert denoise is not None
    given = denoise(noisy, 25 / 255)
    np.testing.assert_allclose(denoise(noisy, np.full((96, 120), 25 / 255, np.float32)), given, atol=1e-5)
    assert psnr(denoise(noisy, None), given) > 35


@pytest.mark.parametrize("name", NAMES)
def test_colours_stay_where_they_are(name: str) -> None:
    picture = np.full((32, 32, 3), [0.8, 0.4, 0.2], np.float32)
    denoise = load_baseline(name)
    assert denoise is not None
    np.testing.assert_allclose(denoise(picture, 0.1), picture, atol=3 / 255)


def test_non_local_means_is_as_strong_as_it_is_told(noisy: NDArray[np.float32]) -> None:
    pytest.importorskip("cv2")
    weak, strong = load_baseline("nlm:5"), load_baseline("nlm:20")
    assert weak is not None
    assert strong is not None
    assert weak(noisy, None).std() > strong(noisy, None).std()
    assert np.array_equal(strong(noisy, 0.01), strong(noisy, 0.5))


@pytest.mark.parametrize("name", ["mallenet-s", "wavelet:3", "", "nlms"])
def test_other_names_are_no_baselines(name: str) -> None:
    assert load_baseline(name) is None


@pytest.mark.parametrize("name", ["nlm:", "nlm:strong", "nlm:0", "nlm:-1", "nlm:nan", "nlm:256"])
def test_a_strength_that_is_none_is_refused(name: str) -> None:
    pytest.importorskip("cv2")
    with pytest.raises(UsageError, match=f"^--model {name}: expected nlm:H with H from 0 to 255, like nlm:10$"):
        load_baseline(name)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_library_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependency, match=f"pip install {LIBRARIES[name][1]}$"):
        load_baseline(name)


def test_a_filter_of_ffmpegs_is_told_the_level(clean: NDArray[np.float32]) -> None:
    denoise = load_baseline("ffmpeg:lutrgb=r={sigma}:g={sigma}:b={sigma}")
    assert denoise is not None
    np.testing.assert_allclose(denoise(clean, 25 / 255), 25 / 255, atol=1e-6)


@pytest.mark.parametrize("name", ["ffmpeg", "ffmpeg:", "ffmpeg:no-such-filter", "ffmpeg:scale=8:8"])
def test_a_filter_that_is_none_is_refused(name: str, clean: NDArray[np.float32]) -> None:
    with pytest.raises(UsageError, match=f"^--model {name}"):
        load_baseline(name)(clean)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_filter_of_ffmpegs_takes_noise_away(
    channels: int, clean: NDArray[np.float32], noisy: NDArray[np.float32]
) -> None:
    denoise = load_baseline("ffmpeg:nlmeans=s=12")
    assert denoise is not None
    denoised = denoise(noisy[..., :channels])
    assert denoised.shape == (96, 120, channels)
    assert denoised.dtype == np.float32
    assert psnr(denoised, clean[..., :channels]) > psnr(noisy[..., :channels], clean[..., :channels]) + 2
