"""The Typer app: which commands there are."""

from typing import Annotated

import typer

from denoise_cli.cli import bench, doctor, evaluate, export, image, inspect, models, train, video
from denoise_cli.cli.console import data
from denoise_cli.version import __version__

app = typer.Typer(
    name="denoise",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        data(f"denoise {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Remove noise from photos and clips."""


app.command("image")(image.image)
app.command("video")(video.video)
app.command("bench")(bench.bench)
app.command("eval")(evaluate.evaluate)
app.command("train")(train.train)
app.command("inspect")(inspect.inspect)
app.add_typer(models.app, name="models")
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)
