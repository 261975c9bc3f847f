from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from denoise_cli.data.photos import find_photos
from denoise_cli.errors import OutOfMemory, UnreadableFile
from denoise_cli.evaluation.samples import (
    RealNoise,
    Sample,
    ShotReadNoise,
    WhiteNoise,
    add_gaussian_noise,
    add_sensor_noise,
)
from denoise_cli.evaluation.scores import Score, flicker, mean, score, score_all
from denoise_cli.imaging.metrics import psnr
from denoise_cli.imaging.transfer import srgb_to_linear
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import image
from denoise_cli.io.video import Reader
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings
from tests.conftest import FFmpeg

Array = NDArray[np.float32]


@pytest.fixture
def photos(tmp_path: Path, astronaut: NDArray[np.uint8]) -> list[Path]:
    paths = [tmp_path / f"{index}.png" for index in range(2)]
    for index, path in enumerate(paths):
        Image.fromarray(astronaut[index * 64 : index * 64 + 64, 100:180]).save(path)
    return paths


def pixels(path: Path) -> NDArray[np.float64]:
    return np.asarray(Image.open(path)) / 255


class Halfway:
    """Returns the mean of the picture and middle grey, and records the levels that it was given."""

    def __init__(self) -> None:
        self.levels: list[float | Array | None] = []

    def __call__(self, image: Array, sigma: float | Array | None) -> Array:
        self.levels.append(sigma)
        return (image + np.float32(0.5)) / 2


def test_figures_are_those_of_scikit_image_by_the_protocol(photos: list[Path]) -> None:
    for index, path in enumerate(photos):
        found, _ = score(Halfway(), WhiteNoise(25 / 255).sample(path, index))
        clean = pixels(path)
        noisy = clean + np.random.default_rng(index).normal(0, 25, clean.shape) / 255
        denoised = ((noisy + 0.5) / 2).clip(0, 1)
        assert found.path == path
        for picture, decibels, similarity in (
            (noisy, found.noisy, found.noisy_ssim),
            (denoised, found.denoised, found.denoised_ssim),
        ):
            assert decibels == pytest.approx(peak_signal_noise_ratio(clean, picture, data_range=1), abs=1e-5)
            expected = structural_similarity(
                clean, picture, channel_axis=-1, data_range=1, gaussian_weights=True, use_sample_covariance=False
            )
            assert similarity == pytest.approx(expected, abs=1e-6)
        assert found.shift == pytest.approx(255 * np.abs((denoised - noisy).mean(axis=(0, 1))).max(), abs=1e-4)
        assert found.seconds > 0


def test_the_level_is_told_unless_the_denoiser_is_blind(photos: list[Path]) -> None:
    given, blind = Halfway(), Halfway()
    for index, path in enumerate(photos):
        sample = WhiteNoise(0.1).sample(path, index)
        score(given, sample)
        score(blind, sample, blind=True)
    assert given.levels == [0.1, 0.1]
    assert blind.levels == [None, None]


def test_every_photo_has_noise_of_its_own_and_always_the_same(rng: np.random.Generator) -> None:
    clean = rng.random((32, 32, 3), np.float32)
    for add in (add_gaussian_noise, lambda c, s, i: add_sensor_noise(c, s, s, i)):
        first, again, other = add(clean, 0.01, 3), add(clean, 0.01, 3), add(clean, 0.01, 4)
        assert first.dtype == np.float32
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_sensor_noise_has_its_variance_in_linear_light() -> None:
    clean = np.repeat(np.linspace(0, 1, 6, dtype=np.float32), 40_000).reshape(6, 40_000, 1)
    light = srgb_to_linear(clean.astype(np.float64))
    noise = srgb_to_linear(add_sensor_noise(clean, 1e-3, 1e-2, 0).astype(np.float64)) - light
    np.testing.assert_allclose(noise.var(axis=1), 1e-3 * light[:, 0] + 1e-4, rtol=0.05)
    assert np.abs(noise.mean(axis=1)).max() < 1e-3  # nothing is clipped, not even in the dark


def test_of_a_sensors_noise_its_parameters_are_told(photos: list[Path]) -> None:
    denoise = Halfway()
    score(denoise, ShotReadNoise(1e-3, 3e-3).sample(photos[1], 1))
    assert denoise.levels == [ShotReadNoise(1e-3, 3e-3)]


