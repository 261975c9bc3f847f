"""`denoise train`: make weights, or go on making them."""

import math
from pathlib import Path
from typing import Annotated

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import Device, Model, Quiet

Data = Annotated[list[Path], typer.Option(help="A folder of clean photos; may be given several times.")]
Out = Annotated[Path, typer.Option(help="The run's folder: state, log.csv and weights.safetensors.")]
Steps = Annotated[int, typer.Option(min=1, help="Batches in all; the learning rate falls to zero with the last.")]
Batch = Annotated[int, typer.Option(min=1, help="Crops in a batch.")]
Patch = Annotated[int, typer.Option(min=64, help="Side of a crop in pixels, a multiple of 64.")]
LearningRate = Annotated[float, typer.Option(min=0, help="After the warm-up.")]
Seed = Annotated[int, typer.Option(help="Of weights, crops and noise.")]
Validation = Annotated[Path | None, typer.Option(help="A folder of clean photos to score at sigma 25.")]
Every = Annotated[int, typer.Option(min=1, help="Steps between two scores.")]
Minutes = Annotated[float, typer.Option(min=0, help="Stop in time; continue with --resume.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run that is in the folder.")]


def train(
    data: Data,
    out: Out,
    model: Model = "mallenet-s",
    steps: Steps = 100_000,
    batch: Batch = 16,
    patch: Patch = 64,
    learning_rate: LearningRate = 1e-3,
    seed: Seed = 0,
    validation: Validation = None,
    validate_every: Every = 5000,
    minutes: Minutes = math.inf,
    resume: Resume = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train a model on clean photos, to which it adds the noise itself."""
    from denoise_cli.denoiser import choose_device
    from denoise_cli.errors import UsageError
    from denoise_cli.train import TrainConfig, Trainer

    if patch % 64:
        raise UsageError(f"--patch {patch}: expected a multiple of 64")
    config = TrainConfig(
        model=model,
        data=tuple(data),
        steps=steps,
        batch=batch,
        patch=patch,
        learning_rate=learning_rate,
        seed=seed,
        validation=validation,
        validate_every=validate_every,
    )
    trainer = Trainer(config, out, choose_device(device), resume)
    with console.bar(1, quiet) as bar:
        bar.start(model)
        for report in trainer.run(minutes):
            bar.show(report.step / steps)
            score = "" if report.psnr is None else f", {report.psnr:.2f} dB at sigma 25"
            if not quiet:
                console.say(f"step {report.step}: loss {report.loss:.5f}{score}, {report.seconds / 60:.1f} minutes")
    if not quiet:
        left = "" if trainer.step == steps else f": {steps - trainer.step} steps left, continue with --resume"
        console.say(f"{out}: {trainer.step} steps done{left}")
