"""The extensions of a GIF, of which Pillow returns no more than comments.

Source: CompuServe, "Graphics Interchange Format" 89a; Adobe, "XMP Specification" part 3 (2016), section 1.1.2; ICC,
"Embedding ICC profiles" (GIF).
"""

from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"GIF8"
HEADER = 13  # bytes, with that of the screen
EXTENSION, PICTURE = 0x21, 0x2C
PLAIN_TEXT, APPLICATION = 0x01, 0xFF
XMP, PROFILE = b"XMP DataXMP", b"ICCRGBG1012"
OF_ANIMATIONS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
XMP_TRAILER = 257  # bytes, which lead programs that do not know XMP to its end
SQUARE = (0, 49)  # values of the pixels' width by their height


@dataclass(frozen=True)
class Extensions:
    """What a GIF holds beside its pixels and comments; `others` is in words for the user."""

    xmp: bytes | None = None
    icc: bytes | None = None
    others: tuple[str, ...] = ()


def extensions_of(gif: bytes) -> Extensions:
    """The extensions in front of a GIF's end, or of any damage."""
    xmp, icc = None, None
    others = [] if gif[12] in SQUARE else ["pixels that are not square"]
    for label, blocks, raw in _extensions(gif):
        name = blocks[0][:11] if blocks else b""
        if label == PLAIN_TEXT:
            others.append("plain text")
        elif label == APPLICATION and name == XMP:
            xmp = raw[1 + len(XMP) : -XMP_TRAILER - 1]
        elif label == APPLICATION and name == PROFILE:
            icc = b"".join(blocks[1:])
        elif label == APPLICATION and name not in OF_ANIMATIONS:
            others.append(name.decode("ascii", "replace").strip("\x00 "))
    return Extensions(xmp, icc, tuple(dict.fromkeys(others)))


def _extensions(gif: bytes) -> Iterator[tuple[int, list[bytes], bytes]]:
    """The label of each extension, its blocks, and all of its bytes behind the label."""
    at = HEADER + _palette_bytes(gif[10])
    while at + 1 < len(gif) and gif[at] in (EXTENSION, PICTURE):
        is_picture = gif[at] == PICTURE
        if is_picture and at + 9 >= len(gif):
            return
        start = at + (11 + _palette_bytes(gif[at + 9]) if is_picture else 2)
        blocks, stop = _blocks(gif, start)
        if not is_picture:
            yield gif[at + 1], blocks, gif[start:stop]
        at = stop


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _blocks(gif: bytes, at: int) -> tuple[list[bytes], int]:
    """Blocks behind their lengths, and where the empty one that ends them does."""
    blocks = []
    while at < len(gif) and gif[at]:
        blocks.append(gif[at + 1 : at + 1 + gif[at]])
        at += 1 + gif[at]
    return blocks, at + 1
