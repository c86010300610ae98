// The weight gradients of z = pointwise(depthwise(u)), in two passes without atomics.
//
//     ddw[c, tap] = sum_p dh[p, c] * u[p + tap, c]        dh = dz * pw as in backward.cuh
//     dpw[o, i]   = sum_p dz[p, o] * h[p, i]              h = depthwise(u), computed again here
//
// First pass: blocks (several a branch) go over tiles of TH x TW output pixels, with u, dz and dh in shared memory, and
// keep their sums in registers. Second pass: the blocks' sums are added in a fixed order.
#pragma once
#include "separable/backward.cuh"

// Blocks that are to stand on one multiprocessor. Float without tensor cores spilled a few bytes for two on sm_100 and 120.
template <typename S, unsigned SHAPES> constexpr int STANDING = SHAPES & SEVENS || sizeof(S) == 4 ? 1 : 2;

template <typename S_, int C_, int STRIDE_, unsigned SHAPES_, int TH_, int TW_, int TC_> struct WeightTile {
    static constexpr int C = C_, STRIDE = STRIDE_, TH = TH_, TW = TW_, TC = TC_;
    static constexpr unsigned SHAPES = SHAPES_;
    static constexpr int K = widest_kernel(SHAPES), PAD = widest_padding(SHAPES);
    static constexpr int UH = STRIDE * (TH - 1) + 1 + 2 * PAD, UW = STRIDE * (TW - 1) + 1 + 2 * PAD;  // of u, with halo
    static constexpr int CO = smaller((C + 15) / 16 * 16, 64);  // channels of dz that meet h in one block
    static constexpr int WORD = 4 / static_cast<int>(sizeof(S_));
    static constexpr int U = UH * UW * TC / WORD, DZ = TH * TW * CO / WORD, DH = TH * TW * TC / WORD;  // floats
    static constexpr int TAPS = K * K * TC, OUTER = WARPS * 256;
    static constexpr int MEMORY = larger(U + DZ + DH, WARPS * TAPS) + TAPS + OUTER;
    static constexpr int LANES = TC, STRIPS = THREADS / (LANES * TW), R = TH / STRIPS;  // R pixels, one channel
    static_assert(STRIPS * LANES * TW == THREADS && R * STRIPS == TH, "the threads do not cover a tile");
};

// The input of an edge: relu(x).
template <typename S, int C, int VEC> struct Rectified {
    const S* x;
    struct Channels {};
    __device__ Channels channels(int) const { return {}; }
    __device__ Four at(long long pixel, int c, const Channels&) const {
        Four u = four<C, VEC>(x + pixel * C, c);
#pragma unroll
        for (int v = 0; v < 4; ++v) u.x[v] = relu(u.x[v]);
        return u;
    }
};

// A thread's strip of R pixels of one column and channel: h, and the products of dh with u for each tap. A value of u
// is read once a column of taps and meets all of these. h takes the place of dh, which the same thread reads.
template <typename T, typename S> struct Filtered {
    float (&sums)[T::K * T::K];
    const S* u;
    S* dh;
    const float* taps;
    int rows, columns;  // of the tile that are within the image

    template <typename F> __device__ void run() const {
        constexpr int K = F::K, D = F::D;
        const int c = threadIdx.x % T::LANES, column = threadIdx.x / T::LANES % T::TW;
        const int row = threadIdx.x / (T::LANES * T::TW) * T::R;
        S* const place = dh + (row * T::TW + column) * T::TC + c;
        const S* const corner = u + (row * T::STRIDE * T::UW + column * T::STRIDE) * T::TC + c;
        float up[T::R], h[T::R] = {};
#pragma unroll
        for (int r = 0; r < T::R; ++r) up[r] = to_float(place[r * T::TW * T::TC]);
#pragma unroll
        for (int kx = 0; kx < K; ++kx) {
            float w[K];
#pragma unroll
            for (int ky = 0; ky < K; ++ky) w[ky] = taps[(ky * K + kx) * T::TC + c];
#pragma unroll
            for (int q = 0; q < T::STRIDE * (T::R - 1) + 1 + (K - 1) * D; ++q) {
                const float value = to_float(corner[(q * T::UW + kx * D) * T::TC]);
#pragma unroll
                for (int ky = 0; ky < K; ++ky) {
                    const int reach = q - ky * D;
                    if (reach < 0 || reach % T::STRIDE || reach / T::STRIDE >= T::R) continue;
                    h[reach / T::STRIDE] += w[ky] * value;
                    sums[ky * K + kx] += up[reach / T::STRIDE] * value;
                }
            }
        }
#pragma unroll
        for (int r = 0; r < T::R; ++r)
            place[r * T::TW * T::TC] = to_storage<S>(row + r < rows && column < columns ? h[r] : 0.f);
    }
};

