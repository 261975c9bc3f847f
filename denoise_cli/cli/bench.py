"""`denoise bench`: seconds and memory for one photo or clip, beside a denoiser that everybody has."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import Device, Json, Quiet
from denoise_cli.errors import UnreadableFile, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from denoise_cli.benchmark import Timing

USUAL_MEGAPIXELS = 12.0

Source = Annotated[Path, typer.Argument(metavar="FILE", help="The photo or the clip to measure with.")]
Megapixels = Annotated[
    float | None,
    typer.Option(min=0.01, help="Mirror the photo until it has so many million pixels. [default: 12]"),
]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        help="A name from `denoise models`; may be given several times. [default: mallenet-s, for a clip mallenet-v]",
    ),
]


def bench(
    source: Source,
    megapixels: Megapixels = None,
    model: Models = [],  # noqa: B006 - typer copies it
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Time `denoise image` or `denoise video`, file to file, beside non-local means, in the same run."""
    from denoise_cli import benchmark
    from denoise_cli.io import image
    from denoise_cli.io.video import Reader
    from denoise_cli.zoo import DEFAULT_IMAGE_MODEL, DEFAULT_VIDEO_MODEL, load_net

    is_photo = image.is_photo(source)
    names = model or [DEFAULT_IMAGE_MODEL if is_photo else DEFAULT_VIDEO_MODEL]
    for name in names:
        load_net(name)
    if is_photo:
        large = benchmark.enlarge(image.read(source), megapixels or USUAL_MEGAPIXELS)
        H, W, _ = large.pixels.shape
        timings = _shown(benchmark.time_photo(large, names, device), len(names) + 1, quiet)
        size, facts = f"{H * W / 1e6:.1f} MP", {}
    elif megapixels is not None:
        raise UsageError(f"--megapixels {megapixels:g}: a clip is measured with as it is")
    else:
        with Reader(source) as clip:
            frames = sum(1 for _ in clip.frames())
            W, H = clip.stream.width, clip.stream.height
        if not frames:
            raise UnreadableFile(source, "has no frames that can be decoded")
        timings = _shown(benchmark.time_clip(source, names, device), len(names) + 1, quiet)
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
