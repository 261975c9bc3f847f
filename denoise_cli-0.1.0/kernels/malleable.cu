// Malleable convolution: every pixel is filtered with its own kernel, sliced on the fly from a coarse grid.
//
// Reference: denoise_cli/ops/malleable.py. Neither the kernels nor anything else is stored at the image's size: each
// input is read once, and each output is written once.
//
//   image, out  B, C, H, W          dense, as planes (NCHW) or pixels (channels last)
//   kernels     B, C, K*K, h, w     any strides
//   bias        B, C, h, w          any strides, or null
//
// Legend: B batch, C channels, H x W image, h x w grid, K kernel size (odd), V values in a vector; a "tap" is one of
// the K*K values of a kernel or, as the last tap, the bias.
#include "common.cuh"

constexpr int RUN = 8;   // pixels of a row that a thread of malleable_pixels filters, to read each cell only once
constexpr int ROWS = 8;  // rows that a thread of malleable_planes filters, for the same reason

// The grid at one channel and the V - 1 channels after it.
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

    // Reads one tap of one cell; `packed`: its V channels are adjacent. A missing bias is zero.
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

// Reads V adjacent pixels of a row and K / 2 more on both sides; beyond the border its last pixel is repeated.
template <typename T, int K, int V>
__device__ void read_window(const T* line, int start, int last_column, float (&values)[V + K - 1]) {
    constexpr int R = K / 2;
    float middle[V];
    read(line + start, middle);
#pragma unroll
    for (int v = 0; v < V; ++v) values[v + R] = middle[v];
#pragma unroll
    for (int v = 0; v < R; ++v) {
        values[v] = wide(line[max(start + v - R, 0)]);
        values[V + R + v] = wide(line[min(start + V + v, last_column)]);
    }
}

// Forward, planes. A thread filters V adjacent pixels in ROWS rows of one channel; V divides W. Between the same two
// rows of cells, all pixels of a column share the kernel in the upper row and its change to the lower row.
template <typename T, int K, int V>
__global__ void malleable_planes(const T* __restrict__ image, T* __restrict__ out, Index B, Index C, Index H, Index W,
                                 Index h, Index w, GRID_PARAMETERS) {
    constexpr int TAPS = K * K, R = K / 2;
    Index bands = (H + ROWS - 1) / ROWS, index = thread_index();
    if (index >= B * C * bands * (W / V)) return;
    unsigned rest = static_cast<unsigned>(index);
    int start = split_axis(rest, W / V) * V, top = split_axis(rest, bands) * ROWS;
    int c = split_axis(rest, C), b = static_cast<int>(rest);
    int last_row = static_cast<int>(H) - 1, last_column = static_cast<int>(W) - 1, end = min(top + ROWS, last_row + 1);
    Index plane = (static_cast<Index>(b) * C + c) * H * W;
    auto grid = GRID(b, c);
    Axis rows(H, h), columns(W, w);

    float window[K][V + K - 1];  // its last row is read in the loop
#pragma unroll
    for (int k = 0; k + 1 < K; ++k) {
        const T* line = image + plane + static_cast<Index>(max(top + k - R, 0)) * W;
        read_window<T, K, V>(line, start, last_column, window[k + 1]);
    }
    float upper[TAPS + 1][V], change[TAPS + 1][V];
    int cached_row = -1;
    for (int y = top; y < end; ++y) {
        CellPair row = rows.at(y);
        if (row.first != cached_row) {
            cached_row = row.first;
#pragma unroll
            for (int tap = 0; tap <= TAPS; ++tap) {
                float left[2], right[2];
                int cached_column = -1;
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    CellPair column = columns.at(start + v);
                    if (column.first != cached_column) {
                        cached_column = column.first;
#pragma unroll
                        for (int second = 0; second < 2; ++second) {
                            float cell[1];
                            int from = second ? row.second : row.first;
                            grid.template cell<1, false>(from, column.first, tap, TAPS, cell);
                            left[second] = cell[0];
                            grid.template cell<1, false>(from, column.second, tap, TAPS, cell);
                            right[second] = cell[0];
                        }
                    }
                    upper[tap][v] = blend(left[0], right[0], column.weight);
                    change[tap][v] = blend(left[1], right[1], column.weight) - upper[tap][v];
                }
            }
        }
#pragma unroll
        for (int k = 0; k + 1 < K; ++k)
#pragma unroll
            for (int v = 0; v < V + K - 1; ++v) window[k][v] = window[k + 1][v];
        const T* line = image + plane + static_cast<Index>(min(y + R, last_row)) * W;
        read_window<T, K, V>(line, start, last_column, window[K - 1]);
        float filtered[V];
#pragma unroll
        for (int v = 0; v < V; ++v) {
            filtered[v] = upper[TAPS][v] + row.weight * change[TAPS][v];
#pragma unroll
            for (int tap = 0; tap < TAPS; ++tap)
                filtered[v] += window[tap / K][v + tap % K] * (upper[tap][v] + row.weight * change[tap][v]);
        }
        write(out + plane + static_cast<Index>(y) * W + start, filtered);
    }
}

