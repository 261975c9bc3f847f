"""Jobs: which photo or clip becomes which file. A job is plain data, so that any process can do it."""

import hashlib
import os
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from denoise_cli.errors import DenoiseError, UnwritableFile, UsageError
from denoise_cli.files import check_is_no_input, check_replaced_in_place, check_target, irregular, is_same_file
from denoise_cli.io import image, raw_formats
from denoise_cli.io.missing import check_exists
from denoise_cli.io.page import is_pictures_folder
from denoise_cli.pipeline.names import Template
from denoise_cli.pipeline.outcome import counted
from denoise_cli.temporary_files import PARTS, PLAN, PREFIX

STDIO = Path(image.STDIN)
DNG = "dng"
MARK = "-denoised"  # in the names of results that are written beside their sources
BESIDE, INTO = Template(f"{{stem}}{MARK}{{ext}}"), Template("{stem}{ext}")
FALLBACK_FORMAT = "png"  # holds whatever a format that is only read can bring


@dataclass(frozen=True)
class Job:
    """One photo or clip to denoise.

    Attributes:
        source, target: files, or "-" for standard input and output.
        kind: the format to write; None for the source's own, or that of the target's name.
        makes_folder: whether the target's folder is made if it is missing.
        rival: another source that would become the same file; neither is then denoised.
        obstacle: the line that says why nothing can come of this job, if that is known; the source may then be a
            folder.
        backup: the second name that the source gets before the result takes its first; None if it stays where it is.
        below: the source's path below the folder that was named.
    """

    source: Path
    target: Path
    kind: str | None
    makes_folder: bool = False
    rival: Path | None = None
    obstacle: str | None = None
    backup: Path | None = None
    below: Path = Path()


@dataclass(frozen=True)
class Media:
    """What jobs are about.

    Attributes:
        noun: for one of them.
        is_one: whether a file in a folder is one, by its name.
        form: the format and the extension of the result of a source, given the format that was asked for.
        kind_of: the format of a target, given the format that was asked for. Raises `UsageError` if the name does not
            stand for it.
        sought: what a folder is searched for, as it reads after "no".
        is_alone: whether an input, or a folder below one, is a sequence of numbered pictures, which is denoised as a
            whole, and only by itself.
        advice: the line for a folder in which there are none, if it is not the usual one.
        piped: what standard input takes, if not all that files do.
    """

    noun: str
    is_one: Callable[[Path], bool]
    form: Callable[[Path, str | None], tuple[str | None, str]]
    kind_of: Callable[[Path, str | None], str | None]
    sought: str
    is_alone: Callable[[Path], bool] = lambda _: False
    advice: Callable[[Path], str | None] = lambda _: None
    piped: str = ""

    def count(self, number: int) -> str:
        """How many there are, in words."""
        return counted(number, self.noun)


@dataclass(frozen=True)
class Shard:
    """A share of the files, the same on every machine: number `index`, from 1, of `count`."""

    index: int
    count: int

    def has(self, below: Path) -> bool:
        """Whether a file belongs to it, by its path below the folder that was named."""
        digest = hashlib.sha256(os.fsencode(below.as_posix())).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1


def _photo_form(source: Path, asked: str | None) -> tuple[str, str]:
    """The format that is asked for, or the photo's own if it is written here; camera RAW becomes a picture.

    The name says which is its own, or the content where the name says nothing.
    """
    if asked is None and not image.names_a_format(source) and (own := image.kind_in(source)):
        return own, source.suffix
    named = image.kind_named(source)
    kind = asked or (FALLBACK_FORMAT if named in (None, DNG) else named)
    known = image.FORMATS[kind].extensions
    return kind, source.suffix if source.suffix.lower() in known else known[0]


def kind_of(target: Path, asked: str | None) -> str:
    """The format of a photo to write into a file; the name may be any that does not stand for another format.

    Raises:
        UsageError: the name stands for no format, or for another one than is asked for.
    """
    if asked is None:
        return image.kind_for(target)
    known = image.FORMATS[asked].extensions
    if image.is_photo(target) and target.suffix.lower() not in known:
        raise UsageError(f"{target}: contradicts --format {asked}: name a {known[0]} file, or leave out --format")
    return asked


PHOTOS = Media("photo", image.is_photo, _photo_form, kind_of, "photos")


