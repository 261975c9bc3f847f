"""The configurations of the registered networks, which can be read without importing PyTorch.

Each builds its network, whose file names the paper.

Legend: T frames, K side of a kernel (odd), f the width of a MalleNet's finest level.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from denoise_cli.imaging.filters import ColourFilters, FilterKind

if TYPE_CHECKING:
    from denoise_cli.nets.deformable import DeformableKernelNet
    from denoise_cli.nets.kpn import KPN
    from denoise_cli.nets.mallenet import MalleNet
    from denoise_cli.nets.mallenet_video import MalleNetVideo
    from denoise_cli.nets.malleunet import MalleUNet
    from denoise_cli.nets.mosaic_unet import MosaicUNet

MALLENET_MULTIPLE = 64  # pixels of the image: the side of a cell in the coarsest grid of a MalleNet or MalleUNet
MOTION_MULTIPLE = 32  # pixels: `ops.motion.MULTIPLE`, here without PyTorch


@dataclass(frozen=True)
class MalleNetConfig:
    """One variant of the MalleNet, for photos and mosaics.

    The paper's S, M, L and XL have "inverted" blocks, K = 1 and widths 16, 32, 64 and 144; its R has "residual" blocks
    and K = 3.

    Attributes:
        width: f, the channels of the finest level.
        block: the building block of each level: inverted bottlenecks or pairs of dense 3x3 convolutions.
        kernel: K of the malleable convolutions.
        expansion: factor by which the inverted bottlenecks widen.
        channels: channels of the input; those beyond the denoised ones are additional information.
        outputs: how many of the input's channels are denoised, counted from the first: 3 for RGB, 4 for the planes of a
            Bayer mosaic.
        lean: omit the block in the finest level's encoder, and merge the levels with 1x1 convolutions only.
    """

    width: int
    block: Literal["inverted", "residual"] = "inverted"
    kernel: int = 1
    expansion: int = 3
    channels: int = 3
    lean: bool = False
    outputs: int = 3

    def build(self) -> "MalleNet":
        """A network with fresh weights."""
        from denoise_cli.nets.mallenet import MalleNet

        return MalleNet(self)


@dataclass(frozen=True)
class MalleUNetConfig:
    """One variant of the MalleUNet, for photos and mosaics.

    Attributes:
        width: f, the channels of the finest level; the predictors of the kernels have half as many.
        channels: channels of the input; those beyond the denoised ones are additional information.
        blocks: before each MalleConv, and as many behind it.
        levels: channels of the level map: 1, or as many as are denoised.
        outputs: how many of the input's channels are denoised, counted from the first.
    """

    width: int
    channels: int = 3
    blocks: int = 1
    levels: int = 1
    outputs: int = 3

    def build(self) -> "MalleUNet":
        """A network with fresh weights."""
        from denoise_cli.nets.malleunet import MalleUNet

        return MalleUNet(self)


@dataclass(frozen=True)
class MosaicUNetConfig:
    """One variant of the MosaicUNet, for mosaics.

    Attributes:
        width: of its MalleUNet.
        kind: of colour filters.
    """

    width: int
    kind: FilterKind

    @property
    def channels(self) -> int:
        """The number of planes of such a mosaic."""
        return ColourFilters(self.kind, (0, 0)).planes

    def build(self) -> "MosaicUNet":
        """A network with fresh weights."""
        from denoise_cli.nets.mosaic_unet import MosaicUNet

        return MosaicUNet(self)


@dataclass(frozen=True)
class MalleNetVideoConfig:
    """One variant of the MalleNet for clips.

    Attributes:
        width: of the MalleNet.
        trust_width: channels of the networks that predict how far to trust a neighbour and, if blind, the noise level.
        blind: whether the network is given no noise level, and predicts one.
        follows_motion: whether neighbours are aligned by their motion; otherwise the same pixel of each is used, for
            comparison.
    """

    width: int = 16
    trust_width: int = 16
    blind: bool = False
    follows_motion: bool = True

    def build(self) -> "MalleNetVideo":
        """A network with fresh weights."""
        from denoise_cli.nets.mallenet_video import MalleNetVideo

        return MalleNetVideo(self)


@dataclass(frozen=True)
class DeformableKernelNetConfig:
    """One variant of the deformable kernel network.

    The paper's width is 64; a quarter of that can be trained on a CPU.

    Attributes:
        width: channels at the image's own size.
        side: K.
        blind: whether the network is given no noise level.
        deformable: whether the points move; False keeps them on the rigid grid and changes nothing else.
        reach: how far a point can move to each side, in pixels. The paper's points end up 4 to 15 pixels away, and 16
            is the side of the trunk's largest cells. In time, a point can reach every frame.
        frames: T.
    """

    width: int = 64
    side: int = 5
    blind: bool = False
    deformable: bool = True
    reach: float = 16.0
    frames: int = 1

    def build(self) -> "DeformableKernelNet":
        """A network with fresh weights."""
        from denoise_cli.nets.deformable import DeformableKernelNet

        return DeformableKernelNet(self)


@dataclass(frozen=True)
class KPNConfig:
    """One variant of the kernel prediction network.

    Attributes:
        width: channels at the image's own size.
        side: side of the kernels, odd.
        blind: whether the network is given no noise level.
        frames: number of frames, odd, each with its own kernel; 1 for photos.
    """

    width: int = 64
    side: int = 5
    blind: bool = False
    frames: int = 1

    def build(self) -> "KPN":
        """A network with fresh weights."""
        from denoise_cli.nets.kpn import KPN

        return KPN(self)
