"""The kernels' sources, run on a CPU and, if there is one, on a GPU, against the reference operators."""

import pytest
import torch
from torch import Tensor

from denoise_cli.ops import deformable, fused
from denoise_cli.ops.deformable import sample2d, sample2d_reference, sample3d, sample3d_reference
from denoise_cli.ops.malleable import malleable_conv2d, malleable_conv2d_reference

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# B, C, image, grid: vectors that fit and that do not, odd sides, a grid larger than the image, one cell, one pixel.
MALLEABLE = [
    (2, 16, (16, 24), (2, 3)),
    (1, 3, (7, 11), (2, 3)),
    (2, 8, (5, 9), (13, 17)),
    (1, 8, (40, 8), (1, 1)),
    (1, 2, (1, 1), (4, 3)),
    (1, 8, (1, 1), (1, 1)),
    (1, 1, (1, 9), (3, 1)),
]
DEFORMABLE = [(2, 3, (7, 11)), (1, 1, (1, 1)), (1, 9, (1, 9)), (1, 4, (8, 6))]


def assert_as_exact_as(fast: Tensor, plain: Tensor, truth: Tensor) -> None:
    """The error is at most twice PyTorch's in the same precision, plus half a rounding step of that precision."""
    assert fast.dtype == plain.dtype
    assert fast.shape == truth.shape
    allowed = 2 * (plain.double() - truth).abs().max() + torch.finfo(fast.dtype).eps / 2 * truth.abs().max()
    assert (fast.double() - truth).abs().max() <= allowed


def compare(run, reference, inputs: list[Tensor]) -> None:
    """Compare outputs and gradients of kernels and of PyTorch in the same precision with PyTorch's in float64."""
    outcomes = []
    weight = None
    for function, dtype in ((run, None), (reference, None), (reference, torch.float64)):
        copies = [tensor.detach().to(dtype or tensor.dtype).requires_grad_() for tensor in inputs]
        out = function(*copies)
        weight = torch.randn_like(out) if weight is None else weight
        outcomes.append([out.detach(), *torch.autograd.grad(out, copies, weight.to(out.dtype))])
    for fast, plain, truth in zip(*outcomes, strict=True):
        assert_as_exact_as(fast, plain, truth)


def malleable_tensors(B, C, image, grid, K, dtype, channels_last) -> list[Tensor]:
    tensors = [torch.randn(B, C, *image), torch.randn(B, C, K * K, *grid), torch.randn(B, C, *grid)]
    if channels_last:
        tensors = [tensor.movedim(1, -1).contiguous().movedim(-1, 1) for tensor in tensors]
    return [tensor.to(dtype) for tensor in tensors]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", MALLEABLE)
def test_malleable_convolution_is_as_exact_as_pytorch(ran, shape, channels_last, K, dtype):
    tensors = malleable_tensors(*shape, K, dtype, channels_last)
    compare(malleable_conv2d, malleable_conv2d_reference, tensors)
    compare(malleable_conv2d, malleable_conv2d_reference, tensors[:2])
    assert malleable_conv2d(*tensors).stride() == torch.empty_like(tensors[0]).stride()
    assert any("malleable_to_grid" in kernel for kernel in ran)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [1, 3])
def test_vectors_are_read_where_they_fit(ran, K, dtype):
    name, whole = fused.cuda.TYPES[dtype], 16 // dtype.itemsize
    planes, pixels = (whole, whole) if K == 1 else (2, 4)
    fits = (1, 16, (4, 16), (1, 2))
    for channels_last in (False, True):
        malleable_conv2d(*malleable_tensors(*fits, K, dtype, channels_last))
    assert ran == [
        f"malleable_planes<{name}, {K}, {planes}>",
        f"malleable_pixels<{name}, {K}, {pixels}, true>",
    ]


def test_a_predictor_of_channels_last_is_read_in_place(ran):
    """As MalleConv passes them: slices of one tensor, with the taps of a channel side by side."""
    prediction = torch.randn(2, 8 * 10, 3, 4).to(memory_format=torch.channels_last)
    image = torch.randn(2, 8, 24, 32).to(memory_format=torch.channels_last)
    kernels, bias = prediction[:, :-8].view(2, 8, 9, 3, 4), prediction[:, -8:]
    out = malleable_conv2d(image, kernels, bias)
    torch.testing.assert_close(out, malleable_conv2d_reference(image, kernels, bias))
    assert ran == ["malleable_pixels<float, 3, 4, false>"]


def test_the_gradient_of_the_grid_is_the_same_every_time_and_of_tall_cells(ran):
    tensors = malleable_tensors(1, 2, (200, 16), (2, 2), 3, torch.float32, channels_last=False)
    gradient = torch.randn_like(tensors[0])
    first, second = (fused.malleable_to_grid(gradient, tensors[0], 9, 2, 2) for _ in range(2))
    assert torch.equal(first, second)
    compare(malleable_conv2d, malleable_conv2d_reference, tensors)


def test_more_planes_than_a_grid_of_blocks_has_rows(ran):
    image, kernels = torch.randn(70_000, 1, 1, 2), torch.randn(70_000, 1, 1, 1, 1)
    torch.testing.assert_close(malleable_conv2d(image, kernels), image * kernels[:, :, 0])


