"""The gain map of a JPEG loses its noise, and nothing else in the file changes by it."""

from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from denoise_cli.imaging.metrics import psnr
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import gain_map
from denoise_cli.io.jpeg import segments_of
from denoise_cli.pipeline import photo
from denoise_cli.pipeline.jobs import Job
from denoise_cli.pipeline.task import Settings
from tests.io.phone_files import HDRGM, ISO, indexed, jpeg, mp4, segment, ultra_hdr, with_segments, xmp

Pixels = NDArray[np.uint8]
SETTINGS = Settings("auto", max_pixels=40_000)
H, W = 120, 176
DENOISED = ("gain map denoised",)
METADATA = [
    xmp(HDRGM + 'hdrgm:GainMapMax="2"'),
    segment(0xE2, ISO + bytes(range(60))),
    segment(0xE2, b"ICC_PROFILE\x00\x01\x01" + bytes(50)),
    segment(0xFE, b"a map"),
]
LEAST_GAIN = 6.0  # dB that removing noise with a deviation of 12 has to gain


@pytest.fixture
def clean() -> Pixels:
    """A map of a lamp, a window and a dark room."""
    y, x = np.mgrid[0:H, 0:W]
    lamp = 90 * np.exp(-((x - 60) ** 2 + (y - 50) ** 2) / 1500)
    return (50 + lamp + 80 * (x > 120)).astype(np.uint8)


@pytest.fixture
def picture(rng: np.random.Generator) -> Pixels:
    return rng.integers(0, 256, (60, 88, 3), dtype=np.uint8)


@cache
def load(name: str) -> Denoiser:
    return load_denoiser(name, "cpu", "fp32")


def noisy(clean: Pixels, rng: np.random.Generator) -> Pixels:
    return np.rint(clean + rng.normal(0, 12, clean.shape)).clip(0, 255).astype(np.uint8)


