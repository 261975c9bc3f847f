"""One place decides which model takes which input; what it decides for real files is tested with the commands."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoise_cli.errors import UnknownModel, UnreadableFile, UsageError
from denoise_cli.imaging.filters import ColourFilters, FilterKind
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.io.photo import Photo
from denoise_cli.io.raw import RawFile
from denoise_cli.pipeline.model_choice import (
    check_not_for_raw,
    check_takes_noise,
    model_for,
    model_for_clip,
    model_for_scores,
)

PATH = Path("photo")


def photo(kind: str) -> Photo:
    return Photo(np.zeros((4, 4, 3), np.uint8), None, kind)


class Opened(RawFile):
    """A RAW file of which only the obstacle and the colour filters are known."""

    def __init__(self, obstacle: str | None, kind: FilterKind = "bayer") -> None:
        self._obstacle, self._kind = obstacle, kind

    @property
    def obstacle(self) -> str | None:
        return self._obstacle

    @property
    def filters(self) -> ColourFilters:
        return ColourFilters(self._kind, (0, 0))

    @property
    def layout(self) -> str:
        return self._obstacle or f"{self._kind} mosaic"


@pytest.mark.parametrize(
    ("kind", "noise", "expected"),
    [
        ("jpeg", None, "mallenet-r"),
        ("heif", None, "mallenet-r"),
        ("png", None, "mallenet-r"),
        ("png", 0.1, "mallenet-s"),
        ("jpeg", 0.1, "mallenet-s"),
        ("jpeg", ShotRead(1e-3, 1e-3), "mallenet-s"),
    ],
)
def test_a_photo_gets_the_model_of_what_is_known_about_its_noise(kind: str, noise: Any, expected: str) -> None:
    assert model_for(photo(kind), PATH, noise=noise) == expected


@pytest.mark.parametrize(
    ("obstacle", "noise", "expected"),
    [
        (None, None, "mallenet-raw"),
        (None, ShotRead(1e-3, 1e-3), "mallenet-raw"),
        ("no colour filters", None, "mallenet-linear"),
        (None, 0.1, "mallenet-s"),
    ],
)
def test_raw_gets_the_model_of_its_mosaic(obstacle: str | None, noise: Any, expected: str) -> None:
    assert model_for(Opened(obstacle), PATH, noise=noise) == expected


def test_an_x_trans_mosaic_gets_its_own_model() -> None:
    assert model_for(Opened(None, "xtrans"), PATH) == "mallenet-xtrans"


def test_a_model_that_is_named_is_taken_or_refused() -> None:
    assert model_for(photo("jpeg"), PATH, "mallenet-m") == "mallenet-m"
    assert model_for(Opened(None), PATH, "mallenet-s") == "mallenet-s"
    with pytest.raises(UnreadableFile, match="photo: is not camera RAW, and mallenet-raw takes nothing else"):
        model_for(photo("jpeg"), PATH, "mallenet-raw")
    with pytest.raises(
        UnreadableFile, match=r"mallenet-raw is not for .* \(no colour filters\): choose mallenet-linear"
    ):
        model_for(Opened("no colour filters"), PATH, "mallenet-raw")
    with pytest.raises(UnreadableFile, match=r"mallenet-raw is not for .* \(xtrans mosaic\): choose mallenet-xtrans"):
        model_for(Opened(None, "xtrans"), PATH, "mallenet-raw")
    with pytest.raises(UnreadableFile, match=r"mallenet-xtrans is not for .*: choose mallenet-raw"):
        model_for(Opened(None), PATH, "mallenet-xtrans")
    assert model_for(Opened(None), PATH, "mallenet-linear") == "mallenet-linear"
    with pytest.raises(UnknownModel):
        model_for(photo("jpeg"), PATH, "mallenet-q")


def test_a_clip_gets_the_model_of_its_window_and_its_noise() -> None:
    assert [model_for_clip(frames) for frames in (1, 3, 9)] == ["mallenet-r", "mallenet-vr", "mallenet-vr"]
    told = [model_for_clip(frames, noise=0.1) for frames in (1, 3, 9)]
    assert told == ["mallenet-s", "mallenet-v", "mallenet-v"]
    assert model_for_clip(5, "mallenet-m") == "mallenet-m"
    with pytest.raises(UsageError, match="mallenet-raw: is only for camera RAW"):
        model_for_clip(5, "mallenet-raw")


def test_scores_are_of_the_model_for_the_noise() -> None:
    assert (model_for_scores(noise_is_real=True), model_for_scores(noise_is_real=False)) == ("mallenet-r", "mallenet-s")


def test_a_level_that_a_model_has_no_use_for_is_refused() -> None:
    check_takes_noise("mallenet-s", 0.1, "25")
    check_takes_noise("mallenet-r", None, "auto")
    check_takes_noise("mallenet-raw", ShotRead(1e-3, 1e-3), "0.001,0.001")
    with pytest.raises(UsageError, match="--noise 25: mallenet-r finds the level itself"):
        check_takes_noise("mallenet-r", 0.1, "25")
    with pytest.raises(UsageError, match="--noise 25: mallenet-raw needs SHOT,READ"):
        check_takes_noise("mallenet-raw", 0.1, "25")
    assert check_not_for_raw("mallenet-s").media == "image"
