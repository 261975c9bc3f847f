"""`denoise export`: write a model as a file that other programs run."""

import json
from pathlib import Path
from typing import Annotated

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import Json, ModelArgument, Overwrite, Quiet

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Target: a file ending in .onnx, or in .xml for OpenVINO.",
        show_default="MODEL.onnx or MODEL.xml in the current folder",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Output format, if no --output is given: onnx or openvino.",
        show_default="onnx",
    ),
]


def export(
    model: ModelArgument,
    output: Output = None,
    format: Format = None,  # noqa: A002 - the option's name
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a model as an ONNX or OpenVINO file for other programs."""
    from denoise_cli.files import check_target
    from denoise_cli.inference import export

    target = export.plan(model, output, format)
    export.check(model, target.format)
    for path in target.files:
        check_target(path, overwrite, [Path(model)])
    export.write(model, target, overwrite)
    if as_json:
        files = [str(path) for path in target.files]
        console.output(json.dumps({"model": model, "format": target.format, "files": files}))
    if not quiet:
        sizes = ", ".join(f"{path} ({path.stat().st_size / 1e6:.1f} MB)" for path in target.files)
        console.status(f"{model} -> {sizes}")
