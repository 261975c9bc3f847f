"""Plots of figures that are also written as tables. They need matplotlib, which is optional."""

import csv
import importlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from denoise_cli.errors import MissingDependency
from denoise_cli.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (7.0, 4.5)  # inches
DPI = 110  # dots per inch


def plot_run(log: Path, target: Path) -> None:
    """Plot a training run's loss and validation scores over its steps, as a PNG.

    Args:
        log: the run's log.csv.
        target: the PNG; replaced if it exists.

    Raises:
        MissingDependency: matplotlib is not installed.
        UnwritableFile: the target cannot be written.
    """
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [int(row["step"]) for row in rows]
    scores = [(int(row["step"]), float(row["psnr"])) for row in rows if row["psnr"]]
    figure = _figure()
    axes = figure.subplots()
    axes.semilogy(steps, [float(row["loss"]) for row in rows], color="tab:blue")
    axes.set_xlabel("step")
    axes.set_ylabel("loss", color="tab:blue")
    if scores:
        right = axes.twinx()
        right.plot(*zip(*scores, strict=True), "o-", color="tab:orange")
        right.set_ylabel("validation, dB", color="tab:orange")
    _save(figure, target)


def plot_trade_off(points: dict[str, Sequence[tuple[float, float]]], x: str, y: str, target: Path) -> None:
    """Plot quality against cost as a PNG: a line for each name, with the cost on a logarithmic axis.

    Args:
        points: by name, pairs of cost and quality.
        x: label of the cost.
        y: label of the quality.
        target: the PNG; replaced if it exists.

    Raises:
        MissingDependency: matplotlib is not installed.
        UnwritableFile: the target cannot be written.
    """
    figure = _figure()
    axes = figure.subplots()
    for name, pairs in points.items():
        axes.semilogx(*zip(*sorted(pairs), strict=True), "o-", label=name)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    _save(figure, target)


def check_installed() -> None:
    """Check that matplotlib is installed, before computing what is to be plotted.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise MissingDependency("drawing plots", "matplotlib") from error


def _figure() -> "Figure":
    check_installed()
    from matplotlib.figure import Figure

    return Figure(figsize=SIZE, layout="constrained")


def _save(figure: "Figure", target: Path) -> None:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    write_atomically(target, buffer.getvalue(), overwrite=True)
