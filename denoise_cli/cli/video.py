"""`denoise video`: remove noise from clips."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import (
    NAME_OR_FILE,
    Device,
    DryRun,
    Json,
    Overwrite,
    Precision,
    Quiet,
    Report,
    Strength,
    Tile,
    check_frames,
    read_noise,
    read_number,
    read_precision,
    read_sigma,
    read_tile,
)
from denoise_cli.errors import UsageError

if TYPE_CHECKING:
    from denoise_cli.inference.denoiser import Denoiser
    from denoise_cli.pipeline.clip import Result, Settings
    from denoise_cli.pipeline.report import Report as ReportPage
    from denoise_cli.pipeline.sequence import Plan

SHORTEST_DURATION = 1e-6  # seconds
LONGEST_DURATION = 1e7  # seconds
HIGHEST_RATE = 1000  # frames per second
NTSC_ROUNDING = Fraction(6, 1000)  # by which 23.98 and 29.97 differ from what they stand for

Input = Annotated[
    Path,
    typer.Argument(
        metavar="CLIP",
        help="Clip in any format that FFmpeg reads; - for YUV4MPEG2, NUT or Matroska from standard input; or a "
        "sequence of numbered pictures, as a pattern (frames/%04d.png) or a folder.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help=(
            "Target: a .mp4, .mov, .mkv, .webm or .m4v file; an animation (.gif, .png, .apng, .webp or .avif); "
            "- for standard output; or, for a sequence, a pattern (out/%04d.png) or a folder."
        ),
        show_default="NAME-denoised.EXT beside the clip; FOLDER-denoised beside a sequence's folder",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT",
        help="Format of standard output: y4m (YUV4MPEG2), nut or mkv.",
        show_default="nut or mkv if that comes from standard input, otherwise y4m",
    ),
]
Frames = Annotated[
    int,
    typer.Option(metavar="N", help="Number of frames used to denoise each frame, itself included: odd, from 1 to 9."),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help=f"Model: {NAME_OR_FILE}.",
        show_default="mallenet-vr; with --noise LEVEL mallenet-v; with --frames 1 those for photos",
    ),
]
Noise = Annotated[
    str,
    typer.Option(
        metavar="SIGMA",
        help="Noise in the clip: auto, or its standard deviation on a scale of 0 to 255.",
    ),
]
Codec = Annotated[
    str | None,
    typer.Option(
        metavar="CODEC",
        help="Codec: h264, hevc, av1, vp9, prores, ffv1, or the name of an FFmpeg encoder.",
        show_default="the clip's",
    ),
]
Crf = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        help="Constant quality; lower values mean better quality and larger files.",
        show_default="visually lossless",
    ),
]
Preset = Annotated[
    str | None, typer.Option(metavar="PRESET", help="Encoder preset, such as slow.", show_default="the encoder's")
]
PixFmt = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT", help="Pixel format, as FFmpeg names it, such as yuv420p10le.", show_default="the clip's"
    ),
]
Start = Annotated[str, typer.Option(metavar="SECONDS", help="Seconds to skip at the beginning.")]
Duration = Annotated[str, typer.Option(metavar="SECONDS", help="Seconds to denoise, or all.")]
Deinterlace = Annotated[bool, typer.Option("--deinterlace", help="Deinterlace the clip first.")]
DropData = Annotated[
    bool,
    typer.Option("--drop-data", help="Leave out data, subtitles, covers and attachments that the target cannot hold."),
]
Fps = Annotated[
    str | None,
    typer.Option(
        metavar="RATE",
        help="Frames per second of a clip that is made from a sequence, such as 24 or 24000/1001.",
        show_default="25",
    ),
]
AllowPlaylists = Annotated[
    bool,
    typer.Option("--allow-playlists", help="Open local files that a playlist or another clip names; never a network."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")]
Compare = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Second clip to write, with the original on the left and the result on the right.",
    ),
]
GrainTable = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Film grain table to write, with which an AV1 encoder gives back grain like what was removed.",
    ),
]


def video(
    source: Input,
    output: Output = None,
    format: Format = None,  # noqa: A002 - the option's name
    frames: Frames = 5,
    model: Model = None,
    noise: Noise = "auto",
    strength: Strength = 1.0,
    codec: Codec = None,
    crf: Crf = None,
    preset: Preset = None,
    pix_fmt: PixFmt = None,
    start: Start = "0",
    duration: Duration = "all",
    fps: Fps = None,
    deinterlace: Deinterlace = False,
    drop_data: DropData = False,
    allow_playlists: AllowPlaylists = False,
    resume: Resume = False,
    compare: Compare = None,
    grain_table: GrainTable = None,
    report: Report = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    tile: Tile = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Denoise a clip.

    Everything else about it stays as it is: timing, sound, subtitles, colours and metadata.
    """
    tile_side, precision_name = read_tile(tile), read_precision(precision)

    from denoise_cli.inference.denoiser import load_denoiser
    from denoise_cli.io.encode import STDOUT
    from denoise_cli.io.numbered import is_sequence
    from denoise_cli.io.pipes import PIPE
    from denoise_cli.pipeline import clip, sequence
    from denoise_cli.pipeline.model_choice import check_takes_noise, model_for_clip

    check_frames(frames)
    if is_sequence(source) and not sequence.becomes_clip(output):
        for_clips: dict[str, object] = {
            "--format": format,
            "--codec": codec,
            "--crf": crf,
            "--preset": preset,
            "--pix-fmt": pix_fmt,
            "--start": start != "0" or None,
            "--duration": duration != "all" or None,
            "--fps": fps,
            "--deinterlace": deinterlace or None,
            "--drop-data": drop_data or None,
            "--allow-playlists": allow_playlists or None,
            "--compare": compare,
            "--grain-table": grain_table,
            "--report": report,
        }
        _refuse_given(for_clips)
        load = cache(lambda name: load_denoiser(name, device, precision_name, tile_side))
        _denoise_sequence(
            sequence.plan(source, output),
            load,
            frames,
            model,
            noise,
            strength,
            resume,
            dry_run,
            overwrite,
            quiet,
            as_json,
        )
        return
    if fps is not None and not is_sequence(source):
        raise UsageError(f"--fps {fps}: only for numbered pictures: a clip keeps its own times: leave it out")
    sigma = read_sigma(noise)
    name = model_for_clip(frames, model, sigma)
    check_takes_noise(name, sigma, noise)
    target = output or clip.target_beside(source, allow_playlists)
    if as_json and target == STDOUT:
        raise UsageError("--json and -o - both write to standard output: choose one")
    if format is not None:
        _check_format(format, target)
    if resume:
        clip.check_resumable(source, target)
    clip.check(source, target, overwrite)
    page = (
        nullcontext()
        if report is None
        else _page(report, source, target, (compare, grain_table), dry_run, overwrite, quiet)
    )
    clip.check_others(source, target, compare, grain_table, overwrite)
    begin = read_number(start, "--start", 0, LONGEST_DURATION, auto=False)
    seconds = _read_duration(duration)
    settings = clip.Settings(
        name,
        frames,
        sigma,
        strength,
        codec,
        crf,
        preset,
        pix_fmt,
        begin,
        seconds,
        deinterlace,
        drop_data,
        format,
        allow_playlists,
        None if fps is None else _read_rate(fps),
    )
    if dry_run and source == PIPE:
        console.output(f"{source} -> {target}: {name}; how it is encoded depends on frames, and none are read now")
        return
    if dry_run:
        encoding, notes = clip.preview(source, target, settings, overwrite, compare, grain_table)
        if as_json:
            record = {
                "source": str(source),
                "target": str(target),
                "model": name,
                "codec": encoding.encoder,
                "pixel_format": encoding.pixel_format,
                "notes": notes,
                "dry_run": True,
            }
            console.output(json.dumps(record))
            return
        encoded = f"{source} -> {target}: {name}, {encoding.name} in {encoding.pixel_format}"
        console.output("; ".join([encoded, *notes]))
        return
    denoise = load_denoiser(name, device, precision_name, tile_side)
    with page as shown:
        result = _denoise_clip(source, target, denoise, settings, overwrite, resume, compare, grain_table, quiet)
        if shown is not None:
            shown.add_clip(result, settings)
    if as_json:
        console.output(json.dumps(dataclasses.asdict(result)))
    if not result.complete:
        raise typer.Exit(1)


