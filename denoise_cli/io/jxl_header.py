"""The header of a JPEG XL codestream: what a file holds is known before anything is decoded, and its colours as well.

Source: ISO/IEC 18181-1, annexes D and E.
"""

from dataclasses import dataclass, field

import numpy as np

from denoise_cli.io.jxl_bits import BitReader, BitWriter
from denoise_cli.io.jxl_profile import read_profile, write_profile

CODESTREAM = b"\xff\x0a"
RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}  # width to height
SIDE = ((1, 9), (1, 13), (1, 18), (1, 30))
PREVIEW_SIDE = ((1, 6), (65, 8), (321, 10), (1345, 12))
PREVIEW_BLOCKS = ((16, 0), (32, 0), (1, 5), (33, 9))
COORDINATE = ((0, 19), (524288, 19), (1048576, 20), (2097152, 21))
MILLIONTH = 1e-6
# Kinds of extra channels.
ALPHA, DEPTH, SPOT, SELECTION, BLACK, FILTERS = range(6)
# Enumerated names.
RGB, GREY = 0, 1  # colour spaces
D65, CUSTOM, E, DCI = 1, 2, 10, 11  # white points
SRGB, BT2100, P3 = 1, 9, 11  # primaries, or `CUSTOM`
BT709, SRGB_CURVE, DCI_CURVE = 1, 13, 17  # transfer functions, besides `LINEAR`, `PQ` and `HLG`
RELATIVE = 1  # rendering intent
WHITES = {D65: (0.3127, 0.3290), E: (1 / 3, 1 / 3), DCI: (0.314, 0.351)}
PRIMARIES = {
    SRGB: (0.639998686, 0.330010138, 0.300003784, 0.600003357, 0.150002046, 0.059997204),
    BT2100: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    P3: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
TONE_MAPPING_BITS = 16 + 16 + 1 + 16


@dataclass(frozen=True)
class Colours:
    """The colour space of a codestream, by numbers.

    Attributes:
        space: `RGB`, `GREY`, or another one.
        white: x and y.
        primaries: x and y of red, green and blue.
        transfer: one of the transfer functions above; None if `gamma` says it.
        gamma: the exponent of the encoding, 1/2.2 for example.
    """

    space: int = RGB
    white: tuple[float, ...] = WHITES[D65]
    primaries: tuple[float, ...] = PRIMARIES[SRGB]
    transfer: int | None = SRGB_CURVE
    gamma: float | None = None


@dataclass(frozen=True)
class ExtraChannel:
    """A channel besides the colours: its kind, and whether the colours have been multiplied by it (alpha)."""

    kind: int = ALPHA
    premultiplied: bool = False


@dataclass(frozen=True)
class Places:
    """Where parts of the header begin or end, in bits: all in the default `metadata` is one bit.

    `colours_end` comes before the tone mapping, which only headers with extra fields have. The depth is that of the
    colours; frames begin at a byte, and `frames_start` counts bytes.
    """

    size_end: int
    colours_start: int | None
    colours_end: int
    metadata_end: int
    frames_start: int
    has_extra_fields: bool = False
    depth_start: int = 0
    depth_end: int = 0


@dataclass(frozen=True)
class Header:
    """What a codestream says about its picture.

    Attributes:
        size: width and height, pixels, as stored: before the picture is turned upright.
        orientation: 1 to 8 as in EXIF.
        plays: how often its frames are shown, 0 for ever; None if it is no animation.
        bits: per value.
        is_float: whether the values are in floating point.
        extra: the channels besides the colours.
        is_xyb: whether the colours are stored as XYB, and converted to their space by the decoder.
        colours: their space; None if `profile` says it.
        profile: an ICC profile.
        tone_mapping: the bits that say how bright white is, and more; None for the default.
        places: for `with_colours`.
    """

    size: tuple[int, int]
    places: Places
    orientation: int = 1
    plays: int | None = None
    bits: int = 8
    is_float: bool = False
    extra: tuple[ExtraChannel, ...] = ()
    is_xyb: bool = True
    colours: Colours | None = field(default_factory=Colours)
    profile: bytes | None = None
    tone_mapping: int | None = None

    @property
    def is_animation(self) -> bool:
        """Whether there are frames with a duration."""
        return self.plays is not None


def read_header(codestream: bytes) -> Header:
    """Read the header of a codestream.

    Raises:
        ValueError: it is damaged, or no codestream.
    """
    if codestream[:2] != CODESTREAM:
        raise ValueError("not a JPEG XL codestream")
    reader = BitReader(codestream, 16)
    size = _size(reader)
    size_end = reader.position
    if reader.flag():
        colours_end = reader.position
        _skip_transform(reader, is_xyb=True)
        end = reader.position
        return Header(size, Places(size_end, None, colours_end, end, -(-end // 8)))
    orientation, plays = 1, None
    if has_extra_fields := reader.flag():
        orientation = 1 + reader.bits(3)
        if reader.flag():
            _size(reader)  # to be displayed in
        if reader.flag():
            _skip_preview_size(reader)
        if reader.flag():
            plays = _plays(reader)
    depth_start = reader.position
    is_float, bits = _bit_depth(reader)
    depth_end = reader.position
    reader.flag()  # whether buffers of 16 bits are enough
    extra = tuple(_extra_channel(reader) for _ in range(reader.choice(((0, 0), (1, 0), (2, 4), (1, 12)))))
    is_xyb = reader.flag()
    colours_start = reader.position
    colours = _colours(reader)
    colours_end = reader.position
    tone_mapping = reader.bits(TONE_MAPPING_BITS) if has_extra_fields and not reader.flag() else None
    lengths = [reader.unsigned_64() for _ in range(reader.unsigned_64().bit_count())]
    reader.position += sum(lengths)  # of extensions
    _skip_transform(reader, is_xyb)
    metadata_end = reader.position
    profile = read_profile(reader) if colours is None else None
    frames_start = -(-reader.position // 8)
    places = Places(
        size_end, colours_start, colours_end, metadata_end, frames_start, has_extra_fields, depth_start, depth_end
    )
    return Header(size, places, orientation, plays, bits, is_float, extra, is_xyb, colours, profile, tone_mapping)


def size_in(codestream: bytes) -> tuple[int, int]:
    """Width and height, the first thing that a codestream says.

    Raises:
        ValueError: it is damaged, or no codestream.
    """
    if codestream[:2] != CODESTREAM:
        raise ValueError("not a JPEG XL codestream")
    return _size(BitReader(codestream, 16))


def is_lossless(codestream: bytes) -> bool:
    """Whether a picture is stored as it was: neither as XYB nor by cosine transforms, as a JPEG's are.

    Raises:
        ValueError: it is damaged, or no codestream.
    """
    header = read_header(codestream)
    reader = BitReader(codestream, 8 * header.places.frames_start)
    by_cosines = reader.flag() or (reader.bits(2), reader.bits(1))[1] == 0  # all by default; or the frame's type, first
    return not header.is_xyb and not by_cosines


def with_colours(
    codestream: bytes,
    colours: bytes | Colours | None,
    is_grey: bool,
    tone_mapping: int | None = None,
    bits: int | None = None,
) -> bytes:
    """A codestream whose values are in other colours than the encoder was told.

    Args:
        codestream: what the encoder has made.
        colours: a profile, or numbers of which white and primaries have names; None for sRGB's.
        is_grey: whether it has no colours.
        tone_mapping: the bits that say how bright white is, see `Header`; only for a codestream that does not say it.
        bits: per value of the integers that a decoder returns; None for what the codestream says. Only for one whose
            colours are stored as XYB, and which does not hold defaults alone.
    """
    header = read_header(codestream)
    places = header.places

    def copy_to_colours(start: int) -> None:
        if bits is not None:
            writer.copy(codestream, start, places.depth_start)
            _write_depth(writer, bits)
            start = places.depth_end
        assert places.colours_start is not None
        writer.copy(codestream, start, places.colours_start)

    profile = colours if isinstance(colours, bytes) else None
    writer = BitWriter()
    if places.colours_start is None:
        writer.copy(codestream, 0, places.size_end)
        for value, count in ((0, 1), (0, 1), (0, 1), (0, 2), (1, 1), (0, 2), (1, 1)):
            writer.bits(value, count)  # what the defaults mean: no extra fields, integers of 8 bits, no extra, XYB
    elif tone_mapping is not None and not places.has_extra_fields:
        writer.copy(codestream, 0, places.size_end)
        writer.bits(0b10, 2)  # not all is default: extra fields,
        writer.bits(0, 3 + 3)  # upright, with neither another size nor a preview nor frames
        copy_to_colours(places.size_end + 2)
    else:
        copy_to_colours(0)
    writer.bits(0, 1)  # not the default
    writer.bits(profile is not None, 1)
    _write_enumerated(writer, GREY if is_grey else RGB)
    if not isinstance(colours, bytes):
        _write_numbers(writer, colours or Colours(), is_grey)
    if tone_mapping is not None and places.colours_start is not None and not places.has_extra_fields:
        writer.bits(0, 1)  # not the default
        writer.bits(tone_mapping, TONE_MAPPING_BITS)
    if places.colours_start is None:
        writer.bits(0, 2)  # no extensions
    writer.copy(codestream, places.colours_end, places.metadata_end)
    if profile is not None:
        write_profile(writer, profile)
    return writer.finish() + codestream[places.frames_start :]


def tone_mapping_for(peak: float) -> int:
    """The bits that say how bright the largest value is, in cd/m2; black is then no light."""
    return int(np.float16(peak).view(np.uint16))


def peak_of(tone_mapping: int) -> float:
    """What `tone_mapping_for` was given, of bits that may say more."""
    return float(np.uint16(tone_mapping & 0xFFFF).view(np.float16))


def _write_depth(writer: BitWriter, bits: int) -> None:
    writer.bits(0, 1)  # integers
    usual = {8: 0, 10: 1, 12: 2}
    writer.bits(usual.get(bits, 3), 2)
    if bits not in usual:
        writer.bits(bits - 1, 6)


def _write_numbers(writer: BitWriter, colours: Colours, is_grey: bool) -> None:
    _write_enumerated(writer, next(name for name, point in WHITES.items() if point == colours.white))
    if not is_grey:
        _write_enumerated(writer, next(name for name, points in PRIMARIES.items() if points == colours.primaries))
    assert colours.transfer is not None
    writer.bits(0, 1)  # no gamma
    _write_enumerated(writer, colours.transfer)
    _write_enumerated(writer, RELATIVE)


def _size(reader: BitReader) -> tuple[int, int]:
    in_blocks = reader.flag()

    def side() -> int:
        return 8 * (1 + reader.bits(5)) if in_blocks else reader.choice(SIDE)

    height = side()
    ratio = reader.bits(3)
    if not ratio:
        return side(), height
    numerator, denominator = RATIOS[ratio]
    return height * numerator // denominator, height


def _skip_preview_size(reader: BitReader) -> None:
    sides = PREVIEW_BLOCKS if reader.flag() else PREVIEW_SIDE
    reader.choice(sides)
    if not reader.bits(3):
        reader.choice(sides)


def _plays(reader: BitReader) -> int:
    """How often an animation is shown; 0 for ever."""
    reader.choice(((100, 0), (1000, 0), (1, 10), (1, 30)))
    reader.choice(((1, 0), (1001, 0), (1, 8), (1, 10)))
    plays = reader.choice(((0, 0), (0, 3), (0, 16), (0, 32)))
    reader.flag()
    return plays


def _bit_depth(reader: BitReader) -> tuple[bool, int]:
    """Whether values are in floating point, and their bits."""
    if not reader.flag():
        return False, reader.choice(((8, 0), (10, 0), (12, 0), (1, 6)))
    bits = reader.choice(((32, 0), (16, 0), (24, 0), (1, 6)))
    reader.bits(4)  # of the exponent
    return True, bits


def _extra_channel(reader: BitReader) -> ExtraChannel:
    if reader.flag():
        return ExtraChannel()
    kind = reader.enumerated()
    _bit_depth(reader)
    reader.choice(((0, 0), (3, 0), (4, 0), (1, 3)))  # how much smaller it is
    for _ in range(reader.choice(((0, 0), (0, 4), (16, 5), (48, 10)))):
        reader.bits(8)  # its name
    premultiplied = kind == ALPHA and reader.flag()
    if kind == SPOT:
        for _ in range(4):
            reader.bits(16)
    if kind == FILTERS:
        reader.choice(((1, 0), (0, 2), (3, 4), (19, 8)))
    return ExtraChannel(kind, premultiplied)


def _colours(reader: BitReader) -> Colours | None:
    """The colour space; None if a profile follows."""
    if reader.flag():
        return Colours()
    has_profile = reader.flag()
    space = reader.enumerated()
    if has_profile:
        return None
    if space not in (RGB, GREY):
        raise ValueError("colours of an unknown kind: convert it to RGB or grey first")
    white_name = reader.enumerated()
    white = _coordinates(reader, 2) if white_name == CUSTOM else WHITES.get(white_name, WHITES[D65])
    primaries: tuple[float, ...] = PRIMARIES[SRGB]
    if space == RGB:
        name = reader.enumerated()
        primaries = _coordinates(reader, 6) if name == CUSTOM else PRIMARIES.get(name, primaries)
    transfer, gamma = None, None
    if reader.flag():
        gamma = reader.bits(24) * 1e-7
    else:
        transfer = reader.enumerated()
    reader.enumerated()  # rendering intent
    return Colours(space, white, primaries, transfer, gamma)


def _coordinates(reader: BitReader, count: int) -> tuple[float, ...]:
    packed = [reader.choice(COORDINATE) for _ in range(count)]
    return tuple((-(value + 1) // 2 if value % 2 else value // 2) * MILLIONTH for value in packed)


def _skip_transform(reader: BitReader, is_xyb: bool) -> None:
    if reader.flag():
        return
    if is_xyb and not reader.flag():
        reader.position += 16 * 16  # the inverse of the transform to XYB
    mask = reader.bits(3)
    reader.position += 16 * sum(weights for bit, weights in enumerate((15, 55, 210)) if mask >> bit & 1)


def _write_enumerated(writer: BitWriter, value: int) -> None:
    """Add a number that `BitReader.enumerated` reads."""
    kind, lowest, count = (value, value, 0) if value < 2 else (2, 2, 4) if value < 18 else (3, 18, 6)
    writer.bits(kind, 2)
    writer.bits(value - lowest, count)
