"""Windows of frames: which frames of a clip are looked at together.

Legend: T frames of a window.
"""

from collections import deque
from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")


def window(place: int, length: int, T: int) -> list[int]:
    """The places of a frame and its T - 1 nearest neighbours in a clip of `length` frames.

    The frame itself comes first, then its neighbours, nearest first and the earlier of two that are equally near. At
    the ends of the clip there are more from one side; a clip that is shorter than the window is returned whole.

    >>> window(3, length=9, T=5)
    [3, 2, 4, 1, 5]
    >>> window(0, length=9, T=5)
    [0, 1, 2, 3, 4]
    """
    return sorted(range(length), key=lambda other: (abs(other - place), other))[:T]


def surrounded(items: Iterator[Item], T: int) -> Iterator[list[Item]]:
    """Each item of a stream with its T - 1 nearest neighbours, itself first; at most T items are held at a time."""
    held: deque[Item] = deque()
    place = 0  # among those that are held, of the item whose turn it is
    while True:
        while len(held) < max(T, place + T // 2 + 1) and (coming := next(items, None)) is not None:
            held.append(coming)
        if place == len(held):
            return
        yield [held[i] for i in window(place, len(held), T)]
        if place == T - 1:
            held.popleft()
        else:
            place += 1
