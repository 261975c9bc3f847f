"""Image resources, in which Photoshop keeps IPTC, paths, guides and more inside a JPEG.

Source: Adobe, "Photoshop File Formats Specification" (2019), "Image Resource Blocks".
"""

import struct
from collections.abc import Iterator

PREFIX = b"Photoshop 3.0\x00"  # of its segment
SIGNATURE = b"8BIM"
IPTC = 0x0404
# Thumbnails, which show the old picture, and what is stored in segments of its own: profile, EXIF (two forms), XMP.
REWRITTEN = {IPTC, 0x0409, 0x040C, 0x040F, 0x0422, 0x0423, 0x0424}


def iptc_resource(iptc: bytes) -> bytes:
    """IPTC-IIM records as a resource."""
    return SIGNATURE + struct.pack(">HHI", IPTC, 0, len(iptc)) + iptc + b"\x00" * (len(iptc) % 2)


def iptc_in(resources: bytes) -> bytes | None:
    """The IPTC-IIM records among resources; None if there are none."""
    block = next((block for number, block in _blocks(resources) if number == IPTC), None)
    if block is None:
        return None
    size_at = 6 + (block[6] // 2 + 1) * 2
    (size,) = struct.unpack_from(">I", block, size_at)
    return block[size_at + 4 :][:size] or None


def other_resources(resources: bytes) -> bytes:
    """The resources that remain true of a result, without those that are written anew; those before any damage."""
    return b"".join(block for number, block in _blocks(resources) if number not in REWRITTEN)


def _blocks(resources: bytes) -> Iterator[tuple[int, bytes]]:
    """The number and the complete bytes of each resource."""
    at = 0
    while resources[at : at + 4] == SIGNATURE and at + 12 <= len(resources):
        (number,) = struct.unpack_from(">H", resources, at + 4)
        size_at = at + 6 + (resources[at + 6] // 2 + 1) * 2  # behind a name with its length, padded to be even
        if size_at + 4 > len(resources):
            return
        (size,) = struct.unpack_from(">I", resources, size_at)
        stop = size_at + 4 + size
        if stop > len(resources):
            return
        yield number, resources[at:stop] + b"\x00" * (size % 2)
        at = stop + size % 2
