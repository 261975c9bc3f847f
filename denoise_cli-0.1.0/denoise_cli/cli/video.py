"""`denoise video`: remove noise from clips."""

import dataclasses
import json
import math
import time
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
    Strength,
    Tile,
    check_frames,
    read_number,
    read_precision,
    read_sigma,
    read_tile,
)
from denoise_cli.errors import UsageError

if TYPE_CHECKING:
    from denoise_cli.inference.denoiser import Denoiser
    from denoise_cli.pipeline.clip import Result, Settings

SHORTEST_DURATION = 1e-6  # seconds
LONGEST_DURATION = 1e7  # seconds

Input = Annotated[
    Path,
    typer.Argument(
        metavar="CLIP", help="Clip in any format that FFmpeg reads, or - for YUV4MPEG2 or NUT from standard input."
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
            "or - for standard output."
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
    deinterlace: Deinterlace = False,
    drop_data: DropData = False,
    allow_playlists: AllowPlaylists = False,
    resume: Resume = False,
    compare: Compare = None,
    grain_table: GrainTable = None,
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
    sigma, tile_side, precision_name = read_sigma(noise), read_tile(tile), read_precision(precision)

    from denoise_cli.inference.denoiser import load_denoiser
    from denoise_cli.io.encode import STDOUT, STREAMS
    from denoise_cli.io.pipes import PIPE
    from denoise_cli.pipeline import clip
    from denoise_cli.pipeline.model_choice import check_takes_noise, model_for_clip

    check_frames(frames)
    name = model_for_clip(frames, model)
    check_takes_noise(name, sigma, noise)
    target = output or clip.target_beside(source, allow_playlists)
    if as_json and target == STDOUT:
        raise UsageError("--json and -o - both write to standard output: choose one")
    if format is not None and target != STDOUT:
        raise UsageError(f"--format {format}: only for standard output: leave it out, or write -o -")
    if format is not None and format not in STREAMS:
        raise UsageError(f"--format {format}: choose one of {', '.join(STREAMS)}")
    if resume:
        clip.check_resumable(source, target)
    clip.check(source, target, overwrite)
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
    )
    if dry_run and source == PIPE:
        console.output(f"{source} -> {target}: {name}; how it is encoded depends on frames, and none are read now")
        return
    if dry_run:
        encoding, notes = clip.preview(source, target, settings, overwrite)
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
    result = _denoise_clip(source, target, denoise, settings, overwrite, resume, compare, grain_table, quiet)
    if as_json:
        console.output(json.dumps(dataclasses.asdict(result)))
    if not result.complete:
        raise typer.Exit(1)


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
