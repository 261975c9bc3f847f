"""Film grain that is fitted to removed noise, and given back by libaom and dav1d, is like that noise."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray
from scipy.ndimage import gaussian_filter

from denoise_cli.imaging.film_grain import GrainFit, without_rounding
from denoise_cli.imaging.yuv import Layout
from denoise_cli.io import grain_table
from denoise_cli.io.grain_table import Entry
from tests.conftest import FFmpeg

Array = NDArray[np.float64]

H, W, FRAMES = 192, 320, 10
TOLERANCE = 0.1  # of the variance at each brightness
MOST_DIFFERENCE = 0.07  # of correlations, whose largest is 1
NEIGHBOURS = [(0, 1), (1, 0), (1, 1), (0, 2), (2, 0)]


@dataclass
class Grainy:
    """A gradient that moves, and its noise, frame by frame and plane by plane."""

    clean: list[list[NDArray[np.unsignedinteger]]]
    noisy: list[list[NDArray[np.unsignedinteger]]]

    def removed(self, plane: int) -> Array:
        return np.stack([a[plane].astype(float) - b[plane] for a, b in zip(self.noisy, self.clean, strict=True)])

    def light(self, plane: int, step: int) -> Array:
        """Brightness at each sample, 0 to 255."""
        return np.stack([frame[0][::step, ::step] for frame in self.clean]).astype(float)


def soft(rng: np.random.Generator, blur: float, shape: tuple[int, int]) -> Array:
    """Noise with a deviation of 1, whose neighbours are alike."""
    noise = gaussian_filter(rng.standard_normal(shape), blur, mode="wrap")
    return noise / noise.std()


def grainy(rng: np.random.Generator, bits: int, blur: float, strength: float, grey: bool = False) -> Grainy:
    step, dtype = 2 ** (bits - 8), np.uint8 if bits == 8 else np.uint16
    clean, noisy = [], []
    for number in range(FRAMES):
        luma = np.rint(step * (np.linspace(50, 200, W)[None] + np.linspace(-3, 3, H)[:, None] + number))
        luma_noise = soft(rng, blur, (H, W))
        deviation = strength * step * (2 + 5 * np.sin(np.pi * luma / 255 / step))
        planes, noises = [luma], [luma_noise * deviation]
        shared = luma_noise.reshape(H // 2, 2, W // 2, 2).mean(axis=(1, 3))
        for share, level in () if grey else ((0.6, 3.0), (-0.4, 2.0)):
            own = soft(rng, blur, (H // 2, W // 2))
            noise = share * shared / shared.std() + (1 - share**2) ** 0.5 * own
            planes.append(np.full((H // 2, W // 2), 128.0 * step))
            noises.append(noise * level * strength * step)
        clean.append([plane.astype(dtype) for plane in planes])
        noisy.append([(plane + np.rint(noise)).astype(dtype) for plane, noise in zip(planes, noises, strict=True)])
    return Grainy(clean, noisy)


def fit(clip: Grainy, layout: Layout) -> GrainFit:
    found = GrainFit(layout)
    for before, after in zip(clip.noisy, clip.clean, strict=True):
        found.add(before, after)
    return found


def decoded(path: Path, dtype: DTypeLike, **options: str) -> list[list[Array]]:
    """Planes of the frames that dav1d decodes."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = options
        return [
            [
                np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width].astype(float)
                for plane in frame.planes
            ]
            for frame in container.decode(stream)
        ]


def given_back(clip: Grainy, table: Path, form: str, ffmpeg: FFmpeg) -> list[Array]:
    """What dav1d adds to each plane of the clean clip, encoded with a table."""
    frames = b"".join(plane.tobytes() for frame in clip.clean for plane in frame)
    path = table.with_suffix(".mkv")
    raw = ("-f", "rawvideo", "-pix_fmt", form, "-s", f"{W}x{H}", "-r", "25", "-i", "-")
    encoder = ("-c:v", "libaom-av1", "-cpu-used", "8", "-crf", "10", "-aom-params", f"film-grain-table={table}")
    subprocess.run([ffmpeg.program, "-v", "error", *raw, *encoder, path], input=frames, check=True)
    dtype = clip.clean[0][0].dtype
    with_grain, without = decoded(path, dtype), decoded(path, dtype, export_side_data="film_grain")
    return [
        np.stack(one) - np.stack(other)
        for one, other in zip(zip(*with_grain, strict=True), zip(*without, strict=True), strict=True)
    ]


def variances(noise: Array, light: Array) -> Array:
    """In steps of brightness that the clip shows."""
    return np.array([np.square(noise[(light >= low) & (light < low + 25)]).mean() for low in range(52, 200, 25)])


