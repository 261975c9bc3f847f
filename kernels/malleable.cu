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

constexpr int RUN = 8;   // pixels of a row that a thread of malleable_pixels filters, so as to read a cell once
constexpr int ROWS = 8;  // rows that a thread of malleable_planes filters, for the same reason

// The grid at one channel, and V - 1 more.
template <typename T>
struct Grid {
    const T *kernels, *bias;
    Index kernels_c, kernels_tap, kernels_y, kernels_x, bias_c, bias_y, bias_x;

    __device__ Grid(int b, int c, const T* kernels, const T* bias, Index kernels_b, Index kernels_c, Index kernels_tap,
                    Index kernels_y, Index kernels_x, Index bias_b, Index bias_c, Index bias_y, Index bias_x)
        : kernels(kernels + b * kernels_b + c * kernels_c),
          bias(bias ? bias + b * bias_b + c * bias_c : nullptr),
          kernels_c(kernels_c),
          kernels_tap(kernels_tap),
          kernels_y(kernels_y),
          kernels_x(kernels_x),
          bias_c(bias_c),
          bias_y(bias_y),
          bias_x(bias_x) {}

    // One cell; `packed`: its V channels lie side by side. Without a bias, that is zero.
    template <int V, bool packed>
    __device__ void cell(int y, int x, int tap, int taps, float (&values)[V]) const {
        bool is_bias = tap == taps;
        if (is_bias && !bias) {
#pragma unroll
            for (int v = 0; v < V; ++v) values[v] = 0.0f;
            return;
        }
        const T* from =
            is_bias ? bias + y * bias_y + x * bias_x : kernels + tap * kernels_tap + y * kernels_y + x * kernels_x;
        if constexpr (packed) {
            read(from, values);
        } else {
#pragma unroll
            for (int v = 0; v < V; ++v) values[v] = wide(from[v * (is_bias ? bias_c : kernels_c)]);
        }
    }
};

#define GRID_PARAMETERS                                                                                             \
    const T *__restrict__ kernels, const T *__restrict__ bias, Index kernels_b, Index kernels_c, Index kernels_tap, \
        Index kernels_y, Index kernels_x, Index bias_b, Index bias_c, Index bias_y, Index bias_x
#define GRID(b, c)                                                                                                \
    Grid<T>(b, c, kernels, bias, kernels_b, kernels_c, kernels_tap, kernels_y, kernels_x, bias_b, bias_c, bias_y, \
            bias_x)

// V neighbours of a row of an image, and K / 2 more on both sides; beyond the border its last pixel is repeated.
template <typename T, int K, int V>
__device__ void read_around(const T* line, int start, int far, float (&values)[V + K - 1]) {
    constexpr int R = K / 2;
    float middle[V];
    read(line + start, middle);
#pragma unroll
    for (int v = 0; v < V; ++v) values[v + R] = middle[v];
#pragma unroll
    for (int v = 0; v < R; ++v) {
        values[v] = wide(line[max(start + v - R, 0)]);
        values[V + R + v] = wide(line[min(start + V + v, far)]);
    }
}

// Forward, planes. A thread filters V neighbours in ROWS rows of one channel; V divides W. Between the same two rows of
// cells, what a pixel's kernel is in the upper one and how much it changes to the lower one stay the same in a column.
template <typename T, int K, int V>
__global__ void malleable_planes(const T* __restrict__ image, T* __restrict__ out, Index B, Index C, Index H, Index W,
                                 Index h, Index w, GRID_PARAMETERS) {
    constexpr int TAPS = K * K, R = K / 2;
    Index bands = (H + ROWS - 1) / ROWS, number = thread_number();
    if (number >= B * C * bands * (W / V)) return;
    unsigned rest = static_cast<unsigned>(number);
    int start = digit(rest, W / V) * V, top = digit(rest, bands) * ROWS, c = digit(rest, C), b = static_cast<int>(rest);
    int bottom = static_cast<int>(H) - 1, far = static_cast<int>(W) - 1, end = min(top + ROWS, bottom + 1);
    Index plane = (static_cast<Index>(b) * C + c) * H * W;
    auto grid = GRID(b, c);
    Axis rows(H, h), columns(W, w);

    float around[K][V + K - 1];  // the last row is read when its turn comes
#pragma unroll
    for (int k = 0; k + 1 < K; ++k)
        read_around<T, K, V>(image + plane + static_cast<Index>(max(top + k - R, 0)) * W, start, far, around[k + 1]);
    float upper[TAPS + 1][V], change[TAPS + 1][V];
    int held = -1;
    for (int y = top; y < end; ++y) {
        Between row = rows.at(y);
        if (row.first != held) {
            held = row.first;
#pragma unroll
            for (int tap = 0; tap <= TAPS; ++tap) {
                float left[2], right[2];
                int held_column = -1;
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    Between column = columns.at(start + v);
                    if (column.first != held_column) {
                        held_column = column.first;
#pragma unroll
                        for (int low = 0; low < 2; ++low) {
                            float cell[1];
                            int from = low ? row.second : row.first;
                            grid.template cell<1, false>(from, column.first, tap, TAPS, cell);
                            left[low] = cell[0];
                            grid.template cell<1, false>(from, column.second, tap, TAPS, cell);
                            right[low] = cell[0];
                        }
                    }
                    upper[tap][v] = blend(left[0], right[0], column.share);
                    change[tap][v] = blend(left[1], right[1], column.share) - upper[tap][v];
                }
            }
        }
#pragma unroll
        for (int k = 0; k + 1 < K; ++k)
#pragma unroll
            for (int v = 0; v < V + K - 1; ++v) around[k][v] = around[k + 1][v];
        read_around<T, K, V>(image + plane + static_cast<Index>(min(y + R, bottom)) * W, start, far, around[K - 1]);
        float filtered[V];
#pragma unroll
        for (int v = 0; v < V; ++v) {
            filtered[v] = upper[TAPS][v] + row.share * change[TAPS][v];
#pragma unroll
            for (int tap = 0; tap < TAPS; ++tap)
                filtered[v] += around[tap / K][v + tap % K] * (upper[tap][v] + row.share * change[tap][v]);
        }
        write(out + plane + static_cast<Index>(y) * W + start, filtered);
    }
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
    int end = min(start + RUN, static_cast<int>(W)), bottom = static_cast<int>(H) - 1, far = static_cast<int>(W) - 1;
    Index image_at = static_cast<Index>(b) * H * W * C + c;
    auto grid = GRID(b, c);
    Between row = Axis(H, h).at(y);
    Axis columns(W, w);

    float left[TAPS + 1][V], change[TAPS + 1][V];  // in one column of cells, and to the next
    int held = -1;
