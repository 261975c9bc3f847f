import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from denoise_cli.data.drawings import Drawings
from denoise_cli.evaluation.samples import add_gaussian_noise, add_sensor_noise
from denoise_cli.imaging.noise import ShotRead, estimate_levels, estimate_sigma, is_free_of_noise, sensor_noise
from denoise_cli.imaging.pixels import from_float, to_float
from denoise_cli.imaging.transfer import linear_to_srgb
from denoise_cli.io import image

Pixels = NDArray[np.float64]


@pytest.fixture(scope="module")
def camera() -> Pixels:
    """A grey photo, (512, 512, 1)."""
    from skimage import data

    return data.camera()[..., None] / 255


def noisy(clean: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    return clean + rng.normal(0, sigma / 255, clean.shape)


@pytest.mark.parametrize("sigma", [5, 15, 25, 50])
def test_gaussian_noise_on_a_colour_photo_is_told_to_one_level(
    astronaut: NDArray[np.uint8], sigma: float, rng: np.random.Generator
) -> None:
    assert estimate_sigma(noisy(astronaut / 255, sigma, rng)) * 255 == pytest.approx(sigma, abs=1)


@pytest.mark.parametrize("sigma", [0.5, 5, 15, 25, 50])
def test_gaussian_noise_on_a_grey_photo_is_told_to_one_level(
    camera: Pixels, sigma: float, rng: np.random.Generator
) -> None:
    assert estimate_sigma(noisy(camera, sigma, rng)) * 255 == pytest.approx(sigma, abs=1)


@pytest.mark.parametrize("shape", [(64, 64, 3), (100, 37, 1), (8, 500, 3)])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_flat_picture_has_no_noise(shape: tuple[int, ...], value: float) -> None:
    assert estimate_sigma(np.full(shape, value)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(64, 64, 1), (96, 96, 3), (40, 300, 3), (1500, 1200, 3)])
