"""Jobs: which photo becomes which file."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from denoise_cli.errors import DenoiseError, UnreadableFile, UnwritableFile, UsageError
from denoise_cli.files import check_target, irregular, is_same_file
from denoise_cli.io import image, raw_formats

STDIO = Path(image.STDIN)
DNG = "dng"
MARK = "-denoised"  # in the names of results that are written beside their photos
FALLBACK_FORMAT = "png"  # holds whatever a format that is only read can bring


@dataclass(frozen=True)
class Job:
    """One photo to denoise.

    Attributes:
        source, target: files, or "-" for standard input and output.
        kind: the format to write; None for the photo's own.
        makes_folder: whether the target's folder is made if it is missing.
        rival: another photo that would become the same file; neither is then denoised.
        obstacle: why nothing can come of this job, if that is known; the source may then be a folder.
    """

    source: Path
    target: Path
    kind: str | None
    makes_folder: bool = False
    rival: Path | None = None
    obstacle: DenoiseError | None = None


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
    into = None if output is None or not _is_folder(output) else Path(output)
    found = [_sources(Path(name), recursive, kind, into, notice) for name in inputs]
    closed = [closed for _, folders in found for closed in folders]
    sources = _wanted([pair for pairs, _ in found for pair in pairs], notice)
    if output is None:
        return closed + _apart(_beside(source, kind) for source, _ in sources)
    if into is not None:
        return closed + _apart(into_folder(into, source, below, kind) for source, below in sources)
    if len(sources) != 1:
        raise UsageError(f"{output}: {len(sources)} photos cannot become one file: give a folder, ending in /")
    target = Path(output)
    return [*closed, Job(sources[0][0], target, kind if target == STDIO else kind_of(target, kind))]


def check(job: Job, overwrite: bool) -> None:
    """Refuse a job that cannot succeed, before any work is done for it.

    Raises:
        UnreadableFile: the source is a folder that cannot be read.
        UnwritableFile: the target is an input, exists, or is no place for a file, or another photo would become it.
    """
    if job.obstacle is not None:
        raise job.obstacle
    if job.rival is not None:
        raise UnwritableFile(
            job.source, f"would become {job.target}, and so would {job.rival}: write them into different folders"
        )
    if job.target != STDIO:
        inputs = () if job.source == STDIO else (job.source,)
        check_target(job.target, overwrite, inputs, creates_folder=job.makes_folder)


def kind_of(target: Path, asked: str | None) -> str:
    """The format to write into a file; the name may be any that does not stand for another format.

    Raises:
        UsageError: the name stands for no format, or for another one than is asked for.
    """
    if asked is None:
        return image.kind_for(target)
    known = image.FORMATS[asked].extensions
    if image.is_photo(target) and target.suffix.lower() not in known:
        raise UsageError(f"{target}: contradicts --format {asked}: name a {known[0]} file, or leave out --format")
    return asked


def _is_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or os.path.isdir(output)  # noqa: PTH112 - `Path` raises where it may not look


def _sources(
    path: Path, recursive: bool, kind: str | None, into: Path | None, notice: Callable[[str], None] | None
) -> tuple[list[tuple[Path, Path]], list[Job]]:
    """Each photo of an input, with its path below the folder that was named; and folders that cannot be read."""
    if path == STDIO or not os.path.isdir(path):  # noqa: PTH112 - as above
        return [(path, Path(path.name))], []
    inside, closed = _files_in(path, recursive, into)
    photos = sorted(file for file in inside if image.is_photo(file) and irregular(file) in (None, "a symbolic link"))
    wanted = [file for file in photos if kind != DNG or file.suffix.lower() in raw_formats.EXTENSIONS]
    wanted, results = _without_results(wanted)
    if not (wanted or results or closed):
        found = "camera RAW, which a DNG is made from" if kind == DNG else "photos"
        raise UsageError(f"{path}: holds no {found}" + ("" if recursive else ": add --recursive to search subfolders"))
    if notice is not None and results:
        notice(f"{path}: left out {_count(len(results))}: results of others here: name them to denoise them again")
    if notice is not None and (others := len(photos) - len(wanted) - len(results)):
        notice(f"{path}: left out {_count(others)}: a DNG is made only from camera RAW")
    return [(file, file.relative_to(path)) for file in wanted], closed


def _files_in(folder: Path, recursive: bool, into: Path | None) -> tuple[list[Path], list[Job]]:
    """What is in a folder but not below the one for the results; and, as jobs that fail, folders that are not read."""
    files: list[Path] = []
    closed: list[Job] = []

    def refuse(error: OSError) -> None:
        name = Path(error.filename)
        closed.append(Job(name, name, None, obstacle=UnreadableFile(name, f"cannot read: {error.strerror}")))

    for name, below, names in os.walk(folder, onerror=refuse):
        files += (Path(name, file) for file in names)
        below[:] = [each for each in sorted(below) if recursive and not (into and is_same_file(Path(name, each), into))]
    return files, closed


def _without_results(photos: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Photos of folders, and those among them that are the results of others beside them, by their names."""
    known = {path.with_name(name) for path in photos for name in (path.name, path.stem)}

    def is_result(path: Path) -> bool:
        return path.stem.endswith(MARK) and path.with_name(path.stem.removesuffix(MARK)) in known

    return [path for path in photos if not is_result(path)], [path for path in photos if is_result(path)]


