"""The operators of `malleable` and `deformable` as CUDA kernels that store no intermediate results.

They are registered with PyTorch, so that autograd, torch.compile, CUDA graphs and export can handle them. Callers must
check `cuda.obstacle` first.

Legend: B batch, C channels, T frames, H x W image, h x w grid, K kernel size (odd), N points of a deformable kernel,
V values in a vector that a thread reads at once. An image is dense if it has no gaps in memory, as planes (NCHW) or
channels last (NHWC).
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op, register_autograd

from denoise_cli.ops import cuda

VECTOR_BYTES = 16  # the largest vector
# With K = 3, larger vectors than these would need too many registers:
MAX_VECTOR_OF_PLANES = 2  # values
MAX_VECTOR_OF_PIXELS = 4  # values
RUN = 8  # pixels of a row that a thread filters; RUN in malleable.cu
ROWS = 8  # rows that a thread filters; ROWS in malleable.cu
ROWS_PER_THREAD = 16  # rows of a band of pixels that a thread sums, in the gradient of the grid
MAX_CHANNELS = 8  # channels that a thread sums at once


@custom_op("denoise::malleable_conv2d", mutates_args=())
def malleable_conv2d(image: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
    """See `malleable.malleable_conv2d`; all tensors of one type, K = 1 or 3."""
    image = _as_dense(image)
    out = torch.empty_like(image)
    B, C, H, W = image.shape
    K, (h, w) = _kernel_size(kernels), kernels.shape[-2:]
    name = cuda.TYPES[image.dtype]
    full = VECTOR_BYTES // image.element_size()
    if _is_channels_last(image):
        V = _vector_width(C, min(full, MAX_VECTOR_OF_PIXELS) if K > 1 else full, image, out)
        packed = V > 1 and _is_packed(V, kernels, bias)
        kernel = f"malleable_pixels<{name}, {K}, {V}, {str(packed).lower()}>"
        threads = B * H * -(-W // RUN) * (C // V)
    else:
        V = _vector_width(W, min(full, MAX_VECTOR_OF_PLANES) if K > 1 else full, image, out)
        kernel = f"malleable_planes<{name}, {K}, {V}>"
        threads = B * C * -(-H // ROWS) * (W // V)
    cuda.launch("malleable", kernel, threads, [image, out, B, C, H, W, h, w, *_grid_arguments(kernels, bias)])
    return out


@malleable_conv2d.register_fake
def _(image: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ARG001
    return torch.empty_like(_as_dense(image))


@custom_op("denoise::malleable_to_image", mutates_args=())
def malleable_to_image(gradient: Tensor, kernels: Tensor) -> Tensor:
    """The gradient with respect to the image, (B, C, H, W), from that of the output, (B, C, H, W)."""
    K = _kernel_size(kernels)
    if K == 1:
        return malleable_conv2d(gradient, kernels, None)
    gradient = _as_dense(gradient)
    out = torch.empty_like(gradient)
    B, C, H, W = gradient.shape
    kernel = f"malleable_to_image<{cuda.TYPES[gradient.dtype]}, {K}, {str(_is_channels_last(gradient)).lower()}>"
    arguments = [gradient, out, B, C, H, W, *kernels.shape[-2:], *gradient.stride(), *_grid_arguments(kernels, None)]
    cuda.launch("malleable", kernel, gradient.numel(), arguments)
    return out


@malleable_to_image.register_fake
def _(gradient: Tensor, kernels: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(_as_dense(gradient))


@custom_op("denoise::malleable_to_grid", mutates_args=())
def malleable_to_grid(gradient: Tensor, image: Tensor, taps: int, h: int, w: int) -> Tensor:
    """The gradient with respect to kernels and bias, (B, C, taps + 1, h, w), the bias last; bitwise deterministic.

    Args:
        gradient: (B, C, H, W), of the output.
        image: (B, C, H, W).
        taps: K*K.
        h: rows of the grid.
        w: columns of the grid.
    """
    channels_last = _is_channels_last(image)
    image = _as_dense(image)
    gradient = gradient.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    B, C, H, W = image.shape
    parts = max(1, -(-H // (h * ROWS_PER_THREAD)))
    sums = _empty_sums(image, parts, taps, h, w, channels_last)
    kernel = f"malleable_to_grid<{cuda.TYPES[image.dtype]}, {round(taps**0.5)}, {str(channels_last).lower()}>"
    arguments: list[cuda.Argument] = [gradient, image, sums, parts, B, C, H, W, h, w, *image.stride(), *sums.stride()]
    cuda.launch("malleable", kernel, parts * B * C * h * w, arguments)
    upper, lower = sums.sum(dim=1)
    upper[..., 1:, :] += lower[..., :-1, :]
    upper[..., -1, :] += lower[..., -1, :]  # pixels below the last row of cells take both values from it
    return upper.to(image.dtype)


@malleable_to_grid.register_fake
def _(gradient: Tensor, image: Tensor, taps: int, h: int, w: int) -> Tensor:  # noqa: ARG001
    return _empty_sums(image, 1, taps, h, w, _is_channels_last(image)).sum(dim=1)[0].to(image.dtype)


def _malleable_backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    image, kernels = context.saved_tensors
    taps, h, w = kernels.shape[2:]
    needs_image, needs_kernels, needs_bias = context.needs_input_grad
    to_image = malleable_to_image(gradient, kernels) if needs_image else None
    if not needs_kernels and not needs_bias:
        return to_image, None, None
    to_grid = malleable_to_grid(gradient, image, taps, h, w)
    to_bias = to_grid[:, :, -1] if needs_bias else None
    return to_image, to_grid[:, :, :-1] if needs_kernels else None, to_bias


def _save_for_malleable(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    image, kernels, _ = inputs
    ctx.save_for_backward(image, kernels)


register_autograd("denoise::malleable_conv2d", _malleable_backward, setup_context=_save_for_malleable)


@custom_op("denoise::deformable_sum", mutates_args=())
def deformable_sum(image: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """See `deformable.deformable_conv2d` (image) and `deformable.deformable_conv3d` (clip); all tensors of one type."""
    B, C, *_, H, W = image.shape
    out = _empty_output(image, C)
    channels = min(C, MAX_CHANNELS)
    kernel = f"deformable_sum<{cuda.TYPES[image.dtype]}, {_dimensions(image)}, {max(channels, 1)}>"
    threads = B * -(-C // max(channels, 1)) * H * W
    arguments = [*_image_arguments(image, offsets), weights, *weights.stride(), out, *out.stride()]
    cuda.launch("deformable", kernel, threads, arguments)
    return out


@deformable_sum.register_fake
def _(image: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:  # noqa: ARG001
    return _empty_output(image, image.shape[1])


@custom_op("denoise::deformable_samples", mutates_args=())
def deformable_samples(image: Tensor, offsets: Tensor) -> Tensor:
    """See `deformable.sample2d` (image) and `deformable.sample3d` (clip); both tensors of one type."""
    samples = _empty_samples(image, offsets)
    B, _, N, H, W = samples.shape
    kernel = f"deformable_samples<{cuda.TYPES[image.dtype]}, {_dimensions(image)}>"
    cuda.launch("deformable", kernel, B * N * H * W, [*_image_arguments(image, offsets), samples, *samples.stride()])
    return samples


@deformable_samples.register_fake
def _(image: Tensor, offsets: Tensor) -> Tensor:
    return _empty_samples(image, offsets)


@custom_op("denoise::deformable_backward", mutates_args=())
def deformable_backward(
    gradient: Tensor, image: Tensor, offsets: Tensor, weights: Tensor | None, needs_image: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients with respect to image, offsets and weights.

    Args:
        gradient: of the sum, (B, C, H, W), or of the samples, (B, C, N, H, W).
        image: (B, C, H, W) or (B, C, T, H, W).
        offsets: (B, 2*N, H, W) or (B, 3*N, H, W).
        weights: (B, N, H, W) for the sum, None for the samples.
        needs_image: whether to compute the image's gradient; many points contribute to a pixel, in no fixed order.

    Returns:
        Three tensors like the inputs; empty for an image whose gradient is not needed and for missing weights.
    """
    image = image if _is_dense(image) else image.contiguous()
    to_image, to_offsets, to_weights = _new_gradients(image, offsets, weights, needs_image)
    B, N, H, W = image.shape[0], offsets.shape[1] // _dimensions(image), *image.shape[-2:]
    is_sum = weights is not None
    strides = (0, 0, 0, 0) if weights is None else weights.stride()
    gradient_strides = gradient.stride() if not is_sum else (*gradient.stride()[:2], 0, *gradient.stride()[2:])
    kernel = f"deformable_backward<{cuda.TYPES[image.dtype]}, {_dimensions(image)}, {str(is_sum).lower()}>"
    inputs = [*_image_arguments(image, offsets), weights, *strides, gradient, *gradient_strides]
    outputs = [to_image if needs_image else None, to_offsets, to_weights]
    cuda.launch("deformable", kernel, B * N * H * W, [*inputs, *outputs])
    return to_image.to(image.dtype), to_offsets, to_weights