def test_noise_alone_is_told_to_a_tenth_whatever_the_size(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    assert estimate_sigma(noisy(np.full(shape, 0.5), 25, rng)) * 255 == pytest.approx(25, rel=0.1)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 1, 3), (7, 7, 3), (4, 100, 3), (100, 7, 1), (8, 8, 1), (9, 8, 3), (15, 15, 1), (20, 20, 3)]
)
def test_a_picture_too_small_to_tell_counts_as_clean(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert estimate_sigma(rng.random(shape)) == 0


@pytest.mark.parametrize("scale", [1 / 65535, 255.0, 1e4])
def test_the_estimate_is_in_the_unit_of_the_picture(camera: Pixels, scale: float, rng: np.random.Generator) -> None:
    picture = noisy(camera, 25, rng)
    assert estimate_sigma(picture * scale) == pytest.approx(estimate_sigma(picture) * scale, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_have_the_level_of_their_floating_point(rng: np.random.Generator, dtype: type) -> None:
    white = np.iinfo(dtype).max
    stored = from_float(noisy(np.full((200, 300, 3), 0.5), 25, rng).astype(np.float32), np.dtype(dtype))
    assert estimate_sigma(stored, white) == estimate_sigma(to_float(stored))


def test_brightness_does_not_matter(camera: Pixels, rng: np.random.Generator) -> None:
    picture = noisy(camera, 25, rng)
    assert estimate_sigma(picture + 0.5) == pytest.approx(estimate_sigma(picture), rel=1e-6)


def test_a_turned_picture_has_the_same_noise(camera: Pixels, rng: np.random.Generator) -> None:
    picture = noisy(camera, 25, rng)[:480, :480]  # a side on which sampled patches and blocks fall onto themselves
    assert estimate_sigma(np.rot90(picture, 2)) == pytest.approx(estimate_sigma(picture), rel=1e-6)


@pytest.mark.parametrize(
    "sigma", [pytest.param(sigma, marks=[] if sigma == 25 else pytest.mark.exhaustive) for sigma in (5, 15, 25, 50)]
)
def test_the_mean_error_over_cbsd68_is_small(shared_data: Path, sigma: int, capsys: pytest.CaptureFixture[str]) -> None:
    photos = sorted((shared_data / "eval" / "cbsd68").iterdir())
    errors = []
    for index, path in enumerate(photos):
        clean = image.read(path).as_rgb8().astype(np.float32) / 255
        errors.append(estimate_sigma(add_gaussian_noise(clean, sigma / 255, index)) * 255 - sigma)
    mean = float(np.mean(np.abs(errors)))
    with capsys.disabled():
        print(f"\nestimate on cbsd68, sigma {sigma}: mean absolute error {mean:.2f}, bias {np.mean(errors):+.2f}")
    assert len(photos) == 68
    assert mean <= 1.5


@pytest.mark.parametrize("light", [-0.1, 0.0, 0.01, 0.1, 0.5, 1.0])
def test_the_variance_of_the_noise_is_shot_times_light_and_read_squared(light: float, rng: np.random.Generator) -> None:
    shot, read = 4e-3, 2e-2
    noise = sensor_noise(np.full((300, 300), light), shot, read, rng)
    assert noise.dtype == np.float32
    assert noise.var() == pytest.approx(shot * max(light, 0) + read**2, rel=5 * (2 / noise.size) ** 0.5)
    assert abs(noise.mean()) < 5 * noise.std() / noise.size**0.5
    for axis in (0, 1):
        neighbours = np.corrcoef(noise.ravel(), np.roll(noise, 1, axis).ravel())[0, 1]
        assert abs(neighbours) < 5 / noise.size**0.5


def patch(light: float | list[float]) -> NDArray[np.float32]:
    """A flat picture, (160, 160, 3), of that much linear light."""
    return linear_to_srgb(np.full((160, 160, 3), light)).astype(np.float32)


@pytest.mark.parametrize("light", [0.0, 0.002, 0.01, 0.03, 0.1, 0.4, 0.9])
@pytest.mark.parametrize(("shot", "read"), [(1e-4, 1e-3), (1e-3, 3e-3)])
def test_the_level_of_a_flat_patch_is_the_deviation_of_its_noise(light: float, shot: float, read: float) -> None:
    clean = patch(light)
    noisy = add_sensor_noise(clean, shot, read, 0)
    assert ShotRead(shot, read).level_of_photo(noisy).mean() == pytest.approx((noisy - clean).std(), rel=0.05)


@pytest.mark.parametrize("light", [0.2, 0.5, 0.9])
def test_the_level_holds_for_the_strongest_noise_where_there_is_light(light: float) -> None:
    clean = patch(light)
    noisy = add_sensor_noise(clean, 1e-2, 3e-2, 0)
    assert ShotRead(1e-2, 3e-2).level_of_photo(noisy).mean() == pytest.approx((noisy - clean).std(), rel=0.05)


def test_the_level_of_a_colour_is_the_mean_energy_of_its_channels() -> None:
    clean = patch([0.01, 0.2, 0.8])
    noisy = add_sensor_noise(clean, 1e-3, 3e-3, 0)
    assert ShotRead(1e-3, 3e-3).level_of_photo(noisy).mean() == pytest.approx((noisy - clean).std(), rel=0.05)


def test_shadows_and_lights_have_their_own_levels() -> None:
    clean = np.concatenate([patch(0.01), patch(0.8)], axis=1)
    level = ShotRead(1e-3, 3e-3).level_of_photo(add_sensor_noise(clean, 1e-3, 3e-3, 0))
    assert level.shape == (160, 320)
    assert level.dtype == np.float32
    assert level[:, :155].min() > 1.5 * level[:, 165:].max()


def test_the_level_in_linear_light_is_the_variance_formula() -> None:
    noisy = np.array([[[0.1, 0.2, 0.3], [-0.2, 0.1, -0.2]]])
    level = ShotRead(4e-3, 0.02).level_of_light(noisy)
    np.testing.assert_allclose(level, [[(0.02**2 + 4e-3 * 0.2) ** 0.5, 0.02]], rtol=1e-6)


def test_the_level_does_not_follow_the_noise() -> None:
    level = ShotRead(1e-2, 1e-2).level_of_photo(add_sensor_noise(patch(0.2), 1e-2, 1e-2, 0))
    assert level.std() < 0.05 * level.mean()


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 40, 1), (40, 3, 3)])
def test_small_pictures_have_a_level_too(shape: tuple[int, int, int]) -> None:
    level = ShotRead(1e-3, 3e-3).level_of_photo(np.full(shape, 0.5, np.float32))
    np.testing.assert_allclose(level, level.flat[0], rtol=1e-5)
    assert level.shape == shape[:2]


def test_a_sensor_without_noise_has_none() -> None:
    assert not ShotRead(0, 0).level_of_photo(patch(0.3)).any()


