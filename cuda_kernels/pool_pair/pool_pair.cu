// Both 3 x 3 poolings of a state with their statistics, and their backward.
//
//     pooled[0, n, c] = max, pooled[1, n, c] = average of the real pixels of window n
//     dx = max^T(m) + average^T(a) + skip        m, a, skip: sums over the upstream gradients, times their factors
//
// m and a have what goes through the statistics as well. Data are channels-last: n counts output pixels over the batch,
// C channels lie side by side. S is the storage (float or bf16); everything is computed in float. The signatures in
// Python, with the references: pool_pair.py.
#include "gpu/device.cuh"

constexpr int SIDE = 3;  // of a window, which begins one pixel before its centre

// The larger; NaN where one of them is.
__device__ inline float larger(float a, float b) {
#ifdef EMULATED
    return b > a || b != b ? b : a;
#else
    float y;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
    return y;
#endif
}

__device__ inline bool within(int at, int size) { return 0 <= at && at < size; }
__device__ inline int clamped(int at, int size) { return at < 0 ? 0 : at < size ? at : size - 1; }

// How many real pixels a window has that begins at row h0 and column w0.
__device__ inline int real_pixels(int h0, int w0, int height, int width) {
    const int rows = SIDE - (h0 < 0) - (h0 + SIDE > height), columns = SIDE - (w0 < 0) - (w0 + SIDE > width);
    return rows * columns;
}

// First pass: writes both pools, and partial[block, pool, 0 and 1, c]: the mean over the block's pixels and the sum of
// squares about it. A block takes `share` pixels, a multiple of ROWS. Its sums are of what is above its first pixel's
// value, so that large means cost no digits.
template <typename S, int C, int VEC, int STRIDE>
__global__ void __launch_bounds__(THREADS, 3)
pool_pair_fwd(const S* __restrict__ x, S* __restrict__ pooled, float* __restrict__ partial, int height, int width,
              int pixels, int share) {
    using G = Geometry<C, VEC>;
    constexpr int SUMS = 4 * VEC;  // of a thread: [pool, sum and sum of squares, VEC]
    constexpr int N = SUMS * G::LANES < 32 ? 32 / G::LANES : SUMS, KEPT = N * G::LANES / 32;
    SHARED(float, origin, 2 * G::TILE);
    SHARED(float, sums, WARPS * 4 * G::TILE);
    const int tile = blockIdx.y * G::TILE, c = threadIdx.x % G::LANES * VEC, row = threadIdx.x / G::LANES;
    const int out_height = (height - 1) / STRIDE + 1, out_width = (width - 1) / STRIDE + 1;
    const int first = blockIdx.x * share, last = pixels - first < share ? pixels : first + share;
    float sum[N] = {};
    for (int base = first; base < last; base += G::ROWS) {
        const int n = base + row;
        const bool here = n < last && tile + c < C;
        float pool[2][VEC];
        if (here) {
            const int w0 = n % out_width * STRIDE - 1, h0 = n / out_width % out_height * STRIDE - 1;
            const S* image = x + static_cast<long long>(n / out_width / out_height) * height * width * C + tile + c;
            const float inverse = 1.f / static_cast<float>(real_pixels(h0, w0, height, width));
#pragma unroll
            for (int v = 0; v < VEC; ++v) pool[0][v] = -__uint_as_float(0x7f800000u), pool[1][v] = 0.f;
#pragma unroll 1
            for (int h = h0; h < h0 + SIDE; ++h) {  // a row at a time: all nine reads at once take too many registers
                // Beside the image the next real pixel, which lies in the window too: it leaves the maximum as it is.
                const S* line = image + static_cast<long long>(clamped(h, height)) * width * C;
#pragma unroll
                for (int w = w0; w < w0 + SIDE; ++w) {
                    const bool real = within(h, height) && within(w, width);
                    const Pack<S, VEC> pack = read<VEC>(line + static_cast<long long>(clamped(w, width)) * C);
#pragma unroll
                    for (int v = 0; v < VEC; ++v) {
                        const float value = to_float(pack.x[v]);
                        pool[0][v] = larger(pool[0][v], value);
                        pool[1][v] += real ? value : 0.f;
                    }
                }
            }
#pragma unroll
            for (int v = 0; v < VEC; ++v) pool[1][v] = to_float(to_storage<S>(pool[1][v] * inverse));
        }
        if (base == first) {
            if (row == 0 && here) {
#pragma unroll
                for (int i = 0; i < 2 * VEC; ++i) origin[i / VEC * G::TILE + c + i % VEC] = pool[i / VEC][i % VEC];
            }
            __syncthreads();
        }
        if (here) {
#pragma unroll
            for (int k = 0; k < 2; ++k) {
                write<VEC>(pooled + (static_cast<long long>(k) * pixels + n) * C + tile + c, pool[k]);
#pragma unroll
                for (int v = 0; v < VEC; ++v) {
                    const float above = pool[k][v] - origin[k * G::TILE + c + v];
                    sum[2 * k * VEC + v] += above;
                    sum[(2 * k + 1) * VEC + v] += above * above;
                }
            }
        }
    }
    const int begin = sum_and_scatter<N, G::LANES>(sum, threadIdx.x % 32);
#pragma unroll
    for (int k = 0; k < KEPT; ++k) {
        const int part = (begin + k) / VEC, v = (begin + k) % VEC;
        if (part < 4) sums[(threadIdx.x / 32 * 4 + part) * G::TILE + c + v] = sum[k];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * G::TILE; i += THREADS) {
        const int k = i / G::TILE, at = i % G::TILE;
        if (tile + at >= C) continue;
        float above = 0.f, squares = 0.f;
        for (int w = 0; w < WARPS; ++w) {
            above += sums[(w * 4 + 2 * k) * G::TILE + at];
            squares += sums[(w * 4 + 2 * k + 1) * G::TILE + at];
        }
        const float mean = above / static_cast<float>(last - first), rest = squares - above * mean;
        float* to = partial + (static_cast<long long>(blockIdx.x) * 2 + k) * 2 * C + tile + at;
        to[0] = origin[i] + mean;
        to[C] = rest < 0.f ? 0.f : rest;
    }
}

