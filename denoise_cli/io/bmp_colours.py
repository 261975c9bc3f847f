"""What a BMP with a long header says of its colours.

Source: Microsoft, BITMAPV4HEADER and BITMAPV5HEADER.
"""

import struct
from dataclasses import replace

from denoise_cli.io.metadata import Metadata

HEADER = 14  # where it begins, in bytes
VERSION_4, VERSION_5 = 108, 124  # bytes, lengths of headers
COLOUR_SPACE, ENDPOINTS, GAMMAS, PROFILE = 56, 60, 96, 112  # places in the header
CALIBRATED, LINKED, EMBEDDED = 0, 0x4C494E4B, 0x4D424544
LINK_LEFT_OUT = "left out: the name of a file with its colour profile"


def with_colours(meta: Metadata, bmp: bytes) -> tuple[Metadata, tuple[str, ...]]:
    """Metadata with the colours of a BMP, and what the user should hear of those that are not read."""
    (length,) = struct.unpack_from("<I", bmp, HEADER)
    if length not in (VERSION_4, VERSION_5) or len(bmp) < HEADER + length:
        return meta, ()
    (space,) = struct.unpack_from("<I", bmp, HEADER + COLOUR_SPACE)
    if space == CALIBRATED:
        return _calibrated(meta, bmp), ()
    if length == VERSION_5 and space in (LINKED, EMBEDDED):
        if space == LINKED:
            return meta, (LINK_LEFT_OUT,)
        start, size = struct.unpack_from("<II", bmp, HEADER + PROFILE)
        return replace(meta, icc=bmp[HEADER + start : HEADER + start + size] or None), ()
    return meta, ()


def _calibrated(meta: Metadata, bmp: bytes) -> Metadata:
    """With gamma and chromaticities, if they are stated and the gamma is the same for all colours."""
    points = struct.unpack_from("<9i", bmp, HEADER + ENDPOINTS)  # X, Y and Z of red, green and blue
    gammas = struct.unpack_from("<3I", bmp, HEADER + GAMMAS)
    colours = [points[start : start + 3] for start in (0, 3, 6)]
    if len(set(gammas)) > 1 or not gammas[0] or any(min(xyz) < 0 or not sum(xyz) for xyz in colours):
        return meta
    white = [sum(values) for values in zip(*colours, strict=True)]
    chromaticities = tuple(value / sum(xyz) for xyz in (white, *colours) for value in xyz[:2])
    return replace(meta, gamma=65536 / gammas[0], chromaticities=chromaticities)
