"""`denoise image`: remove noise from photos and camera RAW files."""

import dataclasses
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import (
    NAME_OR_FILE,
    Device,
    DryRun,
    Json,
    MaxPixels,
    Overwrite,
    Precision,
    Quiet,
    Strength,
    Tile,
    read_noise,
    read_precision,
    read_tile,
)
from denoise_cli.errors import UsageError

if TYPE_CHECKING:
    from denoise_cli.inference.denoiser import Denoiser
    from denoise_cli.pipeline.jobs import Job
    from denoise_cli.pipeline.photo import Result

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
Quality = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        max=100,
        help="Quality of JPEG, WebP, AVIF, JPEG XL and JPEG 2000; 100 makes the last two and WebP lossless.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Output format, if the output's name does not imply it: jpeg, png, tiff, webp, avif, jxl, jp2, ppm, pgm, "
        "pnm, pfm, hdr, exr, or, for camera RAW, dng.",
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
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Include subfolders, and recreate them in the output folder.")
]


def image(
    inputs: Inputs,
    output: Output = None,
    model: Model = "auto",
    noise: Noise = "auto",
    strength: Strength = 1.0,
    quality: Quality = 95,
    format: Format = None,  # noqa: A002 - the option's name
    linear: Linear = False,
    compression: Compression = "auto",
    tone: Tone = "flat",
    hot_pixels: HotPixels = "auto",
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
    """Denoise photos and camera RAW files.

    Everything else about a photo stays as it is: size, bit depth, transparency, metadata and colour profile.
    """
    level, tile_side, precision_name = read_noise(noise), read_tile(tile), read_precision(precision)
    if as_json and output == "-":
        raise UsageError("--json and -o - both write to standard output: choose one")

    from denoise_cli.io.dng_builder import COMPRESSION_CHOICES
    from denoise_cli.io.image import TARGETS
    from denoise_cli.pipeline import jobs, photo
    from denoise_cli.pipeline.model_choice import AUTO, check_takes_noise

    if format is not None and format not in TARGETS:
        raise UsageError(f"--format {format}: choose one of {', '.join(TARGETS)}")
    if compression not in COMPRESSION_CHOICES:
        raise UsageError(f"--compression {compression}: choose one of {', '.join(COMPRESSION_CHOICES)}")
    if tone not in photo.TONES:
        raise UsageError(f"--tone {tone}: choose {' or '.join(photo.TONES)}")
    planned = jobs.plan(inputs, output, recursive, format, None if quiet else console.status)
    only_for_dng = [name for name, given in (("--linear", linear), ("--compression", compression != "auto")) if given]
    if only_for_dng and all(job.kind != jobs.DNG for job in planned):
        raise UsageError(f"{only_for_dng[0]}: only for .dng files: name a .dng file as the output, or add --format dng")
    settings = photo.Settings(
        model,
        level,
        strength,
        quality,
        overwrite,
        max_pixels,
        linear,
        COMPRESSION_CHOICES[compression],
        photo.TONES[tone],
        _read_hot_pixels(hot_pixels),
    )
    if tone == "camera" and all(job.kind == jobs.DNG for job in planned):
        raise UsageError("--tone camera: a .dng file holds light without a tone: leave it out, or write a picture")
    if model != AUTO:
        check_takes_noise(model, level, noise)

    from denoise_cli.inference.denoiser import load_denoiser
    from denoise_cli.inference.device import choose_device, choose_precision
    from denoise_cli.models import registry

    choose_precision(choose_device(device), precision_name)

    @cache
    def load(name: str) -> "Denoiser":
        return load_denoiser(name, device, precision_name, tile_side)

    check_weights = cache(registry.check_weights)

    if model != AUTO:
        (check_weights if dry_run else load)(model)
    with console.progress_bar(len(planned), quiet) as bar:

        def begin(job: "Job") -> None:
            bar.start(job.source.name)

        if dry_run:
            results = photo.preview_all(planned, check_weights, settings, begin)
        else:
            results = photo.run_all(planned, load, settings, begin, bar.set_fraction)
        succeeded = [_report(result, bar, quiet, as_json) for result in results]
    if not all(succeeded):
        raise typer.Exit(1)


def _read_hot_pixels(text: str) -> "Literal['auto', 'off'] | Path":
    if text == "auto":
        return "auto"
    if text == "off":
        return "off"
    if not Path(text).is_file():
        raise UsageError(f"--hot-pixels {text}: expected auto, off or a file, and there is no such file")
    return Path(text)


def _report(result: "Result", bar: console.ProgressBar, quiet: bool, as_json: bool) -> bool:
    """Report on a photo; returns whether it succeeded."""
    if result.error is not None:
        console.error(result.error)
    elif result.dry_run and not as_json:  # then it is what was asked for
        console.output(_summary(result))
    elif not quiet:
        console.status(_summary(result))
    if as_json:
        console.output(json.dumps(dataclasses.asdict(result)))
    bar.finish()
    return result.error is None


def _summary(result: "Result") -> str:
    noise = "noise level left to the model"
    if result.sigma is not None:
        noise = f"noise {result.sigma:.1f}" + (" (estimated)" if result.noise_from == "estimated" else "")
    if result.shot is not None:
        origins = {"given": "", "file": " (from the file)", "estimated": " (estimated)"}
        noise = f"shot {result.shot:.2e}, read {result.read:.2e}{origins[result.noise_from or 'given']}"
    notes = "".join(f"; {note}" for note in result.notes)
    what = result.model if result.dry_run else f"{result.model}, {noise}, {result.seconds:.1f} s"
    return f"{result.source} -> {result.target}: {what}{notes}"
