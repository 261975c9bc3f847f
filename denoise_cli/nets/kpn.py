"""Kernel prediction network (KPN): a kernel of fixed shape for every pixel, the rival of deformable ones.

Source: Mildenhall et al., "Burst Denoising with Kernel Prediction Networks" (2018), here for one image and with the
trunk of its rival, so that the kernels alone are compared.
"""

from dataclasses import dataclass

from torch import Tensor

from denoise_cli.nets.kernel_prediction import KernelHead, KernelPredictor, Trunk
from denoise_cli.ops.deformable import sample_rigid2d


@dataclass(frozen=True)
class KPNConfig:
    """One variant.

    Attributes:
        width: channels at the image's own size.
        side: of the kernels, odd.
        blind: whether the network has to do without the level of the noise.
    """

    width: int = 64
    side: int = 5
    blind: bool = False

    def build(self) -> "KPN":
        """A network with fresh weights."""
        return KPN(self)


class KPN(KernelPredictor):
    """Averages the pixels around each with weights it predicts. Untrained, it is a blur."""

    def __init__(self, config: KPNConfig) -> None:
        super().__init__(config.blind)
        self.config = config
        self.trunk = Trunk(self.inputs, config.width)
        self.to_weights = KernelHead(self.trunk.outputs, config.side**2)

    def kernels(self, image: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels of the grid, and weights straight from the trunk."""
        return sample_rigid2d(image, self.config.side), self.to_weights(self.trunk(inputs))
