"""`denoise bench`: seconds and memory for one photo or clip, beside a denoiser that everybody has."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import Device, Json, Quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from denoise_cli.benchmark import Timing

Source = Annotated[Path, typer.Argument(metavar="FILE", help="The photo or the clip to measure with.")]
Megapixels = Annotated[float, typer.Option(min=0.01, help="Mirror the photo until it has so many million pixels.")]
Models = Annotated[list[str], typer.Option("--model", help="A name from `denoise models`; may be given several times.")]


def bench(
    source: Source,
    megapixels: Megapixels = 12,
    model: Models = ["mallenet-s"],  # noqa: B006 - typer copies it
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Time `denoise image` or `denoise video`, file to file, beside non-local means, in the same run."""
    from denoise_cli import benchmark
    from denoise_cli.io import image
    from denoise_cli.io.video import Reader
    from denoise_cli.zoo import load_net

    for name in model:
        load_net(name)
    if image.is_photo(source):
        large = benchmark.enlarge(image.read(source), megapixels)
        H, W, _ = large.pixels.shape
        timings = _shown(benchmark.time_photo(large, model, device), len(model) + 1, quiet)
        size, facts = f"{H * W / 1e6:.1f} MP", {}
    else:
        with Reader(source) as clip:
            frames = sum(1 for _ in clip.frames())
            W, H = clip.stream.width, clip.stream.height
        timings = _shown(benchmark.time_clip(source, model, device), len(model) + 1, quiet)
        size, facts = f"{frames} frames of {W} x {H}", {"frames": frames}
    for timing in timings if as_json else []:
        record = {"program": timing.name, "width": W, "height": H} | facts | {"seconds": timing.seconds}
        console.data(json.dumps(record | {"peak_bytes": timing.peak_bytes}))
    if not as_json:
        console.table(
            ["program", f"seconds at {size}", "times the speed", "peak MB"],
            [
                [t.name, f"{t.seconds:.1f}", f"{timings[0].seconds / t.seconds:.2f}", f"{t.peak_bytes / 1e6:.0f}"]
                for t in timings
            ],
            numbers=[f"seconds at {size}", "times the speed", "peak MB"],
        )


def _shown(timings: "Iterator[Timing]", count: int, quiet: bool) -> "list[Timing]":
    """All of them, with a bar."""
    done = []
    with console.bar(count, quiet) as bar:
        bar.start("timing")
        for timing in timings:
            done.append(timing)
            bar.finish()
    return done
