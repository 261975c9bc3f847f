"""`denoise train`: train a model, continue a run, or fine-tune a model on other photos."""

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
from denoise_cli.cli.options import NAME_OR_FILE, Device, Quiet
from denoise_cli.errors import UsageError
from denoise_cli.inference.device import refuse_little_room

if TYPE_CHECKING:
    from denoise_cli.train.recipe import Recipe
    from denoise_cli.train.trainer import Report, Trainer

# Bytes of addresses, which PyTorch, SciPy and scikit-image take without any photo. OpenBLAS, which SciPy brings along,
# asks for memory again and again where there is none.
ROOM = 5 * 2**28

Data = Annotated[
    list[Path],
    typer.Option(
        metavar="FOLDER",
        envvar="DENOISE_DATA",
        help="Folder of clean photos; or of pairs, with noisy photos in noisy/ and clean ones in clean/; or, with "
        "--recipe, the folder that contains the recipe's folders. Repeatable.",
    ),
]
Out = Annotated[
    Path, typer.Option(metavar="FOLDER", help="Folder of the run, for its weights, state, log and learning curve.")
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe", metavar="RECIPE", help="Recipe to repeat: the name of a published model, or a .toml file."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Model to train from scratch: a name from `denoise models`."),
]
Start = Annotated[str | None, typer.Option("--from", metavar="MODEL", help=f"Model to fine-tune: {NAME_OR_FILE}.")]
Steps = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Number of steps; each learns from one batch.",
        show_default="the recipe's, or 20000; 4000 with --from",
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Number of crops in a batch.", show_default="the recipe's, or 16"),
]
Patch = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        min=1,
        help="Side of a crop, a multiple of what the network requires (64 for a MalleNet).",
        show_default="the recipe's, or 64",
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        min=0,
        help="Learning rate after the warm-up.",
        show_default="the recipe's, or 0.001; 0.0003 with --from",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, help="Seed for weights, crops and noise.", show_default="the recipe's, or 0"),
]
Validation = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of photos to score the weights on: pairs, or clean photos, which get noise of sigma 25.",
    ),
]
Every = Annotated[int, typer.Option(metavar="N", min=1, help="Number of steps between validations.")]
SaveEvery = Annotated[int, typer.Option(metavar="N", min=1, help="Number of steps between saved states.")]
Minutes = Annotated[
    float,
    typer.Option(
        metavar="MINUTES", min=0, help="Minutes after which to stop; continue with --resume.", show_default="no limit"
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="Number of processes that prepare crops; 0 prepares them between steps.",
        show_default="8 with a GPU, 0 on a CPU",
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue the run in the --out folder, with its settings except those given here."),
]

GPU_WORKERS = 8
INTERRUPTED = 130  # the exit code, by the shells' convention


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
    """Train a model, or fine-tune one on your own photos.

    --recipe repeats a published model's run, --model trains from scratch, --from fine-tunes, --resume continues.
    """
    choices = sum(choice is not None for choice in (recipe, model, start))
    if choices > 1 or not (choices or resume):
        raise UsageError(
            "choose one of --recipe (repeat a run), --model (start a run) and --from (fine-tune), or continue a run "
            "with --resume"
        )

    refuse_little_room(ROOM)

    from denoise_cli.models.registry import is_weight_file
    from denoise_cli.train.distributed import device_for
    from denoise_cli.train.recipe import recipe_of
    from denoise_cli.train.trainer import Trainer

    if recipe is None and resume:
        settings = recipe_of(out)
        if start is not None and not is_weight_file(start):  # a file may be gone by now, and is not needed
            model = start
    else:
        settings = _new_settings(recipe, model, start)
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
        workers=(GPU_WORKERS if place.type == "cuda" else 0) if workers is None else workers,
    )
    _run(trainer, settings, out, minutes, quiet)
    if trainer.stopped and trainer.step < settings.steps:
        raise typer.Exit(INTERRUPTED)


