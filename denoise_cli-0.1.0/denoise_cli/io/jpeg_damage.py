"""What libjpeg repairs in a damaged JPEG: Pillow and imagecodecs do not pass on its warnings, simplejpeg does."""

import simplejpeg

# Colours in which simplejpeg decodes, by Pillow's mode; it converts no inks.
COLOURS = {"L": "GRAY", "RGB": "GRAY", "CMYK": "CMYK"}
# Warnings about nothing that is decoded: a version or a colour transform that libjpeg does not know.
HARMLESS = ("unknown JFIF revision", "Unknown Adobe color transform")


def repaired(data: bytes, mode: str) -> tuple[str, ...]:
    """What libjpeg finds damaged in a JPEG that it decodes all the same, in words for the user.

    All of the file's codes are read, but for a picture of an eighth of the size, which is quicker than decoding it.

    Args:
        data: the file, of 8 bits per value.
        mode: Pillow's, for its colours.

    Returns:
        The first damage; empty if there is none, or for a kind of JPEG that simplejpeg does not decode.
    """
    if (warning := _warning(data, mode)) is None:
        return ()
    return (f"its pixel data is damaged, and is decoded as far as it goes ({warning}): try another copy of it",)


def _warning(data: bytes, mode: str) -> str | None:
    options = {"colorspace": COLOURS.get(mode, "GRAY"), "min_height": 1, "min_width": 1}
    try:
        simplejpeg.decode_jpeg(data, **options)
    except (ValueError, MemoryError) as error:
        warning = " ".join(str(error).split())
    else:
        return None
    try:
        simplejpeg.decode_jpeg(data, **options, strict=False)
    except (ValueError, MemoryError):  # it is not a warning: Pillow decodes kinds that simplejpeg does not
        return None
    return None if any(words in warning for words in HARMLESS) else warning.removeprefix("Corrupt JPEG data: ")
