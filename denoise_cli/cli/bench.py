"""`denoise bench`: time networks and operators, or whole programs on files, beside those of others or another build."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import Device, Json, Precision, Quiet, read_precision
from denoise_cli.errors import UsageError
from denoise_cli.temporary_files import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from denoise_cli.benchmark.builds import Comparison, Figures
    from denoise_cli.benchmark.networks import Job, Speed
    from denoise_cli.benchmark.operators import OperatorSpeed
    from denoise_cli.benchmark.programs import Timing, Workload
    from denoise_cli.benchmark.timing import Machine

Item = TypeVar("Item")

DEFAULT_SIZE = 256  # pixels
DEFAULT_REPEATS = 5
SMALLEST_SIZE = 64  # pixels
LARGEST_SIZE = 8192  # pixels
SCORED_ON = "cbsd68"  # the test set of --plot
SCORED_AT = "25"  # its noise level, on the scale of 0 to 255

Source = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        help="Photo, camera RAW, folder of photos or clip on which to time whole programs, from file to file.",
    ),
]
Megapixels = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        min=0.01,
        help="Size in megapixels to which the photo is enlarged by mirroring. Only with a photo.",
        show_default="12",
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        help="Side of the input pictures, a multiple of what the networks require (64). Only without FILE.",
        show_default="256",
    ),
]
Batch = Annotated[
    int, typer.Option(metavar="N", min=1, help="Number of pictures that networks process at once. Only without FILE.")
]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Model: a name from `denoise models` or, without FILE, that of a network by others. Repeatable.",
        show_default="all (ours, with --against); mallenet-s with a photo, mallenet-vr with a clip, else by the file",
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="PNG file to write, with PSNR against time for every model that has a score. Only without FILE.",
    ),
]
Against = Annotated[
    Path | None,
    typer.Option(
        metavar="CHECKOUT",
        help="Folder of another checkout of this project, to compare its build with this one instead of with others.",
    ),
]
Repeat = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Number of runs of each build. Only with --against.", show_default="5"),
]


def bench(
    source: Source = None,
    megapixels: Megapixels = None,
    size: Size = None,
    batch: Batch = 1,
    model: Models = [],  # noqa: B006 - typer copies it
    plot: Plot = None,
    against: Against = None,
    repeat: Repeat = None,
    device: Device = "auto",
    precision: Precision = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Time networks or whole programs, in comparison with others.

    Without FILE, times networks and operators on random pictures; --size, --batch, --precision and --plot apply only to
    these. With FILE, times `denoise image` or `denoise video`.
    """
    if source is None and megapixels is not None:
        raise UsageError("--megapixels: only with a photo: name one")
    for_networks = {
        "--size": size is not None,
        "--batch": batch != 1,
        "--precision": precision != "auto",
        "--plot": plot is not None,
    }
    if source is not None and (given := [option for option, is_given in for_networks.items() if is_given]):
        them = "it" if len(given) == 1 else "them"
        raise UsageError(f"{', '.join(given)}: only without a file: leave {them} out, or leave out {source}")
    if against is None and repeat is not None:
        raise UsageError("--repeat: only with --against: name another checkout")
    if against is not None:
        if plot is not None:
            raise UsageError("--plot: not with --against: drop one of them")
        from denoise_cli.benchmark.builds import check_checkout

        check_checkout(against)
    repeats = repeat or DEFAULT_REPEATS
    if source is not None:
        _bench_programs(source, megapixels, model, device, against, repeats, quiet, as_json)
        return
    jobs = _jobs(size or DEFAULT_SIZE, batch, model, device, precision, is_against=against is not None)
    if against is None:
        _bench_networks(jobs, model, plot, quiet, as_json)
    else:
        _compare_networks(jobs, against, repeats, quiet, as_json)


def _jobs(size: int, batch: int, models: "Sequence[str]", device: str, precision: str, is_against: bool) -> "list[Job]":
    precision_name = read_precision(precision)

    from denoise_cli.benchmark import networks
    from denoise_cli.models.registry import MODELS

    for name in models:
        if name not in networks.known_networks():
            raise UsageError(f"--model {name}: choose from {', '.join(networks.known_networks())}")
    names = list(models) or (list(MODELS) if is_against else networks.usual_networks(device))
    multiple = networks.multiple_of_sides(names)
    if not SMALLEST_SIZE <= size <= LARGEST_SIZE or size % multiple:
        raise UsageError(f"--size {size}: expected a multiple of {multiple} from {SMALLEST_SIZE} to {LARGEST_SIZE}")
    return [networks.Job(name, size, batch, device, precision_name) for name in names]