def test_of_real_noise_nothing_is_told(photos: list[Path]) -> None:
    denoise = Halfway()
    noisy, clean = photos
    sample = RealNoise({noisy: clean}).sample(noisy, 0)
    found, output = score(denoise, sample)
    assert denoise.levels == [None]
    np.testing.assert_allclose(sample.noisy, pixels(noisy), atol=1e-6)
    np.testing.assert_allclose(sample.clean, pixels(clean), atol=1e-6)
    assert found.noisy == pytest.approx(peak_signal_noise_ratio(pixels(clean), pixels(noisy), data_range=1), abs=1e-5)
    assert (output.min() >= 0, output.max() <= 1) == (True, True)


def test_grey_stays_grey_and_keeps_its_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    values = np.arange(1000, 1000 + 256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(values).save(path)
    for noise in (RealNoise({path: path}), WhiteNoise(0.1), ShotReadNoise(1e-3, 1e-2)):
        sample = noise.sample(path, 0)
        assert sample.noisy.shape == (16, 16, 1)
        assert np.array_equal(np.rint(sample.clean * 65535), values[..., None])


def test_partners_of_two_sizes_are_refused_by_name(photos: list[Path], tmp_path: Path) -> None:
    grey = tmp_path / "grey.png"
    Image.new("L", (80, 60)).save(grey)
    with pytest.raises(UnreadableFile) as error:
        RealNoise({photos[0]: grey}).sample(photos[0], 0)
    assert str(error.value) == f"{photos[0]}: is 80 x 64 in colour, but {grey} is 80 x 60 in grey"


def test_a_photo_too_small_for_ssim_has_its_psnr_all_the_same() -> None:
    clean = np.full((8, 8, 3), 0.5, np.float32)
    found, _ = score(Halfway(), Sample(Path("tiny"), clean, clean + np.float32(0.1), 0.1))
    assert found.denoised == pytest.approx(-20 * np.log10(0.05), rel=1e-5)
    assert (found.noisy_ssim, found.denoised_ssim) == (None, None)


def test_the_mean_is_over_the_photos_that_have_a_figure() -> None:
    scores = [Score(Path("a"), 20, 30, 0.5, 0.9, 0.1, 1), Score(Path("b"), 22, 34, None, None, 0.3, 2)]
    assert mean(scores) == pytest.approx(
        {
            "noisy": 21,
            "denoised": 32,
            "noisy_ssim": 0.5,
            "denoised_ssim": 0.9,
            "shift": 0.2,
            "flicker": None,
            "seconds": 1.5,
        }
    )
    assert mean(scores[1:])["noisy_ssim"] is None


def test_noises_have_names_and_facts() -> None:
    assert (str(WhiteNoise(25 / 255)), WhiteNoise(25 / 255).facts["sigma"]) == ("sigma 25", 25)
    assert str(ShotReadNoise(0.001, 0.003)) == "shot 0.001, read 0.003"
    assert str(RealNoise({})) == "real"
    assert WhiteNoise(0.1).facts.keys() == ShotReadNoise(0.1, 0.1).facts.keys() == RealNoise({}).facts.keys()


@pytest.fixture
def clip(tmp_path: Path, rng: np.random.Generator) -> list[Path]:
    """Two clips of 64 x 64: in the first, the left half stands still."""
    folder = tmp_path / "clips"
    still = rng.integers(60, 200, (64, 64, 3), dtype=np.uint8)
    for name, frames in (("a", 4), ("b", 2)):
        (folder / name).mkdir(parents=True)
        for place in range(frames):
            moving = np.roll(still, 7 * place, axis=0)
            Image.fromarray(np.concatenate([still[:, :32], moving[:, 32:]], axis=1)).save(
                folder / name / f"{place}.png"
            )
    return find_photos([folder])


def samples_of(clip: list[Path]) -> list[Sample]:
    return [WhiteNoise(0.1).sample(path, place) for place, path in enumerate(clip)]


def test_flicker_is_how_the_error_changes_where_nothing_moves(clip: list[Path]) -> None:
    errors = iter([0.1, 0.1, 0.15, 0.1, 0.2, 0.1])
    samples = samples_of(clip)
    truths = [sample.clean for sample in samples]
    wrong = {"wrong": lambda noisy, sigma: truths.pop(0) + next(errors)}
    found = [results["wrong"][0].flicker for _, results in score_all(wrong, samples, T=3)]
    assert found[0] is None
    assert found[4] is None  # the first of another clip
    assert [found[i] for i in (1, 2, 3, 5)] == pytest.approx([0, 0.05 * 255, 0.05 * 255, 0.1 * 255], abs=0.01)


def test_single_photos_do_not_flicker(clip: list[Path]) -> None:
    scored = score_all({"half": Halfway()}, samples_of(clip))
    assert [results["half"][0].flicker for _, results in scored] == [None] * len(clip)


@pytest.mark.parametrize("model", ["mallenet-v", "mallenet-s"])
def test_a_frame_is_denoised_with_its_neighbours_and_steadied(clip: list[Path], model: str) -> None:
    samples = samples_of(clip)
    denoise = load_denoiser(model, "cpu", "fp32")

    def alone(place: int, *others: int) -> Array:
        neighbours = [samples[other].noisy for other in others] if denoise.takes_neighbours else []
        return denoise(samples[place].noisy, 0.1, neighbours=neighbours)

    first, own, last = alone(1, 0, 2), alone(2, 1, 3), alone(3, 2, 1)
    expected = denoise.steady(own, samples[2].noisy, [first, last])
    results = [outputs["it"] for _, outputs in score_all({"it": denoise}, samples, T=3)]
    np.testing.assert_allclose(results[2][1], expected.clip(0, 1), rtol=0, atol=1e-5)
    assert results[2][0].denoised == pytest.approx(psnr(expected.clip(0, 1), samples[2].clean), abs=1e-3)
    assert np.abs(expected - own).max() > 1e-3
    pair = alone(4, 5), alone(5, 4)  # a clip of two frames: each is the other's only neighbour
    for place, (its, other) in {4: pair, 5: pair[::-1]}.items():
        expected = denoise.steady(its, samples[place].noisy, [other])
        np.testing.assert_allclose(results[place][1], expected.clip(0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", ["mallenet-v", "mallenet-s"])
def test_with_a_window_of_one_each_frame_is_denoised_alone(clip: list[Path], model: str) -> None:
    denoise = load_denoiser(model, "cpu", "fp32")
    scored = list(score_all({"it": denoise}, samples_of(clip), T=1))
    for sample, results in scored:
        expected = denoise(sample.noisy, sample.sigma).clip(0, 1)
        np.testing.assert_allclose(results["it"][1], expected, rtol=0, atol=1e-5)
    assert scored[1][1]["it"][0].flicker > 0


CUT, FRAMES, SIGMA = 10, 14, 16 / 255


@pytest.fixture
def recorded(tmp_path: Path, astronaut: NDArray[np.uint8], rng: np.random.Generator) -> list[Path]:
    """Noisy frames in 8 bits, 96 x 64: the camera pans, there is a cut, and the noise grows from frame to frame."""
    folder = tmp_path / "recorded"
    folder.mkdir()
    for place in range(FRAMES):
        left, top = 100 + 2 * place, 20 if place < CUT else 330
        noisy = 50 + 0.6 * astronaut[top : top + 64, left : left + 96] + rng.normal(0, 10 + place, (64, 96, 3))
        Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(folder / f"{place:02}.png")
    return find_photos([folder])


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize(("model", "T"), [("mallenet-v", 5), ("mallenet-s", 5), ("mallenet-s", 1)])
def test_the_frames_of_a_clip_are_those_that_denoise_video_writes(
    recorded: list[Path], tmp_path: Path, ffmpeg: FFmpeg, model: str, T: int, blind: bool
) -> None:
    denoise = load_denoiser(model, "cpu", "fp32")
    source, target = tmp_path / "clip.mkv", tmp_path / "denoised.mkv"
    ffmpeg("-i", recorded[0].parent / "%02d.png", "-c:v", "ffv1", "-pix_fmt", "bgr0", source)
    settings = Settings(model, T, None if blind else SIGMA, codec="ffv1", pixel_format="bgr0")
    pipeline.run(source, target, denoise, settings)
    with Reader(target) as clip:
        written = [np.stack([frame.planes[plane] for plane in (2, 0, 1)], axis=-1) for frame in clip.frames()]

    noisy = [image.read(path).as_float() for path in recorded]
    samples = [Sample(path, frame, frame, SIGMA) for path, frame in zip(recorded, noisy, strict=True)]
    scored = [results["it"][1] for _, results in score_all({"it": denoise}, samples, T, blind)]
    assert len(scored) == len(written) == FRAMES
    for output, frame, before in zip(scored, written, noisy, strict=True):
        assert np.abs(255 * output - frame).max() <= 0.5 + 1e-4  # the video is rounded
        assert np.abs(output - before).max() > SIGMA
    # The cut was found: each scene comes out as it does on its own.
    apart = [
        replace(sample, path=Path("first" if place < CUT else "second") / sample.path.name)
        for place, sample in enumerate(samples)
    ]
    for output, (_, results) in zip(scored, score_all({"it": denoise}, apart, T, blind), strict=True):
        np.testing.assert_array_equal(output, results["it"][1])


def test_however_long_a_clip_is_a_few_frames_are_held(rng: np.random.Generator) -> None:
    frames = rng.random((30, 64, 64, 3), np.float32)  # none is a copy of another
    samples: list[ref[Sample]] = []

    def read() -> Iterator[Sample]:
        for place, frame in enumerate(frames):
            sample = Sample(Path("clip") / str(place), frame, frame.copy(), 0.1)
            samples.append(ref(sample))
            yield sample

    denoisers = {model: load_denoiser(model, "cpu", "fp32") for model in ("mallenet-v", "mallenet-s")}
    held = [sum(sample() is not None for sample in samples) for _ in score_all(denoisers, read(), T=5)]
    assert len(held) == 30
    assert max(held) <= 12


def test_frames_of_another_size_are_named_and_left_out(clip: list[Path]) -> None:
    Image.new("L", (64, 64)).save(clip[2])
    failed: dict[Path, str] = {}
    denoisers = {"it": Halfway()}
    samples = samples_of(clip)
    scored = score_all(denoisers, samples, T=3, failed=lambda path, error: failed.update({path: str(error)}))
    assert [sample.path for sample, _ in scored] == [*clip[:2], *clip[3:]]
    assert failed == {clip[2]: f"{clip[2]}: is 64 x 64 in grey, but {clip[0]} is 64 x 64 in colour"}
    with pytest.raises(UnreadableFile):
        list(score_all(denoisers, samples, T=3))


def test_a_clip_that_cannot_be_denoised_is_named_frame_by_frame_and_others_go_on(
    clip: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    steady, calls = Denoiser.steady, count()

    def steady_until_memory_is_full(self: Denoiser, *pictures: Any) -> Any:
        if next(calls) == 2:
            raise OutOfMemory("too large")
        return steady(self, *pictures)

    monkeypatch.setattr(Denoiser, "steady", steady_until_memory_is_full)
    failed: list[Path] = []
    denoisers = {"half": Halfway(), "it": load_denoiser("mallenet-s", "cpu", "fp32")}
    scored = score_all(denoisers, samples_of(clip), T=3, failed=lambda path, error: failed.append(path))
    assert [sample.path for sample, _ in scored] == [clip[0], *clip[4:]]
    assert failed == clip[1:4]


def test_what_cannot_be_denoised_is_told_and_left_out(clip: list[Path]) -> None:
    samples = samples_of(clip)
    places = iter(range(len(clip)))

    def fails_once(noisy: np.ndarray, sigma: object) -> np.ndarray:
        if next(places) == 2:
            raise OutOfMemory("too large")
        return noisy

    failed: list[Path] = []
    scored = score_all({"it": fails_once}, samples, failed=lambda path, error: failed.append(path))
    assert [sample.path for sample, _ in scored] == [*clip[:2], *clip[3:]]
    assert failed == [clip[2]]
    places = iter(range(len(clip)))
    with pytest.raises(OutOfMemory):
        list(score_all({"it": fails_once}, samples))


def test_pixels_that_hardly_change_by_chance_stand_in_no_still_part(rng: np.random.Generator) -> None:
    clean, moved = rng.random((2, 64, 64, 1))
    moved[::4, ::4] = clean[::4, ::4]
    assert flicker(clean, clean, moved, moved) is None


def test_where_all_moves_there_is_no_flicker(rng: np.random.Generator) -> None:
    one, other = rng.random((2, 32, 32, 3))
    assert flicker(one, one, other, other) is None
    assert flicker(one, one, one, one) == 0
    with pytest.raises(ValueError, match="one size"):
        flicker(one, one, other[:16], other[:16])
