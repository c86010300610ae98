// The node of a mixed cell: T terms, normalised, weighed and added in one pass, and the sums its backward needs.
//
//     out[n, c] = sum_t p[t] * ((z[t][n, c] - mean[t, c]) * scale[t, c] + shift[t, c])
//
// Data are channels-last: n counts pixels over the batch, C channels lie side by side. S is the storage, float or bf16;
// everything is computed in float. With a gate, terms whose gate is 0 are not read, and neither are their factors.
// The signatures in Python, with the references: node_mix.py, node_mix_shuffled.py.
#include "gpu/device.cuh"

template <int T> struct Terms {
    const void* z[T];
};

constexpr int PIXELS = 2;  // of a thread at a time: they share the factors that it reads from shared memory

// The terms that run, in their order, in `running` [T], and their number in `running[T]`; to be followed by a barrier.
template <int T> __device__ inline void find_running(const float* gate, int* running) {
    const int t = threadIdx.x;
    if (t > T) return;
    int before = 0;
#pragma unroll 4
    for (int u = 0; u < t; ++u) before += gate[u] != 0.f;
    if (t == T) running[T] = before;
    else if (gate[t] != 0.f) running[before] = t;
}

// The k-th of them, and for k = T their number; bounded, so that a fault here shows in a sum and is no wild read.
template <int T> __device__ inline int running_at(const int* running, int k) {
    return smaller(running[k], k == T ? T : T - 1);
}