def _page(
    path: str,
    source: Path,
    target: Path,
    others: Iterable[Path | None],
    dry_run: bool,
    overwrite: bool,
    quiet: bool,
) -> "ReportPage":
    """The page of the run."""
    from denoise_cli.io.encode import STDOUT
    from denoise_cli.io.page import Page, page_path
    from denoise_cli.io.pipes import PIPE
    from denoise_cli.pipeline.report import Report

    if dry_run or source == PIPE or target == STDOUT:
        raise UsageError("--report: reads the clip and its result again: name files, and leave out --dry-run")
    files = [source, target, *filter(None, others)]
    page = Page(page_path(path, "--report"), "Denoised: 1 clip", overwrite, embeds=False, others=files)
    return Report(page, (lambda _: None) if quiet else console.status)


def _denoise_sequence(
    planned: "Plan",
    load: "Callable[[str], Denoiser]",
    frames: int,
    model: str | None,
    noise: str,
    strength: float,
    resume: bool,
    dry_run: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Denoise a sequence of numbered pictures and report on it."""
    from denoise_cli.models import registry
    from denoise_cli.pipeline import sequence
    from denoise_cli.pipeline.model_choice import AUTO, check_takes_noise, model_for_clip

    level = read_noise(noise) if planned.is_raw else read_sigma(noise)
    name = model or AUTO if planned.is_raw else model_for_clip(frames, model, level)
    if name != AUTO:
        check_takes_noise(name, level, noise)
    settings = sequence.Settings(name, frames, level, strength)
    if dry_run:
        first = sequence.preview(planned, registry.check_weights, settings, overwrite)
        if as_json:
            record = dataclasses.asdict(first) | {"source": str(planned.source), "target": str(planned.target)}
            console.output(json.dumps(record))
            return
        count = f"{len(planned.jobs)} frames"
        console.output("; ".join([f"{planned.source} -> {planned.target}: {first.model}, {count}", *first.notes]))
        return
    began = time.monotonic()
    shown_notes: list[str] = []
    with console.progress_bar(1, quiet) as bar:
        bar.start(planned.source.name)

        def show_progress(done: int, fraction: float) -> None:
            bar.describe(f"{planned.source.name}: {done} frames, {time.monotonic() - began:.0f} s")
            bar.set_fraction(fraction)

        def show_note(text: str) -> None:
            shown_notes.append(text)
            if not quiet:
                console.status(f"{planned.source}: {text}")

        try:
            result = sequence.run(
                planned,
                load,
                settings,
                overwrite=overwrite,
                resume=resume,
                progress=show_progress,
                notice=show_note,
                failed=console.error,
            )
        except KeyboardInterrupt:
            if not quiet and sequence.is_resumable(planned):
                console.status(f"{planned.source}: interrupted: continue with --resume")
            raise
    if not quiet:
        console.status(_summary(result, shown_notes))
    if as_json:
        console.output(json.dumps(dataclasses.asdict(result)))
    if not result.complete:
        raise typer.Exit(1)


def _refuse_given(for_clips: dict[str, object]) -> None:
    """Refuse options that have been given, by their values, where a sequence stays one."""
    for option, value in for_clips.items():
        if value is not None:
            raise UsageError(f"{option}: only for clips: leave it out, or name one as the output, such as clip.mp4")


def _check_format(text: str, target: Path) -> None:
    from denoise_cli.io.encode import STDOUT, STREAMS

    if target != STDOUT:
        raise UsageError(f"--format {text}: only for standard output: leave it out, or write -o -")
    if text not in STREAMS:
        raise UsageError(f"--format {text}: choose one of {', '.join(STREAMS)}")


def _read_rate(text: str) -> Fraction:
    """Parse frames per second; the usual decimals stand for the rates of NTSC: 23.976 for 24000/1001."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= HIGHEST_RATE:
        raise UsageError(f"--fps {text}: expected a rate above 0, at most {HIGHEST_RATE}, such as 24000/1001")
    ntsc = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    return ntsc if rate.denominator > 1 and abs(rate - ntsc) < NTSC_ROUNDING else rate.limit_denominator(1001)


def _read_duration(text: str) -> float:
    if text == "all":
        return math.inf
    return read_number(text, "--duration", SHORTEST_DURATION, LONGEST_DURATION, auto=False)


def _denoise_clip(
    source: Path,
    target: Path,
    denoise: "Denoiser",
    settings: "Settings",
    overwrite: bool,
    resume: bool,
    compare: Path | None,
    grain_table: Path | None,
    quiet: bool,
) -> "Result":
    """Denoise the clip and report on it while and after that is done."""
    from denoise_cli.pipeline import clip

    began = time.monotonic()
    resumed_at: int | None = None  # frames that an earlier run had finished
    shown_notes: list[str] = []

    with console.progress_bar(1, quiet) as bar:
        bar.start(source.name)

        def show_progress(done: int, fraction: float) -> None:
            nonlocal resumed_at
            if resumed_at is None:
                resumed_at = done - 1
            rate = (done - resumed_at) / (time.monotonic() - began)
            bar.describe(f"{source.name}: {done} frames, {rate:.2f} frames/s")
            bar.set_fraction(fraction)

        def show_note(text: str) -> None:
            shown_notes.append(text)
            if not quiet:
                console.status(f"{source}: {text}")

        try:
            result = clip.run(
                source,
                target,
                denoise,
                settings,
                overwrite=overwrite,
                resume=resume,
                compare=compare,
                grain_table=grain_table,
                progress=show_progress,
                notice=show_note,
            )
        except KeyboardInterrupt:
            if not quiet and clip.is_resumable(target):
                console.status(f"{source}: interrupted: continue with --resume")
            raise
    if not quiet:
        console.status(_summary(result, shown_notes))
    return result


def _summary(result: "Result", shown_notes: list[str]) -> str:
    noise = "" if result.sigma is None else f", noise {result.sigma:.1f}"
    speed = f"{result.made / max(result.seconds, 1e-9):.2f} frames/s"
    notes = "".join(f"; {note}" for note in result.notes if note not in shown_notes)
    return f"{result.source} -> {result.target}: {result.model}{noise}, {result.frames} frames, {speed}{notes}"