def _bench_networks(
    jobs: "Sequence[Job]", models: "Sequence[str]", plot: Path | None, quiet: bool, as_json: bool
) -> None:
    from denoise_cli.benchmark import networks
    from denoise_cli.benchmark.operators import time_operators
    from denoise_cli.benchmark.timing import measure_machine

    scores = _scores(job.name for job in jobs)
    if plot is not None:
        _check_plot(plot, scores)
    size, batch, device, precision = jobs[0].size, jobs[0].batch, jobs[0].device, jobs[0].precision
    machine = measure_machine(device, precision)
    outcomes = _with_bar(networks.time_networks(jobs), len(jobs), quiet)
    for outcome in outcomes:
        if isinstance(outcome, str):
            console.error(outcome)
    speeds = [outcome for outcome in outcomes if isinstance(outcome, networks.Speed)]
    operators = list(time_operators(size, device, precision))
    if as_json:
        _print_records(machine, speeds, operators)
    else:
        _print_tables(machine, speeds, operators, size, batch)
    if plot is not None:
        _draw_plot(plot, speeds, scores)
    if models and len(speeds) < len(jobs):
        raise typer.Exit(1)


def _scores(names: "Iterable[str]") -> dict[str, float]:
    """PSNR in dB of the models that have one."""
    from denoise_cli.models.manifest import read_manifest

    entries = read_manifest()
    scores = {name: entries[name].scores.get(SCORED_ON, {}).get(SCORED_AT) for name in names if name in entries}
    return {name: dB for name, dB in scores.items() if dB is not None}


def _check_plot(path: Path, scores: "Mapping[str, float]") -> None:
    from denoise_cli.evaluation.plots import check_installed
    from denoise_cli.files import check_target

    check_installed()
    check_target(path, overwrite=True)
    if not scores:
        raise UsageError("--plot: none of these networks has a score on CBSD68: choose others with --model")


def _draw_plot(path: Path, speeds: "Iterable[Speed]", scores: "Mapping[str, float]") -> None:
    from denoise_cli.evaluation.plots import plot_trade_off

    points: dict[str, Sequence[tuple[float, float]]] = {
        speed.name: [(1e3 / speed.megapixels_per_second, scores[speed.name])]
        for speed in speeds
        if speed.name in scores
    }
    plot_trade_off(points, "milliseconds per megapixel", "CBSD68 at sigma 25, dB", path)


def _print_records(machine: "Machine", speeds: "Iterable[Speed]", operators: "Iterable[OperatorSpeed]") -> None:
    where = {"machine": machine.name}
    console.measured(
        where
        | {"precision": machine.precision}
        | {"multiply_adds_per_second": machine.multiply_adds, "copied_bytes_per_second": machine.copied}
    )
    for speed in speeds:
        console.measured(
            {"network": speed.name, "runs_in": speed.runs_in, "milliseconds": speed.milliseconds}
            | {"fastest": speed.fastest, "slowest": speed.slowest, "cpu_milliseconds": speed.cpu_milliseconds}
            | {"megapixels_per_second": speed.megapixels_per_second, "peak_bytes": speed.peak_bytes}
            | {"multiply_adds": speed.multiply_adds}
            | where
        )
    for operator in operators:
        console.measured(
            {"operator": operator.name, "milliseconds": operator.milliseconds}
            | {"bytes_moved": operator.bytes_moved, "times_the_reference": operator.gain}
            | {"peak_bytes": operator.peak_bytes}
            | where
        )


def _print_tables(
    machine: "Machine", speeds: "Iterable[Speed]", operators: "Iterable[OperatorSpeed]", size: int, batch: int
) -> None:
    console.output(
        f"{machine.name}: {machine.multiply_adds / 1e9:.0f} G multiply-adds per second in {machine.precision}, "
        f"{machine.copied / 1e9:.1f} GB copied per second"
    )
    console.output("")
    numbers = ["ms", "from", "to", "CPU ms", "MP/s", "peak MB", "G multiply-adds", "% of the machine's"]
    console.table(
        [f"network, {batch} x {size} x {size}", "runs in", *numbers],
        [[speed.name, speed.runs_in, *_network_cells(speed, machine)] for speed in speeds],
        numbers=numbers,
    )
    console.output("")
    numbers = ["ms", "MB moved", "% of copying", "times the reference", "peak MB"]
    console.table(
        [f"operator, {size} x {size}", *numbers],
        [[operator.name, *_operator_cells(operator, machine)] for operator in operators],
        numbers=numbers,
    )


def _network_cells(speed: "Speed", machine: "Machine") -> list[str]:
    multiply_adds = speed.multiply_adds
    share = None if multiply_adds is None else multiply_adds / (speed.milliseconds / 1e3) / machine.multiply_adds
    return [
        f"{speed.milliseconds:.1f}",
        f"{speed.fastest:.1f}",
        f"{speed.slowest:.1f}",
        f"{speed.cpu_milliseconds:.1f}",
        f"{speed.megapixels_per_second:.3f}",
        f"{speed.peak_bytes / 1e6:.0f}",
        "-" if multiply_adds is None else f"{multiply_adds / 1e9:.2f}",
        "-" if share is None else f"{share:.0%}",
    ]


