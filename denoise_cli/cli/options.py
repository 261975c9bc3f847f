"""Options that several commands share, and how their text is read."""

from typing import TYPE_CHECKING, Annotated, get_args

import typer

from denoise_cli.errors import UsageError

if TYPE_CHECKING:
    from denoise_cli.imaging.noise import ShotRead
    from denoise_cli.inference.device import Precision as PrecisionName

Model = Annotated[str, typer.Option(help="A name from `denoise models`.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")]
Tile = Annotated[str, typer.Option(help="auto, or the longest side in pixels that is processed at once: less memory.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse photos with more pixels than this.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON record per result on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


def read_noise(text: str) -> float | None:
    """A noise level on [0, 1] from "25" (of 255); None for "auto"."""
    if text == "auto":
        return None
    return read_number(text, "--noise", 0, 255) / 255


def read_sensor_noise(text: str) -> "float | ShotRead | None":
    """As `read_noise`, or a sensor's noise from "SHOT,READ", as shares of white."""
    if "," not in text:
        return read_noise(text)
    from denoise_cli.imaging.noise import ShotRead

    parts = text.split(",")
    try:
        shot, read = (float(part) for part in parts)
    except ValueError:
        shot = read = float("nan")
    if not (0 <= shot <= 1 and 0 <= read <= 1):
        raise UsageError(f"--noise {text}: expected SHOT,READ, two numbers from 0 to 1, like 0.003,0.002")
    return ShotRead(shot, read)


def read_number(text: str, option: str, least: float, most: float, auto: bool = True) -> float:
    """A number within limits, of an option that takes "auto" as well, or does not.

    Raises:
        UsageError: not one.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        expected = "auto or a number" if auto else "a number"
        raise UsageError(f"{option} {text}: expected {expected} from {least:g} to {most:g}")
    return value


def read_tile(text: str) -> int | None:
    """A tile's side; None for "auto"."""
    if text == "auto":
        return None
    return int(read_number(text, "--tile", 256, 65536))


def read_precision(text: str) -> "PrecisionName":
    """One of the arithmetics.

    Raises:
        UsageError: another word.
    """
    from denoise_cli.inference.device import Precision as PrecisionName

    for name in get_args(PrecisionName):
        if text == name:
            return name
    raise UsageError(f"--precision {text}: choose one of {', '.join(get_args(PrecisionName))}")
