"""Two builds in turns: folders with a package of the project's name, whose program says in a file that it ran."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from denoise_cli.benchmark import builds
from denoise_cli.benchmark.networks import Job
from denoise_cli.benchmark.programs import Program

ROOT = Path(__file__).parents[2]
JOB = Job("mallenet-s", 64, 1, "cpu", "auto")

Checkout = Callable[[str, str], Path]

# Prints a network's record after that of the machine; the first run takes ten times as long.
RECORD = """
import json
milliseconds = {milliseconds} * (10 if log.read_text().count(name) == 1 else 1)
print(json.dumps({{"machine": "a"}}))
print(json.dumps({{"network": "mallenet-s", "milliseconds": milliseconds, "peak_bytes": 5}} | {more}))
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def checkout(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """Makes a folder with a program; that of the name "here" stands for this build."""
    monkeypatch.chdir(ROOT)  # whose package must not be taken for theirs

    def make(name: str, script: str) -> Path:
        package = tmp_path / name / "denoise_cli"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        opened = f"import pathlib\nname, log = {name!r}, pathlib.Path({str(log)!r})\n"
        (package / "__main__.py").write_text(f"{opened}with log.open('a') as file: file.write(name + ' ')\n{script}")
        if name == "here":
            monkeypatch.setattr(builds, "THIS_CHECKOUT", package.parent)
        return package.parent

    return make


def test_programs_run_in_turns(checkout: Checkout, log: Path) -> None:
    checkout("here", "")
    there = checkout("there", "")
    program = Program("ours", [sys.executable, "-m", "denoise_cli"])
    (comparison,) = builds.compare_programs([program], there, 3)
    assert log.read_text().split() == ["here", "there"] * 3
    assert isinstance(comparison, builds.Comparison)
    assert comparison.ratios.keys() == {"seconds", "cpu_seconds", "peak_bytes"}
    assert all(ratio > 0 for ratio in comparison.ratios.values())


def test_figures_of_networks_are_medians(checkout: Checkout, log: Path) -> None:
    checkout("here", RECORD.format(milliseconds=20, more={"cpu_milliseconds": 30}))
    there = checkout("there", RECORD.format(milliseconds=50, more={"cpu_milliseconds": 45}))
    (comparison,) = builds.compare_networks([JOB], there, 3)
    assert log.read_text().split() == ["here", "there"] * 3
    assert comparison == builds.Comparison(
        "mallenet-s",
        here={"seconds": 0.02, "cpu_seconds": 0.03, "peak_bytes": 5},
        there={"seconds": 0.05, "cpu_seconds": 0.045, "peak_bytes": 5},
        ratios={"seconds": 2.5, "cpu_seconds": 1.5, "peak_bytes": 1.0},
    )


def test_what_a_build_does_not_report_has_no_ratio(checkout: Checkout) -> None:
    checkout("here", RECORD.format(milliseconds=20, more={"cpu_milliseconds": 30, "peak_bytes": 0}))
    there = checkout("there", RECORD.format(milliseconds=20, more={}))
    (comparison,) = builds.compare_networks([JOB], there, 1)
    assert isinstance(comparison, builds.Comparison)
    assert comparison.ratios == {"seconds": 1.0}
    assert comparison.there == {"seconds": 0.2, "peak_bytes": 5}


@pytest.mark.parametrize("compare", [builds.compare_networks, builds.compare_programs])
def test_a_failure_names_the_build(checkout: Checkout, compare: Callable[..., object]) -> None:
    checkout("here", RECORD.format(milliseconds=20, more={}))
    there = checkout("there", "raise SystemExit('unknown model')")
    work = JOB if compare is builds.compare_networks else Program("mallenet-s", [sys.executable, "-m", "denoise_cli"])
    assert list(compare([work], there, 3)) == [f"{there}: mallenet-s: exit code 1: unknown model"]
