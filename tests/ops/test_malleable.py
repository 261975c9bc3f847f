import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from denoise_cli.ops.malleable import malleable_conv2d, malleable_conv2d_reference

Array = NDArray[np.float64]

# B, C, image, grid: odd sides, a grid that divides the image, one larger than it, one cell, one pixel.
SHAPES = [
    (2, 3, (7, 11), (2, 3)),
    (1, 2, (8, 16), (1, 2)),
    (1, 1, (5, 9), (13, 7)),
    (2, 2, (6, 5), (1, 1)),
    (1, 3, (1, 1), (4, 3)),
    (1, 2, (1, 1), (1, 1)),
    (1, 1, (1, 9), (3, 1)),
]


def tensors(
    B: int, C: int, image: tuple[int, int], grid: tuple[int, int], K: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.randn(B, C, *image, dtype=dtype),
        torch.randn(B, C, K * K, *grid, dtype=dtype),
        torch.randn(B, C, *grid, dtype=dtype),
    )


def cell(pixel: int, pixels: int, cells: int) -> tuple[int, int, float]:
    """The two cells whose centres enclose a pixel's, and the second one's share."""
    place = (pixel + 0.5) * cells / pixels - 0.5
    place = min(max(place, 0.0), cells - 1.0)
    before = int(place)
    return before, min(before + 1, cells - 1), place - before


def sliced_at(grid: Array, y: int, x: int, H: int, W: int) -> Array:
    top, bottom, down = cell(y, H, grid.shape[-2])
    left, right, across = cell(x, W, grid.shape[-1])
    upper = grid[..., top, left] * (1 - across) + grid[..., top, right] * across
    lower = grid[..., bottom, left] * (1 - across) + grid[..., bottom, right] * across
    return upper * (1 - down) + lower * down


