"""Sound and subtitles of a clip from standard input, which is read once: they go through with the frames."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import av
from av.container import OutputContainer

from denoise_cli.errors import UnwritableFile
from denoise_cli.io.playlists import url

PASSED_KINDS = ("audio", "subtitle")
Item = TypeVar("Item")


class Waiting:
    """The packets of other tracks that were read before the frames around them are written.

    There are no more of them than belong to the frames that are read ahead.

    Attributes:
        chosen: FFmpeg's numbers of the tracks that are kept; None, for all, until that is known.
        origin: the time in the clip that is 0 in the result, in seconds.
        begin, end: where what is kept begins and ends in the result, in seconds; None for no limit.
    """

    def __init__(self) -> None:
        self.chosen: Collection[int] | None = None
        self.origin = Fraction(0)
        self.begin: Fraction | None = None
        self.end: Fraction | None = None
        self._packets: deque[Any] = deque()

    def add(self, packet: Any) -> None:
        """Keep a packet, unless nobody wants it."""
        if packet.pts is not None and packet.size and (self.chosen is None or packet.stream.index in self.chosen):
            self._packets.append(packet)

    def drop_before(self, time: Fraction) -> None:
        """Forget packets that end before a time in the clip, in seconds: those of frames that are skipped."""
        while self._packets:
            packet = self._packets[0]
            if (packet.pts + (packet.duration or 0)) * packet.time_base > time:
                return
            self._packets.popleft()

    def taken(self) -> Iterator[Any]:
        """The packets so far, with their times in the result."""
        while self._packets:
            packet = self._packets.popleft()
            if self.chosen is not None and packet.stream.index not in self.chosen:
                continue
            shift = round(self.origin / packet.time_base)
            packet.pts -= shift
            if packet.dts is not None:
                packet.dts -= shift
            if self.begin is not None and packet.pts < 0 < packet.pts + (packet.duration or 0) and _is_subtitle(packet):
                packet.duration, packet.pts, packet.dts = packet.pts + packet.duration, 0, 0
            time = packet.pts * packet.time_base
            if (self.begin is None or time >= self.begin) and (self.end is None or time < self.end):
                yield packet


class Passing:
    """Writes packets that wait into a file that is being made.

    Args:
        sources: the tracks by FFmpeg's numbers, as PyAV's streams.
        waiting: their packets.
    """

    def __init__(self, sources: dict[int, Any], waiting: Waiting) -> None:
        self._sources, self._waiting = sources, waiting
        self._container: OutputContainer | None = None
        self._streams: dict[int, Any] = {}

    def begin(self, container: OutputContainer) -> None:
        """Add the tracks to a container, before its header is written."""
        self._container = container
        for index, source in self._sources.items():
            stream = container.add_stream_from_template(source)
            stream.metadata.update(source.metadata)
            self._streams[index] = stream

    def write(self) -> None:
        """Write the packets that wait."""
        assert self._container is not None
        for packet in self._waiting.taken():
            packet.stream = self._streams[packet.stream.index]
            self._container.mux(packet)

    def recording(self, items: Iterable[Item], path: Path, container: str) -> Iterator[Item]:
        """The items, while the packets that belong to them go to a file of their own; without tracks, to none.

        Raises:
            UnwritableFile: the file cannot be written.
        """
        if not self._sources:
            yield from items
            return
        try:
            with closing(av.open(url(path), "w", format=container)) as output:
                self.begin(output)
                for item in items:
                    yield item
                    self.write()
                self.write()
        except av.FFmpegError as error:
            raise UnwritableFile(path, f"cannot be written ({error.strerror})") from error


def _is_subtitle(packet: Any) -> bool:
    """Whether a packet is shown for as long as it lasts, also from the middle on."""
    return bool(packet.stream.type == "subtitle")


def holds(container: str, stream: Any) -> bool:
    """Whether a container, by FFmpeg's name, can hold a track."""
    try:
        with av.open(BytesIO(), "w", format=container) as tried:
            tried.add_stream_from_template(stream)
            tried.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True