// Forward, pixels. A thread filters V channels of RUN adjacent pixels in a row; V divides C. `packed`: the channels of
// the kernels and of the bias are adjacent, too.
template <typename T, int K, int V, bool packed>
__global__ void malleable_pixels(const T* __restrict__ image, T* __restrict__ out, Index B, Index C, Index H, Index W,
                                 Index h, Index w, GRID_PARAMETERS) {
    constexpr int TAPS = K * K, R = K / 2;
    Index runs = (W + RUN - 1) / RUN, index = thread_index();
    if (index >= B * H * runs * (C / V)) return;
    unsigned rest = static_cast<unsigned>(index);
    int c = split_axis(rest, C / V) * V, start = split_axis(rest, runs) * RUN, y = split_axis(rest, H);
    int b = static_cast<int>(rest), end = min(start + RUN, static_cast<int>(W));
    int last_row = static_cast<int>(H) - 1, last_column = static_cast<int>(W) - 1;
    Index image_at = static_cast<Index>(b) * H * W * C + c;
    auto grid = GRID(b, c);
    CellPair row = Axis(H, h).at(y);
    Axis columns(W, w);

    float left[TAPS + 1][V], change[TAPS + 1][V];  // the kernel in the left column of cells, its change to the right
    int cached_column = -1;
#pragma unroll 2
    for (int x = start; x < end; ++x) {
        CellPair column = columns.at(x);
        if (column.first != cached_column) {
            cached_column = column.first;
#pragma unroll
            for (int tap = 0; tap <= TAPS; ++tap) {
                float above[V], below[V], right[V];
                grid.template cell<V, packed>(row.first, column.first, tap, TAPS, above);
                grid.template cell<V, packed>(row.second, column.first, tap, TAPS, below);
#pragma unroll
                for (int v = 0; v < V; ++v) left[tap][v] = blend(above[v], below[v], row.weight);
                grid.template cell<V, packed>(row.first, column.second, tap, TAPS, above);
                grid.template cell<V, packed>(row.second, column.second, tap, TAPS, below);
#pragma unroll
                for (int v = 0; v < V; ++v) right[v] = blend(above[v], below[v], row.weight);
#pragma unroll
                for (int v = 0; v < V; ++v) change[tap][v] = right[v] - left[tap][v];
            }
        }
        float filtered[V];
#pragma unroll
        for (int v = 0; v < V; ++v) filtered[v] = left[TAPS][v] + column.weight * change[TAPS][v];
#pragma unroll
        for (int tap = 0; tap < TAPS; ++tap) {
            int from_y = min(max(y + tap / K - R, 0), last_row), from_x = min(max(x + tap % K - R, 0), last_column);
            float values[V];
            read(image + image_at + (static_cast<Index>(from_y) * W + from_x) * C, values);
#pragma unroll
            for (int v = 0; v < V; ++v) filtered[v] += values[v] * (left[tap][v] + column.weight * change[tap][v]);
        }
        write(out + image_at + (static_cast<Index>(y) * W + x) * C, filtered);
    }
}

// Backward, to the image: every value gathers the gradients of the pixels around it that were computed from it. One
// thread per value; image and gradient have the same strides. Beyond the border the forward pass repeats the nearest
// value, so several taps of a pixel may have read the same value.
template <typename T, int K, bool channels_last>
__global__ void malleable_to_image(const T* __restrict__ gradient, T* __restrict__ out, Index B, Index C, Index H,
                                   Index W, Index h, Index w, Index image_b, Index image_c, Index image_y,
                                   Index image_x, GRID_PARAMETERS) {
    constexpr int R = K / 2;
    Index index = thread_index();
    if (index >= B * C * H * W) return;
    unsigned rest = static_cast<unsigned>(index);
    int c = channels_last ? split_axis(rest, C) : 0, x = split_axis(rest, W), y = split_axis(rest, H);
    if (!channels_last) c = split_axis(rest, C);
    int b = static_cast<int>(rest), last_row = static_cast<int>(H) - 1, last_column = static_cast<int>(W) - 1;
    Index at = b * image_b + c * image_c;
    auto grid = GRID(b, c);
    Axis rows(H, h), columns(W, w);
    float sum = 0.0f;
    for (int from_y = max(y - R, 0); from_y <= min(y + R, last_row); ++from_y) {
        CellPair row = rows.at(from_y);
        for (int from_x = max(x - R, 0); from_x <= min(x + R, last_column); ++from_x) {
            CellPair column = columns.at(from_x);
            float total_weight = 0.0f;
            for (int tap = 0; tap < K * K; ++tap) {
                bool was_read = min(max(from_y + tap / K - R, 0), last_row) == y &&
                                min(max(from_x + tap % K - R, 0), last_column) == x;
                if (!was_read) continue;
                float corners[4][1];
#pragma unroll
                for (int corner = 0; corner < 4; ++corner)
                    grid.template cell<1, false>(corner & 2 ? row.second : row.first,
                                                 corner & 1 ? column.second : column.first, tap, K * K,
                                                 corners[corner]);
                total_weight += blend(blend(corners[0][0], corners[1][0], column.weight),
                                      blend(corners[2][0], corners[3][0], column.weight), row.weight);
            }
            sum += total_weight * wide(gradient[at + from_y * image_y + from_x * image_x]);
        }
    }
    out[at + y * image_y + x * image_x] = narrow<T>(sum);
}

