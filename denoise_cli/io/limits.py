"""How large a photo may be."""

MAX_PIXELS = 200_000_000


def refuse_too_large(size: tuple[int, int], max_pixels: int) -> None:
    """Let nothing be decoded that has more pixels; `size` is width and height.

    Raises:
        ValueError: more, in the words that the user reads.
    """
    if size[0] * size[1] > max_pixels:
        raise ValueError(f"{size[0]} x {size[1]} pixels, more than --max-pixels allows")
