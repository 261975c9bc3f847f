// Deformable kernels: every pixel becomes a weighted sum of samples taken at positions of its own, in an image (D = 2)
// or a clip (D = 3).
//
// Reference: denoise_cli/ops/deformable.py. If only the sum is needed, the samples are never stored.
//
//   image    B, C, T, H, W       T = 1 for D = 2
//   offsets  B, D*N, H, W        for each point how far to the right, down and, in a clip, later
//   weights  B, N, H, W
//   samples  B, C, N, H, W
//   out      B, C, H, W
//
// All may have any strides. Legend: B batch, C channels, T frames, H x W image, K side of the rigid grid (odd),
// N = K^D points of a pixel.
#include "common.cuh"

// The position of one point of one pixel, along x, y and t: the first of its corners and the distance from that corner.
template <int D>
struct Point {
    int corner[D];
    float fraction[D];
    bool inside;  // whether at least one corner can be inside the image

    template <typename T>
    __device__ Point(const T* offsets, Index offsets_n, int n, int K, const int (&pixel)[D], const Index (&sides)[D]) {
        int rest = n;
        inside = true;
#pragma unroll
        for (int axis = 0; axis < D; ++axis) {
            float position =
                pixel[axis] + (rest % K - K / 2) + wide(offsets[(static_cast<Index>(n) * D + axis) * offsets_n]);
            rest /= K;
            bool near = position > -1.0f && position < static_cast<float>(sides[axis]);  // false for NaN
            float first = near ? floorf(position) : 0.0f;
            corner[axis] = static_cast<int>(first);
            fraction[axis] = near ? position - first : 0.0f;
            inside = inside && near;
        }
    }
};

// One channel of an image or a clip.
template <typename T, int D>
struct Channel {
    const T* values;
    const Index (&strides)[D];  // x, y, t
    const Index (&sides)[D];

    // The value at a corner, 0 beyond the border; bit `axis` of `corner` is set for the second corner along that axis.
    __device__ float at(const Point<D>& point, int corner) const {
        Index from = 0;
        bool inside = true;
#pragma unroll
        for (int axis = 0; axis < D; ++axis) {
            int along = point.corner[axis] + ((corner >> axis) & 1);
            inside = inside && along >= 0 && along < sides[axis];
            from += along * strides[axis];
        }
        return inside ? wide(values[from]) : 0.0f;
    }
};

// The interpolation weight of a corner; `skipped` is an axis whose factor is left out (-1: none).
template <int D>
__device__ inline float corner_weight(const Point<D>& point, int corner, int skipped = -1) {
    float product = 1.0f;
#pragma unroll
    for (int axis = 0; axis < D; ++axis)
        if (axis != skipped) product *= (corner >> axis) & 1 ? point.fraction[axis] : 1.0f - point.fraction[axis];
    return product;
}

template <typename T, int D>
__device__ inline float sample(const Channel<T, D>& channel, const Point<D>& point) {
    float sum = 0.0f;
#pragma unroll
    for (int corner = 0; corner < 1 << D; ++corner) sum += corner_weight(point, corner) * channel.at(point, corner);
    return sum;
}

template <int D>
struct Geometry {
    Index strides[D], sides[D];
    int pixel[D];  // the pixel's position, in the middle frame

    __device__ Geometry(Index T, Index H, Index W, Index image_t, Index image_y, Index image_x, int y, int x)
        : strides{image_x, image_y}, sides{W, H}, pixel{x, y} {
        if constexpr (D == 3) {
            strides[2] = image_t;
            sides[2] = T;
            pixel[2] = static_cast<int>(T) / 2;
        }
    }
};

#define IMAGE_PARAMETERS                                                                                          \
    const T *__restrict__ image, const T *__restrict__ offsets, Index B, Index C, Index frames, Index H, Index W, \
        Index K, Index image_b, Index image_c, Index image_t, Index image_y, Index image_x, Index offsets_b,      \
        Index offsets_n, Index offsets_y, Index offsets_x

// Forward, the weighted sum. One thread per pixel and CHANNELS channels.
template <typename T, int D, int CHANNELS>
__global__ void deformable_sum(IMAGE_PARAMETERS, const T* __restrict__ weights, Index weights_b, Index weights_n,
                               Index weights_y, Index weights_x, T* __restrict__ out, Index out_b, Index out_c,
                               Index out_y, Index out_x) {
    Index groups = (C + CHANNELS - 1) / CHANNELS, index = thread_index();
    if (index >= B * groups * H * W) return;
    unsigned rest = static_cast<unsigned>(index);
    int x = split_axis(rest, W), y = split_axis(rest, H), first = split_axis(rest, groups) * CHANNELS;
    int b = static_cast<int>(rest);
    Geometry<D> geometry(frames, H, W, image_t, image_y, image_x, y, x);
    const T* moves = offsets + b * offsets_b + y * offsets_y + x * offsets_x;
    const T* factors = weights + b * weights_b + y * weights_y + x * weights_x;
    int N = static_cast<int>(D == 3 ? K * K * K : K * K);

    float sums[CHANNELS];
#pragma unroll
    for (int c = 0; c < CHANNELS; ++c) sums[c] = 0.0f;
    for (int n = 0; n < N; ++n) {
        Point<D> point(moves, offsets_n, n, static_cast<int>(K), geometry.pixel, geometry.sides);
        if (!point.inside) continue;
        float factor = wide(factors[n * weights_n]);
#pragma unroll
        for (int c = 0; c < CHANNELS; ++c) {
            if (first + c >= C) break;
            Channel<T, D> channel{image + b * image_b + (first + c) * image_c, geometry.strides, geometry.sides};
            sums[c] += factor * sample(channel, point);
        }
    }
#pragma unroll
    for (int c = 0; c < CHANNELS; ++c)
        if (first + c < C) out[b * out_b + (first + c) * out_c + y * out_y + x * out_x] = narrow<T>(sums[c]);
}

