"""What a run over a clip may write: which names, and where."""

from collections.abc import Iterable
from pathlib import Path

from denoise_cli.errors import UnwritableFile, UsageError
from denoise_cli.files import check_replaced_in_place, check_target
from denoise_cli.io.animation import ANIMATIONS
from denoise_cli.io.encode import CONTAINERS, DEFAULT_CONTAINER, STDOUT
from denoise_cli.io.missing import check_exists
from denoise_cli.io.numbered import frames_advice, is_pattern, is_sequence
from denoise_cli.io.pipes import EXPECTED, PIPE, is_terminal
from denoise_cli.io.segments import segments_folder
from denoise_cli.io.tracks import container_for
from denoise_cli.io.video import Reader

EXTENSIONS = (*CONTAINERS, *ANIMATIONS)
INSTEAD = {".jxl": ".png"}  # for animations that are only read: the format that keeps all of them


def extension_for(source: Path, allow_playlists: bool = False) -> str:
    """The extension of a result that the user does not name: the clip's, or that of a container for all its tracks.

    Raises:
        UnreadableFile: the clip is missing, not a video, or damaged.
    """
    extension = INSTEAD.get(source.suffix.lower(), source.suffix)
    if extension.lower() in EXTENSIONS:
        return extension
    with Reader(source, allow_playlists) as clip:
        return container_for(clip, DEFAULT_CONTAINER)


def becomes_pictures(source: Path, target: Path) -> bool:
    """Whether a clip is to become numbered pictures: the target is a pattern, and no name of a clip."""
    return is_pattern(target) and target.suffix.lower() not in CONTAINERS and not is_sequence(source)


def check_name(target: Path) -> None:
    """Refuse the name of a target whose container is not one that is written here.

    Raises:
        UsageError: it is not.
    """
    if target.suffix.lower() not in EXTENSIONS:
        raise UsageError(f"{target}: expected a name that ends in {', '.join(EXTENSIONS)}")


def check_source(source: Path) -> None:
    """Refuse to wait for a clip from a terminal, and one that is not there.

    Raises:
        UsageError: standard input is a terminal.
        UnreadableFile: there is no such file.
    """
    if source != PIPE and not is_sequence(source):  # files of a sequence are looked for by their numbers
        check_exists(source, frames_advice(source))
    if source == PIPE and is_terminal():
        raise UsageError(f"-: is a terminal: {EXPECTED}")


def check(source: Path, target: Path, overwrite: bool, backup: Path | None = None, makes_folder: bool = False) -> None:
    """Refuse a target that cannot be written, before any work is done.

    Args:
        source: the clip.
        target: the result.
        overwrite: whether an existing file is replaced.
        backup: the clip's second name, if the result takes its place.
        makes_folder: whether a missing folder will be made.

    Raises:
        UsageError: its container is not one that is written here, or the source is a terminal.
        UnreadableFile: there is no such source.
        UnwritableFile: it is the source itself or a folder, its folder is missing or refuses new files, or it exists
            and `overwrite` is false.
    """
    check_source(source)
    if target == STDOUT:
        return
    if not target.is_dir():
        check_name(target)
    if backup is not None:
        check_replaced_in_place(target, backup)
    else:
        check_target(target, overwrite, () if source == PIPE else [source], makes_folder)


def check_others(source: Path, target: Path, compare: Path | None, grain_table: Path | None, overwrite: bool) -> None:
    """Refuse a comparison or a film grain table that cannot be written, before any work is done.

    Raises:
        UsageError: the comparison is to be in no container for clips, or several results in one file.
        UnwritableFile: as for `check`.
    """
    if compare is not None:
        check(source, compare, overwrite)
        if compare.suffix.lower() in ANIMATIONS:
            raise UsageError(f"--compare {compare}: expected a name that ends in {', '.join(CONTAINERS)}")
        if compare in (STDOUT, target):
            raise UsageError(f"--compare {compare}: name a file other than the output")
    if grain_table is not None:
        if grain_table == STDOUT or grain_table in (target, compare):
            raise UsageError(f"--grain-table {grain_table}: name a file other than the other outputs")
        check_target(grain_table, overwrite, () if source == PIPE else [source])


def check_resumable(source: Path, target: Path) -> None:
    """Refuse to continue a run of which nothing can be kept.

    Raises:
        UsageError: the clip comes from standard input or from numbered pictures, or its result goes to standard output.
    """
    if source == PIPE:
        raise UsageError("--resume: a clip from standard input cannot be read again: leave out --resume")
    if is_sequence(source):
        raise UsageError("--resume: a clip of numbered pictures is made in one go: leave out --resume")
    if target == STDOUT:
        raise UsageError("--resume: nothing is kept of what goes to standard output: name an output file")


def refuse_finished(target: Path, files: Iterable[Path]) -> None:
    """Refuse to continue a run that has left nothing unfinished, but results.

    Args:
        target: what the user calls them.
        files: where they would be.

    Raises:
        UnwritableFile: one of them is there.
    """
    if any(file.is_file() for file in files):
        raise UnwritableFile(
            target, "already exists, and there is no interrupted run to continue: use --overwrite to replace it"
        )


def check_all(
    source: Path,
    target: Path,
    overwrite: bool,
    resume: bool = False,
    compare: Path | None = None,
    grain_table: Path | None = None,
    backup: Path | None = None,
    makes_folder: bool = False,
) -> None:
    """Refuse what `run` cannot write or continue: see the other functions here."""
    if resume:
        check_resumable(source, target)
        if not (overwrite or backup or segments_folder(target).is_dir()):
            refuse_finished(target, [target])
    check(source, target, overwrite, backup, makes_folder)
    check_others(source, target, compare, grain_table, overwrite)
