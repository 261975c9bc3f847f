"""Which model takes which input: the one place that decides it."""

from pathlib import Path

from denoise_cli.errors import UnreadableFile, UsageError
from denoise_cli.imaging.filters import FilterKind
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.io.photo import Photo
from denoise_cli.io.raw import RawFile
from denoise_cli.models.registry import ModelSpec, find_model

AUTO = "auto"
PHOTO_MODEL = "mallenet-r"  # sees for itself what noise a photo has, of whatever format
TOLD_MODEL = "mallenet-s"  # if the level is known
CLIP_MODEL = "mallenet-vr"  # sees for itself what noise a clip has
TOLD_CLIP_MODEL = "mallenet-v"  # if the level is known
MOSAIC_MODELS: dict[FilterKind, str] = {"bayer": "mallenet-raw", "xtrans": "mallenet-xtrans"}
LINEAR_RAW_MODEL = "mallenet-linear"

Noise = float | ShotRead  # a standard deviation on [0, 1], or a sensor's noise as shares of white


def model_for(source: Photo | RawFile, path: Path, asked: str = AUTO, noise: Noise | None = None) -> str:
    """The model for a photo or a RAW file.

    Args:
        source: what was read from `path`.
        path: the file.
        asked: the model that the user names, or "auto".
        noise: what the user says about it; None if the program is to find out.

    Raises:
        UnreadableFile: the model that the user names is for other files.
        UnknownModel: there is no such model.
    """
    if asked == AUTO:
        if isinstance(source, RawFile) and not isinstance(noise, float):
            return _model_for_raw(source)
        return PHOTO_MODEL if noise is None else TOLD_MODEL
    spec = find_model(asked)
    if spec.is_for_raw and not isinstance(source, RawFile):
        raise UnreadableFile(path, f"is not camera RAW, and {asked} takes nothing else: choose another model")
    if spec.is_for_mosaics and isinstance(source, RawFile):
        fitting = _model_for_raw(source)
        if spec.space != find_model(fitting).space:
            raise UnreadableFile(path, f"{asked} is not for this kind of file ({source.layout}): choose {fitting}")
    return asked


def _model_for_raw(source: RawFile) -> str:
    return LINEAR_RAW_MODEL if source.obstacle is not None else MOSAIC_MODELS[source.filters.kind]


def model_for_clip(frames: int, asked: str | None = None, noise: Noise | None = None) -> str:
    """The model for a clip.

    Args:
        frames: how many are looked at together.
        asked: the model that the user names, if any.
        noise: what the user says about it; None if the program is to find out.

    Raises:
        UsageError: the model that the user names is for camera RAW.
        UnknownModel: there is no such model.
    """
    if asked is None:
        by_itself, told = (PHOTO_MODEL, TOLD_MODEL) if frames == 1 else (CLIP_MODEL, TOLD_CLIP_MODEL)
        return by_itself if noise is None else told
    check_not_for_raw(asked)
    return asked


def model_for_scores(noise_is_real: bool) -> str:
    """The model that is scored if none is named: on pairs of real photos, or on photos with synthetic noise."""
    return PHOTO_MODEL if noise_is_real else TOLD_MODEL


def model_for_timing(is_photo: bool) -> str:
    """The model whose program is timed if none is named, on a photo or on a clip."""
    return TOLD_MODEL if is_photo else CLIP_MODEL


def check_not_for_raw(name: str) -> ModelSpec:
    """The spec of a model for photos or clips.

    Raises:
        UsageError: it is for camera RAW.
        UnknownModel: there is no such model.
    """
    spec = find_model(name)
    if spec.is_for_raw:
        raise UsageError(f"--model {name}: is only for camera RAW: use it with denoise image")
    return spec


def check_takes_noise(name: str, noise: Noise | None, typed: str) -> None:
    """Refuse a noise level that a model has no use for; `typed` is how the user wrote it.

    Raises:
        UsageError: the model sees the noise for itself, or needs a sensor's.
        UnknownModel: there is no such model.
    """
    if noise is None:
        return
    spec = find_model(name)
    if spec.is_for_raw and isinstance(noise, float):
        raise UsageError(f"--noise {typed}: {name} needs SHOT,READ, as fractions of white, such as 0.003,0.002")
    if spec.is_blind:
        raise UsageError(f"--noise {typed}: {name} finds the level itself: choose another model, or use --strength")
