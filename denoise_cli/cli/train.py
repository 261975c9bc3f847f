"""`denoise train`: make weights, go on making them, or fit them to other photos."""

import dataclasses
import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import Device, Quiet
from denoise_cli.errors import UsageError

if TYPE_CHECKING:
    from denoise_cli.train.recipe import Recipe
    from denoise_cli.train.trainer import Report, Trainer

Data = Annotated[
    list[Path],
    typer.Option(
        envvar="DENOISE_DATA",
        help="A folder of clean photos, or of pairs (noisy/ and clean/ inside); may be given several times. "
        "With --recipe, the folder that holds the recipe's folders.",
    ),
]
Out = Annotated[Path, typer.Option(help="The run's folder: state, log.csv, curve.png and weights.safetensors.")]
RecipeName = Annotated[
    str | None, typer.Option("--recipe", help="Repeat the run of a published model, or one of a .toml file.")
]
Model = Annotated[str | None, typer.Option(help="Train this model from fresh weights.")]
Start = Annotated[
    str | None, typer.Option("--from", help="Fine-tune: begin with the weights of a model or a .safetensors file.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Batches in all; the learning rate ends at zero.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Crops in a batch.")]
Patch = Annotated[
    int | None, typer.Option(min=1, help="Side of a crop in pixels, a multiple of what the network takes.")
]
LearningRate = Annotated[float | None, typer.Option(min=0, help="After the warm-up.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Of weights, crops and noise.")]
Validation = Annotated[Path | None, typer.Option(help="A folder of clean photos to score at sigma 25, or of pairs.")]
Every = Annotated[int, typer.Option(min=1, help="Steps between two scores.")]
SaveEvery = Annotated[int, typer.Option(min=1, help="Steps between two saved states.")]
Minutes = Annotated[float, typer.Option(min=0, help="Stop in time; continue with --resume.")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Processes that prepare crops. [default: 0 on a CPU, 8 for a GPU]")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue the run that is in the folder, with its settings but for those given."),
]

WORKERS_FOR_A_GPU = 8
INTERRUPTED = 130


def train(
    data: Data,
    out: Out,
    recipe: RecipeName = None,
    model: Model = None,
    start: Start = None,
    steps: Steps = None,
    batch: Batch = None,
    patch: Patch = None,
    learning_rate: LearningRate = None,
    seed: Seed = None,
    validation: Validation = None,
    validate_every: Every = 5000,
    save_every: SaveEvery = 500,
    minutes: Minutes = math.inf,
    workers: Workers = None,
    resume: Resume = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train a model on photos: --recipe repeats a published run, --model starts a new one, --from fine-tunes."""
    choices = sum(choice is not None for choice in (recipe, model, start))
    if choices > 1 or not (choices or resume):
        raise UsageError(
            "choose one of --recipe (repeat a run), --model (start one) and --from (fine-tune), or --resume one"
        )

    from denoise_cli.models.registry import is_file
    from denoise_cli.train.distributed import device_for
    from denoise_cli.train.recipe import Recipe, fine_tuning, read_recipe, recipe_of
    from denoise_cli.train.trainer import Trainer

    if recipe is not None:
        settings = read_recipe(recipe)
    elif resume:
        settings = recipe_of(out)
        model = model if start is None or is_file(start) else start  # the file may be gone, and is not needed
    else:
        settings = fine_tuning(start) if start is not None else Recipe(str(model))
    folders = _folders(settings, data)
    settings = _replaced(
        settings, model=model, steps=steps, batch=batch, patch=patch, learning_rate=learning_rate, seed=seed
    )

    place = device_for(device)
    trainer = Trainer(
        settings,
        folders,
        out,
        place,
        validation=validation,
        validate_every=validate_every,
        save_every=save_every,
        resume=resume,
        workers=(WORKERS_FOR_A_GPU if place.type == "cuda" else 0) if workers is None else workers,
    )
    talks = trainer.processes.is_leader and not quiet
    if trainer.changes and talks:
        console.say(f"{out}: {', '.join(trainer.changes)}")
    skipped = 0
    with _interruptible(trainer), console.bar(settings.steps, not talks) as bar:
        bar.start(settings.model)
        for report in trainer.run(minutes, lambda fraction: bar.reach(trainer.step, fraction)):
            for line in report.skipped:
                console.error(f"{line}: skipped")
            skipped += len(report.skipped)
            if not quiet:
                console.say(_line(report, settings))
    trainer.processes.leave()
    if trainer.processes.is_leader:
        _draw(out)
    missing = settings.steps - trainer.step
    if talks:
        left = f": {missing} left, continue with --resume" if missing else ""
        unread = f", unreadable photos: {skipped}" if skipped else ""
        console.say(f"{out}: {trainer.step} steps done{unread}{left}")
    if missing and trainer.stopped:
        raise typer.Exit(INTERRUPTED)


def _replaced(recipe: "Recipe", **asked: Any) -> "Recipe":
    """The recipe, but for what was asked for."""
    try:
        return dataclasses.replace(recipe, **{name: value for name, value in asked.items() if value is not None})
    except ValueError as error:
        raise UsageError(str(error)) from error


def _folders(recipe: "Recipe", roots: list[Path]) -> list[Path]:
    """The recipe's folders below the roots, as often as it names them; the roots themselves where it names none."""
    found = {name: [root / name for root in roots if (root / name).is_dir()] for name in recipe.data}
    absent = [name for name, folders in found.items() if not folders]
    if absent:
        raise UsageError(
            f"{', '.join(map(str, roots))}: the recipe learns from photos in {', '.join(recipe.data)}, and there is no "
            f"{absent[0]}: name the folder that holds them, or fit the weights to photos of your own with --from"
        )
    return [folder for name in recipe.data for folder in found[name]] or roots


@contextmanager
def _interruptible(trainer: "Trainer") -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run after its step, and at once when they come again; or where processes share it."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        trainer.stop()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    signals = (signal.SIGINT, signal.SIGTERM) if trainer.processes.size == 1 else ()
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    finally:
        restore()


def _draw(run: Path) -> None:
    """The curve is a convenience: whoever has no matplotlib has the log."""
    from denoise_cli.errors import MissingDependency
    from denoise_cli.evaluation.plots import plot_run

    log = run / "log.csv"
    if len(log.read_text().splitlines()) > 1:  # else there is nothing but its head
        with suppress(MissingDependency):
            plot_run(log, run / "curve.png")


def _line(report: "Report", recipe: "Recipe") -> str:
    score = "" if report.psnr is None else f", validation {report.psnr:.2f} dB"
    left = (recipe.pixels_until(recipe.steps) - recipe.pixels_until(report.step)) / 1e6
    minutes = left / report.megapixels_per_second / 60
    return (
        f"step {report.step} of {recipe.steps}: loss {report.loss:.5f}{score}, "
        f"{report.megapixels_per_second:.2f} MP/s ({report.waiting:.0%} waiting for crops), "
        f"{report.seconds / 60:.1f} minutes, {minutes:.0f} to go"
    )
