"""What HEIF and AVIF files say about their primary picture: its properties, among them its colours.

Source: ISO/IEC 23008-12, section 9.3; ISO/IEC 14496-12, sections 8.11.4 and 12.1.5.
"""

import struct
from collections.abc import Iterator

from denoise_cli.io.boxes import boxes_of
from denoise_cli.io.cicp import CodePoints, stated

Property = tuple[bytes, bytes]  # its name and its contents
SEARCHED = 1 << 20  # bytes at the start of a file in which colours are looked for that no list of properties has
BY_NUMBERS, PROFILES = b"nclx", (b"prof", b"rICC")  # kinds of colours


def properties_of(data: bytes) -> list[Property]:
    """The properties of the primary picture in a file; empty if the file has no list of them.

    Raises:
        ValueError: the list is damaged; with a message for the user.
    """
    meta = next((contents for name, contents in boxes_of(data) if name == b"meta"), b"")
    inside = dict(boxes_of(meta[4:]))
    if b"pitm" not in inside or b"iprp" not in inside:
        return []
    try:
        item = int.from_bytes(inside[b"pitm"][4 : 8 if inside[b"pitm"][0] else 6], "big")
        parts = list(boxes_of(inside[b"iprp"]))
        known = [each for name, contents in parts if name == b"ipco" for each in boxes_of(contents)]
        owners = [contents for name, contents in parts if name == b"ipma"]
        numbers = [number for contents in owners for owner, number, _ in owned(contents) if owner == item]
        return [known[number - 1] for number in numbers if number]
    except (struct.error, IndexError) as error:
        raise ValueError("its list of properties is damaged") from error


def all_properties_of(data: bytes) -> list[Property]:
    """The properties of all items in a file; empty if the file has no list of them.

    Raises:
        ValueError: the list is damaged; with a message for the user.
    """
    meta = next((contents for name, contents in boxes_of(data) if name == b"meta"), b"")
    properties = dict(boxes_of(meta[4:])).get(b"iprp", b"")
    return [each for name, contents in boxes_of(properties) if name == b"ipco" for each in boxes_of(contents)]


def is_monochrome(properties: list[Property]) -> bool:
    """Whether a picture with these properties has a single channel, apart from transparency."""
    return any(name == b"pixi" and contents[4:5] == b"\x01" for name, contents in properties)


def colours_of(data: bytes, properties: list[Property]) -> CodePoints | None:
    """The colours that a file states by numbers; None if it has a profile, or states sRGB or nothing.

    Args:
        data: the file.
        properties: of its primary picture.

    Raises:
        ValueError: they are of a kind that is not known; with a message for the user.
    """
    colours = [contents for name, contents in properties if name == b"colr"]
    if any(contents[:4] in PROFILES for contents in colours):
        return None
    numbers = next((contents[4:] for contents in colours if contents[:4] == BY_NUMBERS), None)
    if numbers is None and not colours:  # those of the pieces that a picture is put together from
        at = data.find(b"colr" + BY_NUMBERS, 0, SEARCHED)
        numbers = data[at + 8 : at + 15] if at >= 0 and b"colrprof" not in data[:SEARCHED] else None
    return None if numbers is None or len(numbers) < 6 else stated(*struct.unpack(">3H", numbers[:6]))


def owned(contents: bytes) -> Iterator[tuple[int, int, int]]:
    """The number of each item with that of each of its properties, and where that stands in these contents.

    The highest bit there says that the property must be understood.

    Raises:
        IndexError: the list is damaged.
    """
    version, flags, entries = contents[0], contents[3], int.from_bytes(contents[4:8], "big")
    at, id_size, size = 8, 4 if version else 2, 2 if flags & 1 else 1
    for _ in range(entries):
        item, count = int.from_bytes(contents[at : at + id_size], "big"), contents[at + id_size]
        at += id_size + 1
        for _ in range(count):
            number = int.from_bytes(contents[at : at + size], "big")
            if at + size > len(contents):
                raise IndexError(at)
            yield item, number & (0x7FFF if size == 2 else 0x7F), at
            at += size
