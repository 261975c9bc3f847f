"""Standard input and output as FFmpeg's libraries read and write them: clips in pipes, which nobody can seek."""

import os
import select
import sys
from fractions import Fraction
from pathlib import Path

PIPE = Path("-")  # stands for standard input, and for standard output
STDIN, STDOUT = 0, 1  # file descriptors
# FFmpeg's names of the formats that are read from a pipe. Others need seeking, or, as playlists, open further files.
PIPED_FORMATS = ("yuv4mpegpipe", "nut", "matroska")
EXPECTED = (
    "standard input takes YUV4MPEG2, NUT or Matroska: name the file instead of -, or pipe a clip into it, as in  "
    "ffmpeg -i FILE -c:v rawvideo -f nut - | denoise video -"
)
# FFmpeg would otherwise wait for 20 frames of NUT in order to estimate a rate.
PROBING = {"fpsprobesize": "0", "format_whitelist": ",".join(PIPED_FORMATS)}
POLL_INTERVAL = 0.2  # seconds between two checks whether anybody still wants the data


class PipeReader:
    """A pipe, such as standard input; a read that waits for a slow program ends when `close` is called.

    Args:
        handle: its file descriptor; None for standard input.

    Attributes:
        handle: the same.
        total: bytes that were read so far.
    """

    def __init__(self, handle: int | None = None) -> None:
        self.handle = STDIN if handle is None else handle
        self.total = 0
        self._is_closed = False

    def read(self, size: int) -> bytes:
        """At most `size` bytes, as soon as there are any; none at the end, or after `close`."""
        while not self._is_closed:
            # Windows cannot wait for a pipe; there, `close` takes effect with the next data.
            if os.name != "posix" or select.select([self.handle], [], [], POLL_INTERVAL)[0]:
                data = os.read(self.handle, size)
                self.total += len(data)
                return data
        return b""

    def close(self) -> None:
        """Let the read that is waiting, and all others, return nothing."""
        self._is_closed = True


class PipeWriter:
    """Standard output.

    Args:
        aspect: of the pixels in YUV4MPEG2, which PyAV cannot tell the muxer; None to leave the data as they are.
    """

    def __init__(self, aspect: Fraction | None = None) -> None:
        self._aspect = aspect

    def write(self, data: bytes) -> int:
        """Write all of the data."""
        if self._aspect:  # in the first line, which comes alone or with the first frame
            known = f" A{self._aspect.numerator}:{self._aspect.denominator} ".encode()
            data, self._aspect = bytes(data).replace(b" A0:0 ", known, 1), None
        view = memoryview(data)
        while view:
            view = view[os.write(STDOUT, view) :]
        return len(data)


def is_terminal() -> bool:
    """Whether standard input is a keyboard instead of a pipe."""
    return sys.stdin is not None and sys.stdin.isatty()
