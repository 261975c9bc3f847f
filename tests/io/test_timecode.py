"""Time codes, counted on."""

from fractions import Fraction

import pytest

from denoise_cli.io.timecode import later

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("timecode", "frames", "rate", "expected"),
    [
        ("23:59:59:24", 1, Fraction(25), "00:00:00:00"),
        ("01:00:00:00", 24 * 60, Fraction(24000, 1001), "01:01:00:00"),
        ("00:00:00;00", 107892, NTSC, "01:00:00;00"),  # as many frames as there are in an hour
        ("00:00:00;00", 1800, NTSC, "00:01:00;02"),
        ("00:00:00;00", 17982, NTSC, "00:10:00;00"),
        ("00:00:00;00", 3600, Fraction(60000, 1001), "00:01:00;04"),
        ("00:00:59:29", 1, NTSC, "00:01:00:00"),
        ("long ago", 5, NTSC, "long ago"),
    ],
)
def test_a_time_code_is_counted_on(timecode: str, frames: int, rate: Fraction, expected: str) -> None:
    assert later(timecode, frames, rate) == expected


def test_counting_is_additive() -> None:
    for frames in range(0, 60000, 997):
        whole = later("00:08:30;15", frames, NTSC)
        assert later(later("00:08:30;15", frames // 3, NTSC), frames - frames // 3, NTSC) == whole
