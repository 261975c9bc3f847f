"""Kernel prediction network (KPN): a kernel of fixed shape for every pixel, to compare with deformable kernels.

Source: Mildenhall et al., "Burst Denoising with Kernel Prediction Networks" (2018). It has the same trunk as the
deformable kernel network, so that a comparison shows the effect of the kernels alone.
"""

import torch
from torch import Tensor

from denoise_cli.nets.configs import KPNConfig
from denoise_cli.nets.kernel_prediction import KernelHead, KernelPredictor, Trunk
from denoise_cli.ops.deformable import sample_rigid2d


class KPN(KernelPredictor):
    """Makes every pixel an average of those around it, with predicted weights. Untrained, it is a box blur."""

    def __init__(self, config: KPNConfig) -> None:
        super().__init__(config.blind, config.frames)
        self.config = config
        self.groups = config.frames
        self.trunk = Trunk(self.inputs, config.width)
        self.to_weights = KernelHead(self.trunk.outputs, config.frames * config.side**2)

    def kernels(self, image: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """See `KernelPredictor`; the samples are the pixels of the grid in each frame."""
        frames = [image] if self.frames == 1 else image.unbind(dim=2)
        samples = torch.cat([sample_rigid2d(frame, self.config.side) for frame in frames], dim=2)
        return samples, self.to_weights(self.trunk(inputs))
