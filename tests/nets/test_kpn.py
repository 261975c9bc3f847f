import torch
import torch.nn.functional as F

from denoise_cli.nets.configs import KPNConfig


def test_no_pixel_beyond_the_kernel_is_averaged() -> None:
    net = KPNConfig(width=4, side=3).build()
    torch.nn.init.normal_(net.to_weights.weight)
    image, sigma = torch.rand(1, 3, 32, 32), torch.rand(1, 1, 32, 32)
    samples, weights = net.kernels(image, torch.cat([image, sigma], dim=1))
    patches = F.pad(image, [1] * 4).unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
    by_hand = torch.einsum("bchwn,bnhw->bchw", patches, weights)
    torch.testing.assert_close(samples, patches.movedim(4, 2))
    torch.testing.assert_close(net(image, sigma), by_hand)


def test_a_bright_image_comes_out_as_bright() -> None:
    net = KPNConfig(width=4).build()
    flat = torch.full((1, 3, 32, 32), 3.0)
    inside = net(flat, torch.zeros(1, 1, 32, 32))[..., 2:-2, 2:-2]
    torch.testing.assert_close(inside, flat[..., 2:-2, 2:-2])
