"""The ICC profile in the header of a JPEG XL codestream: predicted from what profiles usually hold, then compressed.

Source: ISO/IEC 18181-1, annex E.4. It is written without prediction and with a code that compresses nothing, which
every decoder reads: a profile has a few kilobytes.
"""

from denoise_cli.io.jxl_bits import BitReader, BitWriter
from denoise_cli.io.jxl_entropy import SymbolReader

MAX_PROFILE = 2**22  # bytes
HEADER = 128  # bytes of every profile
CONTEXTS = 41
TAGS = (
    *(b"cprt", b"wtpt", b"bkpt", b"rXYZ", b"gXYZ", b"bXYZ", b"kXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC", b"chad"),
    *(b"desc", b"chrm", b"dmnd", b"dmdd", b"lumi"),
)
TYPES = (b"XYZ ", b"desc", b"text", b"mluc", b"para", b"curv", b"sf32", b"gbd ")
COORDINATES = {b"rXYZ", b"gXYZ", b"bXYZ", b"kXYZ", b"wtpt", b"bkpt", b"lumi"}  # tags of `COORDINATES_SIZE`
COORDINATES_SIZE = 20
WEIGHTS = ((1, 0, 0), (2, -1, 0), (3, -3, 1))  # of the last three numbers, for the next one
# Commands.
END, NAMED_TAG, CURVES, COLORANTS, FIRST_KNOWN_TAG = range(5)  # in the list of tags
OTHER_START, OTHER_SIZE = 64, 128  # added to them
INSERT, PAIRS, QUADS, PREDICTED, XYZ, FIRST_TYPE = 1, 2, 3, 4, 10, 16  # behind it


def read_profile(reader: BitReader) -> bytes:
    """Read a profile, for which the reader is at its start.

    Raises:
        ValueError: it is damaged.
    """
    length = reader.unsigned_64()
    if length > MAX_PROFILE:
        raise ValueError("its colour profile is too long")
    symbols = SymbolReader(reader, CONTEXTS)
    encoded = bytearray()
    last = before = 0
    for place in range(length):
        value = symbols.number(_context(place, last, before))
        if value > 255:
            raise ValueError("its colour profile is damaged")
        encoded.append(value)
        last, before = value, last
    symbols.check_end()
    try:
        return _Unpredicted(bytes(encoded)).profile()
    except IndexError as error:
        raise ValueError("its colour profile is damaged") from error


def write_profile(writer: BitWriter, profile: bytes) -> None:
    """Write a profile of at least 128 bytes."""
    guess = _first_guess(len(profile))
    residuals = bytearray()
    for place in range(HEADER):
        _guess_on(guess, profile, place)
        residuals.append((profile[place] - guess[place]) & 255)
    commands = bytes([0, INSERT]) + _varint(len(profile) - HEADER) if len(profile) > HEADER else bytes([0])
    encoded = _varint(len(profile)) + _varint(len(commands)) + commands + residuals + profile[HEADER:]
    writer.unsigned_64(len(encoded))
    for value, count in (
        (0, 1),  # no repetitions
        (1, 1),  # simple map of contexts,
        (0, 2),  # to a single code
        (1, 1),  # that is a prefix code
        (8, 4),  # whose symbols below 256 are numbers
        (0, 4 + 4),
        (1, 1),  # of 256 symbols: 1 + 1 + 2^7 + ...
        (7, 4),
        (255 - 128, 7),
        (0, 2),  # with lengths that are themselves coded
    ):
        writer.bits(value, count)
    for name in (1, 2, 3, 4, 0, 5, 17, 6, 16, 7, 8, 9, 10, 11, 12, 13, 14, 15):
        writer.bits(1 if name == 8 else 0, 2)  # all symbols have codes of 8 bits, and nothing else is said
    for value in encoded:
        writer.bits(int(f"{value:08b}"[::-1], 2), 8)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _context(place: int, last: int, before: int) -> int:
    """The code for a byte, by the two bytes in front of it."""
    if place <= HEADER:
        return 0
    if _is_letter(last):
        first = 0
    elif _is_numeral(last):
        first = 1
    elif last < 16:
        first = 2 + last if last <= 1 else 4
    else:
        first = 5 if 240 < last < 255 else 6 if last == 255 else 7
    if _is_letter(before):
        second = 0
    elif _is_numeral(before):
        second = 1
    else:
        second = 2 if before < 16 else 3 if before > 240 else 4
    return 1 + first + 8 * second


def _is_letter(value: int) -> bool:
    return ord("a") <= value <= ord("z") or ord("A") <= value <= ord("Z")


def _is_numeral(value: int) -> bool:
    return ord("0") <= value <= ord("9") or value in b".,"


def _first_guess(length: int) -> bytearray:
    """What the first bytes of a profile of this length are likely to be."""
    guess = bytearray(HEADER)
    guess[0:4] = length.to_bytes(4, "big")
    guess[8] = 4
    guess[12:24] = b"mntrRGB XYZ "
    guess[36:40] = b"acsp"
    guess[68:80] = bytes([0, 0, 246, 214, 0, 1, 0, 0, 0, 0, 211, 45])  # D50
    return guess