def correlations(noise: Array) -> Array:
    """Between neighbours, without the brightness's part in it."""
    even = noise / np.square(noise).mean(axis=(0, 1))[None, None] ** 0.5
    rows, columns = noise.shape[1:]
    pairs = [(even[:, y:, x:] * even[:, : rows - y, : columns - x]).mean() for y, x in NEIGHBOURS]
    return np.array(pairs)


def assert_alike(found: Sequence[Array], clip: Grainy, step: int) -> None:
    for plane, grain in enumerate(found):
        noise, light = clip.removed(plane), clip.light(plane, 2 if plane else 1) / step
        assert variances(grain, light) == pytest.approx(variances(noise, light), rel=TOLERANCE)
        wanted, got = correlations(noise), correlations(grain)
        assert np.abs(got - wanted).max() < MOST_DIFFERENCE, (wanted, got)


@pytest.mark.parametrize(
    ("form", "bits", "blur", "strength"),
    [
        ("yuv420p", 8, 0.0, 1.0),
        ("yuv420p", 8, 0.6, 1.0),
        ("yuv420p10le", 10, 0.7, 0.5),
        ("yuv420p", 8, 0.5, 0.3),
        ("yuv420p", 8, 0.4, 4.0),
        ("gray", 8, 0.6, 1.0),
    ],
)
def test_grain_that_is_given_back_is_as_strong_and_as_coarse_as_what_was_removed(
    form: str, bits: int, blur: float, strength: float, rng: np.random.Generator, tmp_path: Path, ffmpeg: FFmpeg
) -> None:
    grey = form == "gray"
    clip = grainy(rng, bits, blur, strength, grey)
    layout = Layout("grey", bits, across=0, down=0) if grey else Layout("yuv", bits)
    grain = fit(clip, layout).fitted(rng)
    assert grain is not None
    assert not grain.is_weaker
    table = tmp_path / "grain.tbl"
    grain_table.write(table, [Entry(Fraction(0), None, grain)], overwrite=False)
    assert_alike(given_back(clip, table, form, ffmpeg)[: 1 if grey else 3], clip, 2 ** (bits - 8))


def test_chroma_noise_alone_needs_no_luma_noise(rng: np.random.Generator, tmp_path: Path, ffmpeg: FFmpeg) -> None:
    clip = grainy(rng, 8, 0.5, 1.0)
    for before, after in zip(clip.noisy, clip.clean, strict=True):
        before[0] = after[0]
    grain = fit(clip, Layout("yuv", 8)).fitted(rng)
    assert grain is not None
    table = tmp_path / "grain.tbl"
    grain_table.write(table, [Entry(Fraction(0), None, grain)], overwrite=False)
    luma, *chroma = given_back(clip, table, "yuv420p", ffmpeg)
    assert not luma.any()
    for plane, found in enumerate(chroma, start=1):
        assert found.std() == pytest.approx(clip.removed(plane).std(), rel=0.05)


def test_noise_that_is_too_strong_for_av1_is_told(rng: np.random.Generator) -> None:
    clip = grainy(rng, 8, 0.0, 1.0, grey=True)
    found = GrainFit(Layout("grey", 10, across=0, down=0))
    for after in clip.clean:
        light = after[0].astype(np.int64) * 4
        found.add([light + np.rint(200 * rng.standard_normal((H, W))).astype(np.int64)], [light])  # type: ignore[list-item]
    grain = found.fitted(rng)
    assert grain is not None
    assert grain.is_weaker


def test_there_is_no_grain_where_nothing_was_removed(rng: np.random.Generator) -> None:
    clip = grainy(rng, 8, 0.0, 1.0)
    found = GrainFit(Layout("yuv", 8))
    found.add(clip.clean[0], clip.clean[0])
    assert found.fitted(rng) is None
    tiny = [np.zeros((8, 8), np.uint8), *[np.zeros((4, 4), np.uint8)] * 2]
    found.add(tiny, tiny)
    assert found.fitted(rng) is None


def test_rounding_is_taken_out_of_the_deviation(rng: np.random.Generator) -> None:
    for deviation in (0.3, 0.5, 1.0, 3.0):
        rounded = np.rint(deviation * rng.standard_normal(400_000))
        assert without_rounding(np.square(rounded).mean()) == pytest.approx(deviation, rel=0.01)


def test_rgb_has_no_film_grain() -> None:
    with pytest.raises(ValueError, match="layout that AV1 has"):
        GrainFit(Layout("gbr", 8, full=True, across=0, down=0))
