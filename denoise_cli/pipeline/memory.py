"""What becomes of freed memory: glibc keeps it for the next layer of a network, or returns it to the system."""

import ctypes
import sys

M_TRIM_THRESHOLD = -1  # from malloc.h
M_MMAP_THRESHOLD = -3  # from malloc.h
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks, since every layer of every tile asks for the same ones.

    Otherwise they are returned to the system and come back as pages that are zeroed each time: docs/benchmarks.md.
    """
    libc = _libc()
    if libc is not None and hasattr(libc, "mallopt"):  # not in musl
        for parameter in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            libc.mallopt(parameter, LARGEST_INT)


def return_freed_memory() -> None:
    """Return to the system what glibc keeps, where blocks of one size will be followed by those of another.

    What decoding a large photo has left would not fit the network, which would take more beside it.
    """
    libc = _libc()
    if libc is not None and hasattr(libc, "malloc_trim"):  # not in musl
        libc.malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
