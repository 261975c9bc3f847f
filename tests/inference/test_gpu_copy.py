"""Pictures that travel while others are computed: the order of what a GPU is asked, without one; on one, the rest."""

from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from denoise_cli.inference.gpu_copy import Shuttle

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
here = torch.cuda.is_available()


class Event:
    def __init__(self, said: list[str]) -> None:
        self.said = said

    def synchronize(self) -> None:
        self.said.append("the computer waits")


class Stream:
    """Notes what it is asked."""

    def __init__(self, name: str, said: list[str]) -> None:
        self.name, self.said = name, said

    def wait_stream(self, other: "Stream") -> None:
        self.said.append(f"{self.name} waits for {other.name}")

    def record_event(self) -> Event:
        return Event(self.said)


@pytest.fixture
def said(monkeypatch):
    """What a GPU is asked, in its order; its memory is the computer's."""
    said: list[str] = []
    travel, work = Stream("travel", said), Stream("work", said)

    @contextmanager
    def stream(which):
        said.append(f"on {which.name}")
        yield
        said.append("done")

    def copied(kind):
        def copy(tensor, *_, **how):
            assert how == {"non_blocking": True}
            said.append(kind)
            return tensor.clone()

        return copy

    empty = torch.empty
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: travel)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: work)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**20, 2**30))
    monkeypatch.setattr(torch, "empty", lambda size, dtype, pin_memory: empty(size, dtype=dtype))
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(Tensor, "to", copied("goes"))
    monkeypatch.setattr(Tensor, "copy_", copied("comes"))
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: said.append(f"used on {stream.name}"))
    return said


def test_what_goes_is_waited_for_by_the_work_that_follows(said):
    Shuttle(GPU, 2).bring(torch.rand(3, 8, 8))
    assert said == ["on travel", "goes", "done", "work waits for travel", "used on work"]


def test_what_comes_waits_for_the_work_and_the_computer_only_when_it_asks(said):
    arrival = Shuttle(GPU, 2).fetch(torch.rand(3, 8, 8))
    assert said == ["travel waits for work", "on travel", "comes", "done", "used on travel"]
    arrival()
    assert said[5:] == ["the computer waits"]


def test_pictures_for_which_there_is_no_room_stay(said):
    shuttle, picture = Shuttle(GPU, 100), torch.rand(3, 32, 32)
    assert shuttle.bring(picture) is picture
    assert shuttle.fetch(picture)() is picture
    assert said == []


def test_on_a_cpu_they_stay_where_they_are():
    shuttle, picture = Shuttle(CPU, 2), torch.rand(3, 8, 8)
    assert shuttle.bring(picture) is picture
    assert shuttle.fetch(picture)() is picture


@pytest.mark.skipif(not here, reason="needs an NVIDIA GPU")
def test_what_travels_arrives_unchanged():
    shuttle = Shuttle(GPU, 8)
    pictures = [torch.rand(3, 1080, 1920) for _ in range(8)]
    arrivals = []
    for picture in pictures:
        there = shuttle.bring(picture)
        assert there.device == GPU
        for _ in range(50):  # work that takes longer than the way
            there = there * 2 / 2
        arrivals.append(shuttle.fetch(there))
        del there
    for picture, arrival in zip(pictures, arrivals, strict=True):
        assert torch.equal(arrival(), picture)