template <typename S, int T, int C, int VEC, bool GATED = false>
__global__ void __launch_bounds__(THREADS)
node_mix_fwd(const __grid_constant__ Terms<T> terms, const float* __restrict__ mean, const float* __restrict__ scale,
             const float* __restrict__ shift, const float* __restrict__ p, const float* __restrict__ gate,
             S* __restrict__ out, long long pixels) {
    using G = Geometry<C, VEC>;
    SHARED(float, center, T * G::TILE);
    SHARED(float, factor, T * G::TILE);
    SHARED(float, bias, G::TILE);
    SHARED(int, running, T + 1);
    const int tile = blockIdx.y * G::TILE;
    for (int i = threadIdx.x; i < T * G::TILE; i += THREADS) {
        const int t = i / G::TILE, c = tile + i % G::TILE;
        if (GATED && gate[t] == 0.f) continue;
        center[i] = c < C ? mean[t * C + c] : 0.f;
        factor[i] = c < C ? p[t] * scale[t * C + c] : 0.f;
    }
    for (int i = threadIdx.x; i < G::TILE; i += THREADS) {
        float sum = 0.f;
#pragma unroll 8
        for (int t = 0; t < T; ++t) {
            if (GATED && gate[t] == 0.f) continue;
            sum += tile + i < C ? p[t] * shift[t * C + tile + i] : 0.f;
        }
        bias[i] = sum;
    }
    if (GATED) find_running<T>(gate, running);
    __syncthreads();
    const int terms_run = GATED ? running_at<T>(running, T) : T;

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
#pragma unroll(GATED ? 2 : 4)
        for (int k = 0; k < terms_run; ++k) {
            const int t = GATED ? running_at<T>(running, k) : k;
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

// First pass: partial[block, t, c] = sum over the block's pixels of g * (z[t] - mean[t]), and of g for t = T; places of
// terms that do not run are left as they are. A block takes its pixels once for each group of terms, so that g is read
// from memory once and then from the cache.
template <typename S, int T, int C, int VEC, bool GATED = false>
__global__ void __launch_bounds__(THREADS, 2)
node_mix_bwd_reduce(const S* __restrict__ g, const __grid_constant__ Terms<T> terms, const float* __restrict__ mean,
                    const float* __restrict__ gate, float* __restrict__ partial, long long pixels) {
    using G = Geometry<C, VEC>;
    constexpr int N = 32;  // sums of a thread
    constexpr int GROUP = N / VEC, KEPT = N * G::LANES / 32;
    SHARED(float, sums, WARPS * N * G::LANES);  // [warp, term of the group, channel of the tile]
    SHARED(int, running, T + 1);
    const int tile = blockIdx.y * G::TILE, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int c = threadIdx.x % G::LANES * VEC;
    const long long first = static_cast<long long>(blockIdx.x) * G::ROWS + threadIdx.x / G::LANES;
    const long long last = tile + c < C ? pixels : 0;  // threads behind the last channel add nothing
    if (GATED) {
        find_running<T>(gate, running);
        __syncthreads();
    }
    const int count = GATED ? running_at<T>(running, T) : T;  // the place behind the last term is for the sums of g
#pragma unroll 1
    for (int k0 = 0; k0 <= count; k0 += GROUP) {
        float sum[N] = {}, center[N] = {};
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const int k = k0 + i / VEC, at = tile + c + i % VEC;
            if (k < count && at < C) center[i] = mean[(GATED ? running_at<T>(running, k) : k) * C + at];
        }
        for (long long n = first; n < last; n += static_cast<long long>(gridDim.x) * G::ROWS) {
            const long long at = n * C + tile + c;
            const Pack<S, VEC> upstream = read<VEC>(g + at);
#pragma unroll
            for (int j = 0; j < GROUP; ++j) {
                if (k0 + j > count) break;
                Pack<S, VEC> z;
                if (k0 + j < count) {
                    const int t = GATED ? running_at<T>(running, k0 + j) : k0 + j;
                    z = read<VEC>(in_global(static_cast<const S*>(terms.z[t])) + at);
                }
#pragma unroll
                for (int v = 0; v < VEC; ++v) {
                    const float value = k0 + j < count ? to_float(z.x[v]) - center[j * VEC + v] : 1.f;
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
            const int k = k0 + i / G::TILE, at = tile + i % G::TILE;
            if (k > count || at >= C) continue;
            float total = 0.f;
            for (int w = 0; w < WARPS; ++w) total += sums[w * GROUP * G::TILE + i];
            const int t = k == count ? T : GATED ? running_at<T>(running, k) : k;
            partial[(static_cast<long long>(blockIdx.x) * (T + 1) + t) * C + at] = total;
        }
        __syncthreads();
    }
}

// Second pass, one block for each term, in a fixed order: sum_gz[t, c], sum_g[c],
// dp[t] = sum_c scale[t, c] * sum_gz[t, c] + shift[t, c] * sum_g[c], and coef[t, 0 .. 2, c], with which
// dz[t] = coef[t, 0] * g + coef[t, 1] * z[t] + coef[t, 2]. Where rstd is 0 the statistics are constants.
template <int T, int C>
__global__ void __launch_bounds__(THREADS)
node_mix_bwd_finish(const float* __restrict__ partial, int partials, const float* __restrict__ mean,
                    const float* __restrict__ scale, const float* __restrict__ shift, const float* __restrict__ rstd,
                    const float* __restrict__ p, const float* __restrict__ gate, long long pixels,
                    float* __restrict__ dp, float* __restrict__ sum_g, float* __restrict__ sum_gz,
                    float* __restrict__ coef) {
    constexpr int COLUMNS = smaller(power_of_two_from(C), 32), ROWS = THREADS / COLUMNS;
    SHARED(float, first, THREADS);
    SHARED(float, second, THREADS);
    const int t = blockIdx.x, column = threadIdx.x % COLUMNS, row = threadIdx.x / COLUMNS;
    const bool runs = gate == nullptr || gate[t] != 0.f;
    const float inverse = 1.f / static_cast<float>(pixels);
    float mixed = 0.f;
    for (int tile = 0; tile < C; tile += COLUMNS) {
        const int c = tile + column;
        float gz = 0.f, g = 0.f;
        if (c < C) {
#pragma unroll 8
            for (int b = row; b < partials; b += ROWS) {
                const float* sums = partial + static_cast<long long>(b) * (T + 1) * C + c;
                if (runs) gz += sums[t * C];
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
            const int i = t * C + c;
            float slope = 0.f, level = 0.f, factor = 0.f;
            if (runs) {
                factor = p[t] * scale[i];
                if (rstd[i] != 0.f) {
                    slope = -factor * rstd[i] * rstd[i] * (gz * inverse);
                    level = -factor * (g * inverse) - slope * mean[i];
                }
                mixed += scale[i] * gz + shift[i] * g;
            }
            sum_gz[i] = gz;
            if (t == 0) sum_g[c] = g;
            coef[3 * t * C + c] = factor;
            coef[(3 * t + 1) * C + c] = slope;
            coef[(3 * t + 2) * C + c] = level;
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

template <int E> struct Bypasses {
    const void* x[E];
};

// The node of a cell with partial channels: of K * PART channels the mix of T terms is channel q * K, and the bypasses'
// channels j * PART + q, weighed by beta and added, are q * K + j. A thread takes VEC values of q with all their j, so
// that it reads packs and writes K packs that lie side by side.
template <typename S, int T, int E, int PART, int K, int VEC>
__global__ void __launch_bounds__(THREADS)
node_mix_shuffled(const __grid_constant__ Terms<T> terms, const float* __restrict__ mean,
                  const float* __restrict__ scale, const float* __restrict__ shift, const float* __restrict__ p,
                  const __grid_constant__ Bypasses<E> bypasses, const float* __restrict__ beta, S* __restrict__ out,
                  long long pixels) {
    using G = Geometry<PART, VEC>;
    SHARED(float, center, T * G::TILE);
    SHARED(float, factor, T * G::TILE);
    SHARED(float, bias, G::TILE);
    const int tile = blockIdx.y * G::TILE;
    for (int i = threadIdx.x; i < T * G::TILE; i += THREADS) {
        const int t = i / G::TILE, c = tile + i % G::TILE;
        center[i] = c < PART ? mean[t * PART + c] : 0.f;
        factor[i] = c < PART ? p[t] * scale[t * PART + c] : 0.f;
    }
    for (int i = threadIdx.x; i < G::TILE; i += THREADS) {
        float sum = 0.f;
        for (int t = 0; t < T; ++t) sum += tile + i < PART ? p[t] * shift[t * PART + tile + i] : 0.f;
        bias[i] = sum;
    }
    __syncthreads();

    const int c = threadIdx.x % G::LANES * VEC;  // within the tile
    if (tile + c >= PART) return;
    long long n = static_cast<long long>(blockIdx.x) * G::ROWS + threadIdx.x / G::LANES;
    for (; n < pixels; n += static_cast<long long>(gridDim.x) * G::ROWS) {
        float sum[K * VEC];  // [q, j], as they are written
#pragma unroll
        for (int i = 0; i < K * VEC; ++i) sum[i] = i % K == 0 ? bias[c + i / K] : 0.f;
#pragma unroll 4
        for (int t = 0; t < T; ++t) {
            const S* z = in_global(static_cast<const S*>(terms.z[t])) + n * PART + tile + c;
            const Pack<S, VEC> pack = read<VEC>(z);
#pragma unroll
            for (int v = 0; v < VEC; ++v) {
                const int i = t * G::TILE + c + v;
                sum[v * K] += factor[i] * (to_float(pack.x[v]) - center[i]);
            }
        }
#pragma unroll 1
        for (int e = 0; e < E; ++e) {
            const S* x = in_global(static_cast<const S*>(bypasses.x[e])) + n * (K * PART) + tile + c;
            const float weight = beta[e];
#pragma unroll
            for (int j = 1; j < K; ++j) {
                const Pack<S, VEC> pack = read<VEC>(x + j * PART);
#pragma unroll
                for (int v = 0; v < VEC; ++v) sum[v * K + j] += weight * to_float(pack.x[v]);
            }
        }
        S* to = out + n * (K * PART) + (tile + c) * K;
#pragma unroll
        for (int j = 0; j < K; ++j) write<VEC>(to + j * VEC, sum + j * VEC);
    }
}
