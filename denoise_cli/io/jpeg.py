"""The parts of a JPEG: its segments, and where its picture ends.

Source: ITU-T T.81 (1992), annex B.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

START = b"\xff\xd8"
END = b"\xff\xd9"
APP0, APP1, APP2, APP11, APP13, APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE
COMMENT_MARKER = 0xFE
FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # whose first byte is the bits
END_OF_IMAGE = 0xD9
START_OF_SCAN = 0xDA
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
MAX_SEGMENT = 65533  # bytes, without marker and length
# Of one picture; a decoder goes through all pixels in each, however few bytes it has. Cameras and editors write about
# ten, and libjpeg's own tools advise refusing more than this.
MAX_SCANS = 500
MAX_SEGMENTS = 10_000  # that are looked at; ten times as many as long profiles and extended XMP need
# 0xFF may be repeated before a marker. In coded pixels, a value of 0xFF is followed by 0, and restart markers stand
# among them.
MARKER = re.compile(rb"\xff[^\x00\xff]")
MARKER_IN_PIXELS = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass(frozen=True)
class Segment:
    """A segment before the pixels: the second byte of its marker, what follows its length, and where that begins."""

    marker: int
    body: bytes
    place: int

    @property
    def is_application_data(self) -> bool:
        """Whether it is one of APP0 to APP15."""
        return 0xE0 <= self.marker <= 0xEF


def segments_of(data: bytes) -> list[Segment]:
    """The segments before the pixels, at most `MAX_SEGMENTS`; those before the damage, if there is any."""
    found: list[Segment] = []
    for marker, place, stop in _marked(data):
        if marker in (START_OF_SCAN, END_OF_IMAGE) or stop > len(data):
            break
        found.append(Segment(marker, data[place:stop], place))
    return found


def picture_end(data: bytes) -> int:
    """Where the first picture of a file ends, in bytes; the length of the file if nothing marks its end."""
    return next((place for marker, place, _ in _marked(data) if marker == END_OF_IMAGE), len(data))


def refuse_too_many_scans(data: bytes) -> None:
    """Refuse a picture that would take much longer to decode than its size says.

    Raises:
        ValueError: it has more than `MAX_SCANS`; with a message for the user.
    """
    scans = sum(marker == START_OF_SCAN for marker, _, _ in _marked(data, most=len(data)))
    if scans > MAX_SCANS:
        raise ValueError(f"a JPEG of {scans} scans, at most {MAX_SCANS} are read: save it with fewer")


def rejoined(data: bytes) -> tuple[bytes, bytes]:
    """A JPEG without what stands between the segments before its pixels and belongs to none of them; and this."""
    at, parts, stray = len(START), [START], b""
    for marker, place, stop in _marked(data):
        begin = place - 2 if marker == END_OF_IMAGE else place - 4
        stray += data[at:begin]
        if marker in (START_OF_SCAN, END_OF_IMAGE) or stop > len(data):
            return b"".join([*parts, data[begin:]]), stray
        parts.append(packed(marker, data[place:stop]))
        at = stop
    return data, b""  # it has no pixels


def packed(marker: int, body: bytes) -> bytes:
    """The bytes of a segment.

    Raises:
        ValueError: it is longer than a segment can be.
    """
    if len(body) > MAX_SEGMENT:
        raise ValueError(f"a segment of {len(body)} bytes: it holds at most {MAX_SEGMENT}")
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _marked(data: bytes, most: int = MAX_SEGMENTS) -> Iterator[tuple[int, int, int]]:
    """The marker of each segment, with the places where its body begins and ends; `most` markers are looked at."""
    at, marker_pattern = len(START), MARKER
    for _ in range(most):
        found = marker_pattern.search(data, at)
        if found is None:
            return
        marker, at = data[found.start() + 1], found.end()
        if marker == END_OF_IMAGE:
            yield marker, at, at
            return
        if marker in WITHOUT_LENGTH:
            continue
        length = max(int.from_bytes(data[at : at + 2], "big"), 2)
        yield marker, at + 2, at + length
        at += length
        if marker == START_OF_SCAN:
            marker_pattern = MARKER_IN_PIXELS
