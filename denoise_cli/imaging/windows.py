"""Windows of frames: which neighbours a frame of a clip is denoised with.

Legend: T frames of a window.
"""

from collections import deque
from collections.abc import Iterator
from typing import TypeVar

MAX_FRAMES = 9  # in a window

Item = TypeVar("Item")


def window(place: int, length: int, T: int) -> list[int]:
    """Indices of the frame at `place` and of its T - 1 nearest neighbours in a clip of `length` frames.

    The frame itself comes first, then its neighbours by distance, and the earlier of two at equal distance. At the ends
    of the clip, more of them are from one side. Of a clip that is shorter than the window, all frames are returned.

    >>> window(3, length=9, T=5)
    [3, 2, 4, 1, 5]
    >>> window(0, length=9, T=5)
    [0, 1, 2, 3, 4]
    """
    return sorted(range(length), key=lambda other: (abs(other - place), other))[:T]


def surrounded(items: Iterator[Item], T: int) -> Iterator[list[Item]]:
    """The windows of all items of a stream, in order; see `window`. At most T items are held at a time."""
    held: deque[Item] = deque()
    place = 0  # index in `held` of the next window's own item
    while True:
        while len(held) < max(T, place + T // 2 + 1) and (item := next(items, None)) is not None:
            held.append(item)
        if place == len(held):
            return
        yield [held[i] for i in window(place, len(held), T)]
        if place == T - 1:
            held.popleft()
        else:
            place += 1
