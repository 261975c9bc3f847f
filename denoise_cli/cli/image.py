"""`denoise image`: remove noise from photos and camera RAW files."""

import dataclasses
import json
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import (
    NAME_OR_FILE,
    Backup,
    Device,
    DryRun,
    InPlace,
    Json,
    MaxPixels,
    Name,
    Overwrite,
    Precision,
    Quiet,
    Recursive,
    Report,
    ShardOption,
    SkipDone,
    Strength,
    Tile,
    Touch,
    open_report,
    plan_jobs,
    read_backup,
    read_noise,
    read_precision,
    read_tile,
    weight_files,
)
from denoise_cli.errors import UsageError

if TYPE_CHECKING:
    from denoise_cli.pipeline.jobs import Job
    from denoise_cli.pipeline.outcome import Summary
    from denoise_cli.pipeline.photo import Result
    from denoise_cli.pipeline.report import Report as ReportPage
    from denoise_cli.pipeline.worker import Worker

MAX_WORKERS = 1024

Inputs = Annotated[
    list[str], typer.Argument(metavar="PHOTO", help="Photos, folders of photos, or - for standard input.")
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="Target: a file, a folder (an existing one, or a name that ends in /), or - for standard output.",
        show_default="NAME-denoised.EXT beside the input",
    ),
]
Model = Annotated[str, typer.Option(metavar="MODEL", help=f"Model: auto, {NAME_OR_FILE}.")]
Noise = Annotated[
    str,
    typer.Option(
        metavar="NOISE",
        help="Noise in the photo: auto; its standard deviation on a scale of 0 to 255, such as 25; or a sensor's "
        "SHOT,READ in linear light, such as 0.003,0.002.",
    ),
]
Luma = Annotated[
    float | None,
    typer.Option(
        metavar="FACTOR",
        min=0,
        max=1,
        help="How much of the noise in lightness to remove, if not as much as --strength says.",
    ),
]
Chroma = Annotated[
    float | None,
    typer.Option(
        metavar="FACTOR",
        min=0,
        max=1,
        help="How much of the noise in colour to remove, if not as much as --strength says.",
    ),
]
Detail = Annotated[
    float,
    typer.Option(
        metavar="FACTOR",
        min=0,
        max=1,
        help="How much of what is removed to return where it is fine: texture, and fine grain.",
    ),
]
Quality = Annotated[
    str,
    typer.Option(
        metavar="QUALITY",
        help="Quality of JPEG, WebP, AVIF, HEIF, JPEG XL and JPEG 2000: 1 to 100, where 100 makes WebP, JPEG XL and "
        "JPEG 2000 lossless; or keep: a JPEG that was a JPEG is compressed as before, lossless WebP and JPEG XL stay "
        "lossless, and all else has a quality of 95 (HEIF 75).",
    ),
]
Dither = Annotated[
    str,
    typer.Option(
        metavar="WHEN",
        help="Whether to dissolve the steps in smooth areas that were denoised, by noise below one step: auto, if an "
        "8-bit photo is written without loss; or off.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Output format, if the output's name does not imply it: jpeg, png, tiff, webp, avif, heif, jxl, jp2, "
        "ppm, pgm, pnm, pfm, hdr, exr, or, for camera RAW, dng; extensions such as jpg and tif work, too.",
        show_default="the input's; png for RAW and formats that are only read",
    ),
]
Linear = Annotated[
    bool, typer.Option("--linear", help="Write demosaiced, linear light to .dng files instead of a mosaic.")
]
Compression = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Compression of .dng files: jpeg (lossless, read by every raw converter), jxl (lossless JPEG XL, smaller, "
        "read by newer ones), or auto: jpeg, but lossy if the input is a lossy linear DNG.",
    ),
]
Tone = Annotated[
    str,
    typer.Option(
        metavar="TONE",
        help="Tone of pictures from camera RAW: flat, for sRGB's curve alone; or camera, to match the preview in the "
        "file.",
    ),
]
HotPixels = Annotated[
    str,
    typer.Option(
        metavar="WHICH",
        help="Stuck photosites of camera RAW to replace: auto, off, or a file with their positions: a dark frame, or "
        "a list of columns and rows.",
    ),
]
ToSrgb = Annotated[
    bool,
    typer.Option(
        "--to-srgb",
        help="Convert the colours of photos to sRGB, by their profiles: those of CMYK and Lab, too.",
    ),
]
Preview = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="PNG to write instead of the result: before and after at 100 %, where there is most noise and where there "
        "is most detail.",
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What runs the work: local, this machine; or ray, a Ray cluster, whose nodes see the files under the same "
        "paths.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Head of the Ray cluster to join, or auto for the one that this machine is a node of.",
        show_default="a cluster of this machine alone, which ends with the command",
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Refuse photos whose pixels are damaged, instead of denoising what the decoder makes of them."
    ),
]
Workers = Annotated[
    str,
    typer.Option(
        metavar="N",
        help="Processes that denoise photos at the same time, each with its own models, memory and share of the cores: "
        "a number; or auto: one for each core or GPU where there are photos and memory enough, else 1. On a Ray "
        "cluster, auto is one for each GPU, or for every two cores.",
    ),
]


