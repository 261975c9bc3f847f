"""Run the command line and turn errors into exit codes.

0 for success, 1 for a failure, 2 for wrong usage, 129 for SIGHUP, 130 for Ctrl-C, 141 for standard output that nobody
reads any longer, 143 for SIGTERM.
"""

import errno
import logging
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import NoReturn

from denoise_cli.cli import console
from denoise_cli.cli.app import app
from denoise_cli.errors import (
    ClosedPipe,
    DenoiseError,
    OutOfMemory,
    UnwritableFile,
    UsageError,
    raise_signal_behind,
)
from denoise_cli.inference.device import is_out_of_memory
from denoise_cli.pipeline.memory import keep_freed_memory
from denoise_cli.temporary_files import remove_unfinished

SIGNALLED = 128  # and the number of the signal is the exit code, by the shells' convention
AGAIN = 0.01  # seconds


def run() -> NoReturn:
    """Run the command line, and end the process."""
    _occupy_closed_streams()
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
    try:
        with _signals_as_exceptions():
            _refuse_empty_arguments(sys.argv[1:])
            app()
    except SystemExit as ended:
        if ended.code == UsageError.exit_code:
            _explain_dashes(sys.argv[1:])
            _explain_command(sys.argv[1:])
        raise
    except KeyboardInterrupt:  # while the parser is built; within a command it is typer that handles it
        sys.exit(SIGNALLED + signal.SIGINT)
    except ClosedPipe as error:
        sys.exit(error.exit_code)
    except DenoiseError as error:
        console.error(str(error))
        sys.exit(error.exit_code)
    except (MemoryError, RuntimeError, ImportError) as error:
        if not is_out_of_memory(error):
            raise
        console.error("out of memory: the program needs more than this process may use")
        sys.exit(OutOfMemory.exit_code)
    except OSError as error:  # from the parser's own texts, such as --help
        if error.errno not in (errno.ENOSPC, errno.EBADF, errno.EIO):
            raise
        console.abandon_output()
        console.error(f"{error.filename or 'standard output'}: {error.strerror}")
        sys.exit(UnwritableFile.exit_code)
    sys.exit(0)


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Let signals raise exceptions: unlike their default action, these let the program remove its half-written files.

    Before and after, there is nothing to remove, and Python would answer with a traceback.
    """
    actions = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _terminate}
    if hasattr(signal, "SIGHUP"):
        actions[signal.SIGHUP] = _terminate
    before = {number: signal.getsignal(number) for number in actions}
    hook = sys.unraisablehook

    def signal_again(ignored: "sys.UnraisableHookArgs") -> None:
        """Send again a signal that came while Python ran a finaliser or a callback, where it ignores exceptions."""
        number = _signal_of(ignored.exc_value)
        if number not in actions:
            hook(ignored)
            return
        # Not at once: this, too, is such a place.
        timer = threading.Timer(AGAIN, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = signal_again
    for number, action in actions.items():
        if before[number] != signal.SIG_IGN:  # as nohup sets it, and scripts for what runs in their background
            signal.signal(number, action)
    try:
        yield
    except RuntimeError as error:
        raise_signal_behind(error)
        raise
    finally:
        remove_unfinished()
        for number, earlier in before.items():
            if earlier is not None:  # one that was not set from Python cannot be set from it
                signal.signal(number, earlier)
        sys.unraisablehook = hook


def _refuse_empty_arguments(arguments: Sequence[str]) -> None:
    """Refuse what a variable that is not set leaves of an argument: as a path, it would be the current folder.

    Raises:
        UsageError: one is empty, or an option's value is.
    """
    for place, argument in enumerate(arguments):
        option, _, value = argument.partition("=")
        before = arguments[place - 1] if place else ""
        if not argument:
            option = before if before.startswith("-") else f"argument {place + 1}"
        elif value or not argument.startswith("--") or "=" not in argument:
            continue
        raise UsageError(f"{option}: is empty: is a variable in the command not set?")


def _explain_dashes(arguments: Sequence[str]) -> None:
    """Say how to name a file that the parser has taken for an option."""
    for argument in arguments:
        if argument.startswith("-") and len(argument) > 1 and os.path.lexists(argument):
            console.error(f"{argument} is taken for an option: write ./{argument} for the file of that name")


def _explain_command(arguments: Sequence[str]) -> None:
    """Say which command was forgotten before a file."""
    commands = [command.name for command in app.registered_commands] + [group.name for group in app.registered_groups]
    if not arguments or arguments[0].startswith("-") or arguments[0] in commands:
        return

    from denoise_cli.io.formats import is_photo

    path = Path(arguments[0])
    if is_photo(path) or os.path.lexists(path):
        command = "image" if is_photo(path) or os.path.isdir(path) else "video"  # noqa: PTH112 - `Path` may raise
        console.error(f"{path} is no command: write  denoise {command} {shlex.join(arguments)}")


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(SIGNALLED + number)


def _signal_of(error: BaseException | None) -> int | None:
    """The number of the signal that has raised this."""
    match error:
        case KeyboardInterrupt():
            return signal.SIGINT
        case SystemExit(code=int(code)):
            return code - SIGNALLED
    return None


def _occupy_closed_streams() -> None:
    """Let closed standard streams refuse to be read and written, before a file that is opened gets their numbers."""
    for number, name, direction in ((0, "stdin", "w"), (1, "stdout", "r"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                handle = os.open(os.devnull, os.O_WRONLY if direction == "w" else os.O_RDONLY)
                if handle == number:
                    os.set_inheritable(handle, True)  # as what `dup2` makes is: programs that are run need them, too
                else:
                    os.dup2(handle, number)
                    os.close(handle)
                setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))