def plan(
    inputs: Sequence[str],
    output: str | None,
    recursive: bool = False,
    kind: str | None = None,
    notice: Callable[[str], None] | None = None,
    *,
    media: Media = PHOTOS,
    name: Template | None = None,
    backup: str | None = None,
    shard: Shard | None = None,
) -> list[Job]:
    """Decide which file becomes which; a file that is named twice is denoised once.

    If several files would become the same, those whose extension is not the result's keep theirs in the name as well:
    `a.dng` becomes `a.dng.jpg` beside the `a.jpg` that `a.jpg` becomes. Files that this does not set apart, such as
    those of one name in two folders, are marked as rivals.

    Args:
        inputs: files, folders, or "-" for standard input.
        output: a file, a folder (an existing one, or a name that ends in a slash), or "-" for standard output; None to
            write each result beside its input.
        recursive: take folders with everything below them, and build the same tree under the output.
        kind: the format of the results, if the output's name does not say it. For DNGs, photos in folders that are not
            camera RAW by their names are left out.
        notice: called with what the user should hear.
        media: whether they are photos or clips.
        name: of the results, if not that of the input, with "-denoised" beside it.
        backup: what is added to the names of the inputs, whose places the results take; None if they do not.
        shard: which of the jobs are wanted; None for all.

    Raises:
        UsageError: several files for one, a name whose format is not written here or is not `kind`, or a folder with
            nothing to denoise.
    """
    into = None if output is None or not _is_folder(output) else Path(output)
    found = [_sources(Path(each), recursive, kind, into, notice, media, name) for each in inputs]
    closed = [closed for _, folders in found for closed in folders]
    sources = _wanted([pair for pairs, _ in found for pair in pairs], notice, media)
    if backup is not None:
        jobs = _apart(_in_place(*pair, kind, backup, media) for pair in sources)
    elif output is None or into is not None:
        jobs = _apart(_named(*pair, kind, into, name, media) for pair in sources)
    elif name is not None:
        raise UsageError(f"{output}: --name is for results in a folder, or beside their {media.noun}s: leave it out")
    elif len(sources) != 1:
        raise UsageError(f"{output}: {media.count(len(sources))} cannot become one file: {_as_folder(output)}")
    else:
        target, (source, below) = Path(output), sources[0]
        try:
            written = kind if target == STDIO else media.kind_of(target, kind)
        except UsageError as error:
            raise (error if target.suffix else UsageError(f"{error}; {_as_folder(output)}")) from None
        jobs = [Job(source, target, written, below=below)]
    return [job for job in closed + jobs if shard is None or shard.has(job.below)]


def sparing(planned: Iterable[Job], files: Sequence[Path]) -> list[Job]:
    """The jobs; those fail whose target is a file that is read besides their sources, such as weights.

    Args:
        planned: the jobs.
        files: what is read for all of them.
    """
    return [replace(job, obstacle=job.obstacle or _spoils(job.target, files)) for job in planned]


def _spoils(target: Path, files: Sequence[Path]) -> str | None:
    try:
        check_is_no_input(target, files)
    except UnwritableFile as error:
        return str(error)
    return None


def check(job: Job, overwrite: bool) -> None:
    """Refuse a job that cannot succeed, before any work is done for it.

    Raises:
        DenoiseError: the job's obstacle.
        UnreadableFile: the source does not exist.
        UnwritableFile: the target is an input, exists, or is no place for a file, or another source would become it.
    """
    check_plan(job)
    if job.source != STDIO:
        check_exists(job.source)
    if job.backup is not None:
        check_replaced_in_place(job.target, job.backup)
    elif job.target != STDIO:
        inputs = () if job.source == STDIO else (job.source,)
        check_target(job.target, overwrite, inputs, creates_folder=job.makes_folder)


def check_plan(job: Job) -> None:
    """Refuse a job of which is known without a look at its files that it cannot succeed.

    Raises:
        DenoiseError: the job's obstacle.
        UnwritableFile: another source would become its target.
    """
    if job.obstacle is not None:
        raise DenoiseError(job.obstacle)
    if job.rival is not None:
        raise UnwritableFile(
            job.source,
            f"would become {job.target}, and so would {job.rival}: write them into different folders, or set them "
            "apart by --name",
        )


def is_single(inputs: Sequence[str]) -> bool:
    """Whether a command line names a single file, and no folder that might hold more."""
    return len(inputs) == 1 and not os.path.isdir(inputs[0])  # noqa: PTH112 - `Path` raises where it may not look


