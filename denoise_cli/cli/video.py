"""`denoise video`: remove noise from clips."""

import math
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
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
    Report,
    ShardOption,
    SkipDone,
    Strength,
    Tile,
    Touch,
    check_frames,
    plan_jobs,
    read_backup,
    read_number,
    read_precision,
    read_sigma,
    read_tile,
    weight_files,
)
from denoise_cli.cli.video_runs import denoise_clips, denoise_sequence, page_of
from denoise_cli.errors import UsageError

if TYPE_CHECKING:
    from denoise_cli.pipeline.report import Report as ReportPage

SHORTEST_DURATION = 1e-6  # seconds
LONGEST_DURATION = 1e7  # seconds
HIGHEST_RATE = 1000  # frames per second
NTSC_ROUNDING = Fraction(6, 1000)  # by which 23.98 and 29.97 differ from what they stand for

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="CLIP",
        help="Clips in any format that FFmpeg reads; folders of clips; - for YUV4MPEG2, NUT or Matroska from standard "
        "input; or a sequence of numbered pictures, as a pattern (frames/%04d.png) or a folder.",
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
            "a folder (an existing one, or a name that ends in /); - for standard output; a pattern (out/%04d.png) "
            "for numbered pictures; or, for a sequence, a folder."
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
Start = Annotated[
    str, typer.Option(metavar="SECONDS", help="Seconds of the clip to skip at its beginning, such as 90.5: 0 or more.")
]
Duration = Annotated[
    str,
    typer.Option(
        metavar="SECONDS",
        help="Seconds of the clip to denoise, counted from --start: a number above 0, such as 5, or all.",
    ),
]
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
    fps: Fps = None,
    deinterlace: Deinterlace = False,
    drop_data: DropData = False,
    allow_playlists: AllowPlaylists = False,
    recursive: Recursive = False,
    name: Name = None,
    in_place: InPlace = False,
    backup: Backup = None,
    touch: Touch = False,
    shard: ShardOption = None,
    resume: Resume = False,
    compare: Compare = None,
    grain_table: GrainTable = None,
    skip_done: SkipDone = False,
    report: Report = None,
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
    tile_side, precision_name = read_tile(tile), read_precision(precision)

    from denoise_cli.files import check_is_no_input
    from denoise_cli.inference.denoiser import load_denoiser
    from denoise_cli.pipeline import clip_targets, clips, jobs, sequence
    from denoise_cli.pipeline.clip import Settings
    from denoise_cli.pipeline.model_choice import check_takes_noise, model_for_clip

    check_frames(frames)
    place = None if output is None else Path(output)
    is_sequence = (
        len(inputs) == 1 and clips.is_sequence(source := Path(inputs[0])) and not (recursive and source.is_dir())
    )
    for_files: dict[str, object] = {
        "--recursive": recursive or None,
        "--name": name,
        "--in-place": in_place or None,
        "--backup": backup,
        "--shard": shard,
        "--skip-done": skip_done or None,
    }
    if is_sequence:
        _refuse_given(for_files, "not for a sequence of numbered pictures: leave it out")
    if is_sequence and not sequence.becomes_clip(place):
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
            "--touch": touch or None,
            "--compare": compare,
            "--grain-table": grain_table,
            "--report": report,
        }
        _refuse_given(for_clips, "only for clips: leave it out, or name one as the output, such as clip.mp4")
        denoise_sequence(
            sequence.plan(source, place),
            cache(lambda name: load_denoiser(name, device, precision_name, tile_side)),
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
    if fps is not None and not is_sequence:
        raise UsageError(f"--fps {fps}: only for numbered pictures: a clip keeps its own times: leave it out")
    becomes_pictures = len(inputs) == 1 and place is not None and clip_targets.becomes_pictures(Path(inputs[0]), place)
    if becomes_pictures:
        for_others: dict[str, object] = {
            "--codec": codec,
            "--crf": crf,
            "--preset": preset,
            "--pix-fmt": pix_fmt,
            "--drop-data": drop_data or None,
            "--touch": touch or None,
            "--resume": resume or None,
            "--compare": compare,
            "--grain-table": grain_table,
            "--report": report,
            **for_files,
        }
        _refuse_given(for_others, "not for numbered pictures from a clip: leave it out")
    sigma = read_sigma(noise, None if quiet else console.status)
    chosen = model_for_clip(frames, model, sigma)
    check_takes_noise(chosen, sigma, noise)
    _check_stream(output, format, as_json)
    if is_sequence or becomes_pictures:
        assert place is not None  # the clip, or the pictures
        planned = [jobs.Job(source, place, None)]
    else:
        planned = plan_jobs(
            clips.media(allow_playlists),
            inputs,
            output,
            recursive,
            None,
            None if quiet else console.status,
            name,
            chosen,
            read_backup(in_place, backup),
            shard,
            skip_done,
        )
    is_single = is_sequence or becomes_pictures or jobs.is_single(inputs)
    _check_side_files(is_single, skip_done, compare, grain_table)
    read_besides = weight_files(chosen)
    planned = jobs.sparing(planned, read_besides)
    for side_file in filter(None, (compare, grain_table)):
        check_is_no_input(side_file, read_besides)
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
        None if fps is None else _read_rate(fps),
    )
    handling = clips.Handling(overwrite, resume, skip_done, touch, compare, grain_table)
    page: AbstractContextManager[ReportPage | None] = nullcontext()
    if report is not None:
        page = page_of(report, planned, (compare, grain_table, *read_besides), dry_run, overwrite, skip_done, quiet)
    load = cache(lambda: load_denoiser(chosen, device, precision_name, tile_side))
    denoise_clips(planned, load, settings, handling, page, is_single, dry_run, quiet, as_json)


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


def _refuse_given(options: dict[str, object], reason: str) -> None:
    """Refuse options that have been given, by their values."""
    for option, value in options.items():
        if value is not None:
            raise UsageError(f"{option}: {reason}")


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
