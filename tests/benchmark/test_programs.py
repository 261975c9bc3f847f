"""What is measured of a program in a process of its own."""

import sys

import pytest

from denoise_cli.benchmark.programs import Program, time_program
from denoise_cli.errors import DenoiseError

MEGABYTE = 10**6


def python(script: str) -> Program:
    return Program("script", [sys.executable, "-c", script])


def test_the_peak_is_the_programs_own() -> None:
    ours = bytearray(300 * MEGABYTE)  # of the process that starts the programs
    small, large = (time_program(python(f"bytearray({size} * {MEGABYTE})")) for size in (1, 200))
    assert small.peak_bytes < 100 * MEGABYTE < len(ours)
    assert large.peak_bytes - small.peak_bytes == pytest.approx(199 * MEGABYTE, rel=0.05)


def test_seconds_pass_without_computing() -> None:
    timing = time_program(python("import time; time.sleep(0.5)"))
    assert timing.seconds > 0.5 > timing.cpu_seconds > 0


def test_a_failure_ends_with_its_last_message() -> None:
    with pytest.raises(DenoiseError, match=r"^script: exit code 3: last$"):
        time_program(python("import sys; print('first\\nlast', file=sys.stderr); sys.exit(3)"))
