"""`denoise bench`: how fast networks are, beside others'; or whole programs on a photo or a clip."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import Device, Json, Precision, Quiet, read_precision
from denoise_cli.errors import UnreadableFile, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from denoise_cli.benchmark.networks import Speed
    from denoise_cli.benchmark.operators import OperatorSpeed
    from denoise_cli.benchmark.timing import Machine

Item = TypeVar("Item")

USUAL_MEGAPIXELS, USUAL_SIZE = 12.0, 256
MOST_SIZE, GRID = 8192, 64
SCORED_ON, SCORED_AT = "cbsd68", "25"

Source = Annotated[
    Path | None, typer.Argument(metavar="FILE", help="A photo or a clip to time whole programs with, file to file.")
]
Megapixels = Annotated[
    float | None,
    typer.Option(min=0.01, help="Mirror the photo until it has so many million pixels. [default: 12]"),
]
Size = Annotated[
    int | None, typer.Option(help="Without a file: the side in pixels of what networks are shown. [default: 256]")
]
Batch = Annotated[int, typer.Option(min=1, help="Without a file: how many pictures at once.")]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        help="A name from `denoise models` or, without a file, of another architecture; may be given several "
        "times. "
        "[default: mallenet-s, for a clip mallenet-v; without a file, all]",
    ),
]
Plot = Annotated[
    Path | None, typer.Option(help="Without a file: draw PSNR against time, of the models that have scores, as a PNG.")
]


def bench(
    source: Source = None,
    megapixels: Megapixels = None,
    size: Size = None,
    batch: Batch = 1,
    model: Models = [],  # noqa: B006 - typer copies it
    plot: Plot = None,
    device: Device = "auto",
    precision: Precision = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Time networks and operators; with a FILE, `denoise image` or `denoise video`. Beside others, in the same run."""
    if source is None:
        if megapixels is not None:
            raise UsageError("--megapixels: name the photo that is to be mirrored")
        _time_networks(size or USUAL_SIZE, batch, model, plot, device, precision, quiet, as_json)
        return
    if size is not None or plot is not None or batch != 1 or precision != "auto":
        raise UsageError(f"--size, --batch, --precision, --plot: are of networks alone: leave {source} away")
    _time_programs(source, megapixels, model, device, quiet, as_json)


def _time_networks(
    size: int,
    batch: int,
    models: "Sequence[str]",
    plot: Path | None,
    device: str,
    precision: str,
    quiet: bool,
    as_json: bool,
) -> None:
    if not GRID <= size <= MOST_SIZE or size % GRID:
        raise UsageError(f"--size {size}: expected a multiple of {GRID} from {GRID} to {MOST_SIZE}")
    arithmetic = read_precision(precision)

    from denoise_cli.benchmark import networks
    from denoise_cli.benchmark.operators import time_operators
    from denoise_cli.benchmark.timing import measure_machine
    from denoise_cli.evaluation.plots import check_installed, plot_trade_off
    from denoise_cli.files import check_target

    for name in models:
        if name not in networks.known_networks():
            raise UsageError(f"--model {name}: choose from {', '.join(networks.known_networks())}")
    names = list(models) or networks.usual_networks(device)
    scores = _scores(names)
    if plot is not None:
        check_installed()
        check_target(plot, overwrite=True)
        if not scores:
            raise UsageError("--plot: none of these networks has scores on CBSD68")
    machine = measure_machine(device, arithmetic)
    jobs = [networks.Job(name, size, batch, device, arithmetic) for name in names]
    found = _shown(networks.time_networks(jobs), len(jobs), quiet)
    for lacking in found:
        if isinstance(lacking, str):
            console.error(lacking)
    timed = [one for one in found if isinstance(one, networks.Speed)]
    operators = list(time_operators(size, device, arithmetic))
    if as_json:
        _print_records(machine, timed, operators)
    else:
        _print_tables(machine, timed, operators, size, batch)
    if plot is not None:
        points: dict[str, Sequence[tuple[float, float]]] = {
            one.name: [(1e3 / one.megapixels_per_second, scores[one.name])] for one in timed if one.name in scores
        }
        plot_trade_off(points, "milliseconds per megapixel", "CBSD68 at sigma 25, dB", plot)
    if models and len(timed) < len(jobs):
        raise typer.Exit(1)


