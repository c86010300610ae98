// Products of small matrices by a warp: bf16 by tensor cores (mma m16n8k16, float sums), float by plain arithmetic.
//
// Both hold a tile's sums alike, in four values of a thread, with group = lane / 4 and member = lane % 4:
//
//     sum[0], sum[1]: row group,     columns 2 * member and 2 * member + 1
//     sum[2], sum[3]: row group + 8, the same columns
#pragma once
#include "gpu/device.cuh"

constexpr int ROWS_OF_TILE = 16, COLUMNS_OF_TILE = 8, DEPTH_OF_TILE = 16;

// N (2 or 4) tiles of 8 x 8 bf16 out of shared memory. Lane 8 i + r names row r of tile i: 16 bytes, aligned. A thread
// gets of each tile the pair at row `group`, columns 2 * member and 2 * member + 1; of its transpose where TRANSPOSED.
template <int N, bool TRANSPOSED = false> __device__ inline void load_tiles(unsigned (&words)[N], const bf16* row) {
    static_assert(N == 2 || N == 4);
#ifdef EMULATED
    emulation::load_tiles(words, N, row, TRANSPOSED);
#else
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(row));
    if constexpr (N == 4 && !TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                     : "r"(at)
                     : "memory");
    } else if constexpr (N == 4) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                     : "r"(at)
                     : "memory");
    } else if constexpr (!TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                     : "=r"(words[0]), "=r"(words[1])
                     : "r"(at)
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                     : "=r"(words[0]), "=r"(words[1])
                     : "r"(at)
                     : "memory");
    }
#endif
}

// sum += a * b for one tile of 16 x 8 and a depth of 16. `a` are the 8 x 8 tiles (rows, depth) (0, 0), (8, 0), (0, 8),
// (8, 8) as `load_tiles` gives them; `b` those of its transpose (columns, depth): (0, 0), (0, 8).
__device__ inline void multiply_tile(float (&sum)[4], const unsigned* a, const unsigned* b) {
#ifdef EMULATED
    emulation::multiply_tile(sum, a, b);
#else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// sum[m][n] += A * B^T over DEPTH. `a(r)` is row r of A (of MT * 16), `b(c)` row c of B (of NT * 8), both in shared
// memory and 16-byte aligned, with their depth contiguous.
template <int DEPTH, int MT, int NT, typename A, typename B>
__device__ inline void multiply(float (&sum)[MT][NT][4], const bf16*, A a, B b) {
    static_assert(DEPTH % DEPTH_OF_TILE == 0 && (NT == 1 || NT % 2 == 0));
    constexpr int WORDS = NT == 1 ? 2 : 4;  // of B at a time: two tiles in depth, and one or two in columns
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < DEPTH; k += DEPTH_OF_TILE) {
        unsigned left[MT][4];
#pragma unroll
        for (int m = 0; m < MT; ++m) load_tiles<4>(left[m], a(m * 16 + lane % 16) + k + lane / 16 * 8);
#pragma unroll
        for (int n = 0; n < NT; n += WORDS / 2) {
            unsigned right[WORDS];
            load_tiles<WORDS>(right, b(n * 8 + lane % 8 + (NT == 1 ? 0 : lane / 16 * 8)) + k + lane / 8 % 2 * 8);
#pragma unroll
            for (int m = 0; m < MT; ++m)
#pragma unroll
                for (int i = 0; i < WORDS / 2; ++i) multiply_tile(sum[m][n + i], left[m], right + 2 * i);
        }
    }
}

template <int DEPTH, int MT, int NT, typename A, typename B>
__device__ inline void multiply(float (&sum)[MT][NT][4], const float*, A a, B b) {
    static_assert(DEPTH % 4 == 0);
    const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
#pragma unroll 1
    for (int k = 0; k < DEPTH; k += 4) {
        Pack<float, 4> left[MT][2], right[NT][2];
#pragma unroll
        for (int m = 0; m < MT; ++m)
#pragma unroll
            for (int i = 0; i < 2; ++i) left[m][i] = from_shared<4>(a(m * 16 + i * 8 + group) + k);
#pragma unroll
        for (int n = 0; n < NT; ++n)
#pragma unroll
            for (int j = 0; j < 2; ++j) right[n][j] = from_shared<4>(b(n * 8 + member * 2 + j) + k);
#pragma unroll
        for (int d = 0; d < 4; ++d)
#pragma unroll
            for (int m = 0; m < MT; ++m)
#pragma unroll
                for (int n = 0; n < NT; ++n)
#pragma unroll
                    for (int v = 0; v < 4; ++v) sum[m][n][v] += left[m][v / 2].x[d] * right[n][v % 2].x[d];
    }
}

// sum[n][v] += row `a` * B^T at the thread's columns n * 8 + 2 * member + v, the same in every group.
template <int DEPTH, int NT, typename B>
__device__ inline void multiply_row(float (&sum)[NT][2], const bf16* a, B b) {
    float all[1][NT][4] = {};  // sixteen times the row: its values come without an exchange
    multiply<DEPTH>(all, a, [&](int) { return a; }, b);
#pragma unroll
    for (int n = 0; n < NT; ++n)
#pragma unroll
        for (int v = 0; v < 2; ++v) sum[n][v] += all[0][n][v];
}

template <int DEPTH, int NT, typename B>
__device__ inline void multiply_row(float (&sum)[NT][2], const float* a, B b) {
    const int member = threadIdx.x % 4;
#pragma unroll 1
    for (int k = 0; k < DEPTH; k += 4) {
        const Pack<float, 4> left = from_shared<4>(a + k);
#pragma unroll
        for (int n = 0; n < NT; ++n)
#pragma unroll
            for (int v = 0; v < 2; ++v) {
                const Pack<float, 4> right = from_shared<4>(b(n * 8 + member * 2 + v) + k);
#pragma unroll
                for (int d = 0; d < 4; ++d) sum[n][v] += left.x[d] * right.x[d];
            }
    }
}
