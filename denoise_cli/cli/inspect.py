"""`denoise inspect`: what is in photos, and how `denoise image` would denoise them."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import Json, MaxPixels
from denoise_cli.errors import DenoiseError

if TYPE_CHECKING:
    from denoise_cli.pipeline.inspect import Facts

Photos = Annotated[list[Path], typer.Argument(metavar="PHOTO", help="Photos, or - for standard input.")]


def inspect(photos: Photos, max_pixels: MaxPixels = 200_000_000, as_json: Json = False) -> None:
    """Show the format, colours, camera and noise of photos.

    Also shows the model that `denoise image` would use for each.
    """
    from denoise_cli.pipeline import inspect

    failures = 0
    for path in photos:
        try:
            facts = inspect.inspect(path, max_pixels)
        except DenoiseError as error:
            failures += 1
            console.error(str(error))
            continue
        if as_json:
            console.output(json.dumps(dataclasses.asdict(facts)))
        else:
            for name, description in _descriptions(facts):
                console.output(f"{name:10}{description}")
    if failures:
        raise typer.Exit(1)


def _descriptions(facts: "Facts") -> list[tuple[str, str]]:
    origin = "from the file" if facts.noise_from == "file" else "estimated"
    if facts.shot is None:
        noise = f"sigma {facts.sigma:.1f} of 255, {origin}"
    else:
        noise = f"shot {facts.shot:.3g}, read {facts.read:.3g} (--noise {facts.shot:.3g},{facts.read:.3g}), {origin}"
    levels = "" if facts.white is None else f", black {facts.black:g}, white {facts.white}"
    exposure = "" if facts.exposure is None else f", {_seconds(facts.exposure)}"
    iso = "" if facts.iso is None else f", ISO {facts.iso}"
    return [
        ("file", facts.source),
        ("format", facts.format),
        ("size", f"{facts.width} x {facts.height}{f', {facts.pages} pages' if facts.pages > 1 else ''}"),
        ("values", f"{facts.bits} bits, {facts.colours}{', transparency' if facts.alpha else ''}{levels}"),
        ("profile", _colours(facts)),
        ("taken by", f"{facts.camera or 'unknown'}{exposure}{iso}"),
        ("noise", noise),
        ("model", facts.model),
        *(("damage", line) for line in facts.damage),
    ]


def _colours(facts: "Facts") -> str:
    if facts.white is not None:
        return "the camera's colours"
    known = [text for text in (facts.encoding, facts.profile) if text]
    return "; ".join(known) or "none, assumed to be sRGB"


def _seconds(exposure: float) -> str:
    return f"1/{1 / exposure:.0f} s" if exposure < 0.5 else f"{exposure:g} s"
