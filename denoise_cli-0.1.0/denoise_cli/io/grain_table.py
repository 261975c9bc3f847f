"""Film grain tables, which AV1 encoders read: for each part of a clip, the grain that decoders are to add.

The format is that of `aomenc --film-grain-table`, which SVT-AV1 and rav1e read too: text, in which times count from the
first frame, in ten millionths of a second.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from denoise_cli.files import write_atomically
from denoise_cli.imaging.film_grain import LAG, FilmGrain

MAGIC = "filmgrn1"
TICKS = 10_000_000  # per second
END_OF_TIME = 2**63 - 1
FIRST_SEED, SEED_STEP, SEEDS = 7391, 3381, 1 << 16  # encoders change the seed from frame to frame
# What chroma's scaling functions take for the brightness: 64ths of chroma, plus 128, and of luma, plus 128, which are
# added up, and what is added to that, plus 256. So it is the brightness of luma.
FROM_LUMA = (128, 192, 256)


@dataclass(frozen=True)
class Entry:
    """The grain of a part of a clip.

    Attributes:
        start: when it begins, in seconds.
        end: when the next part begins; None for the last one.
    """

    start: Fraction
    end: Fraction | None
    grain: FilmGrain


def write(path: Path, entries: Sequence[Entry], overwrite: bool) -> None:
    """Write a table.

    Args:
        path: of the file.
        entries: in the order of their times, without overlap. Frames between them get no grain.
        overwrite: whether an existing file is replaced.

    Raises:
        UnwritableFile: the folder or the disk does not allow it, or the file exists and `overwrite` is false.
    """
    lines = [MAGIC]
    for number, entry in enumerate(entries):
        lines += _lines(entry, (FIRST_SEED + SEED_STEP * number) % SEEDS)
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode(), overwrite)


def _lines(entry: Entry, seed: int) -> list[str]:
    grain = entry.grain
    start, end = (END_OF_TIME if time is None else round(time * TICKS) for time in (entry.start, entry.end))
    from_luma_alone, overlaps = 0, 1
    parameters = [
        LAG,
        grain.coefficient_shift,
        grain.grain_shift,
        grain.scaling_shift,
        from_luma_alone,
        overlaps,
        *FROM_LUMA,
        *FROM_LUMA,
    ]
    return [
        f"E {start} {end} 1 {seed} 1",
        _line("p", parameters),
        *(
            _line(f"s{plane}", [len(points), *(value for point in points for value in point)])
            for plane, points in zip(("Y", "Cb", "Cr"), grain.scaling, strict=True)
        ),
        *(_line(f"c{plane}", values) for plane, values in zip(("Y", "Cb", "Cr"), grain.coefficients, strict=True)),
    ]


def _line(name: str, values: Iterable[int]) -> str:
    return " ".join([f"\t{name}", *map(str, values)])
