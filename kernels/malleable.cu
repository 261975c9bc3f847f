// Malleable convolution: every pixel is filtered by a kernel of its own, sliced on the fly from a coarse grid.
//
// Reference: denoise_cli/ops/malleable.py. The kernels are never stored at the image's size, nor is anything else: each
// input is read once, each output written once.
//
//   image, out  B, C, H, W          dense, planes (NCHW) or pixels (channels-last)
//   kernels     B, C, K*K, h, w     any strides
//   bias        B, C, h, w          any strides, or null
//
// Legend: B batch, C channels, H x W image, h x w grid, K kernel size (odd), V values of a vector, "tap" one of the K*K
// and, as the last, the bias.
#include "common.cuh"

constexpr int RUN = 8;  // pixels of a row that a thread of malleable_pixels filters, so as to read a cell once

// The grid at one row of pixels of one channel, whose cells are blended from top to bottom as they are read.
template <typename T>
struct Row {
    const T *kernels, *bias;
    Index kernels_tap, kernels_x, bias_x, kernels_c, bias_c;
    Index kernels_down, bias_down;  // from the upper cell to the lower
    float share;                    // of the lower

    __device__ Row(const T* kernels, const T* bias, int b, int c, Between rows, Index kernels_b, Index kernels_c,
                   Index kernels_tap, Index kernels_y, Index kernels_x, Index bias_b, Index bias_c, Index bias_y,
                   Index bias_x)
        : kernels(kernels + b * kernels_b + c * kernels_c + rows.first * kernels_y),
          bias(bias ? bias + b * bias_b + c * bias_c + rows.first * bias_y : nullptr),
          kernels_tap(kernels_tap),
          kernels_x(kernels_x),
          bias_x(bias_x),
          kernels_c(kernels_c),
          bias_c(bias_c),
          kernels_down((rows.second - rows.first) * kernels_y),
          bias_down((rows.second - rows.first) * bias_y),
          share(rows.share) {}

    // Of V channels from this one on; `packed`: they lie side by side.
    template <int V, bool packed>
    __device__ void cell(int x, int tap, int taps, float (&values)[V]) const {
        bool is_bias = tap == taps;
        const T* upper = is_bias ? bias + x * bias_x : kernels + tap * kernels_tap + x * kernels_x;
        const T* lower = upper + (is_bias ? bias_down : kernels_down);
        Index next = is_bias ? bias_c : kernels_c;
        float above[V], below[V];
        if constexpr (packed) {
            read(upper, above);
            read(lower, below);
        } else {
#pragma unroll
            for (int v = 0; v < V; ++v) {
                above[v] = wide(upper[v * next]);
                below[v] = wide(lower[v * next]);
            }
        }
#pragma unroll
        for (int v = 0; v < V; ++v) values[v] = blend(above[v], below[v], share);
    }
};

#define GRID_PARAMETERS                                                                                             \
    const T *__restrict__ kernels, const T *__restrict__ bias, Index kernels_b, Index kernels_c, Index kernels_tap, \
        Index kernels_y, Index kernels_x, Index bias_b, Index bias_c, Index bias_y, Index bias_x
#define GRID_ROW(b, c, rows)                                                                                           \
    Row<T>(kernels, bias, b, c, rows, kernels_b, kernels_c, kernels_tap, kernels_y, kernels_x, bias_b, bias_c, bias_y, \
           bias_x)

// Forward, planes. A thread filters V neighbours in a row of one channel; V divides W.
template <typename T, int K, int V>
__global__ void malleable_planes(const T* __restrict__ image, T* __restrict__ out, Index B, Index C, Index H, Index W,
                                 Index h, Index w, GRID_PARAMETERS) {
    constexpr int TAPS = K * K, R = K / 2;
    Index number = thread_number();
    if (number >= B * C * H * (W / V)) return;
    unsigned rest = static_cast<unsigned>(number);
    int start = digit(rest, W / V) * V, y = digit(rest, H), c = digit(rest, C), b = static_cast<int>(rest);
    const T* plane = image + (static_cast<Index>(b) * C + c) * H * W;
    auto row = GRID_ROW(b, c, between(y, H, h));
    int last_tap = bias ? TAPS : TAPS - 1;

    float around[K][V + K - 1];
#pragma unroll
    for (int k = 0; k < K; ++k) {
        const T* line = plane + static_cast<Index>(min(max(y + k - R, 0), static_cast<int>(H) - 1)) * W;
        float middle[V];
        read(line + start, middle);
#pragma unroll
        for (int v = 0; v < V; ++v) around[k][v + R] = middle[v];
#pragma unroll
        for (int v = 0; v < R; ++v) {
            around[k][v] = wide(line[max(start + v - R, 0)]);
            around[k][V + R + v] = wide(line[min(start + V + v, static_cast<int>(W) - 1)]);
        }
    }

    float left[TAPS + 1][1], right[TAPS + 1][1], filtered[V];
    left[TAPS][0] = right[TAPS][0] = 0.0f;
    int held = -1;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        Between columns = between(start + v, W, w);
        if (columns.first != held) {
            held = columns.first;
#pragma unroll
            for (int tap = 0; tap <= TAPS; ++tap) {
                if (tap > last_tap) break;
                row.template cell<1, false>(columns.first, tap, TAPS, left[tap]);
                row.template cell<1, false>(columns.second, tap, TAPS, right[tap]);
            }
        }
        float sum = blend(left[TAPS][0], right[TAPS][0], columns.share);
#pragma unroll
        for (int tap = 0; tap < TAPS; ++tap)
            sum += around[tap / K][v + tap % K] * blend(left[tap][0], right[tap][0], columns.share);
        filtered[v] = sum;
    }
    write(out + (static_cast<Index>(b) * C + c) * H * W + static_cast<Index>(y) * W + start, filtered);
}

