"""The denoiser: pictures and tiles of any size, levels, memory that runs out, and flicker."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from denoise_cli import load_denoiser
from denoise_cli.errors import DamagedWeights, OutOfMemory, UnknownModel
from denoise_cli.imaging import tiling, transfer
from denoise_cli.imaging.dither import dithered
from denoise_cli.imaging.metrics import psnr
from denoise_cli.imaging.noise import UNKNOWN_LEVEL, ShotRead, estimate_sigma, root_mean_square
from denoise_cli.imaging.pixels import from_float, to_float
from denoise_cli.imaging.strength import Strength
from denoise_cli.imaging.torch_transfer import sigma_in_linear, srgb_to_linear
from denoise_cli.inference import denoiser as module
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.inference.pytorch_net import PyTorchEngine
from denoise_cli.models.registry import MODELS, ModelSpec
from denoise_cli.nets.configs import MalleNetConfig

SIGMA = 25 / 255


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", device="cpu")


@pytest.fixture(scope="module")
def clean() -> NDArray[np.float32]:
    from skimage import data

    return (data.astronaut()[:300, :420] / 255).astype(np.float32)


@pytest.fixture
def noisy(clean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    return clean + rng.normal(0, SIGMA, clean.shape).astype(np.float32)


def enlarged(image: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    y = tiling.reflected(0, height, image.shape[0])
    x = tiling.reflected(0, width, image.shape[1])
    return image[y[:, None], x]


def test_noise_of_a_known_level_goes(denoise: Denoiser, noisy: NDArray[np.float32], clean: NDArray[np.float32]) -> None:
    before, after = psnr(noisy, clean), psnr(denoise(noisy, sigma=SIGMA), clean)
    assert after > before + 9


def test_an_unknown_level_is_found(denoise: Denoiser, noisy: NDArray[np.float32], clean: NDArray[np.float32]) -> None:
    given, found = denoise(noisy, sigma=SIGMA), denoise(noisy)
    assert psnr(found, clean) > psnr(given, clean) - 0.2


def test_the_mean_colour_stays(denoise: Denoiser, noisy: NDArray[np.float32]) -> None:
    shift = np.abs(denoise(noisy, sigma=SIGMA).mean(axis=(0, 1)) - noisy.mean(axis=(0, 1)))
    assert shift.max() < 0.5 / 255


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (63, 65), (64, 64), (130, 7)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_keeps_its_size(
    denoise: Denoiser, rng: np.random.Generator, shape: tuple[int, int], channels: int
) -> None:
    image = rng.random((*shape, channels), dtype=np.float32)
    clean = denoise(image, sigma=0.1)
    assert clean.shape == image.shape
    assert clean.dtype == np.float32
    assert np.isfinite(clean).all()


def test_grey_noise_goes_too(denoise: Denoiser, clean: NDArray[np.float32], rng: np.random.Generator) -> None:
    grey = clean.mean(axis=2)
    noisy = grey + rng.normal(0, SIGMA, grey.shape).astype(np.float32)
    result = denoise(noisy, sigma=SIGMA)
    assert result.shape == grey.shape
    assert psnr(result, grey) > psnr(noisy, grey) + 7


def test_numpy_and_torch_say_the_same(denoise: Denoiser, noisy: NDArray[np.float32]) -> None:
    batch = torch.from_numpy(noisy).permute(2, 0, 1)[None]
    result = denoise(batch, sigma=SIGMA)
    assert isinstance(result, torch.Tensor)
    np.testing.assert_array_equal(result[0].permute(1, 2, 0).numpy(), denoise(noisy, sigma=SIGMA))


def test_a_level_map_of_one_value_is_that_value(denoise: Denoiser, noisy: NDArray[np.float32]) -> None:
    level = np.full(noisy.shape[:2], SIGMA, np.float32)
    np.testing.assert_array_equal(denoise(noisy, sigma=level), denoise(noisy, sigma=SIGMA))


def test_a_level_map_works_pixel_by_pixel(denoise: Denoiser, noisy: NDArray[np.float32]) -> None:
    level = np.zeros(noisy.shape[:2], np.float32)
    level[:, 210:] = SIGMA
    mixed = denoise(noisy, sigma=level)
    none, all_over = denoise(noisy, sigma=np.zeros_like(level)), denoise(noisy, sigma=SIGMA)
    # Far from the step, each side is as if its level applied everywhere.
    assert np.abs(mixed - none)[:, :150].mean() < 0.3 / 255
    assert np.abs(mixed - all_over)[:, 270:].mean() < 0.3 / 255
    assert np.abs(none - all_over).mean() > 5 / 255


def test_strength_zero_is_the_input(denoise: Denoiser, noisy: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(denoise(noisy, sigma=SIGMA, strength=0), noisy)


@pytest.mark.parametrize("strength", [0.01, 0.5, 0.99])
def test_strength_is_the_share_of_the_noise_that_goes(
    denoise: Denoiser, noisy: NDArray[np.float32], strength: float
) -> None:
    some, whole = denoise(noisy, sigma=SIGMA, strength=strength), denoise(noisy, sigma=SIGMA)
    np.testing.assert_allclose(some - noisy, strength * (whole - noisy), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_full_strength_in_lightness_and_colour_without_detail_is_full_strength(
    denoise: Denoiser, noisy: NDArray[np.float32], channels: int
) -> None:
    image = noisy[..., :channels]
    np.testing.assert_array_equal(denoise(image, SIGMA, Strength(1, 1, 0)), denoise(image, SIGMA))
    stored = from_float(image, np.dtype(np.uint8))
    np.testing.assert_array_equal(
        denoise.denoise_stored(stored, 255, SIGMA, Strength(0.6, 0.6)), denoise.denoise_stored(stored, 255, SIGMA, 0.6)
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_lightness_colour_and_detail_do_not_show_the_borders_of_tiles(channels: int, rng: np.random.Generator) -> None:
    image = rng.random((400, 600, channels), dtype=np.float32)
    strength = Strength(0.7, 0.2, 0.9)
    whole, tiled = (denoiser_of(Recorder(factor=0.5), tile)(image, SIGMA, strength) for tile in (1024, 256))
    np.testing.assert_allclose(tiled, whole, atol=1e-6)
    assert np.abs(whole - denoiser_of(Recorder(factor=0.5))(image, SIGMA, 0.7)).max() > 0.01


def test_a_mosaic_has_neither_lightness_nor_colour(rng: np.random.Generator) -> None:
    planes = rng.random((64, 64, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="not of mosaics"):
        load_denoiser("mallenet-raw", "cpu", "fp32")(planes, 0.1, Strength(1, 0.5))


def test_no_noise_is_nothing_to_take_away(denoise: Denoiser, noisy: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(denoise(noisy, sigma=0), noisy)


def test_the_input_is_not_touched(denoise: Denoiser, noisy: NDArray[np.float32]) -> None:
    before = noisy.copy()
    denoise(noisy, sigma=SIGMA)
    np.testing.assert_array_equal(noisy, before)


def test_values_beyond_white_reach_the_network(denoise: Denoiser, rng: np.random.Generator) -> None:
    white = np.ones((128, 128, 3), np.float32) + rng.normal(0, 0.1, (128, 128, 3)).astype(np.float32)
    # Clipping first would pull the mean of a noisy white below white.
    assert abs(denoise(white, sigma=0.1).mean() - 1) < 0.01


@pytest.mark.parametrize("tile", [256, 320, 512])
def test_a_tiled_photo_equals_the_whole_one(clean: NDArray[np.float32], rng: np.random.Generator, tile: int) -> None:
    large = enlarged(clean, 700, 1000)
    noisy = large + rng.normal(0, SIGMA, large.shape).astype(np.float32)
    whole = load_denoiser("mallenet-s", "cpu", "fp32", tile=1024)(noisy, sigma=SIGMA)
    tiled = load_denoiser("mallenet-s", "cpu", "fp32", tile=tile)(noisy, sigma=SIGMA)
    assert psnr(tiled, whole) > 55


def test_the_default_tile_differs_from_the_whole_by_less_than_one_step_of_8_bits(
    clean: NDArray[np.float32], rng: np.random.Generator
) -> None:
    large = enlarged(clean, 320, 2300)
    noisy = large + rng.normal(0, SIGMA, large.shape).astype(np.float32)
    whole = load_denoiser("mallenet-s", "cpu", "fp32", tile=2304)(noisy, sigma=SIGMA)
    tiled = load_denoiser("mallenet-s", "cpu", "fp32")(noisy, sigma=SIGMA)
    assert np.abs(tiled - whole).max() <= 1 / 255


@pytest.mark.parametrize("model", ["mallenet-s", "mallenet-r"])
@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.5)])
@pytest.mark.parametrize("channels", [1, 3])
def test_stored_pixels_become_what_the_whole_picture_in_floating_point_does(
    noisy: NDArray[np.float32], model: str, dtype: type, white: float, channels: int
) -> None:
    stored = from_float(noisy[..., :channels], np.dtype(dtype), white)
    denoise = load_denoiser(model, "cpu", tile=256)
    expected = from_float(denoise(to_float(stored, white), SIGMA, 0.5), np.dtype(dtype), white)
    result = denoise.denoise_stored(stored, white, SIGMA, 0.5)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pytorch_gets_the_same_of_stored_pixels(rng: np.random.Generator, dtype: type) -> None:
    net, white = Recorder(), np.iinfo(dtype).max
    stored = rng.integers(0, white, (300, 420, 3), dtype, endpoint=True)
    denoise = denoiser_of(net, 256)
    np.testing.assert_array_equal(denoise.denoise_stored(stored, white, SIGMA), stored)
    last = net.image
    denoise(to_float(stored), SIGMA)
    assert torch.equal(net.image, last)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("tile", [256, 320, 1024])
def test_8_bits_are_dithered_in_tiles_as_the_whole_picture_is(
    tile: int, channels: int, rng: np.random.Generator
) -> None:
    stored = rng.integers(0, 256, (500, 600, channels), np.uint8)
    denoise = denoiser_of(Recorder(factor=0.5), tile)
    expected = dithered(denoise(to_float(stored), SIGMA), stored)
    result = denoise.denoise_stored(stored, 255, SIGMA, dither=True)
    assert (result != denoise.denoise_stored(stored, 255, SIGMA)).mean() > 0.1
    # The weights of tiles add up to one but for the rounding of float32, so that a value in a thousand may fall
    # on the other side of a step.
    assert (result != expected).mean() < 0.001


def test_other_types_are_never_dithered(rng: np.random.Generator) -> None:
    denoise = denoiser_of(Recorder(factor=0.5))
    for stored in (rng.integers(0, 65536, (64, 64, 3), np.uint16), rng.random((64, 64, 3), np.float32)):
        white = 65535 if stored.dtype == np.uint16 else 1
        plain = denoise.denoise_stored(stored, white, SIGMA)
        np.testing.assert_array_equal(denoise.denoise_stored(stored, white, SIGMA, dither=True), plain)


def test_what_is_not_denoised_is_not_dithered(rng: np.random.Generator) -> None:
    stored = rng.integers(0, 256, (64, 64, 3), np.uint8)
    for sigma, strength, factor in ((SIGMA, 0.0, 0.5), (0.0, 1.0, 0.5), (SIGMA, 1.0, 1.0), (SIGMA, 1.0, 0.999)):
        denoise = denoiser_of(Recorder(factor))
        np.testing.assert_array_equal(denoise.denoise_stored(stored, 255, sigma, strength, dither=True), stored)


def test_the_networks_memory_can_be_released_between_pictures(denoise: Denoiser, noisy: NDArray[np.float32]) -> None:
    before = denoise(noisy, SIGMA)
    denoise.release_memory()
    np.testing.assert_array_equal(denoise(noisy, SIGMA), before)


@pytest.mark.parametrize("is_writable", [True, False])
def test_no_picture_is_changed_by_the_next(denoise: Denoiser, rng: np.random.Generator, is_writable: bool) -> None:
    """OpenVINO overwrites what an inference has shared if the next one does not share its inputs."""
    first, second = (rng.random((3, 128, 64), np.float32).transpose(1, 2, 0) for _ in range(2))
    before = first.copy()
    second.flags.writeable = is_writable
    denoise(first, SIGMA)
    denoise(second, SIGMA)
    np.testing.assert_array_equal(first, before)


def test_memory_that_runs_out_halves_the_tile(noisy: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    denoise = load_denoiser("mallenet-s", "cpu", "fp32", tile=512)
    seen: list[int] = []
    network = denoise._engine._network

    def short_of_memory(frames: Sequence[NDArray[np.float32]], level: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(max(level.shape[2:]))
        if seen[-1] > 256:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate a lot")
        return network(frames, level)

    monkeypatch.setattr(denoise._engine, "_network", short_of_memory)
    result = denoise(noisy, sigma=SIGMA)
    assert seen[0] > 256 >= seen[-1]
    assert psnr(result, load_denoiser("mallenet-s", "cpu", "fp32")(noisy, sigma=SIGMA)) > 55


def test_memory_that_never_suffices_is_said(noisy: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    denoise = load_denoiser("mallenet-s", "cpu", "fp32")

    def no_memory(frames: Sequence[NDArray[np.float32]], level: NDArray[np.float32]) -> NDArray[np.float32]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(denoise._engine, "_network", no_memory)
    with pytest.raises(OutOfMemory, match="even with tiles of"):
        denoise(noisy, sigma=SIGMA)


def test_other_errors_of_the_network_are_not_swallowed(
    noisy: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    denoise = load_denoiser("mallenet-s", "cpu", "fp32")

    def bug(image: NDArray[np.float32], sigma: NDArray[np.float32]) -> NDArray[np.float32]:
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr(denoise._engine, "_network", bug)
    with pytest.raises(RuntimeError, match="sizes do not match"):
        denoise(noisy, sigma=SIGMA)


@pytest.mark.parametrize(
    ("image", "sigma", "strength", "message"),
    [
        (np.zeros((4, 4, 2), np.float32), 0.1, 1, "C = 1 or 3"),
        (np.zeros((4,), np.float32), 0.1, 1, r"expected \(H, W\)"),
        (np.zeros((0, 4, 3), np.float32), 0.1, 1, "image: expected"),
        (np.zeros((4, 4, 3), np.float32), -0.1, 1, "sigma: expected 0 or more"),
        (np.zeros((4, 4, 3), np.float32), float("nan"), 1, "sigma: expected 0 or more"),
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 5), np.float32), 1, "a map of 4 x 4"),
        (np.zeros((4, 4, 3), np.float32), 0.1, -1, "strength: expected 0 to 1"),
        (np.zeros((4, 4, 3), np.float32), 0.1, 1.5, "strength: expected 0 to 1"),
        (np.zeros((4, 4, 3), np.float32), 0.1, float("nan"), "strength: expected 0 to 1"),
    ],
)
def test_a_wrong_argument_is_said(
    denoise: Denoiser, image: object, sigma: object, strength: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        denoise(image, sigma=sigma, strength=strength)  # type: ignore[call-overload]


def test_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(UnknownModel, match="no model is called 'best': choose from mallenet-s"):
        load_denoiser("best")


def test_a_model_without_weights_says_so() -> None:
    with pytest.raises(UnknownModel, match="mallenet-xl has no trained weights yet"):
        load_denoiser("mallenet-xl")


def test_damaged_weights_are_refused(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    from pathlib import Path

    from denoise_cli.models import manifest

    folder = Path(str(tmp_path)) / "weights"
    shutil.copytree(manifest.weights_folder(), folder)
    monkeypatch.setattr(manifest, "weights_folder", lambda: folder)
    path = folder / "mallenet-s.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedWeights, match="checksum"):
        load_denoiser("mallenet-s")


# The inputs that a network is given, and what happens to its output.


class Recorder(nn.Module):
    """Remembers its last inputs and returns the image times a factor."""

    image: Tensor
    level: Tensor

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        self.image, self.level = image, sigma
        return self.factor * image


def denoiser_of(net: nn.Module, tile: int = 1024, **spec: str | float) -> Denoiser:
    whole = ModelSpec(MalleNetConfig(16), "", **spec)  # type: ignore[arg-type]
    return module.denoiser_of(net, whole, torch.device("cpu"), torch.float32, tile)


@pytest.mark.parametrize(("multiple", "shape"), [(None, (70, 50)), (8, (72, 56)), (64, (128, 64))])
def test_sides_are_extended_to_what_the_network_takes(
    rng: np.random.Generator, multiple: int | None, shape: tuple[int, int]
) -> None:
    net = Recorder()
    if multiple is not None:
        net.multiple = multiple
    image = rng.random((70, 50, 3), dtype=np.float32)
    np.testing.assert_allclose(denoiser_of(net)(image, sigma=0.1), image, atol=1e-6)
    assert net.image.shape[2:] == shape


@pytest.mark.parametrize(("multiple", "tile"), [(1, 300), (16, 288), (64, 256)])
def test_a_tile_is_rounded_down_to_what_the_network_takes(rng: np.random.Generator, multiple: int, tile: int) -> None:
    net = Recorder()
    net.multiple = multiple
    denoise = denoiser_of(net, tile=300)
    assert denoise.tile == tile
    image = rng.random((700, 500, 3), dtype=np.float32)
    np.testing.assert_allclose(denoise(image, sigma=0.1), image, atol=1e-6)
    assert max(net.image.shape[2:]) <= tile
    assert not any(side % multiple for side in net.image.shape[2:])


def test_too_small_a_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="tile: expected at least 256, got 255"):
        load_denoiser("mallenet-s", "cpu", "fp32", tile=255)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_that_sees_the_noise_is_not_told_it(rng: np.random.Generator, channels: int) -> None:
    net = Recorder()
    image = rng.random((64, 64, channels), dtype=np.float32)
    np.testing.assert_allclose(denoiser_of(net, noise="camera")(image), image, atol=1e-6)
    assert (net.level == UNKNOWN_LEVEL).all()


@pytest.mark.parametrize(("strength", "left"), [(0.0, 1.0), (0.25, 0.75), (1.0, 0.0)])
def test_strength_is_how_much_goes_of_noise_that_the_network_sees(
    rng: np.random.Generator, strength: float, left: float
) -> None:
    image = rng.random((70, 50, 3), dtype=np.float32)
    clean = denoiser_of(Recorder(factor=0), noise="camera")(image, strength=strength)
    np.testing.assert_allclose(clean, left * image, atol=1e-6)


def test_a_network_that_sees_the_noise_is_not_told_what_the_caller_knows(rng: np.random.Generator) -> None:
    net = Recorder(factor=0)
    image = rng.random((64, 64, 3), dtype=np.float32)
    denoiser_of(net, noise="camera")(image, sigma=0.1)
    assert (net.level == UNKNOWN_LEVEL).all()
    np.testing.assert_array_equal(denoiser_of(net, noise="camera")(image, sigma=0.0), image)


def test_of_a_sensors_noise_a_network_is_told_the_level_in_its_own_space(rng: np.random.Generator) -> None:
    net, noise = Recorder(), ShotRead(4e-3, 0.02)
    light = rng.random((64, 64, 3), dtype=np.float32)
    photo = transfer.linear_to_srgb(light)
    denoiser_of(net, space="linear", noise="sensor")(photo, sigma=noise)
    np.testing.assert_allclose(net.level[0, 0].numpy(), noise.level_of_light(light), rtol=1e-4)
    denoiser_of(net)(photo, sigma=noise)
    np.testing.assert_allclose(net.level[0, 0].numpy(), noise.level_of_photo(photo), rtol=1e-6)


@pytest.mark.parametrize("space", ["srgb", "linear"])
@pytest.mark.parametrize("is_known", [False, True])
def test_the_level_at_a_pixel_does_not_depend_on_the_tile(rng: np.random.Generator, space: str, is_known: bool) -> None:
    """Neither where tiles meet nor at the borders, beyond which they are extended."""
    image = rng.random((330, 410, 3), dtype=np.float32)
    sigma = ShotRead(4e-3, 0.02) if is_known else rng.uniform(0.01, 0.2, image.shape[:2]).astype(np.float32)

    class Level(nn.Module):
        def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
            return sigma.repeat(1, image.shape[1], 1, 1)

    tiled, whole = (
        denoiser_of(Level(), tile, space=space, noise="sensor")(image, sigma, strength=0.5) for tile in (256, 1024)
    )
    np.testing.assert_allclose(tiled, whole, atol=2e-6)


def test_each_of_several_pictures_has_a_level_of_its_own_in_every_tile(rng: np.random.Generator) -> None:
    net = Recorder(factor=0.0)
    deviations = np.array([0.05, 0.1], np.float32)
    noise = rng.standard_normal((2, 3, 330, 410), np.float32) * deviations[:, None, None, None]
    assert not denoiser_of(net, 256)(torch.from_numpy(0.5 + noise)).any()
    np.testing.assert_allclose(net.level.mean(dim=(1, 2, 3)), deviations, rtol=0.05)


def test_a_network_that_cannot_see_the_noise_is_told_the_estimate(noisy: NDArray[np.float32]) -> None:
    net = Recorder()
    denoiser_of(net)(noisy, strength=0.5)
    assert net.level.unique().numpy() == pytest.approx(estimate_sigma(noisy), rel=1e-5)


def test_a_level_beyond_what_the_network_knows_is_cut(rng: np.random.Generator) -> None:
    net = Recorder()
    denoiser_of(net, sigma_max=0.2)(rng.random((64, 64, 3), dtype=np.float32), sigma=0.5)
    assert net.level.unique().tolist() == [pytest.approx(0.2)]


@pytest.mark.parametrize("channels", [1, 3])
def test_linear_light_is_encoded_again(rng: np.random.Generator, channels: int) -> None:
    image = rng.uniform(-0.3, 1.3, (90, 70, channels)).astype(np.float32)
    for noise in ("sensor", "camera"):
        same = denoiser_of(Recorder(), space="linear", noise=noise)(image)
        np.testing.assert_allclose(same, image, atol=2e-6)


def test_a_network_for_linear_light_gets_the_picture_and_the_level_in_it(rng: np.random.Generator) -> None:
    net = Recorder()
    image = torch.from_numpy(rng.uniform(-0.1, 1.1, (1, 3, 64, 128)).astype(np.float32))
    level = torch.from_numpy(rng.uniform(0, 0.2, (1, 1, 64, 128)).astype(np.float32))
    denoiser_of(net, space="linear", noise="sensor")(image, sigma=level)
    torch.testing.assert_close(net.image, srgb_to_linear(image))
    torch.testing.assert_close(net.level, sigma_in_linear(image, level))


def test_half_of_the_light_is_a_darker_picture_and_not_half_of_one() -> None:
    grey = np.full((64, 64, 3), 0.5, np.float32)
    darker = denoiser_of(Recorder(factor=0.5), space="linear", noise="sensor")(grey, sigma=0.1)
    np.testing.assert_allclose(darker, 0.3607, atol=1e-4)


def clip_of(clean: NDArray[np.float32], rng: np.random.Generator) -> list[NDArray[np.float32]]:
    """A noisy frame, the same frame denoised, and two more denoised frames, each with its own residual noise."""
    noises = [rng.standard_normal(clean.shape, np.float32) for _ in range(4)]
    return [clean + scale * noise for scale, noise in zip((SIGMA, *[0.05 * SIGMA] * 3), noises, strict=True)]


def test_what_trembles_is_steadied(clean: NDArray[np.float32], rng: np.random.Generator) -> None:
    before, frame, *others = clip_of(clean, rng)
    steady = load_denoiser("mallenet-v").steady(frame, before, others)
    assert steady.shape == frame.shape
    assert (steady - clean).std() < 0.75 * (frame - clean).std()
    np.testing.assert_array_equal(load_denoiser("mallenet-v").steady(frame, before, []), frame)


def test_what_was_denoised_alone_may_differ_more(clean: NDArray[np.float32], rng: np.random.Generator) -> None:
    before, frame, *others = clip_of(clean, rng)
    rough = [clean + 5 * (one - clean) for one in (frame, *others)]
    left = [
        (load_denoiser(model).steady(rough[0], before, rough[1:]) - clean).std()
        for model in ("mallenet-v", "mallenet-s")
    ]
    assert left[1] < 0.8 * left[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_tiled_frame_is_steadied_as_the_whole_one(
    clean: NDArray[np.float32], rng: np.random.Generator, channels: int
) -> None:
    before, frame, *others = clip_of(enlarged(clean, 500, 700)[..., :channels], rng)
    whole = load_denoiser("mallenet-v", tile=1024).steady(frame, before, others)
    tiled = load_denoiser("mallenet-v", tile=256).steady(frame, before, others)
    assert psnr(tiled, whole) > 55
    batch = [torch.from_numpy(one).permute(2, 0, 1)[None] for one in (frame, before, *others)]
    again = load_denoiser("mallenet-v", tile=1024).steady(batch[0], batch[1], batch[2:])
    np.testing.assert_array_equal(again[0].permute(1, 2, 0).numpy(), whole)


@pytest.mark.parametrize("multiple", [1, 16])
def test_frames_are_steadied_in_tiles_that_motion_can_be_followed_in(
    clean: NDArray[np.float32], rng: np.random.Generator, multiple: int
) -> None:
    before, frame, *others = clip_of(enlarged(clean, 330, 350), rng)
    net = Recorder()
    net.multiple = multiple
    whole, tiled = (denoiser_of(net, tile).steady(frame, before, others) for tile in (1024, 300))
    assert psnr(tiled, whole) > 55


def test_frames_of_several_sizes_are_not_steadied(clean: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="noisy, neighbours"):
        load_denoiser("mallenet-v").steady(clean, clean, [clean[:-1]])


@pytest.mark.parametrize("model", ["mallenet-s", "mallenet-u"])
def test_each_channel_can_be_given_its_own_level(model: str, noisy: NDArray[np.float32]) -> None:
    spec = MODELS[model]
    net = spec.config.build().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    denoise = module.denoiser_of(net, spec, torch.device("cpu"), torch.float32)
    levels = np.array([0.02, 0.02, 0.1], np.float32)
    of_channels, of_all = denoise(noisy, levels), denoise(noisy, root_mean_square(levels))
    if spec.levels == 1:
        assert np.array_equal(of_channels, of_all)
    else:
        assert np.abs(of_channels - of_all).max() > 1e-3
    with pytest.raises(ValueError, match="0 or more for each channel"):
        denoise(noisy, -levels)


class TooLarge(nn.Module):
    """Overflows in 16 bits."""

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        return image + (1e6 * sigma.to(torch.half if torch.is_autocast_enabled("cpu") else torch.float32)).float() * 0


def test_what_overflows_in_16_bits_is_computed_again_in_float32(rng: np.random.Generator) -> None:
    spec = ModelSpec(MalleNetConfig(16), "")
    cpu = torch.device("cpu")
    exact = PyTorchEngine(TooLarge(), spec, cpu, torch.float32)
    denoise = Denoiser(PyTorchEngine(TooLarge(), spec, cpu, torch.bfloat16), spec, 1024, lambda: exact)
    image = rng.random((64, 64, 3), dtype=np.float32)
    assert np.array_equal(denoise(image, sigma=1.0), image)
    assert denoise.precision == "float32"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_result_that_is_not_finite_is_an_error(rng: np.random.Generator, value: float) -> None:
    image = rng.random((64, 64, 3), dtype=np.float32)
    with pytest.raises(DamagedWeights, match="result is not finite"):
        denoiser_of(Recorder(value))(image, sigma=0.1)
