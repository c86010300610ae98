// The node of a mixed cell: T terms, normalised, weighed and added in one pass, and the sums its backward needs.
//
//     out[n, c] = sum_t p[t] * ((z[t][n, c] - mean[t, c]) * scale[t, c] + shift[t, c])
//
// Data are channels-last: n counts pixels over the batch, C channels lie side by side. S is the storage (float or bf16);
// everything is computed in float. The signature in Python, with the reference: node_mix.py.
#include "device.cuh"

template <int T> struct Terms {
    const void* z[T];
};

constexpr int PIXELS = 2;  // of a thread at a time: they share the factors that it reads from shared memory

template <typename S, int T, int C, int VEC>
__global__ void __launch_bounds__(THREADS)
node_mix_fwd(const __grid_constant__ Terms<T> terms, const float* __restrict__ mean, const float* __restrict__ scale,
             const float* __restrict__ shift, const float* __restrict__ p, S* __restrict__ out, long long pixels) {
    using G = Geometry<C, VEC>;
    SHARED(float, center, T * G::TILE);
    SHARED(float, factor, T * G::TILE);
    SHARED(float, bias, G::TILE);
    const int tile = blockIdx.y * G::TILE;
    for (int i = threadIdx.x; i < T * G::TILE; i += THREADS) {
        const int t = i / G::TILE, c = tile + i % G::TILE;
        center[i] = c < C ? mean[t * C + c] : 0.f;
        factor[i] = c < C ? p[t] * scale[t * C + c] : 0.f;
    }
    for (int i = threadIdx.x; i < G::TILE; i += THREADS) {
        float sum = 0.f;
        for (int t = 0; t < T; ++t) sum += tile + i < C ? p[t] * shift[t * C + tile + i] : 0.f;
        bias[i] = sum;
    }
    __syncthreads();

    const int c = threadIdx.x % G::LANES * VEC;  // within the tile
    if (tile + c >= C) return;
    const long long step = static_cast<long long>(gridDim.x) * G::ROWS * PIXELS;
    long long n = static_cast<long long>(blockIdx.x) * G::ROWS * PIXELS + threadIdx.x / G::LANES;
    for (; n < pixels; n += step) {
        const long long at = n * C + tile + c;
        const int here = pixels - n > G::ROWS ? PIXELS : 1;  // the last pixels may have no second row
        float sum[PIXELS][VEC];
#pragma unroll
        for (int q = 0; q < PIXELS; ++q)
#pragma unroll
            for (int v = 0; v < VEC; ++v) sum[q][v] = bias[c + v];
#pragma unroll 4
        for (int t = 0; t < T; ++t) {
            const S* z = in_global(static_cast<const S*>(terms.z[t])) + at;
#pragma unroll
            for (int q = 0; q < PIXELS; ++q) {
                if (q >= here) continue;
                const Pack<S, VEC> pack = read<VEC>(z + q * G::ROWS * C);
#pragma unroll
                for (int v = 0; v < VEC; ++v) {
                    const int i = t * G::TILE + c + v;
                    sum[q][v] += factor[i] * (to_float(pack.x[v]) - center[i]);
                }
            }
        }
#pragma unroll
        for (int q = 0; q < PIXELS; ++q)
            if (q < here) write<VEC>(out + at + q * G::ROWS * C, sum[q]);
    }
}

