"""Where errors become exit codes: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted."""

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


def run() -> NoReturn:
    """Run the command line, and end the process."""
    # Decoders grumble about damaged files in their own words; what matters is said once, in ours.
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    # Ended politely, the program still takes away its half-written files.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except DenoiseError as error:
        console.error(str(error))
        sys.exit(error.exit_code)
    sys.exit(0)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(TERMINATED)
