"""How to denoise photos, and one of them that was read and checked before it is denoised."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from denoise_cli.errors import UnreadableFile, UnwritableFile, UsageError
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.strength import Strength
from denoise_cli.io import image
from denoise_cli.io.dng_builder import CompressionChoice
from denoise_cli.io.photo import Photo
from denoise_cli.io.raw import RawFile
from denoise_cli.models.registry import find_model
from denoise_cli.pipeline.hot_pixels import stuck_in
from denoise_cli.pipeline.jobs import DNG, FALLBACK_FORMAT, Job, check
from denoise_cli.pipeline.model_choice import AUTO, model_for

if TYPE_CHECKING:
    from denoise_cli.pipeline.raw import HotPixels

Tone = Literal["flat", "camera"]
DEVELOPED_FIRST = (
    "developed before it was denoised, because --noise is a single number: to denoise the camera's own data, as for a "
    "DNG, write --noise SHOT,READ or leave it out"
)
NETPBM = {"ppm", "pgm", "pnm", "pbm"}  # which have one form, and names for what is in it
TONES: dict[str, Tone] = {"flat": "flat", "camera": "camera"}


@dataclass(frozen=True)
class Settings:
    """How to denoise, the same for every photo.

    Attributes:
        model: a name from the registry, the path of a weight file, or "auto" to choose by the photo's format.
        noise: the level on [0, 1], or a sensor's shot and read noise; None to estimate it for each photo, or to leave
            that to the model.
        strength: 0 to 1, the share of the noise that is removed; 0 leaves the pixels unchanged.
        luma: the same for lightness alone, in photos; None for `strength`.
        chroma: the same for colour alone, in photos; None for `strength`.
        detail: 0 to 1, how much of the fine detail that is removed from photos returns.
        quality: 1 to 100, for lossy formats; None for that of the photo's file, see `image.write`.
        dither: whether noise below one step is added to what was denoised, if 8 bits of a photo with 8 bits are written
            without loss.
        overwrite: whether existing files are replaced.
        max_pixels: larger photos are refused.
        linear: whether a DNG holds linear light, demosaiced, instead of the mosaic.
        compression: of a DNG, without loss; "auto" compresses with loss where the RAW file is.
        tone: of pictures from camera RAW: "flat", or "camera" for that of the file's preview.
        hot_pixels: "auto" to find stuck photosites of RAW files and replace them, "off" to leave them, or the path of
            a list or a dark frame, see `pipeline.hot_pixels`.
        to_srgb: whether the colours of photos become sRGB before they are denoised.
        strict: whether photos are refused in which a decoder makes up what is damaged.
        skip_done: whether results that are done are left alone, and a record of each new one is kept, see
            `pipeline.records`.
        touch: whether results get the time at which they are written, instead of their photo's.
    """

    model: str
    noise: float | ShotRead | None = None
    strength: float = 1.0
    luma: float | None = None
    chroma: float | None = None
    detail: float = 0.0
    quality: int | None = None
    dither: bool = True
    overwrite: bool = False
    max_pixels: int = image.MAX_PIXELS
    linear: bool = False
    compression: CompressionChoice = "auto"
    tone: Tone = "flat"
    hot_pixels: Literal["auto", "off"] | Path = "auto"
    to_srgb: bool = False
    strict: bool = False
    skip_done: bool = False
    touch: bool = False

    @property
    def strength_for_photos(self) -> Strength:
        """The strength for lightness, colour and detail."""
        luma, chroma = (self.strength if part is None else part for part in (self.luma, self.chroma))
        return Strength(luma, chroma, self.detail)


@dataclass(frozen=True)
class Task:
    """A photo that was read and checked, and what is to be done with it.

    Attributes:
        source: what was read; a RAW file is open.
        target: the file to write.
        model: the name of the one that denoises it.
        is_for_raw: whether that takes the contents of RAW files, before they become a photo.
        kind: the format to write.
        hot_pixels: which photosites of a RAW file are replaced.
        notes: what the user should hear about the checks.
    """

    source: Photo | RawFile
    target: Path
    model: str
    is_for_raw: bool
    kind: str
    hot_pixels: "HotPixels"
    notes: tuple[str, ...]


@contextmanager
def checked(job: Job, settings: Settings, is_shown: bool = False) -> Iterator[Task]:
    """Read the photo of a job, and refuse what is known not to succeed before it is denoised.

    Args:
        job: the photo and its target.
        settings: how to denoise.
        is_shown: whether the target is not the photo but shows parts of it: those of its first page.

    Raises:
        DenoiseError: something that the user can act upon.
    """
    check(job, settings.overwrite)
    with image.opened(job.source, settings.max_pixels, settings.strict) as opened:
        source = opened
        if settings.tone == "camera" and not isinstance(source, RawFile):
            raise UsageError(f"{job.source}: --tone camera is only for camera RAW: leave it out")
        model = model_for(source, job.source, settings.model, settings.noise)
        kind = job.kind or (source.kind if source.kind in image.WRITABLE else FALLBACK_FORMAT)
        is_for_raw = find_model(model).is_for_raw
        if isinstance(source, Photo):
            source = _prepared(source, job, kind, settings, is_shown)
        elif settings.to_srgb and kind == DNG:
            raise UsageError(f"{job.source}: --to-srgb: a .dng file holds the camera's colours: leave it out")
        if is_for_raw and (settings.luma, settings.chroma, settings.detail) != (None, None, 0):
            reason = "a camera RAW file is denoised before it has lightness and colours"
            raise UsageError(f"{job.source}: --luma, --chroma and --detail: {reason}: use --strength")
        hot_pixels: HotPixels = "auto"
        notes: tuple[str, ...] = ()
        if isinstance(source, RawFile) and is_for_raw:
            hot_pixels, notes = _hot_pixels_of(source, settings)
            if source.obstacle is not None:
                notes += (f"{source.obstacle}: denoised after LibRaw has developed it",)
        elif isinstance(settings.hot_pixels, Path):
            raise UsageError(f"{job.source}: --hot-pixels {settings.hot_pixels}: only for models for camera RAW")
        elif kind == DNG:
            reason = f"{model} needs a developed photo" if isinstance(source, RawFile) else f"{job.source} is not RAW"
            if isinstance(source, RawFile) and isinstance(settings.noise, float) and settings.model == AUTO:
                reason = "--noise is a single number: write --noise SHOT,READ or leave it out, or"
                raise UnwritableFile(job.target, f"a DNG needs the sensor's noise, but {reason} choose .tif or .png")
            raise UnwritableFile(job.target, f"a DNG is made from camera RAW, but {reason}: choose .tif or .png")
        if isinstance(source, RawFile):
            if settings.model == AUTO and isinstance(settings.noise, float):
                notes += (DEVELOPED_FIRST,)
            notes += _notes_without_effect(settings, kind, is_raw=True)
            with image.encoder_errors(job.target, kind):
                image.check_library(kind)
            if kind != DNG or settings.linear:
                source.check_develops()
        yield Task(source, job.target, model, is_for_raw, kind, hot_pixels, notes)


def _prepared(photo: Photo, job: Job, kind: str, settings: Settings, is_shown: bool) -> Photo:
    """A photo in the colours that are asked for, refused if its target cannot hold it; arguments as of `checked`."""
    if settings.to_srgb:
        photo = replace(
            _converted(job, lambda: photo), others=tuple(partial(_converted, job, page) for page in photo.others)
        )
    if is_shown:
        shown = (f"shows page 1 of {len(photo.others) + 1}",) if photo.others else ()
        return replace(photo, others=(), notes=photo.notes + shown)
    if kind != DNG:
        image.check(job.target, photo, kind)
    notes = _notes_on_name(job.source, photo.kind, kind) + _notes_without_effect(settings, kind)
    return replace(photo, notes=photo.notes + notes)


def _notes_without_effect(settings: Settings, kind: str, is_raw: bool = False) -> tuple[str, ...]:
    """What the user should hear of options that change nothing about a result."""
    notes: tuple[str, ...] = ()
    if settings.quality is not None and not image.has_quality(kind):
        notes += (f"--quality has no effect on {kind.upper()}",)
    if settings.to_srgb and is_raw:
        notes += ("--to-srgb has no effect on camera RAW, which is developed in sRGB",)
    return notes


def _notes_on_name(source: Path, own: str, kind: str) -> tuple[str, ...]:
    """What the user should hear where the name of a photo, and not its content, says what is written."""
    named = image.kind_named(source)
    if named != kind or named == own or {named, own} <= NETPBM:
        return ()
    return (f"holds {own.upper()}, but its name ends in {source.suffix}: becomes {kind.upper()}",)


def _converted(job: Job, page: Callable[[], Photo]) -> Photo:
    photo = page()
    try:
        return image.to_srgb(photo)
    except ValueError as error:
        raise UnreadableFile(job.source, f"--to-srgb: {error}") from error


def _hot_pixels_of(raw: RawFile, settings: Settings) -> "tuple[HotPixels, tuple[str, ...]]":
    """Which photosites of a file to replace, and what the user should hear about the list of them."""
    if not isinstance(settings.hot_pixels, Path):
        return settings.hot_pixels, ()
    if raw.obstacle is not None:
        raise UnreadableFile(raw.name, f"--hot-pixels {settings.hot_pixels}: {raw.obstacle}: choose auto or off")
    return stuck_in(settings.hot_pixels, raw.mosaic.light.shape, settings.max_pixels)


def facts_before(job: Job, task: Task, settings: Settings) -> dict[str, Any]:
    """What the record says that is known before a photo is denoised."""
    H, W = task.source.shape
    try:
        bytes_read = None if str(job.source) == image.STDIN else job.source.stat().st_size
    except OSError:  # it was read, and has gone since
        bytes_read = None
    return {
        "width": W,
        "height": H,
        "megapixels": round(H * W / 1e6, 6),
        "encoding": task.source.metadata.encoding if isinstance(task.source, Photo) else None,
        "pages": 1 + len(task.source.others) if isinstance(task.source, Photo) else 1,
        "strength": settings.strength,
        **asdict(settings.strength_for_photos),
        "bytes_read": bytes_read,
    }
