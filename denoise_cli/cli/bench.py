"""`denoise bench`: seconds and memory for one photo, beside a denoiser that everybody has."""

import json
from pathlib import Path
from typing import Annotated

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import Device, Json, Quiet

Source = Annotated[str, typer.Argument(metavar="PHOTO", help="The photo to measure with.")]
Megapixels = Annotated[float, typer.Option(min=0.01, help="Mirror the photo until it has so many million pixels.")]
Models = Annotated[list[str], typer.Option("--model", help="A name from `denoise models`; may be given several times.")]


def bench(
    photo: Source,
    megapixels: Megapixels = 12,
    model: Models = ["mallenet-s"],  # noqa: B006 - typer copies it
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Time `denoise image` on one photo, file to file, beside OpenCV's non-local means in the same run."""
    from denoise_cli import benchmark
    from denoise_cli.io import image
    from denoise_cli.zoo import load_net

    for name in model:
        load_net(name)
    large = benchmark.enlarge(image.read(Path(photo)), megapixels)
    timings = []
    with console.bar(len(model) + 1, quiet) as bar:
        bar.start("timing")
        for timing in benchmark.time_programs(large, model, device):
            timings.append(timing)
            bar.finish()
    H, W, _ = large.pixels.shape
    size = H * W / 1e6
    for timing in timings if as_json else []:
        record = {"program": timing.name, "width": W, "height": H, "seconds": timing.seconds}
        console.data(json.dumps(record | {"peak_bytes": timing.peak_bytes}))
    if not as_json:
        console.table(
            ["program", f"seconds at {size:.1f} MP", "times the speed", "peak MB"],
            [
                [t.name, f"{t.seconds:.1f}", f"{timings[0].seconds / t.seconds:.2f}", f"{t.peak_bytes / 1e6:.0f}"]
                for t in timings
            ],
            numbers=[f"seconds at {size:.1f} MP", "times the speed", "peak MB"],
        )