// First pass: partial[block, t, c] = sum over the block's pixels of g * (z[t] - mean[t]), and of g for t = T.
// A block takes its pixels once for each group of terms, so that g is read from memory once and then from the cache.
template <typename S, int T, int C, int VEC>
__global__ void __launch_bounds__(THREADS, 2)
node_mix_bwd_reduce(const S* __restrict__ g, const __grid_constant__ Terms<T> terms, const float* __restrict__ mean,
                    float* __restrict__ partial, long long pixels) {
    using G = Geometry<C, VEC>;
    constexpr int N = 32;  // sums of a thread
    constexpr int GROUP = N / VEC, KEPT = N * G::LANES / 32;
    SHARED(float, sums, WARPS * N * G::LANES);  // [warp, term of the group, channel of the tile]
    const int tile = blockIdx.y * G::TILE, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int c = threadIdx.x % G::LANES * VEC;
    const long long first = static_cast<long long>(blockIdx.x) * G::ROWS + threadIdx.x / G::LANES;
    const long long last = tile + c < C ? pixels : 0;  // threads behind the last channel add nothing
#pragma unroll 1
    for (int t0 = 0; t0 <= T; t0 += GROUP) {
        float sum[N] = {}, center[N] = {};
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const int t = t0 + i / VEC, at = tile + c + i % VEC;
            if (t < T && at < C) center[i] = mean[t * C + at];
        }
        for (long long n = first; n < last; n += static_cast<long long>(gridDim.x) * G::ROWS) {
            const long long at = n * C + tile + c;
            const Pack<S, VEC> upstream = read<VEC>(g + at);
#pragma unroll
            for (int j = 0; j < GROUP; ++j) {
                if (t0 + j > T) break;
                Pack<S, VEC> z;
                if (t0 + j < T) z = read<VEC>(in_global(static_cast<const S*>(terms.z[t0 + j])) + at);
#pragma unroll
                for (int v = 0; v < VEC; ++v) {
                    const float value = t0 + j < T ? to_float(z.x[v]) - center[j * VEC + v] : 1.f;
                    sum[j * VEC + v] += to_float(upstream.x[v]) * value;
                }
            }
        }
        const int begin = sum_and_scatter<N, G::LANES>(sum, lane);
#pragma unroll
        for (int k = 0; k < KEPT; ++k) {
            const int j = (begin + k) / VEC, v = (begin + k) % VEC;
            sums[(warp * GROUP + j) * G::TILE + c + v] = sum[k];
        }
        __syncthreads();
        for (int i = threadIdx.x; i < GROUP * G::TILE; i += THREADS) {
            const int t = t0 + i / G::TILE, at = tile + i % G::TILE;
            float total = 0.f;
            for (int w = 0; w < WARPS; ++w) total += sums[w * GROUP * G::TILE + i];
            if (t <= T && at < C) partial[(static_cast<long long>(blockIdx.x) * (T + 1) + t) * C + at] = total;
        }
        __syncthreads();
    }
}

// Second pass, one block for each term, in a fixed order: sum_gz[t, c], sum_g[c] and
// dp[t] = sum_c scale[t, c] * sum_gz[t, c] + shift[t, c] * sum_g[c].
template <int T, int C>
__global__ void __launch_bounds__(THREADS)
node_mix_bwd_finish(const float* __restrict__ partial, int partials, const float* __restrict__ scale,
                    const float* __restrict__ shift, float* __restrict__ dp, float* __restrict__ sum_g,
                    float* __restrict__ sum_gz) {
    constexpr int COLUMNS = smaller(power_of_two_from(C), 32), ROWS = THREADS / COLUMNS;
    SHARED(float, first, THREADS);
    SHARED(float, second, THREADS);
    const int t = blockIdx.x, column = threadIdx.x % COLUMNS, row = threadIdx.x / COLUMNS;
    float mixed = 0.f;
    for (int tile = 0; tile < C; tile += COLUMNS) {
        const int c = tile + column;
        float gz = 0.f, g = 0.f;
        if (c < C) {
#pragma unroll 8
            for (int b = row; b < partials; b += ROWS) {
                const float* sums = partial + static_cast<long long>(b) * (T + 1) * C + c;
                gz += sums[t * C];
                g += sums[T * C];
            }
        }
        first[threadIdx.x] = gz;
        second[threadIdx.x] = g;
        __syncthreads();
        if (row == 0 && c < C) {
            for (int r = 1; r < ROWS; ++r) {
                gz += first[r * COLUMNS + column];
                g += second[r * COLUMNS + column];
            }
            sum_gz[t * C + c] = gz;
            if (t == 0) sum_g[c] = g;
            mixed += scale[t * C + c] * gz + shift[t * C + c] * g;
        }
        __syncthreads();
    }
    if (row == 0) first[column] = mixed;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int k = 1; k < COLUMNS; ++k) mixed += first[k];
        dp[t] = mixed;
    }
}