def into_folder(folder: Path, source: Path, kind: str | None) -> Job:
    """The job of a photo whose result goes into a folder, which is made if it is missing.

    Args:
        folder: of the results.
        source: the photo.
        kind: the format to write; None for the photo's own.

    Raises:
        UsageError: the photo comes from standard input.
    """
    return _named(source, Path(source.name), kind, folder, None, PHOTOS).job


def _is_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or os.path.isdir(output)  # noqa: PTH112 - as above


def _as_folder(output: str) -> str:
    folder = "FOLDER" if Path(output).suffix else output
    return f"for a folder, write -o {shlex.quote(folder)}/"


def _sources(
    path: Path,
    recursive: bool,
    kind: str | None,
    into: Path | None,
    notice: Callable[[str], None] | None,
    media: Media,
    name: Template | None,
) -> tuple[list[tuple[Path, Path]], list[Job]]:
    """Each source of an input, with its path below the folder that was named; and, as jobs that fail, what is none."""
    if path == STDIO or not os.path.isdir(path):  # noqa: PTH112 - as above
        return ([], [_alone(path, Path(path.name))]) if media.is_alone(path) else ([(path, Path(path.name))], [])
    inside, closed = _files_in(path, recursive, into, media, notice)
    ones = sorted(file for file in inside if media.is_one(file) and irregular(file) in (None, "a symbolic link"))
    wanted = [file for file in ones if kind != DNG or file.suffix.lower() in raw_formats.EXTENSIONS]
    wanted, results = _without_results(wanted, path, into, name)
    if not (wanted or results or closed):
        nouns = "camera RAW, which a DNG is made from" if kind == DNG else media.sought
        usual = f"{path}: holds no {nouns}" + ("" if recursive else ": add --recursive to search subfolders")
        raise UsageError(media.advice(path) or usual)
    if notice is not None and results:
        notice(f"{path}: left out {media.count(len(results))}: results of others here: name them to denoise them again")
    if notice is not None and (others := len(ones) - len(wanted) - len(results)):
        notice(f"{path}: left out {media.count(others)}: a DNG is made only from camera RAW")
    return [(file, file.relative_to(path)) for file in wanted], closed


def _alone(path: Path, below: Path) -> Job:
    why = f"{path}: a sequence of numbered pictures: denoise it on its own, with no other input and without --recursive"
    return Job(path, path, None, obstacle=why, below=below)


def _files_in(
    folder: Path, recursive: bool, into: Path | None, media: Media, notice: Callable[[str], None] | None
) -> tuple[list[Path], list[Job]]:
    """What is in a folder, without results and what the program keeps; and, as jobs that fail, folders not read."""
    files: list[Path] = []
    closed: list[Job] = []

    def refuse(error: OSError) -> None:
        name = Path(error.filename)
        why = f"{name}: cannot read: {error.strerror}"
        closed.append(Job(name, name, None, obstacle=why, below=name.relative_to(folder)))

    for name, below, names in os.walk(folder, onerror=refuse):
        files += (Path(name, file) for file in names)
        if media.is_alone(Path(name)):
            closed.append(_alone(Path(name), Path(name).relative_to(folder)))
        wanted = [each for each in sorted(below) if recursive and not (into and is_same_file(Path(name, each), into))]
        below[:] = [each for each in wanted if not _is_left_out(Path(name, each), notice)]
    return files, closed


def _is_left_out(folder: Path, notice: Callable[[str], None] | None) -> bool:
    """Whether the program has made a folder for itself."""
    if folder.name.startswith(PREFIX):
        return True
    what = None
    if is_pictures_folder(folder):
        what = "the pictures of a report"
    elif folder.name.endswith(PARTS) and (folder / PLAN).is_file():
        what = "the work of a run that was interrupted"
    if what and notice is not None:
        notice(f"{folder}: left out: {what}")
    return what is not None


def _without_results(
    files: Sequence[Path], folder: Path, into: Path | None, name: Template | None
) -> tuple[list[Path], list[Path]]:
    """Files of a folder, and those among them that are the results of others, by their names."""
    makers = defaultdict(set)
    for path in files:
        place = path.parent if into is None else into / path.relative_to(folder).parent
        for stem in (path.stem, path.name):
            makers[path.with_name(stem + MARK)].add(path)
            with suppress(OSError):  # of a file that has gone since, which has no date
                made = place / (name or BESIDE).fill(path, path.suffix, stem)
                makers[made.with_name(made.stem)].add(path)
    results = {path for path in files if makers[path.with_name(path.stem)] - {path}}
    return [path for path in files if path not in results], [path for path in files if path in results]