def by_hand(image: Array, kernels: Array, bias: Array) -> Array:
    H, W = image.shape[-2:]
    K = round(kernels.shape[2] ** 0.5)
    out = np.empty_like(image)
    for y in range(H):
        for x in range(W):
            taps = sliced_at(kernels, y, x, H, W)
            out[..., y, x] = sliced_at(bias, y, x, H, W)
            for i in range(K):
                for j in range(K):
                    row = min(max(y + i - K // 2, 0), H - 1)
                    column = min(max(x + j - K // 2, 0), W - 1)
                    out[..., y, x] += taps[:, :, i * K + j] * image[..., row, column]
    return out


@pytest.mark.parametrize("K", [1, 3, 5])
@pytest.mark.parametrize(("B", "C", "image", "grid"), SHAPES)
def test_every_pixel_is_filtered_with_the_blend_of_its_four_nearest_cells(
    B: int, C: int, image: tuple[int, int], grid: tuple[int, int], K: int
) -> None:
    pixels, kernels, bias = tensors(B, C, image, grid, K)
    expected = by_hand(pixels.numpy(), kernels.numpy(), bias.numpy())
    torch.testing.assert_close(malleable_conv2d(pixels, kernels, bias), torch.from_numpy(expected))


@pytest.mark.parametrize("K", [1, 3, 5])
def test_a_constant_grid_is_an_ordinary_depthwise_convolution(K: int) -> None:
    pixels, kernels, bias = tensors(1, 4, (13, 9), (1, 1), K)
    border = F.pad(pixels, [K // 2] * 4, mode="replicate")
    ordinary = F.conv2d(border, kernels.view(4, 1, K, K), bias.flatten(), groups=4)
    filtered = malleable_conv2d(pixels, kernels.expand(-1, -1, -1, 3, 2), bias.expand(-1, -1, 3, 2))
    torch.testing.assert_close(filtered, ordinary)


@pytest.mark.parametrize("K", [1, 3])
def test_zero_kernels_leave_the_stretched_bias(K: int) -> None:
    pixels, kernels, bias = tensors(2, 3, (10, 7), (3, 4), K)
    stretched = F.interpolate(bias, (10, 7), mode="bilinear")
    torch.testing.assert_close(malleable_conv2d(pixels, torch.zeros_like(kernels), bias), stretched)


@pytest.mark.parametrize("K", [1, 3])
def test_no_bias_is_a_bias_of_zero(K: int) -> None:
    pixels, kernels, bias = tensors(2, 3, (10, 7), (3, 4), K)
    torch.testing.assert_close(
        malleable_conv2d(pixels, kernels), malleable_conv2d(pixels, kernels, torch.zeros_like(bias)), rtol=0, atol=0
    )


@pytest.mark.parametrize("K", [1, 3])
def test_one_tap_in_the_middle_returns_the_image(K: int) -> None:
    pixels, kernels, _ = tensors(2, 3, (9, 14), (2, 5), K)
    kernels.zero_()[:, :, K * K // 2] = 1
    torch.testing.assert_close(malleable_conv2d(pixels, kernels), pixels)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("B", "C", "image", "grid"), SHAPES)
def test_single_taps_take_a_path_that_equals_the_reference(
    B: int, C: int, image: tuple[int, int], grid: tuple[int, int], biased: bool
) -> None:
    pixels, kernels, bias = tensors(B, C, image, grid, K=1)
    arguments = (pixels, kernels, bias if biased else None)
    torch.testing.assert_close(malleable_conv2d(*arguments), malleable_conv2d_reference(*arguments))


@pytest.mark.parametrize("K", [1, 3])
def test_gradients_are_those_of_finite_differences(K: int) -> None:
    arguments = [tensor.requires_grad_() for tensor in tensors(2, 2, (5, 4), (2, 3), K)]
    assert torch.autograd.gradcheck(malleable_conv2d, arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("K", [1, 3])
def test_the_result_has_the_type_of_the_image(dtype: torch.dtype, K: int) -> None:
    assert malleable_conv2d(*tensors(1, 2, (8, 8), (2, 2), K, dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("K", [1, 3])
def test_the_error_against_float64_is_at_most_twice_the_references(dtype: torch.dtype, K: int) -> None:
    rounded = tensors(2, 8, (33, 47), (5, 6), K, dtype)
    truth = malleable_conv2d_reference(*(tensor.double() for tensor in rounded))
    error = (malleable_conv2d(*rounded).double() - truth).abs()
    allowed = (malleable_conv2d_reference(*rounded).double() - truth).abs()
    assert error.mean() <= 2 * allowed.mean()
    assert error.max() <= 2 * allowed.max()


@pytest.mark.parametrize(
    ("image", "kernels", "bias", "complaint"),
    [
        ((3, 8, 8), (1, 3, 9, 2, 2), None, r"image: expected \(B, C, H, W\), got \(3, 8, 8\)"),
        ((1, 1, 3, 8, 8), (1, 3, 9, 2, 2), None, "image"),
        ((1, 3, 8, 8), (3, 9, 2, 2), None, r"kernels: expected \(1, 3, K\*K, h, w\), got \(3, 9, 2, 2\)"),
        ((1, 3, 8, 8), (1, 4, 9, 2, 2), None, "kernels"),
        ((2, 3, 8, 8), (1, 3, 9, 2, 2), None, "kernels"),
        ((1, 3, 8, 8), (1, 3, 8, 2, 2), None, "kernels: expected K\\*K taps with K odd, got 8"),
        ((1, 3, 8, 8), (1, 3, 4, 2, 2), None, "K odd, got 4"),
        ((1, 3, 8, 8), (1, 3, 0, 2, 2), None, "K odd, got 0"),
        ((1, 3, 8, 8), (1, 3, 9, 2, 2), (1, 3, 2, 3), r"bias: expected \(1, 3, 2, 2\), got \(1, 3, 2, 3\)"),
        ((1, 3, 8, 8), (1, 3, 9, 2, 2), (1, 1, 2, 2), "bias"),
        ((1, 3, 8, 8), (1, 3, 9, 2, 2), (3, 2, 2), "bias"),
        ((1, 3, 8, 8), (1, 3, 9, 2, 2), (3,), "bias"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    image: tuple[int, ...], kernels: tuple[int, ...], bias: tuple[int, ...] | None, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        malleable_conv2d(torch.zeros(image), torch.zeros(kernels), None if bias is None else torch.zeros(bias))
