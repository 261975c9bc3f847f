"""Networks of others to compare speeds with: their architectures, without weights.

Sources: Zhang et al., "Beyond a Gaussian Denoiser" (2017), DnCNN, and "FFDNet: Toward a Fast and Flexible Solution for
CNN based Image Denoising" (2018); the others are as the spandrel library has them, at the size of their authors' colour
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

FFDNET_WIDTH, FFDNET_DEPTH = 96, 12
NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class FFDNet(nn.Module):
    """A chain of convolutions at half the size, which is told the level of the noise."""

    def __init__(self) -> None:
        super().__init__()
        widths = [4 * 3 + 1, *[FFDNET_WIDTH] * (FFDNET_DEPTH - 1), 4 * 3]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, 1, H, W) to (B, 3, H, W); even sides."""
        seen = torch.cat([F.pixel_unshuffle(image, 2), F.avg_pool2d(sigma, 2)], dim=1)
        return F.pixel_shuffle(self.layers(seen), 2)


class Blind(nn.Module):
    """A network that is not told the level, called as one that is."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, _sigma: Tensor) -> Tensor:
        """(B, 3, H, W) to the same."""
        clean: Tensor = self.net(image)
        return clean


class Told(Blind):
    """A network that sees the level as a fourth channel, called as the others."""

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, 1, H, W) to (B, 3, H, W)."""
        clean: Tensor = self.net(torch.cat([image, sigma], dim=1))
        return clean


def _spandrel(package: str, name: str, wrapper: type[Blind], **settings: Any) -> nn.Module:
    try:
        _stand_in_for_operators()
        architecture = importlib.import_module(f"{package}.architectures.{name}")
    except ImportError as error:
        raise MissingDependency(f"timing {name}", package.replace("_", "-")) from error
    except RuntimeError as error:  # torchvision's, where it was built for another PyTorch
        raise DenoiseError(f"timing {name}: {error}: install torchvision from where PyTorch came") from error
    return wrapper(getattr(architecture, name)(**settings))


@cache
def _stand_in_for_operators() -> torch.library.Library | None:
    """Have torchvision imported, which spandrel wants, where its compiled half needs CUDA and PyTorch has none.

    It then asks for two operators that are not there. No network that is timed calls them.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            library.define(f"{operator}{NMS}")  # type: ignore[no-untyped-call]
        return library  # kept by the cache: the operators are gone with it
    return None


_swinir = {"depths": [6] * 6, "num_heads": [6] * 6, "embed_dim": 180, "window_size": 8, "mlp_ratio": 2, "img_size": 128}
_nafnet = {"width": 32, "middle_blk_num": 12, "enc_blk_nums": [2, 2, 4, 8], "dec_blk_nums": [2, 2, 2, 2]}

RIVALS: Mapping[str, Callable[[], nn.Module]] = {
    "dncnn": DnCNNConfig(depth=18, width=64).build,
    "ffdnet": FFDNet,
    "drunet": partial(_spandrel, "spandrel", "DRUNet", Told, in_nc=4, out_nc=3),
    "nafnet": partial(_spandrel, "spandrel", "NAFNet", Blind, **_nafnet),
    "scunet": partial(_spandrel, "spandrel", "SCUNet", Blind),
    "restormer": partial(_spandrel, "spandrel_extra_arches", "Restormer", Blind, bias=False, LayerNorm_type="BiasFree"),
    "swinir": partial(_spandrel, "spandrel", "SwinIR", Blind, **_swinir),
}
