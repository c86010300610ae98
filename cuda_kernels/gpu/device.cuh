// What all kernels share: storage, vector access, how threads lie over pixels and channels, sums within a warp.
//
// NVRTC compiles this for a GPU, without any header of the toolkit; a C++ compiler compiles the same text under the
// tests' emulation, which defines EMULATED and what the language lacks.
#pragma once

constexpr int THREADS = 256;  // a block
constexpr int WARPS = THREADS / 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// Shared memory goes through this macro, so that the emulation can poison it for every block; and it is told of every
// wide access, to see that it is aligned and within a tensor.
#ifndef EMULATED
#define SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define TOUCH(at, bytes)
#define TOUCH_SHARED(at, bytes)
#endif

// Storage: float or bf16; arithmetic is float.
struct bf16 {
    unsigned short bits;
};

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

__device__ inline float relu(float x) { return x <= 0.f ? 0.f : x; }  // NaN stays NaN

template <typename S> __device__ inline S to_storage(float x);
template <> __device__ inline float to_storage<float>(float x) { return x; }
template <> __device__ inline bf16 to_storage<bf16>(float x) {  // to the nearest, ties to even; NaN stays NaN
    bf16 y;
#ifdef EMULATED
    y.bits = round_to_bf16(x);
#else
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#endif
    return y;
}

// Two bf16 in a word, the first in its low half.
__device__ inline unsigned to_pair(float low, float high) {
#ifdef EMULATED
    return round_to_bf16(low) | static_cast<unsigned>(round_to_bf16(high)) << 16;
#else
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#endif
}
__device__ inline float low_of(unsigned pair) { return __uint_as_float(pair << 16); }
__device__ inline float high_of(unsigned pair) { return __uint_as_float(pair & 0xffff0000u); }

// N values that one instruction reads or writes; the address must be a multiple of their size, which is at most 16 bytes.
template <typename S, int N> struct alignas(sizeof(S) * N) Pack {
    S x[N];
};

template <int N, typename S> __device__ inline Pack<S, N> read(const S* at) {
    TOUCH(at, sizeof(S) * N);
    return *reinterpret_cast<const Pack<S, N>*>(at);
}
template <int N, typename S> __device__ inline void write(S* at, const float* values) {
    TOUCH(at, sizeof(S) * N);
    if constexpr (sizeof(S) == 2 && N > 1) {  // as words: packs of halves were seen to be stored piece by piece
        Pack<unsigned, N / 2> words;
#pragma unroll
        for (int i = 0; i < N / 2; ++i)
            words.x[i] = to_storage<S>(values[2 * i]).bits |
                         static_cast<unsigned>(to_storage<S>(values[2 * i + 1]).bits) << 16;
        *reinterpret_cast<Pack<unsigned, N / 2>*>(at) = words;
    } else {
        Pack<S, N> pack;
#pragma unroll
        for (int i = 0; i < N; ++i) pack.x[i] = to_storage<S>(values[i]);
        *reinterpret_cast<Pack<S, N>*>(at) = pack;
    }
}

// As `read`, of what nothing writes meanwhile, and issued where it stands: a compiler that moves reads to where they
// are used lets one wait for the other.
template <int N, typename S> __device__ inline Pack<S, N> read_early(const S* at) {
#ifndef EMULATED
    if constexpr (sizeof(S) * N == 16) {
        Pack<unsigned, 4> words;
        asm volatile("ld.global.nc.v4.b32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(words.x[0]), "=r"(words.x[1]), "=r"(words.x[2]), "=r"(words.x[3])
                     : "l"(at));
        return *reinterpret_cast<const Pack<S, N>*>(&words);
    }
#endif
    return read<N>(at);
}

// `read` and `write` of packs in shared memory.
template <int N, typename S> __device__ inline Pack<S, N> from_shared(const S* at) {
    TOUCH_SHARED(at, sizeof(S) * N);
    return *reinterpret_cast<const Pack<S, N>*>(at);
}
template <int N, typename S> __device__ inline void to_shared(S* at, const Pack<S, N>& pack) {
    TOUCH_SHARED(at, sizeof(S) * N);
    *reinterpret_cast<Pack<S, N>*>(at) = pack;
}

// Two values of storage in shared memory, as floats.
__device__ inline Pack<float, 2> pair_from_shared(const float* at) { return from_shared<2>(at); }
__device__ inline Pack<float, 2> pair_from_shared(const bf16* at) {
    const unsigned pair = from_shared<1>(reinterpret_cast<const unsigned*>(at)).x[0];
    return {{low_of(pair), high_of(pair)}};
}

// A pointer out of a table, of which the compiler cannot know that it is to global memory.
template <typename S> __device__ inline const S* in_global(const S* at) {
#ifndef EMULATED
    __builtin_assume(__isGlobal(at));
#endif
    return at;
}

__host__ __device__ constexpr int power_of_two_from(int n) {
    int power = 1;
    while (power < n) power *= 2;
    return power;
}
__host__ __device__ constexpr int smaller(int a, int b) { return a < b ? a : b; }

// A block over channels-last data: LANES threads lie side by side over a tile of TILE channels, VEC each, and ROWS pixels
// lie below one another. LANES is a power of two, so that a warp holds whole rows; threads behind the last channel idle.
// supernet/cuda_kernels/geometry.py computes the same.
template <int C, int VEC> struct Geometry {
    static constexpr int LANES = smaller(power_of_two_from((C + VEC - 1) / VEC), smaller(32, 64 / VEC));
    static constexpr int TILE = LANES * VEC;
    static constexpr int ROWS = THREADS / LANES;
};

// Sums `values[0 .. N)` over the lanes whose numbers agree modulo STEP. Each of them keeps N * STEP / 32 of the sums, at
// the front of `values`; returned is the index of the first. Halving what is sent at every exchange takes N shuffles
// where a butterfly a value would take 5 N. The order of the additions is fixed.
template <int N, int STEP, int DISTANCE = 16> __device__ inline int sum_and_scatter(float* values, int lane) {
    if constexpr (DISTANCE < STEP) {
        return 0;
    } else {
        constexpr int HALF = N / 2;
        static_assert(HALF * 2 == N, "there must be at least as many values as lanes to sum over");
        const bool upper = lane & DISTANCE;
#pragma unroll
        for (int i = 0; i < HALF; ++i) {
            const float keep = upper ? values[i + HALF] : values[i];
            const float send = upper ? values[i] : values[i + HALF];
            values[i] = keep + __shfl_xor_sync(ALL_LANES, send, DISTANCE);
        }
        return (upper ? HALF : 0) + sum_and_scatter<HALF, STEP, DISTANCE / 2>(values, lane);
    }
}
