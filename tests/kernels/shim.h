// What CUDA provides, for a host compiler: a kernel is a function, and its threads run one after another.
#pragma once
#define DENOISE_HOST
#define __global__
#define __device__

#include <cmath>
#include <cstring>
#include <utility>

struct Dimension {
    unsigned x;
};
static thread_local Dimension blockIdx, blockDim, threadIdx;

template <typename Number>
static Number min(Number first, Number second) {
    return second < first ? second : first;
}
template <typename Number>
static Number max(Number first, Number second) {
    return first < second ? second : first;
}

static float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
static unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
static void atomicAdd(float* to, float value) { *to += value; }
