"""`denoise image`: photos in, cleaner photos out."""

import dataclasses
import json
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import (
    Device,
    Json,
    MaxPixels,
    Precision,
    Quiet,
    Tile,
    read_precision,
    read_sensor_noise,
    read_tile,
)
from denoise_cli.errors import DenoiseError, UsageError

if TYPE_CHECKING:
    from denoise_cli.inference.denoiser import Denoiser
    from denoise_cli.pipeline.photo import Result

Inputs = Annotated[list[str], typer.Argument(help="Photos, folders of photos, or - for standard input.")]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", help="A file, a folder (ending in /), or - for standard output. [default: beside]"),
]
Model = Annotated[
    str,
    typer.Option(
        help="auto (by the photo's format), a name from `denoise models`, or a .safetensors of denoise train."
    ),
]
Noise = Annotated[
    str,
    typer.Option(
        help="auto; the standard deviation of white noise on the scale of 255, like 25; or SHOT,READ of a sensor's, as "
        "shares of white in linear light, like 0.003,0.002."
    ),
]
Strength = Annotated[float, typer.Option(min=0, max=1, help="How much of the noise goes; 0 leaves the pixels alone.")]
Quality = Annotated[int, typer.Option(min=1, max=100, help="Of JPEG, WebP (100: lossless) and AVIF.")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Take folders with all that is below them.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and stop.")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", help="jpeg, png, tiff, webp, avif, or dng of camera RAW, where the output's name does not say it."
    ),
]
Linear = Annotated[bool, typer.Option("--linear", help="Write a .dng of demosaiced, linear light, not of the mosaic.")]


def image(
    inputs: Inputs,
    output: Output = None,
    model: Model = "auto",
    noise: Noise = "auto",
    strength: Strength = 1.0,
    quality: Quality = 95,
    format: Format = None,  # noqa: A002 - the option's name
    linear: Linear = False,
    recursive: Recursive = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    device: Device = "auto",
    precision: Precision = "auto",
    tile: Tile = "auto",
    max_pixels: MaxPixels = 200_000_000,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Denoise photos, and keep everything else about them."""
    level, side, arithmetic = read_sensor_noise(noise), read_tile(tile), read_precision(precision)
    if as_json and output == "-":
        raise UsageError("--json and -o - both write to standard output: choose one")

    from denoise_cli.io.image import TARGETS
    from denoise_cli.pipeline import jobs, photo
    from denoise_cli.pipeline.model_choice import AUTO, check_takes_noise

    if format is not None and format not in TARGETS:
        raise UsageError(f"--format {format}: choose one of {', '.join(TARGETS)}")
    planned = jobs.plan(inputs, output, recursive, format)
    settings = photo.Settings(model, level, strength, quality, overwrite, max_pixels, linear)
    if linear and all(job.kind != jobs.DNG for job in planned):
        raise UsageError("--linear: is for a .dng: name the output so, or add --format dng")
    if model != AUTO:
        check_takes_noise(model, level, noise)
    if dry_run:
        for job in planned:
            console.data(f"{job.source} -> {job.target}")
        return

    from denoise_cli.inference.denoiser import load_denoiser
    from denoise_cli.inference.device import choose_device, choose_precision

    choose_precision(choose_device(device), arithmetic)

    @cache
    def load(name: str) -> "Denoiser":
        return load_denoiser(name, device, arithmetic, side)

    if model != AUTO:
        load(model)
    failures = 0
    with console.bar(len(planned), quiet) as bar:
        for job in planned:
            bar.start(job.source.name)
            try:
                result = photo.run(job, load, settings, bar.show)
                if not quiet:
                    console.say(_line(result))
            except DenoiseError as error:
                failures += 1
                result = photo.failed(job, settings, error)
                console.error(str(error))
            if as_json:
                console.data(json.dumps(dataclasses.asdict(result)))
            bar.finish()
    if failures:
        raise typer.Exit(1)


def _line(result: "Result") -> str:
    level = "noise level left to the model"
    if result.sigma is not None:
        level = f"noise {result.sigma:.1f}" + (" (estimated)" if result.noise_from == "estimated" else "")
    if result.shot is not None:
        said = {"given": "", "file": " (from the file)", "estimated": " (estimated)"}[result.noise_from or "given"]
        level = f"shot {result.shot:.2e}, read {result.read:.2e}{said}"
    notes = "".join(f"; {note}" for note in result.notes)
    return f"{result.source} -> {result.target}: {result.model}, {level}, {result.seconds:.1f} s{notes}"
