"""Kinds of pictures differ from the photos that they are made of in what their names say."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.evaluation.kinds import KINDS, NoiseOnKind
from denoise_cli.evaluation.samples import CameraNoise, NoNoise, WhiteNoise

Photo = NDArray[np.float32]


@pytest.fixture
def photo(astronaut: NDArray[np.uint8]) -> Photo:
    return (astronaut[:192, 100:356] / np.float32(255)).astype(np.float32)


def colourfulness(picture: Photo) -> float:
    return float(np.ptp(picture, axis=-1).mean())


def roughness(picture: Photo) -> float:
    return float(np.abs(np.diff(picture, axis=1)).mean())


def test_every_kind_is_a_picture(photo: Photo) -> None:
    for change in KINDS.values():
        for source in (photo, photo[..., :1]):
            picture = change(source, 3)
            assert picture.dtype == np.float32
            assert picture.ndim == 3
            assert 0 <= picture.min() <= picture.max() <= 1


def test_kinds_are_what_their_names_say(photo: Photo) -> None:
    made = {name: change(photo, 0) for name, change in KINDS.items()}
    assert np.array_equal(made["as they are"], photo)
    assert colourfulness(made["saturated"]) > 1.5 * colourfulness(photo)
    assert made["night"].max() < 0.35
    assert roughness(made["soft"]) < 0.5 * roughness(photo)
    assert roughness(made["detailed"]) > 1.2 * roughness(photo)
    assert roughness(made["vivid"]) > 1.2 * roughness(photo)
    assert colourfulness(made["vivid"]) > 1.5 * colourfulness(made["detailed"])
    assert np.allclose(made["grey"], photo.mean(axis=-1, keepdims=True))
    assert not np.array_equal(made["drawn"], KINDS["drawn"](photo, 1))


def test_noise_is_added_to_the_kind(photo: Photo, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(np.rint(photo * 255).astype(np.uint8)).save(path)
    white = NoiseOnKind("night", WhiteNoise(0.1)).sample(path, 0)
    assert white.clean.max() < 0.35
    assert (white.noisy - white.clean).std() == pytest.approx(0.1, rel=0.02)
    assert white.sigma == 0.1
    none = NoiseOnKind("soft", NoNoise()).sample(path, 0)
    assert np.array_equal(none.noisy, none.clean)
    assert none.psnr == np.inf
    camera, again = (NoiseOnKind("saturated", CameraNoise()).sample(path, 5) for _ in range(2))
    assert np.array_equal(camera.noisy, again.noisy)
    assert 15 < camera.psnr < 50
    assert camera.sigma is None
    tiny = tmp_path / "tiny.png"
    Image.fromarray(np.rint(photo[:48, :40] * 255).astype(np.uint8)).save(tiny)
    for kind in KINDS:
        for index in range(4):
            assert min(NoiseOnKind(kind, CameraNoise()).sample(tiny, index).noisy.shape[:2]) >= 64
    assert str(NoiseOnKind("night", WhiteNoise(0.1))) == "night, sigma 25.5"
