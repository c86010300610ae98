// What the kernels of separable convolutions share: a tile of the input with its halo in shared memory, the depthwise
// filter from it, the operands of the pointwise product.
//
// Data are channels-last: [B, H, W, C]. A block works on TH x TW pixels of an output and on CHANNELS (8, 16, 32 or 64;
// bf16 from 16 on) channels at a time; channels behind the last are zeros throughout. S is the storage, float or bf16.
#pragma once
#include "gpu/matrix.cuh"

// An array as a kernel's argument, by value.
template <typename T, int N> struct Table {
    T at[N];
};

// A filter's form, a number: sizes 3, 5, 7 and dilations 1, 2.
constexpr int FILTERS = 6;
__host__ __device__ constexpr int size_of(int form) { return 3 + form / 2 * 2; }
__host__ __device__ constexpr int dilation_of(int form) { return 1 + form % 2; }
__host__ __device__ constexpr int reach_of(int form) { return size_of(form) / 2 * dilation_of(form); }

__host__ __device__ constexpr int highest_bit(int bits) { return bits > 1 ? 1 + highest_bit(bits / 2) : 0; }

// Of an operator: the input's and the output's height and width; tiles in a column, in a row, in all; images.
struct Sizes {
    int height, width, out_height, out_width, down, across, tiles, images;
};

// Where a tile of the output lies.
struct Place {
    int image, y, x;
};

template <int TH, int TW> __device__ inline Place place_of(int tile, const Sizes& sizes) {
    const int within = tile % (sizes.down * sizes.across);
    return {tile / (sizes.down * sizes.across), within / sizes.across * TH, within % sizes.across * TW};
}

// How many of a tile's pixels are within the image.
template <int TH, int TW> __device__ inline int pixels_in(const Place& place, const Sizes& sizes) {
    return smaller(TH, sizes.out_height - place.y) * smaller(TW, sizes.out_width - place.x);
}

// The shared memory of a block and how its threads lie over it. A thread filters STRIP pixels side by side in two
// channels: what it reads of the tile serves all taps of a filter's row. Strips of a warp lie below one another; rows
// of the tile are odd in length and rows of the product set apart (ROW, STEP), so that they fall into different banks.
template <typename Storage, int C_, int TH_, int TW_, int STRIDE_, int REACH_> struct Tile {
    using S = Storage;
    static constexpr int CHANNELS = C_, TH = TH_, TW = TW_, STRIDE = STRIDE_, REACH = REACH_;
    static constexpr int HEIGHT = (TH - 1) * STRIDE + 1 + 2 * REACH;
    static constexpr int WIDTH = ((TW - 1) * STRIDE + 1 + 2 * REACH) | 1;
    static constexpr int PIXELS = TH * TW, PAIRS = CHANNELS / 2, STRIP = PIXELS * PAIRS / THREADS;
    static constexpr int ROW = CHANNELS + 16 / sizeof(S);      // of the product's operands, [pixel or column, depth]
    static constexpr int STEP = CHANNELS < 64 ? CHANNELS : 0;  // further, for every row of pixels
    static constexpr int INPUT = HEIGHT * WIDTH * CHANNELS;
    static constexpr int LEFT = PIXELS * ROW + TH * STEP, RIGHT = CHANNELS * ROW;
    static_assert(CHANNELS == 8 || CHANNELS == 16 || CHANNELS == 32 || CHANNELS == 64);
    static_assert(STRIP * THREADS == PIXELS * PAIRS && TW % STRIP == 0);

    // The product's left operand: pixel `row`, depth 0.
    __device__ static int left(int row) { return row * ROW + row / TW * STEP; }
};

// N values to shared memory, rounded to storage.
template <int N> __device__ inline void keep(float* at, const float* values) {
    Pack<float, N> pack;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.x[i] = values[i];
    to_shared<N>(at, pack);
}
template <int N> __device__ inline void keep(bf16* at, const float* values) {
    if constexpr (N == 1) {
        *at = to_storage<bf16>(values[0]);
    } else {
        Pack<unsigned, N / 2> pairs;
#pragma unroll
        for (int i = 0; i < N / 2; ++i) pairs.x[i] = to_pair(values[2 * i], values[2 * i + 1]);
        to_shared<N / 2>(reinterpret_cast<unsigned*>(at), pairs);
    }
}

