"""Copies to a GPU and back while it computes: the order of the calls on a CPU, and real copies if there is a GPU."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from denoise_cli.inference.gpu_copy import GpuCopier

GPU = torch.device("cuda", 0)
has_gpu = torch.cuda.is_available()


def a_picture(height: int = 8, width: int = 8) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((height, width, 3), np.float32)


class Event:
    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def synchronize(self) -> None:
        self.calls.append("the CPU waits")


class Stream:
    """Records the calls."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name, self.calls = name, calls

    def wait_stream(self, other: "Stream") -> None:
        self.calls.append(f"{self.name} waits for {other.name}")

    def record_event(self) -> Event:
        return Event(self.calls)


@pytest.fixture
def calls(monkeypatch):
    """The calls to a GPU in their order, replaced so that everything stays in the CPU's memory."""
    calls: list[str] = []
    copies, work = Stream("copies", calls), Stream("work", calls)

    @contextmanager
    def stream(which):
        calls.append(f"on {which.name}")
        yield
        calls.append("done")

    def copied(kind):
        def copy(tensor, *_, **how):
            assert how == {"non_blocking": True}
            calls.append(kind)
            return tensor.clone()

        return copy

    empty = torch.empty
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: copies)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: work)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**20, 2**30))
    monkeypatch.setattr(torch, "empty", lambda size, dtype, pin_memory: empty(size, dtype=dtype))
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(Tensor, "to", copied("upload"))
    monkeypatch.setattr(Tensor, "copy_", copied("download"))
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: calls.append(f"used on {stream.name}"))
    return calls


def test_what_goes_is_waited_for_by_the_work_that_follows(calls):
    GpuCopier(GPU, 2).upload(a_picture())
    assert calls == ["on copies", "upload", "done", "work waits for copies", "used on work"]


def test_what_comes_waits_for_the_work_and_the_computer_only_when_it_asks(calls):
    wait = GpuCopier(GPU, 2).download(torch.rand(1, 3, 8, 8))
    assert calls == ["copies waits for work", "on copies", "download", "done", "used on copies"]
    assert wait().shape == (8, 8, 3)
    assert calls[5:] == ["the CPU waits"]


def test_pictures_for_which_there_is_no_room_stay(calls):
    copier, picture = GpuCopier(GPU, 100), a_picture(32, 32)
    assert copier.upload(picture) is picture
    assert copier.download(picture)() is picture
    assert calls == []


@pytest.mark.skipif(not has_gpu, reason="needs an NVIDIA GPU")
def test_what_travels_arrives_unchanged():
    copier = GpuCopier(GPU, 8)
    pictures = [a_picture(1080, 1920) for _ in range(8)]
    waits = []
    for picture in pictures:
        uploaded = copier.upload(picture)
        assert uploaded.device == GPU
        for _ in range(50):  # work that takes longer than the copy
            uploaded = uploaded * 2 / 2
        waits.append(copier.download(uploaded))
        del uploaded
    for picture, wait in zip(pictures, waits, strict=True):
        np.testing.assert_array_equal(wait(), picture)