@deformable_backward.register_fake
def _(
    gradient: Tensor,  # noqa: ARG001
    image: Tensor,
    offsets: Tensor,
    weights: Tensor | None,
    needs_image: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    to_image, to_offsets, to_weights = _new_gradients(image, offsets, weights, needs_image)
    return to_image.to(image.dtype), to_offsets, to_weights


def _sum_backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
    image, offsets, weights = context.saved_tensors
    needs_image = context.needs_input_grad[0]
    to_image, to_offsets, to_weights = deformable_backward(gradient, image, offsets, weights, needs_image)
    return to_image if needs_image else None, to_offsets, to_weights


def _samples_backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
    image, offsets = context.saved_tensors
    needs_image = context.needs_input_grad[0]
    to_image, to_offsets, _ = deformable_backward(gradient, image, offsets, None, needs_image)
    return to_image if needs_image else None, to_offsets


def _save_all(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


register_autograd("denoise::deformable_sum", _sum_backward, setup_context=_save_all)
register_autograd("denoise::deformable_samples", _samples_backward, setup_context=_save_all)


def _as_dense(image: Tensor) -> Tensor:
    """The image itself, or a dense copy."""
    return image if _is_channels_last(image) else image.contiguous()


def _is_channels_last(image: Tensor) -> bool:
    """Whether the image is dense with the channels of a pixel side by side."""
    return not image.is_contiguous() and image.is_contiguous(memory_format=torch.channels_last)


def _is_dense(image: Tensor) -> bool:
    last = torch.channels_last if image.ndim == 4 else torch.channels_last_3d
    return image.is_contiguous() or image.is_contiguous(memory_format=last)


def _kernel_size(kernels: Tensor) -> int:
    return round(int(kernels.shape[2]) ** 0.5)


def _vector_width(length: int, V: int, *tensors: Tensor) -> int:
    """V if vectors of V values divide the length and the tensors are aligned for them, otherwise 1."""
    fits = length % V == 0 and all(tensor.data_ptr() % (V * tensor.element_size()) == 0 for tensor in tensors)
    return V if fits else 1


def _is_packed(V: int, kernels: Tensor, bias: Tensor | None) -> bool:
    """Whether V channels of the grid can be read as a vector."""
    grids = [kernels] if bias is None else [kernels, bias]
    return all(
        grid.stride(1) == 1
        and all(stride % V == 0 for axis, stride in enumerate(grid.stride()) if axis != 1 and grid.shape[axis] > 1)
        and _vector_width(V, V, grid) == V
        for grid in grids
    )


def _grid_arguments(kernels: Tensor, bias: Tensor | None) -> list[cuda.Argument]:
    """GRID_PARAMETERS in malleable.cu."""
    return [kernels, bias, *kernels.stride(), *((0, 0, 0, 0) if bias is None else bias.stride())]


def _empty_sums(image: Tensor, parts: int, taps: int, h: int, w: int, channels_last: bool) -> Tensor:
    """(2, parts, B, C, taps + 1, h, w), float32; `channels_last`: with the channels side by side, as in the image."""
    B, C = image.shape[:2]
    if channels_last:
        return image.new_empty((2, parts, B, taps + 1, h, w, C), dtype=torch.float32).movedim(-1, 3)
    return image.new_empty((2, parts, B, C, taps + 1, h, w), dtype=torch.float32)


def _dimensions(image: Tensor) -> int:
    return image.ndim - 2


def _image_arguments(image: Tensor, offsets: Tensor) -> list[cuda.Argument]:
    """IMAGE_PARAMETERS in deformable.cu."""
    D = _dimensions(image)
    K = round((int(offsets.shape[1]) // D) ** (1 / D))
    B, C, *frames, H, W = image.shape
    strides = image.stride() if frames else (*image.stride()[:2], 0, *image.stride()[2:])
    return [image, offsets, B, C, *(frames or [1]), H, W, K, *strides, *offsets.stride()]


def _empty_output(image: Tensor, channels: int) -> Tensor:
    """(B, channels, H, W), in the image's memory format."""
    channels_last = image.ndim == 4 and _is_channels_last(image)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    B, H, W = image.shape[0], *image.shape[-2:]
    return torch.empty((B, channels, H, W), dtype=image.dtype, device=image.device, memory_format=memory_format)


def _empty_samples(image: Tensor, offsets: Tensor) -> Tensor:
    B, C, *_, H, W = image.shape
    return image.new_empty((B, C, offsets.shape[1] // _dimensions(image), H, W))


def _new_gradients(
    image: Tensor, offsets: Tensor, weights: Tensor | None, needs_image: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Memory for the gradients; the kernel accumulates into the image's, so it is zeroed and in float32."""
    image = image if _is_dense(image) else image.contiguous()
    to_image = torch.zeros_like(image, dtype=torch.float32) if needs_image else image.new_empty(0, dtype=torch.float32)
    to_weights = image.new_empty(0) if weights is None else image.new_empty(weights.shape)
    return to_image, image.new_empty(offsets.shape), to_weights
