"""Options shared by several commands, and the functions that parse their values.

Help texts follow one style: a noun phrase for an option that takes a value, an imperative for a flag, and a full stop.
docs/cli_options.py copies them into docs/cli.md.
"""

import math
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from denoise_cli.errors import UsageError

if TYPE_CHECKING:
    from denoise_cli.imaging.noise import ShotRead
    from denoise_cli.inference.device import Precision as PrecisionName

NAME_OR_FILE = "a name from `denoise models`, or a .safetensors file from `denoise train`"
SMALLEST_TILE = 256  # pixels
LARGEST_TILE = 65536  # pixels
MAX_FRAMES = 9  # in a window

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=f"Model: {NAME_OR_FILE}.")]
Strength = Annotated[
    float,
    typer.Option(
        metavar="FACTOR", min=0, max=1, help="How much of the noise to remove; 0 leaves the pixels unchanged."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be written, then stop.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE", help="Device to compute on: auto, cpu, cuda or cuda:N. auto is a GPU if PyTorch finds one."
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="PRECISION",
        help="Arithmetic: auto, fp32, bf16 or fp16. auto is 16 bits if the device supports them natively.",
    ),
]
Tile = Annotated[
    str,
    typer.Option(
        metavar="PIXELS",
        help=f"Longest side of the tiles in which pictures are processed: auto, or at least {SMALLEST_TILE}. Smaller "
        "tiles need less memory.",
    ),
]
MaxPixels = Annotated[
    int, typer.Option(metavar="N", min=1, help="Largest photo to accept, in pixels; checked before decoding.")
]
Report = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Page to write, with everything before and after at 100 %, the noise, times and failures: a .html file, "
        "or a folder for it.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, one record per line.")]


def read_sigma(text: str) -> float | None:
    """Parse a noise level: "25", on the scale of 0 to 255, becomes 25 / 255; "auto" becomes None.

    Raises:
        UsageError: neither "auto" nor a number from 0 to 255.
    """
    return None if text == "auto" else read_number(text, "--noise", 0, 255) / 255


def read_noise(text: str) -> "float | ShotRead | None":
    """Parse a noise level as `read_sigma` does, or a sensor's noise as `read_shot_read` does.

    Raises:
        UsageError: none of these.
    """
    return read_shot_read(text, "--noise") if "," in text else read_sigma(text)


def read_shot_read(text: str, option: str) -> "ShotRead":
    """Parse a sensor's noise from "SHOT,READ", in linear light in which white is 1.

    Raises:
        UsageError: not two numbers from 0 to 1.
    """
    from denoise_cli.imaging.noise import ShotRead

    try:
        shot, read = map(float, text.split(","))
    except ValueError:
        shot = read = math.nan
    if not (0 <= shot <= 1 and 0 <= read <= 1):
        raise UsageError(f"{option} {text}: expected SHOT,READ, two numbers from 0 to 1, such as 0.003,0.002")
    return ShotRead(shot, read)


def read_number(text: str, option: str, least: float, most: float, auto: bool = True) -> float:
    """Parse a number from `least` to `most`; `auto` says whether the option also takes "auto".

    Raises:
        UsageError: not such a number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        expected = "auto or a number" if auto else "a number"
        raise UsageError(f"{option} {text}: expected {expected} from {least:g} to {most:g}")
    return value


def check_frames(frames: int) -> None:
    """Refuse a number of frames that have no middle one, or are too many.

    Raises:
        UsageError: not an odd number within the limits.
    """
    if frames not in range(1, MAX_FRAMES + 1, 2):
        raise UsageError(f"--frames {frames}: expected an odd number from 1 to {MAX_FRAMES}")


def read_tile(text: str) -> int | None:
    """Parse the longest side of a tile in pixels; "auto" becomes None.

    Raises:
        UsageError: neither "auto" nor a number within the limits.
    """
    if text == "auto":
        return None
    return int(read_number(text, "--tile", SMALLEST_TILE, LARGEST_TILE))


def read_precision(text: str) -> "PrecisionName":
    """Parse the name of a precision.

    Raises:
        UsageError: no such precision.
    """
    from denoise_cli.inference.device import Precision as PrecisionName

    for name in get_args(PrecisionName):
        if text == name:
            return name
    raise UsageError(f"--precision {text}: choose one of {', '.join(get_args(PrecisionName))}")
