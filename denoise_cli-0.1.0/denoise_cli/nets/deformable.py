"""Deformable kernel network (DKN): for each pixel it predicts where to sample, then how to weight the samples.

Source: Xu, Li, Sun, "Learning Deformable Kernels for Image and Video Denoising" (2019), section 3.

Legend: B batch, T frames (odd; 1 for photos), H x W image, K side of the rigid grid (odd), N points per pixel: K*K in a
photo, K*K*K in a clip.
"""

import torch
from torch import Tensor

from denoise_cli.nets.configs import DeformableKernelNetConfig
from denoise_cli.nets.kernel_prediction import KernelHead, KernelPredictor, Trunk, stage
from denoise_cli.nets.residual import conv, zeroed
from denoise_cli.ops.deformable import sample2d, sample3d, sample_rigid2d, sample_rigid3d


class DeformableKernelNet(KernelPredictor):
    """Samples the noisy image at predicted positions and sums the samples with weights predicted from them.

    Untrained, it is a box blur over K x K pixels, for a clip over K frames as well.
    """

    def __init__(self, config: DeformableKernelNetConfig) -> None:
        super().__init__(config.blind, config.frames)
        self.config = config
        dimensions = 2 if config.frames == 1 else 3
        N = config.side**dimensions
        self.groups = config.side
        self.trunk = Trunk(self.inputs, config.width)
        self.to_offsets = zeroed(conv(self.trunk.outputs, dimensions * N)) if config.deformable else None
        self.judge = stage(3 * N + self.inputs + self.trunk.outputs, config.width, depth=2)
        self.to_weights = KernelHead(config.width, N)

    def kernels(self, image: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """See `KernelPredictor`; the weights depend on the samples."""
        features = self.trunk(inputs)
        samples = self._sample(image, features)
        evidence = torch.cat([part.to(features.dtype) for part in (samples.flatten(1, 2), inputs, features)], dim=1)
        return samples, self.to_weights(self.judge(evidence))

    def _sample(self, image: Tensor, features: Tensor) -> Tensor:
        sample_rigid, sample = (sample_rigid2d, sample2d) if self.frames == 1 else (sample_rigid3d, sample3d)
        if self.to_offsets is None:
            return sample_rigid(image, self.config.side)
        shares = torch.tanh(self.to_offsets(features).to(image.dtype))  # of the reach along each axis
        reaches = [self.config.reach] * 2 + [self.frames // 2] * (self.frames > 1)
        scale = shares.new_tensor(reaches).repeat(shares.shape[1] // len(reaches))
        return sample(image, shares * scale.view(-1, 1, 1))