def image(
    inputs: Inputs,
    output: Output = None,
    model: Model = "auto",
    noise: Noise = "auto",
    strength: Strength = 1.0,
    luma: Luma = None,
    chroma: Chroma = None,
    detail: Detail = 0.0,
    quality: Quality = "keep",
    dither: Dither = "auto",
    format: Format = None,  # noqa: A002 - the option's name
    linear: Linear = False,
    compression: Compression = "auto",
    tone: Tone = "flat",
    hot_pixels: HotPixels = "auto",
    to_srgb: ToSrgb = False,
    strict: Strict = False,
    recursive: Recursive = False,
    name: Name = None,
    in_place: InPlace = False,
    backup: Backup = None,
    touch: Touch = False,
    shard: ShardOption = None,
    engine: Engine = "local",
    address: Address = None,
    preview: Preview = None,
    skip_done: SkipDone = False,
    report: Report = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    device: Device = "auto",
    precision: Precision = "auto",
    tile: Tile = "auto",
    workers: Workers = "auto",
    max_pixels: MaxPixels = 200_000_000,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Denoise photos and camera RAW files.

    Everything else about a photo stays as it is: size, bit depth, transparency, metadata and colour profile.
    """
    level, tile_side = read_noise(noise, None if quiet else console.status), read_tile(tile)
    precision_name, asked_processes = read_precision(precision), _read_workers(workers)
    _check_stdout(output, as_json)

    from denoise_cli.io.dng_builder import COMPRESSION_CHOICES
    from denoise_cli.io.formats import TARGETS, target_called
    from denoise_cli.pipeline import jobs
    from denoise_cli.pipeline.model_choice import AUTO, check_takes_noise
    from denoise_cli.pipeline.outcome import Summary
    from denoise_cli.pipeline.task import TONES, Settings

    format = None if format is None else target_called(format)  # noqa: A001 - the option's name
    _check_choices(
        ("--format", format, TARGETS),
        ("--compression", compression, COMPRESSION_CHOICES),
        ("--dither", dither, ("auto", "off")),
        ("--tone", tone, TONES),
        ("--engine", engine, ("local", "ray")),
    )
    is_result = not dry_run and preview is None
    is_on_cluster = _is_ray(engine, address) and is_result
    if preview is None:
        planned = plan_jobs(
            jobs.PHOTOS,
            inputs,
            output,
            recursive,
            format,
            None if quiet else console.status,
            name,
            None if model == AUTO else model,
            read_backup(in_place, backup),
            shard,
            skip_done,
        )
    else:
        _check_preview(preview, inputs, output or name, format, dry_run or in_place or skip_done or shard is not None)
        planned = [jobs.Job(Path(inputs[0]), preview, "png")]
    stuck = _read_hot_pixels(hot_pixels)
    read_besides = [*weight_files(model), *([stuck] if isinstance(stuck, Path) else [])]
    planned = jobs.sparing(planned, read_besides)
    settings = Settings(
        model,
        level,
        strength,
        luma,
        chroma,
        detail,
        _read_quality(quality),
        dither == "auto",
        overwrite,
        max_pixels,
        linear,
        COMPRESSION_CHOICES[compression],
        TONES[tone],
        stuck,
        to_srgb,
        strict,
        skip_done,
        touch,
    )
    _check_dng_options({job.kind for job in planned}, linear, compression, tone)
    if model != AUTO:
        check_takes_noise(model, level, noise)

    from denoise_cli.inference.device import choose_device, choose_precision
    from denoise_cli.models import registry
    from denoise_cli.pipeline.worker import Loading, Worker

    if not is_on_cluster:
        choose_precision(choose_device(device), precision_name)
    worker, check_weights = Worker(Loading(device, precision_name, tile_side), settings), cache(registry.check_weights)
    processes = _count_processes(asked_processes, planned, device) if is_result and not is_on_cluster else 1

    if model != AUTO:
        (check_weights if dry_run or is_on_cluster or processes > 1 else worker.load)(model)
    page = _page(report, planned, read_besides, overwrite, skip_done, is_result, quiet)
    is_single, summary = jobs.is_single(inputs), Summary(dry_run, len(planned))
    with (
        console.summed_up_if_interrupted(summary, is_single, quiet, as_json),
        console.progress_bar(len(planned), quiet) as bar,
        page as shown,
    ):
        if is_on_cluster:
            running = _on_cluster(planned, worker, address, asked_processes, bar)
        elif processes > 1:
            running = _in_processes(planned, worker, processes, bar, quiet)
        else:
            running = _in_this_process(planned, worker, preview is not None, check_weights if dry_run else None, bar)
        with closing(running) as results:
            for job, result in zip(planned, results, strict=True):
                if shown is not None:
                    shown.add_photo(result, settings, job.backup)
                summary.add(result)
                _report(result, job.backup, quiet, as_json, is_single)
    _end(summary, is_single, quiet, as_json)


def _on_cluster(
    planned: "Sequence[Job]", worker: "Worker", address: str | None, processes: int | None, bar: console.ProgressBar
) -> "Generator[Result, None, None]":
    """What becomes of each photo on a Ray cluster."""
    from denoise_cli.pipeline import cluster

    for result in cluster.run_all(planned, worker.loading, worker.settings, _starter(bar), address, processes):
        yield result
        bar.finish()


def _in_processes(
    planned: "Sequence[Job]", worker: "Worker", processes: int, bar: console.ProgressBar, quiet: bool
) -> "Generator[Result, None, None]":
    """What becomes of each photo in several processes."""
    from denoise_cli.pipeline import pool

    notice = (lambda _: None) if quiet else console.status
    return pool.run_all(
        planned, worker.loading, worker.settings, processes, _starter(bar), lambda _: bar.finish(), notice
    )


def _in_this_process(
    planned: "Sequence[Job]",
    worker: "Worker",
    shows: bool,
    check: Callable[[str], object] | None,
    bar: console.ProgressBar,
) -> "Generator[Result, None, None]":
    """What becomes of each photo, one after another.

    Args:
        planned: which photo becomes which file.
        worker: what denoises them.
        shows: whether before and after are written instead.
        check: checks the weights of a model, if nothing is denoised.
        bar: shows how far they are.
    """
    from denoise_cli.pipeline import photo

    settings, begin = worker.settings, _starter(bar)
    results: Iterator[Result]
    if shows:
        begin(planned[0])
        results = iter([photo.show_before_after(planned[0], worker.load, settings, bar.set_fraction)])
    elif check is not None:
        results = photo.preview_all(planned, check, settings, begin)
    else:
        results = photo.run_all(planned, worker.load, settings, begin, bar.set_fraction)
    for result in results:
        yield result
        bar.finish()


def _starter(bar: console.ProgressBar) -> "Callable[[Job], None]":
    """Shows by a bar which photo is begun."""
    return lambda job: bar.start(job.source.name)


def _end(summary: "Summary", is_single: bool, quiet: bool, as_json: bool) -> None:
    """Sum up what became of several photos, and end with the code for failures if there were any."""
    if not is_single:
        console.sum_up(summary, quiet, as_json)
    if summary.failures:
        raise typer.Exit(1)


def _check_stdout(output: str | None, as_json: bool) -> None:
    """Refuse two kinds of output for one place."""
    if as_json and output == "-":
        raise UsageError("--json and -o - both write to standard output: choose one")


def _is_ray(engine: str, address: str | None) -> bool:
    """Whether a cluster is to do the work."""
    if engine == "local" and address is not None:
        raise UsageError("--address: is where a Ray cluster is joined: add --engine ray, or leave it out")
    return engine == "ray"


def _check_choices(*options: tuple[str, str | None, Collection[str]]) -> None:
    """Refuse an option whose text is none of its choices."""
    for option, text, choices in options:
        if text is not None and text not in choices:
            listed = f"one of {', '.join(choices)}" if len(choices) > 2 else " or ".join(choices)
            raise UsageError(f"{option} {text}: choose {listed}")


def _check_dng_options(kinds: set[str | None], linear: bool, compression: str, tone: str) -> None:
    """Refuse options that apply to none of the formats that are written."""
    only_for_dng = [name for name, given in (("--linear", linear), ("--compression", compression != "auto")) if given]
    if only_for_dng and kinds and "dng" not in kinds:
        raise UsageError(f"{only_for_dng[0]}: only for .dng files: name a .dng file as the output, or add --format dng")
    if tone == "camera" and kinds == {"dng"}:
        raise UsageError("--tone camera: a .dng file holds light without a tone: leave it out, or write a picture")


def _check_preview(preview: Path, inputs: list[str], output: str | None, form: str | None, others: bool) -> None:
    if len(inputs) != 1 or Path(inputs[0]).is_dir():
        raise UsageError("--preview: shows a single photo: name one file")
    if output is not None or form is not None or others:
        raise UsageError("--preview: no result is written: leave out --output, --format, --dry-run and the like")
    if preview.suffix.lower() != ".png":
        raise UsageError(f"--preview {preview}: expected a .png file")


def _page(
    path: str | None,
    planned: "Sequence[Job]",
    read_besides: Sequence[Path],
    overwrite: bool,
    skip_done: bool,
    is_result: bool,
    quiet: bool,
) -> "AbstractContextManager[ReportPage | None]":
    """The page of the run, if there is one."""
    if path is None:
        return nullcontext()
    if not is_result:
        raise UsageError("--report: shows results: leave out --dry-run and --preview")

    from denoise_cli.pipeline.jobs import PHOTOS

    title, notice = f"Denoised: {PHOTOS.count(len(planned))}", (lambda _: None) if quiet else console.status
    return open_report(path, planned, title, overwrite, skip_done, notice, read_besides)


def _read_workers(text: str) -> int | None:
    """Parse a number of processes; "auto" becomes None.

    Raises:
        UsageError: neither "auto" nor a number within the limits.
    """
    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_WORKERS):
        raise UsageError(f"--workers {text}: expected auto or a whole number from 1 to {MAX_WORKERS}")
    return int(text)


def _count_processes(asked: int | None, planned: "Sequence[Job]", device: str) -> int:
    """How many processes denoise the photos; 1 stands for this one."""
    from denoise_cli.pipeline.jobs import STDIO

    if any(STDIO in (job.source, job.target) for job in planned):
        if asked not in (None, 1):
            raise UsageError("--workers: standard input and output belong to a single process: leave it out")
        return 1
    if asked == 1 or len(planned) < 2:
        return 1

    from denoise_cli.pipeline import pool

    return min(asked or pool.count_workers(len(planned), device), len(planned))


def _read_quality(text: str) -> int | None:
    if text == "keep":
        return None
    if not (text.isdecimal() and 1 <= int(text) <= 100):
        raise UsageError(f"--quality {text}: expected keep or a whole number from 1 to 100")
    return int(text)


def _read_hot_pixels(text: str) -> "Literal['auto', 'off'] | Path":
    if text == "auto":
        return "auto"
    if text == "off":
        return "off"
    if not Path(text).is_file():
        raise UsageError(f"--hot-pixels {text}: expected auto, off or a file, and there is no such file")
    return Path(text)


def _report(result: "Result", backup: Path | None, quiet: bool, as_json: bool, is_single: bool) -> None:
    """Report on a photo; of several, those that are skipped are only counted in the end."""
    if result.error is not None:
        console.error(result.error)
    elif result.skipped and not (is_single or result.notes):
        pass
    elif result.dry_run and not as_json:  # then it is what was asked for
        console.output(_summary(result, backup))
    elif not quiet:
        console.status(_summary(result, backup))
    if as_json:
        console.output(json.dumps(dataclasses.asdict(result)))


def _summary(result: "Result", backup: Path | None) -> str:
    where = f"{result.source} -> {result.target}" if backup is None else f"{result.source} in place"
    notes = "".join(f"; {note}" for note in result.notes)
    if result.skipped:
        return f"{where}: skipped, since it is done{notes}"
    kept = "" if backup is None else f"; the original {'becomes' if result.dry_run else 'is now'} {backup}"
    what = result.model if result.dry_run else f"{result.model}, {result.noise_words}, {result.seconds:.1f} s"
    return f"{where}: {what}{kept}{notes}"
