"""The Typer app: the list of commands."""

from typing import Annotated

import typer

from denoise_cli.cli import bench, compare, console, doctor, evaluate, export, image, inspect, models, train, video
from denoise_cli.version import __version__

app = typer.Typer(
    name="denoise",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        console.output(f"denoise {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Remove noise from photos, camera RAW and clips."""


app.command("image")(image.image)
app.command("video")(video.video)
app.command("compare")(compare.compare)
app.command("inspect")(inspect.inspect)
app.command("doctor")(doctor.doctor)
app.command("eval")(evaluate.evaluate)
app.command("train")(train.train)
app.command("export")(export.export)
app.command("bench")(bench.bench)
app.add_typer(models.app, name="models")
