"""`denoise inspect`: what the program sees in photos."""

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

Photos = Annotated[list[Path], typer.Argument(help="Photos, or - for standard input.")]


def inspect(photos: Photos, max_pixels: MaxPixels = 200_000_000, as_json: Json = False) -> None:
    """Show what the program sees in photos: format, colours, camera, noise, and the model that it would take."""
    from denoise_cli.pipeline.inspect import inspect as look

    failures = 0
    for path in photos:
        try:
            facts = look(path, max_pixels)
        except DenoiseError as error:
            failures += 1
            console.error(str(error))
            continue
        if as_json:
            console.data(json.dumps(dataclasses.asdict(facts)))
        else:
            for name, words in _lines(facts):
                console.data(f"{name:10}{words}")
    if failures:
        raise typer.Exit(1)


def _lines(facts: "Facts") -> list[tuple[str, str]]:
    said = "as the file says" if facts.noise_from == "file" else "estimated"
    if facts.shot is None:
        noise = f"sigma {facts.sigma:.1f} of 255, {said}"
    else:
        noise = f"shot {facts.shot:.3g}, read {facts.read:.3g} (--noise {facts.shot:.3g},{facts.read:.3g}), {said}"
    levels = "" if facts.white is None else f", black {facts.black:g}, white {facts.white}"
    shutter = "" if facts.exposure is None else f", {_seconds(facts.exposure)}"
    taken = f"{facts.camera or 'unknown'}{shutter}" + ("" if facts.iso is None else f", ISO {facts.iso}")
    return [
        ("file", facts.source),
        ("format", facts.format),
        ("size", f"{facts.width} x {facts.height}"),
        ("values", f"{facts.bits} bits, {facts.colours}{', transparency' if facts.alpha else ''}{levels}"),
        ("profile", facts.profile or "none: taken for sRGB" if facts.white is None else "of the camera"),
        ("taken by", taken),
        ("noise", noise),
        ("model", facts.model),
    ]


def _seconds(exposure: float) -> str:
    return f"1/{1 / exposure:.0f} s" if exposure < 0.5 else f"{exposure:g} s"
