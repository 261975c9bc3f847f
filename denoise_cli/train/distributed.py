"""Several processes that train one network together, each on its own device."""

import os
from dataclasses import dataclass

import torch

# Its functions keep the group that there is when they are first imported, and with it threads that then outlive
# `destroy_process_group` and can abort the process on its way out: imported here, there is none yet.
import torch.distributed.nn
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from denoise_cli.inference.device import choose_device


@dataclass(frozen=True)
class Crew:
    """The processes that train one network together, as torchrun starts them, and this one's place among them.

    Attributes:
        rank: the place, from 0.
        size: how many they are.
        met_here: whether it was this class that brought them together.
    """

    rank: int = 0
    size: int = 1
    met_here: bool = False

    @classmethod
    def of_torchrun(cls, device: torch.device) -> "Crew":
        """Meet the others, if there are any; a process on its own is a crew of one."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        meets = size > 1 and not distributed.is_initialized()
        if meets:
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(int(os.environ.get("RANK", "0")), size, meets)

    def part(self) -> None:
        """Say goodbye: for when all of them have come to the end, and nothing that `wrap` gave is left."""
        if self.met_here:
            distributed.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and talks."""
        return self.rank == 0

    def wrap(self, net: nn.Module) -> nn.Module:
        """The network, with gradients that are averaged over the crew."""
        return DistributedDataParallel(net) if self.size > 1 else net

    def agrees(self, verdict: bool) -> bool:
        """The leader's verdict: the clocks of two processes never tell quite the same."""
        if self.size == 1:
            return verdict
        heard = [verdict]
        distributed.broadcast_object_list(heard)
        return heard[0]

    def mean(self, value: Tensor) -> Tensor:
        """Of the values that they all have; all must ask."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value / self.size

    def gather(self, lines: list[str]) -> list[str]:
        """The lines that they all have; all must ask."""
        if self.size == 1:
            return lines
        heard: list[list[str]] = [[] for _ in range(self.size)]
        distributed.all_gather_object(heard, lines)
        return [line for one in heard for line in one]


def place_for(name: str) -> torch.device:
    """The device that a name stands for; under torchrun, "auto" and "cuda" are each process's own GPU.

    Raises:
        DeviceUnavailable: there is no such device here.
    """
    rank = os.environ.get("LOCAL_RANK")
    if name in ("auto", "cuda") and rank is not None and torch.cuda.is_available():
        name = f"cuda:{rank}"
    place = choose_device(name)
    if place.index is not None:
        torch.cuda.set_device(place)
    return place
