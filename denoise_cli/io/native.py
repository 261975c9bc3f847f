"""What only the format of a file holds, and what therefore stays in a result of that format alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Native:
    """Something beside the pixels of a file that no other format holds.

    Attributes:
        kind: the format, a name from `formats.FORMATS`.
        what: it, in words for the user.
        data: as the module of the format has it.
        lies_over: whether it is about places in the picture as it is stored, and so untrue once that is turned.
        of_colours: whether it is about the colours, and so untrue once they are converted.
    """

    kind: str
    what: str
    data: Any
    lies_over: bool = False
    of_colours: bool = False


def names_of(natives: Iterable[Native]) -> list[str]:
    """What there is, in words for the user, each once.

    >>> names_of([Native("tiff", "GeoTIFF", 1), Native("tiff", "GeoTIFF", 2)])
    ['GeoTIFF']
    """
    return list(dict.fromkeys(native.what for native in natives))


def left_out(natives: Iterable[Native], why: str) -> tuple[str, ...]:
    """What the user should hear of what is left out for a reason; nothing if there is nothing.

    >>> left_out([Native("tiff", "GeoTIFF", 1)], "the picture is turned")
    ('left out, since the picture is turned: GeoTIFF',)
    """
    names = names_of(natives)
    return (f"left out, since {why}: {', '.join(names)}",) if names else ()
