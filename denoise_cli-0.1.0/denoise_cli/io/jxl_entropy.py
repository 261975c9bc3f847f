"""Entropy-coded numbers in the header of a JPEG XL codestream: prefix codes or ANS, with or without repetitions.

Source: ISO/IEC 18181-1, annex C.

Legend: a symbol is what a code stands for; numbers below `split` are symbols themselves, and others are a symbol and
some bits of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from denoise_cli.io.jxl_bits import BitReader

PRECISION = 12  # bits of a probability in ANS
WHOLE = 1 << PRECISION
FINAL_STATE = 0x13 << 16
WINDOW = 1 << 20  # numbers that can be repeated
LONGEST_CODE = 15
CODE_LENGTH_ORDER = (1, 2, 3, 4, 0, 5, 17, 6, 16, 7, 8, 9, 10, 11, 12, 13, 14, 15)
# Bits and value of a length, and of a logarithm of a probability, by the next bits of the stream.
LENGTHS = (
    *((2, 0), (2, 4), (2, 3), (3, 2), (2, 0), (2, 4), (2, 3), (4, 1)),
    *((2, 0), (2, 4), (2, 3), (3, 2), (2, 0), (2, 4), (2, 3), (4, 5)),
)
LOGARITHMS = {
    0b000: (3, 10),
    0b010: (3, 7),
    0b100: (3, 6),
    0b101: (3, 8),
    0b110: (3, 9),
    0b0011: (4, 3),
    0b0111: (4, 5),
    0b1001: (4, 4),
    0b1011: (4, 1),
    0b1111: (4, 2),
    0b10001: (5, 0),
    0b100001: (6, 11),
    0b0000001: (7, 12),
    0b1000001: (7, 13),
}
REPEATED = 13  # as a logarithm: the last probability again
ReadSymbol = Callable[[], int]


@dataclass(frozen=True)
class NumberCode:
    """How a symbol and bits make a number."""

    split_exponent: int
    high: int  # bits of the number below its highest one that are part of the symbol
    low: int  # lowest bits that are

    @classmethod
    def read(cls, reader: BitReader, largest_exponent: int) -> "NumberCode":
        """Read what a codestream says about it."""
        split_exponent = reader.bits(largest_exponent.bit_length())
        if split_exponent >= largest_exponent:
            return cls(split_exponent, 0, 0)
        high = reader.bits(split_exponent.bit_length())
        if high > split_exponent:
            raise _damaged()
        low = reader.bits((split_exponent - high).bit_length())
        if high + low > split_exponent:
            raise _damaged()
        return cls(split_exponent, high, low)

    def number(self, symbol: int, reader: BitReader) -> int:
        """The number that begins with a symbol; its bits are read."""
        split = 1 << self.split_exponent
        if symbol < split:
            return symbol
        inside = self.high + self.low
        count = self.split_exponent - inside + (symbol - split >> inside)
        if count > 32:
            raise _damaged()
        lowest = symbol & ((1 << self.low) - 1)
        highest = symbol >> self.low & ((1 << self.high) - 1) | 1 << self.high
        return (highest << count | reader.bits(count)) << self.low | lowest


class SymbolReader:
    """Reads numbers, each in a context, which says by which of several codes it is coded."""

    def __init__(self, reader: BitReader, contexts: int, may_repeat: bool = True) -> None:
        self._reader = reader
        self._repeats = reader.flag()
        if self._repeats:
            if not may_repeat:
                raise _damaged()
            self._least_symbol = reader.choice(((224, 0), (512, 0), (4096, 0), (8, 15)))
            self._least_length = reader.choice(((3, 0), (4, 0), (5, 2), (9, 8)))
            self._length_code = NumberCode.read(reader, 8)
            contexts += 1
        self._map = _context_map(reader, contexts) if contexts > 1 else [0]
        codes = max(self._map) + 1
        self._is_ans = not reader.flag()
        largest_exponent = 5 + reader.bits(2) if self._is_ans else LONGEST_CODE
        self._numbers = [NumberCode.read(reader, largest_exponent) for _ in range(codes)]
        self._symbols: list[ReadSymbol]
        if self._is_ans:
            tables = [_AnsTable(_probabilities(reader), largest_exponent) for _ in range(codes)]
            self._state = reader.bits(32)
            self._symbols = [self._ans_symbol(table) for table in tables]
        else:
            sizes = [1 + _short(reader, 4) for _ in range(codes)]
            self._symbols = [_PrefixCode.read(reader, size).symbol for size in sizes]
        self._past: list[int] = []
        self._copies = 0
        self._copied_from = 0

    def number(self, context: int) -> int:
        """The next number."""
        if not self._repeats:
            return self._plain(context)
        if not self._copies:
            symbol = self._symbols[self._map[context]]()
            if symbol < self._least_symbol:
                self._past.append(self._numbers[self._map[context]].number(symbol, self._reader))
                return self._past[-1]
            self._copies = self._length_code.number(symbol - self._least_symbol, self._reader) + self._least_length
            distance = min(self._plain(len(self._map) - 1) + 1, len(self._past), WINDOW)
            self._copied_from = len(self._past) - distance
        self._copies -= 1
        self._past.append(self._past[self._copied_from] if self._past else 0)
        self._copied_from += 1
        return self._past[-1]

    def check_end(self) -> None:
        """Raise `ValueError` if the numbers that were read cannot be right."""
        if self._is_ans and self._state != FINAL_STATE:
            raise _damaged()

    def _plain(self, context: int) -> int:
        code = self._map[context]
        return self._numbers[code].number(self._symbols[code](), self._reader)

    def _ans_symbol(self, table: "_AnsTable") -> ReadSymbol:
        def symbol() -> int:
            found, probability, offset = table.find(self._state & (WHOLE - 1))
            self._state = probability * (self._state >> PRECISION) + offset
            if self._state < 1 << 16:
                self._state = self._state << 16 | self._reader.bits(16)
            return found

        return symbol


def _damaged() -> ValueError:
    return ValueError("its colour profile is damaged")


def _short(reader: BitReader, bits: int) -> int:
    """A small number: zero is one bit, others are the number of their bits, and these."""
    if not reader.flag():
        return 0
    count = reader.bits(bits)
    return (1 << count) + reader.bits(count)


def _context_map(reader: BitReader, contexts: int) -> list[int]:
    """The number of the code for each context."""
    if reader.flag():
        bits = reader.bits(2)
        return [reader.bits(bits) for _ in range(contexts)]
    moves_to_front = reader.flag()
    symbols = SymbolReader(reader, 1, may_repeat=contexts > 2)
    codes = [symbols.number(0) for _ in range(contexts)]
    symbols.check_end()
    if max(codes) > 255:
        raise _damaged()
    if moves_to_front:
        recent = list(range(256))
        for place, index in enumerate(codes):
            codes[place] = recent.pop(index)
            recent.insert(0, codes[place])
    return codes


def _probabilities(reader: BitReader) -> list[int]:
    """Of each symbol, of `WHOLE`."""
    if reader.flag():
        symbols = [_short(reader, 3) for _ in range(1 + reader.bits(1))]
        found = [0] * (max(symbols) + 1)
        found[symbols[0]] = reader.bits(PRECISION) if len(symbols) == 2 else WHOLE
        if len(symbols) == 2:
            if symbols[0] == symbols[1]:
                raise _damaged()
            found[symbols[1]] = WHOLE - found[symbols[0]]
        return found
    if reader.flag():
        size = 1 + _short(reader, 3)
        each, more = divmod(WHOLE, size)
        return [each + (symbol < more) for symbol in range(size)]
    return _uneven_probabilities(reader)


def _uneven_probabilities(reader: BitReader) -> list[int]:
    log = next((log for log in range(3) if not reader.flag()), 3)
    shift = (1 << log) + reader.bits(log) - 1
    size = 3 + _short(reader, 3)
    logarithms, same = [0] * size, [0] * size
    place = 0
    while place < size:
        count, logarithms[place] = next(
            LOGARITHMS[reader.peek(bits)]
            for bits in range(3, 8)
            if LOGARITHMS.get(reader.peek(bits), (0, 0))[0] == bits
        )
        reader.bits(count)
        if logarithms[place] == REPEATED:
            same[place] = _short(reader, 3) + 4
            place += same[place] - 1
        place += 1
    rest = max(range(size), key=lambda symbol: logarithms[symbol] if logarithms[symbol] < REPEATED else -1)
    found = [0] * size
    repeats = last = 0
    for symbol, logarithm in enumerate(logarithms):
        if same[symbol]:
            repeats, last = same[symbol], found[symbol - 1] if symbol else 0
        if repeats:
            found[symbol] = last
            repeats -= 1
        elif logarithm == 1:
            found[symbol] = 1
        elif logarithm > 1 and symbol != rest:
            power = logarithm - 1
            bits = max(min(power, shift - (PRECISION - power >> 1)), 0)
            found[symbol] = (1 << power) + (reader.bits(bits) << power - bits)
    found[rest] = WHOLE - (sum(found) - found[rest])
    if found[rest] <= 0:
        raise _damaged()
    return found


class _AnsTable:
    """Which symbol each of `WHOLE` states stands for, by the alias method: two symbols to a bucket."""

    def __init__(self, probabilities: list[int], largest_exponent: int) -> None:
        buckets = 1 << largest_exponent
        if len(probabilities) > buckets:
            raise _damaged()
        self._probabilities = probabilities + [0] * (buckets - len(probabilities))
        self._size = size = WHOLE >> largest_exponent
        self._limits = limits = list(self._probabilities)
        self._others = list(range(buckets))
        self._offsets = [0] * buckets
        if WHOLE in probabilities:
            only = probabilities.index(WHOLE)
            self._limits = [0] * buckets
            self._others = [only] * buckets
            self._offsets = [size * bucket for bucket in range(buckets)]
            return
        over = [bucket for bucket in range(buckets) if limits[bucket] > size]
        under = [bucket for bucket in range(buckets) if limits[bucket] < size]
        while over:
            full, spare = over.pop(), under.pop()
            limits[full] -= size - limits[spare]
            self._others[spare], self._offsets[spare] = full, limits[full]
            if limits[full] != size:
                (under if limits[full] < size else over).append(full)
        for bucket in range(buckets):
            if limits[bucket] == size:
                self._others[bucket], self._offsets[bucket], limits[bucket] = bucket, 0, 0
            else:
                self._offsets[bucket] -= limits[bucket]

    def find(self, state: int) -> tuple[int, int, int]:
        """The symbol, its probability, and the state's place among those of the symbol."""
        bucket, place = divmod(state, self._size)
        if place < self._limits[bucket]:
            return bucket, self._probabilities[bucket], place
        other = self._others[bucket]
        return other, self._probabilities[other], self._offsets[bucket] + place


