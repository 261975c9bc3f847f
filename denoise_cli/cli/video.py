"""`denoise video`: clips in, cleaner clips out."""

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import (
    Device,
    Json,
    Precision,
    Quiet,
    Tile,
    read_noise,
    read_number,
    read_precision,
    read_tile,
)
from denoise_cli.errors import UsageError

if TYPE_CHECKING:
    from denoise_cli.pipeline.clip import Result

MOST_SECONDS = 1e7

Input = Annotated[Path, typer.Argument(help="A clip: anything that FFmpeg reads.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="A .mp4, .mov, .mkv, .webm or .m4v, or - for y4m on standard output. [default: beside]"
    ),
]
Frames = Annotated[int, typer.Option(help="How many frames are looked at for each one: odd, 1 to 9.")]
Model = Annotated[
    str | None,
    typer.Option(
        help="A name from `denoise models`, or a file of denoise train. [default: mallenet-v, of 1 frame mallenet-s]"
    ),
]
Noise = Annotated[str, typer.Option(help="auto (for each scene), or the noise's standard deviation, of 255.")]
Strength = Annotated[float, typer.Option(min=0, max=1, help="How much of the noise goes; 0 leaves the samples alone.")]
Codec = Annotated[str | None, typer.Option(help="h264, hevc, av1, vp9, prores, ffv1, or an encoder. [default: as was]")]
Crf = Annotated[float | None, typer.Option(help="Constant quality, less is better. [default: no loss is seen]")]
Preset = Annotated[str | None, typer.Option(help="Of the encoder, like slow.")]
PixFmt = Annotated[str | None, typer.Option(help="Like yuv420p10le. [default: as was]")]
Start = Annotated[str, typer.Option(help="Seconds to leave out at the beginning.")]
Duration = Annotated[str, typer.Option(help="How many seconds to take, or all.")]
Deinterlace = Annotated[bool, typer.Option("--deinterlace", help="Make whole frames of fields first.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run has stopped.")]
Compare = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a clip with before and after side by side, too.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and stop.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]


def video(
    source: Input,
    output: Output = None,
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
    resume: Resume = False,
    compare: Compare = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    tile: Tile = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Denoise a clip, and keep its timing, sound, subtitles, colours and metadata."""
    sigma, side, arithmetic = read_noise(noise), read_tile(tile), read_precision(precision)

    from denoise_cli.inference.denoiser import load_denoiser
    from denoise_cli.io.encode import STDOUT
    from denoise_cli.pipeline import clip
    from denoise_cli.pipeline.model_choice import check_takes_noise, model_for_clip

    if frames not in range(1, clip.MAX_FRAMES + 1, 2):
        raise UsageError(f"--frames {frames}: expected an odd number from 1 to {clip.MAX_FRAMES}")
    name = model_for_clip(frames, model)
    check_takes_noise(name, sigma, noise)
    target = output or clip.target_beside(source)
    if as_json and target == STDOUT:
        raise UsageError("--json and -o - both write to standard output: choose one")
    clip.check(source, target, overwrite)
    begin = read_number(start, "--start", 0, MOST_SECONDS, auto=False)
    seconds = math.inf if duration == "all" else read_number(duration, "--duration", 1e-6, MOST_SECONDS, auto=False)
    settings = clip.Settings(name, frames, sigma, strength, codec, crf, preset, pix_fmt, begin, seconds, deinterlace)
    if dry_run:
        encoding, notes = clip.preview(source, target, settings, overwrite)
        console.data(
            "; ".join([f"{source} -> {target}: {name}, {encoding.encoder} in {encoding.pixel_format}", *notes])
        )
        return
    denoise = load_denoiser(name, device, arithmetic, side)
    began = time.monotonic()
    with console.bar(1, quiet) as bar:
        bar.start(source.name)
        before: list[int] = []
        told: list[str] = []

        def progress(done: int, share: float) -> None:
            before.append(done - 1) if not before else None
            rate = (done - before[0]) / (time.monotonic() - began)
            bar.describe(f"{source.name}: {done} frames, {rate:.2f} frames/s")
            bar.show(share)

        def notice(text: str) -> None:
            told.append(text)
            if not quiet:
                console.say(f"{source}: {text}")

        try:
            result = clip.run(
                source,
                target,
                denoise,
                settings,
                overwrite=overwrite,
                resume=resume,
                compare=compare,
                progress=progress,
                notice=notice,
            )
        except KeyboardInterrupt:
            if not quiet and clip.is_resumable(target):
                console.say(f"{source}: interrupted; --resume goes on after what is finished")
            raise
    if not quiet:
        console.say(_line(result, told))
    if as_json:
        console.data(json.dumps(dataclasses.asdict(result)))


def _line(result: "Result", told: list[str]) -> str:
    level = "" if result.sigma is None else f", noise {result.sigma:.1f}"
    speed = f"{result.made / max(result.seconds, 1e-9):.2f} frames/s"
    notes = "".join(f"; {note}" for note in result.notes if note not in told)
    return f"{result.source} -> {result.target}: {result.model}{level}, {result.frames} frames, {speed}{notes}"