def test_a_gradient_that_is_spread_out_and_an_image_with_gaps(ran):
    _, kernels, bias = malleable_tensors(1, 4, (8, 16), (1, 2), 3, torch.float32, channels_last=False)
    gaps = torch.randn(1, 8, 8, 16)[:, ::2].requires_grad_()
    (fast,) = torch.autograd.grad(malleable_conv2d(gaps, kernels, bias).sum(), gaps)
    (plain,) = torch.autograd.grad(malleable_conv2d_reference(gaps, kernels, bias).sum(), gaps)
    torch.testing.assert_close(fast, plain)


def deformable_tensors(B, C, image, K, D, dtype) -> list[Tensor]:
    frames = [3] if D == 3 else []
    N = K**D
    picture = torch.randn(B, C, *frames, *image)
    # Between pixels in every precision: at integer positions the gradient is that of either side.
    offsets = torch.randint(-5, 5, (B, D * N, *image)) + 0.1 + 0.8 * torch.rand(B, D * N, *image)
    return [tensor.to(dtype) for tensor in (picture, offsets, torch.randn(B, N, *image))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", DEFORMABLE)
@pytest.mark.parametrize(("D", "K"), [(2, 1), (2, 5), (3, 3)])
def test_deformable_kernels_are_as_exact_as_pytorch(ran, shape, D, K, dtype):
    tensors = deformable_tensors(*shape, K, D, dtype)
    fast, definition = (deformable.deformable_conv2d, deformable.deformable_conv2d_reference)
    if D == 3:
        fast, definition = deformable.deformable_conv3d, deformable.deformable_conv3d_reference
    compare(fast, definition, tensors)
    compare(*((sample2d, sample2d_reference) if D == 2 else (sample3d, sample3d_reference)), tensors[:2])
    assert {kernel.partition("<")[0] for kernel in ran} == {
        "deformable_sum",
        "deformable_samples",
        "deformable_backward",
    }


def test_deformable_kernels_of_channels_last(ran):
    tensors = [
        tensor.to(memory_format=torch.channels_last)
        for tensor in deformable_tensors(2, 3, (7, 11), 3, 2, torch.float32)
    ]
    compare(deformable.deformable_conv2d, deformable.deformable_conv2d_reference, tensors)
    assert deformable.deformable_conv2d(*tensors).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("far", [1e9, -1e9, float("inf"), -float("inf"), float("nan")])
def test_what_lies_far_outside_is_nothing(ran, far):
    image, weights = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    offsets = torch.zeros(1, 2, 4, 4)
    offsets[:, 0, 2, 2] = far
    expected = torch.ones(1, 1, 4, 4)
    expected[..., 2, 2] = 0
    assert torch.equal(deformable.deformable_conv2d(image, offsets, weights), expected)
    assert torch.equal(sample2d(image, offsets)[:, :, 0], expected)


def test_an_image_of_other_precision_than_its_offsets(ran):
    image, offsets, weights = deformable_tensors(1, 3, (6, 7), 3, 2, torch.float32)
    half = image.half()
    out = deformable.deformable_conv2d(half, offsets, weights)
    assert out.dtype == torch.float16
    torch.testing.assert_close(out, deformable.deformable_conv2d_reference(half, offsets, weights))
    grid = torch.randn(1, 3, 1, 2, 2)
    assert malleable_conv2d(half, grid).dtype == torch.float16


@pytest.mark.parametrize("channels_last", [False, True])
def test_pytorch_accepts_the_operators(ran, channels_last):
    """Schema, fake kernels, autograd and tracing, which torch.compile and export need."""
    grids = malleable_tensors(2, 4, (8, 9), (2, 3), 3, torch.float32, channels_last)
    points = deformable_tensors(1, 3, (5, 6), 3, 2, torch.float32)
    if channels_last:
        points = [tensor.to(memory_format=torch.channels_last) for tensor in points]
    cases = [
        (fused.malleable_conv2d, grids),
        (fused.malleable_conv2d, [*grids[:2], None]),
        (fused.deformable_sum, points),
        (fused.deformable_samples, points[:2]),
    ]
    for operator, inputs in cases:
        wanted = [None if tensor is None else tensor.requires_grad_() for tensor in inputs]
        torch.library.opcheck(operator, tuple(wanted))
    image, offsets, weights = (tensor.detach() for tensor in points)
    plain = [tensor.detach() for tensor in grids]
    torch.library.opcheck(fused.malleable_to_image, (plain[0], plain[1]))
    torch.library.opcheck(fused.malleable_to_grid, (plain[0], plain[0], 9, 2, 3))
    torch.library.opcheck(fused.deformable_backward, (image, image, offsets, weights, True))


def test_a_compiled_network_keeps_the_operators(ran):
    image, kernels, bias = malleable_tensors(1, 4, (8, 16), (1, 2), 1, torch.float32, channels_last=False)
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph

    compiled = torch.compile(lambda *tensors: 2 * malleable_conv2d(*tensors), backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(image, kernels, bias), 2 * malleable_conv2d_reference(image, kernels, bias))
    assert any("denoise" in str(node.target) for node in graphs[0].graph.nodes)
