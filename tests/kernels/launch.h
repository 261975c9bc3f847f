// Included after the kernels: float16 conversions, which are machine code on a GPU, and a function that runs a kernel.
#pragma once

static float wide(Float16 value) {
    _Float16 half;
    std::memcpy(&half, &value.bits, sizeof half);
    return static_cast<float>(half);
}

template <>
Float16 narrow<Float16>(float value) {
    _Float16 half = static_cast<_Float16>(value);
    Float16 narrowed;
    std::memcpy(&narrowed.bits, &half, sizeof half);
    return narrowed;
}

template <typename Parameter>
static Parameter argument(Index number) {
    if constexpr (std::is_pointer_v<Parameter>) {
        return reinterpret_cast<Parameter>(number);
    } else {
        return number;
    }
}

template <typename... Parameters, std::size_t... places>
static void run(void (*kernel)(Parameters...), Index blocks, Index threads, const Index* numbers,
                std::index_sequence<places...>) {
    blockDim.x = static_cast<unsigned>(threads);
    for (Index block = 0; block < blocks; ++block)
        for (Index thread = 0; thread < threads; ++thread) {
            blockIdx.x = static_cast<unsigned>(block);
            threadIdx.x = static_cast<unsigned>(thread);
            kernel(argument<Parameters>(numbers[places])...);
        }
}

// Runs the kernel and returns true if it has this number of parameters.
template <typename... Parameters>
static bool run(void (*kernel)(Parameters...), Index blocks, Index threads, const Index* numbers, Index count) {
    if (count != sizeof...(Parameters)) return false;
    run(kernel, blocks, threads, numbers, std::index_sequence_for<Parameters...>());
    return true;
}
