"""What was read, a developed photo, its pages or camera RAW, is denoised and made a picture."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from denoise_cli.imaging.noise import ShotRead
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.inference.tiles import Progress
from denoise_cli.io import development, image
from denoise_cli.io.dng import DigitalNegative
from denoise_cli.io.dng_builder import compressed_as
from denoise_cli.io.photo import Photo
from denoise_cli.io.raw import RawFile
from denoise_cli.pipeline.developed import denoise_developed
from denoise_cli.pipeline.done import Done
from denoise_cli.pipeline.gain_map import denoise_gain_maps
from denoise_cli.pipeline.jobs import DNG
from denoise_cli.pipeline.pages import denoise_pages
from denoise_cli.pipeline.task import Settings, Task
from denoise_cli.version import __version__

if TYPE_CHECKING:
    from denoise_cli.pipeline.raw import DenoisedValues, Output


def undenoised(source: Photo | RawFile, settings: Settings) -> Photo:
    """A picture of what was read, to compare the result with."""
    if isinstance(source, Photo):
        return source
    photo = development.developed(source)
    if settings.tone == "camera":
        from denoise_cli.io.camera_tone import with_camera_tone  # imports SciPy

        photo = with_camera_tone(source, photo)
    return photo


def denoise_source(task: Task, denoise: Denoiser, settings: Settings, progress: Progress | None) -> Callable[[], Done]:
    """Denoise what was read; what is returned makes a picture of it, for which a RAW file must still be open."""
    source = task.source
    if not isinstance(source, RawFile):
        denoise_photo = _denoise_pages if source.others else _denoise_developed
        return denoise_photo(source, task, denoise, settings, progress)
    if task.is_for_raw:
        finish = _denoise_raw(source, task, denoise, settings, progress)
    else:
        photo = development.developed(source)
        photo = replace(photo, notes=photo.notes + task.notes)
        finish = _denoise_developed(photo, task, denoise, settings, progress)
    return partial(_in_camera_tone, source, finish) if settings.tone == "camera" else finish


def _denoise_developed(
    photo: Photo, task: Task, denoise: Denoiser, settings: Settings, progress: Progress | None
) -> Callable[[], Done]:
    dither = settings.dither and image.is_lossless(photo, task.kind, settings.quality)
    clean, noise = denoise_developed(photo, denoise, settings.noise, settings.strength_for_photos, progress, dither)
    noise_from = None if noise is None else "given" if settings.noise is not None else "estimated"
    if task.kind == "jpeg":
        clean = denoise_gain_maps(clean, denoise, settings.strength_for_photos, settings.max_pixels)
    done = Done(clean, noise, noise_from, clean.notes)
    return lambda: done


def _denoise_pages(
    photo: Photo, task: Task, denoise: Denoiser, settings: Settings, progress: Progress | None
) -> Callable[[], Done]:
    def denoise_page(page: Photo, part: Progress | None) -> Done:
        done = _denoise_developed(page, task, denoise, settings, part)()
        assert isinstance(done.picture, Photo)
        return replace(done, notes=done.notes + notes_on_result(done.picture, task.kind, done.notes))

    with image.encoder_errors(task.target, task.kind):
        done = denoise_pages(photo, denoise_page, lambda page: software(task.model, page, settings), progress)
    return lambda: done


def _denoise_raw(
    raw: RawFile, task: Task, denoise: Denoiser, settings: Settings, progress: Progress | None
) -> Callable[[], Done]:
    from denoise_cli.pipeline.raw import denoise_raw  # for RAW alone: SciPy takes long to import

    given = settings.noise if isinstance(settings.noise, ShotRead) else None
    output: Output = "photo" if task.kind != DNG else "linear_dng" if settings.linear else "mosaic_dng"
    denoised = denoise_raw(raw, denoise, output, given, settings.strength, progress, task.hot_pixels)
    return partial(_finish_raw, denoised, task.notes, settings)


def _finish_raw(denoised: "DenoisedValues", notes: tuple[str, ...], settings: Settings) -> Done:
    done = denoised.finish()
    picture, notes = done.picture, notes + done.notes
    if isinstance(picture, DigitalNegative):
        picture = compressed_as(denoised.raw, picture, settings.compression)
        if picture.is_lossy:
            notes += ("compressed with loss, as the RAW file is: --compression jpeg avoids it",)
    return Done(picture, done.noise.noise, done.noise.source, notes)


def _in_camera_tone(raw: RawFile, finish: Callable[[], Done]) -> Done:
    from denoise_cli.io.camera_tone import with_camera_tone  # imports SciPy, too

    done = finish()
    if not isinstance(done.picture, Photo):  # but a DNG, which holds light without a tone
        return done
    toned = with_camera_tone(raw, done.picture)
    return replace(done, picture=toned, notes=done.notes + toned.notes[len(done.picture.notes) :])


def software(model: str, picture: Done, settings: Settings) -> str:
    """The name of the program, for the metadata."""
    return f"denoise {__version__} ({Path(model).name}, {picture.words(settings.strength_for_photos)})"


def notes_on_result(photo: Photo, kind: str, said: Sequence[str]) -> tuple[str, ...]:
    """What a format changes or loses of a photo, unless it is among what was `said` before."""
    return image.conversions(photo, kind) + image.losses(photo.metadata, kind, said)