def _operator_cells(operator: "OperatorSpeed", machine: "Machine") -> list[str]:
    return [
        f"{operator.milliseconds:.3g}",
        f"{operator.bytes_moved / 1e6:.1f}",
        f"{operator.bytes_moved / (operator.milliseconds / 1e3) / machine.copied:.0%}",
        f"{operator.gain:.1f}",
        "-" if operator.peak_bytes is None else f"{operator.peak_bytes / 1e6:.1f}",
    ]


def _compare_networks(jobs: "Sequence[Job]", other: Path, repeats: int, quiet: bool, as_json: bool) -> None:
    from denoise_cli.benchmark.builds import compare_networks

    size, batch = jobs[0].size, jobs[0].batch
    outcomes = _with_bar(compare_networks(jobs, other, repeats), len(jobs), quiet)
    _print_comparisons(outcomes, "network", f"{batch} x {size} x {size}", {"size": size, "batch": batch}, as_json)


def _bench_programs(
    source: Path,
    megapixels: float | None,
    models: "Sequence[str]",
    device: str,
    other: Path | None,
    repeats: int,
    quiet: bool,
    as_json: bool,
) -> None:
    from denoise_cli.benchmark.builds import compare_programs
    from denoise_cli.benchmark.programs import time_program, workload_for
    from denoise_cli.models.registry import load_net

    for name in models:
        load_net(name)  # fails here rather than after other programs have been timed
    with scratch_folder() as folder:
        work = workload_for(source, megapixels, models, device, folder, has_peer=other is None)
        for line in work.left_out:
            console.error(line)
        if other is None:
            programs = [work.peer, *work.ours]
            _print_timings(_with_bar(map(time_program, programs), len(programs), quiet), work, as_json)
        else:
            outcomes = _with_bar(compare_programs(work.ours, other, repeats), len(work.ours), quiet)
            _print_comparisons(outcomes, "program", work.size, work.facts, as_json)
        if work.left_out:
            raise typer.Exit(1)


def _print_timings(timings: "Sequence[Timing]", work: "Workload", as_json: bool) -> None:
    """Print what each program took; `timings` begins with the one that the others are compared with."""
    ratios = [timing.seconds / timings[0].seconds for timing in timings]
    if as_json:
        for timing, ratio in zip(timings, ratios, strict=True):
            taken = {key: value for key, value in dataclasses.asdict(timing).items() if key != "name"}
            console.measured({"program": timing.name} | dict(work.facts) | taken | {"seconds_ratio": ratio})
        return
    numbers = [f"seconds at {work.size}", "times the first's", "CPU seconds", "peak MB"]
    rows = [
        [
            timing.name,
            f"{timing.seconds:.1f}",
            f"{ratio:.2f}",
            f"{timing.cpu_seconds:.1f}",
            f"{timing.peak_bytes / 1e6:.0f}",
        ]
        for timing, ratio in zip(timings, ratios, strict=True)
    ]
    console.table(["program", *numbers], rows, numbers=numbers)


def _print_comparisons(
    outcomes: "Sequence[Comparison | str]", kind: str, size: str, facts: "Mapping[str, int]", as_json: bool
) -> None:
    """Print what each program or network takes in both builds, and why others could not be compared."""
    failures = [outcome for outcome in outcomes if isinstance(outcome, str)]
    comparisons = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    for failure in failures:
        console.error(failure)
    if as_json:
        for comparison in comparisons:
            taken = {"here": comparison.here, "there": comparison.there, "ratios": comparison.ratios}
            console.measured({kind: comparison.name} | dict(facts) | taken)
    elif comparisons:
        columns = {"seconds": "seconds", "cpu_seconds": "CPU seconds", "peak_bytes": "peak MB"}
        numbers = [part for column in columns.values() for part in (f"{column} here", "there", "there / here")]
        rows = [
            [one.name, *(cell for figure in columns for cell in _comparison_cells(one, figure))] for one in comparisons
        ]
        console.table([f"{kind}, {size}", *numbers], rows, numbers=numbers)
    if failures:
        raise typer.Exit(1)


def _comparison_cells(comparison: "Comparison", figure: str) -> list[str]:
    def cell(figures: "Figures", spec: str, unit: float = 1) -> str:
        return "-" if figure not in figures else format(figures[figure] / unit, spec)

    unit, spec = (1e6, ".0f") if figure == "peak_bytes" else (1, ".4f")
    here, there = cell(comparison.here, spec, unit), cell(comparison.there, spec, unit)
    return [here, there, cell(comparison.ratios, ".2f")]


def _with_bar(items: "Iterator[Item]", count: int, quiet: bool) -> "list[Item]":
    """Collect all items behind a progress bar."""
    collected = []
    with console.progress_bar(count, quiet) as bar:
        bar.start("timing")
        for item in items:
            collected.append(item)
            bar.finish()
    return collected
