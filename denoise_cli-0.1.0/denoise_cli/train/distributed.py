"""Data-parallel training: several processes train one network together, each on its own device."""

import os
from dataclasses import dataclass

import torch

# On its first import this module captures the process group that exists then, and with it threads that survive
# `destroy_process_group` and can abort the process at exit. Imported here, before any group exists, it captures none.
import torch.distributed.nn
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from denoise_cli.inference.torch_device import choose_torch_device


@dataclass(frozen=True)
class ProcessGroup:
    """The processes, started by torchrun, that train one network together.

    Attributes:
        rank: index of this process, from 0.
        size: number of processes.
        created_here: whether this class created PyTorch's process group, and so has to destroy it.
    """

    rank: int = 0
    size: int = 1
    created_here: bool = False

    @classmethod
    def from_torchrun(cls, device: torch.device) -> "ProcessGroup":
        """The group that torchrun's environment variables describe; without torchrun, this process alone."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        creates = size > 1 and not distributed.is_initialized()
        if creates:
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(int(os.environ.get("RANK", "0")), size, creates)

    def leave(self) -> None:
        """Leave the group, once every process has finished and nothing that `wrap` returned is still in use."""
        if self.created_here:
            distributed.destroy_process_group()

    @property
    def is_leader(self) -> bool:
        """Whether this is the process that writes files and prints messages."""
        return self.rank == 0

    def wrap(self, net: nn.Module) -> nn.Module:
        """The network, with gradients that are averaged over all processes."""
        return DistributedDataParallel(net) if self.size > 1 else net

    def leader_decides(self, decision: bool) -> bool:
        """The leader's decision, in every process; used for time limits, because no two clocks agree exactly.

        Every process must call this.
        """
        if self.size == 1:
            return decision
        decisions = [decision]
        distributed.broadcast_object_list(decisions)
        return decisions[0]

    def mean(self, value: Tensor) -> Tensor:
        """The mean of all processes' values; every process must call this."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value / self.size

    def gather(self, lines: list[str]) -> list[str]:
        """All processes' lines, in order of rank; every process must call this."""
        if self.size == 1:
            return lines
        gathered: list[list[str]] = [[] for _ in range(self.size)]
        distributed.all_gather_object(gathered, lines)
        return [line for of_process in gathered for line in of_process]


def device_for(name: str) -> torch.device:
    """The device with this name; under torchrun, "auto" and "cuda" give each process its own GPU.

    Args:
        name: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        DeviceUnavailable: this machine has no such device.
    """
    local_rank = os.environ.get("LOCAL_RANK")
    if name in ("auto", "cuda") and local_rank is not None and torch.cuda.is_available():
        name = f"cuda:{local_rank}"
    device = choose_torch_device(name)
    if device.index is not None:
        torch.cuda.set_device(device)
    return device