def _wanted(
    sources: Sequence[tuple[Path, Path]], notice: Callable[[str], None] | None, media: Media
) -> Sequence[tuple[Path, Path]]:
    """Sources without files that systems leave in folders, which `*` also names, unless there are no others."""
    wanted = [pair for pair in sources if not image.is_left_by_system(pair[0])]
    if not wanted:
        return sources
    if notice is not None:
        for path in (path for path, _ in sources if image.is_left_by_system(path)):
            notice(f"{path}: left out: a file that the system keeps beside {media.noun}s")
    return wanted


@dataclass(frozen=True)
class _Named:
    """A job, and what its target is called if another source would have that."""

    job: Job
    with_whole_name: Path


def _named(
    source: Path, below: Path, asked: str | None, into: Path | None, name: Template | None, media: Media
) -> _Named:
    """The job of a source whose result goes into a folder, or beside it."""
    if source == STDIO and into is not None:
        raise UsageError(f"{into}: a {media.noun} from standard input has no name: give a file as the output")
    if source == STDIO:
        needs = f"a {media.noun} from standard input needs a target"
        piped = f"; {media.piped}" if media.piped else ""
        raise UsageError(f"{needs}: add -o FILE, or -o - for standard output{piped}")
    place = source.parent if into is None else into / below.parent
    template = name or (BESIDE if into is None else INTO)
    try:
        kind, extension = media.form(source, asked) if "ext" in template.fields else (asked, source.suffix)
        target, other = (place / template.fill(source, extension, stem) for stem in (source.stem, source.name))
    except (DenoiseError, OSError) as error:
        why = str(error) if isinstance(error, DenoiseError) else f"{source}: cannot read: {error.strerror}"
        job = Job(source, source, asked, obstacle=why, below=below)
        return _Named(job, source)
    if not template.ends_in_extension:
        kind = media.kind_of(target, asked)
    makes_folder = into is not None or template.makes_folders
    return _Named(Job(source, target, kind, makes_folder, below=below), other)


def _in_place(source: Path, below: Path, asked: str | None, backup: str, media: Media) -> _Named:
    """The job of a source whose place the result takes."""
    if source == STDIO:
        raise UsageError(f"--in-place: a {media.noun} from standard input has no place: name a file")
    kind, why = None, None
    try:
        kind = media.kind_of(source, asked)
    except UsageError as error:
        why = str(error)
        with suppress(DenoiseError):  # what is wrong with it is said when it is read
            form = media.form(source, asked)
            kind, why = (form[0], None) if form[1] == source.suffix else (None, why)
    job = Job(source, source, kind, obstacle=why, backup=source.with_name(source.name + backup), below=below)
    return _Named(job, source)


def _apart(named: Iterable[_Named]) -> list[Job]:
    """Jobs with a target of their own each, or with a rival."""
    once = list({each.job.source: each for each in named}.values())
    claims = Counter(each.job.target for each in once)
    jobs = [
        each.job
        if claims[each.job.target] == 1 or _keeps_extension(each.job)
        else replace(each.job, target=each.with_whole_name)
        for each in once
    ]
    claimants = defaultdict(list)
    for job in jobs:
        claimants[job.target].append(job.source)
    owners = {identity: job.source for job in jobs if (identity := _identity(job.source)) is not None}
    return [
        replace(
            job,
            rival=next((other for other in claimants[job.target] if other != job.source), None),
            obstacle=job.obstacle or _replaced_input(job, owners),
        )
        for job in jobs
    ]


def _replaced_input(job: Job, owners: Mapping[tuple[int, int], Path]) -> str | None:
    """Why a job is not done whose result would take the place of another one's source."""
    if (identity := _identity(job.target)) is None or (other := owners.get(identity)) in (None, job.source):
        return None
    return f"{job.target}: is the input {other}: choose another name or folder for the output"


def _identity(path: Path) -> tuple[int, int] | None:
    """What a file is on its disk, whatever its name; None if there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _keeps_extension(job: Job) -> bool:
    return job.source.suffix.lower() == job.target.suffix.lower()