// Second pass, one block for each pool and COLUMNS channels, in a fixed order: the statistics over all blocks' pixels.
template <int C>
__global__ void __launch_bounds__(THREADS)
pool_pair_finish(const float* __restrict__ partial, int partials, int pixels, int share, float eps,
                 float* __restrict__ mean, float* __restrict__ var, float* __restrict__ rstd) {
    constexpr int COLUMNS = smaller(power_of_two_from(C), 8), ROWS = THREADS / COLUMNS;
    SHARED(float, first, THREADS);
    SHARED(float, second, THREADS);
    const int k = blockIdx.x, column = threadIdx.x % COLUMNS, row = threadIdx.x / COLUMNS;
    const int c = blockIdx.y * COLUMNS + column, step = 4 * C;
    const float* at = partial + 2 * k * C + (c < C ? c : 0);
    const float origin = at[0];
    float above = 0.f;
#pragma unroll 4
    for (int b = row; b < partials; b += ROWS) {
        const int count = pixels - b * share < share ? pixels - b * share : share;
        above += static_cast<float>(count) * (at[static_cast<long long>(b) * step] - origin);
    }
    first[threadIdx.x] = above;
    __syncthreads();
    above = 0.f;
    for (int r = 0; r < ROWS; ++r) above += first[r * COLUMNS + column];
    const float center = origin + above / static_cast<float>(pixels);
    float squares = 0.f;
#pragma unroll 4
    for (int b = row; b < partials; b += ROWS) {
        const int count = pixels - b * share < share ? pixels - b * share : share;
        const float* one = at + static_cast<long long>(b) * step;
        squares += one[C] + static_cast<float>(count) * (one[0] - center) * (one[0] - center);
    }
    second[threadIdx.x] = squares;
    __syncthreads();
    if (row > 0 || c >= C) return;
    for (int r = 1; r < ROWS; ++r) squares += second[r * COLUMNS + column];
    squares /= static_cast<float>(pixels);
    mean[k * C + c] = center;
    var[k * C + c] = squares;
    rstd[k * C + c] = 1.f / sqrtf(squares + eps);
}

template <int N> struct Gradients {
    const void* g[N];
};

// A block takes HEIGHT x 8 pixels of one image and at most 32 channels: few enough for the windows about them to lie in
// shared memory. supernet/cuda_kernels/pool_pair.py computes the same.
template <int C, int VEC, int STRIDE> struct Patch {
    static constexpr int LANES = smaller(power_of_two_from((C + VEC - 1) / VEC), 32 / VEC), TILE = LANES * VEC;
    static constexpr int ROWS = THREADS / LANES, WIDTH = 8, HEIGHT = ROWS < 8 * WIDTH ? 8 : ROWS / WIDTH;
    static constexpr int DOWN = STRIDE == 1 ? HEIGHT + 2 : HEIGHT / 2 + 1;   // windows that hold a pixel of it
    static constexpr int ACROSS = STRIDE == 1 ? WIDTH + 2 : WIDTH / 2 + 1;
    static constexpr int WINDOWS = DOWN * ACROSS;
};

