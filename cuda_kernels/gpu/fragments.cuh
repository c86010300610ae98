// Products of 16 x 16 x 16 by a warp, of operands as a backward has them: in registers, or with the depth outermost.
//
// Lanes are numbered 4 * g + t. Rows and columns are dealt out so that what a lane reads and writes lies side by side;
// so is the depth, whose order is free as long as both operands agree on it. bf16 goes to the tensor cores, float not.
#pragma once
#include "gpu/matrix.cuh"

using Four = Pack<float, 4>;

__device__ inline unsigned pair(float low, float high) {
    return to_storage<bf16>(low).bits | static_cast<unsigned>(to_storage<bf16>(high).bits) << 16;
}
__device__ inline unsigned lows(unsigned first, unsigned second) { return (first & 0xffffu) | second << 16; }
__device__ inline unsigned highs(unsigned first, unsigned second) { return first >> 16 | (second & 0xffff0000u); }

// Four values in shared memory.
__device__ inline Four kept(const float* at) { return from_shared<4>(at); }
__device__ inline Four kept(const bf16* at) {
    const Pack<bf16, 4> pack = from_shared<4>(at);
    return {to_float(pack.x[0]), to_float(pack.x[1]), to_float(pack.x[2]), to_float(pack.x[3])};
}
__device__ inline void keep(float* at, const float* x) { to_shared(at, Four{x[0], x[1], x[2], x[3]}); }
__device__ inline void keep(bf16* at, const float* x) {
    to_shared(reinterpret_cast<unsigned*>(at), Pack<unsigned, 2>{pair(x[0], x[1]), pair(x[2], x[3])});
}

// The right operand of a product: w[o][i] of [C, C], 16 o (the depth) from `from` on, 16 i from `first` on, else zeros.
struct Weights {
    unsigned words[2][2];  // [columns 4 j + {2 n, 2 n + 1}, depth 4 t + {0, 1} or {2, 3}]
};
template <int C> __device__ inline Weights weights_of(const float* __restrict__ w, int from, int first, int lane) {
    Weights y;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
        const int i = first + lane / 8 * 4 + 2 * n + lane / 4 % 2;
        float value[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int o = from + lane % 4 * 4 + k;
            value[k] = C % 16 == 0 || (o < C && i < C) ? w[o * C + i] : 0.f;
        }
        y.words[n][0] = pair(value[0], value[1]);
        y.words[n][1] = pair(value[2], value[3]);
    }
    return y;
}

// sum[half] += row g + 8 * half of the left operand times `weights`, columns 4 t .. 4 t + 3; a lane holds the depth
// 4 t .. 4 t + 3 of these two rows.
__device__ inline void add_product(float (&sum)[2][4], const Four (&left)[2], const Weights& weights) {
    const unsigned words[4] = {pair(left[0].x[0], left[0].x[1]), pair(left[1].x[0], left[1].x[1]),
                               pair(left[0].x[2], left[0].x[3]), pair(left[1].x[2], left[1].x[3])};
#pragma unroll
    for (int n = 0; n < 2; ++n) {
        float part[4] = {sum[0][2 * n], sum[0][2 * n + 1], sum[1][2 * n], sum[1][2 * n + 1]};
        multiply_tile(part, words, weights.words[n]);
        sum[0][2 * n] = part[0], sum[0][2 * n + 1] = part[1];
        sum[1][2 * n] = part[2], sum[1][2 * n + 1] = part[3];
    }
}

// sum[half] += the sum over 16 rows p of left[p][2 g + half] * right[p][4 t .. 4 t + 3]; both operands are in shared
// memory, one row LEFT and the other RIGHT values long.
template <int LEFT, int RIGHT>
__device__ inline void add_outer(float (&sum)[2][4], const bf16* left, const bf16* right) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    unsigned a[4], b[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        a[k] = from_shared<1>(reinterpret_cast<const unsigned*>(left + (t + 4 * k) * LEFT + 2 * g)).x[0];
        b[k] = from_shared<1>(reinterpret_cast<const unsigned*>(right + (t + 4 * k) * RIGHT + 2 * g)).x[0];
    }
    const unsigned words[4] = {lows(a[0], a[1]), highs(a[0], a[1]), lows(a[2], a[3]), highs(a[2], a[3])};
    const unsigned even[2] = {lows(b[0], b[1]), lows(b[2], b[3])}, odd[2] = {highs(b[0], b[1]), highs(b[2], b[3])};
    float first[4] = {sum[0][0], sum[0][2], sum[1][0], sum[1][2]};
    float second[4] = {sum[0][1], sum[0][3], sum[1][1], sum[1][3]};
    multiply_tile(first, words, even);
    multiply_tile(second, words, odd);
    sum[0][0] = first[0], sum[0][2] = first[1], sum[1][0] = first[2], sum[1][2] = first[3];
    sum[0][1] = second[0], sum[0][3] = second[1], sum[1][1] = second[2], sum[1][3] = second[3];
}
template <int LEFT, int RIGHT>
__device__ inline void add_outer(float (&sum)[2][4], const float* left, const float* right) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll 4
    for (int p = 0; p < 16; ++p) {
        const Pack<float, 2> a = from_shared<2>(left + p * LEFT + 2 * g);
        const Four b = from_shared<4>(right + p * RIGHT + 4 * t);
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int v = 0; v < 4; ++v) sum[half][v] += a.x[half] * b.x[v];
    }
}
