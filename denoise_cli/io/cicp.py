"""Colour spaces that files name by code points (CICP, ITU-T H.273)."""

import struct

from denoise_cli.io.png import chunks_of

# Code points that can be read as sRGB: unspecified, BT.709 and its equivalents, sRGB.
SRGB_LIKE_PRIMARIES = {1, 2, 5, 6}
SRGB_LIKE_TRANSFERS = {1, 2, 6, 13, 14, 15}
SEARCHED = 1 << 20  # bytes at the start of a file in which its colour boxes are looked for


def cicp_of_heif(data: bytes) -> tuple[int, int] | None:
    """Colour primaries and transfer function of an AVIF or HEIF; None if it has a colour profile or states nothing."""
    at = data.find(b"colrnclx", 0, SEARCHED)
    if at < 0 or b"colrprof" in data[:SEARCHED]:
        return None
    return struct.unpack(">HH", data[at + 8 : at + 12])


def cicp_of_png(data: bytes) -> tuple[int, int] | None:
    """Colour primaries and transfer function of a PNG, which override its profile; None if it states none."""
    for name, chunk in chunks_of(data):
        if name == b"cICP":
            return chunk[8], chunk[9]
        if name == b"IDAT":
            break
    return None


def refuse_unusual_colours(cicp: tuple[int, int] | None) -> None:
    """Refuse code points that cannot be read as sRGB.

    Args:
        cicp: colour primaries and transfer function; None is accepted.

    Raises:
        ValueError: with a message for the user.
    """
    if cicp is not None and (cicp[0] not in SRGB_LIKE_PRIMARIES or cicp[1] not in SRGB_LIKE_TRANSFERS):
        raise ValueError(f"HDR, linear or wide-gamut colours (CICP {cicp[0]}/{cicp[1]}): convert it to sRGB first")
