"""Jobs: which photo becomes which file."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from denoise_cli.errors import UnwritableFile, UsageError
from denoise_cli.files import check_target
from denoise_cli.io import image, raw_formats

STDIO = Path(image.STDIN)
DNG = "dng"
FALLBACK_FORMAT = "png"  # holds whatever a format that is only read can bring


@dataclass(frozen=True)
class Job:
    """One photo to denoise.

    Attributes:
        source, target: files, or "-" for standard input and output.
        kind: the format to write; None for the photo's own.
        makes_folder: whether the target's folder is made if it is missing.
        rival: another photo that would become the same file; neither is then denoised.
    """

    source: Path
    target: Path
    kind: str | None
    makes_folder: bool = False
    rival: Path | None = None


def plan(
    inputs: Sequence[str],
    output: str | None,
    recursive: bool = False,
    kind: str | None = None,
    notice: Callable[[str], None] | None = None,
) -> list[Job]:
    """Decide which file becomes which; a photo that is named twice is denoised once.

    If several photos would become the same file, those whose extension is not the file's keep theirs in the name as
    well: `a.dng` becomes `a.dng.jpg` beside the `a.jpg` that `a.jpg` becomes. Photos that this does not set apart, such
    as those of one name in two folders, are marked as rivals.

    Args:
        inputs: files, folders, or "-" for standard input.
        output: a file, a folder (an existing one, or a name that ends in a slash), or "-" for standard output; None to
            write each result beside its input.
        recursive: take folders with everything below them, and build the same tree under the output.
        kind: the format of the results, if the output's name does not say it. For DNGs, photos in folders that are not
            camera RAW by their names are left out.
        notice: called with what the user should hear.

    Raises:
        UsageError: several photos for one file, a name whose format is not written here or is not `kind`, or a folder
            without photos.
    """
    sources = [pair for name in inputs for pair in _sources(Path(name), recursive, kind, notice)]
    if output is None:
        return _apart(_beside(source, kind) for source, _ in sources)
    if output.endswith(("/", os.sep)) or Path(output).is_dir():
        return _apart(_into(Path(output), source, below, kind) for source, below in sources)
    if len(sources) != 1:
        raise UsageError(f"{output}: {len(sources)} photos cannot become one file: give a folder, ending in /")
    target = Path(output)
    return [Job(sources[0][0], target, kind if target == STDIO else _kind_of(target, kind))]


def check(job: Job, overwrite: bool) -> None:
    """Refuse a job that cannot succeed, before any work is done for it.

    Raises:
        UnwritableFile: the target is the input itself, exists, or is no place for a file, or another photo would
            become it.
    """
    if job.rival is not None:
        raise UnwritableFile(
            job.source, f"would become {job.target}, and so would {job.rival}: write them into different folders"
        )
    if job.target != STDIO:
        source = None if job.source == STDIO else job.source
        check_target(job.target, overwrite, source, creates_folder=job.makes_folder)


def _kind_of(target: Path, asked: str | None) -> str:
    """The format to write into a file; the name may be any that does not stand for another format."""
    if asked is None:
        return image.kind_for(target)
    known = image.FORMATS[asked].extensions
    if image.is_photo(target) and target.suffix.lower() not in known:
        raise UsageError(f"{target}: contradicts --format {asked}: name a {known[0]} file, or leave out --format")
    return asked


def _sources(
    path: Path, recursive: bool, kind: str | None, notice: Callable[[str], None] | None
) -> list[tuple[Path, Path]]:
    """Each photo of an input, and its path below the folder that was named."""
    if path == STDIO or not path.is_dir():
        return [(path, Path(path.name))]
    inside = sorted(file for file in (path.rglob("*") if recursive else path.iterdir()) if image.is_photo(file))
    photos = [file for file in inside if file.is_file()]
    wanted = [file for file in photos if kind != DNG or file.suffix.lower() in raw_formats.EXTENSIONS]
    if not wanted:
        found = "camera RAW, which a DNG is made from" if kind == DNG else "photos"
        raise UsageError(f"{path}: holds no {found}" + ("" if recursive else ": add --recursive to search subfolders"))
    if notice is not None and (others := len(photos) - len(wanted)):
        count = "1 photo" if others == 1 else f"{others} photos"
        notice(f"{path}: left out {count}: a DNG is made only from camera RAW")
    return [(file, file.relative_to(path)) for file in wanted]


def _beside(source: Path, kind: str | None) -> Job:
    if source == STDIO:
        raise UsageError("a photo from standard input needs a target: add -o FILE, or -o - for standard output")
    chosen = kind or _own_kind(source)
    return Job(source, source.with_name(f"{source.stem}-denoised{_suffix(source, chosen)}"), chosen)


def _into(folder: Path, source: Path, below: Path, kind: str | None) -> Job:
    if source == STDIO:
        raise UsageError(f"{folder}: a photo from standard input has no name: give a file as the output")
    chosen = kind or _own_kind(source)
    return Job(source, folder / below.with_suffix(_suffix(source, chosen)), chosen, makes_folder=True)


def _own_kind(source: Path) -> str:
    """The photo's own format if it is written here; camera RAW becomes a picture."""
    named = image.kind_named(source)
    return FALLBACK_FORMAT if named in (None, DNG) else named


def _suffix(source: Path, kind: str) -> str:
    """The source's own extension, if it is one of the format's."""
    known = image.FORMATS[kind].extensions
    return source.suffix if source.suffix.lower() in known else known[0]


def _apart(jobs: Iterable[Job]) -> list[Job]:
    """Jobs with a target of their own each, or with a rival."""
    once = list({job.source: job for job in jobs}.values())
    claims = Counter(job.target for job in once)
    apart = [job if claims[job.target] == 1 or _keeps_extension(job) else _with_whole_name(job) for job in once]
    claimants = defaultdict(list)
    for job in apart:
        claimants[job.target].append(job.source)
    return [
        replace(job, rival=next((other for other in claimants[job.target] if other != job.source), None))
        for job in apart
    ]


def _keeps_extension(job: Job) -> bool:
    return job.source.suffix.lower() == job.target.suffix.lower()


def _with_whole_name(job: Job) -> Job:
    """The job with the photo's extension in its target's name, which begins with the rest of the photo's name."""
    return replace(job, target=job.target.with_name(job.source.name + job.target.name[len(job.source.stem) :]))
