// The forward of separable convolutions: filter, pointwise product, one write, and the statistics of what is written.
//
// A block takes one tile of the input after another and, for each, one branch after another. Statistics are gathered in
// three steps of fixed order: a warp sums what it writes and its squares, less the tile's first value (`shift`), which
// keeps the digits that a large mean would cost; a block adds up its warps for each tile and branch: (sum, sum of
// squares about the mean); `finish_statistics` adds up the tiles.
#pragma once
#include "separable/tile.cuh"

// How the warps lie over a tile's product [PIXELS, CHANNELS]: MT x NT tiles of 16 x 8 each, ACROSS side by side.
template <typename T> struct Warps {
    static constexpr int NT = smaller(smaller(2, T::STRIP / 2), T::CHANNELS / COLUMNS_OF_TILE), MT = T::STRIP / 2 / NT;
    static constexpr int ACROSS = T::CHANNELS / (NT * COLUMNS_OF_TILE), DOWN = WARPS / ACROSS, ROWS = MT * ROWS_OF_TILE;
    static_assert(MT * NT * 2 == T::STRIP && DOWN * ROWS == T::PIXELS);
};

// Blocks that are to stand on a multiprocessor: three, of up to 80 registers a thread, in the usual forms.
template <typename S> __host__ __device__ constexpr int blocks_of(int forms, int channels, int at_once) {
    return forms < 16 && channels <= at_once && at_once * sizeof(S) <= (sizeof(S) == 2 ? 128 : 64) ? 3 : 2;
}

__device__ inline bool gate_is_open(const float* gate, int branch) { return gate == nullptr || gate[branch] != 0.f; }

// Which pixel a thread's values `2 * half` and `2 * half + 1` of tile m are; false where it is outside of the image.
template <typename T>
__device__ inline bool pixel_of(int m, int half, const Sizes& sizes, const Place& place, int& pixel) {
    const int down = threadIdx.x / 32 % Warps<T>::DOWN;
    const int row = down * Warps<T>::ROWS + m * ROWS_OF_TILE + half * 8 + threadIdx.x % 32 / 4;
    const int y = place.y + row / T::TW, x = place.x + row % T::TW;
    pixel = y * sizes.out_width + x;
    return y < sizes.out_height && x < sizes.out_width;
}

// Two values as storage keeps them.
template <typename S> __device__ inline void round_pair(float* values) {
    if constexpr (sizeof(S) == 2) {
        const unsigned pair = to_pair(values[0], values[1]);
        values[0] = low_of(pair), values[1] = high_of(pair);
    }
}

// Writes the product's tiles, which are rounded already, to one image of one branch; `column` is the warp's first.
template <typename T, int C, int WIDE, int MT, int NT>
__device__ inline void store(const float (&sum)[MT][NT][4], typename T::S* z, const Sizes& sizes, const Place& place,
                             int column) {
    const int member = threadIdx.x % 4;
#pragma unroll
    for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            int pixel;
            const bool inside = pixel_of<T>(m, half, sizes, place, pixel);
            if constexpr (sizeof(typename T::S) == 2 && NT == 2 && WIDE >= 4) {
                // Two neighbours trade words: the even one writes four channels of the first tile, the odd one four
                // of the second, so that a row of 16 channels leaves at once.
                const bool odd = member % 2;
                const unsigned words[2] = {to_pair(sum[m][0][2 * half], sum[m][0][2 * half + 1]),
                                           to_pair(sum[m][1][2 * half], sum[m][1][2 * half + 1])};
                const float sent = __uint_as_float(odd ? words[0] : words[1]);
                const unsigned got = __float_as_uint(__shfl_xor_sync(ALL_LANES, sent, 1));
                const int c = column + (odd ? COLUMNS_OF_TILE : 0) + member / 2 * 4;
                if (inside && c < C) {
                    typename T::S* at = z + pixel * C + c;
                    TOUCH(at, 8);
                    *reinterpret_cast<Pack<unsigned, 2>*>(at) = {{odd ? got : words[0], odd ? words[1] : got}};
                }
            } else {
                constexpr int TOGETHER = smaller(WIDE, 2);
#pragma unroll
                for (int n = 0; n < NT; ++n)
#pragma unroll
                    for (int v = 0; v < 2; v += TOGETHER) {
                        const int c = column + n * COLUMNS_OF_TILE + member * 2 + v;
                        if (inside && c < C) write<TOGETHER>(z + pixel * C + c, sum[m][n] + 2 * half + v);
                    }
            }
        }
}

