"""Options shared by several commands, and the functions that parse their values.

Help texts follow one style: a noun phrase for an option that takes a value, an imperative for a flag, and a full stop.
docs/cli_options.py copies them into docs/cli.md.
"""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from denoise_cli.errors import UsageError
from denoise_cli.imaging.windows import MAX_FRAMES

if TYPE_CHECKING:
    from denoise_cli.imaging.noise import ShotRead
    from denoise_cli.inference.device import Precision as PrecisionName
    from denoise_cli.pipeline.jobs import Job, Media, Shard
    from denoise_cli.pipeline.report import Report as ReportPage

BACKUP = ".orig"
NAME_OR_FILE = "a name from `denoise models`, or a .safetensors file from `denoise train`"
SMALLEST_TILE = 256  # pixels
LARGEST_TILE = 65536  # pixels

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=f"Model: {NAME_OR_FILE}.")]
Strength = Annotated[
    float,
    typer.Option(
        metavar="FACTOR",
        min=0,
        max=1,
        help="How much of the noise to remove: 1 stands for all that is found, 0.5 for half of it, and 0 leaves the "
        "pixels unchanged.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        metavar="TEMPLATE",
        help="Name of each result, such as '{stem}-clean{ext}'. {stem} and {folder} are the input's name and folder, "
        "{ext} is the result's extension, {date} when the input was last modified, and {model} what --model says.",
        show_default="{stem}{ext} in a folder, {stem}-denoised{ext} beside the input",
    ),
]
InPlace = Annotated[
    bool, typer.Option("--in-place", help="Put results in the place of their inputs, which --backup keeps.")
]
Backup = Annotated[
    str | None,
    typer.Option(
        metavar="SUFFIX", help="What --in-place adds to the name of each input that it replaces.", show_default=".orig"
    ),
]
SkipDone = Annotated[
    bool,
    typer.Option(
        "--skip-done",
        help="Leave results alone that are there, whole, and made from these inputs with these settings; keep a record "
        "of each new one in .denoise/ beside it.",
    ),
]
Touch = Annotated[
    bool, typer.Option("--touch", help="Give results the present time, not that at which their inputs were modified.")
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Share of the files to denoise: the I-th, from 1, of N. Each file is in the same share on every machine.",
        show_default="all",
    ),
]
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Include subfolders, and recreate them in the output folder.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be written, then stop.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]


def _device_name(text: str) -> str:
    from denoise_cli.inference.device import check_device_name

    check_device_name(text)
    return text


Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="Device to compute on: auto, cpu, cuda or cuda:N. auto is a GPU if PyTorch finds one.",
        callback=_device_name,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="PRECISION",
        help="Arithmetic: auto, fp32, bf16 or fp16. auto is 16 bits if the device supports them natively.",
    ),
]
Tile = Annotated[
    str,
    typer.Option(
        metavar="PIXELS",
        help=f"Longest side of the tiles in which pictures are processed: auto, or at least {SMALLEST_TILE}. Smaller "
        "tiles need less memory.",
    ),
]
MaxPixels = Annotated[
    int, typer.Option(metavar="N", min=1, help="Largest photo to accept, in pixels; checked before decoding.")
]
Report = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Page to write, with everything before and after at 100 %, the noise, times and failures: a .html file, "
        "or a folder for it.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, one record per line.")]


def read_backup(in_place: bool, backup: str | None) -> str | None:
    """The suffix of inputs whose places results take; None if they do not.

    Raises:
        UsageError: it is given without `--in-place`.
    """
    if backup is not None and not in_place:
        raise UsageError(
            "--backup: is what --in-place adds to the names of its inputs: add --in-place, or leave it out"
        )
    return (backup or BACKUP) if in_place else None


def plan_jobs(
    media: "Media",
    inputs: list[str],
    output: str | None,
    recursive: bool,
    kind: str | None,
    notice: Callable[[str], None] | None,
    name: str | None,
    model: str | None,
    backup: str | None,
    shard: str | None,
    skip_done: bool,
) -> "list[Job]":
    """Decide which file becomes which, by the options that photos and clips share.

    Args:
        media: photos or clips.
        inputs: files, folders, or "-" for standard input.
        output: a file, a folder, or "-" for standard output; None for results beside their inputs.
        recursive: whether folders are taken with everything below them.
        kind: the format of the results, if it was given.
        notice: called with what the user should hear.
        name: the template, as it was given.
        model: for it; None if that is chosen for each file.
        backup: the suffix, if results take the places of their inputs.
        shard: as it was given.
        skip_done: whether results are to be known again.

    Raises:
        UsageError: the options contradict each other, or what `jobs.plan` refuses.
    """
    from denoise_cli.pipeline import jobs
    from denoise_cli.pipeline.names import Template

    if backup is not None:
        contradicting = [option for option, given in (("-o", output), ("--name", name)) if given is not None]
        if contradicting:
            raise UsageError(f"--in-place and {contradicting[0]} contradict each other: choose one")
        if not backup or "/" in backup or os.sep in backup or media.is_one(Path(f"a{backup}")):
            raise UsageError(f"--backup {backup}: expected an ending that makes another name, such as .orig")
    template = None if name is None else Template(name, model)
    share = None if shard is None else read_shard(shard)
    planned = jobs.plan(inputs, output, recursive, kind, notice, media=media, name=template, backup=backup, shard=share)
    if skip_done and any(jobs.STDIO in (job.source, job.target) for job in planned):
        raise UsageError("--skip-done: nothing is known of standard input and output later: leave it out")
    return planned


