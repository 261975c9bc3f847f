"""Many photos, one after another: which file becomes which, and what became of each."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from denoise_cli import __version__
from denoise_cli.denoiser import Denoiser, Progress
from denoise_cli.errors import DenoiseError, UnwritableFile, UsageError
from denoise_cli.imaging.noise import estimate_sigma
from denoise_cli.io import image
from denoise_cli.io.photo import Photo
from denoise_cli.zoo import DEFAULT_IMAGE_MODEL

Load = Callable[[str], Denoiser]

STDIO = Path(image.STDIN)
AUTO = "auto"
# What cameras write holds what cameras leave of the noise; what programs write may hold anything, most often less.
CAMERAS_KINDS = ("jpeg", "heif", "raw", "webp", "avif")
CAMERAS_MODEL, OTHERS_MODEL = "mallenet-r", DEFAULT_IMAGE_MODEL
NOTHING_KNOWN = "png"  # holds whatever a format that is only read can bring


@dataclass(frozen=True)
class Job:
    """One photo to denoise.

    Attributes:
        source, target: files, or "-".
        kind: the format to write; None for the one that the photo has.
        makes_folder: whether the target's folder is made where it is missing.
    """

    source: Path
    target: Path
    kind: str | None
    makes_folder: bool = False


@dataclass(frozen=True)
class Settings:
    """How to denoise, the same for every photo.

    Attributes:
        model: a name from the zoo, the path of a weight file, or "auto" to choose by the photo's format.
        sigma: noise level on [0, 1]; None to estimate it for each photo, or to leave that to the model.
        strength: scales the level; 0 leaves the pixels as they are.
        quality: 1 to 100, for lossy formats.
        overwrite: replace files that are there.
        max_pixels: refuse larger photos.
    """

    model: str
    sigma: float | None = None
    strength: float = 1.0
    quality: int = 95
    overwrite: bool = False
    max_pixels: int = image.MAX_PIXELS


@dataclass(frozen=True)
class Result:
    """What became of a job; `error` is None where all went well."""

    source: str
    target: str
    model: str
    error: str | None = None
    width: int | None = None
    height: int | None = None
    sigma: float | None = None
    estimated: bool | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()


def plan(inputs: Sequence[str], output: str | None, recursive: bool = False, kind: str | None = None) -> list[Job]:
    """Say which file becomes which.

    Args:
        inputs: files, folders, or "-" for standard input.
        output: a file, a folder (one that is there, or a name that ends in a slash), "-" for standard output; None to
            write each result beside its input.
        recursive: take folders with all that is below them, and build the same tree under the output.
        kind: the format of the results, where the output's name does not say it.

    Raises:
        UsageError: several photos for one file, two for the same one, a name whose format is not written here, or a
            folder without photos.
    """
    sources = [pair for name in inputs for pair in _sources(Path(name), recursive)]
    if output is None:
        return _refuse_collisions([_beside(source, kind) for source, _ in sources])
    if output.endswith(("/", os.sep)) or Path(output).is_dir():
        return _refuse_collisions([_into(Path(output), source, below, kind) for source, below in sources])
    if len(sources) != 1:
        raise UsageError(f"{output}: {len(sources)} photos cannot become one file: give a folder, ending in /")
    target = Path(output)
    return [Job(sources[0][0], target, kind if kind or target == STDIO else image.kind_for(target))]


def check(job: Job, overwrite: bool) -> None:
    """Refuse a job that could not end well, before any work is done for it.

    Raises:
        UnwritableFile: the target is the input itself, exists, or is no place for a file.
    """
    if job.target == STDIO:
        return
    if job.target.exists():
        if job.source != STDIO and job.source.exists() and job.target.samefile(job.source):
            raise UnwritableFile(job.target, "is the input itself: choose another name for the output")
        if job.target.is_dir():
            raise UnwritableFile(job.target, "is a folder: name a file, or end it in / to write into it")
        if not overwrite:
            raise UnwritableFile(job.target, "exists already: use --overwrite to replace it")


def models_of(settings: Settings) -> tuple[str, ...]:
    """The models that photos may need."""
    if settings.model != AUTO:
        return (settings.model,)
    return (CAMERAS_MODEL, OTHERS_MODEL) if settings.sigma is None else (OTHERS_MODEL,)


def _model_for(photo: Photo, settings: Settings) -> str:
    camera, *other = models_of(settings)
    return other[0] if other and photo.kind not in CAMERAS_KINDS else camera


def run(job: Job, load: Load, settings: Settings, progress: Progress | None = None) -> Result:
    """Read, denoise, write.

    Args:
        job: what.
        load: gives the denoiser of a model.
        settings: how.
        progress: called with the fraction done.

    Raises:
        DenoiseError: something that the user can act upon; nothing was written.
    """
    started = time.perf_counter()
    check(job, settings.overwrite)
    photo = image.read(job.source, settings.max_pixels)
    model = _model_for(photo, settings)
    clean, sigma = denoise_photo(photo, load(model), settings, progress)
    kind = job.kind or (photo.kind if photo.kind in image.WRITABLE else NOTHING_KNOWN)
    if job.makes_folder:
        _make_folder(job.target.parent)
    how = f"strength {settings.strength:g}" if sigma is None else f"sigma {sigma * settings.strength * 255:.1f}"
    software = f"denoise {__version__} ({Path(model).name}, {how})"
    image.write(job.target, clean, kind, software, settings.quality, settings.overwrite)
    return Result(
        source=str(job.source),
        target=str(job.target),
        model=model,
        width=photo.pixels.shape[1],
        height=photo.pixels.shape[0],
        sigma=None if sigma is None else round(sigma * 255, 3),
        estimated=None if sigma is None else settings.sigma is None,
        seconds=round(time.perf_counter() - started, 3),
        notes=photo.notes,
    )


def failed(job: Job, settings: Settings, error: DenoiseError) -> Result:
    """The record of a job that could not be done."""
    return Result(str(job.source), str(job.target), settings.model, error=str(error))


def denoise_photo(
    photo: Photo, denoise: Denoiser, settings: Settings, progress: Progress | None = None
) -> tuple[Photo, float | None]:
    """Denoise a photo's pixels; all else about it stays.

    Returns:
        The photo, and the noise level on [0, 1] that was given or found; None where the model sees it for itself.
    """
    pixels = photo.as_float()
    # Floating point knows no white: a network trained on [0, 1] is shown [0, 1], whatever the file's range.
    peak = max(float(pixels.max()), 1.0)
    if peak > 1:
        pixels = pixels / peak
    sigma = settings.sigma
    if sigma is None and not denoise.sees_noise:
        sigma = estimate_sigma(pixels)
    if settings.strength == 0:
        return photo, sigma
    clean = denoise(pixels, sigma, settings.strength, progress)
    if peak > 1:
        clean *= peak
    return photo.with_pixels(clean), sigma


def _sources(path: Path, recursive: bool) -> list[tuple[Path, Path]]:
    """Each photo of an input, and its place below a folder that was named."""
    if path == STDIO or not path.is_dir():
        return [(path, Path(path.name))]
    found = sorted(file for file in (path.rglob("*") if recursive else path.iterdir()) if image.is_photo(file))
    photos = [file for file in found if file.is_file()]
    if not photos:
        raise UsageError(f"{path}: holds no photos" + ("" if recursive else ": add --recursive to look deeper"))
    return [(file, file.relative_to(path)) for file in photos]


def _beside(source: Path, kind: str | None) -> Job:
    if source == STDIO:
        raise UsageError("a photo from standard input needs a target: add -o FILE, or -o - for standard output")
    chosen = kind or image.kind_named(source) or NOTHING_KNOWN
    return Job(source, source.with_name(f"{source.stem}-denoised{_suffix(source, chosen)}"), chosen)


def _into(folder: Path, source: Path, below: Path, kind: str | None) -> Job:
    if source == STDIO:
        raise UsageError(f"{folder}: a photo from standard input has no name: give a file as the output")
    chosen = kind or image.kind_named(source) or NOTHING_KNOWN
    return Job(source, folder / below.with_suffix(_suffix(source, chosen)), chosen, makes_folder=True)


def _suffix(source: Path, kind: str) -> str:
    """The source's own where it says the format already."""
    known = image.FORMATS[kind].extensions
    return source.suffix if source.suffix.lower() in known else known[0]


def _refuse_collisions(jobs: list[Job]) -> list[Job]:
    taken: dict[Path, Path] = {}
    for job in jobs:
        if job.target in taken:
            raise UsageError(f"{job.target}: both {taken[job.target]} and {job.source} would be written there")
        taken[job.target] = job.source
    return jobs


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableFile(folder, f"cannot make the folder: {error.strerror}") from error
