"""The scheduling of threads, which SVT-AV1 changes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

THREADS = Path("/proc/self/task")  # on Linux: a folder for each thread of this process


@contextmanager
def ordinary_scheduling() -> Iterator[None]:
    """Give all threads the calling one's scheduling at the end.

    Where it may, as root, SVT-AV1 makes its own threads and the one that opens it real-time threads of the highest
    priority, and leaves them so: everything else on the machine would get hardly any processor time, as this program's
    networks would.
    """
    if not THREADS.is_dir():
        yield
        return
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in (int(folder.name) for folder in THREADS.iterdir()):
            with suppress(OSError):  # a thread that has ended
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, parameter)