// For each window that begins at row h0 and column w0: which of its places holds the maximum, four bits for each of VEC
// channels. The first of equals, the last NaN, as PyTorch takes them.
template <typename S, int C, int VEC>
__device__ inline unsigned find_highest(const S* image, int h0, int w0, int height, int width) {
    float highest[VEC];
    int place[VEC];
#pragma unroll
    for (int v = 0; v < VEC; ++v) {
        highest[v] = -__uint_as_float(0x7f800000u);
        place[v] = (h0 < 0 ? SIDE : 0) + (w0 < 0 ? 1 : 0);  // the first real one
    }
#pragma unroll
    for (int i = 0; i < SIDE * SIDE; ++i) {
        const int h = h0 + i / SIDE, w = w0 + i % SIDE;
        const bool real = within(h, height) && within(w, width);
        const int at = clamped(h, height) * width + clamped(w, width);
        const Pack<S, VEC> pack = read<VEC>(image + static_cast<long long>(at) * C);
#pragma unroll
        for (int v = 0; v < VEC; ++v) {
            const float value = to_float(pack.x[v]);
            const bool higher = real && (value > highest[v] || value != value);
            highest[v] = higher ? value : highest[v];
            place[v] = higher ? i : place[v];
        }
    }
    unsigned places = 0;
#pragma unroll
    for (int v = 0; v < VEC; ++v) places |= static_cast<unsigned>(place[v]) << 4 * v;
    return places;
}

// Adds to `sum` VEC values, each times its own factor in shared memory.
template <int VEC, typename S>
__device__ inline void add_scaled(float* sum, const float* factors, const Pack<S, VEC>& values) {
    constexpr int WIDE = smaller(VEC, 4);  // floats that one access to shared memory takes
#pragma unroll
    for (int i = 0; i < VEC; i += WIDE) {
        const Pack<float, WIDE> factor = from_shared<WIDE>(factors + i);
#pragma unroll
        for (int v = 0; v < WIDE; ++v) sum[i + v] += factor.x[v] * to_float(values.x[i + v]);
    }
}

