// What the kernels share: 16-bit values that are computed with in 32 bits, vectors of values, bilinear places.
//
// A GPU's compiler (NVRTC) sees this text in the place of the #include. In the tests a host compiler sees it as well,
// where tests/kernels/shim.h has defined what CUDA brings along. Every kernel parameter has eight bytes: pointers, and
// counts and strides as Index, in elements.

using Index = long long;  // a GPU holds more than 2^31 values

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

// V values that lie side by side and are read and written at once.
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

__device__ inline Index thread_number() { return static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; }

// The last of the digits of a number that counts through several axes; the others stay. There are fewer than 2^31
// threads, and dividing 32 bits is several times as fast as dividing 64.
__device__ inline int digit(unsigned& number, Index base) {
    unsigned quotient = number / static_cast<unsigned>(base);
    int last = static_cast<int>(number - quotient * static_cast<unsigned>(base));
    number = quotient;
    return last;
}

// Between which two cells of a row of `cells` a pixel of a row of `pixels` lies, and how far from the first:
// half-pixel centres, beyond the outermost of which the cell is repeated.
struct Between {
    int first, second;
    float share;  // of the second
};

struct Axis {
    int last;     // cell
    float scale;  // cells per pixel

    __device__ Axis(Index pixels, Index cells)
        : last(static_cast<int>(cells) - 1), scale(static_cast<float>(cells) / static_cast<float>(pixels)) {}

    __device__ Between at(int pixel) const {
        float place = fmaxf((pixel + 0.5f) * scale - 0.5f, 0.0f);
        int first = min(static_cast<int>(place), last);
        return {first, min(first + 1, last), place - first};
    }
};

__device__ inline float blend(float first, float second, float share) { return first + share * (second - first); }
