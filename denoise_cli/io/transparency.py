"""Whether a clip shows anything through: formats with transparency, such as GIF, mostly hold opaque frames."""

from contextlib import closing

from denoise_cli.errors import UnreadableFile
from denoise_cli.io.video import Reader
from denoise_cli.io.video_frame import Frame, planes_of

MOST_PIXELS = 500_000_000  # that are looked at


def is_transparent(clip: Reader, first: Frame) -> bool | None:
    """Whether a pixel of a clip is transparent, wholly or in part; None if that is not known before it has been read.

    Args:
        clip: the clip, of which all frames are looked at, unless it is long or comes through a pipe.
        first: its first frame that is wanted.
    """
    if not clip.has_alpha or not is_opaque(first):
        return clip.has_alpha
    if clip.pipe is not None:
        return None
    seen = 0
    try:
        with Reader(clip.path, clip.allow_playlists) as again, closing(again.frames()) as frames:
            for frame in frames:
                if not is_opaque(frame):
                    return True
                seen += frame.picture.width * frame.picture.height
                if seen > MOST_PIXELS:
                    return None
    except UnreadableFile:  # which will be said when it is read for good
        return None
    return False


def is_opaque(frame: Frame) -> bool:
    """Whether nothing shows through a frame."""
    opacity = planes_of(frame.picture)[1]
    return opacity is None or bool((opacity == 2**frame.layout.bits - 1).all())


def loss_of(clip: Reader, first: Frame, where: str) -> list[str]:
    """A line that a result loses the clip's transparency, if it has any.

    Args:
        clip: the clip.
        first: its first frame that is wanted.
        where: what does not hold it.
    """
    found = is_transparent(clip, first)
    if found is None:
        return [f"the first frame is opaque; if later ones are transparent, that is lost: {where} does not hold it"]
    return [f"transparency is lost: {where} does not hold it"] if found else []