def _guess_on(guess: bytearray, profile: bytes | bytearray, place: int) -> None:
    """Improve a guess by what stands in front of a place."""
    if place == 8:
        guess[80:84] = profile[4:8]
    if place == 41:
        guess[41:44] = {ord("A"): b"PPL", ord("M"): b"SFT"}.get(profile[40], bytes(3))
    if place == 42:
        guess[42:44] = {b"SG": b"I ", b"SU": b"NW"}.get(bytes(profile[40:42]), bytes(guess[42:44]))


class _Unpredicted:
    """A profile from commands, and from the data that they ask for."""

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded
        self._command = 0  # the place of the next one
        self._length = self._varint()
        commands = self._varint()
        self._data = self._commands_end = self._command + commands
        if self._length > MAX_PROFILE or self._data > len(encoded):
            raise ValueError("its colour profile is damaged")
        self._profile = bytearray()

    def profile(self) -> bytes:
        guess = _first_guess(self._length)
        for place, residual in enumerate(self._take(min(HEADER, self._length))):
            _guess_on(guess, self._profile, place)
            self._profile.append((residual + guess[place]) & 255)
        if self._length > HEADER:
            self._add_tags()
            while self._command < self._commands_end:
                self._add_part()
        if len(self._profile) != self._length:
            raise ValueError("its colour profile is damaged")
        return bytes(self._profile)

    def _next(self) -> int:
        if self._command >= len(self._encoded):
            raise IndexError(self._command)
        self._command += 1
        return self._encoded[self._command - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            part = self._next()
            value |= (part & 127) << shift
            shift += 7
            if part < 128 or shift > 56:
                return value

    def _take(self, count: int) -> bytes:
        if self._data + count > len(self._encoded):
            raise IndexError(self._data + count)
        self._data += count
        return self._encoded[self._data - count : self._data]

    def _add_tags(self) -> None:
        count = self._varint()
        if not count:
            return
        self._number(count - 1)
        start, size = HEADER + 12 * (count - 1), 0
        while self._command < self._commands_end:
            command = self._next()
            code = command & 63
            if code == END:
                break
            name = {NAMED_TAG: b"", CURVES: b"rTRC", COLORANTS: b"rXYZ"}.get(code)
            if name is None:
                name = TAGS[code - FIRST_KNOWN_TAG]
            name = name or self._take(4)
            start = self._varint() if command & OTHER_START else start + size
            size = COORDINATES_SIZE if name in COORDINATES else size
            size = self._varint() if command & OTHER_SIZE else size
            self._tag(name, start, size)
            if code == CURVES:
                self._tag(b"gTRC", start, size)
                self._tag(b"bTRC", start, size)
            if code == COLORANTS:
                self._tag(b"gXYZ", start + size, size)
                self._tag(b"bXYZ", start + 2 * size, size)

    def _tag(self, name: bytes, start: int, size: int) -> None:
        self._profile += name
        self._number(start)
        self._number(size)
        if len(self._profile) > self._length:
            raise ValueError("its colour profile is damaged")

    def _number(self, value: int) -> None:
        self._profile += (value & 0xFFFFFFFF).to_bytes(4, "big")

    def _add_part(self) -> None:
        command = self._next()
        if command == INSERT:
            self._profile += self._take(self._varint())
        elif command in (PAIRS, QUADS):
            self._profile += _woven(self._take(self._varint()), 2 if command == PAIRS else 4)
        elif command == PREDICTED:
            self._add_predicted()
        elif command == XYZ:
            self._profile += b"XYZ " + bytes(4) + self._take(12)
        else:
            self._profile += TYPES[command - FIRST_TYPE] + bytes(4)
        if len(self._profile) > self._length:
            raise ValueError("its colour profile is damaged")

    def _add_predicted(self) -> None:
        """Add numbers of one, two or four bytes, as differences to what those before them lead one to expect."""
        flags = self._next()
        width, order = (flags & 3) + 1, flags >> 2 & 3
        stride = self._varint() if flags & 16 else width
        count = self._varint()
        if width == 3 or order == 3 or stride < width or 4 * stride >= len(self._profile):
            raise ValueError("its colour profile is damaged")
        residuals = _woven(self._take(count), width)
        for start in range(0, count, width):
            place = len(self._profile)
            earlier = [
                int.from_bytes(self._profile[place - n * stride : place - n * stride + width], "big") for n in (1, 2, 3)
            ]
            guess = sum(weight * value for weight, value in zip(WEIGHTS[order], earlier, strict=True))
            expected = (guess & ((1 << 8 * width) - 1)).to_bytes(width, "big")
            for residual, byte in zip(residuals[start : start + width], expected, strict=False):
                self._profile.append((residual + byte) & 255)


def _woven(data: bytes, width: int) -> bytes:
    """Bytes of numbers that were stored place by place: all highest bytes first, then the next."""
    height = -(-len(data) // width)
    return b"".join(data[start::height] for start in range(height)) if data else b""
