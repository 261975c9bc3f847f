"""What the user should hear of a clip: before the work begins, and of what was wrong with it once it has been read."""

from denoise_cli.io.numbered import MOST_NAMED
from denoise_cli.io.video import Reader
from denoise_cli.io.video_frame import Frame


def notes_on_source(clip: Reader, first: Frame, is_rate_given: bool) -> list[str]:
    """A line for everything to know of a clip, whatever it becomes.

    Args:
        clip: open.
        first: its first frame.
        is_rate_given: whether the user has named the rate of numbered pictures.
    """
    notes = [] if clip.pictures is None else list(clip.pictures.notes)
    if clip.pictures is not None and not is_rate_given:
        notes.append(f"{float(clip.rate):g} frames per second: --fps names another rate")
    if first.is_interlaced:
        notes.append("interlaced: --deinterlace combines fields into whole frames")
    if clip.has_wrapped_clock:
        notes.append("the clock starts again at zero in the clip: times go on from where they were")
    return notes


def is_complete(clip: Reader, cut_off: bool) -> bool:
    """Whether all of a clip could be read, once that has been done, and it was not `cut_off`."""
    return not (
        cut_off or clip.damaged or clip.incomplete or clip.concealed or (clip.pictures and clip.pictures.failures)
    )


def faults_of(clip: Reader, cut_off: bool) -> list[str]:
    """A line for everything that was wrong with the clip, once it has been read."""
    notes = []
    if clip.jumps:
        times = "once" if len(clip.jumps) == 1 else f"{len(clip.jumps)} times"
        notes.append(f"the clock jumps back {times}: times go on from where they were")
    if clip.damaged:
        notes.append(f"left out {clip.damaged} damaged packets")
    if clip.pictures is not None and (failures := clip.pictures.failures):
        more = ", ..." if len(failures) > MOST_NAMED else ""
        notes.append(
            f"left out {len(failures)} of {clip.pictures.count} frames: {', '.join(failures[:MOST_NAMED])}{more}"
        )
    if clip.concealed:
        notes.append(f"the decoder made up parts of {clip.concealed} damaged frame{'s' * (clip.concealed > 1)}")
    if clip.incomplete:
        notes.append(f"{clip.incomplete} packets are incomplete: their frames may be damaged")
    if cut_off:
        end = clip.promised_end
        of = "" if end is None or end <= (clip.last_end or 0) else f" of {float(end):.1f} s"
        notes.append(f"the clip ends at {float(clip.last_end or 0):.1f} s{of}: it may be cut off")
    return notes
