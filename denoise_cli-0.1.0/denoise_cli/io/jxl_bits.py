"""Numbers in the header of a JPEG XL codestream, which is read bit by bit, the lowest of each byte first.

Source: ISO/IEC 18181-1, annex B.2.
"""

from collections.abc import Sequence

Range = tuple[int, int]  # the lowest number, and how many bits are added to it


class BitReader:
    """Reads numbers of any length; a stream that ends too early is a `ValueError`.

    Attributes:
        position: the number of bits that have been read.
    """

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self.position = position

    def bits(self, count: int) -> int:
        """The next bits, at most 56, as a number."""
        value = self.peek(count)
        self.position += count
        if self.position > 8 * len(self._data):
            raise ValueError("its header ends too early")
        return value

    def peek(self, count: int) -> int:
        """The next bits as a number, without going on; zeros follow the end."""
        first, shift = divmod(self.position, 8)
        return int.from_bytes(self._data[first : first + 8], "little") >> shift & ((1 << count) - 1)

    def flag(self) -> bool:
        """The next bit."""
        return bool(self.bits(1))

    def choice(self, ranges: Sequence[Range]) -> int:
        """A number from one of four ranges: two bits say which."""
        lowest, count = ranges[self.bits(2)]
        return lowest + self.bits(count)

    def enumerated(self) -> int:
        """A number that stands for a name."""
        return self.choice(((0, 0), (1, 0), (2, 4), (18, 6)))

    def unsigned_64(self) -> int:
        """A number of up to 64 bits."""
        kind = self.bits(2)
        if kind < 3:
            lowest, count = ((0, 0), (1, 4), (17, 8))[kind]
            return lowest + self.bits(count)
        value, shift = self.bits(12), 12
        while self.flag():
            count = 4 if shift == 60 else 8
            value |= self.bits(count) << shift
            shift += count
            if shift == 64:
                break
        return value


class BitWriter:
    """Collects bits, the lowest of each number first."""

    def __init__(self) -> None:
        self._value = 0
        self._length = 0

    def bits(self, value: int, count: int) -> None:
        """Add a number of so many bits."""
        self._value |= value << self._length
        self._length += count

    def copy(self, data: bytes, start: int, stop: int) -> None:
        """Add the bits from one position in a stream to another one."""
        self.bits(int.from_bytes(data[: -(-stop // 8)], "little") >> start & ((1 << stop - start) - 1), stop - start)

    def unsigned_64(self, value: int) -> None:
        """Add a number of up to 64 bits; `BitReader.unsigned_64` reads it."""
        self.bits(3, 2)
        self.bits(value & 0xFFF, 12)
        value >>= 12
        shift = 12
        while value:
            self.bits(1, 1)
            count = 4 if shift == 60 else 8
            self.bits(value & ((1 << count) - 1), count)
            value >>= count
            shift += count
        if shift < 64:
            self.bits(0, 1)

    def finish(self) -> bytes:
        """All bits, filled up with zeros to whole bytes."""
        return self._value.to_bytes(-(-self._length // 8), "little")
