"""Where errors become exit codes: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted."""

import ctypes
import logging
import signal
import sys
import warnings
from types import FrameType
from typing import NoReturn

from denoise_cli.cli import console
from denoise_cli.cli.app import app
from denoise_cli.errors import DenoiseError

TERMINATED = 128 + signal.SIGTERM
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
MOST_OF_AN_INT = 2**31 - 1


def run() -> NoReturn:
    """Run the command line, and end the process."""
    # Decoders grumble about damaged files in their own words; what matters is said once, in ours.
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    _keep_freed_memory()
    # Ended politely, the program still takes away its half-written files.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except DenoiseError as error:
        console.error(str(error))
        sys.exit(error.exit_code)
    sys.exit(0)


def _keep_freed_memory() -> None:
    """Let glibc reuse large blocks, as every layer of every tile asks for the same ones.

    Given back to the system and fetched anew, each page is zeroed each time: docs/benchmarks.md.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # musl has none
        for parameter in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            libc.mallopt(parameter, MOST_OF_AN_INT)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(TERMINATED)
