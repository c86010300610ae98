// What the CPU bodies share: vectors of channels, access to channels-last memory, pieces of work for threads.
//
// Any C++17 compiler with vector extensions will do. No OpenMP is compiled in: `parallel` calls the GNU entry of the
// runtime that PyTorch has loaded (its address is handed over when the library is loaded), so that there is
// one pool of threads in the process and not two. Work is cut into pieces by shapes alone, and sums over pieces are
// added in their order: the same bits whatever the number of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int L = 16;  // lanes: channels of one vector
#elif defined(__AVX__)
constexpr int L = 8;
#else
constexpr int L = 4;
#endif
constexpr int PX = 8;  // pixels that the separable bodies keep in registers

typedef float vec __attribute__((vector_size(L * 4)));
typedef int32_t veci __attribute__((vector_size(L * 4)));
typedef float unaligned __attribute__((vector_size(L * 4), aligned(4), may_alias));

#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

static INLINE vec load(const float* at) { return *reinterpret_cast<const unaligned*>(at); }
static INLINE void store(float* at, vec x) { *reinterpret_cast<unaligned*>(at) = x; }
static INLINE vec splat(float x) { return vec{} + x; }  // not for -0
static INLINE vec positive(vec x) { return x <= 0.f ? vec{} : x; }  // relu: NaN stays

// The first n of L channels; the others read as 0 and are not written.
static INLINE vec load(const float* at, int n) {
    if (n >= L) return load(at);
#ifdef __AVX512F__
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), at);
#else
    vec x{};
    for (int i = 0; i < n; i++) x[i] = at[i];
    return x;
#endif
}
static INLINE void store(float* at, vec x, int n) {
    if (n >= L) return store(at, x);
#ifdef __AVX512F__
    _mm512_mask_storeu_ps(at, (__mmask16)((1u << n) - 1), (__m512)x);
#else
    for (int i = 0; i < n; i++) at[i] = x[i];
#endif
}

// Brings memory near that is written next: otherwise stores wait for it. edge_group took 1.55 ms without and 1.19 with
// (Zen 5 EPYC, one thread, C = 16, 32 x 32, batch 8, 16 branches), edge_group_bwd 2.00 and with loads fetched 1.42.
static INLINE void fetch(const float* at, int floats) {
    for (int i = 0; i < floats; i += 16) __builtin_prefetch(at + i, 1);
}

static inline int up(int n, int unit) { return (n + unit - 1) / unit * unit; }
static inline int blocks(int channels) { return (channels + L - 1) / L; }

// Floats of this thread, aligned for vectors; `take` hands out parts of them, which last until the next Scratch.
struct Scratch {
    explicit Scratch(size_t floats) {
        thread_local std::unique_ptr<float, void (*)(void*)> kept(nullptr, std::free);
        thread_local size_t size = 0;
        if (size < floats) {
            kept.reset(static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 63) / 64 * 64)));
            if (!kept) std::abort();  // as the operating system's killer would, but at the right place
            size = floats;
        }
        next = kept.get();
    }
    float* take(size_t floats) {
        float* here = next;
        next += (floats + 15) / 16 * 16;
        return here;
    }
    float* next;
};
static inline size_t room(size_t floats) { return (floats + 15) / 16 * 16; }

using Region = void (*)(void (*)(void*), void*, unsigned, unsigned);
extern Region region;  // GOMP_parallel, or null: then everything runs in the calling thread

// f(0) ... f(pieces - 1), in any order, by at most `threads` threads.
template <class F>
void parallel(int threads, int pieces, const F& f) {
    struct Job {
        const F& f;
        std::atomic<int> next;
        int pieces;
    } job{f, {0}, pieces};
    auto work = [](void* given) {
        Job& mine = *static_cast<Job*>(given);
        for (int i; (i = mine.next.fetch_add(1)) < mine.pieces;) mine.f(i);
    };
    threads = std::min(threads, pieces);
    if (region && threads > 1)
        region(work, &job, static_cast<unsigned>(threads), 0);
    else
        work(&job);
}

// Piece i of `pieces` nearly equal parts of [0, count): from part(i) to part(i + 1).
static inline int part(int i, int pieces, int count) { return static_cast<int>(int64_t(i) * count / pieces); }

// Mean and variance of parts joined one by one (Chan's formula), given by sums of (value - shift) and its square.
struct Moments {
    double count = 0, mean = 0, squares = 0;
    void add(double more, double shift, double one, double two) {
        const double own = one / more, step = shift + own - mean;
        squares += two - own * one + step * step * count * more / (count + more);
        count += more;
        mean += step * more / count;
    }
    double var() const { return squares < 0 ? 0 : squares / count; }
    void write(double eps, float* to_mean, float* to_var, float* to_rstd) const {
        *to_mean = float(mean), *to_var = float(var()), *to_rstd = float(1 / std::sqrt(var() + eps));
    }
};