// tally[warp, 0 or 1, c]: the sum of a warp's values less `shift`, and that of their squares; [DOWN, 2, CHANNELS].
template <typename T, int MT, int NT>
__device__ inline void count_up(const float (&sum)[MT][NT][4], const float (&shift)[NT][2], float* tally,
                                const Sizes& sizes, const Place& place) {
    float values[8] = {};  // [sum or squares, n, v]
#pragma unroll
    for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            int pixel;
            if (!pixel_of<T>(m, half, sizes, place, pixel)) continue;
#pragma unroll
            for (int n = 0; n < NT; ++n)
#pragma unroll
                for (int v = 0; v < 2; ++v) {
                    const float value = sum[m][n][2 * half + v] - shift[n][v];
                    values[n * 2 + v] += value;
                    values[4 + n * 2 + v] += value * value;
                }
        }
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int kept = sum_and_scatter<8, 4>(values, lane), n = kept / 2 % 2;
    const int c = (warp / Warps<T>::DOWN * NT + n) * COLUMNS_OF_TILE + lane % 4 * 2 + kept % 2;
    if (n < NT) tally[(warp % Warps<T>::DOWN * 2 + kept / 4) * T::CHANNELS + c] = values[0];
}

// partial[0, c] = the sum over a tile's pixels, partial[1, c] = the sum of squares about their mean; [2, C].
template <typename T, int C>
__device__ inline void add_up_warps(const float* tally, const float* shift, float* partial, int pixels, int column) {
    const int c = threadIdx.x;
    if (c >= T::CHANNELS || column + c >= C) return;
    float sum = 0.f, squares = 0.f;
#pragma unroll
    for (int w = 0; w < Warps<T>::DOWN; ++w) {
        sum += tally[w * 2 * T::CHANNELS + c];
        squares += tally[(w * 2 + 1) * T::CHANNELS + c];
    }
    const float about_mean = squares - sum * sum / pixels;
    partial[column + c] = sum + pixels * shift[c];
    partial[C + column + c] = about_mean < 0.f ? 0.f : about_mean;
}

