"""Time codes (SMPTE 12M): the time of a frame by a camera's clock, counted in frames."""

import re
from fractions import Fraction

TIMECODE = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)")
DROPPED = {30: 2, 60: 4}  # numbers that are left out in each minute but every tenth, so that 29.97 keeps to the clock


def later(timecode: str, frames: int, rate: Fraction) -> str:
    """The time code some frames later; what is none stays as it is.

    Args:
        timecode: HH:MM:SS:FF, or HH:MM:SS;FF if numbers are dropped.
        frames: how many frames later.
        rate: frames per second.

    >>> later("10:00:59:20", 10, Fraction(25))
    '10:01:00:05'
    >>> later("00:00:59;29", 1, Fraction(30000, 1001))
    '00:01:00;02'
    >>> later("00:09:59;29", 1, Fraction(30000, 1001))
    '00:10:00;00'
    """
    found, base = TIMECODE.fullmatch(timecode), round(rate)
    if found is None or base == 0:
        return timecode
    hours, minutes, seconds, _, frame = (int(part) if part.isdigit() else 0 for part in found.groups())
    dropped = DROPPED.get(base, 0) if found[4] != ":" else 0
    minutes += 60 * hours
    count = (60 * minutes + seconds) * base + frame - dropped * (minutes - minutes // 10) + frames
    minute, ten_minutes = 60 * base - dropped, 600 * base - 9 * dropped
    tens, rest = divmod(count, ten_minutes)
    count += dropped * (9 * tens + max((rest - dropped) // minute, 0))
    whole, frame = divmod(count, base)
    return f"{whole // 3600 % 24:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{found[4]}{frame:02d}"