def weight_files(model: str) -> list[Path]:
    """The file of weights that an option names, if it is no model of the registry."""
    from denoise_cli.models.registry import is_weight_file

    return [Path(model)] if is_weight_file(model) else []


def open_report(
    path: str,
    planned: "Sequence[Job]",
    title: str,
    overwrite: bool,
    skip_done: bool,
    notice: Callable[[str], None],
    others: Iterable[Path] = (),
) -> "ReportPage":
    """The page of a run.

    Args:
        path: of the page, as it was given.
        planned: which file becomes which.
        title: the heading.
        overwrite: whether an existing page is replaced.
        skip_done: whether the page of an earlier run is, so that the same command line can be repeated.
        notice: called with what the user should hear.
        others: files besides those of the jobs that the page must leave alone.

    Raises:
        UsageError: the path stands for no page.
        UnwritableFile: the page would replace something.
    """
    from denoise_cli.io.page import Page, page_path
    from denoise_cli.pipeline.jobs import STDIO
    from denoise_cli.pipeline.report import Report as ReportPage

    target = page_path(path, "--report")
    files = [file for job in planned for file in (job.source, job.target, job.backup) if file not in (None, STDIO)]
    return ReportPage(Page(target, title, overwrite, embeds=False, others=[*files, *others], renews=skip_done), notice)


def read_shard(text: str) -> "Shard":
    """Parse a share of the files: "2/5" is the second of five.

    Raises:
        UsageError: not two whole numbers, the first from 1 to the second.
    """
    from denoise_cli.pipeline.jobs import Shard

    index, _, count = text.partition("/")
    if not (index.isascii() and index.isdecimal() and count.isascii() and count.isdecimal()):
        raise UsageError(f"--shard {text}: expected I/N, such as 2/5")
    if not 1 <= int(index) <= int(count):
        raise UsageError(f"--shard {text}: expected a first number from 1 to the second")
    return Shard(int(index), int(count))


def read_sigma(text: str, notice: Callable[[str], None] | None = None) -> float | None:
    """Parse a noise level: "25", on the scale of 0 to 255, becomes 25 / 255; "auto" becomes None.

    Args:
        text: as it was given.
        notice: called with what the user should hear of a level that is hardly meant on that scale.

    Raises:
        UsageError: neither "auto" nor a number from 0 to 255.
    """
    if text == "auto":
        return None
    sigma = read_number(text, "--noise", 0, 255)
    if 0 < sigma < 1 and notice is not None:
        notice(
            f"--noise {text}: is taken on a scale of 0 to 255; if a scale of 0 to 1 is meant, write {255 * sigma:.4g}"
        )
    return sigma / 255


def read_noise(text: str, notice: Callable[[str], None] | None = None) -> "float | ShotRead | None":
    """Parse a noise level as `read_sigma` does, or a sensor's noise as `read_shot_read` does.

    Raises:
        UsageError: none of these.
    """
    if "," in text:
        return read_shot_read(text, "--noise")
    try:
        return read_sigma(text, notice)
    except UsageError as error:
        raise UsageError(f"{error}, or SHOT,READ, such as 0.003,0.002") from error


def read_shot_read(text: str, option: str) -> "ShotRead":
    """Parse a sensor's noise from "SHOT,READ", in linear light in which white is 1.

    Raises:
        UsageError: not two numbers from 0 to 1.
    """
    from denoise_cli.imaging.noise import ShotRead

    try:
        shot, read = map(float, text.split(","))
    except ValueError:
        shot = read = math.nan
    if not (0 <= shot <= 1 and 0 <= read <= 1):
        raise UsageError(f"{option} {text}: expected SHOT,READ, two numbers from 0 to 1, such as 0.003,0.002")
    return ShotRead(shot, read)


def read_number(text: str, option: str, least: float, most: float, auto: bool = True) -> float:
    """Parse a number from `least` to `most`; `auto` says whether the option also takes "auto".

    Raises:
        UsageError: not such a number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        expected = "auto or a number" if auto else "a number"
        raise UsageError(f"{option} {text}: expected {expected} from {least:g} to {most:g}")
    return value


def check_frames(frames: int) -> None:
    """Refuse a number of frames that have no middle one, or are too many.

    Raises:
        UsageError: not an odd number within the limits.
    """
    if frames not in range(1, MAX_FRAMES + 1, 2):
        raise UsageError(f"--frames {frames}: expected an odd number from 1 to {MAX_FRAMES}")


def read_tile(text: str) -> int | None:
    """Parse the longest side of a tile in pixels; "auto" becomes None.

    Raises:
        UsageError: neither "auto" nor a number within the limits.
    """
    if text == "auto":
        return None
    return int(read_number(text, "--tile", SMALLEST_TILE, LARGEST_TILE))


def read_precision(text: str) -> "PrecisionName":
    """Parse the name of a precision.

    Raises:
        UsageError: no such precision.
    """
    from denoise_cli.inference.device import Precision as PrecisionName

    for name in get_args(PrecisionName):
        if text == name:
            return name
    raise UsageError(f"--precision {text}: choose one of {', '.join(get_args(PrecisionName))}")