def _print_records(machine: "Machine", networks: "list[Speed]", operators: "list[OperatorSpeed]") -> None:
    where = {"machine": machine.name}
    console.data(
        json.dumps(
            where
            | {"precision": machine.precision}
            | {"multiply_adds_per_second": machine.multiply_adds, "copied_bytes_per_second": machine.copied}
        )
    )
    for one in networks:
        console.data(
            json.dumps(
                {"network": one.name, "runs_in": one.runs_in, "milliseconds": one.milliseconds}
                | {"fastest": one.fastest, "slowest": one.slowest}
                | {"megapixels_per_second": one.megapixels_per_second, "peak_bytes": one.peak_bytes}
                | {"multiply_adds": one.multiply_adds}
                | where
            )
        )
    for operator in operators:
        console.data(
            json.dumps(
                {"operator": operator.name, "milliseconds": operator.milliseconds}
                | {"bytes_moved": operator.bytes_moved, "times_the_reference": operator.gain}
                | {"peak_bytes": operator.peak_bytes}
                | where
            )
        )


def _print_tables(
    machine: "Machine", networks: "list[Speed]", operators: "list[OperatorSpeed]", size: int, batch: int
) -> None:
    console.data(
        f"{machine.name}: {machine.multiply_adds / 1e9:.0f} G multiply-adds a second in {machine.precision}, "
        f"{machine.copied / 1e9:.1f} GB copied a second"
    )
    console.data("")
    numbers = ["ms", "from", "to", "MP/s", "peak MB", "G multiply-adds", "% of the machine's"]
    console.table(
        [f"network, {batch} x {size} x {size}", "runs in", *numbers],
        [[one.name, one.runs_in, *_figures(one, machine)] for one in networks],
        numbers=numbers,
    )
    console.data("")
    numbers = ["ms", "MB moved", "% of copying", "times the reference", "peak MB"]
    console.table(
        [f"operator, {size} x {size}", *numbers],
        [
            [
                one.name,
                f"{one.milliseconds:.3g}",
                f"{one.bytes_moved / 1e6:.1f}",
                f"{one.bytes_moved / (one.milliseconds / 1e3) / machine.copied:.0%}",
                f"{one.gain:.1f}",
                "-" if one.peak_bytes is None else f"{one.peak_bytes / 1e6:.1f}",
            ]
            for one in operators
        ],
        numbers=numbers,
    )


def _figures(one: "Speed", machine: "Machine") -> list[str]:
    counted = one.multiply_adds
    share = None if counted is None else counted / (one.milliseconds / 1e3) / machine.multiply_adds
    return [
        f"{one.milliseconds:.1f}",
        f"{one.fastest:.1f}",
        f"{one.slowest:.1f}",
        f"{one.megapixels_per_second:.3f}",
        f"{one.peak_bytes / 1e6:.0f}",
        "-" if counted is None else f"{counted / 1e9:.2f}",
        "-" if share is None else f"{share:.0%}",
    ]


def _scores(names: "Sequence[str]") -> dict[str, float]:
    """PSNR in dB of those that have one."""
    from denoise_cli.models.manifest import read_manifest

    entries = read_manifest()
    scores = {name: entries[name].scores.get(SCORED_ON, {}).get(SCORED_AT) for name in names if name in entries}
    return {name: dB for name, dB in scores.items() if dB is not None}


def _time_programs(
    source: Path, megapixels: float | None, models: "Sequence[str]", device: str, quiet: bool, as_json: bool
) -> None:
    from denoise_cli.benchmark import programs
    from denoise_cli.io import image
    from denoise_cli.io.video import Reader
    from denoise_cli.models.registry import load_net
    from denoise_cli.pipeline.model_choice import model_for_timing

    is_photo = image.is_photo(source)
    names = list(models) or [model_for_timing(is_photo)]
    for name in names:
        load_net(name)
    if is_photo:
        large = programs.enlarge(image.read(source), megapixels or USUAL_MEGAPIXELS)
        H, W, _ = large.pixels.shape
        timings = _shown(programs.time_photo(large, names, device), len(names) + 1, quiet)
        size, facts = f"{H * W / 1e6:.1f} MP", {}
    elif megapixels is not None:
        raise UsageError(f"--megapixels {megapixels:g}: a clip is measured with as it is")
    else:
        with Reader(source) as clip:
            frames = sum(1 for _ in clip.frames())
            W, H = clip.stream.width, clip.stream.height
        if not frames:
            raise UnreadableFile(source, "has no frames that can be decoded")
        timings = _shown(programs.time_clip(source, names, device), len(names) + 1, quiet)
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


def _shown(timings: "Iterator[Item]", count: int, quiet: bool) -> "list[Item]":
    """All of them, with a bar."""
    done = []
    with console.bar(count, quiet) as bar:
        bar.start("timing")
        for timing in timings:
            done.append(timing)
            bar.finish()
    return done
