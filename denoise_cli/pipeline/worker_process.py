"""What a worker's process does: it takes photos from a pipe, and puts their results into it.

Whatever takes long to import, or may fail to be imported where memory is short, comes with what is first received.
"""

import logging
import os
import signal
import sys
import threading
import warnings
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from types import FrameType
from typing import NoReturn

from denoise_cli.errors import DenoiseError
from denoise_cli.inference.device import is_out_of_memory

SIGNALLED = 128  # and the number of the signal is the exit code, by the shells' convention
# Those that end the program. Ctrl-C and a terminal that is closed tell its workers as well.
ENDING = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)}


def serve(connection: Connection) -> None:
    """Denoise photos until the connection is closed, or the process that started this one has ended.

    The first message that comes in has the class of the worker and its arguments; what goes out then is None, or why it
    cannot work, in a line. Then each job that comes in is answered by its result.
    """
    _obey_only_the_parent()
    warnings.simplefilter("ignore")  # the results say what matters, as in the parent
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        try:
            make, loading, settings = connection.recv()
            from denoise_cli.pipeline.memory import keep_freed_memory

            keep_freed_memory()
            worker = make(loading, settings)
            worker.prepare()
        except EOFError:
            return
        except Exception as error:  # noqa: BLE001 - said by the parent
            connection.send(_words(error))
            return
        connection.send(None)
        while True:
            connection.send(worker.run(connection.recv()))
    except (EOFError, OSError):  # the parent wants no more, or has been killed
        return


def _words(error: Exception) -> str:
    """Why a worker cannot work, for the user."""
    if isinstance(error, DenoiseError):
        return str(error)
    if isinstance(error, RuntimeError | MemoryError) and is_out_of_memory(error):
        return "out of memory: a worker needs more than is left: choose fewer --workers"
    return f"a worker cannot start ({type(error).__name__}: {error})"


def _obey_only_the_parent() -> None:
    """End when the parent says so or is gone, by a signal that lets half-written files be removed."""
    for number in ENDING - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # the parent has blocked them until here
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(SIGNALLED + number)


def _end_with_the_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
