// Deformable kernels: every pixel samples at places of its own choice, in an image (D = 2) or a clip (D = 3), and is
// the weighted sum of what it finds there.
//
// Reference: denoise_cli/ops/deformable.py. Where only the sum is wanted, the samples are never stored.
//
//   image    B, C, T, H, W       T = 1 for D = 2
//   offsets  B, D*N, H, W        for each point how far to the right, down and, in a clip, later
//   weights  B, N, H, W
//   samples  B, C, N, H, W
//   out      B, C, H, W
//
// All of any strides. Legend: B batch, C channels, T frames, H x W image, K side of the rigid grid (odd), N = K^D
// points of a pixel.
#include "common.cuh"

// Where one point of one pixel lies: the corner before it and how far beyond, on every axis; x, y, t.
template <int D>
struct Place {
    int corner[D];
    float beyond[D];
    bool inside;  // or so near that a corner is

    template <typename T>
    __device__ Place(const T* offsets, Index offsets_n, int n, int K, const int (&own)[D], const Index (&sides)[D]) {
        int rest = n;
        inside = true;
#pragma unroll
        for (int axis = 0; axis < D; ++axis) {
            float place =
                own[axis] + (rest % K - K / 2) + wide(offsets[(static_cast<Index>(n) * D + axis) * offsets_n]);
            rest /= K;
            bool near = place > -1.0f && place < static_cast<float>(sides[axis]);  // no number is not near
            float before = near ? floorf(place) : 0.0f;
            corner[axis] = static_cast<int>(before);
            beyond[axis] = near ? place - before : 0.0f;
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

    // What lies at a corner, 0 beyond the border; bit `axis` of `corner` says whether it is the further one.
    __device__ float at(const Place<D>& place, int corner) const {
        Index from = 0;
        bool inside = true;
#pragma unroll
        for (int axis = 0; axis < D; ++axis) {
            int along = place.corner[axis] + ((corner >> axis) & 1);
            inside = inside && along >= 0 && along < sides[axis];
            from += along * strides[axis];
        }
        return inside ? wide(values[from]) : 0.0f;
    }
};

// The share of a corner in what is found at a place, but for one axis (-1: of none).
template <int D>
__device__ inline float share(const Place<D>& place, int corner, int but = -1) {
    float product = 1.0f;
#pragma unroll
    for (int axis = 0; axis < D; ++axis)
        if (axis != but) product *= (corner >> axis) & 1 ? place.beyond[axis] : 1.0f - place.beyond[axis];
    return product;
}

template <typename T, int D>
__device__ inline float sample(const Channel<T, D>& channel, const Place<D>& place) {
    float sum = 0.0f;
#pragma unroll
    for (int corner = 0; corner < 1 << D; ++corner) sum += share(place, corner) * channel.at(place, corner);
    return sum;
}

template <int D>
struct Geometry {
    Index strides[D], sides[D];
    int own[D];  // the pixel's place, in the middle frame

    __device__ Geometry(Index T, Index H, Index W, Index image_t, Index image_y, Index image_x, int y, int x)
        : strides{image_x, image_y}, sides{W, H}, own{x, y} {
        if constexpr (D == 3) {
            strides[2] = image_t;
            sides[2] = T;
            own[2] = static_cast<int>(T) / 2;
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
    Index shares = (C + CHANNELS - 1) / CHANNELS, number = thread_number();
    if (number >= B * shares * H * W) return;
    unsigned rest = static_cast<unsigned>(number);
    int x = digit(rest, W), y = digit(rest, H), first = digit(rest, shares) * CHANNELS, b = static_cast<int>(rest);
    Geometry<D> geometry(frames, H, W, image_t, image_y, image_x, y, x);
    const T* moves = offsets + b * offsets_b + y * offsets_y + x * offsets_x;
    const T* factors = weights + b * weights_b + y * weights_y + x * weights_x;
    int N = static_cast<int>(D == 3 ? K * K * K : K * K);

    float sums[CHANNELS];
#pragma unroll
    for (int c = 0; c < CHANNELS; ++c) sums[c] = 0.0f;
    for (int n = 0; n < N; ++n) {
        Place<D> place(moves, offsets_n, n, static_cast<int>(K), geometry.own, geometry.sides);
        if (!place.inside) continue;
        float factor = wide(factors[n * weights_n]);
#pragma unroll
        for (int c = 0; c < CHANNELS; ++c) {
            if (first + c >= C) break;
            Channel<T, D> channel{image + b * image_b + (first + c) * image_c, geometry.strides, geometry.sides};
            sums[c] += factor * sample(channel, place);
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
    Index number = thread_number();
    if (number >= B * N * H * W) return;
    unsigned rest = static_cast<unsigned>(number);
    int x = digit(rest, W), y = digit(rest, H), n = digit(rest, N), b = static_cast<int>(rest);
    Geometry<D> geometry(frames, H, W, image_t, image_y, image_x, y, x);
    Place<D> place(offsets + b * offsets_b + y * offsets_y + x * offsets_x, offsets_n, n, static_cast<int>(K),
                   geometry.own, geometry.sides);
    T* to = samples + b * samples_b + n * samples_n + y * samples_y + x * samples_x;
    for (int c = 0; c < C; ++c) {
        Channel<T, D> channel{image + b * image_b + c * image_c, geometry.strides, geometry.sides};
        to[c * samples_c] = narrow<T>(place.inside ? sample(channel, place) : 0.0f);
    }
}

// Backward, of the sum or of the samples (then `weights` and `to_weights` are not looked at). One thread per point.
// Equations 12 to 15 of the paper's appendix A. What comes to a value of the image from many points is added by
// atomics, in no certain order, in float; `to_image` is null where nobody asks for it.
//
//   gradient              B, C, H, W (sum) or B, C, N, H, W (samples); gradient_n is not looked at for the sum
//   to_image              like the image, dense, in its order of memory: the same strides
//   to_offsets            like the offsets, dense NCHW
//   to_weights            like the weights, dense NCHW
template <typename T, int D, bool sum>
__global__ void deformable_backward(IMAGE_PARAMETERS, const T* __restrict__ weights, Index weights_b, Index weights_n,
                                    Index weights_y, Index weights_x, const T* __restrict__ gradient, Index gradient_b,
                                    Index gradient_c, Index gradient_n, Index gradient_y, Index gradient_x,
                                    float* __restrict__ to_image, T* __restrict__ to_offsets,
                                    T* __restrict__ to_weights) {
    int N = static_cast<int>(D == 3 ? K * K * K : K * K);
    Index number = thread_number();
    if (number >= B * N * H * W) return;
    unsigned rest = static_cast<unsigned>(number);
    int x = digit(rest, W), y = digit(rest, H), n = digit(rest, N), b = static_cast<int>(rest);
    Geometry<D> geometry(frames, H, W, image_t, image_y, image_x, y, x);
    Place<D> place(offsets + b * offsets_b + y * offsets_y + x * offsets_x, offsets_n, n, static_cast<int>(K),
                   geometry.own, geometry.sides);
    float factor = 1.0f, voted = 0.0f, slopes[D];
    if constexpr (sum) factor = wide(weights[b * weights_b + n * weights_n + y * weights_y + x * weights_x]);
#pragma unroll
    for (int axis = 0; axis < D; ++axis) slopes[axis] = 0.0f;

    const T* upstream = gradient + b * gradient_b + y * gradient_y + x * gradient_x + (sum ? 0 : n * gradient_n);
    for (int c = 0; c < C && place.inside; ++c) {
        Channel<T, D> channel{image + b * image_b + c * image_c, geometry.strides, geometry.sides};
        float slope_of_output = wide(upstream[c * gradient_c]);
#pragma unroll
        for (int corner = 0; corner < 1 << D; ++corner) {
            float value = channel.at(place, corner);
            voted += slope_of_output * share(place, corner) * value;
#pragma unroll
            for (int axis = 0; axis < D; ++axis) {
                float sign = (corner >> axis) & 1 ? 1.0f : -1.0f;
                slopes[axis] += sign * slope_of_output * share(place, corner, axis) * value;
            }
            if (to_image) {
                Index to = b * image_b + c * image_c;
                bool inside = true;
#pragma unroll
                for (int axis = 0; axis < D; ++axis) {
                    int along = place.corner[axis] + ((corner >> axis) & 1);
                    inside = inside && along >= 0 && along < geometry.sides[axis];
                    to += along * geometry.strides[axis];
                }
                if (inside) atomicAdd(to_image + to, factor * slope_of_output * share(place, corner));
            }
        }
    }
    Index pixels = H * W, pixel = static_cast<Index>(y) * W + x;
#pragma unroll
    for (int axis = 0; axis < D; ++axis)
        to_offsets[((static_cast<Index>(b) * N + n) * D + axis) * pixels + pixel] = narrow<T>(factor * slopes[axis]);
    if constexpr (sum) to_weights[(static_cast<Index>(b) * N + n) * pixels + pixel] = narrow<T>(voted);
}
