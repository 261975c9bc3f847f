"""What becomes of freed memory: glibc keeps it for the next layer of a network, or returns it to the system.

And a bound to what is taken, beyond which an allocation fails instead of the system killing the process.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

M_TRIM_THRESHOLD = -1  # from malloc.h
M_MMAP_THRESHOLD = -3  # from malloc.h
M_ARENA_MAX = -8  # from malloc.h
LARGEST_INT = 2**31 - 1
SMALL = 8 << 20  # bytes of a picture, for which what is kept is little

MEMINFO = Path("/proc/meminfo")
STATUS = Path("/proc/self/status")
CONTROL_GROUP = Path("/sys/fs/cgroup")  # that of a container
# Names of a control group's limit and of what is taken of it: those of version 2 and of version 1.
GROUP_FILES = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks, since every layer of every tile asks for the same ones.

    Otherwise they are returned to the system and come back as pages that are zeroed each time: docs/benchmarks.md.
    """
    libc = _libc()
    if libc is not None and hasattr(libc, "mallopt"):  # not in musl
        for parameter in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            libc.mallopt(parameter, LARGEST_INT)
        if _is_address_space_limited():
            # glibc gives threads arenas of 64 MB of addresses, which it does not return: tiles of 256 pixels did not
            # fit into 700 MB (`prlimit --as`), where with a single arena those of 832 do.
            libc.mallopt(M_ARENA_MAX, 1)


def return_freed_memory(size: int | None = None) -> None:
    """Return to the system what glibc keeps, where blocks of one size will be followed by those of another.

    What decoding a large photo has left would not fit the network, which would take more beside it. After a small one
    everything stays, as the next photo takes it again, and getting it back from the system takes longer than the
    network.

    Args:
        size: of the picture, in bytes; None if it is large.
    """
    if size is not None and size <= SMALL:
        return
    libc = _libc()
    if libc is not None and hasattr(libc, "malloc_trim"):  # not in musl
        libc.malloc_trim(0)


def _is_address_space_limited() -> bool:
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Let allocations fail where the system has no memory left, instead of being killed without a word; on Linux."""
    available, taken = available_memory(), _kilobytes(STATUS, "VmData")
    if available is None or taken is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = taken + available
    bounds = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bound, *bounds) if bounds else bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def available_memory() -> int | None:
    """How many bytes a process can still take before the system, or its container, runs out; None if unknown."""
    free = [_kilobytes(MEMINFO, "MemAvailable")]
    for limit, usage in GROUP_FILES:
        with suppress(OSError, ValueError):  # no such file, or "max" for no limit
            free.append(int((CONTROL_GROUP / limit).read_text()) - int((CONTROL_GROUP / usage).read_text()))
    return min((max(count, 0) for count in free if count is not None), default=None)


def _kilobytes(file: Path, name: str) -> int | None:
    """A quantity in one of Linux's files, in bytes."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
