"""Windows, scenes, levels and steadying; a stand-in for the denoiser notes what it is shown."""

from collections.abc import Sequence

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.io.video_frame import Frame
from denoise_cli.pipeline.clip import denoised

H, W = 72, 128
Array = NDArray[np.float32]


class Witness:
    """Takes a tenth of a picture away, and remembers what it was asked."""

    def __init__(self, takes_neighbours: bool = True, is_blind: bool = False) -> None:
        self.takes_neighbours, self.is_blind = takes_neighbours, is_blind
        self.device = "cpu"
        self.windows: list[list[float]] = []
        self.levels: list[float | None] = []
        self.steadied: list[list[float]] = []

    def __call__(self, image: Array, sigma: float | None, neighbours: Sequence[Array] = ()) -> Array:
        self.windows.append([round(float(one.mean()), 2) for one in (image, *neighbours)])
        self.levels.append(sigma)
        return image - 0.1

    def steady(self, image: Array, noisy: Array, neighbours: Sequence[Array]) -> Array:
        self.steadied.append([round(float(one.mean()), 2) for one in (image, noisy, *neighbours)])
        return image


def clip(values: Sequence[float], noise: float = 0.0, form: str = "gray16le") -> list[Frame]:
    """Frames of one brightness each, [0, 1], and Gaussian noise."""
    rng = np.random.default_rng(0)
    frames = []
    for place, value in enumerate(values):
        samples = (value + noise * rng.standard_normal((H, W))) * 65535
        picture = av.VideoFrame.from_ndarray(samples.clip(0, 65535).astype(np.uint16), "gray16le")
        picture.color_range, picture.pts = 2, place
        frames.append(Frame(picture))
    return frames


def run(frames: Sequence[Frame], witness: Witness, T: int = 3, **options: float) -> list[tuple[Frame, float | None]]:
    return list(denoised(frames, witness, T, **options))  # type: ignore[arg-type]


def test_each_frame_is_shown_with_its_nearest_neighbours() -> None:
    witness = Witness()
    run(clip([0.50, 0.51, 0.52, 0.53, 0.54, 0.55]), witness, T=5, sigma=0.1)
    assert witness.windows == [
        [0.50, 0.51, 0.52, 0.53, 0.54],
        [0.51, 0.50, 0.52, 0.53, 0.54],
        [0.52, 0.51, 0.53, 0.50, 0.54],
        [0.53, 0.52, 0.54, 0.51, 0.55],
        [0.54, 0.53, 0.55, 0.52, 0.51],
        [0.55, 0.54, 0.53, 0.52, 0.51],
    ]


@pytest.mark.parametrize("T", [1, 3, 9])
@pytest.mark.parametrize("length", [1, 2, 4, 12])
def test_every_frame_comes_out_once_and_in_order(length: int, T: int) -> None:
    witness = Witness()
    out = run(clip([0.5 + 0.01 * place for place in range(length)]), witness, T, sigma=0.1)
    assert [frame.picture.pts for frame, _ in out] == list(range(length))
    assert [len(window) for window in witness.windows] == [min(T, length)] * length


def test_what_is_denoised_is_steadied_by_the_frames_beside_it() -> None:
    witness = Witness()
    run(clip([0.50, 0.51, 0.52, 0.53, 0.80, 0.81]), witness, T=5, sigma=0.1)
    assert witness.steadied == [
        [0.40, 0.50, 0.41, 0.42, 0.43],
        [0.41, 0.51, 0.40, 0.42, 0.43],
        [0.42, 0.52, 0.41, 0.43, 0.40],
        [0.43, 0.53, 0.42, 0.41, 0.40],
        [0.70, 0.80, 0.71],
        [0.71, 0.81, 0.70],
    ]


def test_frames_that_are_denoised_alone_stay_alone() -> None:
    witness = Witness(takes_neighbours=False)
    run(clip([0.50, 0.51]), witness, T=1, sigma=0.1)
    assert witness.steadied == [[0.40, 0.50], [0.41, 0.51]]


@pytest.mark.parametrize("options", [{"strength": 0.0, "sigma": 0.1}, {"sigma": 0.0}])
def test_what_stays_as_it_is_is_not_steadied(options: dict[str, float]) -> None:
    witness = Witness()
    run(clip([0.50, 0.51, 0.52]), witness, **options)
    assert witness.steadied == []


def test_a_cut_ends_the_window() -> None:
    witness = Witness()
    run(clip([0.30, 0.31, 0.32, 0.80, 0.81, 0.82]), witness, sigma=0.1)
    assert witness.windows == [
        [0.30, 0.31, 0.32],
        [0.31, 0.30, 0.32],
        [0.32, 0.31, 0.30],
        [0.80, 0.81, 0.82],
        [0.81, 0.80, 0.82],
        [0.82, 0.81, 0.80],
    ]


