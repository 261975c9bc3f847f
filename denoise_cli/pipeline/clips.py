"""Several clips, one after another: which are left alone, and a result for each whatever happens to it."""

import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from denoise_cli.errors import DenoiseError, UnreadableFile, UsageError
from denoise_cli.files import made_folder
from denoise_cli.inference.denoiser import Denoiser
from denoise_cli.io import numbered
from denoise_cli.io.decoding import one_line
from denoise_cli.io.formats import is_left_by_system, is_photo
from denoise_cli.io.pipes import EXPECTED, PIPE
from denoise_cli.io.segments import segments_folder
from denoise_cli.pipeline import clip, clip_pictures, clip_targets, jobs, records
from denoise_cli.pipeline.camera_photos import are_photos
from denoise_cli.pipeline.clip import Settings
from denoise_cli.pipeline.clip_result import Progress, Result
from denoise_cli.pipeline.jobs import MARK, Job, Media

# Of clips in folders; animations, which are pictures by their names, are named one by one.
# fmt: off
EXTENSIONS = {
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gxf", ".insv", ".m1v", ".m2t", ".m2ts",
    ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".nut",
    ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
}
# fmt: on


@dataclass(frozen=True)
class Handling:
    """What is done with the files of clips.

    Attributes:
        overwrite: whether existing results are replaced.
        resume: whether interrupted runs are continued.
        skip_done: whether results that are done are left alone, interrupted ones are continued, and a record of each
            new one is kept, see `pipeline.records`.
        touch: whether results get the time at which they are written, instead of their clip's.
        compare, grain_table: what else is written, for a single clip, see `clip.run`.
    """

    overwrite: bool = False
    resume: bool = False
    skip_done: bool = False
    touch: bool = False
    compare: Path | None = None
    grain_table: Path | None = None


def media(allow_playlists: bool = False) -> Media:
    """Clips, as jobs see them; `allow_playlists` says whether the files that they name may be opened."""
    return Media(
        "clip",
        _is_one,
        lambda source, _: (None, clip_targets.extension_for(source, allow_playlists)),
        _kind_of,
        "clips and no numbered pictures",
        _is_alone,
        _advice,
        EXPECTED,
    )


def is_sequence(path: Path) -> bool:
    """Whether a path stands for the frames of a clip: a pattern, or a folder with numbered pictures and no clips.

    A camera numbers its photos, too: a folder of these is no sequence, see `camera_photos`.
    """
    if path == PIPE or not numbered.is_sequence(path):
        return False
    return not path.is_dir() or (not _holds_clips(path) and _holds_frames(path))


def _holds_frames(folder: Path) -> bool:
    try:
        found = numbered.sequences_in(folder)
    except UsageError:  # more pictures than numbers
        return True
    except UnreadableFile:
        return False
    return not all(are_photos(files) for files in found.values())


def _advice(folder: Path) -> str | None:
    """What to do with a folder of photos, in which there are neither clips nor frames; None if there are no photos."""
    found = numbered.sequences_in(folder)
    if found:
        pattern = max(found, key=lambda pattern: len(found[pattern]))
        photos = (
            f"holds numbered photos of a camera, not frames of a clip: use  denoise image {shlex.quote(str(folder))}"
        )
        frames = f"if they are frames, as in a time-lapse, use  denoise video {shlex.quote(str(pattern))}"
        return f"{folder}: {photos}; {frames}"
    if any(is_photo(file) for file in folder.iterdir()):
        photos = f"for photos, use  denoise image {shlex.quote(str(folder))}"
        return f"{folder}: holds no clips, and no pictures whose names differ only in a number: {photos}"
    return None


def _is_alone(path: Path) -> bool:
    """Whether a path, among other inputs or below a folder, is a sequence, and not the results beside one."""
    beside = path.name.removesuffix(MARK)
    is_result = beside not in ("", path.name) and path.with_name(beside).is_dir()
    return not is_result and is_sequence(path)


