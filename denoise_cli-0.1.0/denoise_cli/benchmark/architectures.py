"""Other architectures to compare speeds with, without weights.

Sources: Zhang et al., "Beyond a Gaussian Denoiser" (2017), DnCNN, and "FFDNet: Toward a Fast and Flexible Solution for
CNN based Image Denoising" (2018). The others are taken from the spandrel library, in the size of their authors' colour
denoisers.

Legend: B batch, H x W image.
"""

import importlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoise_cli.errors import DenoiseError, MissingDependency
from denoise_cli.nets.dncnn import DnCNNConfig

FFDNET_WIDTH = 96
FFDNET_DEPTH = 12
NMS_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class FFDNet(nn.Module):
    """A chain of convolutions at half resolution, which takes the noise level as an input."""

    def __init__(self) -> None:
        super().__init__()
        widths = [4 * 3 + 1, *[FFDNET_WIDTH] * (FFDNET_DEPTH - 1), 4 * 3]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, 1, H, W) to (B, 3, H, W); even sides."""
        inputs = torch.cat([F.pixel_unshuffle(image, 2), F.avg_pool2d(sigma, 2)], dim=1)
        return F.pixel_shuffle(self.layers(inputs), 2)


class IgnoreLevel(nn.Module):
    """Calls a blind network with the image alone, so that it can be called with a noise level like the others."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, _sigma: Tensor) -> Tensor:
        """(B, 3, H, W) to the same."""
        clean: Tensor = self.net(image)
        return clean


class AppendLevel(IgnoreLevel):
    """Calls a network that takes the noise level as a fourth channel of the image."""

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, 1, H, W) to (B, 3, H, W)."""
        clean: Tensor = self.net(torch.cat([image, sigma], dim=1))
        return clean


def _build(package: str, name: str, adapter: type[IgnoreLevel], **settings: Any) -> nn.Module:
    try:
        _import_torchvision()
        architecture = importlib.import_module(f"{package}.architectures.{name}")
    except ImportError as error:
        raise MissingDependency(f"timing {name}", package.replace("_", "-")) from error
    except RuntimeError as error:  # from torchvision if it was built for another PyTorch
        raise DenoiseError(f"timing {name}: {error}: install the torchvision built for this PyTorch") from error
    return adapter(getattr(architecture, name)(**settings))


@cache
def _import_torchvision() -> torch.library.Library | None:
    """Import torchvision for spandrel, even if its compiled part needs CUDA and PyTorch has none.

    In that case torchvision fails for want of two operators, which are declared here. No network that is timed calls
    them.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            library.define(f"{operator}{NMS_SIGNATURE}")  # type: ignore[no-untyped-call]
        return library  # held by the cache, because the operators disappear with it
    return None


SWINIR = {"depths": [6] * 6, "num_heads": [6] * 6, "embed_dim": 180, "window_size": 8, "mlp_ratio": 2, "img_size": 128}
NAFNET = {"width": 32, "middle_blk_num": 12, "enc_blk_nums": [2, 2, 4, 8], "dec_blk_nums": [2, 2, 2, 2]}

ARCHITECTURES: Mapping[str, Callable[[], nn.Module]] = {
    "dncnn": DnCNNConfig(depth=18, width=64).build,
    "ffdnet": FFDNet,
    "drunet": partial(_build, "spandrel", "DRUNet", AppendLevel, in_nc=4, out_nc=3),
    "nafnet": partial(_build, "spandrel", "NAFNet", IgnoreLevel, **NAFNET),
    "scunet": partial(_build, "spandrel", "SCUNet", IgnoreLevel),
    "restormer": partial(
        _build, "spandrel_extra_arches", "Restormer", IgnoreLevel, bias=False, LayerNorm_type="BiasFree"
    ),
    "swinir": partial(_build, "spandrel", "SwinIR", IgnoreLevel, **SWINIR),
}
