"""What limits each network on this machine: arithmetic, or memory.

    python docs/experiments/roofline.py [NETWORK ...]

Prints, for a picture of a million pixels, the multiply-adds and the bytes that layers read and write, their ratio, and
the milliseconds that the machine needs at least for either. Source: Williams, Waterman, Patterson, "Roofline: An
Insightful Visual Performance Model for Multicore Architectures" (2009).
"""

import argparse
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from denoise_cli.benchmark.timing import measure_machine
from denoise_cli.inference.torch_device import choose_dtype, choose_torch_device
from denoise_cli.models.registry import find_model

NETWORKS = ("mallenet-s", "mallenet-m", "mallenet-r", "mallenet-v", "mallenet-raw")
SIDE = 512  # pixels, of the picture for which is counted
MEGAPIXEL = 10**6
# Runtimes compute them with the layer before, without a way to memory and back.
FUSED = ("relu", "relu_")


class Traffic(TorchDispatchMode):
    """Counts the values that layers read and write, each of them once for a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and count its values."""
        result = operator(*args, **(kwargs or {}))
        inputs, outputs = ([leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)] for tree in (args, result))
        memory = {tensor.untyped_storage().data_ptr() for tensor in inputs}
        is_view = all(tensor.untyped_storage().data_ptr() in memory for tensor in outputs)
        if not is_view and operator.overloadpacket.__name__ not in FUSED:
            self.values += sum(tensor.numel() for tensor in (*inputs, *outputs))
        return result


@torch.no_grad()
def count(name: str) -> tuple[float, float]:
    """The multiply-adds of a network, and the values that its layers read and write, for a million pixels."""
    spec = find_model(name)
    net = spec.config.build().eval()
    image, sigma = torch.rand(1, spec.inputs, SIDE, SIDE), torch.full((1, 1, SIDE, SIDE), 0.1)
    operations, traffic = FlopCounterMode(display=False), Traffic()
    with operations:
        net(image, sigma)
    with traffic:
        net(image, sigma)
    # One of the pixels of a network for mosaics is several photosites.
    pixels = SIDE**2 * {"mosaic": 4, "xtrans": 9}.get(spec.space, 1)
    return operations.get_total_flops() / 2 * MEGAPIXEL / pixels, traffic.values * MEGAPIXEL / pixels


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    names = parser.parse_args().networks
    precision = choose_dtype(choose_torch_device("auto"), "auto")
    machine = measure_machine("auto", "auto")
    print(
        f"{machine.name}: {machine.multiply_adds / 1e9:.0f} G multiply-adds per second in {machine.precision}, "
        f"{machine.copied / 1e9:.1f} GB copied per second; {machine.multiply_adds / machine.copied:.1f} for each byte\n"
    )
    print("| network | G multiply-adds | MB | multiply-adds for each byte | ms of arithmetic | ms of memory |")
    print("|---|---|---|---|---|---|")
    for name in names:
        multiply_adds, values = count(name)
        moved = values * precision.itemsize
        limits = [1e3 * multiply_adds / machine.multiply_adds, 1e3 * moved / machine.copied]
        cells = [f"{multiply_adds / 1e9:.1f}", f"{moved / 1e6:.0f}", f"{multiply_adds / moved:.1f}"]
        print(f"| {name} | {' | '.join(cells)} | {' | '.join(f'{limit:.0f}' for limit in limits)} |", flush=True)


if __name__ == "__main__":
    main()