// Fills `input`, [HEIGHT, WIDTH, CHANNELS], from an image of height x width pixels whose pixel (top, left) is the
// tile's first, channels from `first` on. `use(pack, c, values)` makes WIDE floats of what is read at channel `c`.
// Pixels and channels outside are zeros. BATCH reads, MOST or fewer, are under way at once; nothing is a branch, lest
// compilers move each read to its use: threads behind the last pixel do that one again.
template <typename T, int C, int WIDE, int MOST, typename Use>
__device__ inline void load_tile(typename T::S* input, const typename T::S* image, int height, int width, int top,
                                 int left, int first, Use use) {
    constexpr int LANES = T::CHANNELS / WIDE, STEP = THREADS / LANES, LAST = T::HEIGHT * T::WIDTH - 1;
    constexpr int EACH = (LAST + STEP) / STEP, ROUNDS = (EACH + MOST - 1) / MOST, BATCH = (EACH + ROUNDS - 1) / ROUNDS;
    const int c = threadIdx.x % LANES * WIDE;
#pragma unroll 1
    for (int round = 0; round < ROUNDS; ++round) {
        Pack<typename T::S, WIDE> pack[BATCH];
        int at[BATCH];
        bool there[BATCH];
#pragma unroll
        for (int j = 0; j < BATCH; ++j) {
            at[j] = smaller((round * BATCH + j) * STEP + threadIdx.x / LANES, LAST);
            const int y = top + at[j] / T::WIDTH, x = left + at[j] % T::WIDTH;
            there[j] = y >= 0 && y < height && x >= 0 && x < width && first + c < C;
            pack[j] = read_early<WIDE>(image + (there[j] ? (y * width + x) * C + first + c : 0));
        }
#pragma unroll
        for (int j = 0; j < BATCH; ++j) {
            float values[WIDE];
            use(pack[j], there[j] ? first + c : 0, values);
#pragma unroll
            for (int v = 0; v < WIDE; ++v) values[v] = there[j] ? values[v] : 0.f;
            keep<WIDE>(input + at[j] * T::CHANNELS + c, values);
        }
    }
}

// Filters of `taps` taps from [C, taps] to [taps, CHANNELS] in shared memory, a warp for each channel.
template <typename T, int C>
__device__ inline void load_filter(float* filter, const float* weights, int taps, int first) {
    for (int c = threadIdx.x / 32; c < T::CHANNELS; c += WARPS)
#pragma unroll 1
        for (int tap = threadIdx.x % 32; tap < taps; tap += 32)
            filter[tap * T::CHANNELS + c] = first + c < C ? weights[(first + c) * taps + tap] : 0.f;
}

// The pointwise weights [C out, C in] of outputs from `column` on and inputs from `first` on, to [CHANNELS, ROW].
template <typename T, int C>
__device__ inline void load_pointwise(typename T::S* right, const float* weights, int column, int first) {
    for (int i = threadIdx.x; i < T::CHANNELS * T::CHANNELS; i += THREADS) {
        const int n = i / T::CHANNELS, k = i % T::CHANNELS;
        const bool there = column + n < C && first + k < C;
        right[n * T::ROW + k] = to_storage<typename T::S>(there ? weights[(column + n) * C + first + k] : 0.f);
    }
}

// sum[p][v] = the filter of `FORM` at pixel (y, x + p) of the tile, channels 2 * pair + v. Weights meet zeros where a
// filter reaches over the border, so one that is not finite gives NaN there, where PyTorch leaves it out.
template <int FORM, typename T>
__device__ inline void depthwise(float (&sum)[T::STRIP][2], const typename T::S* input, const float* filter, int y,
                                 int x, int pair) {
    constexpr int SIZE = size_of(FORM), DILATION = dilation_of(FORM), OFFSET = T::REACH - reach_of(FORM);
    constexpr int SPAN = (T::STRIP - 1) * T::STRIDE + 1 + (SIZE - 1) * DILATION;
    input += ((y * T::STRIDE + OFFSET) * T::WIDTH + x * T::STRIDE + OFFSET) * T::CHANNELS + 2 * pair;
    filter += 2 * pair;
#pragma unroll
    for (int p = 0; p < T::STRIP; ++p) sum[p][0] = sum[p][1] = 0.f;
#pragma unroll 1
    for (int row = 0; row < SIZE; ++row) {
        Pack<float, 2> weight[SIZE];
#pragma unroll
        for (int tap = 0; tap < SIZE; ++tap) weight[tap] = from_shared<2>(filter + tap * T::CHANNELS);
#pragma unroll
        for (int j = 0; j < SPAN; ++j) {
            const Pack<float, 2> value = pair_from_shared(input + j * T::CHANNELS);
#pragma unroll
            for (int tap = 0; tap < SIZE; ++tap) {
                const int p = (j - tap * DILATION) / T::STRIDE;
                if (j < tap * DILATION || (j - tap * DILATION) % T::STRIDE != 0 || p >= T::STRIP) continue;
#pragma unroll
                for (int v = 0; v < 2; ++v) sum[p][v] += weight[tap].x[v] * value.x[v];
            }
        }
        input += DILATION * T::WIDTH * T::CHANNELS;
        filter += SIZE * T::CHANNELS;
    }
}

// The filter of `form`, one of the bits of FORMS; others are not compiled.
template <int FORMS, typename T, int FORM = 0>
__device__ inline void depthwise_any(int form, float (&sum)[T::STRIP][2], const typename T::S* input,
                                     const float* filter, int y, int x, int pair) {
    if constexpr ((FORMS >> FORM) == 1) {  // the last
        depthwise<FORM, T>(sum, input, filter, y, x, pair);
    } else {
        if constexpr (FORMS >> FORM & 1) {
            if (form == FORM) return depthwise<FORM, T>(sum, input, filter, y, x, pair);
        }
        depthwise_any<FORMS, T, FORM + 1>(form, sum, input, filter, y, x, pair);
    }
}
