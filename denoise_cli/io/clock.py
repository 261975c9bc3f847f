"""The clocks of transport and program streams, which start anywhere and may jump back where recordings were joined."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

JUMP = Fraction(1, 10)  # seconds back from one packet to the next: more than any muxer mixes their order up


class Clock:
    """Moves the packets of a stream to times that go on where its clock jumps back.

    Args:
        jumps: by how much other packets of the file were moved after each jump, in seconds; None to find that out.

    Attributes:
        jumps: by how much packets are moved after each jump, in seconds.
        is_beyond: whether there was a jump more than was given: what follows belongs behind the part of the file in
            which they were found.
    """

    def __init__(self, jumps: Sequence[Fraction] | None = None) -> None:
        self.jumps: list[Fraction] = list(jumps or ())
        self.is_beyond = False
        self._is_given = jumps is not None
        self._count = 0
        self._last: Fraction | None = None  # decoding time by the file's clock, seconds
        self._end = Fraction(0)  # when the next packet is expected, moved

    def move(self, packet: Any) -> None:
        """Change the times of the stream's next packet."""
        tick = packet.time_base
        if packet.dts is not None:
            due = packet.dts * tick
            if self._last is not None and due < self._last - JUMP:
                self._jump(due)
            self._last = due
        moved = self.jumps[self._count - 1] if self._count else Fraction(0)
        if moved:
            ticks = round(moved / tick)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        if packet.dts is not None:
            self._end = (packet.dts + (packet.duration or 0)) * tick

    def _jump(self, due: Fraction) -> None:
        if not self._is_given:
            self.jumps.append(self._end - due)
        self.is_beyond = self._count == len(self.jumps)
        self._count = min(self._count + 1, len(self.jumps))
