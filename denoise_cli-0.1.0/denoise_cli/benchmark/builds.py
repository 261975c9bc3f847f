"""How fast this build of the program is beside that of another checkout of the project, both run in turns.

In turns, because the speed of a machine changes with what else it does: two runs one after the other have the most in
common.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from denoise_cli.benchmark.networks import Job
from denoise_cli.benchmark.programs import Program, failure, time_program
from denoise_cli.errors import DenoiseError, UsageError

THIS_CHECKOUT = Path(__file__).parents[2]
MILLISECONDS = 1e3  # in a second
Figures = Mapping[str, float]  # of one run: "seconds", "cpu_seconds" of all threads, "peak_bytes"


@dataclass(frozen=True)
class Comparison:
    """What a program or a network takes in both builds.

    Attributes:
        here, there: the median of each figure, in this build and in the other.
        ratios: the median over the pairs of runs of what each figure is there, divided by what it is here. Figures that
            the other build does not report, or that are 0 here, have none.
    """

    name: str
    here: Figures
    there: Figures
    ratios: Figures


def check_checkout(path: Path) -> None:
    """Refuse a folder that is no checkout of this project.

    Raises:
        UsageError: it has no package `denoise_cli`.
    """
    if not (path / "denoise_cli" / "__main__.py").is_file():
        raise UsageError(f"--against {path}: is not a checkout of this project: there is no denoise_cli in it")


def compare_programs(programs: Iterable[Program], other: Path, repeats: int) -> Iterator[Comparison | str]:
    """Compare programs, each run in its own process.

    Args:
        programs: commands of ours.
        other: the other checkout.
        repeats: how many times each build runs.

    Yields:
        The comparison; or, if a program fails, the reason in one line.
    """

    def run(program: Program, checkout: Path) -> Figures:
        timing = time_program(program, _environment(checkout))
        return {"seconds": timing.seconds, "cpu_seconds": timing.cpu_seconds, "peak_bytes": timing.peak_bytes}

    return (_compare(program, run, other, repeats) for program in programs)


def compare_networks(jobs: Iterable[Job], other: Path, repeats: int) -> Iterator[Comparison | str]:
    """Compare networks, which each build times by its own `denoise bench`; otherwise as `compare_programs`."""

    def run(program: Program, checkout: Path) -> Figures:
        done = subprocess.run(
            program.command, env=_environment(checkout), capture_output=True, text=True, encoding="utf-8", check=False
        )
        if done.returncode:
            raise failure(program, done.returncode, done.stderr)
        record = next(one for one in map(json.loads, done.stdout.splitlines()) if "network" in one)
        cpu = record.get("cpu_milliseconds")  # earlier builds do not report it
        return (
            {"seconds": record["milliseconds"] / MILLISECONDS}
            | ({} if cpu is None else {"cpu_seconds": cpu / MILLISECONDS})
            | {"peak_bytes": record["peak_bytes"]}
        )

    return (_compare(_bench(job), run, other, repeats) for job in jobs)


def _bench(job: Job) -> Program:
    what = ["--model", job.name, "--size", str(job.size), "--batch", str(job.batch)]
    how = ["--device", job.device, "--precision", job.precision, "--json", "--quiet"]
    return Program(job.name, [sys.executable, "-m", "denoise_cli", "bench", *what, *how])


def _compare(program: Program, run: Callable[[Program, Path], Figures], other: Path, repeats: int) -> Comparison | str:
    here: list[Figures] = []
    there: list[Figures] = []
    for _ in range(repeats):
        for checkout, runs in ((THIS_CHECKOUT, here), (other, there)):
            try:
                runs.append(run(program, checkout))
            except DenoiseError as error:
                return f"{checkout}: {error}"
    ratios = {
        name: statistics.median(b[name] / a[name] for a, b in zip(here, there, strict=True))
        for name in here[0]
        if name in there[0] and all(a[name] for a in here)
    }
    return Comparison(program.name, _medians(here), _medians(there), ratios)


def _medians(runs: Sequence[Figures]) -> Figures:
    return {name: statistics.median(one[name] for one in runs) for name in runs[0]}


def _environment(checkout: Path) -> dict[str, str]:
    """Variables with which Python imports the package from a checkout, even inside another one."""
    paths = [str(checkout.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