// Branches first .. last - 1 on every gridDim.x-th tile, output channels of blockIdx.z. `load(input, branch, place, c)`
// fills the input's tile from channel c on; it is called once a tile where all channels fit at once.
template <typename T, int C, int WIDE, int FORMS, int N, typename Load>
__device__ inline void separable_forward(Load load, const Table<const float*, N>& dw, const Table<const float*, N>& pw,
                                         const Table<int, N>& form, const float* gate, typename T::S* z, float* partial,
                                         const Sizes& sizes, int first, int last) {
    using S = typename T::S;
    using W = Warps<T>;
    constexpr int CHUNKS = (C + T::CHANNELS - 1) / T::CHANNELS, LARGEST = size_of(highest_bit(FORMS));
    SHARED(S, input, T::INPUT);
    SHARED(S, left, T::LEFT);
    SHARED(S, right, T::RIGHT);
    SHARED(float, filter, LARGEST * LARGEST * T::CHANNELS);
    SHARED(float, tally, W::DOWN * 2 * T::CHANNELS);
    SHARED(float, shift, T::CHANNELS);
    const int down = threadIdx.x / 32 % W::DOWN, across = threadIdx.x / 32 / W::DOWN;
    const int pair = threadIdx.x % T::PAIRS, y = threadIdx.x / T::PAIRS % T::TH;
    const int x = threadIdx.x / T::PAIRS / T::TH * T::STRIP, column = blockIdx.z * T::CHANNELS;
    // The branch and the tile before, whose weights, input and tally are in shared memory, and that tile's pixels.
    int before = -1, in_tile = -1, pixels = 0;
    const auto add_up = [&] {
        float* own = partial + (static_cast<long long>(before) * sizes.tiles + in_tile) * 2 * C;
        add_up_warps<T, C>(tally, shift, own, pixels, column);
    };
    for (int tile = blockIdx.x; tile < sizes.tiles; tile += gridDim.x) {
        const Place place = place_of<T::TH, T::TW>(tile, sizes);
        for (int b = first; b < last; ++b) {
            if (!gate_is_open(gate, b)) continue;
            float sum[W::MT][W::NT][4] = {}, near[W::NT][2] = {};  // near: the tile's first pixel
#pragma unroll 1
            for (int c = 0; c < C; c += T::CHANNELS) {
                const bool other = CHUNKS > 1 || before != b;
                if (CHUNKS > 1 || in_tile != tile) load(input, b, place, c);
                if (other) load_filter<T, C>(filter, dw.at[b], size_of(form.at[b]) * size_of(form.at[b]), c);
                __syncthreads();
                if (other) load_pointwise<T, C>(right, pw.at[b], column, c);
                if (c == 0 && before >= 0) add_up();
                float filtered[T::STRIP][2];
                depthwise_any<FORMS, T>(form.at[b], filtered, input, filter, y, x, pair);
#pragma unroll
                for (int p = 0; p < T::STRIP; ++p) keep<2>(left + T::left(y * T::TW + x + p) + 2 * pair, filtered[p]);
                __syncthreads();
                const auto column_of = [&](int n) { return right + (across * W::NT * COLUMNS_OF_TILE + n) * T::ROW; };
                multiply_row<T::CHANNELS>(near, left, column_of);
                multiply<T::CHANNELS>(
                    sum, left, [&](int row) { return left + T::left(down * W::ROWS + row); }, column_of);
            }
#pragma unroll
            for (int i = 0; i < W::MT * W::NT * 2; ++i) round_pair<S>(sum[i / (W::NT * 2)][i / 2 % W::NT] + i % 2 * 2);
#pragma unroll
            for (int i = 0; i < W::NT * 2; ++i) {
                float& value = near[i / 2][i % 2];
                value = value - value == 0.f ? value : 0.f;  // what is not finite goes the usual way
                const int c = (across * W::NT + i / 2) * COLUMNS_OF_TILE + threadIdx.x % 4 * 2 + i % 2;
                if (down == 0 && threadIdx.x % 32 < 4) shift[c] = value;
            }
            count_up<T>(sum, near, tally, sizes, place);
            const long long image = static_cast<long long>(b) * sizes.images + place.image;
            store<T, C, WIDE>(sum, z + image * sizes.out_height * sizes.out_width * C, sizes, place,
                              column + across * W::NT * COLUMNS_OF_TILE);
            before = b, in_tile = tile, pixels = pixels_in<T::TH, T::TW>(place, sizes);
        }
    }
    __syncthreads();
    if (before >= 0) add_up();
}

// mean, var, rstd [n, C] from partial [n, tiles, 2, C]; blocks (COLUMNS channels, branch).
template <int C, int TH, int TW>
__device__ inline void finish_statistics(const float* partial, const float* gate, const Sizes& sizes, float eps,
                                         float* mean, float* var, float* rstd) {
    constexpr int COLUMNS = smaller(power_of_two_from(C), 8), ROWS = THREADS / COLUMNS;
    SHARED(float, sums, THREADS);
    const int row = threadIdx.x / COLUMNS, column = threadIdx.x % COLUMNS;
    const int b = blockIdx.y, c = blockIdx.x * COLUMNS + column;
    if (!gate_is_open(gate, b)) return;
    const float count = static_cast<float>(sizes.images) * sizes.out_height * sizes.out_width;
    partial += static_cast<long long>(b) * sizes.tiles * 2 * C + c;
    float center = 0.f, total = 0.f;
#pragma unroll
    for (int pass = 0; pass < 2; ++pass) {
        float own = 0.f;
        if (c < C)
#pragma unroll 4
            for (int tile = row; tile < sizes.tiles; tile += ROWS) {
                const float* at = partial + static_cast<long long>(tile) * 2 * C;
                if (pass == 0) {
                    own += at[0];
                } else {
                    const Place place = place_of<TH, TW>(tile, sizes);
                    const float pixels = pixels_in<TH, TW>(place, sizes), off = at[0] / pixels - center;
                    own += at[C] + pixels * off * off;
                }
            }
        sums[threadIdx.x] = own;
        __syncthreads();
        total = 0.f;
        for (int r = 0; r < ROWS; ++r) total += sums[r * COLUMNS + column];
        if (pass == 0) center = total / count;
        __syncthreads();
    }
    if (row != 0 || c >= C) return;
    mean[b * C + c] = center;
    var[b * C + c] = total / count;
    rstd[b * C + c] = 1.f / sqrtf(total / count + eps);
}