def as_map(pixels: Pixels, **options: object) -> bytes:
    """A map whose EXIF says that it is turned, which it is not: it lies over the picture as that is stored."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return with_segments(jpeg(pixels, **{"exif": exif, **options}), *METADATA)


def denoised(folder: Path, source: bytes, settings: Settings = SETTINGS) -> tuple[bytes, tuple[str, ...]]:
    """What becomes of a file, and its notes."""
    (folder / "photo.jpg").write_bytes(source)
    result = photo.run(Job(folder / "photo.jpg", folder / "clean.jpg", None), load, settings)
    assert result.error is None
    return (folder / "clean.jpg").read_bytes(), result.notes


def pixels_of(data: bytes) -> Pixels:
    with Image.open(BytesIO(data)) as opened:
        return np.asarray(opened)


def metadata_of(data: bytes) -> list[tuple[int, bytes]]:
    return [(s.marker, s.body) for s in segments_of(data) if s.is_application_data or s.marker == 0xFE]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2, "quality": 85}])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_map_loses_its_noise_and_nothing_else(
    channels: int, options: dict[str, object], clean: Pixels, picture: Pixels, tmp_path: Path, rng: np.random.Generator
) -> None:
    clean = clean if channels == 1 else np.dstack([clean, 220 - clean, clean // 2 + 60])
    before, clip = as_map(noisy(clean, rng), **options), mp4(rng)

    result, notes = denoised(tmp_path, ultra_hdr(picture, before, clip))

    after = result[-len(before + clip) : -len(clip)]
    gain = psnr(pixels_of(after) / 255, clean / 255) - psnr(pixels_of(before) / 255, clean / 255)
    assert notes == DENOISED
    assert gain > LEAST_GAIN
    assert metadata_of(after) == metadata_of(before)
    assert result.endswith(clip)
    with Image.open(BytesIO(before)) as old, Image.open(BytesIO(after)) as new:
        assert new.quantization == old.quantization
        assert ("progressive" in new.info) == ("progressive" in old.info)
        assert channels == 1 or new.layer == old.layer


@pytest.mark.parametrize("channels", [1, 3])
def test_a_map_without_noise_stays_to_the_byte(channels: int, clean: Pixels, picture: Pixels, tmp_path: Path) -> None:
    map_ = as_map(clean if channels == 1 else np.dstack([clean, 220 - clean, clean // 2 + 60]))

    result, notes = denoised(tmp_path, ultra_hdr(picture, map_))

    assert result.endswith(map_)
    assert notes == ()


def test_a_map_stays_to_the_byte_if_no_noise_is_to_be_removed(
    clean: Pixels, picture: Pixels, tmp_path: Path, rng: np.random.Generator
) -> None:
    map_ = as_map(noisy(clean, rng))

    result, notes = denoised(tmp_path, ultra_hdr(picture, map_), replace(SETTINGS, strength=0))

    assert result.endswith(map_)
    assert notes == ()


def test_strength_applies_to_the_map(clean: Pixels, picture: Pixels, tmp_path: Path, rng: np.random.Generator) -> None:
    map_ = as_map(noisy(clean, rng))

    result, notes = denoised(tmp_path, ultra_hdr(picture, map_), replace(SETTINGS, strength=0.5))

    left, before = (np.std(pixels_of(data).astype(float) - clean) for data in (result[-len(map_) :], map_))
    assert notes == DENOISED
    assert 0.45 < left / before < 0.7


def test_a_picture_that_does_not_say_that_it_is_a_gain_map_stays_to_the_byte(
    clean: Pixels, picture: Pixels, tmp_path: Path, rng: np.random.Generator
) -> None:
    map_, matte = as_map(noisy(clean, rng)), jpeg(noisy(clean, rng))
    main = with_segments(jpeg(picture), xmp(HDRGM))

    result, notes = denoised(tmp_path, indexed(main, [(0, matte), (0, map_)]))

    assert result[-len(matte + map_) : -len(map_)] == matte
    assert result[-len(map_) :] != map_
    assert notes == DENOISED


def test_pillow_finds_the_map_by_the_index(
    clean: Pixels, picture: Pixels, tmp_path: Path, rng: np.random.Generator
) -> None:
    map_ = as_map(noisy(clean, rng))

    result, _ = denoised(tmp_path, indexed(jpeg(picture), [(0x10001, jpeg(picture)), (0, map_)]))

    with Image.open(BytesIO(result)) as opened:  # of which the preview is gone
        assert opened.n_frames == 2
        opened.seek(1)
        found = np.asarray(opened)
    np.testing.assert_array_equal(found, pixels_of(result[-len(map_) :]))
    assert psnr(found / 255, clean / 255) > psnr(pixels_of(map_) / 255, clean / 255) + LEAST_GAIN


def test_libultrahdr_reads_a_map_that_ends_in_zeros() -> None:
    if not imagecodecs.ULTRAHDR.available:
        pytest.skip("imagecodecs has no libultrahdr here")
    y, x = np.mgrid[0:H, 0:W]
    light = np.ones((H, W, 4), np.float16)
    light[..., :3] = (0.1 + 3 * np.exp(-((x - 60) ** 2 + (y - 50) ** 2) / 900))[..., None]
    light[..., :3] += 0.5 * (x % 16 < 8)[..., None]
    source = imagecodecs.ultrahdr_encode(light)
    start = source.index(b"\xff\xd8", 1000)
    stored = gain_map.decode(source[start:], H * W)
    flatter = np.full_like(stored.pixels, round(float(stored.pixels.mean())))

    changed = gain_map.encode(replace(stored, pixels=flatter), source[start:])

    assert changed is not None
    assert changed.endswith(bytes(100))
    before = imagecodecs.ultrahdr_decode(source)
    after = imagecodecs.ultrahdr_decode(source[:start] + changed)
    assert after.shape == before.shape
    assert not np.array_equal(after, before)


def test_what_would_be_longer_is_not_written(clean: Pixels, rng: np.random.Generator) -> None:
    map_ = as_map(clean)
    stored = gain_map.decode(map_, H * W)

    assert gain_map.encode(replace(stored, pixels=noisy(stored.pixels, rng)), map_) is None
    assert gain_map.encode(stored, map_ + b"behind it").endswith(b"behind it")  # type: ignore[union-attr]


def test_a_map_that_cannot_be_denoised_stays_to_the_byte_and_is_named(
    clean: Pixels, picture: Pixels, tmp_path: Path, rng: np.random.Generator
) -> None:
    whole = as_map(noisy(clean, rng))
    cases = {
        "it is damaged": whole[: len(whole) // 2] + b"\xff\xd9",
        "unusual": as_map(noisy(np.dstack([clean] * 3), rng), keep_rgb=True),
        "pixels": as_map(noisy(np.tile(clean, (2, 1)), rng)),
    }
    for reason, map_ in cases.items():
        result, notes = denoised(tmp_path, ultra_hdr(picture, map_), replace(SETTINGS, overwrite=True))
        assert result.endswith(map_), reason
        assert len(notes) == 1
        assert notes[0].startswith("gain map left as it is: ")
        assert reason in notes[0]


def test_a_model_that_has_to_be_told_the_noise_leaves_the_map(
    clean: Pixels, picture: Pixels, tmp_path: Path, rng: np.random.Generator
) -> None:
    map_ = as_map(noisy(clean, rng))

    result, notes = denoised(tmp_path, ultra_hdr(picture, map_), replace(SETTINGS, noise=0.1))

    assert result.endswith(map_)
    assert notes == ("gain map left as it is: the model cannot judge its noise, as mallenet-r can",)