// The sums of a warp's threads over each channel: within[tap, c].
template <typename T> struct Gathered {
    float (&sums)[T::K * T::K];
    float* within;

    template <typename F> __device__ void run() const {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < F::K * F::K; ++i) {
            float sum = sums[i];
#pragma unroll
            for (int distance = T::LANES; distance < 32; distance *= 2)
                sum += __shfl_xor_sync(ALL_LANES, sum, distance);
            if (lane < T::LANES) within[i * T::TC + lane] = sum;
        }
    }
};

// partial[branch, block, :] = ddw as [tap, C], then (behind the widest filter's) dpw as [C, C]. The grid: blocks a
// branch, tiles of channels (TC inputs and CO outputs each), branches.
template <typename T, typename S, int C, int VEC, typename Input>
__device__ inline void weight_gradients(const Branches& branches, const Input& input, const float* __restrict__ coef,
                                        float* __restrict__ partial, int images, int height, int width) {
    constexpr int TH = T::TH, TW = T::TW, TC = T::TC, CO = T::CO, STRIDE = T::STRIDE, LANES = TC / 4;
    constexpr int OUTPUTS = (C + CO - 1) / CO, TILES = CO / 16 * (TC / 16), SHARE = WARPS / TILES;
    SHARED(float, memory, T::MEMORY);
    S* const u = reinterpret_cast<S*>(memory);
    S* const dz = reinterpret_cast<S*>(memory + T::U);
    S* const dh = reinterpret_cast<S*>(memory + T::U + T::DZ);
    float* const outer = memory + T::MEMORY - T::OUTER;  // dpw of each warp: registers are short
    float* const taps = outer - T::TAPS;
    const int i = blockIdx.z, shape = branches.shape[i], k = kernel_of(shape), pad = padding_of(shape);
    const int first = blockIdx.y / OUTPUTS * TC, output = blockIdx.y % OUTPUTS * CO;
    const int out_height = (height - 1) / STRIDE + 1, out_width = (width - 1) / STRIDE + 1;
    const int down = (out_height + TH - 1) / TH, across = (out_width + TW - 1) / TW;
    const int warp = threadIdx.x / 32, c = threadIdx.x % LANES * 4;
    float* const mine = outer + warp * 256 + threadIdx.x % 32 / 4 * 32 + threadIdx.x % 4 * 4;  // two rows of four
    float sums[T::K * T::K] = {}, dpw[2][4] = {};
    for (int half = 0; half < 2; ++half) keep(mine + 16 * half, dpw[half]);
    load_taps<C, TC>(taps, branches.dw[i], k, first);
#pragma unroll 1
    for (int tile = blockIdx.x; tile < images * down * across; tile += gridDim.x) {
        const int y = tile / across % down * TH, x = tile % across * TW;
        const long long image = tile / (across * down);
        const int rows = STRIDE * (TH - 1) + 1 + 2 * pad, columns = STRIDE * (TW - 1) + 1 + 2 * pad;
        const Rectangle around(y * STRIDE - pad, x * STRIDE - pad, rows, columns);
        const auto channels = input.channels(first + c);
#pragma unroll(sizeof(S) == 2 ? 2 : 1)
        for (int q = threadIdx.x / LANES; q < around.size(); q += THREADS / LANES) {
            const int row = around.row(q), column = q - row * around.width, py = around.y + row, px = around.x + column;
            Four value = {};
            if (py >= 0 && py < height && px >= 0 && px < width)
                value = input.at((image * height + py) * width + px, first + c, channels);
            keep(u + (row * T::UW + column) * TC + c, value.x);
        }
        product<S, C, VEC, TC, false>(
            Upstream<S, C, VEC>(branches, i, coef, image * out_height * out_width), in_global(branches.pw[i]),
            Rectangle(y, x, TH, TW), out_height, out_width, first,
            [=](int pixel, int o, const Four& value) {
                if (o >= output && o < output + CO) keep(dz + pixel * CO + o - output, value.x);
            },
            [=](int pixel, int c, const float* value) { keep(dh + pixel * TC + c, value); });
        __syncthreads();
        with_filter<T::SHAPES>(shape, Filtered<T, S>{sums, u, dh, taps, out_height - y, out_width - x});
        __syncthreads();
        if (warp < TILES * SHARE) {  // a warp: 16 outputs, 16 inputs, and its share of the pixels
            const S* left = dz + warp % TILES / (TC / 16) * 16;
            const S* right = dh + warp % TILES % (TC / 16) * 16;
            const Four above = kept(mine), below = kept(mine + 16);
#pragma unroll
            for (int v = 0; v < 4; ++v) dpw[0][v] = above.x[v], dpw[1][v] = below.x[v];
#pragma unroll 1
            for (int p = warp / TILES * 16; p < TH * TW; p += SHARE * 16)
                add_outer<CO, TC>(dpw, left + p * CO, right + p * TC);
            for (int half = 0; half < 2; ++half) keep(mine + 16 * half, dpw[half]);
        }
        __syncthreads();
    }
    with_filter<T::SHAPES>(shape, Gathered<T>{sums, memory + warp * k * k * TC});
    __syncthreads();
    float* const out = partial + (static_cast<long long>(i) * gridDim.x + blockIdx.x) * (T::K * T::K * C + C * C);
    for (int e = threadIdx.x; output == 0 && e < k * k * TC; e += THREADS) {
        float sum = 0.f;
        for (int w = 0; w < WARPS; ++w) sum += memory[w * k * k * TC + e];
        if (first + e % TC < C) out[e / TC * C + first + e % TC] = sum;
    }
    for (int e = threadIdx.x; e < TILES * 256; e += THREADS) {
        const int t = e / 256, o = output + t / (TC / 16) * 16 + e % 256 / 16, j = first + t % (TC / 16) * 16 + e % 16;
        float sum = 0.f;
        for (int s = 0; s < SHARE; ++s) sum += outer[s * TILES * 256 + e];
        if (o < C && j < C) out[T::K * T::K * C + o * C + j] = sum;
    }
}

struct Gradients {
    float* dw[MOST_BRANCHES];
    float* pw[MOST_BRANCHES];
    unsigned char shape[MOST_BRANCHES];
};

template <int C, unsigned SHAPES>
__device__ inline void finish_weights(const Gradients& gradients, const float* __restrict__ partial, int partials,
                                      const float* __restrict__ gate) {
    constexpr int DEPTHWISE = widest_kernel(SHAPES) * widest_kernel(SHAPES) * C, SIZE = DEPTHWISE + C * C;
    const int i = blockIdx.y, e = blockIdx.x * THREADS + threadIdx.x, k = kernel_of(gradients.shape[i]);
    if (e >= SIZE || (e < DEPTHWISE && e >= k * k * C)) return;
    float sum = 0.f;
    if (gate == nullptr || gate[i] != 0.f) {
        const float* at = partial + static_cast<long long>(i) * partials * SIZE + e;
#pragma unroll 8
        for (int b = 0; b < partials; ++b) sum += at[static_cast<long long>(b) * SIZE];
    }
    if (e < DEPTHWISE) gradients.dw[i][e % C * k * k + e / C] = sum;
    else gradients.pw[i][e - DEPTHWISE] = sum;
}