// In two phases: what each window hands back and to which pixel, into shared memory, once a window; then each pixel
// gathers from the windows that hold it. Nothing is added by two threads, so there are no atomics.
template <typename S, int N, int C, int VEC, int STRIDE>
__global__ void __launch_bounds__(THREADS, 2)
pool_pair_bwd(const S* __restrict__ x, const S* __restrict__ pooled, const __grid_constant__ Gradients<N> gradients,
              const float* __restrict__ factor, const float* __restrict__ slope, const float* __restrict__ level,
              S* __restrict__ dx, int batch, int height, int width) {
    using P = Patch<C, VEC, STRIDE>;
    constexpr int WIDE = smaller(VEC, 4);
    SHARED(float, factors, (3 * N + 4) * P::TILE);      // [pool or skip, n], then [slope or level, pool]
    SHARED(float, upstream, 2 * P::WINDOWS * P::TILE);  // [pool, window, channel]
    SHARED(unsigned, places, P::WINDOWS * P::LANES);
    const int out_height = (height - 1) / STRIDE + 1, out_width = (width - 1) / STRIDE + 1;
    const int down = (height - 1) / P::HEIGHT + 1, across = (width - 1) / P::WIDTH + 1;
    const int b = blockIdx.x / (down * across);
    const int top = static_cast<int>(blockIdx.x) / across % down * P::HEIGHT;
    const int left = static_cast<int>(blockIdx.x) % across * P::WIDTH;
    const int tile = blockIdx.y * P::TILE, lane = threadIdx.x % P::LANES, row = threadIdx.x / P::LANES, c = lane * VEC;
    for (int i = threadIdx.x; i < (3 * N + 4) * P::TILE; i += THREADS) {
        const int k = i / P::TILE, at = tile + i % P::TILE;
        const float* from = k < 3 * N ? factor + k * C : (k < 3 * N + 2 ? slope : level) + (k - 3 * N) % 2 * C;
        factors[i] = at < C ? from[at] : 0.f;
    }
    __syncthreads();

    const S* image = x + static_cast<long long>(b) * height * width * C + tile + c;
    const long long windows = static_cast<long long>(out_height) * out_width;
    for (int window = row; window < P::WINDOWS; window += P::ROWS) {
        const int oh = window / P::ACROSS + (STRIDE == 1 ? top - 1 : top / 2);
        const int ow = window % P::ACROSS + (STRIDE == 1 ? left - 1 : left / 2);
        float sum[2][VEC] = {};
        unsigned place = 0;
        if (within(oh, out_height) && within(ow, out_width) && tile + c < C) {
            const int h0 = oh * STRIDE - 1, w0 = ow * STRIDE - 1;
            place = find_highest<S, C, VEC>(image, h0, w0, height, width);
            const long long at = (b * windows + oh * out_width + ow) * C + tile + c;
#pragma unroll
            for (int k = 0; k < 2; ++k) {
                const Pack<S, VEC> pack = read<VEC>(pooled + k * batch * windows * C + at);
#pragma unroll
                for (int v = 0; v < VEC; ++v) sum[k][v] = factors[(3 * N + 2 + k) * P::TILE + c + v];
                add_scaled<VEC>(sum[k], factors + (3 * N + k) * P::TILE + c, pack);
            }
#pragma unroll
            for (int n = 0; n < N; ++n) {
                const Pack<S, VEC> pack = read<VEC>(in_global(static_cast<const S*>(gradients.g[n])) + at);
                add_scaled<VEC>(sum[0], factors + n * P::TILE + c, pack);
                add_scaled<VEC>(sum[1], factors + (N + n) * P::TILE + c, pack);
            }
            const float inverse = 1.f / static_cast<float>(real_pixels(h0, w0, height, width));
#pragma unroll
            for (int v = 0; v < VEC; ++v) sum[1][v] *= inverse;
        }
        places[window * P::LANES + lane] = place;
#pragma unroll
        for (int k = 0; k < 2; ++k)
#pragma unroll
            for (int i = 0; i < VEC; i += WIDE) {
                Pack<float, WIDE> pack;
#pragma unroll
                for (int v = 0; v < WIDE; ++v) pack.x[v] = sum[k][i + v];
                to_shared<WIDE>(upstream + (k * P::WINDOWS + window) * P::TILE + c + i, pack);
            }
    }
    __syncthreads();

    for (int pixel = row; pixel < P::HEIGHT * P::WIDTH; pixel += P::ROWS) {
        const int h = pixel / P::WIDTH, w = pixel % P::WIDTH;  // within the patch
        if (top + h >= height || left + w >= width || tile + c >= C) continue;
        float sum[VEC] = {};
        const long long at = (static_cast<long long>(b) * height * width + (top + h) * width + left + w) * C + tile + c;
        if (STRIDE == 1) {
#pragma unroll
            for (int n = 0; n < N; ++n) {
                const Pack<S, VEC> pack = read<VEC>(in_global(static_cast<const S*>(gradients.g[n])) + at);
                add_scaled<VEC>(sum, factors + (2 * N + n) * P::TILE + c, pack);
            }
        }
        constexpr int HOLD = STRIDE == 1 ? SIDE : 2;  // windows that may hold a pixel, down and across
#pragma unroll
        for (int i = 0; i < HOLD * HOLD; ++i) {
            const int down = h / STRIDE + i / HOLD, across = w / STRIDE + i % HOLD;
            // Where the pixel lies in that window; one at an even place is in one of two windows at stride 2.
            const int y = STRIDE == 1 ? SIDE - 1 - i / HOLD : h + 1 - 2 * down;
            const int z = STRIDE == 1 ? SIDE - 1 - i % HOLD : w + 1 - 2 * across;
            if (y < 0 || z < 0) continue;
            const int window = down * P::ACROSS + across;
            const unsigned place = places[window * P::LANES + lane];
            const float* from = upstream + window * P::TILE + c;
#pragma unroll
            for (int j = 0; j < VEC; j += WIDE) {
                const Pack<float, WIDE> highest = from_shared<WIDE>(from + j);
                const Pack<float, WIDE> average = from_shared<WIDE>(from + P::WINDOWS * P::TILE + j);
#pragma unroll
                for (int v = 0; v < WIDE; ++v) {
                    const int chosen = static_cast<int>(place >> 4 * (j + v) & 15);
                    sum[j + v] += (chosen == SIDE * y + z ? highest.x[v] : 0.f) + average.x[v];
                }
            }
        }
        write<VEC>(dx + at, sum);
    }
}