// Backward, to the grid, without atomics, so that the result is deterministic. The rows of pixels between two rows of
// cells form a band. A thread sums one part of a band for one column of cells, once weighted by each pixel's share of
// the upper row of cells and once by its share of the lower row. Little remains to be added up afterwards.
//
//   sums        2 (upper, lower), parts, B, C, K*K + 1, h, w    any strides, float; the bias is the last tap
template <typename T, int K, bool channels_last>
__global__ void malleable_to_grid(const T* __restrict__ gradient, const T* __restrict__ image, float* __restrict__ sums,
                                  Index parts, Index B, Index C, Index H, Index W, Index h, Index w, Index image_b,
                                  Index image_c, Index image_y, Index image_x, Index sums_side, Index sums_part,
                                  Index sums_b, Index sums_c, Index sums_tap, Index sums_y, Index sums_x) {
    constexpr int TAPS = K * K, R = K / 2;
    Index index = thread_index();
    if (index >= parts * B * C * h * w) return;
    unsigned rest = static_cast<unsigned>(index);
    int c = channels_last ? split_axis(rest, C) : 0, j = split_axis(rest, w), i = split_axis(rest, h);
    if (!channels_last) c = split_axis(rest, C);
    int b = split_axis(rest, B), part = static_cast<int>(rest), last_row = static_cast<int>(H) - 1;
    int last_column = static_cast<int>(W) - 1;
    Index at = b * image_b + c * image_c;
    // The ranges are a pixel larger at both ends, in case of rounding; `Axis` decides which pixels count.
    float rows_per_cell = static_cast<float>(H) / h, columns_per_cell = static_cast<float>(W) / w;
    int top = i ? max(static_cast<int>((i + 0.5f) * rows_per_cell - 0.5f) - 1, 0) : 0;
    int bottom = i + 1 < h ? min(static_cast<int>((i + 1.5f) * rows_per_cell - 0.5f) + 1, last_row) : last_row;
    int start = j ? max(static_cast<int>((j - 0.5f) * columns_per_cell - 0.5f) - 1, 0) : 0;
    int end = j + 1 < w ? min(static_cast<int>((j + 1.5f) * columns_per_cell - 0.5f) + 1, last_column) : last_column;

    Axis rows(H, h), columns(W, w);
    float upper[TAPS + 1], lower[TAPS + 1];
#pragma unroll
    for (int tap = 0; tap <= TAPS; ++tap) upper[tap] = lower[tap] = 0.0f;
    for (int y = top + part; y <= bottom; y += static_cast<int>(parts)) {
        CellPair row = rows.at(y);
        if (row.first != i) continue;
        float line[TAPS + 1];
#pragma unroll
        for (int tap = 0; tap <= TAPS; ++tap) line[tap] = 0.0f;
        for (int x = start; x <= end; ++x) {
            CellPair column = columns.at(x);
            float weight =
                (column.first == j ? 1.0f - column.weight : 0.0f) + (column.second == j ? column.weight : 0.0f);
            float weighted = weight * wide(gradient[at + y * image_y + x * image_x]);
            line[TAPS] += weighted;
#pragma unroll
            for (int tap = 0; tap < TAPS; ++tap) {
                int from_y = min(max(y + tap / K - R, 0), last_row), from_x = min(max(x + tap % K - R, 0), last_column);
                line[tap] += weighted * wide(image[at + from_y * image_y + from_x * image_x]);
            }
        }
#pragma unroll
        for (int tap = 0; tap <= TAPS; ++tap) {
            upper[tap] += (1.0f - row.weight) * line[tap];
            lower[tap] += row.weight * line[tap];
        }
    }
    float* to = sums + part * sums_part + b * sums_b + c * sums_c + i * sums_y + j * sums_x;
#pragma unroll
    for (int tap = 0; tap <= TAPS; ++tap) {
        to[tap * sums_tap] = upper[tap];
        to[sums_side + tap * sums_tap] = lower[tap];
    }
}