class _PrefixCode:
    """A prefix code, as in Brotli (RFC 7932, sections 3.2 to 3.5)."""

    def __init__(self, reader: BitReader, lengths: list[int]) -> None:
        self._reader = reader
        self._symbols: dict[tuple[int, int], int] = {}  # by length and code
        code = 0
        for length in range(1, LONGEST_CODE + 1):
            for symbol, its in enumerate(lengths):
                if its == length:
                    self._symbols[length, code] = symbol
                    code += 1
            code <<= 1
        used = [symbol for symbol, length in enumerate(lengths) if length]
        self._only = used[0] if len(used) == 1 else 0 if not used else None

    @classmethod
    def read(cls, reader: BitReader, size: int) -> "_PrefixCode":
        if size == 1:
            return cls(reader, [0])
        kind = reader.bits(2)
        return cls(reader, _few_lengths(reader, size) if kind == 1 else _many_lengths(reader, size, skipped=kind))

    def symbol(self) -> int:
        if self._only is not None:
            return self._only
        code = 0
        for length in range(1, LONGEST_CODE + 1):
            code = code << 1 | self._reader.bits(1)
            if (symbol := self._symbols.get((length, code))) is not None:
                return symbol
        raise _damaged()


def _few_lengths(reader: BitReader, size: int) -> list[int]:
    """Lengths of the codes of one to four symbols."""
    symbols = [reader.bits((size - 1).bit_length()) for _ in range(1 + reader.bits(2))]
    if max(symbols) >= size or len(set(symbols)) < len(symbols):
        raise _damaged()
    depths = {1: (1,), 2: (1, 1), 3: (1, 2, 2), 4: (2, 2, 2, 2)}[len(symbols)]
    if len(symbols) == 4 and reader.flag():
        depths = (1, 2, 3, 3)
    lengths = [0] * size
    for symbol, depth in zip(symbols, depths, strict=True):
        lengths[symbol] = depth
    return lengths