// Forward, pixels. A thread filters V channels of RUN neighbours in a row; V divides C. `packed`: the channels of the
// kernels and of the bias lie side by side, too.
template <typename T, int K, int V, bool packed>
__global__ void malleable_pixels(const T* __restrict__ image, T* __restrict__ out, Index B, Index C, Index H, Index W,
                                 Index h, Index w, GRID_PARAMETERS) {
    constexpr int TAPS = K * K, R = K / 2;
    Index runs = (W + RUN - 1) / RUN, number = thread_number();
    if (number >= B * H * runs * (C / V)) return;
    unsigned rest = static_cast<unsigned>(number);
    int c = digit(rest, C / V) * V, start = digit(rest, runs) * RUN, y = digit(rest, H), b = static_cast<int>(rest);
    int end = min(start + RUN, static_cast<int>(W)), last_tap = bias ? TAPS : TAPS - 1;
    Index image_at = static_cast<Index>(b) * H * W * C + c;
    auto row = GRID_ROW(b, c, between(y, H, h));

    float left[TAPS + 1][V], right[TAPS + 1][V];
#pragma unroll
    for (int v = 0; v < V; ++v) left[TAPS][v] = right[TAPS][v] = 0.0f;
    int held = -1;
    for (int x = start; x < end; ++x) {
        Between columns = between(x, W, w);
        if (columns.first != held) {
            held = columns.first;
#pragma unroll
            for (int tap = 0; tap <= TAPS; ++tap) {
                if (tap > last_tap) break;
                row.template cell<V, packed>(columns.first, tap, TAPS, left[tap]);
                row.template cell<V, packed>(columns.second, tap, TAPS, right[tap]);
            }
        }
        float sum[V];
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] = blend(left[TAPS][v], right[TAPS][v], columns.share);
#pragma unroll
        for (int tap = 0; tap < TAPS; ++tap) {
            int from_y = min(max(y + tap / K - R, 0), static_cast<int>(H) - 1);
            int from_x = min(max(x + tap % K - R, 0), static_cast<int>(W) - 1);
            float values[V];
            read(image + image_at + (static_cast<Index>(from_y) * W + from_x) * C, values);
#pragma unroll
            for (int v = 0; v < V; ++v) sum[v] += values[v] * blend(left[tap][v], right[tap][v], columns.share);
        }
        write(out + image_at + (static_cast<Index>(y) * W + x) * C, sum);
    }
}

// Backward, to the image: every value gathers what the pixels around it took from it. One thread per value; the strides
// are those of image and gradient. Beyond the border a pixel took the nearest value, so one tap there may be several.
template <typename T, int K, bool last>
__global__ void malleable_to_image(const T* __restrict__ gradient, T* __restrict__ out, Index B, Index C, Index H,
                                   Index W, Index h, Index w, Index image_b, Index image_c, Index image_y,
                                   Index image_x, GRID_PARAMETERS) {
    constexpr int R = K / 2;
    Index number = thread_number();
    if (number >= B * C * H * W) return;
    unsigned rest = static_cast<unsigned>(number);
    int c = last ? digit(rest, C) : 0, x = digit(rest, W), y = digit(rest, H);
    if (!last) c = digit(rest, C);
    int b = static_cast<int>(rest), bottom = static_cast<int>(H) - 1, far = static_cast<int>(W) - 1;
    Index at = b * image_b + c * image_c;
    float sum = 0.0f;
    for (int from_y = max(y - R, 0); from_y <= min(y + R, bottom); ++from_y) {
        auto row = GRID_ROW(b, c, between(from_y, H, h));
        for (int from_x = max(x - R, 0); from_x <= min(x + R, far); ++from_x) {
            Between columns = between(from_x, W, w);
            float taken = 0.0f;
            for (int tap = 0; tap < K * K; ++tap) {
                bool here =
                    min(max(from_y + tap / K - R, 0), bottom) == y && min(max(from_x + tap % K - R, 0), far) == x;
                if (!here) continue;
                float left[1], right[1];
                row.template cell<1, false>(columns.first, tap, K * K, left);
                row.template cell<1, false>(columns.second, tap, K * K, right);
                taken += blend(left[0], right[0], columns.share);
            }
            sum += taken * wide(gradient[at + from_y * image_y + from_x * image_x]);
        }
    }
    out[at + y * image_y + x * image_x] = narrow<T>(sum);
}

