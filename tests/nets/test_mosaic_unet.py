from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from denoise_cli.imaging.filters import ColourFilters, FilterKind
from denoise_cli.nets.configs import MalleUNetConfig, MosaicUNetConfig
from denoise_cli.nets.mosaic_unet import MosaicUNet

KINDS = get_args(FilterKind)


def planes_of(mosaic: Tensor, kind: FilterKind) -> Tensor:
    packed = ColourFilters(kind, (0, 0)).pack(mosaic.numpy())
    return torch.from_numpy(packed).permute(2, 0, 1)[None]


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_mosaic_is_seen_at_its_own_size_and_each_photosite_with_its_colour(
    kind: FilterKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, filters = MosaicUNetConfig(8, kind).build(), ColourFilters(kind, (0, 0))
    shape = filters.side * net.multiple, 2 * filters.side * net.multiple
    mosaic = torch.rand(shape)
    seen: list[Tensor] = []

    def noise(image: Tensor, level: Tensor) -> Tensor:
        seen.extend([image, level])
        return image[:, :3] / 4

    monkeypatch.setattr(net.net, "noise", noise)
    image = planes_of(mosaic, kind)
    torch.testing.assert_close(net(image, torch.full_like(image[:, :1], 0.1)), image * 3 / 4)
    light, masks = seen[0][0].split(3)
    colours = torch.from_numpy(np.tile(filters.pattern, [side // len(filters.pattern) for side in shape]))
    assert torch.equal(masks, torch.nn.functional.one_hot(colours).movedim(-1, 0).float())
    assert torch.equal(light.gather(0, colours[None])[0], mosaic)
    assert torch.equal(seen[1], torch.full((1, 1, *shape), 0.1))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_it_begins_where_a_network_for_photos_has_come_to(kind: FilterKind) -> None:
    trained = MalleUNetConfig(8).build().eval()
    for parameter in trained.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.05)
    net, filters = MosaicUNetConfig(12, kind).build().eval(), ColourFilters(kind, (0, 0))
    net.start_from(trained)
    side = filters.side * net.multiple
    colour = torch.tensor([0.7, 0.4, 0.2]).reshape(1, 3, 1, 1).expand(-1, -1, side, side)
    expected = trained(colour, torch.full((1, 1, side, side), 0.1))[0].movedim(0, -1).numpy()
    measured = torch.from_numpy(filters.sample(colour[0].movedim(0, -1).numpy()))
    image = planes_of(measured, kind)
    result = net(image, torch.full_like(image[:, :1], 0.1))
    torch.testing.assert_close(result, planes_of(torch.from_numpy(filters.sample(expected)), kind), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_network_returns_its_input(kind: FilterKind) -> None:
    net: MosaicUNet = MosaicUNetConfig(8, kind).build()
    image = torch.rand(1, net.channels, net.multiple, net.multiple)
    assert torch.equal(net(image, torch.full_like(image[:, :1], 0.1)), image)
