import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from denoise_cli.ops.malleable import malleable_conv2d
from denoise_cli.ops.pixelwise import pixelwise_conv2d

Array = NDArray[np.float64]

# B, C, G, H, W: a kernel for each channel, for several, for all; odd sides, one row, one pixel.
SHAPES = [(2, 3, 3, 4, 5), (1, 6, 2, 3, 4), (2, 4, 1, 5, 3), (1, 2, 2, 1, 7), (1, 4, 2, 1, 1)]


def tensors(
    B: int, C: int, G: int, H: int, W: int, K: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.randn(B, C, H, W, dtype=dtype),
        torch.randn(B, G, K * K, H, W, dtype=dtype),
        torch.randn(B, C, H, W, dtype=dtype),
    )


def by_hand(image: Array, kernels: Array, bias: Array) -> Array:
    B, C, H, W = image.shape
    G, taps = kernels.shape[1:3]
    K = round(taps**0.5)
    out = bias.copy()
    for b, c, y, x, tap in np.ndindex(B, C, H, W, taps):
        row = min(max(y + tap // K - K // 2, 0), H - 1)
        column = min(max(x + tap % K - K // 2, 0), W - 1)
        out[b, c, y, x] += kernels[b, c * G // C, tap, y, x] * image[b, c, row, column]
    return out


@pytest.mark.parametrize("K", [1, 3, 5])
@pytest.mark.parametrize(("B", "C", "G", "H", "W"), SHAPES)
def test_every_pixel_is_filtered_with_the_kernel_of_its_group(B: int, C: int, G: int, H: int, W: int, K: int) -> None:
    image, kernels, bias = tensors(B, C, G, H, W, K)
    expected = torch.from_numpy(by_hand(image.numpy(), kernels.numpy(), bias.numpy()))
    torch.testing.assert_close(pixelwise_conv2d(image, kernels, bias), expected)
    torch.testing.assert_close(pixelwise_conv2d(image, kernels), expected - bias)


@pytest.mark.parametrize("K", [1, 3])
def test_it_is_a_malleable_convolution_whose_grid_is_as_large_as_the_image(K: int) -> None:
    image, kernels, bias = tensors(2, 3, 3, 7, 6, K)
    torch.testing.assert_close(pixelwise_conv2d(image, kernels, bias), malleable_conv2d(image, kernels, bias))


def test_equal_kernels_are_an_ordinary_depthwise_convolution() -> None:
    image, kernels, _ = tensors(1, 4, 4, 1, 1, K=3)
    image = torch.randn(1, 4, 9, 8, dtype=torch.float64)
    ordinary = F.conv2d(F.pad(image, [1] * 4, mode="replicate"), kernels.view(4, 1, 3, 3), groups=4)
    torch.testing.assert_close(pixelwise_conv2d(image, kernels.expand(-1, -1, -1, 9, 8)), ordinary)


@pytest.mark.parametrize("K", [1, 3])
def test_gradients_are_those_of_finite_differences(K: int) -> None:
    arguments = [tensor.requires_grad_() for tensor in tensors(1, 4, 2, 3, 4, K)]
    assert torch.autograd.gradcheck(pixelwise_conv2d, arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_result_has_the_type_of_the_image(dtype: torch.dtype) -> None:
    image, kernels, bias = tensors(1, 4, 2, 6, 5, 3, dtype)
    assert pixelwise_conv2d(image, kernels, bias).dtype == dtype
    assert pixelwise_conv2d(image, kernels).dtype == dtype


def test_channels_last_is_no_different() -> None:
    image, kernels, bias = tensors(2, 6, 2, 5, 4, 3)
    last = image.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(pixelwise_conv2d(last, kernels, bias), pixelwise_conv2d(image, kernels, bias))


@pytest.mark.parametrize(
    ("image", "kernels", "bias", "complaint"),
    [
        ((4, 8, 8), (1, 4, 9, 8, 8), None, r"image: expected \(B, C, H, W\), got \(4, 8, 8\)"),
        ((1, 4, 8, 8), (4, 9, 8, 8), None, "kernels"),
        ((2, 4, 8, 8), (1, 4, 9, 8, 8), None, r"kernels: expected \(2, G, K\*K, 8, 8\)"),
        ((1, 4, 8, 8), (1, 3, 9, 8, 8), None, "G a divisor of 4, got"),
        ((1, 4, 8, 8), (1, 0, 9, 8, 8), None, "G a divisor of 4, got"),
        ((1, 4, 8, 8), (1, 4, 9, 8, 4), None, "kernels"),
        ((1, 4, 8, 8), (1, 4, 8, 8, 8), None, "K odd, got 8"),
        ((1, 4, 8, 8), (1, 4, 4, 8, 8), None, "K odd, got 4"),
        ((1, 4, 8, 8), (1, 2, 9, 8, 8), (1, 2, 8, 8), r"bias: expected \(1, 4, 8, 8\), got \(1, 2, 8, 8\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    image: tuple[int, ...], kernels: tuple[int, ...], bias: tuple[int, ...] | None, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        pixelwise_conv2d(torch.zeros(image), torch.zeros(kernels), None if bias is None else torch.zeros(bias))
