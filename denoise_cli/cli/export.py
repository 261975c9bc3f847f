"""`denoise export`: a model as a file that other programs run."""

import json
from pathlib import Path
from typing import Annotated

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import Json, Quiet

Model = Annotated[str, typer.Argument(help="A name from `denoise models`, or a .safetensors file of denoise train.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="A file ending in .onnx or .xml. [default: MODEL.onnx or MODEL.xml]"),
]
Format = Annotated[
    str | None, typer.Option("--format", help="onnx or openvino, where no output is named. [default: onnx]")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]


def export(
    model: Model,
    output: Output = None,
    format: Format = None,  # noqa: A002 - the option's name
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a model as a file that other programs run: ONNX or OpenVINO."""
    from denoise_cli.files import check_target
    from denoise_cli.inference import export

    target = export.plan(model, output, format)
    export.check(model, target.format)
    for path in target.files:
        check_target(path, overwrite)
    export.write(model, target, overwrite)
    if as_json:
        files = [str(path) for path in target.files]
        console.data(json.dumps({"model": model, "format": target.format, "files": files}))
    if not quiet:
        sizes = ", ".join(f"{path} ({path.stat().st_size / 1e6:.1f} MB)" for path in target.files)
        console.say(f"{model} -> {sizes}")
