"""Dolby Vision: what a clip says of it, and the profiles whose pictures have false colours without its metadata.

FFmpeg states a clip's profile where the container has a configuration for it (dvcC, dvvC), and leaves the metadata of
each frame (RPU) beside it.
"""

import re

from denoise_cli.errors import UnreadableFile
from denoise_cli.io.video import Reader
from denoise_cli.io.video_frame import CROPPING, DOLBY_VISION, Frame

CONFIGURATION = re.compile(r"DOVI configuration record: .*?profile: (\d+),.*?compatibility id: (\d+)")
CROPPED = "Frame Cropping"  # what FFmpeg calls it where it describes a stream
# Pictures of these profiles are in a colour space of Dolby's own, unless they say what else they can be shown as.
OWN_COLOURS = (5, 10, 20)
INCOMPATIBLE = 0


def profile_of(clip: Reader, first: Frame) -> int | None:
    """The profile of a clip in Dolby Vision, 0 if it does not state one; None for all other clips."""
    stated = CONFIGURATION.search(clip.description)
    if stated is not None:
        return int(stated[1])
    if DOLBY_VISION not in first.side_data:
        return None
    return 5 if first.has_dolby_colours else 0


def check_colours(clip: Reader, first: Frame) -> None:
    """Refuse a clip whose colours are known only with the metadata that will be lost.

    Raises:
        UnreadableFile: the clip is such a one.
    """
    stated = CONFIGURATION.search(clip.description)
    own = first.has_dolby_colours
    if stated is not None:
        own = int(stated[1]) in OWN_COLOURS and int(stated[2]) == INCOMPATIBLE
    if own:
        raise UnreadableFile(
            clip.path,
            f"is Dolby Vision (profile {profile_of(clip, first)}), whose colours would be false without its metadata: "
            "make HDR10 of it first, as FFmpeg's filter libplacebo does",
        )


def kinds_in(clip: Reader, first: Frame) -> list[str]:
    """What else belongs to a clip's frames, as users know it: the kinds of `Frame.side_data`."""
    profile, cropping = profile_of(clip, first), [CROPPING] * (CROPPED in clip.description)
    if profile is None:
        return [*first.side_data, *cropping]
    named = f"{DOLBY_VISION} (profile {profile})" if profile else DOLBY_VISION
    return [named, *(name for name in first.side_data if name != DOLBY_VISION), *cropping]
