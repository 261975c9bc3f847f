"""The largest photo that is decoded, and the most metadata that is kept."""

MAX_PIXELS = 200_000_000
MAX_METADATA = 2**24  # bytes of each kind: EXIF, XMP, IPTC, a colour profile, texts


def refuse_too_large(size: tuple[int, int], max_pixels: int) -> None:
    """Refuse a picture before it is decoded.

    Args:
        size: width and height, pixels.
        max_pixels: the largest area that is accepted.

    Raises:
        ValueError: it has more pixels; with a message for the user.
    """
    if size[0] * size[1] > max_pixels:
        raise ValueError(f"{size[0]} x {size[1]} pixels, more than --max-pixels allows")