@pytest.mark.parametrize(("shape", "shot"), [((4, 4), 0.1), ((4, 4, 3), -0.1)])
def test_what_has_no_level_is_refused(shape: tuple[int, ...], shot: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        ShotRead(shot, 0).level_of_photo(np.zeros(shape))


def stored(pixels: Pixels) -> NDArray[np.uint8]:
    return np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("colour", [(128, 128, 128), (200, 30, 30), (0, 0, 0)])
@pytest.mark.parametrize("share", [0.15, 0.6])
def test_what_has_one_colour_round_a_picture_does_not_count(
    astronaut: NDArray[np.uint8], colour: tuple[int, int, int], share: float, rng: np.random.Generator
) -> None:
    """As letterboxes, frames and captions have."""
    picture = stored(noisy(astronaut / 255, 15, rng))
    bar = round(len(picture) * share / 2)
    picture[:bar] = picture[-bar:] = colour
    assert estimate_sigma(picture, 255) * 255 == pytest.approx(15, abs=1.5)


@pytest.mark.parametrize("below", ["grey", "noise"])
def test_pixels_that_cannot_be_seen_do_not_count(
    astronaut: NDArray[np.uint8], below: str, rng: np.random.Generator
) -> None:
    picture = stored(noisy(astronaut / 255, 15, rng))
    visible = np.zeros(picture.shape[:2], bool)
    visible[:, 200:] = True
    hidden = picture[~visible]
    picture[~visible] = 128 if below == "grey" else rng.integers(0, 256, hidden.shape)
    assert estimate_sigma(picture, 255, visible) * 255 == pytest.approx(15, abs=1.5)


def test_letters_lines_and_codes_have_no_noise() -> None:
    for seed in range(20):
        drawing = stored(Drawings().draw(np.random.default_rng(seed), 512))
        assert estimate_sigma(drawing, 255) * 255 < 2, seed


def code(side: int) -> NDArray[np.uint8]:
    """Black and white squares, (384, 384, 3), as printed codes have."""
    cells = np.random.default_rng(0).integers(0, 2, (384 // side, 384 // side, 1)) * 255
    return np.repeat(np.kron(cells, np.ones((side, side, 1), int)), 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("side", [2, 3, 4, 6])
def test_codes_and_pixel_art_are_free_of_noise(side: int, rng: np.random.Generator) -> None:
    assert is_free_of_noise(code(side))
    assert estimate_sigma(code(side), 255) == 0
    assert not is_free_of_noise(stored(noisy(code(side) / 255, 1.5, rng)))


@pytest.mark.parametrize("quality", [20, 40, 90])
@pytest.mark.parametrize("sigma", [0, 5])
def test_a_compressed_photo_is_not_taken_for_a_drawing(
    astronaut: NDArray[np.uint8], quality: int, sigma: float, rng: np.random.Generator
) -> None:
    file = BytesIO()
    Image.fromarray(stored(noisy(astronaut / 255, sigma, rng))).save(file, "jpeg", quality=quality)
    assert not is_free_of_noise(np.asarray(Image.open(file)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_night_photo_whose_noise_is_mostly_black_is_not_taken_for_a_drawing(
    astronaut: NDArray[np.uint8], channels: int, rng: np.random.Generator
) -> None:
    light = astronaut[..., :channels] / 255 - 0.02
    light[:400] = -0.02
    night = stored(noisy(light, 4, rng))
    assert np.median(night) == 0
    assert not is_free_of_noise(night)


def test_a_photo_in_a_frame_is_not_taken_for_a_drawing(astronaut: NDArray[np.uint8]) -> None:
    page = np.full((1000, 1000, 3), 240, np.uint8)
    page[100:612, 100:612] = astronaut
    assert not is_free_of_noise(page)


def test_one_light_far_beyond_white_changes_nothing(camera: Pixels, rng: np.random.Generator) -> None:
    picture = noisy(camera, 15, rng)
    brighter = picture.copy()
    brighter[100:104, 100:104] = 200
    assert estimate_sigma(brighter) == pytest.approx(estimate_sigma(picture), rel=0.05)


@pytest.mark.parametrize("levels", [(0, 0, 14), (14, 0, 0), (2, 2, 14), (12, 3, 6)], ids=str)
def test_channels_with_different_noise_have_its_root_mean_square(
    astronaut: NDArray[np.uint8], rng: np.random.Generator, levels: tuple[int, int, int]
) -> None:
    noisy = astronaut + np.array(levels) * rng.standard_normal(astronaut.shape)
    stored = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
    sigma = estimate_sigma(stored, 255) * 255
    assert sigma == pytest.approx(np.sqrt(np.mean(np.square(levels))), rel=0.2, abs=0.3)
    assert estimate_levels(stored, 255) * 255 == pytest.approx(np.array(levels), rel=0.2, abs=3)


@pytest.mark.parametrize("side", [128, 192, 256])
def test_the_level_of_small_pictures_does_not_jump(
    shared_data: Path, side: int, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = ("eval/cbsd68", "train/bsd432", "train/photos-1", "train/photos-2", "eval/clips", "train/clips")
    ratios = []
    for kind in kinds:
        files = [path for path in sorted((shared_data / kind).rglob("*")) if image.is_photo(path)]
        for path in files[:: len(files) // 17][:17]:
            clean, rng = image.read(path).as_rgb8().astype(float), np.random.default_rng(len(ratios))
            y, x = (rng.integers(0, length - side + 1) for length in clean.shape[:2])
            clean = clean[y : y + side, x : x + side]
            stored = np.clip(np.rint(clean + rng.normal(0, 10, clean.shape)), 0, 255).astype(np.uint8)
            ratios.append(estimate_sigma(stored, 255) * 255 / (stored - clean).std())  # some noise is clipped
    with capsys.disabled():
        print(f"\nestimate / deviation on {len(ratios)} crops of {side}: {min(ratios):.2f} to {max(ratios):.2f}")
    assert len(ratios) >= 100
    assert 0.8 <= min(ratios) <= max(ratios) <= 1.2


@pytest.mark.parametrize("side", [128, 256])
@pytest.mark.parametrize("sigma", [5, 10, 25])
def test_the_level_of_small_grey_photos_does_not_follow_their_texture(
    astronaut: NDArray[np.uint8], camera: Pixels, side: int, sigma: float, rng: np.random.Generator
) -> None:
    for photo in (astronaut.mean(axis=2, keepdims=True) / 255, camera):
        for y, x in ((64, 64), (64, 192), (192, 64), (192, 192)):
            clean = photo[y : y + side, x : x + side]
            picture = stored(noisy(clean, sigma, rng))
            assert estimate_sigma(picture, 255) == pytest.approx((picture / 255 - clean).std(), rel=0.2), (y, x)


def test_a_part_without_noise_does_not_hide_that_of_a_grey_photo(camera: Pixels, rng: np.random.Generator) -> None:
    picture = stored(noisy(camera, 10, rng))
    picture[:40] = np.linspace(40, 200, picture.shape[1]).round()[:, None]  # of every brightness
    assert estimate_sigma(picture, 255) * 255 == pytest.approx(10, rel=0.2)


def test_noise_that_grows_with_brightness_in_a_grey_photo_is_told_by_its_mean(
    astronaut: NDArray[np.uint8], rng: np.random.Generator
) -> None:
    clean = astronaut.mean(axis=2, keepdims=True)
    deviation = 1.6 * np.sqrt(clean)
    picture = (clean + deviation * rng.standard_normal(clean.shape)).round().clip(0, 255).astype(np.uint8)
    assert estimate_sigma(picture, 255) * 255 == pytest.approx(np.sqrt(np.mean(deviation**2)), rel=0.2)


def leaves(deviation: float, coarseness: float = 2) -> Pixels:
    """An even texture, (256, 256, 3), alike in all channels."""
    texture = gaussian_filter(np.random.default_rng(0).normal(size=(256, 256)), coarseness)
    return 0.5 + np.repeat(texture[..., None] * deviation / 255 / texture.std(), 3, axis=2)


@pytest.mark.parametrize("deviation", [15, 30])
@pytest.mark.parametrize("sigma", [5, 10])
def test_even_texture_under_white_noise_is_not_taken_for_hidden_noise(deviation: float, sigma: float) -> None:
    levels = [
        estimate_sigma(stored(noisy(leaves(deviation), sigma, np.random.default_rng(seed))), 255) for seed in range(6)
    ]
    assert np.array(levels) * 255 == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("smooth", [0.7, 1.0])
def test_noise_that_a_camera_smoothed_and_compressed_is_found_in_the_flat_blocks(
    astronaut: NDArray[np.uint8], grey: bool, smooth: float, rng: np.random.Generator
) -> None:
    clean = np.repeat(astronaut.mean(axis=2, keepdims=True), 3, axis=2) if grey else astronaut
    noise = gaussian_filter(rng.normal(0, 15, (512, 512, 1 if grey else 3)), (smooth, smooth, 0))
    file = BytesIO()
    Image.fromarray(stored((clean + noise) / 255)).save(file, "jpeg", quality=95)
    assert 5 < estimate_sigma(np.asarray(Image.open(file)), 255) * 255 < 15