def _is_one(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not is_left_by_system(path)


def _holds_clips(folder: Path) -> bool:
    try:
        return any(_is_one(file) for file in folder.iterdir())
    except OSError:
        return False


def _kind_of(target: Path, _: str | None) -> None:
    """The container goes by the name."""
    clip_targets.check_name(target)


def all_results(planned: Iterable[Job], attempt: Callable[[Job], Result], settings: Settings) -> Iterator[Result]:
    """The result of each job, in their order, also of those that failed: `attempt` is `run` or `preview`."""
    for job in planned:
        try:
            yield attempt(job)
        except Exception as error:  # noqa: BLE001 - whatever happens to one clip, the others are denoised
            yield _failed(job, settings, error)


def run(
    job: Job,
    load: Callable[[], Denoiser],
    settings: Settings,
    handling: Handling,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
) -> Result:
    """Denoise a clip, unless it is done.

    Args:
        job: the clip and its target.
        load: returns the denoiser, for clips or for photos.
        settings: how to denoise and encode.
        handling: what is done with the files.
        progress: called after each frame.
        notice: called with a line for everything that the result will lack.

    Raises:
        DenoiseError: something that the user can act upon, see `clip.run`.
    """
    if clip_targets.becomes_pictures(job.source, job.target):
        clip_pictures.check(job.source, job.target, handling.overwrite)
        return clip_pictures.run(
            job.source, job.target, load(), settings, overwrite=handling.overwrite, progress=progress, notice=notice
        )
    if (skipped := _skipped(job, settings, handling)) is not None:
        return skipped
    jobs.check_plan(job)
    clip_targets.check_all(
        job.source,
        job.target,
        handling.overwrite,
        handling.resume,
        handling.compare,
        handling.grain_table,
        job.backup,
        job.makes_folder,
    )
    denoise = load()
    made_from = None
    if handling.skip_done:
        with suppress(OSError):  # the reader says what is wrong with it
            made_from = records.Contents.of_file(job.source)

    def remember(path: Path, *, complete: bool, faults: list[str]) -> None:
        if made_from is not None:
            facts = {"complete": complete, "faults": faults}
            result, weights = records.Contents.of_file(path), records.weights_of(settings.model)
            depends_on = _dependences(settings)
            records.write(job.target, records.Record(made_from, result, settings.model, weights, depends_on, facts))

    with made_folder(job.target.parent) if job.makes_folder else nullcontext():
        return clip.run(
            job.source,
            job.target,
            denoise,
            settings,
            overwrite=handling.overwrite,
            resume=handling.resume or handling.skip_done,
            compare=handling.compare,
            grain_table=handling.grain_table,
            backup=job.backup,
            touch=handling.touch,
            inspect=remember,
            progress=progress,
            notice=notice,
        )


def what_is_kept(job: Job, handling: Handling) -> str:
    """What a run over a clip that was interrupted has left, and how to go on, in words."""
    if clip_targets.becomes_pictures(job.source, job.target):
        folder = job.target.parent
        return f"the pictures that are finished are kept in {folder}: begin again with --overwrite"
    if not clip.is_resumable(job.target):
        return "nothing is kept of it: begin again"
    way = "continue with the same command" if handling.skip_done else "continue this clip with --resume"
    return f"the parts that are finished are kept in {segments_folder(job.target)}: {way}"


def preview(job: Job, settings: Settings, handling: Handling) -> Result:
    """What `run` would do: nothing is denoised or written; arguments and errors are its own."""
    if clip_targets.becomes_pictures(job.source, job.target) and job.source != PIPE:
        return clip_pictures.preview(job.source, job.target, settings, handling.overwrite)
    if (skipped := _skipped(job, settings, handling)) is not None:
        return replace(skipped, dry_run=True)
    jobs.check_plan(job)
    plan = Result(str(job.source), str(job.target), settings.model, dry_run=True)
    if job.source == PIPE:
        clip_targets.check(job.source, job.target, handling.overwrite, makes_folder=job.makes_folder)
        clip_targets.check_others(job.source, job.target, handling.compare, handling.grain_table, handling.overwrite)
        return replace(plan, notes=("how it is encoded depends on frames, and none are read now",))
    encoding, notes = clip.preview(
        job.source,
        job.target,
        settings,
        handling.overwrite,
        handling.compare,
        handling.grain_table,
        job.backup,
        job.makes_folder,
    )
    return replace(plan, codec=encoding.name, pixel_format=encoding.pixel_format, notes=tuple(notes))


def _skipped(job: Job, settings: Settings, handling: Handling) -> Result | None:
    """The result of a clip that is done; None if it has to be done.

    Raises:
        UnwritableFile: there is a file with the target's name that is something else, and may not be replaced.
    """
    if not handling.skip_done or job.obstacle is not None or job.rival is not None:
        return None
    record = records.find(job.target, job.source if job.backup is None else None, _dependences(settings))
    if record is not None:
        complete, faults = bool(record.facts.get("complete", True)), tuple(record.facts.get("faults", ()))
        source, target = str(job.source), str(job.target)
        return Result(source, target, record.model, notes=faults, complete=complete, skipped=True)
    if job.backup is None and not handling.overwrite:
        records.check_free(job.target, job.source)
    return None


def _failed(job: Job, settings: Settings, error: Exception) -> Result:
    """The result of a clip that failed."""
    words = str(error)
    if not isinstance(error, DenoiseError):
        what = error.strerror if isinstance(error, OSError) and error.strerror else None
        unforeseen = f"failed in a way that is not foreseen ({type(error).__name__}: {one_line(error)})"
        words = f"{job.source}: {what or unforeseen}"
    return Result(str(job.source), str(job.target), settings.model, error=words)


def _dependences(settings: Settings) -> dict[str, Any]:
    """What a result depends on besides its clip."""
    others = asdict(settings)
    for name in ("model", "stream", "allow_playlists"):
        del others[name]
    return records.settings_of(settings.model, others)
