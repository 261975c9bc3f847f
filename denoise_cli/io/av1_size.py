"""The largest frame of an AV1 codestream, by what it says before any frame is decoded.

Source: AOMedia, "AV1 Bitstream & Decoding Process Specification" (2019), sections 5.3 to 5.5.
"""

from collections.abc import Iterator

SEQUENCE_HEADER = 1  # type of a part, called OBU
FRAMES = {3, 6}  # types: the header of a frame, and a frame


class _Bits:
    """Reads numbers, the highest bit first; a stream that ends too early is a `ValueError`."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __call__(self, count: int) -> int:
        first, shift = divmod(self._at, 8)
        self._at += count
        if self._at > 8 * len(self._data):
            raise ValueError("the header of its codestream ends too early")
        length = (shift + count + 7) // 8
        return int.from_bytes(self._data[first : first + length], "big") >> (8 * length - shift - count) & (
            (1 << count) - 1
        )

    def skip_exponential(self) -> None:
        """Skip a number that says its own length by leading zeros."""
        zeros = 0
        while not self(1):
            zeros += 1
        self(min(zeros, 32))


def largest_frame(codestream: bytes) -> tuple[int, int] | None:
    """Width and height of the largest frame that is allowed; None if nothing says it.

    Raises:
        ValueError: the codestream is damaged.
    """
    sizes = [_size_in(body) for kind, body in _parts_of(codestream) if kind == SEQUENCE_HEADER]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def frames_in(codestream: bytes) -> int:
    """The number of frames, shown or not.

    Raises:
        ValueError: the codestream is damaged.
    """
    return sum(kind in FRAMES for kind, _ in _parts_of(codestream))


def _parts_of(codestream: bytes) -> Iterator[tuple[int, bytes]]:
    """The type and the contents of each part."""
    at = 0
    while at < len(codestream):
        header = codestream[at]
        at += 2 if header & 4 else 1
        length = len(codestream) - at
        if header & 2:
            length, at = _leb128(codestream, at)
        if length < 0 or at + length > len(codestream):
            raise ValueError("its codestream ends too early")
        yield header >> 3 & 15, codestream[at : at + length]
        at += length


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of 7 bits, the lowest first, and where it ends."""
    value = 0
    for place in range(8):
        if at + place >= len(data):
            raise ValueError("its codestream ends too early")
        value |= (data[at + place] & 127) << 7 * place
        if data[at + place] < 128:
            return value, at + place + 1
    raise ValueError("its codestream is damaged")


def _size_in(header: bytes) -> tuple[int, int]:
    read = _Bits(header)
    read(3)  # profile
    read(1)  # whether it is a still picture
    if read(1):  # a short header
        read(5)  # level
    else:
        _skip_operating_points(read)
    width_bits, height_bits = read(4) + 1, read(4) + 1
    return read(width_bits) + 1, read(height_bits) + 1


def _skip_operating_points(read: _Bits) -> None:
    delay_bits = 0
    if read(1):  # timing
        read(32)
        read(32)
        if read(1):
            read.skip_exponential()
        if read(1):  # a model of the decoder
            delay_bits = read(5) + 1
            read(32)
            read(10)
    has_display_delay = read(1)
    for _ in range(read(5) + 1):
        read(12)
        if read(5) > 7:  # level
            read(1)
        if delay_bits and read(1):
            read(delay_bits)
            read(delay_bits)
            read(1)
        if has_display_delay and read(1):
            read(4)
