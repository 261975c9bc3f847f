"""Boxes of ISO containers, as JPEG 2000 and JPEG XL files have them.

Source: ISO/IEC 15444-1, annex I.4; ISO/IEC 18181-2.
"""

import os
import struct
from collections.abc import Iterator
from typing import IO

HEADER = 8  # bytes: the length and the name
LONG_HEADER = 16  # with a length of 64 bits
TO_THE_END = 0  # as a length
LENGTH_FOLLOWS = 1


def boxes_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The name and the contents of each box in a container, or inside another box.

    Raises:
        ValueError: the data ends inside a box.
    """
    start = 0
    while start + HEADER <= len(data):
        length, name = struct.unpack_from(">I4s", data, start)
        header = HEADER
        if length == LENGTH_FOLLOWS and start + LONG_HEADER <= len(data):
            (length,) = struct.unpack_from(">Q", data, start + HEADER)
            header = LONG_HEADER
        stop = len(data) if length == TO_THE_END else start + length
        if not start + header <= stop <= len(data):
            raise ValueError("the file ends before its boxes do, or is damaged")
        yield name, data[start + header : stop]
        start = stop


def top_boxes(file: IO[bytes]) -> Iterator[tuple[bytes, int, int, int]]:
    """The boxes of a file that are in no other: the name of each, and where it, its contents and what follows begin.

    What follows the last one may be behind the end of the file. Nothing follows a box whose length is impossible.
    """
    end, start = file.seek(0, os.SEEK_END), 0
    while start + HEADER <= end:
        file.seek(start)
        head = file.read(LONG_HEADER)
        length, name = struct.unpack_from(">I4s", head)
        header = HEADER
        if length == LENGTH_FOLLOWS and len(head) == LONG_HEADER:
            (length,), header = struct.unpack_from(">Q", head, HEADER), LONG_HEADER
        length = end - start if length == TO_THE_END else length
        if length < header:
            return
        yield name, start, start + header, start + length
        start += length


def box(name: bytes, *contents: bytes) -> bytes:
    """A box with these contents, one after another.

    >>> box(b"jxlc", b"12", b"3").hex()
    '0000000b6a786c63313233'
    """
    length = HEADER + sum(map(len, contents))
    if length < 2**32:
        return b"".join([struct.pack(">I4s", length, name), *contents])
    return b"".join([struct.pack(">I4sQ", LENGTH_FOLLOWS, name, length + HEADER), *contents])
