// Shared by the kernels: 16-bit values with 32-bit arithmetic, vectors of values, bilinear positions.
//
// The GPU's compiler (NVRTC) gets this text inlined into the other files. The tests also compile it with a host
// compiler, after tests/kernels/shim.h, which defines what CUDA provides. Every kernel parameter has eight bytes: a
// pointer, or a count or stride in elements, of type Index.

using Index = long long;  // a GPU's memory holds more than 2^31 values

struct Float16 {
    unsigned short bits;
};

struct BFloat16 {
    unsigned short bits;
};

__device__ inline float wide(float value) { return value; }

__device__ inline float wide(BFloat16 value) { return __uint_as_float(static_cast<unsigned>(value.bits) << 16); }

template <typename T>
__device__ T narrow(float value);

template <>
__device__ inline float narrow<float>(float value) {
    return value;
}

template <>
__device__ inline BFloat16 narrow<BFloat16>(float value) {
    unsigned bits = __float_as_uint(value);
    if (value != value) return {static_cast<unsigned short>((bits >> 16) | 0x40)};
    return {static_cast<unsigned short>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};  // to the nearest, ties to even
}

#ifndef DENOISE_HOST
__device__ inline float wide(Float16 value) {
    float widened;
    asm("cvt.f32.f16 %0, %1;" : "=f"(widened) : "h"(value.bits));
    return widened;
}

template <>
__device__ inline Float16 narrow<Float16>(float value) {
    Float16 narrowed;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrowed.bits) : "f"(value));
    return narrowed;
}
#endif

// V adjacent values that are read and written at once.
template <typename T, int V>
struct alignas(sizeof(T) * V) Vector {
    T values[V];
};

template <typename T, int V>
__device__ inline void read(const T* from, float (&values)[V]) {
    Vector<T, V> vector = *reinterpret_cast<const Vector<T, V>*>(from);
#pragma unroll
    for (int v = 0; v < V; ++v) values[v] = wide(vector.values[v]);
}

template <typename T, int V>
__device__ inline void write(T* to, const float (&values)[V]) {
    Vector<T, V> vector;
#pragma unroll
    for (int v = 0; v < V; ++v) vector.values[v] = narrow<T>(values[v]);
    *reinterpret_cast<Vector<T, V>*>(to) = vector;
}

__device__ inline Index thread_index() { return static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; }

// Splits the fastest axis, of size `size`, off a flat index: returns the position along it and leaves the rest in
// `index`. There are fewer than 2^31 threads, and a 32-bit division is several times as fast as a 64-bit one.
__device__ inline int split_axis(unsigned& index, Index size) {
    unsigned quotient = index / static_cast<unsigned>(size);
    int position = static_cast<int>(index - quotient * static_cast<unsigned>(size));
    index = quotient;
    return position;
}

// The two cells that a pixel's kernel is interpolated from along one axis.
struct CellPair {
    int first, second;
    float weight;  // of the second cell
};

// A row of `cells` stretched over a row of `pixels` with half-pixel centres; the outermost cells are repeated.
struct Axis {
    int last_cell;
    float cells_per_pixel;

    __device__ Axis(Index pixels, Index cells)
        : last_cell(static_cast<int>(cells) - 1),
          cells_per_pixel(static_cast<float>(cells) / static_cast<float>(pixels)) {}

    __device__ CellPair at(int pixel) const {
        float position = fmaxf((pixel + 0.5f) * cells_per_pixel - 0.5f, 0.0f);
        int first = min(static_cast<int>(position), last_cell);
        return {first, min(first + 1, last_cell), position - first};
    }
};

__device__ inline float blend(float first, float second, float weight) { return first + weight * (second - first); }
