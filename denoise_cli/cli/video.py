"""`denoise video`: remove noise from clips."""

import dataclasses
import json
import math
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import (
    NAME_OR_FILE,
    Backup,
    Device,
    DryRun,
    InPlace,
    Json,
    Name,
    Overwrite,
    Precision,
    Quiet,
    Recursive,
    ShardOption,
    SkipDone,
    Strength,
    Tile,
    Touch,
    check_frames,
    plan_jobs,
    read_number,
    read_precision,
    read_sigma,
    read_tile,
)
from denoise_cli.errors import UsageError

if TYPE_CHECKING:
    from denoise_cli.inference.denoiser import Denoiser
    from denoise_cli.pipeline.clip import Result
    from denoise_cli.pipeline.jobs import Job

SHORTEST_DURATION = 1e-6  # seconds
LONGEST_DURATION = 1e7  # seconds

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="CLIP",
        help="Clips in any format that FFmpeg reads, folders of clips, or - for YUV4MPEG2 or NUT from standard input.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help=(
            "Target: a .mp4, .mov, .mkv, .webm or .m4v file; an animation (.gif, .png, .apng, .webp or .avif); "
            "a folder (an existing one, or a name that ends in /); or - for standard output."
        ),
        show_default="NAME-denoised.EXT beside the clip",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT",
        help="Format of standard output: y4m (YUV4MPEG2), nut or mkv.",
        show_default="nut if it comes from standard input, otherwise y4m",
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
        show_default="mallenet-v; mallenet-s with --frames 1",
    ),
]
Noise = Annotated[
    str,
    typer.Option(
        metavar="SIGMA",
        help="Noise in the clip: auto (estimated for each scene), or its standard deviation on a scale of 0 to 255.",
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
    inputs: Inputs,
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
    deinterlace: Deinterlace = False,
    drop_data: DropData = False,
    allow_playlists: AllowPlaylists = False,
    recursive: Recursive = False,
    name: Name = None,
    in_place: InPlace = False,
    backup: Backup = ".orig",
    touch: Touch = False,
    shard: ShardOption = None,
    resume: Resume = False,
    compare: Compare = None,
    grain_table: GrainTable = None,
    skip_done: SkipDone = False,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    tile: Tile = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Denoise clips.

    Everything else about a clip stays as it is: timing, sound, subtitles, colours and metadata.
    """
    sigma, tile_side, precision_name = read_sigma(noise), read_tile(tile), read_precision(precision)

    from denoise_cli.inference.denoiser import load_denoiser
    from denoise_cli.pipeline import clips, jobs
    from denoise_cli.pipeline.clip import Settings
    from denoise_cli.pipeline.model_choice import check_takes_noise, model_for_clip
    from denoise_cli.pipeline.outcome import Summary

    check_frames(frames)
    chosen = model_for_clip(frames, model)
    check_takes_noise(chosen, sigma, noise)
    _check_stream(output, format, as_json)
    planned = plan_jobs(
        clips.media(allow_playlists),
        inputs,
        output,
        recursive,
        None,
        None if quiet else console.status,
        name,
        chosen,
        backup if in_place else None,
        shard,
        skip_done,
    )
    is_single = jobs.is_single(inputs)
    _check_side_files(is_single, skip_done, compare, grain_table)
    begin = read_number(start, "--start", 0, LONGEST_DURATION, auto=False)
    settings = Settings(
        chosen,
        frames,
        sigma,
        strength,
        codec,
        crf,
        preset,
        pix_fmt,
        begin,
        _read_duration(duration),
        deinterlace,
        drop_data,
        format,
        allow_playlists,
    )
    handling = clips.Handling(overwrite, resume, skip_done, touch, compare, grain_table)

    @cache
    def load() -> "Denoiser":
        return load_denoiser(chosen, device, precision_name, tile_side)

    summary, shown = Summary(dry_run), list[str]()
    with console.progress_bar(len(planned), quiet) as bar:

        def attempt(job: "Job") -> "Result":
            if dry_run:
                return clips.preview(job, settings, handling)
            shown.clear()
            view = _View(job, bar, quiet, shown)
            try:
                return clips.run(job, load, settings, handling, view.show_progress, view.show_note)
            except KeyboardInterrupt:
                view.interrupted()
                raise

        for result in map(attempt, planned) if is_single else clips.all_results(planned, attempt, settings):
            summary.add(result, result.complete)
            _report(result, shown, bar, quiet, as_json, is_single)
    if not is_single:
        console.sum_up(summary, quiet, as_json)
    if summary.failures or summary.incomplete:
        raise typer.Exit(1)


def _check_stream(output: str | None, form: str | None, as_json: bool) -> None:
    from denoise_cli.io.encode import STREAMS

    if as_json and output == "-":
        raise UsageError("--json and -o - both write to standard output: choose one")
    if form is not None and output != "-":
        raise UsageError(f"--format {form}: only for standard output: leave it out, or write -o -")
    if form is not None and form not in STREAMS:
        raise UsageError(f"--format {form}: choose one of {', '.join(STREAMS)}")


def _check_side_files(is_single: bool, skip_done: bool, compare: Path | None, grain_table: Path | None) -> None:
    for option, path in (("--compare", compare), ("--grain-table", grain_table)):
        if path is not None and not is_single:
            raise UsageError(f"{option} {path}: is written for a single clip: name one file")
        if path is not None and skip_done:
            raise UsageError(f"{option} {path}: is not written of a clip that is skipped: leave out --skip-done")


def _read_duration(text: str) -> float:
    if text == "all":
        return math.inf
    return read_number(text, "--duration", SHORTEST_DURATION, LONGEST_DURATION, auto=False)


class _View:
    """What the user sees of a clip while it is denoised."""

    def __init__(self, job: "Job", bar: console.ProgressBar, quiet: bool, shown: list[str]) -> None:
        self._job, self._bar, self._quiet, self._shown = job, bar, quiet, shown
        self._began = time.monotonic()
        self._resumed_at: int | None = None  # frames that an earlier run had finished
        bar.start(job.source.name)

    def show_progress(self, done: int, fraction: float) -> None:
        if self._resumed_at is None:
            self._resumed_at = done - 1
        rate = (done - self._resumed_at) / (time.monotonic() - self._began)
        self._bar.describe(f"{self._job.source.name}: {done} frames, {rate:.2f} frames/s")
        self._bar.set_fraction(fraction)

    def show_note(self, text: str) -> None:
        self._shown.append(text)
        if not self._quiet:
            console.status(f"{self._job.source}: {text}")

    def interrupted(self) -> None:
        from denoise_cli.pipeline.clip import is_resumable

        if not self._quiet and is_resumable(self._job.target):
            console.status(f"{self._job.source}: interrupted: continue with --resume")


def _report(
    result: "Result", shown: list[str], bar: console.ProgressBar, quiet: bool, as_json: bool, is_single: bool
) -> None:
    """Report on a clip, of which some notes were shown; of several, those that are skipped are only counted."""
    if result.error is not None:
        console.error(result.error)
    elif result.dry_run and not as_json:  # then it is what was asked for
        console.output(_summary(result, shown))
    elif not (quiet or result.dry_run) and (is_single or result.notes or not result.skipped):
        console.status(_summary(result, shown))
    if as_json:
        console.output(json.dumps(dataclasses.asdict(result)))
    bar.finish()


def _summary(result: "Result", shown: list[str]) -> str:
    what = result.model
    if result.skipped:
        what = "skipped, since it is done"
    elif result.dry_run and result.codec:
        what += f", {result.codec} in {result.pixel_format}"
    elif result.made is not None:
        noise = "" if result.sigma is None else f", noise {result.sigma:.1f}"
        speed = f"{result.made / max(result.seconds or 0, 1e-9):.2f} frames/s"
        what += f"{noise}, {result.frames} frames, {speed}"
    notes = "".join(f"; {note}" for note in result.notes if note not in shown)
    return f"{result.source} -> {result.target}: {what}{notes}"