// Backward, to the grid, without atomics, so that it comes out the same every time. Rows of pixels between the same two
// rows of cells are a band; a thread sums one part of a band, for one column of cells, by what each pixel takes from
// the upper row of cells and by what from the lower. What is left to add up is small.
//
//   sums        2 (upper, lower), parts, B, C, K*K + 1, h, w    any strides, float; the gradient of the bias is the
//   last
template <typename T, int K, bool last>
__global__ void malleable_to_grid(const T* __restrict__ gradient, const T* __restrict__ image, float* __restrict__ sums,
                                  Index parts, Index B, Index C, Index H, Index W, Index h, Index w, Index image_b,
                                  Index image_c, Index image_y, Index image_x, Index sums_side, Index sums_part,
                                  Index sums_b, Index sums_c, Index sums_tap, Index sums_y, Index sums_x) {
    constexpr int TAPS = K * K, R = K / 2;
    Index number = thread_number();
    if (number >= parts * B * C * h * w) return;
    unsigned rest = static_cast<unsigned>(number);
    int c = last ? digit(rest, C) : 0, j = digit(rest, w), i = digit(rest, h);
    if (!last) c = digit(rest, C);
    int b = digit(rest, B), part = static_cast<int>(rest), bottom = static_cast<int>(H) - 1;
    int far = static_cast<int>(W) - 1;
    Index at = b * image_b + c * image_c;
    // A pixel more at both ends, for rounding; `between` decides.
    float rows_per_cell = static_cast<float>(H) / h, columns_per_cell = static_cast<float>(W) / w;
    int top = i ? max(static_cast<int>((i + 0.5f) * rows_per_cell - 0.5f) - 1, 0) : 0;
    int low = i + 1 < h ? min(static_cast<int>((i + 1.5f) * rows_per_cell - 0.5f) + 1, bottom) : bottom;
    int start = j ? max(static_cast<int>((j - 0.5f) * columns_per_cell - 0.5f) - 1, 0) : 0;
    int end = j + 1 < w ? min(static_cast<int>((j + 1.5f) * columns_per_cell - 0.5f) + 1, far) : far;

    float upper[TAPS + 1], lower[TAPS + 1];
#pragma unroll
    for (int tap = 0; tap <= TAPS; ++tap) upper[tap] = lower[tap] = 0.0f;
    for (int y = top + part; y <= low; y += static_cast<int>(parts)) {
        Between rows = between(y, H, h);
        if (rows.first != i) continue;
        float line[TAPS + 1];
#pragma unroll
        for (int tap = 0; tap <= TAPS; ++tap) line[tap] = 0.0f;
        for (int x = start; x <= end; ++x) {
            Between columns = between(x, W, w);
            float share =
                (columns.first == j ? 1.0f - columns.share : 0.0f) + (columns.second == j ? columns.share : 0.0f);
            float weighted = share * wide(gradient[at + y * image_y + x * image_x]);
            line[TAPS] += weighted;
#pragma unroll
            for (int tap = 0; tap < TAPS; ++tap) {
                int from_y = min(max(y + tap / K - R, 0), bottom), from_x = min(max(x + tap % K - R, 0), far);
                line[tap] += weighted * wide(image[at + from_y * image_y + from_x * image_x]);
            }
        }
#pragma unroll
        for (int tap = 0; tap <= TAPS; ++tap) {
            upper[tap] += (1.0f - rows.share) * line[tap];
            lower[tap] += rows.share * line[tap];
        }
    }
    float* to = sums + part * sums_part + b * sums_b + c * sums_c + i * sums_y + j * sums_x;
#pragma unroll
    for (int tap = 0; tap <= TAPS; ++tap) {
        to[tap * sums_tap] = upper[tap];
        to[sums_side + tap * sums_tap] = lower[tap];
    }
}