#pragma unroll 2
    for (int x = start; x < end; ++x) {
        Between column = columns.at(x);
        if (column.first != held) {
            held = column.first;
#pragma unroll
            for (int tap = 0; tap <= TAPS; ++tap) {
                float above[V], below[V], right[V];
                grid.template cell<V, packed>(row.first, column.first, tap, TAPS, above);
                grid.template cell<V, packed>(row.second, column.first, tap, TAPS, below);
#pragma unroll
                for (int v = 0; v < V; ++v) left[tap][v] = blend(above[v], below[v], row.share);
                grid.template cell<V, packed>(row.first, column.second, tap, TAPS, above);
                grid.template cell<V, packed>(row.second, column.second, tap, TAPS, below);
#pragma unroll
                for (int v = 0; v < V; ++v) right[v] = blend(above[v], below[v], row.share);
#pragma unroll
                for (int v = 0; v < V; ++v) change[tap][v] = right[v] - left[tap][v];
            }
        }
        float filtered[V];
#pragma unroll
        for (int v = 0; v < V; ++v) filtered[v] = left[TAPS][v] + column.share * change[TAPS][v];
#pragma unroll
        for (int tap = 0; tap < TAPS; ++tap) {
            int from_y = min(max(y + tap / K - R, 0), bottom), from_x = min(max(x + tap % K - R, 0), far);
            float values[V];
            read(image + image_at + (static_cast<Index>(from_y) * W + from_x) * C, values);
#pragma unroll
            for (int v = 0; v < V; ++v) filtered[v] += values[v] * (left[tap][v] + column.share * change[tap][v]);
        }
        write(out + image_at + (static_cast<Index>(y) * W + x) * C, filtered);
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
    auto grid = GRID(b, c);
    Axis rows(H, h), columns(W, w);
    float sum = 0.0f;
    for (int from_y = max(y - R, 0); from_y <= min(y + R, bottom); ++from_y) {
        Between row = rows.at(from_y);
        for (int from_x = max(x - R, 0); from_x <= min(x + R, far); ++from_x) {
            Between column = columns.at(from_x);
            float taken = 0.0f;
            for (int tap = 0; tap < K * K; ++tap) {
                bool here =
                    min(max(from_y + tap / K - R, 0), bottom) == y && min(max(from_x + tap % K - R, 0), far) == x;
                if (!here) continue;
                float corners[4][1];
#pragma unroll
                for (int corner = 0; corner < 4; ++corner)
                    grid.template cell<1, false>(corner & 2 ? row.second : row.first,
                                                 corner & 1 ? column.second : column.first, tap, K * K,
                                                 corners[corner]);
                taken += blend(blend(corners[0][0], corners[1][0], column.share),
                               blend(corners[2][0], corners[3][0], column.share), row.share);
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
    // A pixel more at both ends, for rounding; `Axis` decides.
    float rows_per_cell = static_cast<float>(H) / h, columns_per_cell = static_cast<float>(W) / w;
    int top = i ? max(static_cast<int>((i + 0.5f) * rows_per_cell - 0.5f) - 1, 0) : 0;
    int low = i + 1 < h ? min(static_cast<int>((i + 1.5f) * rows_per_cell - 0.5f) + 1, bottom) : bottom;
    int start = j ? max(static_cast<int>((j - 0.5f) * columns_per_cell - 0.5f) - 1, 0) : 0;
    int end = j + 1 < w ? min(static_cast<int>((j + 1.5f) * columns_per_cell - 0.5f) + 1, far) : far;

    Axis rows(H, h), columns(W, w);
    float upper[TAPS + 1], lower[TAPS + 1];
#pragma unroll
    for (int tap = 0; tap <= TAPS; ++tap) upper[tap] = lower[tap] = 0.0f;
    for (int y = top + part; y <= low; y += static_cast<int>(parts)) {
        Between row = rows.at(y);
        if (row.first != i) continue;
        float line[TAPS + 1];
#pragma unroll
        for (int tap = 0; tap <= TAPS; ++tap) line[tap] = 0.0f;
        for (int x = start; x <= end; ++x) {
            Between column = columns.at(x);
            float share = (column.first == j ? 1.0f - column.share : 0.0f) + (column.second == j ? column.share : 0.0f);
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
            upper[tap] += (1.0f - row.share) * line[tap];
            lower[tap] += row.share * line[tap];
        }
    }
    float* to = sums + part * sums_part + b * sums_b + c * sums_c + i * sums_y + j * sums_x;
#pragma unroll
    for (int tap = 0; tap <= TAPS; ++tap) {
        to[tap * sums_tap] = upper[tap];
        to[sums_side + tap * sums_tap] = lower[tap];
    }
}
