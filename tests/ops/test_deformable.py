from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from denoise_cli.ops.deformable import (
    deformable_conv2d,
    deformable_conv2d_reference,
    deformable_conv3d,
    deformable_conv3d_reference,
    sample2d,
    sample2d_reference,
    sample3d,
    sample3d_reference,
    sample_rigid2d,
    sample_rigid3d,
    weighted_sum,
    weighted_sums_by_group,
)

Array = NDArray[np.float64]

# B, C, H, W: odd sides, a row, a column, one pixel.
SHAPES = [(2, 3, 7, 11), (1, 2, 8, 6), (1, 1, 1, 9), (2, 1, 5, 1), (1, 3, 1, 1)]


def tensors(B: int, C: int, H: int, W: int, K: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Image, offsets and weights; points stay a tenth of a pixel away from integer positions, where gradients jump."""
    N = K * K
    offsets = torch.randint(-4, 4, (B, 2 * N, H, W)) + 0.1 + 0.8 * torch.rand(B, 2 * N, H, W, dtype=torch.float64)
    image, weights = torch.randn(B, C, H, W, dtype=dtype), torch.randn(B, N, H, W, dtype=dtype)
    return image, offsets.to(dtype), weights


def places(offsets: Array, y: int, x: int) -> list[tuple[float, float]]:
    """The row and column of each of a pixel's points: equations 2 to 4."""
    K = round((len(offsets) / 2) ** 0.5)
    grid = [(i - K // 2, j - K // 2) for i in range(K) for j in range(K)]
    return [
        (y + down + offsets[2 * n + 1, y, x], x + right + offsets[2 * n, y, x]) for n, (down, right) in enumerate(grid)
    ]


def interpolated(image: Array, y: float, x: float) -> Array:
    """The interpolation between the four neighbours of a position; beyond the border they are zero."""
    top, left = int(np.floor(y)), int(np.floor(x))
    value = np.zeros(len(image))
    for i, j in [(top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)]:
        if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
            value += image[:, i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return value


def by_hand(image: Array, offsets: Array, weights: Array) -> Array:
    out = np.zeros_like(image)
    for b, _, y, x in np.ndindex(len(image), 1, *image.shape[2:]):
        for n, place in enumerate(places(offsets[b], y, x)):
            out[b, :, y, x] += weights[b, n, y, x] * interpolated(image[b], *place)
    return out


def slope(distance: Array) -> Array:
    """The last factor of equations 13 and 14; `distance` is that of a point from the columns, or from the rows."""
    return np.where(np.abs(distance) >= 1, 0.0, np.where(distance < 0, 1.0, -1.0))


def gradients_by_hand(image: Array, offsets: Array, weights: Array) -> tuple[Array, Array]:
    """The gradients of the result's sum with respect to offsets and weights: equations 12 to 14."""
    _, H, W = image.shape
    pixels = image.sum(axis=0)
    by_offsets, by_weights = np.zeros_like(offsets), np.zeros_like(weights)
    for y, x in np.ndindex(H, W):
        for n, (down, right) in enumerate(places(offsets, y, x)):
            to_rows, to_columns = down - np.arange(H), right - np.arange(W)
            rows, columns = (np.maximum(0, 1 - np.abs(distance)) for distance in (to_rows, to_columns))
            by_weights[n, y, x] = rows @ pixels @ columns
            by_offsets[2 * n, y, x] = weights[n, y, x] * (rows @ pixels @ slope(to_columns))
            by_offsets[2 * n + 1, y, x] = weights[n, y, x] * (slope(to_rows) @ pixels @ columns)
    return by_offsets, by_weights


@pytest.mark.parametrize("K", [1, 3, 5])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("filtered", [deformable_conv2d, deformable_conv2d_reference])
def test_every_pixel_is_the_weighted_sum_of_what_lies_where_its_offsets_point(
    filtered: Callable[..., Tensor], shape: tuple[int, int, int, int], K: int
) -> None:
    arguments = tensors(*shape, K)
    expected = by_hand(*(tensor.numpy() for tensor in arguments))
    torch.testing.assert_close(filtered(*arguments), torch.from_numpy(expected))


@pytest.mark.parametrize("K", [1, 3, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_sampling_equals_the_reference(shape: tuple[int, int, int, int], K: int) -> None:
    image, offsets, _ = tensors(*shape, K)
    torch.testing.assert_close(sample2d(image, offsets), sample2d_reference(image, offsets))


@pytest.mark.parametrize("filtered", [deformable_conv2d, deformable_conv2d_reference])
def test_gradients_are_those_of_finite_differences(filtered: Callable[..., Tensor]) -> None:
    arguments = [tensor.requires_grad_() for tensor in tensors(2, 2, 3, 4, K=3)]
    assert torch.autograd.gradcheck(filtered, arguments)


@pytest.mark.parametrize("K", [1, 3])
def test_gradients_are_those_of_the_papers_appendix(K: int) -> None:
    image, offsets, weights = (tensor.requires_grad_() for tensor in tensors(1, 3, 7, 6, K))
    deformable_conv2d(image, offsets, weights).sum().backward()
    by_offsets, by_weights = gradients_by_hand(*(tensor.detach()[0].numpy() for tensor in (image, offsets, weights)))
    torch.testing.assert_close(offsets.grad[0], torch.from_numpy(by_offsets))
    torch.testing.assert_close(weights.grad[0], torch.from_numpy(by_weights))


@pytest.mark.parametrize(("right", "down"), [(0, 0), (2, 0), (-1, 3), (0, -4)])
def test_whole_offsets_shift_the_image(right: int, down: int) -> None:
    image = torch.randn(2, 3, 9, 12).double()
    offsets = torch.tensor([right, down]).view(1, 2, 1, 1).expand(2, 2, 9, 12)
    shifted = F.pad(image, [4] * 4)[:, :, 4 + down : 13 + down, 4 + right : 16 + right]
    torch.testing.assert_close(sample2d(image, offsets).squeeze(2), shifted)


@pytest.mark.parametrize("K", [1, 3, 5])
def test_no_offsets_and_equal_weights_are_a_box_blur(K: int) -> None:
    image, offsets, weights = tensors(2, 3, 9, 8, K)
    blurred = deformable_conv2d(image, torch.zeros_like(offsets), torch.full_like(weights, 1 / K**2))
    torch.testing.assert_close(blurred, F.avg_pool2d(image, K, stride=1, padding=K // 2))


@pytest.mark.parametrize("K", [1, 3, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_rigid_grid_is_that_of_offsets_that_are_zero(shape: tuple[int, int, int, int], K: int) -> None:
    image, offsets, _ = tensors(*shape, K)
    torch.testing.assert_close(sample_rigid2d(image, K), sample2d(image, torch.zeros_like(offsets)))


def test_half_a_pixel_beyond_the_border_half_of_it_is_left() -> None:
    offsets = torch.tensor([-0.5, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    samples = sample2d(torch.ones(1, 1, 4, 4), offsets)
    assert samples[..., 0].tolist() == [[[[0.5] * 4]]]
    assert samples[..., 1:].eq(1).all()


@pytest.mark.parametrize("distance", [16.0, -16.0, 1e4, -1e6])
@pytest.mark.parametrize("direction", [0, 1])
def test_points_far_outside_contribute_nothing(direction: int, distance: float) -> None:
    image, offsets, weights = (tensor.requires_grad_() for tensor in tensors(1, 2, 6, 7, K=3))
    far = offsets.detach().clone()
    far[:, direction::2] += distance
    filtered = deformable_conv2d(image, far.requires_grad_(), weights)
    filtered.sum().backward()
    assert filtered.count_nonzero() == 0
    assert [tensor.grad.count_nonzero().item() for tensor in (image, far, weights)] == [0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_result_has_the_type_of_the_image(dtype: torch.dtype) -> None:
    image, offsets, weights = tensors(1, 2, 8, 8, 3, dtype)
    assert sample2d(image, offsets).dtype == dtype
    assert deformable_conv2d(image, offsets, weights).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_error_against_float64_is_at_most_twice_the_references(dtype: torch.dtype) -> None:
    rounded = tensors(2, 3, 33, 47, 5, dtype)
    truth = deformable_conv2d_reference(*(tensor.double() for tensor in rounded))
    error = (deformable_conv2d(*rounded).double() - truth).abs()
    allowed = (deformable_conv2d_reference(*rounded).double() - truth).abs()
    assert error.mean() <= 2 * allowed.mean()
    assert error.max() <= 2 * allowed.max()


@pytest.mark.parametrize("groups", [1, 3, 9])
def test_the_mean_of_the_groups_is_the_whole_sum(groups: int) -> None:
    samples, weights = torch.randn(2, 3, 9, 4, 5).double(), torch.randn(2, 9, 4, 5).double()
    apart = weighted_sums_by_group(samples, weights, groups)
    assert apart.shape == (2, groups, 3, 4, 5)
    torch.testing.assert_close(apart.mean(dim=1), weighted_sum(samples, weights))


def test_a_group_sums_its_own_points_at_the_scale_of_the_whole() -> None:
    samples, weights = torch.randn(2, 3, 9, 4, 5).double(), torch.randn(2, 9, 4, 5).double()
    last = 3 * weighted_sum(samples[:, :, 6:], weights[:, 6:])
    torch.testing.assert_close(weighted_sums_by_group(samples, weights, 3)[:, 2], last)


@pytest.mark.parametrize(
    ("image", "offsets", "weights", "complaint"),
    [
        ((3, 8, 8), (1, 18, 8, 8), (1, 9, 8, 8), r"image: expected \(B, C, H, W\), got \(3, 8, 8\)"),
        ((1, 3, 8, 8), (18, 8, 8), (1, 9, 8, 8), r"offsets: expected \(1, 2\*N, 8, 8\), got \(18, 8, 8\)"),
        ((2, 3, 8, 8), (1, 18, 8, 8), (2, 9, 8, 8), "offsets"),
        ((1, 3, 8, 8), (1, 18, 8, 9), (1, 9, 8, 8), "offsets"),
        ((1, 3, 8, 8), (1, 18, 1, 1), (1, 9, 8, 8), "offsets"),
        ((1, 3, 8, 8), (1, 9, 8, 8), (1, 9, 8, 8), r"offsets: expected 2\*K\*K channels with K odd, got 9"),
        ((1, 3, 8, 8), (1, 8, 8, 8), (1, 4, 8, 8), "K odd, got 8"),
        ((1, 3, 8, 8), (1, 19, 8, 8), (1, 9, 8, 8), "K odd, got 19"),
        ((1, 3, 8, 8), (1, 0, 8, 8), (1, 0, 8, 8), "K odd, got 0"),
        ((1, 3, 8, 8), (1, 18, 8, 8), (1, 25, 8, 8), r"weights: expected \(1, 9, 8, 8\), got \(1, 25, 8, 8\)"),
        ((2, 3, 8, 8), (2, 18, 8, 8), (1, 9, 8, 8), "weights"),
        ((1, 3, 8, 8), (1, 18, 8, 8), (1, 9, 1, 1), "weights"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    image: tuple[int, ...], offsets: tuple[int, ...], weights: tuple[int, ...], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        deformable_conv2d(torch.zeros(image), torch.zeros(offsets), torch.zeros(weights))


@pytest.mark.parametrize(
    ("image", "K", "complaint"), [((3, 8, 8), 3, "image"), ((1, 3, 8, 8), 4, "K: expected an odd")]
)
def test_a_grid_without_a_centre_is_refused(image: tuple[int, ...], K: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        sample_rigid2d(torch.zeros(image), K)


@pytest.mark.parametrize("groups", [0, 2, 18])
def test_points_that_do_not_divide_into_the_groups_are_refused(groups: int) -> None:
    with pytest.raises(ValueError, match=f"groups: expected a divisor of 9 points, got {groups}"):
        weighted_sums_by_group(torch.zeros(1, 3, 9, 4, 4), torch.zeros(1, 9, 4, 4), groups)


# B, C, T, H, W: more frames than the grid, the same number, fewer; a row, a column, one pixel.
CLIPS = [(2, 3, 5, 4, 6), (1, 2, 3, 5, 3), (1, 1, 1, 4, 4), (1, 2, 9, 1, 4), (2, 1, 3, 3, 1), (1, 3, 1, 1, 1)]
CONVS3D = [deformable_conv3d, deformable_conv3d_reference]


def clip_tensors(B: int, C: int, T: int, H: int, W: int, K: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Clip, offsets and weights, like those of `tensors` for an image."""
    N = K**3
    offsets = torch.randint(-3, 3, (B, 3 * N, H, W)) + 0.1 + 0.8 * torch.rand(B, 3 * N, H, W, dtype=torch.float64)
    clip, weights = torch.randn(B, C, T, H, W, dtype=dtype), torch.randn(B, N, H, W, dtype=dtype)
    return [clip, offsets.to(dtype), weights]


def clip_by_hand(clip: Array, offsets: Array, weights: Array) -> tuple[Array, Array, Array]:
    """The filtered clip and the gradients of its sum with respect to offsets and weights: equations 6, 7, 12 to 15."""
    T, H, W = clip.shape[1:]
    K = round(len(weights) ** (1 / 3))
    grid = [(k, i, j) for k in range(K) for i in range(K) for j in range(K)]
    out, by_offsets, by_weights = np.zeros((len(clip), H, W)), np.zeros_like(offsets), np.zeros_like(weights)
    for y, x in np.ndindex(H, W):
        for n, (k, i, j) in enumerate(grid):
            right, down, later = offsets[3 * n : 3 * n + 3, y, x]
            from_frames = T // 2 + k - K // 2 + later - np.arange(T)
            from_rows = y + i - K // 2 + down - np.arange(H)
            from_columns = x + j - K // 2 + right - np.arange(W)
            frames, rows, columns = (np.maximum(0, 1 - np.abs(d)) for d in (from_frames, from_rows, from_columns))
            sample = np.einsum("ctij,t,i,j->c", clip, frames, rows, columns)
            out[:, y, x] += weights[n, y, x] * sample
            by_weights[n, y, x] = sample.sum()
            slopes = (
                np.einsum("ctij,t,i,j->", clip, frames, rows, slope(from_columns)),
                np.einsum("ctij,t,i,j->", clip, frames, slope(from_rows), columns),
                np.einsum("ctij,t,i,j->", clip, slope(from_frames), rows, columns),
            )
            by_offsets[3 * n : 3 * n + 3, y, x] = weights[n, y, x] * np.array(slopes)
    return out, by_offsets, by_weights


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("shape", CLIPS)
@pytest.mark.parametrize("filtered", CONVS3D)
def test_every_pixel_is_the_weighted_sum_of_what_lies_where_its_offsets_point_in_space_and_time(
    filtered: Callable[..., Tensor], shape: tuple[int, int, int, int, int], K: int
) -> None:
    arguments = [tensor.requires_grad_() for tensor in clip_tensors(*shape, K)]
    _, offsets, weights = arguments
    result = filtered(*arguments)
    result.sum().backward()
    for b in range(shape[0]):
        out, by_offsets, by_weights = clip_by_hand(*(tensor.detach()[b].numpy() for tensor in arguments))
        torch.testing.assert_close(result.detach()[b], torch.from_numpy(out))
        torch.testing.assert_close(offsets.grad[b], torch.from_numpy(by_offsets))
        torch.testing.assert_close(weights.grad[b], torch.from_numpy(by_weights))


@pytest.mark.parametrize("filtered", CONVS3D)
def test_gradients_of_clips_are_those_of_finite_differences(filtered: Callable[..., Tensor]) -> None:
    arguments = [tensor.requires_grad_() for tensor in clip_tensors(1, 2, 3, 2, 3, K=3)]
    assert torch.autograd.gradcheck(filtered, arguments)


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("shape", CLIPS)
def test_sampling_a_clip_equals_the_reference(shape: tuple[int, int, int, int, int], K: int) -> None:
    clip, offsets, _ = clip_tensors(*shape, K)
    torch.testing.assert_close(sample3d(clip, offsets), sample3d_reference(clip, offsets))


@pytest.mark.parametrize("K", [1, 3])
def test_points_that_stay_within_the_frame_see_what_those_of_an_image_see(K: int) -> None:
    image, offsets, _ = tensors(2, 3, 7, 8, K)
    still = torch.stack([offsets[:, 0::2], offsets[:, 1::2], torch.zeros(2, K * K, 7, 8)], dim=2)
    if K == 3:  # the nine points of the middle frame are those of the image; the others are left out
        others = torch.zeros(2, 9, 3, 7, 8)
        still = torch.cat([others, still, others], dim=1)
    clip = torch.stack([torch.randn_like(image), image, torch.randn_like(image)], dim=2)
    samples = sample3d(clip, still.flatten(1, 2))
    torch.testing.assert_close(samples[:, :, 9:18] if K == 3 else samples, sample2d(image, offsets))


@pytest.mark.parametrize("later", [-2, -1, 0, 1, 2])
def test_whole_offsets_in_time_choose_a_frame(later: int) -> None:
    clip = torch.randn(2, 3, 5, 4, 6).double()
    offsets = torch.tensor([0, 0, later]).view(1, 3, 1, 1).expand(2, 3, 4, 6)
    torch.testing.assert_close(sample3d(clip, offsets).squeeze(2), clip[:, :, 2 + later])


@pytest.mark.parametrize("K", [1, 3, 5])
@pytest.mark.parametrize("shape", CLIPS)
def test_the_rigid_grid_of_a_clip_is_that_of_offsets_that_are_zero(
    shape: tuple[int, int, int, int, int], K: int
) -> None:
    B, _, _, H, W = shape
    clip = torch.randn(shape).double()
    torch.testing.assert_close(sample_rigid3d(clip, K), sample3d(clip, torch.zeros(B, 3 * K**3, H, W).double()))


@pytest.mark.parametrize("distance", [16.0, -16.0, 1e4, -1e6])
@pytest.mark.parametrize("direction", [0, 1, 2])
def test_points_far_outside_the_clip_contribute_nothing(direction: int, distance: float) -> None:
    clip, offsets, weights = clip_tensors(1, 2, 5, 6, 7, K=3)
    offsets[:, direction::3] += distance
    arguments = [tensor.requires_grad_() for tensor in (clip, offsets, weights)]
    filtered = deformable_conv3d(*arguments)
    filtered.sum().backward()
    assert filtered.count_nonzero() == 0
    assert [tensor.grad.count_nonzero().item() for tensor in arguments] == [0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_error_of_clips_against_float64_is_at_most_twice_the_references(dtype: torch.dtype) -> None:
    rounded = clip_tensors(1, 3, 5, 11, 13, 3, dtype)
    truth = deformable_conv3d_reference(*(tensor.double() for tensor in rounded))
    result = deformable_conv3d(*rounded)
    assert result.dtype == dtype
    error = (result.double() - truth).abs()
    allowed = (deformable_conv3d_reference(*rounded).double() - truth).abs()
    assert error.mean() <= 2 * allowed.mean()
    assert error.max() <= 2 * allowed.max()


@pytest.mark.parametrize(
    ("clip", "offsets", "weights", "complaint"),
    [
        (
            (1, 3, 8, 8),
            (1, 81, 8, 8),
            (1, 27, 8, 8),
            r"clip: expected \(B, C, T, H, W\) with T odd, got \(1, 3, 8, 8\)",
        ),
        ((1, 3, 4, 8, 8), (1, 81, 8, 8), (1, 27, 8, 8), "T odd"),
        ((2, 3, 5, 8, 8), (1, 81, 8, 8), (2, 27, 8, 8), r"offsets: expected \(2, 3\*N, 8, 8\)"),
        ((1, 3, 5, 8, 8), (1, 54, 8, 8), (1, 27, 8, 8), r"offsets: expected 3\*K\*K\*K channels with K odd, got 54"),
        ((1, 3, 5, 8, 8), (1, 24, 8, 8), (1, 8, 8, 8), "K odd, got 24"),
        ((1, 3, 5, 8, 8), (1, 0, 8, 8), (1, 0, 8, 8), "K odd, got 0"),
        ((1, 3, 5, 8, 8), (1, 81, 8, 8), (1, 9, 8, 8), r"weights: expected \(1, 27, 8, 8\), got \(1, 9, 8, 8\)"),
    ],
)
def test_shapes_that_do_not_fit_a_clip_are_refused(
    clip: tuple[int, ...], offsets: tuple[int, ...], weights: tuple[int, ...], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        deformable_conv3d(torch.zeros(clip), torch.zeros(offsets), torch.zeros(weights))


@pytest.mark.parametrize(("clip", "K"), [((3, 3, 8, 8), 3), ((1, 3, 2, 8, 8), 3), ((1, 3, 5, 8, 8), 2)])
def test_a_rigid_grid_without_a_centre_is_refused(clip: tuple[int, ...], K: int) -> None:
    with pytest.raises(ValueError, match=r"odd|clip"):
        sample_rigid3d(torch.zeros(clip), K)
