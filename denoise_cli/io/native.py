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


def still_true(
    natives: Iterable[Native], is_turned: bool = False, is_converted: bool = False
) -> tuple[tuple[Native, ...], tuple[str, ...]]:
    """What stays true of a picture that is turned upright, or whose colours are converted.

    >>> place = Native("tiff", "GeoTIFF", 1, lies_over=True)
    >>> still_true([place], is_turned=True)
    ((), ('left out, since the picture is turned upright: GeoTIFF',))

    Returns:
        What stays, and what the user should hear of the rest.
    """
    kept, turned, converted = list[Native](), list[Native](), list[Native]()
    for native in natives:
        if native.lies_over and is_turned:
            turned.append(native)
        elif native.of_colours and is_converted:
            converted.append(native)
        else:
            kept.append(native)
    reasons = {"the picture is turned upright": turned, "the colours are converted": converted}
    notes = (f"left out, since {why}: {', '.join(names_of(lost))}" for why, lost in reasons.items() if lost)
    return tuple(kept), tuple(notes)
