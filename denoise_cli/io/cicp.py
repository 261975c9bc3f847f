"""Colours that a file names by number (CICP, ITU-T H.273)."""

import struct

from denoise_cli.io.png import chunks_of

# Code points that read as sRGB does: unspecified, BT.709 and its equals, sRGB.
SRGB_LIKE_PRIMARIES = {1, 2, 5, 6}
SRGB_LIKE_TRANSFERS = {1, 2, 6, 13, 14, 15}


def cicp_of_heif(data: bytes) -> tuple[int, int] | None:
    """Primaries and transfer of an AVIF or HEIF that names its colours by number; None where a profile does it."""
    at = data.find(b"colrnclx", 0, 1 << 20)
    if at < 0 or b"colrprof" in data[: 1 << 20]:
        return None
    return struct.unpack(">HH", data[at + 8 : at + 12])


def cicp_of_png(data: bytes) -> tuple[int, int] | None:
    """The same of a PNG, where the numbers come before any profile."""
    for name, chunk in chunks_of(data):
        if name == b"cICP":
            return chunk[8], chunk[9]
        if name == b"IDAT":
            break
    return None


def refuse_unusual_colours(cicp: tuple[int, int] | None) -> None:
    """Only what reads as sRGB does goes on.

    Raises:
        ValueError: other colours, in the words that the user reads.
    """
    if cicp is not None and (cicp[0] not in SRGB_LIKE_PRIMARIES or cicp[1] not in SRGB_LIKE_TRANSFERS):
        raise ValueError(f"HDR, linear or wide-gamut colours (CICP {cicp[0]}/{cicp[1]}): convert it to sRGB first")
