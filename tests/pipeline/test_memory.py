"""What a process may take is bounded, and where it is bounded the allocator wastes none of it."""

import sys
from pathlib import Path

import numpy as np
import pytest

from denoise_cli.pipeline import memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's files, limits and allocator")


class Libc:
    def __init__(self) -> None:
        self.set: dict[int, int] = {}

    def mallopt(self, parameter: int, value: int) -> None:
        self.set[parameter] = value


@linux
@pytest.mark.parametrize("limited", [False, True])
def test_one_arena_where_addresses_are_scarce(limited: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    libc = Libc()
    bound = 2**30 if limited else resource.RLIM_INFINITY
    monkeypatch.setattr(memory, "_libc", lambda: libc)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (bound, resource.RLIM_INFINITY))
    memory.keep_freed_memory()
    assert (memory.M_ARENA_MAX in libc.set) == limited


@linux
def test_an_allocation_beyond_the_bound_fails_and_the_bound_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 100 * 2**20)
    with memory.bounded_memory():
        np.ones(10 * 2**20, np.uint8)
        with pytest.raises(MemoryError):
            np.ones(400 * 2**20, np.uint8)
    np.ones(400 * 2**20, np.uint8)


@linux
def test_a_container_leaves_what_its_limit_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory.available_memory() == 700
    (tmp_path / "memory.max").write_text("max\n")
    assert (memory.available_memory() or 0) > 1000