// Forward, the samples. One thread per point.
template <typename T, int D>
__global__ void deformable_samples(IMAGE_PARAMETERS, T* __restrict__ samples, Index samples_b, Index samples_c,
                                   Index samples_n, Index samples_y, Index samples_x) {
    int N = static_cast<int>(D == 3 ? K * K * K : K * K);
    Index index = thread_index();
    if (index >= B * N * H * W) return;
    unsigned rest = static_cast<unsigned>(index);
    int x = split_axis(rest, W), y = split_axis(rest, H), n = split_axis(rest, N), b = static_cast<int>(rest);
    Geometry<D> geometry(frames, H, W, image_t, image_y, image_x, y, x);
    Point<D> point(offsets + b * offsets_b + y * offsets_y + x * offsets_x, offsets_n, n, static_cast<int>(K),
                   geometry.pixel, geometry.sides);
    T* to = samples + b * samples_b + n * samples_n + y * samples_y + x * samples_x;
    for (int c = 0; c < C; ++c) {
        Channel<T, D> channel{image + b * image_b + c * image_c, geometry.strides, geometry.sides};
        to[c * samples_c] = narrow<T>(point.inside ? sample(channel, point) : 0.0f);
    }
}

// Backward, of the sum or of the samples (which have no `weights` and `to_weights`). One thread per point. Equations 12
// to 15 of the paper's appendix A. The contributions of many points to a value of the image are added by atomics, in
// float and in no fixed order; `to_image` is null if that gradient is not needed.
//
//   gradient              B, C, H, W (sum) or B, C, N, H, W (samples); gradient_n is ignored for the sum
//   to_image              like the image, dense, with the same strides
//   to_offsets            like the offsets, dense NCHW
//   to_weights            like the weights, dense NCHW
template <typename T, int D, bool sum>
__global__ void deformable_backward(IMAGE_PARAMETERS, const T* __restrict__ weights, Index weights_b, Index weights_n,
                                    Index weights_y, Index weights_x, const T* __restrict__ gradient, Index gradient_b,
                                    Index gradient_c, Index gradient_n, Index gradient_y, Index gradient_x,
                                    float* __restrict__ to_image, T* __restrict__ to_offsets,
                                    T* __restrict__ to_weights) {
    int N = static_cast<int>(D == 3 ? K * K * K : K * K);
    Index index = thread_index();
    if (index >= B * N * H * W) return;
    unsigned rest = static_cast<unsigned>(index);
    int x = split_axis(rest, W), y = split_axis(rest, H), n = split_axis(rest, N), b = static_cast<int>(rest);
    Geometry<D> geometry(frames, H, W, image_t, image_y, image_x, y, x);
    Point<D> point(offsets + b * offsets_b + y * offsets_y + x * offsets_x, offsets_n, n, static_cast<int>(K),
                   geometry.pixel, geometry.sides);
    float factor = 1.0f, weight_gradient = 0.0f, offset_gradients[D];
    if constexpr (sum) factor = wide(weights[b * weights_b + n * weights_n + y * weights_y + x * weights_x]);
#pragma unroll
    for (int axis = 0; axis < D; ++axis) offset_gradients[axis] = 0.0f;

    const T* upstream = gradient + b * gradient_b + y * gradient_y + x * gradient_x + (sum ? 0 : n * gradient_n);
    for (int c = 0; c < C && point.inside; ++c) {
        Channel<T, D> channel{image + b * image_b + c * image_c, geometry.strides, geometry.sides};
        float output_gradient = wide(upstream[c * gradient_c]);
#pragma unroll
        for (int corner = 0; corner < 1 << D; ++corner) {
            float value = channel.at(point, corner);
            weight_gradient += output_gradient * corner_weight(point, corner) * value;
#pragma unroll
            for (int axis = 0; axis < D; ++axis) {
                float sign = (corner >> axis) & 1 ? 1.0f : -1.0f;
                offset_gradients[axis] += sign * output_gradient * corner_weight(point, corner, axis) * value;
            }
            if (to_image) {
                Index to = b * image_b + c * image_c;
                bool inside = true;
#pragma unroll
                for (int axis = 0; axis < D; ++axis) {
                    int along = point.corner[axis] + ((corner >> axis) & 1);
                    inside = inside && along >= 0 && along < geometry.sides[axis];
                    to += along * geometry.strides[axis];
                }
                if (inside) atomicAdd(to_image + to, factor * output_gradient * corner_weight(point, corner));
            }
        }
    }
    Index pixels = H * W, pixel = static_cast<Index>(y) * W + x;
#pragma unroll
    for (int axis = 0; axis < D; ++axis)
        to_offsets[((static_cast<Index>(b) * N + n) * D + axis) * pixels + pixel] =
            narrow<T>(factor * offset_gradients[axis]);
    if constexpr (sum) to_weights[(static_cast<Index>(b) * N + n) * pixels + pixel] = narrow<T>(weight_gradient);
}
