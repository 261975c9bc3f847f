"""`denoise models`: the models, what is known about them, and whether their weights are intact."""

import dataclasses
import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import Json, ModelArgument
from denoise_cli.errors import DamagedWeights, UnknownModel

app = typer.Typer(help="List, show and verify the models.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: Json = False) -> None:
    """List, show and verify the models.

    Without a command, lists them: what each is for, the size of its weights and its scores on its own test set.
    """
    if context.invoked_subcommand is not None:
        return
    from denoise_cli.models.manifest import read_manifest
    from denoise_cli.models.registry import MODELS

    entries = read_manifest()
    if as_json:
        for name, spec in MODELS.items():
            record = {"name": name, "summary": spec.summary, "media": spec.media}
            console.output(json.dumps(record | {"scores": dict(entries[name].scores) if name in entries else None}))
        return
    rows = []
    for name, spec in MODELS.items():
        scores = dict(islice(entries[name].scores.items(), 1)) if name in entries else {}
        size = f"{entries[name].path.stat().st_size / 1e6:.1f} MB" if name in entries else "no weights yet"
        rows.append([name, spec.media, size, "".join(_format_scores(scores)), spec.summary])
    console.table(["name", "for", "weights", "quality", "what it is"], rows, numbers=["weights"])


@app.command()
def show(name: ModelArgument, as_json: Json = False) -> None:
    """Show everything known about a model."""
    from denoise_cli.models.manifest import card_of, read_manifest
    from denoise_cli.models.registry import find_model, is_weight_file
    from denoise_cli.models.weight_file import read_metadata

    spec = find_model(name)
    entries = read_manifest()
    facts: dict[str, Any] = {"name": name, "summary": spec.summary}
    if is_weight_file(name):
        facts |= read_metadata(Path(name))
    elif name in entries:
        facts |= dataclasses.asdict(entries[name]) | {"card": str(card_of(name))}
    else:
        raise UnknownModel(f"{name} has no trained weights yet: train it with denoise train --model {name}")
    if as_json:
        console.output(json.dumps(facts))
        return
    for key, value in facts.items():
        lines = _format_scores(value) if isinstance(value, dict) else [str(value)]
        for i, line in enumerate(lines):
            console.output(f"{'' if i else key:14}{line}")


@app.command()
def verify() -> None:
    """Check every weight file against its checksum."""
    from denoise_cli.models.manifest import read_manifest
    from denoise_cli.models.registry import load_net

    failures = 0
    for name in read_manifest():
        try:
            load_net(name)
            console.output(f"{name}: intact")
        except DamagedWeights as error:
            failures += 1
            console.error(f"{name}: {error}")
    if failures:
        raise typer.Exit(1)


def _format_scores(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A line for each test set."""
    return [
        f"{test_set}: " + ", ".join(f"{level} {decibels:.2f} dB" for level, decibels in levels.items())
        for test_set, levels in scores.items()
    ]