def _wanted(sources: Sequence[tuple[Path, Path]], notice: Callable[[str], None] | None) -> Sequence[tuple[Path, Path]]:
    """Sources without files that systems leave in folders, which `*` also names, unless there are no others."""
    wanted = [pair for pair in sources if not image.is_left_by_system(pair[0])]
    if not wanted:
        return sources
    if notice is not None:
        for path in (path for path, _ in sources if image.is_left_by_system(path)):
            notice(f"{path}: left out: a file that the system keeps beside photos")
    return wanted


def _count(photos: int) -> str:
    return "1 photo" if photos == 1 else f"{photos} photos"


def _beside(source: Path, kind: str | None) -> Job:
    if source == STDIO:
        raise UsageError("a photo from standard input needs a target: add -o FILE, or -o - for standard output")
    chosen = kind or _own_kind(source)
    return Job(source, source.with_name(f"{source.stem}{MARK}{_suffix(source, chosen)}"), chosen)


def into_folder(folder: Path, source: Path, below: Path, kind: str | None) -> Job:
    """A photo that becomes a file in a folder.

    Args:
        folder: of the results; made if it is missing.
        source: the photo.
        below: its path in the folder of results; the extension is that of the format.
        kind: the format to write; None for the photo's own.

    Raises:
        UsageError: the photo comes from standard input.
    """
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
    owners = {identity: job.source for job in apart if (identity := _identity(job.source)) is not None}
    return [
        replace(
            job,
            rival=next((other for other in claimants[job.target] if other != job.source), None),
            obstacle=_replaced_input(job, owners),
        )
        for job in apart
    ]


def _replaced_input(job: Job, owners: Mapping[tuple[int, int], Path]) -> UnwritableFile | None:
    """The error of a job whose result would take the place of another one's photo."""
    if (identity := _identity(job.target)) is None or (other := owners.get(identity)) in (None, job.source):
        return None
    return UnwritableFile(job.target, f"is the input {other}: choose another name or folder for the output")


def _identity(path: Path) -> tuple[int, int] | None:
    """What a file is on its disk, whatever its name; None if there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _keeps_extension(job: Job) -> bool:
    return job.source.suffix.lower() == job.target.suffix.lower()


def _with_whole_name(job: Job) -> Job:
    """The job with the photo's extension in its target's name, which begins with the rest of the photo's name."""
    return replace(job, target=job.target.with_name(job.source.name + job.target.name[len(job.source.stem) :]))
