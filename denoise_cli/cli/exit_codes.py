"""Run the command line and turn errors into exit codes.

0 for success, 1 for a failure, 2 for wrong usage, 130 for Ctrl-C, 143 for SIGTERM.
"""

import logging
import os
import signal
import sys
import warnings
from io import TextIOWrapper
from types import FrameType
from typing import NoReturn

from denoise_cli.cli import console
from denoise_cli.cli.app import app
from denoise_cli.errors import DenoiseError
from denoise_cli.pipeline.memory import keep_freed_memory

TERMINATED = 128 + signal.SIGTERM  # the exit code, by the shells' convention


def run() -> NoReturn:
    """Run the command line, and end the process."""
    # Decoders warn about damaged files in their own words; the commands report what matters in one line.
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files are bytes, of whatever encoding
    keep_freed_memory()
    # For OpenBLAS, which NumPy brings along, before it is loaded: between matrices as small as here its threads wait by
    # spinning, for which `denoise inspect` took 2.3 seconds of two processors' time instead of 0.2 on a busy machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # For OpenMP, which PyTorch brings along, likewise: on a busy machine, threads that wait by spinning take the time
    # of those that they wait for. docs/benchmarks.md has what that costs a clip.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # SystemExit, unlike a signal's default action, lets the program remove its half-written files.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except DenoiseError as error:
        console.error(str(error))
        sys.exit(error.exit_code)
    sys.exit(0)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(TERMINATED)