def _many_lengths(reader: BitReader, size: int, skipped: int) -> list[int]:
    """Lengths of codes, which are themselves coded."""
    of_lengths = [0] * len(CODE_LENGTH_ORDER)
    space = 32
    for name in CODE_LENGTH_ORDER[skipped:]:
        bits, of_lengths[name] = LENGTHS[reader.peek(4)]
        reader.bits(bits)
        space -= 32 >> of_lengths[name] if of_lengths[name] else 0
        if space <= 0:
            break
    if space and sum(map(bool, of_lengths)) != 1:
        raise _damaged()
    code = _PrefixCode(reader, of_lengths)
    lengths: list[int] = []
    space, last, repeats, repeated = 1 << LONGEST_CODE, 8, 0, -1
    while len(lengths) < size and space > 0:
        length = code.symbol()
        if length < 16:
            lengths.append(length)
            repeats = 0
            if length:
                last = length
                space -= 1 << LONGEST_CODE >> length
            continue
        bits, again = length - 14, last if length == 16 else 0
        if again != repeated:
            repeats, repeated = 0, again
        before = repeats
        repeats = (repeats - 2 << bits if repeats else 0) + reader.bits(bits) + 3
        lengths += [again] * (repeats - before)
        space -= (repeats - before) * (1 << LONGEST_CODE >> again) if again else 0
    if space or len(lengths) > size:
        raise _damaged()
    return lengths + [0] * (size - len(lengths))