def _new_settings(recipe: str | None, model: str | None, start: str | None) -> "Recipe":
    from denoise_cli.train.recipe import Recipe, fine_tuning, read_recipe

    if recipe is not None:
        return read_recipe(recipe)
    return fine_tuning(start) if start is not None else Recipe(str(model))


def _folders(recipe: "Recipe", roots: list[Path]) -> list[Path]:
    """The recipe's folders below the roots, repeated as in the recipe; the roots themselves if it names none."""
    found = {name: [root / name for root in roots if (root / name).is_dir()] for name in recipe.data}
    missing = [name for name, folders in found.items() if not folders]
    if missing:
        raise UsageError(
            f"{', '.join(map(str, roots))}: the recipe needs the folders {', '.join(recipe.data)}, and there is no "
            f"{missing[0]}: name the folder that contains them, or fine-tune on your own photos with --from"
        )
    return [folder for name in recipe.data for folder in found[name]] or roots


def _replaced(recipe: "Recipe", **given: Any) -> "Recipe":
    """The recipe with the settings that are given, those that are not None."""
    try:
        return dataclasses.replace(recipe, **{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise UsageError(str(error)) from error


def _run(trainer: "Trainer", settings: "Recipe", out: Path, minutes: float, quiet: bool) -> None:
    """Train, and report on it; of several processes, only the first reports."""
    reports_run = trainer.processes.is_leader and not quiet
    if trainer.changes and reports_run:
        console.status(f"{out}: {', '.join(trainer.changes)}")
    skipped = 0
    with _interruptible(trainer), console.progress_bar(settings.steps, not reports_run) as bar:
        bar.start(settings.model)
        for report in trainer.run(minutes, lambda fraction: bar.jump_to(trainer.step, fraction)):
            for photo in report.skipped:
                console.error(f"{photo}: skipped")
            skipped += len(report.skipped)
            if not quiet:
                console.status(_progress(report, settings))
    trainer.processes.leave()
    if trainer.processes.is_leader:
        _draw_curve(out)
    if reports_run:
        remaining = settings.steps - trainer.step
        unreadable = f", unreadable photos: {skipped}" if skipped else ""
        advice = f": {remaining} left, continue with --resume" if remaining else ""
        console.status(f"{out}: {trainer.step} steps done{unreadable}{advice}")


@contextmanager
def _interruptible(trainer: "Trainer") -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP end the run after the current step, and end it at once the second time.

    If several processes share the run, the first signal ends it at once.
    """

    def stop(_signal: int, _frame: FrameType | None) -> None:
        trainer.stop()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    names = ("SIGINT", "SIGTERM", "SIGHUP") if trainer.processes.size == 1 else ()
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    signals = [number for number in signals if signal.getsignal(number) != signal.SIG_IGN]  # as nohup sets SIGHUP
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    finally:
        restore()


def _draw_curve(run: Path) -> None:
    """Draw the log if matplotlib is installed; the log itself holds the same figures."""
    from denoise_cli.errors import MissingDependency
    from denoise_cli.evaluation.plots import plot_run

    log = run / "log.csv"
    if len(log.read_text().splitlines()) > 1:  # more than the header
        with suppress(MissingDependency):
            plot_run(log, run / "curve.png")


def _progress(report: "Report", recipe: "Recipe") -> str:
    score = "" if report.psnr is None else f", validation {report.psnr:.2f} dB"
    remaining_megapixels = (recipe.pixels_until(recipe.steps) - recipe.pixels_until(report.step)) / 1e6
    remaining_minutes = remaining_megapixels / report.megapixels_per_second / 60
    return (
        f"step {report.step} of {recipe.steps}: loss {report.loss:.5f}{score}, "
        f"{report.megapixels_per_second:.2f} MP/s ({report.waiting:.0%} waiting for crops), "
        f"{report.seconds / 60:.1f} minutes, {remaining_minutes:.0f} to go"
    )
