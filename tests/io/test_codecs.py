"""How many threads codecs start, and that what they write does not depend on it."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import AvifImagePlugin

from denoise_cli.io import codecs, image
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.pipeline.photo import Settings
from denoise_cli.pipeline.worker import Loading, Worker

ENCODERS = {"avif": "avif_encode", "jxl": "jpegxl_encode", "jp2": "jpeg2k_encode"}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has not been bounded, and is not after the test."""
    monkeypatch.setattr(codecs, "_share", [])
    monkeypatch.setattr(AvifImagePlugin, "DEFAULT_MAX_THREADS", 0)
    for name in ("TIFFFILE_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


@pytest.mark.parametrize("kind", ["avif", "jxl", "jp2", "png", "tiff"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_fewer_threads_write_the_same_bytes(kind: str, dtype: type, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, np.iinfo(dtype).max, (600, 500, 3), dtype)
    photo = Photo(pixels, None, "png", Metadata())
    encoded = []
    for count in (4, 1):
        codecs.limit_threads(count)
        encoded.append(image.encode(photo, kind, "test", 90))
    assert encoded[0] == encoded[1]


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_worker_gives_codecs_its_share_of_the_cores(
    kind: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def spy(encode: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, numthreads: int, **options: Any) -> Any:
            asked.append(numthreads)
            return encode(*args, numthreads=numthreads, **options)

        return call

    monkeypatch.setattr(imagecodecs, ENCODERS[kind], spy(getattr(imagecodecs, ENCODERS[kind])))
    photo = Photo(rng.integers(0, 65535, (64, 64, 3), np.uint16), None, "png", Metadata())
    image.encode(photo, kind, "test", 90)
    Worker(Loading("cpu", threads=3), Settings("mallenet-s"))
    image.encode(photo, kind, "test", 90)
    least = codecs.FEWEST_FOR_AVIF if kind == "avif" else 1
    assert asked == [max(os.cpu_count() or 1, least), 3]
    assert os.environ["TIFFFILE_NUM_THREADS"] == "3"
    assert AvifImagePlugin.DEFAULT_MAX_THREADS == 3


def test_png_is_compressed_by_no_more_threads_than_the_share(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def pool(count: int) -> ThreadPoolExecutor:
        made.append(count)
        return ThreadPoolExecutor(count)

    monkeypatch.setattr("denoise_cli.io.png.ThreadPoolExecutor", pool)
    codecs.limit_threads(2)
    image.encode(Photo(rng.integers(0, 255, (64, 64, 3), np.uint8), None, "png", Metadata()), "png", "test")
    assert made == [2]
