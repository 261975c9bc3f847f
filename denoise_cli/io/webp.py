"""The chunks of a WebP.

Source: RFC 9649, section 2.
"""

from collections.abc import Iterator

HEADER = 12  # bytes
PIXELS = (b"VP8 ", b"VP8L")
READ = (*PIXELS, b"VP8X", b"ALPH", b"ICCP", b"EXIF", b"XMP ", b"ANIM", b"ANMF")
C2PA = b"C2PA"


def names_of(webp: bytes) -> Iterator[bytes]:
    """The name of each chunk."""
    at = HEADER
    while at + 8 <= len(webp):
        yield webp[at : at + 4]
        size = int.from_bytes(webp[at + 4 : at + 8], "little")
        at += 8 + size + size % 2


def is_lossless(webp: bytes) -> bool:
    """Whether the picture is compressed without loss."""
    return next((name for name in names_of(webp) if name in PIXELS), None) == b"VP8L"


def unknown_chunks(webp: bytes) -> list[str]:
    """The names of chunks that are not read, in words for the user."""
    unknown = dict.fromkeys(name for name in names_of(webp) if name not in (*READ, C2PA) and name.isalnum())
    return [name.decode("ascii") for name in unknown]