def test_a_fade_is_no_cut() -> None:
    witness = Witness()
    run(clip([0.3, 0.36, 0.42, 0.48, 0.54]), witness, sigma=0.1)
    assert len(witness.windows[0]) == 3
    assert witness.windows[2] == [0.42, 0.36, 0.48]


def test_strong_noise_is_no_cut() -> None:
    witness = Witness()
    run(clip([0.5] * 6, noise=0.3), witness, sigma=0.3)
    assert [len(window) for window in witness.windows] == [3] * 6


def test_the_level_is_estimated_once_for_a_scene() -> None:
    witness = Witness()
    out = run(clip([0.3] * 4, noise=0.05) + clip([0.7] * 4, noise=0.1), witness)
    first, second = witness.levels[0], witness.levels[4]
    assert witness.levels == [first] * 4 + [second] * 4
    assert [level for _, level in out] == witness.levels
    assert first == pytest.approx(0.05, rel=0.1)
    assert second == pytest.approx(0.1, rel=0.1)


def test_bars_above_and_below_do_not_hide_the_noise() -> None:
    rng, witness = np.random.default_rng(0), Witness()
    samples = (0.5 + 0.05 * rng.standard_normal((2 * H, W))) * 65535
    samples[:20] = samples[-20:] = 3000
    picture = av.VideoFrame.from_ndarray(samples.astype(np.uint16), "gray16le")
    picture.color_range, picture.pts = 2, 0
    run([Frame(picture)], witness)
    assert witness.levels == [pytest.approx(0.05, rel=0.1)]


def test_who_sees_the_noise_is_told_nothing() -> None:
    witness = Witness(is_blind=True)
    assert [level for _, level in run(clip([0.5] * 3), witness)] == [None] * 3


def test_a_denoiser_of_photos_sees_each_frame_alone() -> None:
    witness = Witness(takes_neighbours=False)
    run(clip([0.5, 0.51]), witness, sigma=0.1)
    assert witness.windows == [[0.5], [0.51]]


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_what_was_found_is_taken_from_the_samples(strength: float) -> None:
    frames = clip([0.5, 0.52])
    before = [frame.planes[0].copy() for frame in frames]
    out = run(frames, Witness(), sigma=0.1, strength=strength)
    for (frame, _), samples in zip(out, before, strict=True):
        taken = samples.astype(int) - frame.planes[0]
        assert abs(taken - 0.1 * strength * 65535).max() <= 1


def test_frames_that_are_skipped_change_nothing_for_the_others() -> None:
    values = [0.3, 0.31, 0.32, 0.8, 0.81, 0.82, 0.83, 0.84]
    whole, part = Witness(), Witness()
    everything = run(clip(values, noise=0.05), whole)
    rest = run(clip(values, noise=0.05), part, skip=6)
    assert part.windows == whole.windows[2:]  # those that steady the first, too
    assert part.levels == whole.levels[2:]
    assert part.steadied == whole.steadied[6:]
    assert all(frame.original_planes is None for frame, _ in rest[:6])
    for (one, _), (other, _) in zip(everything[6:], rest[6:], strict=True):
        np.testing.assert_array_equal(one.planes[0], other.planes[0])
        assert one.picture.pts == other.picture.pts


def test_nothing_comes_of_nothing() -> None:
    assert run([], Witness()) == []


def test_the_samples_of_colour_frames_are_replaced_too() -> None:
    picture = av.VideoFrame(16, 8, "yuv420p")
    frame = Frame(picture)
    planes = [np.full(plane.shape, value, np.uint8) for plane, value in zip(frame.planes, (50, 100, 150), strict=True)]
    frame.replace(planes)
    assert [int(plane.mean()) for plane in Frame(frame.picture).planes] == [50, 100, 150]


def test_a_clip_that_fades_in_from_black_is_denoised() -> None:
    witness = Witness()
    values = [-0.2] * 9 + [-0.2 + 0.012 * i for i in range(60)]
    run(clip(values, noise=0.05), witness)
    assert witness.levels[0] == 0  # nothing is to be seen
    assert witness.levels[-1] == pytest.approx(0.05, rel=0.2)


def test_what_is_too_dark_to_tell_is_denoised_as_the_scene_before() -> None:
    witness = Witness()
    out = run(clip([0.5] * 3, noise=0.05) + clip([-0.2] * 3), witness)
    assert [level for _, level in out[3:]] == [out[0][1]] * 3
