"""What HEIF and AVIF files hold beside their picture: gain maps, depth maps, mattes, which are not written again.

Sources: ISO/IEC 23008-12 (HEIF), 6.6.2; ISO 21496-1 (gain maps); what Apple's phones write.
"""

from denoise_cli.io.xmp_claims import DEPTH_MAP, GAIN_MAP

SEARCHED = 1 << 20  # bytes at the start of a file in which types of auxiliary pictures are looked for
TYPES = {
    b":aux:hdrgainmap": GAIN_MAP,
    b":hevc:2015:auxid:2\x00": DEPTH_MAP,
    b":systems:auxiliary:depth": DEPTH_MAP,
    b":aux:disparity": DEPTH_MAP,
    b"matte\x00": "matte",
}
TONE_MAP_BRAND = b"tmap"  # of files whose primary picture is one with a gain map applied, or one with a gain map


def notes_on(data: bytes, pictures: int = 0) -> tuple[str, ...]:
    """What the user should hear of what a file holds beside its picture.

    Args:
        data: the file.
        pictures: the number of others that can be shown by themselves and are left out.
    """
    head = data[:SEARCHED]
    found = {what for name, what in TYPES.items() if name in head}
    if TONE_MAP_BRAND in _brands(data):
        found.add(GAIN_MAP)
    if pictures:
        found.add(more_pictures(pictures))
    return (f"left out: {', '.join(sorted(found))}",) if found else ()


def more_pictures(count: int) -> str:
    """So many pictures besides the first one, in words."""
    return "second picture" if count == 1 else f"{count} more pictures"


def _brands(data: bytes) -> set[bytes]:
    """The formats that a file says it conforms to."""
    stop = min(int.from_bytes(data[:4], "big"), SEARCHED)
    return {data[at : at + 4] for at in range(16, stop, 4)} if data[4:8] == b"ftyp" else set()
