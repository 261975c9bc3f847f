"""`denoise models`: list the registered models."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import Json
from denoise_cli.errors import DamagedWeights, UnknownModel

app = typer.Typer(help="List, show and verify the models.", rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="A name from `denoise models`, or a .safetensors file of denoise train.")]


@app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: Json = False) -> None:
    """List, show and verify the models."""
    if context.invoked_subcommand is not None:
        return
    from denoise_cli.models.manifest import read_manifest
    from denoise_cli.models.registry import MODELS

    entries = read_manifest()
    if as_json:
        for name, spec in MODELS.items():
            record = {"name": name, "summary": spec.summary, "media": spec.media}
            console.data(json.dumps(record | {"scores": dict(entries[name].scores) if name in entries else None}))
        return
    rows = []
    for name, spec in MODELS.items():
        scores = entries[name].scores if name in entries else {}
        size = f"{entries[name].path.stat().st_size / 1e6:.1f} MB" if name in entries else "no weights yet"
        quality = "; ".join(_score_line(*pair) for pair in scores.items())
        rows.append([name, spec.media, size, quality, spec.summary])
    console.table(["name", "for", "weights", "quality", "what it is"], rows, numbers=["weights"])


@app.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show all that is known of a model."""
    from denoise_cli.models.checkpoint import read_note
    from denoise_cli.models.manifest import card_of, read_manifest
    from denoise_cli.models.registry import find_model, is_file

    spec = find_model(name)
    entries = read_manifest()
    facts: dict[str, Any] = {"name": name, "summary": spec.summary}
    if is_file(name):
        facts |= read_note(Path(name))
    elif name in entries:
        facts |= dataclasses.asdict(entries[name]) | {"card": str(card_of(name))}
    else:
        raise UnknownModel(f"{name} has no trained weights yet: make some with denoise train --model {name}")
    if as_json:
        console.data(json.dumps(facts))
        return
    for key, value in facts.items():
        text = "; ".join(_score_line(*pair) for pair in value.items()) if isinstance(value, dict) else value
        console.data(f"{key:14}{text}")


@app.command()
def verify() -> None:
    """Check every weight file against its checksum."""
    from denoise_cli.models.manifest import read_manifest
    from denoise_cli.models.registry import load_net

    failures = 0
    for name in read_manifest():
        try:
            load_net(name)
            console.data(f"{name}: as it should be")
        except DamagedWeights as error:
            failures += 1
            console.error(f"{name}: {error}")
    if failures:
        raise typer.Exit(1)


def _score_line(test_set: str, scores: Mapping[str, float]) -> str:
    return f"{test_set}: " + ", ".join(f"{level} {value:.2f} dB" for level, value in scores.items())
